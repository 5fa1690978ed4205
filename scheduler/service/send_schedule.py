"""Schedule sending: at the relay's rate, when the sending of each due instant begins and ends."""

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
class ScheduledSend:
    """A due instant as forecast, and when its first and last mail leave."""

    forecast: Forecast
    span: Span


def load_of(row: Forecast, now: datetime) -> Load:
    """Return the load that a row of the forecast puts on the relay.

    The sending of what a policy wants may begin early; a convenor's own notice never does. What is on hold is no load.
    """
    return Load(
        due=row.due,
        expires=row.expires,
        recipients=0 if row.on_hold else row.recipients,
        soonest=row.due - MOST_EARLY if row.policy else row.due,
        begun=row.ready is not None and row.ready <= now,
    )


async def schedule_sends(
    database: Database,
    *,
    series: Sequence[Series],
    policies: Sequence[Policy],
    rate: float,
    until: datetime,
    now: datetime,
) -> list[ScheduledSend]:
    """Return what `forecast` says is due up to `until` (UTC), and when it is sent at `rate` messages a second (0: no
    limit)."""
    rows = await forecast(
        database, series=series, policies=policies, since=now, until=until + REACH if rate else until, now=now
    )
    sent = spans([load_of(row, now) for row in rows], rate, now=now)
    return [ScheduledSend(row, span) for row, span in zip(rows, sent, strict=True) if row.due <= until]


@dataclass(frozen=True, slots=True)
class LateNotice:
    """A notice that is not all sent in time.

    `about` names its policy and meeting, or the notice; `kind` and `occurrence` say what it is. `start` and `finish`
    (UTC) are when the first and last mail leave. `misses` says that some members will not get it, because it will have
    expired (`expires`).
    """

    about: str
    kind: str
    occurrence: str | None
    of_policy: bool
    recipients: int
    start: datetime
    finish: datetime
    expires: datetime
    misses: bool


def late_notices(rows: Sequence[ScheduledSend]) -> list[LateNotice]:
    """Return the late notices among `rows`, each once, in the order of their first due instants."""
    late_rows: dict[str, list[ScheduledSend]] = {}
    for row in rows:
        if row.span.late:
            late_rows.setdefault(row.forecast.notice, []).append(row)
    return [
        LateNotice(
            about=name_of(late[0].forecast),
            kind=late[0].forecast.kind,
            occurrence=late[0].forecast.occurrence,
            of_policy=late[0].forecast.kind in PLANNED,
            recipients=sum(row.forecast.recipients for row in late),
            start=min(row.span.start for row in late),
            finish=max(row.span.finish for row in late),
            expires=late[0].forecast.expires,
            misses=any(row.span.misses for row in late),
        )
        for late in late_rows.values()
    ]


def name_of(row: Forecast) -> str:
    """Return how a row of the forecast is named to a convenor."""
    if row.occurrence:
        return f"{row.policy or row.kind} of {row.occurrence}"
    number = f"notice {row.number}" if row.number is not None else row.kind
    return f"{number}: {row.subject}" if row.subject else f"{number}: {row.kind}"


@dataclass(frozen=True, slots=True)
class SendEstimate:
    """The effect of a notice that is not made yet: when its first and last mail would leave (UTC), whether some members
    would not get it in time, and the names of notices that would become late because of it."""

    start: datetime
    finish: datetime
    misses: bool
    delays: list[str]


async def estimate(
    database: Database,
    *,
    series: Sequence[Series],
    policies: Sequence[Policy],
    rate: float,
    recipients: Mapping[str, int],
    dues: Mapping[str, datetime],
    expires: datetime,
    now: datetime,
) -> SendEstimate | None:
    """Estimate a notice at `rate` messages a second, beside everything else that is due.

    `dues` (UTC) and `recipients` are by zone. Returns None if it has no recipient.
    """
    if EVERY_ZONE in dues:
        recipients = {EVERY_ZONE: sum(recipients.values())}
    own_loads = [
        Load(due=due, expires=expires, soonest=due, recipients=recipients[zone])
        for zone, due in dues.items()
        if recipients.get(zone)
    ]
    if not own_loads:
        return None
    rows = await forecast(
        database, series=series, policies=policies, since=now, until=expires + REACH, now=now
    )
    other_loads = [load_of(row, now) for row in rows]
    with_notice = spans([*other_loads, *own_loads], rate, now=now)
    without = spans(other_loads, rate, now=now)
    delayed = [
        name_of(row)
        for row, span, span_without in zip(rows, with_notice[: len(rows)], without, strict=True)
        if span.late and not span_without.late
    ]
    own_spans = with_notice[len(rows) :]
    return SendEstimate(
        start=min(span.start for span in own_spans),
        finish=max(span.finish for span in own_spans),
        misses=any(span.misses for span in own_spans),
        delays=list(dict.fromkeys(delayed)),
    )


class SendScheduler:
    """Decides when the sending of each due instant begins, and re-times deliveries when that changes.

    Without a rate, sending begins when it is due.
    """

    def __init__(
        self, database: Database, *, series: Sequence[Series], policies: Sequence[Policy], rate: float
    ) -> None:
        self._database = database
        self._series = series
        self._policies = policies
        self._rate = rate
        self._starts: dict[tuple[str, str], datetime] = {}
        self._begun: set[tuple[str, str]] = set()
        self._applied_starts: dict[tuple[str, str], datetime] | None = None

    async def look(self, now: datetime, *, ahead: timedelta) -> None:
        """Work out which sending begins before it is due, as far as it begins within `ahead` of `now`."""
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
        """Return when to begin sending what is due at `due` in `zone` (UTC)."""
        early = (self._starts.get((notice.identity, key)) for key in (zone, EVERY_ZONE))
        return min((start for start in early if start), default=due)

    def has_begun(self, notice: Notice, zone: str) -> bool:
        """Return whether sending to `zone` may have begun."""
        return any((notice.identity, key) in self._begun for key in (zone, EVERY_ZONE))

    def next_start(self, now: datetime) -> datetime | None:
        """Return the earliest instant after `now` at which sending begins before it is due, if there is any."""
        return min((start for start in self._starts.values() if start > now), default=None)

    async def retime(self, connection: AsyncConnection, now: datetime, *, moved: bool) -> None:
        """Re-time the deliveries whose sending has not begun, if their start has changed.

        All are re-timed if members have `moved`, and on the first call, because another process may have planned them.
        """
        if self._applied_starts == self._starts and not (moved and self._starts):
            return
        applied, self._applied_starts = self._applied_starts, dict(self._starts)
        dues = await notices.dues_of_open(connection)
        for notice in await notices.open_notices(connection):
            may_be_early = notice.kind in PLANNED and not notice.frozen
            for due in dues.get(notice.id, {}).values() if may_be_early else ():
                key = (notice.identity, due.zone)
                start = self._starts.get(key, due.due)
                if not due.fanned_at or due.due <= now or key in self._begun:
                    continue
                if moved or applied is None or applied.get(key, due.due) != start:
                    await lifecycle.begin_at(connection, notice.id, due.zone, max(start, now), now)
