"""When sending must begin so that, at the relay's rate, the last mail of a due instant is still of use."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from scheduler.domain.clock import require_aware

MOST_EARLY = timedelta(days=1)
"""A policy's mail never leaves longer than this before its due instant, however slow the relay is."""
REACH = timedelta(days=3)
"""How far behind a due instant others may lie that make it begin early."""
_LONGEST = timedelta(days=400)


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is to be sent for one due instant. It may begin at `soonest`, which is not after `due`; with `begun` some
    of it may be sent already, and `recipients` are those that are left."""

    due: datetime
    expires: datetime
    soonest: datetime
    recipients: int
    begun: bool = False

    def __post_init__(self) -> None:
        for name in ("due", "expires", "soonest"):
            require_aware(getattr(self, name), name)
        if self.soonest > self.due:
            raise ValueError("a load may begin by its due instant")
        if self.recipients < 0:
            raise ValueError("a load has no fewer than 0 recipients")

    def useful_until(self, now: datetime) -> datetime:
        """When the last mail should have left: half of the time is over in which it is of use to who gets it when it
        is due, or now if that is later."""
        since = max(self.due, now)
        return since + max(self.expires - since, timedelta()) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """When the first and the last mail of a load leave. It is `late` where the last one is not as useful as it should
    be, and `misses` some where it has expired before that one."""

    start: datetime
    finish: datetime
    late: bool
    misses: bool


def starts(loads: Sequence[Load], rate: float, *, now: datetime) -> list[datetime]:
    """When each load is to begin at `rate` (messages a second; 0 is no limit), in the order of `loads`.

    All share the rate, and who begins first is sent first. Backwards from the last due instant each begins as late as
    leaves it, and those behind it, enough time, but not after its due instant nor before its `soonest`; what has to
    begin at its due instant is made room for. One that begins early does so on a whole minute, so that a member more or
    less changes nothing.
    """
    found = [one.due for one in loads]
    if rate <= 0:
        return found
    fixed = _busy([one for one in loads if one.soonest == one.due], rate, now=now)
    movable = [number for number, one in enumerate(loads) if one.soonest < one.due]
    room: datetime | None = None
    for number in sorted(movable, key=lambda number: (loads[number].due, number), reverse=True):
        one, length = loads[number], _length(loads[number], rate)
        finish = one.useful_until(now) if room is None else min(one.useful_until(now), room)
        for begin, end in fixed:
            if begin < finish and finish - length < end:
                finish = begin
        latest = finish - length
        found[number] = max(one.soonest, min(one.due, latest.replace(second=0, microsecond=0)))
        # Who is before it need not be done before it may begin.
        room = max(latest, one.soonest)
    return found


def _busy(fixed: Sequence[Load], rate: float, *, now: datetime) -> list[tuple[datetime, datetime]]:
    """From when to when the relay is taken by what cannot begin at another time, the last first."""
    found: list[tuple[datetime, datetime]] = []
    for one in sorted((one for one in fixed if one.recipients), key=lambda one: one.due):
        begin = max(one.due, now)
        if found and begin <= found[-1][1]:
            begin, free = found.pop()
            found.append((begin, free + _length(one, rate)))
        else:
            found.append((begin, begin + _length(one, rate)))
    return found[::-1]


def spans(loads: Sequence[Load], rate: float, *, now: datetime) -> list[Span]:
    """When each load begins and ends, from `now` on, in the order of `loads`; see `starts`."""
    begins = [
        now if one.begun else max(start, now)
        for one, start in zip(loads, starts(loads, rate, now=now), strict=True)
    ]
    free, last = now, now + 10 * _LONGEST
    found: dict[int, Span] = {}
    for number in sorted(range(len(loads)), key=lambda number: (begins[number], loads[number].due, number)):
        one = loads[number]
        start = max(begins[number], free) if rate > 0 else begins[number]
        finish = free = min(start + _length(one, rate), max(start, last))
        found[number] = Span(
            start=start, finish=finish, late=finish > one.useful_until(now), misses=finish > one.expires
        )
    return [found[number] for number in range(len(loads))]


def _length(load: Load, rate: float) -> timedelta:
    """How long it takes; no longer than what is too long for anything."""
    return (
        timedelta(seconds=min(load.recipients / rate, _LONGEST.total_seconds())) if rate > 0 else timedelta()
    )
