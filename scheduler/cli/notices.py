"""The `notice` commands: tell people something, see what became of it, stop it."""

import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scheduler.cli.command import (
    LONGEST_HOLD,
    LONGEST_NUMBER,
    command_context,
    confirm,
    counted,
    fail,
    is_terminal,
    require_near,
    say_answers,
    show_json,
    usage,
)
from scheduler.cli.reports import foreseen
from scheduler.domain.clock import parse_duration
from scheduler.domain.errors import Refused

if TYPE_CHECKING:
    from scheduler.bootstrap.wiring import Parts
    from scheduler.store.notices import Notice

app = typer.Typer(help="Tell people something, and see what became of it.", no_args_is_help=True)

AUDIENCES = "all, convenors, coming:KEY, unanswered:KEY, country:XX, zone:Z, locale:L, list:FILE"
LOOK_SECONDS = 0.5
_LOCAL = re.compile(r"local:\d{4}-\d\d-\d\dT\d\d:\d\d")
_ADDRESS = re.compile(r"[^\s,;<>\"]+@[^\s,;<>\"]+")


def read_list(path: str) -> list[str]:
    """The addresses in a file, one in a line (further columns are ignored)."""
    try:
        from scheduler.domain.table import decode_text

        text = decode_text(Path(path).read_bytes())
    except OSError as error:
        raise Refused(f"audience list:{path} cannot be read: {error.strerror}") from None
    found = [match[0] for line in text.splitlines() if (match := _ADDRESS.search(line))]
    if not found:
        raise Refused(f"audience list:{path} has no address in it; write one in a line")
    return found


def read_at(text: str | None) -> datetime | str | None:
    """Raises Refused where `text` is neither an instant with an offset nor `local:YYYY-MM-DDTHH:MM`."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text.removeprefix("local:"))
    except ValueError:
        moment = None
    if moment:
        require_near(moment, "--at")
    if moment and text.startswith("local:") and _LOCAL.fullmatch(text):
        return text
    if moment and moment.tzinfo:
        return moment
    raise Refused(
        f"--at '{text}' is no instant; write 2026-11-19T17:00+00:00, "
        "or local:2026-11-19T09:00 for each member's own hour"
    )


@app.command()
def send(
    context: typer.Context,
    subject: Annotated[str, typer.Option(help="The subject of the mail.")],
    body: Annotated[
        Path, typer.Option(metavar="FILE.md", help="What to say, in Markdown; - reads standard input.")
    ],
    audience: Annotated[str, typer.Option(help=f"{AUDIENCES}; several joined by commas.")] = "all",
    at: Annotated[
        str | None,
        typer.Option(
            metavar="INSTANT",
            help="ISO 8601 with offset, or local:YYYY-MM-DDTHH:MM for each member's own hour.",
        ),
    ] = None,
    expires: Annotated[
        str, typer.Option(metavar="DURATION", help="How long after it is due it is still of use.")
    ] = "48h",
    hold: Annotated[
        int,
        typer.Option(
            metavar="SECONDS", min=0, max=LONGEST_HOLD, help="Wait before the first mail, to stop it."
        ),
    ] = 0,
    wait: Annotated[bool, typer.Option("--wait", help="Stay and show progress.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say to how many it would go; send nothing.")
    ] = False,
    test_to: Annotated[
        str | None, typer.Option(metavar="EMAIL", help="Send it to this one member only.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Send a notice, now or at an instant. A running `serve` sends it."""
    from scheduler.delivery.compose.markdown import placeholders
    from scheduler.domain.address import address_key
    from scheduler.domain.audience import parse_audience
    from scheduler.service import notices
    from scheduler.service.occurrences import require_meetings
    from scheduler.store import members

    with usage():
        moment, useful = read_at(at), parse_duration(expires)
        if not useful:
            raise Refused(
                f"--expires {expires}: it would be of no use from the beginning; give a length of time"
            )
        if not test_to:
            terms = parse_audience(audience, read_list=read_list)
    if test_to:
        audience, terms = f"test to {test_to}", {"address": [address_key(test_to)]}
    text = _read_body(body)
    notices.require_words(subject, text)
    for found in placeholders(f"{subject}\n{text}"):
        typer.echo(f"warning: '{found}' is sent as it is typed; notices have no placeholders", err=True)

    async def count(parts: "Parts") -> tuple[int, str]:
        async with parts.database.read() as connection:
            await require_meetings(
                connection, {one.slug: one for one in parts.series}, terms, now=parts.clock.now()
            )
            recipients = await members.audience_by_zone(connection, terms, kind="notice")
            zones = await members.zones(connection)
        dues = notices.when_due(zones, at=moment, hold=timedelta(seconds=hold), now=parts.clock.now())
        return sum(recipients.values()), await foreseen(
            parts, recipients=recipients, dues=dues, useful=useful
        )

    async def press(parts: "Parts") -> None:
        pressed = await notices.send_notice(
            parts.database,
            subject=subject,
            body=text,
            audience=terms,
            audience_text=audience,
            now=parts.clock.now(),
            at=moment,
            expires=useful,
            hold=timedelta(seconds=hold),
        )
        typer.echo(f"notice {pressed.notice} goes to {counted(pressed.recipients, 'member')}")
        if wait:
            await _wait(parts, pressed.notice)

    number, pace = command_context(context).run(count)
    if not number and not dry_run:
        raise Refused(f"the audience '{audience}' has no active member; nobody was told")
    if dry_run:
        typer.echo(f"would go to {counted(number, 'member')}; nothing was sent")
    if pace:
        typer.echo(pace)
    if dry_run:
        return
    if not test_to:
        question = f"Send '{subject}' to {counted(number, 'member')}?"
        confirm(question, yes=yes, otherwise="give --yes to send without being asked")
    command_context(context).run(press)


