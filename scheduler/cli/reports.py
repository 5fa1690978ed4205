"""Commands that show what will be sent, and what became of it."""

from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scheduler.cli.app import app
from scheduler.cli.command import LONGEST_NUMBER, command_context, require_near, show_json
from scheduler.domain.errors import Refused, SettingsProblem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scheduler.bootstrap.wiring import Parts
    from scheduler.service.send_schedule import ScheduledSend, SendEstimate
    from scheduler.store.ledger.reports import Report


def show_plan(rows: "Sequence[ScheduledSend]", *, rate: float, zones: bool, now: datetime) -> None:
    """Print what will be sent, a notice a line, or with `zones` a due instant a line; with a rate, when the first and
    the last mail of each leave."""
    from scheduler.service.send_schedule import name_of

    lines: dict[object, list[ScheduledSend]] = {}
    for sending in rows:
        row = sending.forecast
        lines.setdefault((row.notice, row.zone, row.due) if zones else row.notice, []).append(sending)
    for line in lines.values():
        spans = [sending.span for sending in line]
        first, last = min(span.start for span in spans), max(span.finish for span in spans)
        pace = f"starts {_minute(first)}  ends {_minute(last)}  " if rate else ""
        late = "  LATE" if any(span.late for span in spans) else ""
        note = "  TOO LATE FOR SOME" if any(span.misses for span in spans) else late
        number = sum(sending.forecast.recipients for sending in line)
        when = _range([max(sending.forecast.due, now) for sending in line], now=now)
        names = [sending.forecast.zone for sending in line]
        where = f"{len(names)} zones" if len(names) > 1 else names[0] or "all zones"
        typer.echo(
            f"{when:<{20 if zones else 40}}  {pace}{number:>7}  {name_of(line[0].forecast)}  {where}{note}"
        )
    number = sum(row.forecast.recipients for row in rows)
    typer.echo(f"{number} mails in all{f', at {rate:g} a second' if rate else ''}; nothing was sent")


async def foreseen(
    parts: "Parts", *, recipients: "Mapping[str, int]", dues: "Mapping[str, datetime]", useful: timedelta
) -> "str":
    """What is to be said of how long a notice takes that goes to so many `recipients` at `dues` and is of use for
    `useful` after the last of these; empty without a rate."""
    from scheduler.service import send_schedule

    rate = parts.settings.mail.rate
    if not rate or not dues:
        return ""
    expires = max(dues.values()) + useful
    found = await send_schedule.estimate(
        parts.database,
        series=parts.series,
        policies=parts.policies,
        rate=rate,
        recipients=recipients,
        dues=dues,
        expires=expires,
        now=parts.clock.now(),
    )
    return _say(found, rate=rate, expires=expires) if found else ""


def _say(found: "Foreseen", *, rate: float, expires: datetime) -> str:
    from scheduler.domain.clock import format_duration

    text = (
        f"at {rate:g} a second that takes {format_duration(found.finish - found.start)}: "
        f"from {_minute(found.start)} to {_minute(found.finish)} UTC"
    )
    if found.misses:
        text += (
            f"\nit expires at {_minute(expires)} UTC, before the last has left: some would not get it; "
            "raise [mail] rate, or give a longer --expires"
        )
    for one in found.delays:
        text += f"\nit makes {one} late: send it at another time, or raise [mail] rate"
    return text


def _range(instants: "Sequence[datetime]", *, now: datetime) -> str:
    """`now`, an instant, or the first and the last; what was due before is sent now."""
    first, last = ("now" if one <= now else _minute(one) for one in (min(instants), max(instants)))
    return " to ".join(dict.fromkeys((first, last))) + ("" if last == "now" else " UTC")


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"


STATES = ("queued", "sending", "sent", "failed", "expired", "withdrawn", "skipped")


