"""The `speakers` commands: the people who led or spoke at meetings."""

from typing import Annotated

import typer

from scheduler.bootstrap.wiring import Parts
from scheduler.cli.command import AsJson, command_context, command_line_user, make_app, show_json
from scheduler.domain.errors import SettingsProblem
from scheduler.domain.meeting_record import Speaker as StoredSpeaker
from scheduler.domain.text import counted
from scheduler.service import meeting_records
from scheduler.store.meeting_records import Used

app = make_app("Manage the speakers of meetings.")

Speaker = Annotated[str, typer.Argument(help="The speaker, by name or slug.")]


@app.command("list")
def list_(context: typer.Context, as_json: AsJson = False) -> None:
    """List the speakers, with the number of their meetings; `occurrence amend --speakers` names them."""

    async def act(parts: Parts) -> list[Used[StoredSpeaker]]:
        return await meeting_records.list_speakers(parts.database)

    used = command_context(context).run(act)
    if as_json:
        show_json(
            [
                {
                    "slug": one.item.slug,
                    "name": one.item.name,
                    "role": one.item.role,
                    "organisation": one.item.organisation,
                    "link": one.item.link,
                    "meetings": one.meetings,
                }
                for one in used
            ]
        )
        return
    for one in used:
        typer.echo(f"{one.item.slug}  {one.item.text} ({counted(one.meetings, 'meeting')})")
    for first, second in meeting_records.likely_duplicates(used):
        typer.echo(f"perhaps one person: {first.slug} and {second.slug}")
    typer.echo(counted(len(used), "speaker"))


@app.command("set")
def set_(
    context: typer.Context,
    speaker: Speaker,
    name: Annotated[str | None, typer.Option(help="The name, at all their meetings.")] = None,
    role: Annotated[str | None, typer.Option(help="What they do.")] = None,
    organisation: Annotated[str | None, typer.Option(help="Where they do it.")] = None,
    link: Annotated[str | None, typer.Option(metavar="URL", help="Their page.")] = None,
) -> None:
    """Change a speaker at all their meetings; tell nobody."""
    given = {"name": name, "role": role, "organisation": organisation, "link": link}
    values = {what: value for what, value in given.items() if value is not None}
    if not values:
        raise SettingsProblem("nothing to change; give --name, --role, --organisation or --link")

    async def act(parts: Parts) -> StoredSpeaker:
        return await meeting_records.change_speaker(
            parts.database, speaker, values=values, now=parts.clock.now(), by=command_line_user()
        )

    changed = command_context(context).run(act)
    typer.echo(f"{changed.slug}: {changed.text}; nobody was told")


@app.command()
def merge(
    context: typer.Context,
    speaker: Speaker,
    other: Annotated[str, typer.Argument(help="The other entry of the same person, which is deleted.")],
) -> None:
    """Make two speakers one person, with the meetings of both."""

    async def act(parts: Parts) -> StoredSpeaker:
        return await meeting_records.merge_speakers(
            parts.database, kept=speaker, other=other, now=parts.clock.now(), by=command_line_user()
        )

    kept = command_context(context).run(act)
    typer.echo(f"{kept.slug}: {kept.text}; nobody was told")