def _read_body(path: Path) -> str:
    try:
        return (
            typer.get_text_stream("stdin").read()
            if str(path) == "-"
            else path.read_text(encoding="utf-8-sig")
        )
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise Refused(f"--body {path} cannot be read: {reason}") from None


async def _wait(parts: "Parts", number: int) -> None:
    """Show progress until nothing of the notice is left to send. Raises Refused where no `serve` is running."""
    import asyncio

    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from scheduler.service.health import is_served
    from scheduler.store.ledger import reports

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TextColumn("{task.fields[rate]}"),
    )
    patience = 10
    with Progress(*columns, TimeRemainingColumn(), disable=not is_terminal()) as progress:
        task = progress.add_task("sending", total=None, rate="")
        while True:
            async with parts.database.read() as connection:
                states = await reports.states(connection, number)
                served = await is_served(connection, parts.clock.now())
            left = states.get("queued", 0) + states.get("sending", 0)
            speed = progress.tasks[0].speed
            progress.update(
                task,
                total=sum(states.values()),
                completed=sum(states.values()) - left,
                rate=f"{speed:.0f} a second" if speed else "",
            )
            if not left:
                break
            patience = 10 if served else patience - 1
            if not patience:
                raise Refused(
                    f"notice {number} waits, but no `serve` is running; start it, and it will be sent"
                )
            await asyncio.sleep(LOOK_SECONDS)
    typer.echo(", ".join(f"{count} {state}" for state, count in sorted(states.items())))


def _row(
    notice: "Notice", states: dict[str, int], due: "tuple[datetime, datetime] | None" = None
) -> dict[str, object]:
    first, last = (one.isoformat() for one in due) if due else (None, None)
    return {
        "id": notice.id,
        "notice": notice.identity,
        "kind": notice.kind,
        "policy": notice.policy,
        "occurrence": notice.occurrence,
        "subject": notice.subject,
        "audience": notice.audience,
        "created_utc": notice.created_at.isoformat(),
        "expires_utc": notice.expires.isoformat(),
        "stopped": notice.stopped_at is not None,
        "withdrawn": notice.unwanted or "",
        "deliveries": states,
        "due_utc": first,
        "last_due_utc": last,
    }


