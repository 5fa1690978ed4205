"""The `notice` commands: send a notice, show what became of it, stop it."""

import asyncio
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from scheduler.bootstrap.wiring import Parts
from scheduler.bootstrap.worker import make_preview_writer
from scheduler.cli.command import (
    LONGEST_HOLD,
    AsJson,
    DryRun,
    Yes,
    command_context,
    command_line_user,
    confirm,
    describe_answers,
    is_terminal,
    make_app,
    parse_id,
    read_file,
    read_text_file,
    show_json,
    usage,
)
from scheduler.cli.preview import PreviewFor, show_preview
from scheduler.cli.reports import describe_duration
from scheduler.delivery.compose.markdown import foreign_placeholders
from scheduler.domain.address import address_key, first_addresses
from scheduler.domain.audience import ACCEPTED, Audience, parse_audience
from scheduler.domain.clock import parse_duration
from scheduler.domain.errors import Refused
from scheduler.domain.occurrence import Occurrence, slugs_by_choice
from scheduler.domain.placeholder import suggest
from scheduler.domain.table import decode_text
from scheduler.domain.text import counted
from scheduler.service import holds
from scheduler.service import notices as notice_service
from scheduler.service.health import is_served
from scheduler.service.members import find_member
from scheduler.service.occurrences import require_meetings
from scheduler.service.placeholders import find_mentioned, store_mentioned
from scheduler.service.preview import Preview, preview_notice
from scheduler.store import answers, members, notices
from scheduler.store.ledger import reports
from scheduler.store.notices import Notice

app = make_app("Send notices, and see or stop what is being sent.")

POLL_SECONDS = 0.5
POLLS_WITHOUT_SERVE = 10
"""How often --wait looks for a running `serve` before it gives up."""


def read_list(path: str) -> list[str]:
    """Return the first address of each line of a file. Raises Refused if it cannot be read or has none."""
    addresses = first_addresses(decode_text(read_file(Path(path), "audience list:")))
    if not addresses:
        raise Refused(f"audience list:{path} has no address in it; write one on each line")
    return addresses


@app.command()
def send(
    context: typer.Context,
    subject: Annotated[str, typer.Option(help="The subject of the mail.")],
    body: Annotated[
        Path, typer.Option(metavar="FILE.md", help="The text, in Markdown; - reads standard input.")
    ],
    audience: Annotated[
        str, typer.Option(help=f"Who gets it: {ACCEPTED}; join several with commas.")
    ] = "all",
    at: Annotated[
        str | None,
        typer.Option(
            metavar="INSTANT",
            help="When to send it: ISO 8601 with offset, or local:YYYY-MM-DDTHH:MM for each member's own local time.",
        ),
    ] = None,
    expires: Annotated[
        str, typer.Option(metavar="DURATION", help="How long after it is due it is still worth sending.")
    ] = "48h",
    hold: Annotated[
        int,
        typer.Option(
            metavar="SECONDS",
            min=0,
            max=LONGEST_HOLD,
            help="Wait this long before the first mail, so that you can stop it.",
        ),
    ] = 0,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it is sent, and show progress.")] = False,
    meeting: Annotated[
        str,
        typer.Option(
            metavar="KEY",
            help="The meeting that placeholders such as {when} and {join_link} are about; else the next one.",
        ),
    ] = "",
    dry_run: DryRun = False,
    preview_for: PreviewFor = "",
    test_to: Annotated[str | None, typer.Option(metavar="EMAIL", help="Send it only to this member.")] = None,
    yes: Yes = False,
) -> None:
    """Write a notice for members, to be sent now or later by the running `serve`."""
    with usage():
        moment, lifetime = notice_service.read_due(at), parse_duration(expires)
        if not lifetime:
            raise Refused(f"--expires {expires}: it would expire before it is sent; give a longer time")
        if not test_to:
            series = command_context(context).settings.series
            terms = parse_audience(audience, all_series=series, read_list=read_list)
    if test_to:
        audience = f"{notices.TEST_AUDIENCE}{test_to}"
        terms = Audience(terms={"address": [address_key(test_to)]})
    text = read_text_file(body, "--body ")
    notice_service.require_words(subject, text)
    for placeholder in foreign_placeholders(f"{subject}\n{text}"):
        typer.echo(f"warning: '{placeholder}' is sent as you typed it; {suggest('')}", err=True)

    async def mentioned(parts: Parts) -> Occurrence | None:
        by_slug = {series.slug: series for series in parts.series}
        async with parts.database.read() as connection:
            return await find_mentioned(
                connection,
                by_slug,
                subject=subject,
                body=text,
                meeting=meeting,
                audience=terms,
                now=parts.clock.now(),
            )

    async def count(parts: Parts) -> tuple[int, str]:
        await mentioned(parts)
        async with parts.database.read() as connection:
            await require_meetings(
                connection, {series.slug: series for series in parts.series}, terms, now=parts.clock.now()
            )
            recipients = await members.audience_by_zone(connection, terms, kind="notice")
            zones = await members.zones(connection)
        dues = notice_service.when_due(zones, at=moment, hold=timedelta(seconds=hold), now=parts.clock.now())
        return sum(recipients.values()), await describe_duration(
            parts, recipients=recipients, dues=dues, lifetime=lifetime
        )

    async def act(parts: Parts) -> None:
        if about := await mentioned(parts):
            by_slug = {series.slug: series for series in parts.series}
            await store_mentioned(parts.database, by_slug, about, now=parts.clock.now())
        published = await notice_service.send_notice(
            parts.database,
            subject=subject,
            body=text,
            audience=terms,
            audience_text=audience,
            now=parts.clock.now(),
            at=moment,
            expires=lifetime,
            hold=timedelta(seconds=hold),
            mentions=about.key if about else None,
            by=command_line_user(),
        )
        typer.echo(f"notice {published.notice} goes to {counted(published.recipients, 'member')}")
        if wait:
            await _wait(parts, published.notice)

    async def look(parts: Parts) -> Preview:
        return await preview_notice(
            parts.database,
            make_preview_writer(parts),
            await find_member(parts.database, preview_for),
            subject=subject,
            body=text,
            audience=audience,
            mentioned=await mentioned(parts),
            now=parts.clock.now(),
        )

    if preview_for:
        show_preview(command_context(context).run(look))
        return
    number, duration = command_context(context).run(count)
    if not number and not dry_run:
        raise Refused(f"the audience '{audience}' has no active member; nothing was sent")
    if dry_run:
        typer.echo(f"would go to {counted(number, 'member')}; nothing was sent")
    if duration:
        typer.echo(duration)
    if dry_run:
        return
    if not test_to:
        question = f"Send '{subject}' to {counted(number, 'member')}?"
        confirm(question, yes=yes, otherwise="give --yes to send without being asked")
    command_context(context).run(act)


