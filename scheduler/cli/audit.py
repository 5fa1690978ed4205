"""The `audit` command: show who did what."""

from typing import Annotated

import typer

from scheduler.bootstrap.wiring import Parts
from scheduler.cli.command import AsJson, command_context, make_app, show_json
from scheduler.service.audit import LogLine, read_log
from scheduler.service.members import find_member

app = make_app()


@app.command()
def audit(
    context: typer.Context,
    by: Annotated[str | None, typer.Option(metavar="EMAIL", help="Only what this member did.")] = None,
    act: Annotated[str, typer.Option(help="Only this act, for example meeting-moved.")] = "",
    subject: Annotated[
        str, typer.Option(metavar="TEXT", help="Only what was done to this, for example a meeting's key.")
    ] = "",
    count: Annotated[int, typer.Option(min=1, max=1_000, help="How many entries.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Show who did what, the latest first."""

    async def look(parts: Parts) -> list[LogLine]:
        actor = (await find_member(parts.database, by)).id if by else None
        by_slug = {series.slug: series for series in parts.series}
        return await read_log(
            parts.database, all_series=by_slug, actor=actor, act=act, subject=subject, limit=count
        )

    lines = command_context(context).run(look)
    if as_json:
        show_json([_document(line) for line in lines])
        return
    for line in lines:
        about = ", ".join(filter(None, (line.about, line.subject)))
        what = f"{line.words}: {about}" if about else line.words
        typer.echo(f"{line.at:%Y-%m-%d %H:%M} UTC  {line.actor} ({line.channel}): {what}")
        for change in line.changes:
            before = "" if change.before is None else f"{change.before} → "
            typer.echo(f"    {change.words}: {before}{change.after}")
    if not lines:
        typer.echo("there is no entry")


def _document(line: LogLine) -> dict[str, object]:
    return {
        "at_utc": line.at.isoformat(),
        "actor": line.actor,
        "channel": line.channel,
        "act": line.act,
        "about": line.about,
        "subject": line.subject,
        "changes": {change.name: {"before": change.before, "after": change.after} for change in line.changes},
    }
