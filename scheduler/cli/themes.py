"""The `themes` commands: the subjects that meetings share."""

from pathlib import Path
from typing import Annotated

import typer

from scheduler.bootstrap.wiring import Parts
from scheduler.cli.command import (
    AsJson,
    command_context,
    command_line_user,
    make_app,
    read_text_file,
    show_json,
)
from scheduler.domain.errors import SettingsProblem
from scheduler.domain.meeting_record import Theme as StoredTheme
from scheduler.domain.text import counted
from scheduler.service import meeting_records
from scheduler.store.meeting_records import Used

app = make_app("Manage the themes of meetings.")

Theme = Annotated[str, typer.Argument(help="The theme, by name or slug.")]
Words = Annotated[
    Path | None, typer.Option("--words", metavar="FILE", help="A Markdown file with a paragraph about it.")
]


@app.command("list")
def list_(context: typer.Context, as_json: AsJson = False) -> None:
    """List the themes, with the number of their meetings."""

    async def act(parts: Parts) -> list[Used[StoredTheme]]:
        return await meeting_records.list_themes(parts.database)

    used = command_context(context).run(act)
    if as_json:
        show_json([{"slug": one.item.slug, "name": one.item.name, "meetings": one.meetings} for one in used])
        return
    for one in used:
        typer.echo(f"{one.item.slug}  {one.item.name} ({counted(one.meetings, 'meeting')})")
    typer.echo(counted(len(used), "theme"))


@app.command()
def add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Its name.")],
    words: Words = None,
) -> None:
    """Add a theme."""
    text = "" if words is None else read_text_file(words, "--words ")

    async def act(parts: Parts) -> StoredTheme:
        return await meeting_records.add_theme(
            parts.database, name, words=text, now=parts.clock.now(), by=command_line_user()
        )

    typer.echo(f"{command_context(context).run(act).slug}: added")


@app.command("set")
def set_(
    context: typer.Context,
    theme: Theme,
    name: Annotated[str | None, typer.Option(help="Its new name; its address stays.")] = None,
    words: Words = None,
    merge: Annotated[
        str | None, typer.Option(metavar="THEME", help="Another theme whose meetings it takes over.")
    ] = None,
) -> None:
    """Rename or describe a theme, or merge another one into it."""
    text = None if words is None else read_text_file(words, "--words ")
    if name is None and text is None and merge is None:
        raise SettingsProblem("nothing to change; give --name, --words or --merge")

    async def act(parts: Parts) -> StoredTheme:
        now, by = parts.clock.now(), command_line_user()
        if merge is not None:
            await meeting_records.merge_themes(parts.database, kept=theme, other=merge, now=now, by=by)
        return await meeting_records.change_theme(
            parts.database, theme, name=name, words=text, now=now, by=by
        )

    typer.echo(f"{command_context(context).run(act).slug}: changed")


@app.command()
def remove(context: typer.Context, theme: Theme) -> None:
    """Delete a theme that no meeting has."""

    async def act(parts: Parts) -> StoredTheme:
        return await meeting_records.remove_theme(
            parts.database, theme, now=parts.clock.now(), by=command_line_user()
        )

    typer.echo(f"{command_context(context).run(act).slug}: deleted")
