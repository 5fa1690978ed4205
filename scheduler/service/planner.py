"""The tick: reconcile what should be told with what the ledger holds. Idempotent; several may run at once."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.clock import Clock
from scheduler.domain.occurrence import Occurrence, Series
from scheduler.domain.policy import (
    CHANGES,
    EVERY_ZONE,
    FOLLOW_UP_REACH,
    PLANNED,
    Kind,
    Policy,
    Wanted,
    due_in,
    first_instant,
    wanted,
)
from scheduler.service.forecast import forecast
from scheduler.service.send_schedule import SendScheduler
from scheduler.service.sending_pause import CLOCK_AHEAD, RESTORED, ClockWatch, held, hold, note_outcome
from scheduler.service.settings_sync import adopt, holds_for, horizon, invites_now
from scheduler.store import members, notices, occurrences, service_state
from scheduler.store.database import Database
from scheduler.store.ledger import archive, claims, fan_out, lifecycle
from scheduler.store.notices import Due, Notice

log = structlog.get_logger()

FAN_OUT_AHEAD = timedelta(hours=1)
CANCELLED, RESTORED_SINCE = "cancelled", "restored"
"""Why a notice about a meeting is unwanted until the meeting is restored, or cancelled again."""

LONGEST_LOOK_BACK = timedelta(days=400)
SWEEP_EVERY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Tick:
    """What a tick found: whether sending is held, and the next instant (UTC) at which something is due."""

    held: bool
    next_due: datetime | None


class Planner:
    """Ticks over one database for the settings' series and policies."""

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
        daily: Callable[[datetime], Awaitable[None]] | None = None,
    ) -> None:
        """What is over for `archive_after` moves to the archive, some of it with each tick; a start later than the last
        tick by more than `longest_outage` holds sending; `rate` is the relay's, in messages a second (0: no limit);
        `daily` is called once a day, but not while sending is held."""
        self._archive_after = archive_after
        self._daily = daily
        self._database = database
        self._clock = clock
        self._series = {one.slug: one for one in series}
        self._policies = policies
        self._domain = domain
        self._watch = ClockWatch(clock, longest_outage=longest_outage)
        self._pacer = SendScheduler(database, series=series, policies=policies, rate=rate)

    async def tick(self) -> Tick:
        """Do all that is to be done now, in short transactions, and say when something is due next."""
        ticked = await self._tick()
        if ticked.held:
            await self._foresee()
        return ticked

    async def _tick(self) -> Tick:
        async with self._database.tick() as connection:
            # Not before: it may have waited for another tick.
            now = self._clock.now()
            if await service_state.detect_copy(connection):
                await hold(connection, RESTORED, now)
            ticked, before_hold, watermark, swept = await service_state.read_several(
                connection,
                service_state.LAST_TICK,
                service_state.TICKED_BEFORE_HOLD,
                service_state.WATERMARK,
                service_state.SWEPT,
            )
            last, swept_at = service_state.as_instant(ticked), service_state.as_instant(swept)
            if await self._watch.holds(connection, now, last=last):
                return Tick(held=True, next_due=None)
            standing = await held(connection)
            last = last or service_state.as_instant(before_hold)
            changed = await adopt(
                connection, list(self._series.values()), self._policies, domain=self._domain, now=now
            )
            if changed:
                # Calendars that are kept ready belong to one state.
                await service_state.note_change(connection)
            await members.end_pauses(connection, now)
            mark = await service_state.current(connection, "change")
            sweep = watermark is None or swept_at is None or now - swept_at >= SWEEP_EVERY
            if changed or sweep or mark != watermark:
                await lifecycle.settle_changed(connection)
            await self._reconcile(connection, now, since=max(min(last or now, now), now - LONGEST_LOOK_BACK))
        await self._pacer.look(now, ahead=FAN_OUT_AHEAD)
        await self._fan_out(now)
        if sweep or mark != watermark:
            await self._follow_members(now, changed_since=None if sweep else watermark)
        async with self._database.tick() as connection:
            await service_state.write(connection, service_state.WATERMARK, mark)
            if sweep:
                await service_state.write(connection, service_state.SWEPT, now)
            await self._pacer.retime(connection, now, moved=sweep or mark != watermark)
            expired = await lifecycle.expire(connection, now)
            superseded = await self._supersede(connection, now)
            await lifecycle.close_finished(connection, now)
            archived = 0
            if not standing:
                archived = await archive.archive(connection, before=now - self._archive_after, now=now)
            await service_state.write(connection, service_state.LAST_TICK, now)
            await service_state.write(connection, service_state.TICKED_BEFORE_HOLD, None)
        if sweep and self._daily and not standing:
            await self._daily(now)
        if expired or superseded:
            log.info("ended-unsent", expired=expired, superseded=superseded)
        if archived:
            log.info("archived", deliveries=archived)
        return Tick(held=False, next_due=await self._next_due(now))

    async def _foresee(self) -> None:
        """Keep with the hold of a start long after the last tick what would be sent and given up if it ended."""
        async with self._database.read() as connection:
            standing = await held(connection)
        if not standing or standing.reason != CLOCK_AHEAD or not standing.last or standing.sends is not None:
            return
        rows = await forecast(
            self._database,
            series=list(self._series.values()),
            policies=self._policies,
            since=standing.last,
            until=standing.since,
            now=standing.last,
        )
        sends = sum(row.recipients for row in rows if row.expires > standing.since)
        expires = sum(row.recipients for row in rows if row.expires <= standing.since)
        async with self._database.tick() as connection:
            await note_outcome(connection, sends=sends, expires=expires)

    async def _reconcile(self, connection: AsyncConnection, now: datetime, *, since: datetime) -> None:
        """Insert the notices that lack, re-time what is unsent, withdraw what is no longer wanted."""
        zones = await members.zones(connection)
        kept = await occurrences.all_occurrences(connection, since=since)
        standing = {one.identity: one for one in await notices.open_notices(connection)}
        past = kept
        if Kind.FOLLOW_UP in {one.kind for one in self._policies} | {one.kind for one in standing.values()}:
            past = await occurrences.all_occurrences(connection, since=since - FOLLOW_UP_REACH)
        wants = await self._wants(connection, kept, zones, now, past=past)
        dues = await notices.dues_of_open(connection)
        for want in wants.values():
            notice = standing.get(want.identity) or await notices.by_identity(connection, want.identity)
            if notice and (not notice.closed_at or want.expires > now):
                await self._keep(connection, notice, want, dues.get(notice.id, {}))
            elif want.dues and not notice:
                number = await notices.add(
                    connection,
                    identity=want.identity,
                    kind=want.kind,
                    policy=want.policy,
                    occurrence=want.occurrence,
                    starts=want.starts,
                    expires=want.expires,
                    created_at=now,
                    ready=True,
                )
                await notices.set_dues(connection, number, want.dues)
                log.info("notice-planned", notice=number, kind=want.kind, occurrence=want.occurrence)
        by_key, long_by_key = {one.key: one for one in kept}, {one.key: one for one in past}
        for notice in standing.values():
            known = long_by_key if notice.kind is Kind.FOLLOW_UP else by_key
            occurrence = known.get(notice.occurrence or "")
            if occurrence and notice.identity not in wants and notice.expires > now:
                await self._let_go(connection, notice, occurrence)
            if notice.at and notice.expires > now:
                await self._add_local_dues(connection, notice, dues.get(notice.id, {}), zones)

    async def _wants(
        self,
        connection: AsyncConnection,
        kept: Sequence[Occurrence],
        zones: frozenset[str],
        now: datetime,
        *,
        past: Sequence[Occurrence],
    ) -> dict[str, Wanted]:
        """What the policies want of the `kept` occurrences, follow-ups of the `past` ones too, by identity."""
        adopted = await occurrences.adopted_policies(connection)
        until = now + horizon(self._policies)
        found: dict[str, Wanted] = {}
        for policy in self._policies:
            for series in self._series.values():
                if not holds_for(policy, series):
                    continue
                taken = adopted[series.slug, policy.slug]
                at_once = await invites_now(connection, series, taken)
                for one in past if policy.kind is Kind.FOLLOW_UP else kept:
                    if one.series == series.slug and one.starts <= until:
                        want = wanted(
                            one,
                            policy,
                            zones=zones,
                            adopted_at=taken.adopted_at,
                            invite_now=one.key == at_once,
                        )
                        if want:
                            found[want.identity] = want
        return found

    async def _keep(
        self, connection: AsyncConnection, notice: Notice, want: Wanted, dues: Mapping[str, Due]
    ) -> None:
        """Let a standing notice follow what is now wanted of it."""
        if notice.unwanted or notice.closed_at:
            await self._want_again(connection, notice)
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

    async def _want_again(self, connection: AsyncConnection, notice: Notice) -> None:
        """Take up a notice that was unwanted, or closed, and look at every member for it: whoever came, came back or
        changed their mind meanwhile was passed over."""
        await notices.change(
            connection, notice.id, unwanted=None, closed_at=None, archived_at=None, tally=None
        )
        if not notice.stopped_at:
            await lifecycle.requeue(connection, notice.id)
            await notices.fan_out_again(connection, notice.id)
        log.info("notice-wanted-again", notice=notice.id, kind=notice.kind, occurrence=notice.occurrence)

    async def _let_go(self, connection: AsyncConnection, notice: Notice, occurrence: Occurrence) -> None:
        """Withdraw a notice that is no longer wanted, or let a change's notice follow a further change."""
        if notice.kind in (Kind.UPDATE, Kind.CANCELLATION):
            if occurrence.cancelled == (notice.kind is Kind.CANCELLATION):
                if notice.unwanted in (RESTORED_SINCE, CANCELLED):
                    await self._want_again(connection, notice)
                if notice.starts != occurrence.starts:
                    expires = occurrence.starts if notice.kind is Kind.UPDATE else notice.expires
                    await notices.change(connection, notice.id, starts=occurrence.starts, expires=expires)
                return
            reason = RESTORED_SINCE if notice.kind is Kind.CANCELLATION else CANCELLED
        elif occurrence.cancelled:
            reason = CANCELLED
        elif occurrence.starts != notice.starts:
            reason = "moved"
        elif notice.kind is Kind.FOLLOW_UP and not occurrence.materials:
            reason = "no materials"
        else:
            reason = "orphaned" if occurrence.orphaned else "policy"
        if notice.unwanted != reason:
            await notices.change(connection, notice.id, unwanted=reason)
            withdrawn = await lifecycle.withdraw(connection, notice.id, reason=reason)
            log.info("notice-withdrawn", notice=notice.id, reason=reason, deliveries=withdrawn)

    async def _add_local_dues(
        self, connection: AsyncConnection, notice: Notice, dues: Mapping[str, Due], zones: frozenset[str]
    ) -> None:
        assert notice.at
        lacking = {zone: local_due(notice.at, zone) for zone in zones if zone not in dues}
        if lacking:
            await notices.set_dues(connection, notice.id, lacking)

    async def _fan_out(self, now: datetime) -> None:
        """Make the deliveries of what begins within the hour."""
        async with self._database.read() as connection:
            standing = [one for one in await notices.open_notices(connection) if _is_followed(one)]
            dues = await notices.dues_of_open(connection)
            zones = await members.zones(connection)
        wanting = [
            (notice, due)
            for notice in standing
            for due in dues.get(notice.id, {}).values()
            if due.fanned_at is None and self._pacer.start(notice, due.zone, due.due) <= now + FAN_OUT_AHEAD
        ]
        # The latest first: whoever is sending meanwhile finds it standing, and leaves the earlier ones alone.
        for notice, due in sorted(wanting, key=lambda one: (one[1].due, one[0].id), reverse=True):
            for zone in sorted(zones) if due.zone == EVERY_ZONE else [due.zone]:
                start = self._pacer.start(notice, due.zone, due.due)
                await self._fan_out_zone(notice, zone, due.due, now, start=start, changed_since=None)
            async with self._database.tick() as connection:
                await notices.mark_fanned(connection, notice.id, due.zone, now)

    async def _fan_out_zone(
        self,
        notice: Notice,
        zone: str,
        due: datetime,
        now: datetime,
        *,
        start: datetime,
        changed_since: int | None,
    ) -> None:
        after: int | None = 0
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
                )

    async def _follow_members(self, now: datetime, *, changed_since: int | None) -> None:
        """Let the open notices follow members who came, left, declined or moved."""
        async with self._database.tick() as connection:
            await lifecycle.follow_members(connection, now, changed_since=changed_since)
            standing = await notices.open_notices(connection)
            for notice in standing:
                await lifecycle.follow_dues(connection, notice.id)
            dues = await notices.dues_of_open(connection)
            zones = await members.zones(connection)
        for notice in standing:
            if _is_followed(notice) and notice.expires > now:
                fanned = {zone: due.due for zone, due in dues.get(notice.id, {}).items() if due.fanned_at}
                for zone in sorted(zones):
                    if due := due_in(fanned, zone):
                        # Who comes when it has begun is in time at its due instant.
                        begun = self._pacer.has_begun(notice, zone)
                        start = due if begun else self._pacer.start(notice, zone, due)
                        await self._fan_out_zone(
                            notice, zone, due, now, start=start, changed_since=changed_since
                        )

    async def _supersede(self, connection: AsyncConnection, now: datetime) -> int:
        """Only of reminders that another of the same start comes after: looking at every delivery has its price."""
        dues = await notices.dues_of_open(connection)
        begun: dict[tuple[str | None, datetime | None], dict[int, list[datetime]]] = {}
        for notice in await notices.open_notices(connection):
            its = dues.get(notice.id, {}).values()
            instants = [due.due for due in its]
            begins = min((self._pacer.start(notice, due.zone, due.due) for due in its), default=None)
            if notice.kind is Kind.REMINDER and begins and begins <= now:
                begun.setdefault((notice.occurrence, notice.starts), {})[notice.id] = instants
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
                self._pacer.next_start(now),
            ]
        return min((one for one in instants if one), default=None)


def _is_followed(notice: Notice) -> bool:
    """Whether deliveries are made for whoever comes to be in a notice's audience."""
    follows = notice.kind in (*PLANNED, *CHANGES) and notice.ready
    return follows and not notice.unwanted and not notice.stopped_at


def local_due(at: str, zone: str) -> datetime:
    """The instant of `local:YYYY-MM-DDTHH:MM` in `zone`."""
    return first_instant(datetime.fromisoformat(at.removeprefix("local:")), zone)
