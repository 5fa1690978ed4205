"""The `convenors` commands: show, appoint and dismiss those who run the community."""

from pathlib import Path
from typing import Annotated

import typer

from scheduler.bootstrap.wiring import Parts
from scheduler.cli.command import (
    AsJson,
    command_context,
    command_line_user,
    make_app,
    read_file,
    show_json,
    usage,
)
from scheduler.domain.errors import SettingsProblem
from scheduler.service import convenors, profiles
from scheduler.service.convenors import Role
from scheduler.service.members import find_member
from scheduler.service.photo_decoder import PhotoDecoder
from scheduler.store.members import Member

app = make_app("Manage who runs the community.")

Email = Annotated[str, typer.Argument(metavar="EMAIL")]


@app.command("list")
def list_(context: typer.Context, as_json: AsJson = False) -> None:
    """Show the convenors and helpers."""

    async def look(parts: Parts) -> list[Member]:
        return await convenors.team(parts.database)

    team = command_context(context).run(look)
    if as_json:
        show_json([_document(member) for member in team])
        return
    for member in team:
        state = "" if member.status == "active" else f" ({member.status})"
        typer.echo(f"{member.role:<10}{member.name} <{member.address}>{state}")
    if not team:
        typer.echo("there is none yet; `convenors add EMAIL` appoints a member")


def _document(member: Member) -> dict[str, object]:
    return {
        "name": member.name,
        "email": member.address,
        "role": member.role,
        "status": member.status,
    }


@app.command()
def add(
    context: typer.Context,
    email: Email,
    role: Annotated[str, typer.Option(metavar="ROLE", help="convenor or helper.")] = "convenor",
) -> None:
    """Appoint a member: a convenor may do everything, a helper sends nothing."""
    wanted = _role(role, "--role")

    async def act(parts: Parts) -> Member:
        return await convenors.appoint(
            parts.database, email, wanted, by=command_line_user(), now=parts.clock.now()
        )

    member = command_context(context).run(act)
    typer.echo(f"{member.address}: is now a {member.role}")


@app.command()
def role(
    context: typer.Context,
    email: Email,
    new_role: Annotated[str, typer.Argument(metavar="ROLE", help="convenor or helper.")],
) -> None:
    """Change somebody's role."""
    wanted = _role(new_role, "ROLE")

    async def act(parts: Parts) -> tuple[Member, bool]:
        return await convenors.change_role(
            parts.database, email, wanted, by=command_line_user(), now=parts.clock.now()
        )

    member, changed = command_context(context).run(act)
    typer.echo(f"{member.address}: is {'now' if changed else 'already'} a {member.role}")


@app.command()
def remove(context: typer.Context, email: Email) -> None:
    """Take somebody's role; they stay a member."""

    async def act(parts: Parts) -> Member:
        return await convenors.dismiss(parts.database, email, by=command_line_user(), now=parts.clock.now())

    member = command_context(context).run(act)
    typer.echo(f"{member.address}: has no role any more, and is still a member ({member.status})")


@app.command()
def profile(
    context: typer.Context,
    email: Email,
    name: Annotated[str, typer.Option(help="The name to show; if not given, that of the member.")] = "",
    role: Annotated[str, typer.Option(help="What they do, in a few words.")] = "",
    organisation: Annotated[str, typer.Option(help="Where they work, if that is to be shown.")] = "",
    country: Annotated[str, typer.Option(help="A country to show.")] = "",
    photo: Annotated[Path | None, typer.Option(metavar="FILE", help="A JPEG, PNG or WebP picture.")] = None,
    hide: Annotated[bool, typer.Option("--hide", help="Show them no longer.")] = False,
) -> None:
    """Show a convenor who agrees to it on the page of people. A photo stays until there is another one."""
    if hide == bool(role):
        raise SettingsProblem("give either --role, with what they do, or --hide")

    async def act(parts: Parts) -> bool:
        by, now = command_line_user(), parts.clock.now()
        if hide:
            return await profiles.hide_convenor(parts.database, email, by=by, now=now)
        member = await find_member(parts.database, email)
        words = profiles.make_words(
            name=name or member.name, role=role, organisation=organisation, country=country
        )
        photos = await PhotoDecoder().decode(read_file(photo, "--photo ")) if photo else None
        await profiles.show_convenor(parts.database, email, words, photo=photos, by=by, now=now)
        return True

    done = command_context(context).run(act)
    if hide:
        typer.echo(f"{email}: {'is not shown any more' if done else 'was not shown'}")
    else:
        typer.echo(f"{email}: everybody can see them on the page of people now")


def _role(text: str, where: str) -> Role:
    with usage():
        return convenors.require_role(text, where)
