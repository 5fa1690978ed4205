"""The `wall` commands: the members who want to be shown on the page of people."""

from typing import Annotated

import typer

from scheduler.bootstrap.wiring import Parts
from scheduler.cli.command import AsJson, command_context, command_line_user, make_app, parse_id, show_json
from scheduler.domain.actor import Actor
from scheduler.service import profiles
from scheduler.service.convenors import command_line_actor
from scheduler.service.profiles import Entries
from scheduler.store.profiles import Profile

app = make_app("Show members who want to be shown on the page of people.")

Number = Annotated[str, typer.Argument(metavar="ID")]
By = Annotated[str | None, typer.Option("--by", metavar="EMAIL", help="The convenor or helper who does it.")]


@app.command("list")
def list_(context: typer.Context, as_json: AsJson = False) -> None:
    """Show the entries that wait for a convenor, and those that everybody sees."""

    async def look(parts: Parts) -> Entries:
        return await profiles.read_entries(parts.database, most=None)

    found = command_context(context).run(look)
    entries = [*found.waiting, *found.shown]
    if as_json:
        show_json([_document(entry) for entry in entries])
        return
    for entry in entries:
        details = ", ".join(filter(None, (entry.name, entry.role, profiles.country_of(entry))))
        typer.echo(f"{entry.id:>5}  {entry.state:<8}  {details}{' (with a photo)' if entry.photo else ''}")
    if not entries:
        typer.echo("nobody is shown, and nobody waits to be shown")


@app.command()
def release(context: typer.Context, number: Number, by: By = None) -> None:
    """Show an entry to everybody. Look at its photo first, in the console."""

    async def act(parts: Parts) -> Profile:
        who = await _actor(parts, by)
        return await profiles.release(parts.database, _id(number), by=who, now=parts.clock.now())

    typer.echo(f"{command_context(context).run(act).name}: everybody can see the entry now")


@app.command()
def refuse(
    context: typer.Context,
    number: Number,
    because: Annotated[str, typer.Option(help="What the member reads on their own page.")],
    by: By = None,
) -> None:
    """Refuse an entry, and delete its photo."""

    async def act(parts: Parts) -> Profile:
        who = await _actor(parts, by)
        return await profiles.refuse(parts.database, _id(number), because, by=who, now=parts.clock.now())

    typer.echo(f"{command_context(context).run(act).name}: the entry is not shown, and its photo is deleted")


@app.command()
def remove(context: typer.Context, number: Number, by: By = None) -> None:
    """Delete an entry and its photo."""

    async def act(parts: Parts) -> Profile:
        who = await _actor(parts, by)
        return await profiles.remove(parts.database, _id(number), by=who, now=parts.clock.now())

    typer.echo(f"{command_context(context).run(act).name}: the entry and its photo are deleted")


async def _actor(parts: Parts, by: str | None) -> Actor:
    return await command_line_actor(parts.database, command_line_user(), by)


def _id(text: str) -> int:
    return parse_id(text, "'{}' is not the ID of an entry; `wall list` shows them")


def _document(entry: Profile) -> dict[str, object]:
    return {
        "id": entry.id,
        "state": entry.state,
        "name": entry.name,
        "role": entry.role,
        "country": entry.country,
        "photo": entry.photo is not None,
        "changed_utc": entry.changed_at.isoformat(),
        "released_utc": entry.released_at.isoformat() if entry.released_at else None,
    }
