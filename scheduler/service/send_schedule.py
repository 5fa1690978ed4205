"""Deadlines: at the relay's rate, when the sending of each due instant begins and ends."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.deadline import MOST_EARLY, REACH, Load, Span, spans, starts
from scheduler.domain.occurrence import Series
from scheduler.domain.policy import EVERY_ZONE, PLANNED, Policy
from scheduler.service.forecast import Forecast, forecast
from scheduler.store import notices
from scheduler.store.database import Database
from scheduler.store.ledger import lifecycle
from scheduler.store.notices import Notice


@dataclass(frozen=True, slots=True)
class Paced:
    """A due instant as it is foreseen, and when its first and last mail leave."""

    forecast: Forecast
    span: Span


def load_of(row: Forecast, now: datetime) -> Load:
    """What a policy wants may begin early; what a convenor sends at an instant never does."""
    return Load(
        due=row.due,
        expires=row.expires,
        recipients=row.recipients,
        soonest=row.due - MOST_EARLY if row.kind in PLANNED else row.due,
        begun=row.ready is not None and row.ready <= now,
    )


async def paced(
    database: Database,
    *,
    series: Sequence[Series],
    policies: Sequence[Policy],
    rate: float,
    until: datetime,
    now: datetime,
) -> list[Paced]:
    """What is due up to `until` (UTC) and not sent yet, as `forecast` has it, at `rate` messages a second (0: no
    limit)."""
    rows = await forecast(
        database, series=series, policies=policies, since=now, until=until + REACH if rate else until, now=now
    )
    found = spans([load_of(row, now) for row in rows], rate, now=now)
    return [Paced(row, span) for row, span in zip(rows, found, strict=True) if row.due <= until]


@dataclass(frozen=True, slots=True)
class Tardy:
    """Of what not all is sent in time: `about` its policy and meeting, or its notice; `start` and `finish` are of the
    first and last mail, `misses` says that some are sent to nobody, since it has `expires` by then."""

    about: str
    of_policy: bool
    recipients: int
    start: datetime
    finish: datetime
    expires: datetime
    misses: bool


def tardy(rows: Sequence[Paced]) -> list[Tardy]:
    """What of `rows` is late, each notice once, by its due instants."""
    found: dict[str, list[Paced]] = {}
    for row in rows:
        if row.span.late:
            found.setdefault(row.forecast.notice, []).append(row)
    return [
        Tardy(
            about=about(late[0].forecast),
            of_policy=late[0].forecast.kind in PLANNED,
            recipients=sum(one.forecast.recipients for one in late),
            start=min(one.span.start for one in late),
            finish=max(one.span.finish for one in late),
            expires=late[0].forecast.expires,
            misses=any(one.span.misses for one in late),
        )
        for late in found.values()
    ]


def about(row: Forecast) -> str:
    """What a row of the plan is called."""
    if row.occurrence:
        return f"{row.policy or row.kind} of {row.occurrence}"
    number = f"notice {row.number}" if row.number is not None else row.kind
    return f"{number}: {row.subject}" if row.subject else f"{number}: {row.kind}"


@dataclass(frozen=True, slots=True)
class Foreseen:
    """When the first and last mail of a notice that is not made yet would leave, whether some would miss it, and what
    would be late for it that else is not."""

    start: datetime
    finish: datetime
    misses: bool
    delays: list[str]


async def foresee(
    database: Database,
    *,
    series: Sequence[Series],
    policies: Sequence[Policy],
    rate: float,
    recipients: Mapping[str, int],
    dues: Mapping[str, datetime],
    expires: datetime,
    now: datetime,
) -> Foreseen | None:
    """A notice due at `dues`, to so many `recipients`, both by zone, beside all else that is due at that `rate`; None
    where it goes to nobody."""
    if EVERY_ZONE in dues:
        recipients = {EVERY_ZONE: sum(recipients.values())}
    its = [
        Load(due=due, expires=expires, soonest=due, recipients=recipients[zone])
        for zone, due in dues.items()
        if recipients.get(zone)
    ]
    if not its:
        return None
    rows = await forecast(
        database, series=series, policies=policies, since=now, until=expires + REACH, now=now
    )
    others = [load_of(row, now) for row in rows]
    found = spans([*others, *its], rate, now=now)
    before = spans(others, rate, now=now)
    delayed = [
        about(row)
        for row, span, was in zip(rows, found[: len(rows)], before, strict=True)
        if span.late and not was.late
    ]
    mine = found[len(rows) :]
    return Foreseen(
        start=min(one.start for one in mine),
        finish=max(one.finish for one in mine),
        misses=any(one.misses for one in mine),
        delays=list(dict.fromkeys(delayed)),
    )


class SendScheduler:
    """Tells a planner when to begin what, and lets what has not begun follow when that changes. Without a rate
    everything begins when it is due."""

    def __init__(
        self, database: Database, *, series: Sequence[Series], policies: Sequence[Policy], rate: float
    ) -> None:
        self._database = database
        self._series = series
        self._policies = policies
        self._rate = rate
        self._starts: dict[tuple[str, str], datetime] = {}
        self._begun: set[tuple[str, str]] = set()
        self._kept: dict[tuple[str, str], datetime] | None = None

    async def look(self, now: datetime, *, ahead: timedelta) -> None:
        """Reckon what begins before it is due, for whatever begins within `ahead`."""
        self._starts, self._begun = {}, set()
        until = now + ahead + MOST_EARLY
        if not self._rate or not await self._is_due(now, until):
            return
        rows = await forecast(
            self._database,
            series=self._series,
            policies=self._policies,
            since=now,
            until=until + REACH,
            now=now,
        )
        loads = [load_of(row, now) for row in rows]
        for row, load, start in zip(rows, loads, starts(loads, self._rate, now=now), strict=True):
            key = (row.notice, row.zone or EVERY_ZONE)
            if start < row.due:
                self._starts[key] = start
            if load.begun:
                self._begun.add(key)

    async def _is_due(self, now: datetime, until: datetime) -> bool:
        async with self._database.read() as connection:
            following = await notices.next_due(connection, now)
        return following is not None and following <= until

    def start(self, notice: Notice, zone: str, due: datetime) -> datetime:
        """When to begin what is due at `due` in `zone` (UTC)."""
        found = (self._starts.get((notice.identity, one)) for one in (zone, EVERY_ZONE))
        return min((one for one in found if one), default=due)

    def has_begun(self, notice: Notice, zone: str) -> bool:
        """Whether some of what is due in `zone` may have left."""
        return any((notice.identity, one) in self._begun for one in (zone, EVERY_ZONE))

    def next_start(self, now: datetime) -> datetime | None:
        """The earliest instant after `now` at which something begins before it is due."""
        return min((one for one in self._starts.values() if one > now), default=None)

    async def retime(self, connection: AsyncConnection, now: datetime, *, moved: bool) -> None:
        """Let the deliveries of what has not begun follow its start: where that is another than it was, whatever it was
        for a process before this one, and all where members have `moved`. What has begun goes on."""
        if self._kept == self._starts and not (moved and self._starts):
            return
        known, self._kept = self._kept, dict(self._starts)
        dues = await notices.dues_of_open(connection)
        for notice in await notices.open_notices(connection):
            for due in dues.get(notice.id, {}).values() if notice.kind in PLANNED else ():
                key = (notice.identity, due.zone)
                start = self._starts.get(key, due.due)
                if not due.fanned_at or due.due <= now or key in self._begun:
                    continue
                if moved or known is None or known.get(key, due.due) != start:
                    await lifecycle.begin_at(connection, notice.id, due.zone, max(start, now), now)
