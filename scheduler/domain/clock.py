"""The clock interface, and durations as people write them."""

import re
from datetime import UTC, datetime, timedelta
from typing import Protocol

from scheduler.domain.errors import Refused


class Clock(Protocol):
    """Tell the time and wait.

    `now` is aware, in UTC. `monotonic` and `boottime` are in seconds and never go back; `boottime` continues while the
    machine is suspended.
    """

    def now(self) -> datetime: ...

    def monotonic(self) -> float: ...

    def boottime(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...


def require_aware(value: datetime, what: str) -> datetime:
    """Return `value` in UTC. Raises ValueError for a naive datetime, which is not an instant."""
    if value.tzinfo is None or value.utcoffset() is None:
        raise ValueError(f"{what} is naive: it needs a time zone")
    return value.astimezone(UTC)


_DURATION = re.compile(
    r"(?:(?P<days>\d{1,4})d)? ?(?:(?P<hours>\d{1,5})h)? ?(?:(?P<minutes>\d{1,6})m)?", re.ASCII
)


def parse_duration(text: str) -> timedelta:
    """Parse `90m`, `1h`, `14d` or `1d 2h 30m`. Raises Refused for anything else, including an empty text."""
    match = _DURATION.fullmatch(text.strip())
    if not match or not any(match.groups()):
        raise Refused(f"'{text}' is not a length of time; write it as 90m, 1h, 14d or 1d 2h")
    return timedelta(**{unit: int(number) for unit, number in match.groupdict().items() if number})


def format_duration(span: timedelta) -> str:
    """Return a length of time in its two largest units, rounded up: `2 d 3 h`, `1 h 57 min`, `4 min 10 s`."""
    seconds = -(-span // timedelta(seconds=1))
    for length, unit, smaller, smaller_unit in (
        (86_400, "d", 3_600, "h"),
        (3_600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if seconds >= length:
            whole, rest = divmod(-(-seconds // smaller), length // smaller)
            return f"{whole} {unit} {rest} {smaller_unit}" if rest else f"{whole} {unit}"
    return f"{seconds} s"
