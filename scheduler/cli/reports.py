"""Commands that show what will be sent (`plan`) and what was sent (`deliveries`)."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Annotated, Any

import typer

from scheduler.bootstrap.wiring import Parts
from scheduler.cli.command import LONGEST_ID, AsJson, command_context, make_app, read_date, show_json
from scheduler.delivery.compose.message_writer import message_id
from scheduler.domain.address import address_key
from scheduler.domain.clock import format_duration
from scheduler.domain.errors import Refused, SettingsProblem
from scheduler.domain.text import counted
from scheduler.service import send_schedule
from scheduler.service.forecast import LOOK_AHEAD
from scheduler.service.send_schedule import ScheduledSend, SendEstimate, name_of, schedule_sends
from scheduler.store import members, notices
from scheduler.store.ledger.reports import Report, reports
from scheduler.store.schema import STATES

app = make_app()


@app.command()
def plan(
    context: typer.Context,
    from_: Annotated[
        str | None, typer.Option("--from", metavar="DATE", help="Start at this date (UTC); by default now.")
    ] = None,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="DATE", help="End with this date (UTC); by default in six weeks."),
    ] = None,
    zones: Annotated[bool, typer.Option("--zones", help="Print one line for each due instant.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what will be sent, to how many and when; send nothing."""
    first = read_date(from_, "--from") if from_ else None
    last = read_date(to, "--to") if to else None
    if first and last and last < first:
        raise SettingsProblem(f"--to {last} is before --from {first}")

    async def look(parts: Parts) -> tuple[list[ScheduledSend], float, datetime]:
        now = parts.clock.now()
        since = datetime.combine(first, time(), UTC) if first else now
        until = datetime.combine(last, time.max, UTC) if last else max(since, now) + LOOK_AHEAD
        rate = parts.settings.mail.rate
        schedule = await schedule_sends(
            parts.database, series=parts.series, policies=parts.policies, rate=rate, until=until, now=now
        )
        return [row for row in schedule if since <= max(row.forecast.due, now)], rate, now

    planned, rate, now = command_context(context).run(look)
    rows = [row.forecast for row in planned]
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
                    **({"on_hold": True} if row.on_hold else {}),
                }
                for row in rows
            ]
        )
        return
    show_plan(planned, rate=rate, zones=zones, now=now)


@app.command()
def deliveries(
    context: typer.Context,
    notice: Annotated[
        str | None, typer.Option(metavar="ID", help="Only this notice, by its ID or identity.")
    ] = None,
    member: Annotated[str | None, typer.Option(metavar="EMAIL", help="Only this member.")] = None,
    state: Annotated[str | None, typer.Option(help=f"Only this state: {', '.join(STATES)}.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what became of each mail."""
    if state is not None and state not in STATES:
        raise SettingsProblem(f"--state '{state}' is not known; accepted: {', '.join(STATES)}")

    async def look(parts: Parts) -> list[tuple[dict[str, Any], int]]:
        async with parts.database.read() as connection:
            notice_id = None
            if notice is not None:
                match = (
                    await notices.by_id(connection, int(notice))
                    if notice.isdecimal() and len(notice) <= LONGEST_ID
                    else await notices.by_identity(connection, notice)
                )
                if not match:
                    raise Refused(f"there is no notice '{notice}'; `notice list` shows them")
                notice_id = match.id
            member_id = None
            if member is not None:
                known = await members.by_key(connection, address_key(member))
                if not known:
                    raise Refused(f"there is no member '{member}'")
                member_id = known.id
            return [
                (
                    _document(row, message_id(parts.keys, parts.community, row.identity, row.member)),
                    row.notice,
                )
                async for row in reports(connection, notice=notice_id, member=member_id, state=state)
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
    typer.echo(counted(len(rows), "delivery", "deliveries"))


def _document(row: Report, message: str) -> dict[str, Any]:
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


def show_plan(rows: Sequence[ScheduledSend], *, rate: float, zones: bool, now: datetime) -> None:
    """Print what will be sent: one line for each notice, or with `zones` for each due instant.

    With a `rate`, in mails a second, a line shows when the first and the last mail leave.
    """
    lines: dict[object, list[ScheduledSend]] = {}
    for row in rows:
        notice = row.forecast
        lines.setdefault((notice.notice, notice.zone, notice.due) if zones else notice.notice, []).append(row)
    for line in lines.values():
        spans = [row.span for row in line]
        first, last = min(span.start for span in spans), max(span.finish for span in spans)
        pace = f"starts {_minute(first)}  ends {_minute(last)}  " if rate else ""
        late = "  LATE" if any(span.late for span in spans) else ""
        note = "  TOO LATE FOR SOME" if any(span.misses for span in spans) else late
        if line[0].forecast.on_hold:
            held = line[0].forecast.number
            note = f"  ON HOLD: `notice release {held}` sends it, `notice drop {held}` drops it"
        number = sum(row.forecast.recipients for row in line)
        when = _range([max(row.forecast.due, now) for row in line], now=now)
        names = [row.forecast.zone for row in line]
        zone = f"{len(names)} zones" if len(names) > 1 else names[0] or "all zones"
        typer.echo(
            f"{when:<{20 if zones else 40}}  {pace}{number:>7}  {name_of(line[0].forecast)}  {zone}{note}"
        )
    number = sum(row.forecast.recipients for row in rows if not row.forecast.on_hold)
    typer.echo(
        f"{counted(number, 'mail')} in all{f', at {rate:g} a second' if rate else ''}; nothing was sent"
    )


async def describe_duration(
    parts: Parts, *, recipients: Mapping[str, int], dues: Mapping[str, datetime], lifetime: timedelta
) -> str:
    """Return sentences on how long a notice takes to send, or "" without a [mail] rate.

    `recipients` and `dues` are by zone. The notice expires `lifetime` after the last due instant.
    """
    rate = parts.settings.mail.rate
    if not rate or not dues:
        return ""
    expires = max(dues.values()) + lifetime
    outlook = await send_schedule.estimate(
        parts.database,
        series=parts.series,
        policies=parts.policies,
        rate=rate,
        recipients=recipients,
        dues=dues,
        expires=expires,
        now=parts.clock.now(),
    )
    return _describe(outlook, rate=rate, expires=expires) if outlook else ""


def _describe(outlook: SendEstimate, *, rate: float, expires: datetime) -> str:
    text = (
        f"at {rate:g} a second that takes {format_duration(outlook.finish - outlook.start)}: "
        f"from {_minute(outlook.start)} to {_minute(outlook.finish)} UTC"
    )
    if outlook.misses:
        text += (
            f"\nit expires at {_minute(expires)} UTC, before the last mail leaves, so some members would not get it; "
            "raise [mail] rate or give a longer --expires"
        )
    for notice in outlook.delays:
        text += f"\nit makes {notice} late: send it at another time or raise [mail] rate"
    return text


def _range(instants: Sequence[datetime], *, now: datetime) -> str:
    """Return the first and the last instant as text; an instant that has passed is `now`."""
    first, last = (
        "now" if instant <= now else _minute(instant) for instant in (min(instants), max(instants))
    )
    return " to ".join(dict.fromkeys((first, last))) + ("" if last == "now" else " UTC")


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"
