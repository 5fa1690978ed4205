"""Forecast what will be sent, to how many members and when, as things are now. Sends nothing."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.occurrence import Occurrence, Series, slugs_by_choice
from scheduler.domain.policy import (
    EVERY_ZONE,
    FOLLOW_UP_REACH,
    PLANNED,
    Kind,
    Policy,
    Wait,
    Wanted,
    late_invitations,
    wait_before,
)
from scheduler.service.settings_sync import adoption, applies_to, horizon, wanted_notices, with_derived
from scheduler.store import members, notices, occurrences
from scheduler.store.database import Database
from scheduler.store.ledger import reports
from scheduler.store.ledger.fan_out import Reach
from scheduler.store.ledger.reports import Waiting
from scheduler.store.notices import Due, Notice

LOOK_AHEAD = timedelta(days=42)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """One due instant of a notice. All instants are in UTC.

    `zone` is None if one instant serves all zones. `ready` is the instant from which the first of its deliveries may
    be sent, None if there is no delivery yet. `number` is the notice's number if the notice exists. If it is `on_hold`,
    nothing of it is sent until a convenor releases it.
    """

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
    on_hold: bool = False


async def forecast(
    database: Database,
    *,
    series: Sequence[Series],
    policies: Sequence[Policy],
    since: datetime,
    until: datetime,
    now: datetime,
) -> list[Forecast]:
    """Return the due instants from `since` to `until`, by time. What is late but still useful is sent at once, and
    counts as due now."""
    async with database.read() as connection:
        zones = await members.zones(connection)
        open_notices = {notice.identity: notice for notice in await notices.open_notices(connection)}
        stored = await occurrences.all_occurrences(connection)
        by_choice = slugs_by_choice(series)
        waiting = await reports.waiting_by_zone(connection)
        begun = await reports.notices_with_deliveries(connection)
        dues = await notices.dues_of_open(connection)
        wants = [
            want
            for want in await _wants(connection, series, policies, stored, zones=zones, until=until, now=now)
            if not (want.identity in open_notices and open_notices[want.identity].frozen)
        ]
        recent = [occurrence for occurrence in stored if occurrence.ends > now - horizon(policies)]
        invited = {want.occurrence for want in wants if want.kind is Kind.INVITATION}
        waits = {
            occurrence.key: wait_before(recent, occurrence)
            for occurrence in recent
            if occurrence.key in invited
        }
        followers = await reports.active_followers(connection, {want.series for want in wants}, by_choice)
        rows = [
            row
            for want in wants
            for row in await _planned_rows(
                connection,
                want,
                open_notices.get(want.identity),
                waiting=waiting,
                begun=begun,
                stored_dues=dues,
                active=followers[want.series],
                by_choice=by_choice,
                wait=waits.get(want.occurrence) if want.kind is Kind.INVITATION else None,
                now=now,
            )
        ]
        for notice in open_notices.values():
            if (
                (notice.kind not in PLANNED or notice.frozen)
                and not notice.stopped_at
                and not notice.unwanted
            ):
                rows += _published_rows(notice, waiting.get(notice.id, {}), dues.get(notice.id, {}))
    chosen = [row for row in rows if row.expires > now and since <= max(row.due, now) and row.due <= until]
    return sorted(chosen, key=lambda row: (row.due, row.notice, row.zone or ""))


async def _wants(
    connection: AsyncConnection,
    all_series: Sequence[Series],
    policies: Sequence[Policy],
    stored: Sequence[Occurrence],
    *,
    zones: frozenset[str],
    until: datetime,
    now: datetime,
) -> list[Wanted]:
    """Return the notices that the policies want of stored and derived occurrences, without those that are closed."""
    adopted_policies = await occurrences.adopted_policies(connection)
    adopted_series = await occurrences.adopted_series(connection)
    closed = {notice.identity for notice in await notices.every(connection) if notice.closed_at}
    wants = []
    for series in all_series:
        applying = [policy for policy in policies if applies_to(policy, series)]
        known = adopted_series.get(series.slug)
        horizon = until + max((policy.longest_lead for policy in applying), default=timedelta())
        planned = with_derived(
            series,
            stored,
            until=horizon,
            after=known.derived_until if known else None,
            adopted_at=known.adopted_at if known else now,
        )
        for policy in applying:
            adopted_at, is_first = adoption(adopted_policies, series, policy, now)
            wants += wanted_notices(
                policy,
                _to_tell_of(planned, policy, now),
                zones=zones,
                adopted_at=adopted_at,
                invited_late=late_invitations(planned, adopted_at, is_first=is_first),
            )
    return [want for want in wants if want.identity not in closed]


def _to_tell_of(planned: Sequence[Occurrence], policy: Policy, now: datetime) -> list[Occurrence]:
    since = now - FOLLOW_UP_REACH if policy.kind is Kind.FOLLOW_UP else now
    return [occurrence for occurrence in planned if occurrence.starts > since]


async def _planned_rows(
    connection: AsyncConnection,
    want: Wanted,
    notice: Notice | None,
    *,
    waiting: Mapping[int, Mapping[str, Waiting]],
    begun: Collection[int],
    stored_dues: Mapping[int, Mapping[str, Due]],
    active: Mapping[tuple[str, str], int],
    by_choice: Collection[str],
    wait: Wait | None,
    now: datetime,
) -> list[Forecast]:
    """Return the rows of a notice that a policy wants; `notice` is None until it exists.

    `waiting` and `stored_dues` are those of all open notices; those in `begun` have deliveries. `active` are the active
    followers of the series. `wait` is what latecomers to an invitation wait for.
    """
    dues = {zone: (due, False) for zone, due in want.dues.items()}
    own_waiting: Mapping[str, Waiting] = {}
    if notice:
        if notice.stopped_at:
            return []
        own_waiting = waiting.get(notice.id, {})
        stored = stored_dues.get(notice.id, {})
        dues = {due.zone: (due.due, due.fanned_at is not None) for due in stored.values()} | {
            zone: pair for zone, pair in dues.items() if zone not in stored
        }
    number = notice.id if notice and notice.id in begun else None
    # Everybody on the list now is in time for any later due instant: one query serves all of them.
    missing_later = (
        await reports.missing_later(connection, want, active, notice=number, by_choice=by_choice)
        if any(due > now and not fanned for due, fanned in dues.values())
        else {}
    )
    awaited = wait if wait and wait.over > now else None
    reach = Reach(
        by_choice=by_choice,
        planned_at=notice.created_at if notice else now,
        awaits=awaited.starts if awaited else None,
    )
    rows = []

    def add(due: datetime, zone: str, count: int, ready: datetime | None) -> None:
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
                    ready=ready,
                    number=notice.id if notice else None,
                    on_hold=notice is not None and notice.held_at is not None,
                )
            )

    for zone, (due, fanned) in dues.items():
        only = None if zone == EVERY_ZONE else zone
        if fanned:
            missing = dict[str, int]()
        elif due > now:
            missing = missing_later
        else:
            missing = await reports.missing_by_zone(
                connection, want, notice=number, due=due, zone=only, reach=reach
            )
        places = missing.keys() | own_waiting.keys() if zone == EVERY_ZONE else {zone}
        fanned_out = [own_waiting[place] for place in places if place in own_waiting]
        count = sum(group.count for group in fanned_out) + sum(missing.get(place, 0) for place in places)
        add(due, zone, count, min((group.ready for group in fanned_out), default=None))
        if awaited and due <= now and due < awaited.over:
            latecomers = await reports.missing_by_zone(
                connection,
                want,
                notice=number,
                due=due,
                zone=only,
                reach=replace(reach, awaits=None, latecomers=True),
            )
            add(awaited.over, zone, sum(latecomers.values()), None)
    return rows


def _published_rows(
    notice: Notice, waiting: Mapping[str, Waiting], dues: Mapping[str, Due]
) -> list[Forecast]:
    """Return the rows of a notice that a convenor published: an update, a cancellation or an ad-hoc notice."""
    rows = []
    for due in dues.values():
        fanned_out = [group for zone, group in waiting.items() if due.zone in (EVERY_ZONE, zone)]
        if fanned_out:
            rows.append(
                Forecast(
                    notice=notice.identity,
                    kind=notice.kind,
                    policy=None,
                    occurrence=notice.occurrence,
                    due=due.due,
                    expires=notice.expires,
                    zone=None if due.zone == EVERY_ZONE else due.zone,
                    recipients=sum(group.count for group in fanned_out),
                    ready=min(group.ready for group in fanned_out),
                    number=notice.id,
                    subject=notice.subject,
                    on_hold=notice.held_at is not None,
                )
            )
    return rows