@app.command("list")
def list_(context: typer.Context, as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """Show all notices, the newest last."""
    from scheduler.store import notices as notices_store
    from scheduler.store.ledger import reports

    async def rows(parts: "Parts") -> list[dict[str, object]]:
        async with parts.database.read() as connection:
            states, dues = (
                await reports.states_by_notice(connection),
                await notices_store.due_spans(connection),
            )
            return [
                _row(one, states.get(one.id, {}), dues.get(one.id))
                for one in await notices_store.every(connection)
            ]

    found = command_context(context).run(rows)
    if as_json:
        show_json([_document(row) for row in found])
        return
    for row in found:
        _print_row(row)
    if not found:
        typer.echo("no notices yet")


def _document(row: dict[str, object]) -> dict[str, object]:
    """The row as --json has it."""
    return {name: value for name, value in row.items() if name not in ("due_utc", "last_due_utc")}


def _print_row(row: dict[str, object]) -> None:
    states = row["deliveries"]
    assert isinstance(states, dict)
    about = row["occurrence"] or row["subject"]
    flags = " (stopped)" if row["stopped"] else f" ({row['withdrawn']})" if row["withdrawn"] else ""
    counts = ", ".join(f"{count} {state}" for state, count in sorted(states.items())) or "no deliveries yet"
    first, last = (str(row[name] or "")[:16].replace("T", " ") for name in ("due_utc", "last_due_utc"))
    when = "not due" if not first else f"{first} UTC" if first == last else f"{first} to {last} UTC"
    what = row["kind"] if row["policy"] in (None, row["kind"]) else f"{row['kind']} {row['policy']}"
    typer.echo(f"{row['id']:>5}  {what:<22}  {when:<40}  {about}{flags}: {counts}")


def _number(text: str) -> int:
    if not text.isdecimal() or len(text) > LONGEST_NUMBER:
        fail(f"'{text}' is no notice; give its number, as `notice list` shows it", code=2)
    return int(text)


@app.command()
def show(
    context: typer.Context, notice: str, as_json: Annotated[bool, typer.Option("--json")] = False
) -> None:
    """Show one notice and what became of it."""
    from scheduler.service.notices import require_notice
    from scheduler.store import answers
    from scheduler.store import notices as notices_store
    from scheduler.store.ledger import reports

    async def one(parts: "Parts") -> dict[str, object]:
        async with parts.database.read() as connection:
            found = await require_notice(connection, _number(notice))
            given = await answers.count_answers(connection, found.occurrence) if found.occurrence else {}
            states = await reports.states(connection, found.id)
            due = (await notices_store.due_spans(connection, found.id)).get(found.id)
            return _row(found, states, due) | {"answers": given, "body": found.body}

    row = command_context(context).run(one)
    if as_json:
        show_json(_document(row))
        return
    _print_row(row)
    typer.echo(
        f"       created {row['created_utc']}, of use until {row['expires_utc']}, for {row['audience']}"
    )
    if row["occurrence"] and isinstance(given := row["answers"], dict):
        typer.echo(f"       answers to {row['occurrence']}: {say_answers(given)}")
    if row["body"]:
        typer.echo(f"\n{row['subject']}\n\n{row['body']}")


@app.command()
def stop(context: typer.Context, notice: str) -> None:
    """Stop a notice: what has not left yet does not leave."""
    from scheduler.service import notices

    async def act(parts: "Parts") -> dict[str, int]:
        return await notices.stop(parts.database, _number(notice), parts.clock.now())

    states = command_context(context).run(act)
    typer.echo(f"stopped: {states.get('withdrawn', 0)} withdrawn, {states.get('sent', 0)} had left")


@app.command("resend-missed")
def resend_missed(
    context: typer.Context,
    notice: str,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Send a stopped or failed notice to those who have not had it."""
    from scheduler.service import notices

    async def count(parts: "Parts") -> int:
        return await notices.count_missed(parts.database, _number(notice))

    async def act(parts: "Parts") -> int:
        return await notices.resend_missed(parts.database, _number(notice), parts.clock.now())

    if (number := command_context(context).run(count)) > 1:
        question = f"Send notice {notice} to {counted(number, 'member')} who have not had it?"
        confirm(
            question,
            yes=yes,
            otherwise=f"this mails {number} members; give --yes to send without being asked",
        )
    typer.echo(f"{command_context(context).run(act)} are queued again")
