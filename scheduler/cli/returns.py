"""The `returns` commands: review mail that came back."""

import sys
from typing import Annotated

import typer

from scheduler.bootstrap.wiring import Parts
from scheduler.cli.app import EXIT_USAGE
from scheduler.cli.command import (
    AsJson,
    Yes,
    command_context,
    command_line_user,
    confirm,
    fail,
    make_app,
    parse_id,
    show_json,
    usage,
)
from scheduler.domain.clock import parse_duration
from scheduler.domain.inbound import printable
from scheduler.domain.occurrence import ANSWERS
from scheduler.domain.text import counted
from scheduler.service.returned_mail import (
    SETTLEMENTS,
    drop_message,
    drop_waiting,
    find_waiting,
    settle_message,
)
from scheduler.store import returns
from scheduler.store.members import Member
from scheduler.store.returns import Return

app = make_app("Review mail that came back.")

Number = Annotated[str, typer.Argument(metavar="ID")]


@app.command("list")
def list_(
    context: typer.Context,
    everything: Annotated[bool, typer.Option("--all", help="Include bounces and complaints.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show messages that need review; with --all, everything that came back."""

    async def look(parts: Parts) -> list[Return]:
        async with parts.database.read() as connection:
            return await returns.every(connection, () if everything else ("review",))

    messages = command_context(context).run(look)
    if as_json:
        show_json([_document(message) for message in messages])
        return
    for message in messages:
        typer.echo(
            f"{message.id:>5}  {message.came_at:%Y-%m-%d %H:%M} UTC  {message.kind:<9}  "
            f"{message.address or '':<30}  {message.words}"
        )
    typer.echo(counted(len(messages), "message") if messages else "no message needs review")


@app.command()
def show(
    context: typer.Context,
    number: Number,
    raw: Annotated[bool, typer.Option("--raw", help="Print only the original message, unchanged.")] = False,
) -> None:
    """Show one message that came back."""

    async def look(parts: Parts) -> tuple[Return, bytes] | None:
        async with parts.database.read() as connection:
            return await returns.by_id(connection, _id(number))

    result = command_context(context).run(look)
    if not result:
        fail(_NO_SUCH_MESSAGE.format(number))
    message, content = result
    if raw:
        sys.stdout.buffer.write(content)
        return
    member = f", of {message.address}" if message.address else ""
    typer.echo(f"{message.id}: {message.kind}{member}, received {message.came_at:%Y-%m-%d %H:%M} UTC")
    typer.echo(f"  {message.words}")
    # The message may contain control sequences for the terminal.
    for line in content.decode(errors="replace").splitlines():
        typer.echo(f"  | {printable(line)}")


@app.command()
def drop(
    context: typer.Context,
    number: Annotated[str, typer.Argument(metavar="[ID]", help="Only this message.")] = "",
    sender: Annotated[
        str,
        typer.Option("--from", metavar="TEXT", help="Messages whose sender's name or address contains TEXT."),
    ] = "",
    older_than: Annotated[
        str, typer.Option(metavar="DURATION", help="Messages received longer ago, for example 7d or 12h.")
    ] = "",
    containing: Annotated[str, typer.Option(metavar="WORDS", help="Messages that contain these words.")] = "",
    yes: Yes = False,
) -> None:
    """Delete one message, or all messages waiting for review that match every option given."""
    if bool(number) == any((sender.strip(), older_than, containing.strip())):
        fail(
            "give the ID of one message, or --from, --older-than or --containing for several", code=EXIT_USAGE
        )
    if number:
        _drop_one(context, number)
    else:
        _drop_matching(context, sender.strip(), older_than, containing.strip(), yes=yes)


@app.command()
def settle(
    context: typer.Context,
    number: Number,
    email: Annotated[str, typer.Argument(metavar="EMAIL", help="The member it is about.")],
    settlement: Annotated[
        str, typer.Argument(metavar="WHAT", help="leave, suppress, lift, coming, maybe or declined.")
    ],
    meeting: Annotated[
        str, typer.Option(metavar="KEY", help="The meeting that they answered, as SERIES/DATE.")
    ] = "",
) -> None:
    """Do what a message waiting for review asks for, and delete it."""
    if settlement not in SETTLEMENTS:
        fail(f"'{settlement}' is unknown; give one of {', '.join(SETTLEMENTS)}", code=EXIT_USAGE)
    if (settlement in ANSWERS) is not bool(meeting):
        fail("give --meeting with an answer, and only then", code=EXIT_USAGE)

    async def act(parts: Parts) -> Member:
        return await settle_message(
            parts.database,
            _id(number),
            address=email,
            settlement=settlement,
            key=meeting,
            all_series={series.slug: series for series in parts.series},
            by=command_line_user(),
            now=parts.clock.now(),
        )

    member = command_context(context).run(act)
    typer.echo(f"{member.address}: {_SETTLED.get(settlement, f'answered {settlement}')}; message deleted")


_SETTLED = {
    "leave": "has left",
    "suppress": "gets no mail until the address works again",
    "lift": "gets mail again",
}


def _drop_one(context: typer.Context, number: str) -> None:
    async def act(parts: Parts) -> bool:
        return await drop_message(parts.database, _id(number), by=command_line_user(), now=parts.clock.now())

    if not command_context(context).run(act):
        fail(_NO_SUCH_MESSAGE.format(number))
    typer.echo(f"message {number} deleted")


def _drop_matching(
    context: typer.Context, sender: str, older_than: str, containing: str, *, yes: bool
) -> None:
    with usage():
        age = parse_duration(older_than) if older_than else None

    async def look(parts: Parts) -> list[int]:
        return await find_waiting(
            parts.database, sender=sender, older_than=age, containing=containing, now=parts.clock.now()
        )

    ids = command_context(context).run(look)
    if not ids:
        fail("no message waiting for review matches; `returns list` shows them")
    confirm(
        f"Delete {counted(len(ids), 'message')}? This cannot be undone.",
        yes=yes,
        otherwise=f"give --yes to delete {counted(len(ids), 'message')} without being asked",
    )

    async def act(parts: Parts) -> int:
        return await drop_waiting(parts.database, ids)

    typer.echo(f"{counted(command_context(context).run(act), 'message')} deleted")


_NO_SUCH_MESSAGE = "there is no message {}; `returns list --all` shows what came back"


def _id(text: str) -> int:
    return parse_id(text, "'{}' is not the ID of a message; `returns list` shows them")


def _document(message: Return) -> dict[str, object]:
    return {
        "id": message.id,
        "kind": message.kind,
        "email": message.address,
        "came_utc": message.came_at.isoformat(),
        "words": message.words,
    }
