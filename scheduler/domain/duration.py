"""Lengths of time as people write them in settings and commands."""

import re
from datetime import timedelta

from scheduler.domain.problem import Refused

_DURATION = re.compile(
    r"(?:(?P<days>\d{1,4})d)? ?(?:(?P<hours>\d{1,5})h)? ?(?:(?P<minutes>\d{1,6})m)?", re.ASCII
)


def parse_duration(text: str) -> timedelta:
    """Read `90m`, `1h`, `14d` or `1d 2h 30m`. Raises Refused for anything else, and for nothing at all."""
    found = _DURATION.fullmatch(text.strip())
    if not found or not any(found.groups()):
        raise Refused(f"'{text}' is no length of time; write it as 90m, 1h, 14d or 1d 2h")
    return timedelta(**{unit: int(number) for unit, number in found.groupdict().items() if number})


def say_duration(span: timedelta) -> str:
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