def read_date(text: str, option: str) -> date:
    """Raises SettingsProblem where `text` is no date, or one too far ahead."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise SettingsProblem(f"{option} '{text}' is no date; write YYYY-MM-DD") from None
    require_near(day, option)
    return day


@app.command()
def plan(
    context: typer.Context,
    from_: Annotated[
        str | None, typer.Option("--from", metavar="DATE", help="From this date on (UTC); now.")
    ] = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar="DATE", help="Up to and with this date; six weeks.")
    ] = None,
    zones: Annotated[bool, typer.Option("--zones", help="Each due instant on a line of its own.")] = False,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Show what will be sent, to how many, when. Sends nothing."""
    # DROPIMPORT
    from scheduler.service.forecast import LOOK_AHEAD
    from scheduler.service.send_schedule import schedule_sends

    first = read_date(from_, "--from") if from_ else None
    last = read_date(to, "--to") if to else None
    if first and last and last < first:
        raise SettingsProblem(f"--to {last} lies before --from {first}")

    async def look(parts: "Parts") -> "tuple[list[ScheduledSend], float, datetime]":
        now = parts.clock.now()
        since = datetime.combine(first, time(), UTC) if first else now
        until = datetime.combine(last, time.max, UTC) if last else max(since, now) + LOOK_AHEAD
        rate = parts.settings.mail.rate
        found = await schedule_sends(
            parts.database, series=parts.series, policies=parts.policies, rate=rate, until=until, now=now
        )
        return [row for row in found if since <= max(row.forecast.due, now)], rate, now

    found, rate, now = command_context(context).run(look)
    rows = [row.forecast for row in found]
    if as_json:
        show_json(
            [
                {
                    "notice": row.notice,
                    "kind": row.kind,
                    "policy": row.policy,
                    "occurrence": row.occurrence,
                    "due_utc": row.due.isoformat(),
                    "expires_utc": row.expires.isoformat(),
                    "zone": row.zone,
                    "recipients": row.recipients,
                }
                for row in rows
            ]
        )
        return
    show_plan(found, rate=rate, zones=zones, now=now)


@app.command()
def deliveries(
    context: typer.Context,
    notice: Annotated[str | None, typer.Option(metavar="ID", help="Of this notice only.")] = None,
    member: Annotated[str | None, typer.Option(metavar="EMAIL", help="To this member only.")] = None,
    state: Annotated[str | None, typer.Option(help=f"One of {', '.join(STATES)}.")] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Show what became of each mail."""
    if state is not None and state not in STATES:
        raise SettingsProblem(f"--state '{state}' is not known; accepted: {', '.join(STATES)}")

    async def look(parts: "Parts") -> list[tuple[dict[str, Any], int]]:
        from scheduler.delivery.compose.message_writer import message_id
        from scheduler.domain.address import address_key
        from scheduler.store import members, notices
        from scheduler.store.ledger.reports import reports

        async with parts.database.read() as connection:
            number = None
            if notice is not None:
                found = (
                    await notices.by_id(connection, int(notice))
                    if notice.isdecimal() and len(notice) <= LONGEST_NUMBER
                    else await notices.by_identity(connection, notice)
                )
                if not found:
                    raise Refused(f"there is no notice '{notice}'; `notice list` shows them")
                number = found.id
            person = None
            if member is not None:
                known = await members.by_key(connection, address_key(member))
                if not known:
                    raise Refused(f"there is no member '{member}'")
                person = known.id
            return [
                (
                    _document(row, message_id(parts.keys, parts.community, row.identity, row.member)),
                    row.notice,
                )
                async for row in reports(connection, notice=number, member=person, state=state)
            ]

    rows = command_context(context).run(look)
    if as_json:
        show_json([row for row, _ in rows])
        return
    for row, number in rows:
        about = row["occurrence"] or f"notice {number}"
        when = row["sent_utc"] or row["due_utc"]
        reason = f" ({row['reason']})" if row["reason"] else ""
        typer.echo(
            f"{when[:16].replace('T', ' ')}  {row['state']:<9}  {row['policy'] or row['kind']:<12}  "
            f"{about}  {row['email']}{reason}"
        )
    typer.echo(f"{len(rows)} deliveries")


def _document(row: "Report", message: str) -> dict[str, Any]:
    return {
        "notice": row.identity,
        "kind": row.kind,
        "policy": row.policy,
        "occurrence": row.occurrence,
        "member": row.name,
        "email": row.address,
        "state": row.state,
        "attempts": row.attempts,
        "message_id": message if row.attempts else None,
        "due_utc": row.due.isoformat(),
        "sent_utc": row.sent_at.isoformat() if row.sent_at else None,
        "reason": row.reason,
    }
