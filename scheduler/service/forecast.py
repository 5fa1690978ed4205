"""What will be sent, to how many and when, as things stand; sends nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.occurrence import Occurrence, Series
from scheduler.domain.policy import (
    EVERY_ZONE,
    FOLLOW_UP_REACH,
    PLANNED,
    Kind,
    Policy,
    Wanted,
    next_occurrence,
    wanted,
)
from scheduler.service.settings_sync import adoption, derived, holds_for
from scheduler.store import members, notices, occurrences
from scheduler.store.database import Database
from scheduler.store.ledger import reports
from scheduler.store.ledger.reports import Waiting
from scheduler.store.notices import Notice

LOOK_AHEAD = timedelta(days=42)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """One due instant of a notice. `zone` is None where one instant serves all zones; `ready` is from when on the first
    of its deliveries may be sent, None where there is none yet. `number` is that of a notice that exists."""

    notice: str
    kind: str
    policy: str | None
    occurrence: str | None
    due: datetime
    expires: datetime
    zone: str | None
    recipients: int
    ready: datetime | None = None
    number: int | None = None
    subject: str = ""


async def forecast(
    database: Database,
    *,
    series: Sequence[Series],
    policies: Sequence[Policy],
    since: datetime,
    until: datetime,
    now: datetime,
) -> list[Forecast]:
    """The due instants from `since` to `until` by time; what is late but still useful goes out at once, and counts
    as due now."""
    async with database.read() as connection:
        people = await members.active_by_zone(connection)
        zones = await members.zones(connection)
        standing = {one.identity: one for one in await notices.open_notices(connection)}
        found = [
            row
            for want in await _wants(connection, series, policies, zones=zones, until=until, now=now)
            for row in await _of_want(connection, want, standing.get(want.identity), people=people, now=now)
        ]
        for notice in standing.values():
            if notice.kind not in PLANNED and not notice.stopped_at and not notice.unwanted:
                found += await _of_pressed(connection, notice)
    chosen = [row for row in found if row.expires > now and since <= max(row.due, now) and row.due <= until]
    return sorted(chosen, key=lambda row: (row.due, row.notice, row.zone or ""))


async def _wants(
    connection: AsyncConnection,
    all_series: Sequence[Series],
    policies: Sequence[Policy],
    *,
    zones: frozenset[str],
    until: datetime,
    now: datetime,
) -> list[Wanted]:
    adopted = await occurrences.adopted_policies(connection)
    adopted_series = await occurrences.adopted_series(connection)
    kept = await occurrences.all_occurrences(connection)
    gone = {one.identity for one in await notices.every(connection) if one.closed_at}
    found = []
    for series in all_series:
        mine = [policy for policy in policies if holds_for(policy, series)]
        known = adopted_series.get(series.slug)
        horizon = until + max((policy.longest_lead for policy in mine), default=timedelta())
        held = derived(
            series,
            kept,
            until=horizon,
            after=known.derived_until if known else None,
            adopted_at=known.adopted_at if known else now,
        )
        for policy in mine:
            since, new = adoption(adopted, series, policy, now)
            first = next_occurrence(held, since) if new else None
            for one in _to_tell_of(held, policy, now):
                want = wanted(
                    one,
                    policy,
                    zones=zones,
                    adopted_at=since,
                    invite_now=first is not None and one.key == first.key,
                )
                if want and want.identity not in gone:
                    found.append(want)
    return found


def _to_tell_of(held: Sequence[Occurrence], policy: Policy, now: datetime) -> list[Occurrence]:
    since = now - FOLLOW_UP_REACH if policy.kind is Kind.FOLLOW_UP else now
    return [one for one in held if one.starts > since]


async def _of_want(
    connection: AsyncConnection,
    want: Wanted,
    notice: Notice | None,
    *,
    people: Mapping[tuple[str, str], int],
    now: datetime,
) -> list[Forecast]:
    dues = {zone: (due, False) for zone, due in want.dues.items()}
    waiting = dict[str, Waiting]()
    if notice:
        if notice.stopped_at:
            return []
        waiting = await reports.waiting_by_zone(connection, notice.id)
        kept = await notices.dues_of(connection, notice.id)
        dues = {one.zone: (one.due, one.fanned_at is not None) for one in kept.values()} | {
            zone: pair for zone, pair in dues.items() if zone not in kept
        }
    number = notice.id if notice else None
    # Of what is due later everybody who is on the list now is in time: one look serves for all those instants.
    later = (
        await reports.missing_later(connection, want, people, notice=number)
        if any(due > now and not fanned for due, fanned in dues.values())
        else {}
    )
    rows = []
    for zone, (due, fanned) in dues.items():
        if fanned:
            lacking = dict[str, int]()
        elif due > now:
            lacking = later
        else:
            only = None if zone == EVERY_ZONE else zone
            lacking = await reports.missing_by_zone(connection, want, notice=number, due=due, zone=only)
        places = lacking.keys() | waiting.keys() if zone == EVERY_ZONE else {zone}
        made = [waiting[place] for place in places if place in waiting]
        count = sum(one.count for one in made) + sum(lacking.get(place, 0) for place in places)
        if count:
            rows.append(
                Forecast(
                    notice=want.identity,
                    kind=want.kind,
                    policy=want.policy,
                    occurrence=want.occurrence,
                    due=due,
                    expires=want.expires,
                    zone=None if zone == EVERY_ZONE else zone,
                    recipients=count,
                    ready=min((one.ready for one in made), default=None),
                )
            )
    return rows


async def _of_pressed(connection: AsyncConnection, notice: Notice) -> list[Forecast]:
    waiting = await reports.waiting_by_zone(connection, notice.id)
    dues = await notices.dues_of(connection, notice.id)
    rows = []
    for due in dues.values():
        made = [one for zone, one in waiting.items() if due.zone in (EVERY_ZONE, zone)]
        if made:
            rows.append(
                Forecast(
                    notice=notice.identity,
                    kind=notice.kind,
                    policy=None,
                    occurrence=notice.occurrence,
                    due=due.due,
                    expires=notice.expires,
                    zone=None if due.zone == EVERY_ZONE else due.zone,
                    recipients=sum(one.count for one in made),
                    ready=min(one.ready for one in made),
                    number=notice.id,
                    subject=notice.subject,
                )
            )
    return rows
