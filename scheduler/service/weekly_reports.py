"""Mail convenors once a week how the community and its service are doing."""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.audience import Audience
from scheduler.domain.clock import Clock
from scheduler.domain.occurrence import Series
from scheduler.domain.policy import EVERY_ZONE, Kind
from scheduler.domain.weekly_report import WEEK, Certificate, NextMeeting, WeeklyReport, WeeklyTime
from scheduler.service.console_home import FEW_MEETINGS, SERIES_AHEAD, ends_soon
from scheduler.service.delivery_reasons import REASONS
from scheduler.service.notices import publish_notice
from scheduler.service.schedule import coming_meetings
from scheduler.service.sending_pause import current_pause
from scheduler.store import join_requests, notices, numbers, occurrences, profiles, returns, service_state
from scheduler.store.database import OUTAGES, Database

LOOK_EVERY = timedelta(minutes=1)
USEFUL_FOR = timedelta(days=1)
"""How late a report may still be sent."""

_TICK_RECENT = timedelta(minutes=2)
_MOST_MEETINGS = 5
_CONVENORS = Audience(terms={"convenors": ()})
_FAILURES = ("failed", "expired")


class WeeklyReports:
    """Publishes a report when it is due, as a notice that has the week in its identity: each convenor gets it once,
    whichever `serve` publishes it. It works beside the ticks, and delays nothing."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        series: Sequence[Series],
        at: WeeklyTime,
        check_certificates: Callable[[], Awaitable[Sequence[Certificate]]],
    ) -> None:
        """`at` is by the clock of the home zone of the first series."""
        self._database = database
        self._clock = clock
        self._series = series
        self._at = at
        self._check_certificates = check_certificates

    async def run(self) -> None:
        """Publish what is due until cancelled."""
        while True:
            try:
                await self.look()
            except OUTAGES as error:
                self._database.outages.begin("weekly", error)
            else:
                self._database.outages.end("weekly")
            await self._clock.sleep(LOOK_EVERY.total_seconds())

    async def look(self) -> bool:
        """Publish the report if it is due and was not published before; return whether that was done."""
        now, zone = self._clock.now(), self._series[0].zone
        due = self._at.latest(now, zone)
        if now - due >= USEFUL_FOR:
            return False
        identity = f"{Kind.WEEKLY}:{due.astimezone(ZoneInfo(zone)).date().isoformat()}"
        async with self._database.read() as connection:
            if not await _may_send(connection, due, now):
                return False
            known = await notices.by_identity(connection, identity)
        if known and known.ready:
            return False
        report = await self._count(due)
        await publish_notice(
            self._database,
            audience=_CONVENORS,
            audience_text="convenors",
            dues={EVERY_ZONE: now},
            now=now,
            identity=identity,
            kind=Kind.WEEKLY,
            details=report.as_details(),
            expires=due + USEFUL_FOR,
        )
        return True

    async def _count(self, due: datetime) -> WeeklyReport:
        since = due - WEEK
        certificates = await self._check_certificates()
        ahead = [
            (
                each,
                await coming_meetings(
                    self._database, each, now=due, until=due + SERIES_AHEAD, most=FEW_MEETINGS
                ),
            )
            for each in self._series
        ]
        coming = [
            NextMeeting(title=each.title, starts=meeting.starts, zone=each.zone)
            for each, meetings in ahead
            for meeting in meetings
            if not meeting.cancelled
        ]
        # A transaction for each count: a long one would keep SQLite from shortening its log.
        async with self._database.read() as connection:
            members = sum((await numbers.members_by_place(connection)).values())
            joined = await numbers.joined(connection, since=since)
            left = await numbers.left(connection, since=since)
        async with self._database.read() as connection:
            outcomes = await numbers.outcomes(connection, since=since)
        async with self._database.read() as connection:
            causes = await numbers.causes(connection, since=since)
        async with self._database.read() as connection:
            requests = await join_requests.waiting(connection)
            to_review = await returns.count(connection, "review")
            to_show = await profiles.count_waiting(connection)
            backups = await service_state.read(connection, service_state.BACKUPS)
            rehearsed = await service_state.read_instant(connection, service_state.REHEARSED)
        states, not_sent = Counter[str](), Counter[str]()
        for outcome in outcomes:
            if outcome.due < due:
                states[outcome.state] += outcome.count
        for cause in causes:
            if cause.due < due and cause.state in _FAILURES:
                not_sent[REASONS.get((cause.state, cause.reason), "another reason")] += cause.count
        return WeeklyReport(
            since=since,
            until=due,
            zone=self._series[0].zone,
            members=members,
            joined=sum(count for moment, count in joined.items() if moment < due),
            left=sum(count for moment, count in left.items() if moment < due),
            sent=states["sent"],
            waiting=states["queued"] + states["sending"],
            not_sent=tuple(not_sent.most_common()),
            requests=len(requests),
            to_review=to_review,
            to_show=to_show,
            meetings=tuple(sorted(coming, key=lambda each: (each.starts, each.title))[:_MOST_MEETINGS]),
            ending=tuple(filter(None, (ends_soon(each, meetings) for each, meetings in ahead))),
            certificates=tuple(certificates),
            backups=backups is not None,
            backed_up=service_state.as_instant((backups or {}).get("succeeded")),
            rehearsed=rehearsed,
        )


async def _may_send(connection: AsyncConnection, due: datetime, now: datetime) -> bool:
    """Return whether the service ran when the report was due, may send now, and has a clock that ticks trust."""
    ticked = await service_state.read_instant(connection, service_state.LAST_TICK)
    adopted = await occurrences.adopted_series(connection)
    began = min((each.adopted_at for each in adopted.values()), default=now)
    trusted = ticked is not None and abs(now - ticked) <= _TICK_RECENT
    return trusted and began <= due and not await current_pause(connection)
