"""The `requests` commands: who asked to join, and a convenor's answer."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from scheduler.cli.command import LONGEST_NUMBER, command_context, fail, show_json

if TYPE_CHECKING:
    from scheduler.bootstrap.wiring import Parts
    from scheduler.store.join_requests import Request

app = typer.Typer(help="Answer those who ask to join.", no_args_is_help=True)

Number = Annotated[str, typer.Argument(metavar="ID")]
By = Annotated[str | None, typer.Option("--by", metavar="EMAIL", help="The convenor who does it.")]
Message = Annotated[str, typer.Option(help="Words to the person, as Markdown; they are kept.")]
AsJson = Annotated[bool, typer.Option("--json")]


@app.command("list")
def list_(
    context: typer.Context,
    every: Annotated[bool, typer.Option("--all", help="Answered ones too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the confirmed requests that wait for an answer, the oldest first."""
    from scheduler.store import join_requests as join_requests_store

    async def rows(parts: "Parts") -> "tuple[list[Request], datetime]":
        async with parts.database.read() as connection:
            found = await (join_requests_store.every if every else join_requests_store.waiting)(connection)
            return found, parts.clock.now()

    found, now = command_context(context).run(rows)
    if as_json:
        show_json([_document(one, now) for one in found])
        return
    for one in found:
        typer.echo(
            f"{one.id:>5}  {one.state:<8}  {_age(one, now):>8}  {one.name} <{one.address}>  {_home(one)}"
        )
    if not found:
        typer.echo("nobody waits for an answer")


@app.command()
def show(context: typer.Context, number: Number, as_json: AsJson = False) -> None:
    """Show one request: what the person said, and what was answered."""
    from scheduler.service.join_requests import require_request

    async def one(parts: "Parts") -> "tuple[Request, datetime]":
        async with parts.database.read() as connection:
            return await require_request(connection, _number(number)), parts.clock.now()

    found, now = command_context(context).run(one)
    if as_json:
        show_json(_document(found, now))
        return
    typer.echo(f"request {found.id}: {found.state}, {_age(found, now)}")
    typer.echo(f"  {found.name} <{found.address}>")
    typer.echo(f"  {_home(found)}, {found.locale}")
    for heading, text in (("what brings them here", found.words), ("answered with", found.message)):
        if text:
            typer.echo(f"  {heading}:")
            for line in text.split("\n"):
                typer.echo(f"    {line}")


@app.command()
def take(context: typer.Context, number: Number, by: By = None) -> None:
    """See to a request yourself, so that no other convenor answers it too."""
    from scheduler.service import join_requests

    async def act(parts: "Parts") -> None:
        found = await join_requests.take(parts.database, _number(number), by=by, now=parts.clock.now())
        typer.echo(f"request {found.id} is yours; answer it with `requests accept` or `requests decline`")

    command_context(context).run(act)


@app.command()
def accept(context: typer.Context, number: Number, message: Message = "", by: By = None) -> None:
    """Let the person in, and welcome them by mail."""
    from scheduler.service import join_requests

    async def act(parts: "Parts") -> None:
        found = await join_requests.accept(
            parts.database, _number(number), by=by, message=message, now=parts.clock.now()
        )
        typer.echo(f"{found.address} is a member now, and is welcomed by mail")

    command_context(context).run(act)


@app.command()
def decline(
    context: typer.Context,
    number: Number,
    message: Message = "",
    tell: Annotated[bool, typer.Option("--tell/--no-tell", help="Write to the person, or not.")] = True,
    by: By = None,
) -> None:
    """Do not let the person in, and tell them so kindly or not at all."""
    from scheduler.service import join_requests

    async def act(parts: "Parts") -> None:
        found = await join_requests.decline(
            parts.database, _number(number), by=by, message=message, tells=tell, now=parts.clock.now()
        )
        told = "is told by mail" if tell else "is told nothing"
        typer.echo(f"request {found.id} is declined; {found.address} {told}")

    command_context(context).run(act)


def _number(text: str) -> int:
    if not text.isdecimal() or len(text) > LONGEST_NUMBER:
        fail(f"'{text}' is no request; give its number, as `requests list` shows it", code=2)
    return int(text)


def _home(one: "Request") -> str:
    from scheduler.domain.country import country_name

    return f"{country_name(one.country)}, {one.zone}"


def _age(one: "Request", now: datetime) -> str:
    assert one.confirmed_at
    hours = int((now - one.confirmed_at).total_seconds()) // 3600
    return f"{hours // 24} days" if hours >= 48 else f"{hours} hours"


def _document(one: "Request", now: datetime) -> dict[str, object]:
    assert one.confirmed_at
    return {
        "id": one.id,
        "state": one.state,
        "name": one.name,
        "email": one.address,
        "country": one.country,
        "zone": one.zone,
        "locale": one.locale,
        "words": one.words,
        "confirmed_utc": one.confirmed_at.isoformat(),
        "age_hours": int((now - one.confirmed_at).total_seconds()) // 3600,
        "taken_utc": one.taken_at.isoformat() if one.taken_at else None,
        "answered_utc": one.answered_at.isoformat() if one.answered_at else None,
        "message": one.message,
    }
