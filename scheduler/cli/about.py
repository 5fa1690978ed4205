"""The `about` commands: the page about the community, and its versions."""

from pathlib import Path
from typing import Annotated

import typer

from scheduler.bootstrap.wiring import Parts
from scheduler.cli.command import (
    AsJson,
    command_context,
    command_line_user,
    make_app,
    parse_id,
    read_text_file,
    show_json,
)
from scheduler.service import about
from scheduler.store.about import AboutVersion

app = make_app("Write the page about the community.")


@app.command()
def show(
    context: typer.Context,
    version: Annotated[str, typer.Argument(metavar="[VERSION]", help="An earlier version.")] = "",
) -> None:
    """Print the text of the page, in Markdown."""

    async def look(parts: Parts) -> AboutVersion | None:
        if version:
            return await about.about_version(parts.database, _number(version))
        return await about.read_about(parts.database)

    found = command_context(context).run(look)
    if found:
        typer.echo(found.body)
    else:
        typer.echo("there is no such version" if version else "nobody has written it yet", err=True)


@app.command("set")
def set_(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The text; - reads standard input.")],
) -> None:
    """Replace the text by a Markdown file. The text before stays as a version."""
    body = read_text_file(file)

    async def act(parts: Parts) -> bool:
        return await about.save_about(parts.database, body, by=command_line_user(), now=parts.clock.now())

    is_new = command_context(context).run(act)
    typer.echo("everybody can see it now" if is_new else "nothing was changed: the text is the same")


@app.command()
def versions(context: typer.Context, as_json: AsJson = False) -> None:
    """Show who saved the page and when, the latest first."""

    async def look(parts: Parts) -> list[AboutVersion]:
        return await about.about_versions(parts.database)

    found = command_context(context).run(look)
    if as_json:
        show_json(
            [
                {"version": version.id, "saved_utc": version.saved_at.isoformat(), "by": version.author_name}
                for version in found
            ]
        )
        return
    for version in found:
        typer.echo(f"{version.id:>5}  {version.saved_at:%Y-%m-%d %H:%M} UTC  {version.author_name}")
    if not found:
        typer.echo("nobody has written it yet")


@app.command()
def restore(context: typer.Context, version: Annotated[str, typer.Argument(metavar="VERSION")]) -> None:
    """Show an earlier version again."""

    async def act(parts: Parts) -> bool:
        return await about.restore_about(
            parts.database, _number(version), by=command_line_user(), now=parts.clock.now()
        )

    is_new = command_context(context).run(act)
    typer.echo(
        f"version {version} is shown again"
        if is_new
        else f"nothing was changed: it is like version {version}"
    )


def _number(text: str) -> int:
    return parse_id(text, "'{}' is not the number of a version; `about versions` shows them")
