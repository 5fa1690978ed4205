"""What comes back by mail: `ingest` takes it in, the `returns` commands show it."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from scheduler.cli.app import app as main_app
from scheduler.cli.command import (
    EXIT_USAGE,
    LONGEST_NUMBER,
    command_context,
    confirm,
    counted,
    fail,
    show_json,
    usage,
)

if TYPE_CHECKING:
    from scheduler.bootstrap.wiring import Parts
    from scheduler.store.returns import Return

app = typer.Typer(help="Look at what came back by mail.", no_args_is_help=True)

Number = Annotated[str, typer.Argument(metavar="ID")]
AsJson = Annotated[bool, typer.Option("--json")]

_PIECE = 64 * 1024
_MEGABYTE = 1024 * 1024


@main_app.command()
def ingest(
    context: typer.Context,
    recipient: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Whom the envelope names; without it the headers tell.")
    ] = "",
) -> None:
    """Take in one message on standard input: a bounce, a complaint, a calendar's answer, a wish to leave.

    Exit 0 when it is done with: acted upon, rightly discarded, kept for a look (`returns list`), or counted where too
    much waits for one. Otherwise nothing was done, and the message is to come again.
    """
    from scheduler.domain.inbound import LARGEST
    from scheduler.service.inbound import ingest as take_in

    octets = sys.stdin.buffer.read(LARGEST)
    # Whoever pipes it in is not to be cut off.
    while sys.stdin.buffer.read(_PIECE):
        pass

    async def act(parts: "Parts") -> str:
        return await take_in(
            parts.database,
            octets,
            recipient=recipient,
            keys=parts.keys,
            domain=parts.community.domain,
            now=parts.clock.now(),
            queue=parts.settings.inbox.queue_megabytes * _MEGABYTE,
        )

    typer.echo(command_context(context).run(act), err=True)


@app.command("list")
def list_(
    context: typer.Context,
    everything: Annotated[bool, typer.Option("--all", help="Bounces and complaints too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the messages that somebody has to look at; with --all everything that came back."""
    from scheduler.store import returns

    async def look(parts: "Parts") -> "list[Return]":
        async with parts.database.read() as connection:
            return await returns.every(connection, () if everything else ("review",))

    found = command_context(context).run(look)
    if as_json:
        show_json([_document(one) for one in found])
        return
    for one in found:
        typer.echo(
            f"{one.id:>5}  {one.came_at:%Y-%m-%d %H:%M} UTC  {one.kind:<9}  {one.address or '':<30}  {one.words}"
        )
    typer.echo(counted(len(found), "message") if found else "nothing waits for a look")


@app.command()
def show(
    context: typer.Context,
    number: Number,
    raw: Annotated[bool, typer.Option("--raw", help="The message itself alone, octet by octet.")] = False,
) -> None:
    """Show one message that came back."""
    from scheduler.domain.inbound import printable
    from scheduler.store import returns

    async def look(parts: "Parts") -> "tuple[Return, bytes] | None":
        async with parts.database.read() as connection:
            return await returns.by_id(connection, _number(number))

    found = command_context(context).run(look)
    if not found:
        fail(f"nothing came back as {number}; `returns list --all` shows what did")
    one, content = found
    if raw:
        sys.stdout.buffer.write(content)
        return
    whose = f", of {one.address}" if one.address else ""
    typer.echo(f"{one.id}: {one.kind}{whose}, came {one.came_at:%Y-%m-%d %H:%M} UTC")
    typer.echo(f"  {one.words}")
    # A terminal does what some octets say.
    for line in content.decode(errors="replace").splitlines():
        typer.echo(f"  | {printable(line)}")


@app.command()
def drop(
    context: typer.Context,
    number: Annotated[str, typer.Argument(metavar="[ID]", help="This message alone.")] = "",
    sender: Annotated[
        str, typer.Option("--from", metavar="TEXT", help="Those from a name or address with this in it.")
    ] = "",
    older_than: Annotated[
        str, typer.Option(metavar="DURATION", help="Those that came longer ago, as 7d or 12h.")
    ] = "",
    containing: Annotated[str, typer.Option(metavar="WORDS", help="Those that hold these words.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Forget a message that was looked at, or all waiting ones that fit every option given."""
    if bool(number) == any((sender.strip(), older_than, containing.strip())):
        fail(
            "name one message by its ID, or several by --from, --older-than or --containing", code=EXIT_USAGE
        )
    if number:
        _drop_one(context, number)
    else:
        _drop_fitting(context, sender.strip(), older_than, containing.strip(), yes=yes)


def _drop_one(context: typer.Context, number: str) -> None:
    from scheduler.store import returns

    async def act(parts: "Parts") -> bool:
        async with parts.database.write() as connection:
            return await returns.drop(connection, _number(number))

    if not command_context(context).run(act):
        fail(f"nothing came back as {number}; `returns list --all` shows what did")
    typer.echo(f"{number} is forgotten")


def _drop_fitting(
    context: typer.Context, sender: str, older_than: str, containing: str, *, yes: bool
) -> None:
    from scheduler.domain.clock import parse_duration
    from scheduler.service.returned_mail import drop_waiting, find_waiting

    with usage():
        age = parse_duration(older_than) if older_than else None

    async def look(parts: "Parts") -> list[int]:
        return await find_waiting(
            parts.database, sender=sender, older_than=age, containing=containing, now=parts.clock.now()
        )

    found = command_context(context).run(look)
    if not found:
        fail("no message that waits for a look fits; `returns list` shows them")
    confirm(
        f"Forget {counted(len(found), 'message')} for good?",
        yes=yes,
        otherwise=f"give --yes to forget {counted(len(found), 'message')} without being asked",
    )

    async def act(parts: "Parts") -> int:
        return await drop_waiting(parts.database, found)

    typer.echo(f"{counted(command_context(context).run(act), 'message')} forgotten")


def _number(text: str) -> int:
    if not text.isdecimal() or len(text) > LONGEST_NUMBER:
        fail(f"'{text}' is no number of a message; `returns list` shows them", code=EXIT_USAGE)
    return int(text)


def _document(one: "Return") -> dict[str, object]:
    return {
        "id": one.id,
        "kind": one.kind,
        "email": one.address,
        "came_utc": one.came_at.isoformat(),
        "words": one.words,
    }
