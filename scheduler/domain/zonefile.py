"""What the packaged zone data says of one zone: its transitions and its rule for ever after (RFC 8536)."""

import re
import struct
from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from importlib.resources import files
from typing import NamedTuple
from zoneinfo import ZoneInfo

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_NAME = r"([A-Za-z]+|<[A-Za-z0-9+-]+>)"
_CLOCK = r"[+-]?\d+(?::\d\d){0,2}"
_DAY = rf"(?:J?\d+|M\d+\.\d\.\d)(?:/{_CLOCK})?"
_FOOTER = re.compile(rf"{_NAME}({_CLOCK})(?:{_NAME}({_CLOCK})?,({_DAY}),({_DAY}))?")


class TimeType(NamedTuple):
    """A way of reckoning local time: offset from UTC, whether the zone calls it daylight time, name."""

    offset: timedelta
    daylight: bool
    name: str


class Transition(NamedTuple):
    """The instant, in UTC, at which one way of reckoning gives place to another."""

    at: datetime
    before: TimeType
    after: TimeType


@dataclass(frozen=True, slots=True)
class YearlyDay:
    """A day and time that comes every year, as a POSIX TZ string writes it: `M10.5.0/2`, `J60`, `59`.

    `time` counts from midnight of the day; it may be negative or pass 24 hours (RFC 8536 section 3.3.1).
    """

    text: str
    time: timedelta

    @classmethod
    def parse(cls, text: str) -> "YearlyDay":
        day, _, clock = text.partition("/")
        return cls(day, _span(clock or "2"))

    @property
    def month_week_weekday(self) -> tuple[int, int, int] | None:
        """Month, week (5: the last) and weekday (0: Sunday); None where the day is given by its number."""
        if not self.text.startswith("M"):
            return None
        month, week, weekday = self.text[1:].split(".")
        return int(month), int(week), int(weekday)

    @property
    def month_and_day(self) -> tuple[int, int] | None:
        """Month and day where they are the same in every year, leap or not; else None."""
        if not self.text.startswith("J"):
            return None
        # J numbers the days as if there were no 29 February, as in 2001.
        day = date(2001, 1, 1) + timedelta(days=int(self.text[1:]) - 1)
        return day.month, day.day

    def on(self, year: int) -> datetime:
        """The naive wall time at which it comes in `year`, by the clocks that hold until then."""
        return datetime.combine(self._date(year), time()) + self.time

    def _date(self, year: int) -> date:
        if fixed := self.month_and_day:
            return date(year, *fixed)
        if not (weekly := self.month_week_weekday):
            return date(year, 1, 1) + timedelta(days=int(self.text))
        month, week, weekday = weekly
        first = 1 + (weekday - date(year, month, 1).isoweekday()) % 7
        day = first + 7 * (week - 1)
        return date(year, month, day if day <= monthrange(year, month)[1] else day - 7)


@dataclass(frozen=True, slots=True)
class Onset:
    """One of the two transitions that the zone's rule repeats every year."""

    before: TimeType
    after: TimeType
    day: YearlyDay

    def wall(self, year: int) -> datetime:
        """The naive time by the clocks that hold until then."""
        return self.day.on(year)

    def transition(self, year: int) -> Transition:
        return Transition(self.wall(year).replace(tzinfo=UTC) - self.before.offset, self.before, self.after)


@dataclass(frozen=True, slots=True)
class ZoneFile:
    """A zone since 1970: how time was reckoned then, transitions until `known_until`, the rule thereafter."""

    initial: TimeType
    known: tuple[Transition, ...]
    known_until: datetime
    onsets: tuple[Onset, ...]

    def transitions(self, until: int) -> list[Transition]:
        """All transitions since 1970 to the end of the year `until` (UTC), in order."""
        years = range(self.known_until.year, until + 2)
        coming = [onset.transition(year) for year in years for onset in self.onsets]
        found = [*self.known, *(transition for transition in coming if transition.at > self.known_until)]
        return sorted(transition for transition in found if transition.at.year <= until)


@lru_cache(maxsize=64)
def zone_file(zone: str) -> ZoneFile:
    """Read `zone` from the packaged tzdata. Raises ZoneInfoNotFoundError for an unknown name."""
    ZoneInfo(zone)
    return parse_zone_file(files("tzdata").joinpath("zoneinfo", *zone.split("/")).read_bytes())


def parse_zone_file(data: bytes) -> ZoneFile:
    """Read a TZif file of version 2 or later (RFC 8536 section 3). Raises ValueError where it is none."""
    if data[:4] != b"TZif" or data[4:5] < b"2":
        raise ValueError("not a TZif file of version 2 or later")
    start = 44 + _block_length(data, 0, instant=4)
    rest = start + 44
    _, _, _, times, types, chars = struct.unpack_from(">6l", data, start + 20)
    instants = struct.unpack_from(f">{times}q", data, rest)
    indices = data[rest + 8 * times : rest + 9 * times]
    type_start = rest + 9 * times
    names = data[type_start + 6 * types : type_start + 6 * types + chars]
    time_types = [
        TimeType(timedelta(seconds=offset), daylight, names[name : names.index(0, name)].decode("ascii"))
        for offset, daylight, name in struct.iter_unpack(">l?B", data[type_start : type_start + 6 * types])
    ]
    initial = time_types[0]
    known: list[Transition] = []
    for seconds, index in zip(instants, indices, strict=True):
        after = time_types[index]
        if seconds < 0:
            initial = after
            continue
        before = known[-1].after if known else initial
        if before != after:
            known.append(Transition(EPOCH + timedelta(seconds=seconds), before, after))
    footer = data[start + 44 + _block_length(data, start, instant=8) :].strip(b"\n").decode("ascii")
    # The last entry may be no change at all: it says since when the rule holds.
    known_until = EPOCH + timedelta(seconds=max((0, *instants)))
    return ZoneFile(initial, tuple(known), known_until, parse_footer(footer))


def parse_footer(text: str) -> tuple[Onset, ...]:
    """The two onsets of a POSIX TZ string, that of daylight time first; none where it has no daylight time.

    Raises ValueError where it is not such a string.
    """
    if not text:
        return ()
    found = _FOOTER.fullmatch(text)
    if not found:
        raise ValueError(f"'{text}' is not a POSIX TZ string")
    name, offset, daylight_name, daylight_offset, start, end = found.groups()
    if not daylight_name:
        return ()
    # POSIX counts west of Greenwich as positive.
    standard = TimeType(offset=-_span(offset), daylight=False, name=name.strip("<>"))
    ahead = -_span(daylight_offset) if daylight_offset else standard.offset + timedelta(hours=1)
    daylight = TimeType(offset=ahead, daylight=True, name=daylight_name.strip("<>"))
    return (
        Onset(standard, daylight, YearlyDay.parse(start)),
        Onset(daylight, standard, YearlyDay.parse(end)),
    )


def _block_length(data: bytes, header: int, *, instant: int) -> int:
    """The octets of the data block behind a header whose instants take `instant` octets each."""
    utc, wall, leaps, times, types, chars = struct.unpack_from(">6l", data, header + 20)
    return int(times * (instant + 1) + types * 6 + chars + leaps * (instant + 4) + wall + utc)


def _span(text: str) -> timedelta:
    """`2`, `-1`, `+9:30`, `26:00:00` as a span of time."""
    hours, minutes, seconds = (*map(int, text.lstrip("+-").split(":")), 0, 0)[:3]
    span = timedelta(hours=hours, minutes=minutes, seconds=seconds)
    return -span if text.startswith("-") else span
