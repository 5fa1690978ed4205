"""The clock as an interface, and durations as people write them."""

import re
from datetime import UTC, datetime, timedelta
from typing import Protocol

from scheduler.domain.errors import Refused


class Clock(Protocol):
    """Tells the time and waits. `now` is aware, in UTC; `monotonic` and `boottime` are in seconds and never go back;
    `boottime` goes on while the machine is suspended."""

    def now(self) -> datetime: ...

    def monotonic(self) -> float: ...

    def boottime(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...


def require_aware(value: datetime, what: str) -> datetime:
    """Return `value` in UTC. Raises ValueError for a naive datetime: it names no instant."""
    if value.tzinfo is None or value.utcoffset() is None:
        raise ValueError(f"{what} is naive: a datetime here needs a zone")
    return value.astimezone(UTC)


_DURATION = re.compile(
    r"(?:(?P<days>\d{1,4})d)? ?(?:(?P<hours>\d{1,5})h)? ?(?:(?P<minutes>\d{1,6})m)?", re.ASCII
)


def parse_duration(text: str) -> timedelta:
    """Read `90m`, `1h`, `14d` or `1d 2h 30m`. Raises Refused for anything else, and for nothing at all."""
    found = _DURATION.fullmatch(text.strip())
    if not found or not any(found.groups()):
        raise Refused(f"'{text}' is no length of time; write it as 90m, 1h, 14d or 1d 2h")
    return timedelta(**{unit: int(number) for unit, number in found.groupdict().items() if number})


def format_duration(span: timedelta) -> str:
    """A length of time in its two largest units, rounded up to the smaller: `2 d 3 h`, `1 h 57 min`, `4 min 10 s`."""
    seconds = -(-span // timedelta(seconds=1))
    for length, unit, smaller, its in (
        (86_400, "d", 3_600, "h"),
        (3_600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if seconds >= length:
            whole, rest = divmod(-(-seconds // smaller), length // smaller)
            return f"{whole} {unit} {rest} {its}" if rest else f"{whole} {unit}"
    return f"{seconds} s"
