"""The planner's tick: create, re-time and withdraw notices and deliveries until they match settings, occurrences and
members.

A tick is idempotent; several may run at once.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.audience import lasting_reasons
from scheduler.domain.clock import Clock
from scheduler.domain.occurrence import Occurrence, OccurrenceKey, Series, slugs_by_choice
from scheduler.domain.policy import (
    CHANGES,
    EVERY_ZONE,
    FOLLOW_UP_REACH,
    PLANNED,
    Kind,
    Policy,
    Wait,
    Wanted,
    due_in,
    first_instant,
    wait_before,
)
from scheduler.service.forecast import forecast
from scheduler.service.send_schedule import SendScheduler
from scheduler.service.sending_pause import (
    CLOCK_AHEAD,
    RESTORED,
    ClockWatch,
    current_pause,
    note_outcome,
    pause_sending,
)
from scheduler.service.settings_sync import (
    adopt,
    applies_to,
    horizon,
    stored_late_invitations,
    wanted_notices,
)
from scheduler.service.withdrawals import SUPERSEDED, want_again, withdraw
from scheduler.store import members, notices, occurrences, service_state
from scheduler.store.database import Database
from scheduler.store.ledger import archive, claims, fan_out, lifecycle
from scheduler.store.ledger.fan_out import Reach
from scheduler.store.ledger.lifecycle import WithdrawalReason
from scheduler.store.notices import Due, Notice

log = structlog.get_logger()

FAN_OUT_AHEAD = timedelta(hours=1)
CANCELLED: Final = "cancelled"
RESTORED_SINCE: Final = "restored"
"""Why a notice about a meeting is unwanted until the meeting is restored, or cancelled again."""

LONGEST_LOOK_BACK = timedelta(days=400)
SWEEP_EVERY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Tick:
    """The outcome of a tick: whether a pause stopped it, and the next instant (UTC) at which something is due."""

    stopped: bool
    next_due: datetime | None


class Planner:
    """Plans the notices of one database by the series and policies of the settings."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        series: Sequence[Series],
        policies: Sequence[Policy],
        domain: str,
        archive_after: timedelta,
        longest_outage: timedelta,
        rate: float = 0,
        tell_convenors: Callable[[datetime], Awaitable[datetime | None]] | None = None,
        daily: Callable[[datetime], Awaitable[None]] | None = None,
    ) -> None:
        """`archive_after` is how long after its end a notice's deliveries move to the archive, some with each tick.
        A start later than the last tick by more than `longest_outage` pauses sending. `rate` is the relay's, in
        messages a second (0: no limit). Except while sending is paused, each tick calls `tell_convenors`, which returns
        when it has something to do next, and `daily` is called once a day."""
        self._archive_after = archive_after
        self._daily = daily
        self._tell_convenors = tell_convenors
        self._convenors_due: datetime | None = None
        self._database = database
        self._clock = clock
        self._series = {each_series.slug: each_series for each_series in series}
        self._by_choice = slugs_by_choice(series)
        self._policies = policies
        self._domain = domain
        self._watch = ClockWatch(clock, longest_outage=longest_outage)
        self._waits_end: list[datetime] = []
        self._scheduler = SendScheduler(database, series=series, policies=policies, rate=rate)

    async def tick(self) -> Tick:
        """Plan everything up to now in short transactions, and return when something is due next."""
        tick = await self._tick()
        if tick.stopped:
            await self._note_outcome_of_resuming()
        return tick

    async def _tick(self) -> Tick:
        async with self._database.tick() as connection:
            # Read the clock only now: the transaction may have waited for another tick.
            now = self._clock.now()
            if await service_state.detect_copy(connection):
                await pause_sending(connection, RESTORED, now)
            ticked, before_hold, watermark = await service_state.read_several(
                connection,
                service_state.LAST_TICK,
                service_state.TICKED_BEFORE_PAUSE,
                service_state.WATERMARK,
            )
            last = service_state.as_instant(ticked)
            if await self._watch.stops_ticks(connection, now, last=last):
                return Tick(stopped=True, next_due=None)
            pause = await current_pause(connection)
            last = last or service_state.as_instant(before_hold)
            changed = await adopt(
                connection, list(self._series.values()), self._policies, domain=self._domain, now=now
            )
            if changed:
                # Invalidates the cached calendars.
                await service_state.note_change(connection)
            await members.end_pauses(connection, now)
            mark = await service_state.current(connection, "change")
            swept_at = await service_state.read_instant(connection, service_state.SWEPT)
            sweep = watermark is None or swept_at is None or now - swept_at >= SWEEP_EVERY
            members_changed = sweep or mark != watermark
            if changed or members_changed:
                await lifecycle.settle_changed(connection)
            await self._reconcile(connection, now, since=max(min(last or now, now), now - LONGEST_LOOK_BACK))
        self._convenors_due = None
        if self._tell_convenors and not pause:
            self._convenors_due = await self._tell_convenors(now)
        await self._scheduler.look(now, ahead=FAN_OUT_AHEAD)
        fanned_out = await self._fan_out(now)
        if members_changed:
            await self._follow_members(now, changed_since=None if sweep else watermark, fanned_out=fanned_out)
        async with self._database.tick() as connection:
            await service_state.write(connection, service_state.WATERMARK, mark)
            if sweep:
                await service_state.write(connection, service_state.SWEPT, now)
            await self._scheduler.retime(connection, now, moved=members_changed)
            await lifecycle.withdraw_rest(connection)
            expired = await lifecycle.expire(connection, now)
            superseded = await self._supersede(connection, now)
            await lifecycle.close_finished(connection, now)
            archived = 0
            if not pause:
                archived = await archive.archive(connection, before=now - self._archive_after, now=now)
            await service_state.write(connection, service_state.LAST_TICK, now)
            await service_state.write(connection, service_state.TICKED_BEFORE_PAUSE, None)
        if sweep and self._daily and not pause:
            await self._daily(now)
        if expired or superseded:
            log.info("ended-unsent", expired=expired, superseded=superseded)
        if archived:
            log.info("archived", deliveries=archived)
        return Tick(stopped=False, next_due=await self._next_due(now))

    async def _note_outcome_of_resuming(self) -> None:
        """Store, with a pause after a long outage, how many mails resuming would send and how many it would give up."""
        async with self._database.read() as connection:
            pause = await current_pause(connection)
        if not pause or pause.reason != CLOCK_AHEAD or not pause.last or pause.sends is not None:
            return
        rows = await forecast(
            self._database,
            series=list(self._series.values()),
            policies=self._policies,
            since=pause.last,
            until=pause.since,
            now=pause.last,
        )
        sends = sum(row.recipients for row in rows if row.expires > pause.since)
        expires = sum(row.recipients for row in rows if row.expires <= pause.since)
        async with self._database.tick() as connection:
            await note_outcome(connection, sends=sends, expires=expires)

    async def _reconcile(self, connection: AsyncConnection, now: datetime, *, since: datetime) -> None:
        """Insert the notices that are missing, re-time the unsent ones, and withdraw those no longer wanted.

        Only occurrences with a start from `since` on are considered; for follow-ups, from FOLLOW_UP_REACH before.
        """
        zones = await members.zones(connection)
        recent = await occurrences.all_occurrences(connection, since=since)
        open_notices = {notice.identity: notice for notice in await notices.open_notices(connection)}
        followed_up = recent
        kinds = {policy.kind for policy in self._policies} | {notice.kind for notice in open_notices.values()}
        if Kind.FOLLOW_UP in kinds:
            followed_up = await occurrences.all_occurrences(connection, since=since - FOLLOW_UP_REACH)
        wants = await self._wants(connection, recent, zones, now, followed_up=followed_up)
        dues = await notices.dues_of_open(connection)
        # A moved meeting has new reminders: whoever holds its last one expects no mail.
        held = {
            (notice.occurrence, notice.policy): notice.held_at
            for notice in open_notices.values()
            if notice.kind is Kind.REMINDER
        }
        for want in wants.values():
            notice = open_notices.get(want.identity) or await notices.by_identity(connection, want.identity)
            if notice and notice.frozen:
                # A convenor has sent it by a button.
                continue
            if notice and (not notice.closed_at or want.expires > now):
                await self._update(connection, notice, want, dues.get(notice.id, {}))
            elif want.dues and not notice:
                await _insert(connection, want, now, held_at=held.get((want.occurrence, want.policy)))
        by_key = {occurrence.key: occurrence for occurrence in recent}
        followed_up_by_key = {occurrence.key: occurrence for occurrence in followed_up}
        for notice in open_notices.values():
            known = followed_up_by_key if notice.kind is Kind.FOLLOW_UP else by_key
            occurrence = known.get(notice.occurrence or "")
            if occurrence and notice.identity not in wants and notice.expires > now:
                await self._withdraw_or_retarget(connection, notice, occurrence)
            mentioned = by_key.get(notice.mentions or "")
            if mentioned and mentioned.cancelled and not notice.unwanted:
                await withdraw(connection, notice, reason=CANCELLED)
            if notice.at and notice.expires > now:
                await _add_local_dues(connection, notice, dues.get(notice.id, {}), zones)

    async def _wants(
        self,
        connection: AsyncConnection,
        recent: Sequence[Occurrence],
        zones: frozenset[str],
        now: datetime,
        *,
        followed_up: Sequence[Occurrence],
    ) -> dict[str, Wanted]:
        """Return, by identity, the notices that the policies want: follow-ups of the occurrences in `followed_up`, the
        others of those in `recent`."""
        adopted_policies = await occurrences.adopted_policies(connection)
        until = now + horizon(self._policies)
        wants: dict[str, Wanted] = {}
        for policy in self._policies:
            stored = followed_up if policy.kind is Kind.FOLLOW_UP else recent
            for series in self._series.values():
                if not applies_to(policy, series):
                    continue
                adopted = adopted_policies[series.slug, policy.slug]
                candidates = [
                    occurrence
                    for occurrence in stored
                    if occurrence.series == series.slug and occurrence.starts <= until
                ]
                may_be_late = policy.kind is Kind.INVITATION and any(
                    occurrence.starts - policy.longest_lead < adopted.adopted_at for occurrence in candidates
                )
                for want in wanted_notices(
                    policy,
                    candidates,
                    zones=zones,
                    adopted_at=adopted.adopted_at,
                    invited_late=(
                        await stored_late_invitations(connection, series, adopted) if may_be_late else {}
                    ),
                ):
                    wants[want.identity] = want
        return wants

    async def _update(
        self, connection: AsyncConnection, notice: Notice, want: Wanted, dues: Mapping[str, Due]
    ) -> None:
        """Bring an existing notice up to date with what is now wanted of it."""
        if notice.unwanted or notice.closed_at:
            await want_again(connection, notice, by_choice=self._by_choice)
        if (notice.starts, notice.expires, notice.policy) != (want.starts, want.expires, want.policy):
            await notices.change(
                connection, notice.id, starts=want.starts, expires=want.expires, policy=want.policy
            )
        stale = (
            [zone for zone in dues if (zone == EVERY_ZONE) != (EVERY_ZONE in want.dues)] if want.dues else []
        )
        if stale:
            await notices.drop_dues(connection, notice.id, stale)
        if stale or any(zone not in dues or dues[zone].due != due for zone, due in want.dues.items()):
            await notices.set_dues(connection, notice.id, want.dues)
            await lifecycle.follow_dues(connection, notice.id)

    async def _withdraw_or_retarget(
        self, connection: AsyncConnection, notice: Notice, occurrence: Occurrence
    ) -> None:
        """Withdraw a notice that no policy wants; keep an update or cancellation that is still true, with the present
        start."""
        reason: WithdrawalReason
        if notice.kind in (Kind.UPDATE, Kind.CANCELLATION):
            if notice.unwanted == SUPERSEDED:
                return
            if occurrence.cancelled == (notice.kind is Kind.CANCELLATION):
                if notice.unwanted in (RESTORED_SINCE, CANCELLED):
                    await want_again(connection, notice, by_choice=self._by_choice)
                if notice.starts != occurrence.starts:
                    expires = occurrence.starts if notice.kind is Kind.UPDATE else notice.expires
                    await notices.change(connection, notice.id, starts=occurrence.starts, expires=expires)
                return
            reason = RESTORED_SINCE if notice.kind is Kind.CANCELLATION else CANCELLED
        elif occurrence.cancelled:
            reason = CANCELLED
        elif occurrence.starts != notice.starts:
            reason = "moved"
        elif notice.again:
            # No policy wants it, but a convenor.
            return
        elif notice.kind is Kind.FOLLOW_UP and not occurrence.materials:
            reason = "no materials"
        elif notice.frozen and not occurrence.orphaned:
            if notice.unwanted:
                await want_again(connection, notice, by_choice=self._by_choice)
            return
        else:
            reason = "orphaned" if occurrence.orphaned else "policy"
        if notice.unwanted != reason:
            await withdraw(connection, notice, reason=reason)

    async def _fan_out(self, now: datetime) -> set[tuple[int, str]]:
        """Insert the deliveries whose sending begins within FAN_OUT_AHEAD. Return the notices and zones (of their due
        instants) for which every member was considered."""
        async with self._database.read() as connection:
            followed = [
                notice for notice in await notices.open_notices(connection) if _follows_audience(notice)
            ]
            dues = await notices.dues_of_open(connection)
            zones = await members.zones(connection)
            waits = await self._waits(connection, followed, now)
        self._waits_end = sorted(wait.over for wait in waits.values() if wait.over > now)
        pending = []
        among_by_notice: dict[int, Mapping[str, Sequence[int]] | None] = {}
        for notice in followed:
            reach = self._reach(notice, waits, now)
            for due in dues.get(notice.id, {}).values():
                if due.fanned_at is None:
                    if self._scheduler.start(notice, due.zone, due.due) <= now + FAN_OUT_AHEAD:
                        pending.append((notice, due, reach))
                elif (wait := waits.get(notice.id)) and max(due.fanned_at, due.due) < wait.over <= now:
                    pending.append((notice, due, replace(reach, latecomers=True)))
        # Latest first, so that a sender running meanwhile sees that the earlier ones are superseded.
        for notice, due, reach in sorted(pending, key=lambda row: (row[1].due, row[0].id), reverse=True):
            firsts = dict.fromkeys(zones if due.zone == EVERY_ZONE else [due.zone], 1)
            if notice.id not in among_by_notice:
                # One search finds those of all zones, which may each have a due instant of their own.
                among_by_notice[notice.id] = await self._missing_followers(notice)
            among = among_by_notice[notice.id]
            if reach.latecomers and among is None:
                async with self._database.read() as connection:
                    latecomers = await fan_out.first_latecomers(connection, notice, due.due, reach)
                firsts = {zone: latecomers[zone] for zone in firsts if zone in latecomers}
            for zone, first in sorted(firsts.items()):
                start = self._scheduler.start(notice, due.zone, due.due)
                await self._fan_out_zone(
                    notice,
                    zone,
                    due.due,
                    now,
                    start=start,
                    changed_since=None,
                    reach=reach,
                    after=first - 1,
                    among=among,
                )
            async with self._database.tick() as connection:
                await notices.mark_fanned(connection, notice.id, due.zone, now)
        return {(notice.id, due.zone) for notice, due, reach in pending if not reach.latecomers}

    async def _missing_followers(self, notice: Notice) -> dict[str, list[int]] | None:
        """Return `fan_out.missing_followers` of a planned notice if its series is followed by choice."""
        if notice.kind not in PLANNED or not notice.occurrence:
            return None
        if OccurrenceKey.parse(notice.occurrence).series not in self._by_choice:
            return None
        async with self._database.read() as connection:
            return await fan_out.missing_followers(connection, notice)

    async def _waits(
        self, connection: AsyncConnection, open_notices: Sequence[Notice], now: datetime
    ) -> dict[int, Wait]:
        """Return, by invitation, the meeting before the one it invites to."""
        invitations = [notice for notice in open_notices if notice.kind is Kind.INVITATION]
        if not invitations:
            return {}
        recent = await occurrences.all_occurrences(connection, since=now - horizon(self._policies))
        by_key = {occurrence.key: occurrence for occurrence in recent}
        waits = {}
        for notice in invitations:
            occurrence = by_key.get(notice.occurrence or "")
            if occurrence and (wait := wait_before(recent, occurrence)):
                waits[notice.id] = wait
        return waits

    def _reach(self, notice: Notice, waits: Mapping[int, Wait], now: datetime) -> Reach:
        wait = waits.get(notice.id)
        return Reach(
            by_choice=self._by_choice,
            planned_at=notice.created_at,
            awaits=wait.starts if wait and wait.over > now else None,
        )

    async def _fan_out_zone(
        self,
        notice: Notice,
        zone: str,
        due: datetime,
        now: datetime,
        *,
        start: datetime,
        changed_since: int | None,
        reach: Reach,
        after: int | None = 0,
        among: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        """Fan a notice out in a zone; with `among`, only to the members whose numbers it gives for this zone."""
        if among is not None and zone not in among:
            return
        while after is not None:
            async with self._database.tick() as connection:
                after = await fan_out.fan_out(
                    connection,
                    notice,
                    zone=zone,
                    due=due,
                    start=start,
                    now=now,
                    after=after,
                    changed_since=changed_since,
                    reach=reach,
                    among=among[zone] if among is not None else None,
                )

    async def _follow_members(
        self, now: datetime, *, changed_since: int | None, fanned_out: Collection[tuple[int, str]]
    ) -> None:
        """Update the deliveries of open notices for members who joined, left, declined or changed zone.

        `fanned_out` are the notices and zones for which this tick has considered every member already.
        """
        async with self._database.tick() as connection:
            open_notices = await notices.open_notices(connection)
            await lifecycle.follow_members(
                connection,
                now,
                changed_since=changed_since,
                by_choice=self._by_choice,
                reasons_by_notice={
                    notice.id: reasons
                    for notice in open_notices
                    if notice.kind is Kind.NOTICE and notice.member is None
                    if (reasons := lasting_reasons(notice.audience, by_choice=self._by_choice))
                },
            )
            waits = await self._waits(connection, open_notices, now)
            for notice in open_notices:
                await lifecycle.follow_dues(connection, notice.id)
            dues = await notices.dues_of_open(connection)
            zones = await members.zones(connection)
            changed = (
                await fan_out.changed_members(connection, changed_since)
                if changed_since is not None
                else None
            )
        for notice in open_notices:
            if _follows_audience(notice) and notice.expires > now:
                fanned = {
                    zone: due.due
                    for zone, due in dues.get(notice.id, {}).items()
                    if due.fanned_at and (notice.id, zone) not in fanned_out
                }
                among = changed
                if fanned and changed_since is None:
                    among = await self._missing_followers(notice)
                for zone in sorted(zones):
                    if due := due_in(fanned, zone):
                        # Once sending has begun, newcomers are sent the notice at its due instant.
                        begun = self._scheduler.has_begun(notice, zone)
                        start = due if begun else self._scheduler.start(notice, zone, due)
                        await self._fan_out_zone(
                            notice,
                            zone,
                            due,
                            now,
                            start=start,
                            changed_since=changed_since,
                            reach=self._reach(notice, waits, now),
                            among=among,
                        )

    async def _supersede(self, connection: AsyncConnection, now: datetime) -> int:
        """Skip the deliveries of reminders that a later reminder replaces; return their number.

        Only reminders that have a later one for the same start are passed on: checking every delivery is expensive.
        """
        dues_by_notice = await notices.dues_of_open(connection)
        begun: dict[tuple[str | None, datetime | None], dict[int, list[datetime]]] = {}
        for notice in await notices.open_notices(connection):
            dues = dues_by_notice.get(notice.id, {}).values()
            begins = min((self._scheduler.start(notice, due.zone, due.due) for due in dues), default=None)
            if notice.kind is Kind.REMINDER and begins and begins <= now:
                same_start = begun.setdefault((notice.occurrence, notice.starts), {})
                same_start[notice.id] = [due.due for due in dues]
        earlier = [
            number
            for group in begun.values()
            for number, instants in group.items()
            if any(max(others) >= min(instants) for other, others in group.items() if other != number)
        ]
        return await lifecycle.supersede(connection, now, among=earlier) if earlier else 0

    async def _next_due(self, now: datetime) -> datetime | None:
        async with self._database.read() as connection:
            instants = [
                await notices.next_due(connection, now),
                await claims.next_try(connection, now),
                self._scheduler.next_start(now),
                self._convenors_due,
                *self._waits_end[:1],
            ]
        return min((instant for instant in instants if instant), default=None)


async def _insert(
    connection: AsyncConnection, want: Wanted, now: datetime, *, held_at: datetime | None
) -> None:
    number = await notices.add_wanted(connection, want, now, held_at=held_at)
    log.info("notice-planned", notice=number, kind=want.kind, occurrence=want.occurrence)


async def _add_local_dues(
    connection: AsyncConnection, notice: Notice, dues: Mapping[str, Due], zones: frozenset[str]
) -> None:
    """Add the due instants of a notice at a local time for zones that members have come to live in."""
    assert notice.at
    missing = {zone: local_due(notice.at, zone) for zone in zones if zone not in dues}
    if missing:
        await notices.set_dues(connection, notice.id, missing)


def _follows_audience(notice: Notice) -> bool:
    """Return whether members who come to be in the notice's audience later get a delivery too."""
    follows = notice.kind in CHANGES or (notice.kind in PLANNED and not notice.frozen)
    is_for_one = notice.member is not None
    return follows and not is_for_one and notice.ready and not notice.unwanted and not notice.stopped_at


def local_due(at: str, zone: str) -> datetime:
    """Return the instant (UTC) of `local:YYYY-MM-DDTHH:MM` in `zone`."""
    return first_instant(datetime.fromisoformat(at.removeprefix("local:")), zone)