async def _wait(parts: Parts, number: int) -> None:
    """Show progress until no delivery of the notice is left to send. Raises Refused if no `serve` is running."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TextColumn("{task.fields[rate]}"),
    )
    polls_left = POLLS_WITHOUT_SERVE
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
            polls_left = POLLS_WITHOUT_SERVE if served else polls_left - 1
            if not polls_left:
                raise Refused(
                    f"notice {number} is waiting, but no `serve` is running; start `serve` to send it"
                )
            await asyncio.sleep(POLL_SECONDS)
    typer.echo(", ".join(f"{count} {state}" for state, count in sorted(states.items())))


def _row(
    notice: Notice, states: dict[str, int], due: tuple[datetime, datetime] | None = None
) -> dict[str, object]:
    first, last = (instant.isoformat() for instant in due) if due else (None, None)
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
        "on_hold": notice.held_at is not None,
        "withdrawn": notice.unwanted or "",
        "deliveries": states,
        "due_utc": first,
        "last_due_utc": last,
        "about": notice.occurrence or notice.subject or (notice.details or {}).get("occurrence", ""),
    }


@app.command("list")
def list_(context: typer.Context, as_json: AsJson = False) -> None:
    """Show all notices, newest last."""

    async def look(parts: Parts) -> list[dict[str, object]]:
        async with parts.database.read() as connection:
            states, dues = (
                await reports.states_by_notice(connection),
                await notices.due_spans(connection),
            )
            return [
                _row(notice, states.get(notice.id, {}), dues.get(notice.id))
                for notice in await notices.every(connection)
            ]

    rows = command_context(context).run(look)
    if as_json:
        show_json([_document(row) for row in rows])
        return
    for row in rows:
        _print_row(row)
    if not rows:
        typer.echo("no notices yet")


def _document(row: dict[str, object]) -> dict[str, object]:
    """Return the row as --json prints it."""
    return {name: value for name, value in row.items() if name not in ("due_utc", "last_due_utc", "about")}


def _print_row(row: dict[str, object]) -> None:
    states = row["deliveries"]
    assert isinstance(states, dict)
    flags = " (stopped)" if row["stopped"] else f" ({row['withdrawn']})" if row["withdrawn"] else ""
    flags = flags or (" (on hold)" if row["on_hold"] else "")
    counts = ", ".join(f"{count} {state}" for state, count in sorted(states.items())) or "no deliveries yet"
    first, last = (str(row[name] or "")[:16].replace("T", " ") for name in ("due_utc", "last_due_utc"))
    when = "not due" if not first else f"{first} UTC" if first == last else f"{first} to {last} UTC"
    what = row["kind"] if row["policy"] in (None, row["kind"]) else f"{row['kind']} {row['policy']}"
    typer.echo(f"{row['id']:>5}  {what:<22}  {when:<40}  {row['about']}{flags}: {counts}")


def _id(text: str) -> int:
    return parse_id(text, "'{}' is not the ID of a notice; `notice list` shows them")


@app.command()
def show(context: typer.Context, notice: str, as_json: AsJson = False) -> None:
    """Show one notice and the state of its deliveries."""

    async def look(parts: Parts) -> dict[str, object]:
        async with parts.database.read() as connection:
            row = await notice_service.require_notice(connection, _id(notice))
            counts = await answers.count_answers(connection, row.occurrence) if row.occurrence else {}
            states = await reports.states(connection, row.id)
            due = (await notices.due_spans(connection, row.id)).get(row.id)
            uncertain = await reports.count_uncertain(connection, row.id)
            return _row(row, states, due) | {"answers": counts, "body": row.body, "uncertain": uncertain}

    row = command_context(context).run(look)
    if as_json:
        show_json(_document(row))
        return
    _print_row(row)
    typer.echo(f"       created {row['created_utc']}, expires {row['expires_utc']}, for {row['audience']}")
    if row["uncertain"]:
        typer.echo(
            f"       {row['uncertain']} of those sent may not have arrived: the service or the relay's connection was "
            "interrupted meanwhile"
        )
    if row["occurrence"] and isinstance(counts := row["answers"], dict):
        typer.echo(f"       answers to {row['occurrence']}: {describe_answers(counts)}")
    if row["body"]:
        typer.echo(f"\n{row['subject']}\n\n{row['body']}")


@app.command()
def stop(context: typer.Context, notice: str) -> None:
    """Stop a notice; mails that have not been sent yet are withdrawn."""

    async def act(parts: Parts) -> tuple[dict[str, int], int]:
        number = _id(notice)
        states = await notice_service.stop(parts.database, number, parts.clock.now(), by=command_line_user())
        async with parts.database.read() as connection:
            return states, await reports.count_uncertain(connection, number)

    states, uncertain = command_context(context).run(act)
    perhaps = f", {uncertain} perhaps sent" if uncertain else ""
    typer.echo(
        f"stopped: {states.get('withdrawn', 0)} withdrawn, {states.get('sent', 0) - uncertain} already sent{perhaps}"
    )


@app.command()
def hold(context: typer.Context, notice: str) -> None:
    """Hold what a policy is about to send, until you release or drop it; it expires all the same."""

    async def act(parts: Parts) -> Notice:
        return await holds.hold(parts.database, _id(notice), now=parts.clock.now(), by=command_line_user())

    held = command_context(context).run(act)
    typer.echo(
        f"notice {held.id} is on hold: `notice release {held.id}` sends it, `notice drop {held.id}` drops it; "
        f"it expires at {held.expires:%Y-%m-%d %H:%M} UTC"
    )


@app.command()
def release(context: typer.Context, notice: str, yes: Yes = False) -> None:
    """Let a notice be sent that is on hold; what is due of it leaves at once."""

    async def count(parts: Parts) -> int:
        async with parts.database.read() as connection:
            states = await reports.states(connection, _id(notice))
            due = (await notices.due_spans(connection, _id(notice))).get(_id(notice))
        return states.get("queued", 0) if due and due[0] <= parts.clock.now() else 0

    async def act(parts: Parts) -> Notice:
        return await holds.release(parts.database, _id(notice), now=parts.clock.now(), by=command_line_user())

    if (number := command_context(context).run(count)) > 1:
        confirm(
            f"Release notice {notice}, which is due, to {counted(number, 'member')}?",
            yes=yes,
            otherwise=f"this mails up to {counted(number, 'member')}; give --yes to send without being asked",
        )
    released = command_context(context).run(act)
    typer.echo(f"notice {released.id} is no longer on hold; `plan` shows when it is sent")


@app.command()
def drop(context: typer.Context, notice: str) -> None:
    """Drop a notice that is on hold: nobody else gets it."""

    async def act(parts: Parts) -> Notice:
        return await holds.drop(parts.database, _id(notice), now=parts.clock.now(), by=command_line_user())

    typer.echo(f"notice {command_context(context).run(act).id} is dropped; nobody else gets it")


@app.command("resend-missed")
def resend_missed(
    context: typer.Context,
    notice: str,
    yes: Yes = False,
) -> None:
    """Send a stopped or failed notice to the members who have not received it."""

    async def count(parts: Parts) -> int:
        by_choice = slugs_by_choice(parts.series)
        return await notice_service.count_missed(parts.database, _id(notice), by_choice=by_choice)

    async def act(parts: Parts) -> int:
        by_choice, now = slugs_by_choice(parts.series), parts.clock.now()
        return await notice_service.resend_missed(
            parts.database, _id(notice), now, by_choice=by_choice, by=command_line_user()
        )

    if (number := command_context(context).run(count)) > 1:
        question = f"Send notice {notice} to {counted(number, 'member')} who have not received it?"
        confirm(
            question,
            yes=yes,
            otherwise=f"this mails {counted(number, 'member')}; give --yes to send without being asked",
        )
    typer.echo(f"{counted(command_context(context).run(act), 'mail is', 'mails are')} queued again")
