"""Commands that show what will be sent and what became of it."""

from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scheduler.cli.app import app
from scheduler.cli.door import LONGEST_NUMBER, door, require_near, show_json
from scheduler.domain.problem import Refused, SettingsProblem

if TYPE_CHECKING:
    from scheduler.bootstrap.wiring import Parts
    from scheduler.service.pacing import Paced
    from scheduler.store.ledger.reports import Report

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
    from scheduler.cli.pacing import show_plan
    from scheduler.service.forecasting import LOOK_AHEAD
    from scheduler.service.pacing import paced

    first = read_date(from_, "--from") if from_ else None
    last = read_date(to, "--to") if to else None
    if first and last and last < first:
        raise SettingsProblem(f"--to {last} lies before --from {first}")

    async def look(parts: "Parts") -> "tuple[list[Paced], float, datetime]":
        now = parts.clock.now()
        since = datetime.combine(first, time(), UTC) if first else now
        until = datetime.combine(last, time.max, UTC) if last else max(since, now) + LOOK_AHEAD
        rate = parts.settings.mail.rate
        found = await paced(
            parts.database, series=parts.series, policies=parts.policies, rate=rate, until=until, now=now
        )
        return [row for row in found if since <= max(row.forecast.due, now)], rate, now

    found, rate, now = door(context).run(look)
    rows = [row.forecast for row in found]
    if as_json:
        show_json([
            {
                "notice": row.notice, "kind": row.kind, "policy": row.policy, "occurrence": row.occurrence,
                "due_utc": row.due.isoformat(), "expires_utc": row.expires.isoformat(), "zone": row.zone,
                "recipients": row.recipients,
            }
            for row in rows
        ])  # fmt: skip
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
        from scheduler.delivery.letters import message_id
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

    rows = door(context).run(look)
    if as_json:
        show_json([row for row, _ in rows])
        return
    for row, number in rows:
        about = row["occurrence"] or f"notice {number}"
        when = row["sent_utc"] or row["due_utc"]
        reason = f" ({row['reason']})" if row["reason"] else ""
        typer.echo(f"{when[:16].replace('T', ' ')}  {row['state']:<9}  {row['policy'] or row['kind']:<12}  "
                   f"{about}  {row['email']}{reason}")  # fmt: skip
    typer.echo(f"{len(rows)} deliveries")


def _document(row: "Report", message: str) -> dict[str, Any]:
    return {
        "notice": row.identity, "kind": row.kind, "policy": row.policy, "occurrence": row.occurrence,
        "member": row.name, "email": row.address, "state": row.state, "attempts": row.attempts,
        "message_id": message if row.attempts else None, "due_utc": row.due.isoformat(),
        "sent_utc": row.sent_at.isoformat() if row.sent_at else None, "reason": row.reason,
    }  # fmt: skip
