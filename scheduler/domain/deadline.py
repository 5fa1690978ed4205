"""Work out when sending must begin so that, at the relay's rate, the last mail is still useful."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from scheduler.domain.clock import require_aware

MOST_EARLY = timedelta(days=1)
"""How long before its due instant a policy's mail may leave at most, however slow the relay is."""
REACH = timedelta(days=3)
"""How long after a due instant another one may be and still make the first begin early."""
_LONGEST = timedelta(days=400)


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """The mails for one due instant.

    Sending may begin at `soonest`, which is not after `due`. If it has `begun`, `recipients` are only those that are
    left.
    """

    due: datetime
    expires: datetime
    soonest: datetime
    recipients: int
    begun: bool = False

    def __post_init__(self) -> None:
        for name in ("due", "expires", "soonest"):
            require_aware(getattr(self, name), name)
        if self.soonest > self.due:
            raise ValueError("the soonest start of a load must not be after its due instant")
        if self.recipients < 0:
            raise ValueError("a load cannot have fewer than 0 recipients")

    def useful_until(self, now: datetime) -> datetime:
        """Return when the last mail should have left.

        That is half-way from the due instant (or now, if that is later) to the instant at which the mail expires.
        """
        since = max(self.due, now)
        return since + max(self.expires - since, timedelta()) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """When the first and the last mail of a load leave.

    It is `late` if the last mail leaves after `useful_until`; it `misses` some recipients if the load expires before
    its last mail leaves.
    """

    start: datetime
    finish: datetime
    late: bool
    misses: bool


def starts(loads: Sequence[Load], rate: float, *, now: datetime) -> list[datetime]:
    """Return when each load should begin at `rate` (messages a second; 0 means no limit), in the order of `loads`.

    All loads share the rate, and what begins first is sent first. Working backwards from the last due instant, each
    load begins as late as possible while it and the loads after it still have enough time, but not after its due
    instant and not before its `soonest`. Loads that must begin at their due instant keep their time. An early start is
    on a whole minute, so that one member more or less changes nothing.
    """
    begins = [load.due for load in loads]
    if rate <= 0:
        return begins
    fixed = _busy([load for load in loads if load.soonest == load.due], rate, now=now)
    movable = [index for index, load in enumerate(loads) if load.soonest < load.due]
    next_start: datetime | None = None
    for index in sorted(movable, key=lambda index: (loads[index].due, index), reverse=True):
        load, length = loads[index], _length(loads[index], rate)
        finish = load.useful_until(now) if next_start is None else min(load.useful_until(now), next_start)
        for begin, end in fixed:
            if begin < finish and finish - length < end:
                finish = begin
        latest = finish - length
        begins[index] = max(load.soonest, min(load.due, latest.replace(second=0, microsecond=0)))
        # The load before it need not finish before this one may begin at all.
        next_start = max(latest, load.soonest)
    return begins


def _busy(fixed: Sequence[Load], rate: float, *, now: datetime) -> list[tuple[datetime, datetime]]:
    """Return the periods in which the relay is busy with loads whose start is fixed, the last period first."""
    periods: list[tuple[datetime, datetime]] = []
    for load in sorted((load for load in fixed if load.recipients), key=lambda load: load.due):
        begin = max(load.due, now)
        if periods and begin <= periods[-1][1]:
            begin, free = periods.pop()
            periods.append((begin, free + _length(load, rate)))
        else:
            periods.append((begin, begin + _length(load, rate)))
    return periods[::-1]


def spans(loads: Sequence[Load], rate: float, *, now: datetime) -> list[Span]:
    """Return when each load begins and ends, from `now` on, in the order of `loads`; see `starts`."""
    begins = [
        now if load.begun else max(start, now)
        for load, start in zip(loads, starts(loads, rate, now=now), strict=True)
    ]
    free, last = now, now + 10 * _LONGEST
    by_index: dict[int, Span] = {}
    for index in sorted(range(len(loads)), key=lambda index: (begins[index], loads[index].due, index)):
        load = loads[index]
        start = max(begins[index], free) if rate > 0 else begins[index]
        finish = free = min(start + _length(load, rate), max(start, last))
        by_index[index] = Span(
            start=start, finish=finish, late=finish > load.useful_until(now), misses=finish > load.expires
        )
    return [by_index[index] for index in range(len(loads))]


def _length(load: Load, rate: float) -> timedelta:
    """Return how long sending takes, limited to a length that is too long for anything."""
    return (
        timedelta(seconds=min(load.recipients / rate, _LONGEST.total_seconds())) if rate > 0 else timedelta()
    )
