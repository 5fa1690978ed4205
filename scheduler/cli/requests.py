"""The `requests` commands: show requests to join, and accept or decline them."""

from datetime import datetime
from typing import Annotated

import typer

from scheduler.bootstrap.wiring import Parts
from scheduler.cli.command import AsJson, command_context, command_line_user, make_app, parse_id, show_json
from scheduler.domain.actor import Actor
from scheduler.domain.locale import country_name
from scheduler.domain.text import counted
from scheduler.service import join_requests
from scheduler.service.convenors import command_line_actor
from scheduler.store.join_requests import Request

app = make_app("Answer requests to join.")

Number = Annotated[str, typer.Argument(metavar="ID")]
By = Annotated[str | None, typer.Option("--by", metavar="EMAIL", help="The convenor or helper who answers.")]
Message = Annotated[
    str, typer.Option(help="A message to the person, in Markdown; it is stored with the request.")
]


@app.command("list")
def list_(
    context: typer.Context,
    every: Annotated[bool, typer.Option("--all", help="Include requests that have been answered.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show confirmed requests that are waiting for an answer, oldest first."""

    async def look(parts: Parts) -> tuple[list[Request], datetime]:
        return await join_requests.at_the_desk(parts.database, every=every), parts.clock.now()

    requests, now = command_context(context).run(look)
    if as_json:
        show_json([_document(request, now) for request in requests])
        return
    for request in requests:
        typer.echo(
            f"{request.id:>5}  {request.state:<8}  {_age(request, now):>8}  "
            f"{request.name} <{request.address}>  {_home(request)}"
        )
    if not requests:
        typer.echo("nobody is waiting for an answer")


@app.command()
def show(context: typer.Context, number: Number, as_json: AsJson = False) -> None:
    """Show one request: what the person wrote, and the answer."""

    async def look(parts: Parts) -> tuple[Request, datetime]:
        async with parts.database.read() as connection:
            return await join_requests.require_request(connection, _id(number)), parts.clock.now()

    request, now = command_context(context).run(look)
    if as_json:
        show_json(_document(request, now))
        return
    typer.echo(f"request {request.id}: {request.state}, {_age(request, now)}")
    typer.echo(f"  {request.name} <{request.address}>")
    typer.echo(f"  {_home(request)}, {request.locale}")
    if request.follows is not None:
        typer.echo(f"  would like to follow: {', '.join(_wanted(request))}")
    for heading, text in (("what brings them here", request.words), ("answered with", request.message)):
        if text:
            typer.echo(f"  {heading}:")
            for line in text.split("\n"):
                typer.echo(f"    {line}")


@app.command()
def take(context: typer.Context, number: Number, by: By = None) -> None:
    """Take a request, so that no other convenor answers it as well."""

    async def act(parts: Parts) -> None:
        request = await join_requests.take(
            parts.database, _id(number), by=await _actor(parts, by), now=parts.clock.now()
        )
        typer.echo(f"request {request.id} is yours; answer it with `requests accept` or `requests decline`")

    command_context(context).run(act)


@app.command()
def accept(context: typer.Context, number: Number, message: Message = "", by: By = None) -> None:
    """Accept a request, and welcome the new member by mail."""

    async def act(parts: Parts) -> None:
        request = await join_requests.accept(
            parts.database,
            _id(number),
            by=await _actor(parts, by),
            message=message,
            all_series=parts.series,
            now=parts.clock.now(),
        )
        typer.echo(f"{request.address} is now a member and will get a welcome mail")

    command_context(context).run(act)


@app.command()
def decline(
    context: typer.Context,
    number: Number,
    message: Message = "",
    tell: Annotated[bool, typer.Option("--tell/--no-tell", help="Whether to write to the person.")] = True,
    by: By = None,
) -> None:
    """Decline a request, and tell the person unless --no-tell."""

    async def act(parts: Parts) -> None:
        request = await join_requests.decline(
            parts.database,
            _id(number),
            by=await _actor(parts, by),
            message=message,
            tells=tell,
            now=parts.clock.now(),
        )
        outcome = "will get a mail" if tell else "is not told"
        typer.echo(f"request {request.id} is declined; {request.address} {outcome}")

    command_context(context).run(act)


async def _actor(parts: Parts, by: str | None) -> Actor:
    return await command_line_actor(parts.database, command_line_user(), by)


def _id(text: str) -> int:
    return parse_id(text, "'{}' is not the ID of a request; `requests list` shows them")


def _home(request: Request) -> str:
    return f"{country_name(request.country)}, {request.zone}"


def _wanted(request: Request) -> list[str]:
    """Return the slugs of the series that the person chose."""
    return [slug for slug, wanted in (request.follows or {}).items() if wanted]


def _age(request: Request, now: datetime) -> str:
    assert request.confirmed_at
    hours = int((now - request.confirmed_at).total_seconds()) // 3600
    return f"{hours // 24} days" if hours >= 48 else counted(hours, "hour")


def _document(request: Request, now: datetime) -> dict[str, object]:
    assert request.confirmed_at
    return {
        "id": request.id,
        "state": request.state,
        "name": request.name,
        "email": request.address,
        "country": request.country,
        "zone": request.zone,
        "locale": request.locale,
        "words": request.words,
        "follows": None if request.follows is None else _wanted(request),
        "confirmed_utc": request.confirmed_at.isoformat(),
        "age_hours": int((now - request.confirmed_at).total_seconds()) // 3600,
        "taken_utc": request.taken_at.isoformat() if request.taken_at else None,
        "answered_utc": request.answered_at.isoformat() if request.answered_at else None,
        "message": request.message,
    }
