"""Zone files (RFC 8536) and the VTIMEZONE components that calendars need (RFC 5545 section 3.6.5)."""

import re
import struct
from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from importlib.resources import files
from typing import NamedTuple
from zoneinfo import ZoneInfo

from icalendar import Timezone, TimezoneDaylight, TimezoneStandard
from icalendar.prop import vRecur

from scheduler.domain.clock import require_aware

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_NAME = r"([A-Za-z]+|<[A-Za-z0-9+-]+>)"
_CLOCK = r"[+-]?\d+(?::\d\d){0,2}"
_DAY = rf"(?:J?\d+|M\d+\.\d\.\d)(?:/{_CLOCK})?"
_FOOTER = re.compile(rf"{_NAME}({_CLOCK})(?:{_NAME}({_CLOCK})?,({_DAY}),({_DAY}))?")


class TimeType(NamedTuple):
    """One kind of local time: its offset from UTC, whether the zone calls it daylight time, and its name."""

    offset: timedelta
    daylight: bool
    name: str


class Transition(NamedTuple):
    """The instant, in UTC, at which one kind of local time changes to another."""

    at: datetime
    before: TimeType
    after: TimeType


@dataclass(frozen=True, slots=True)
class YearlyDay:
    """A day and time of every year, as in a POSIX TZ string: `M10.5.0/2`, `J60`, `59`.

    `time` counts from midnight of the day; it may be negative or more than 24 hours (RFC 8536 section 3.3.1).
    """

    text: str
    time: timedelta

    @classmethod
    def parse(cls, text: str) -> "YearlyDay":
        day, _, clock = text.partition("/")
        return cls(day, _span(clock or "2"))

    @property
    def month_week_weekday(self) -> tuple[int, int, int] | None:
        """Month, week (5: the last) and weekday (0: Sunday); None if the day is given by its number in the year."""
        if not self.text.startswith("M"):
            return None
        month, week, weekday = self.text[1:].split(".")
        return int(month), int(week), int(weekday)

    @property
    def month_and_day(self) -> tuple[int, int] | None:
        """Month and day if they are the same in leap years and others; otherwise None."""
        if not self.text.startswith("J"):
            return None
        # J counts days without 29 February, as in 2001.
        day = date(2001, 1, 1) + timedelta(days=int(self.text[1:]) - 1)
        return day.month, day.day

    def on(self, year: int) -> datetime:
        """Return its naive wall time in `year`, by the clocks in use until then."""
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
    """One of the two transitions that a zone's rule repeats every year."""

    before: TimeType
    after: TimeType
    day: YearlyDay

    def wall(self, year: int) -> datetime:
        """Return its naive wall time in `year`, by the clocks in use until then."""
        return self.day.on(year)

    def transition(self, year: int) -> Transition:
        return Transition(self.wall(year).replace(tzinfo=UTC) - self.before.offset, self.before, self.after)


@dataclass(frozen=True, slots=True)
class ZoneFile:
    """A zone since 1970: its initial time type, its transitions until `known_until`, and its rule after that."""

    initial: TimeType
    known: tuple[Transition, ...]
    known_until: datetime
    onsets: tuple[Onset, ...]

    def transitions(self, until: int) -> list[Transition]:
        """Return all transitions from 1970 to the end of the year `until` (UTC), in order."""
        years = range(self.known_until.year, until + 2)
        coming = [onset.transition(year) for year in years for onset in self.onsets]
        combined = [*self.known, *(transition for transition in coming if transition.at > self.known_until)]
        return sorted(transition for transition in combined if transition.at.year <= until)


@lru_cache(maxsize=64)
def zone_file(zone: str) -> ZoneFile:
    """Read `zone` from the packaged tzdata. Raises ZoneInfoNotFoundError for an unknown name."""
    ZoneInfo(zone)
    return parse_zone_file(files("tzdata").joinpath("zoneinfo", *zone.split("/")).read_bytes())


def parse_zone_file(data: bytes) -> ZoneFile:
    """Read a TZif file of version 2 or later (RFC 8536 section 3). Raises ValueError for other data."""
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
    # The last entry may change nothing: it only marks the instant from which the rule applies.
    known_until = EPOCH + timedelta(seconds=max((0, *instants)))
    return ZoneFile(initial, tuple(known), known_until, parse_footer(footer))


def parse_footer(text: str) -> tuple[Onset, ...]:
    """Return the two onsets of a POSIX TZ string, daylight time first; none if it has no daylight time.

    Raises ValueError if it is not such a string.
    """
    if not text:
        return ()
    match = _FOOTER.fullmatch(text)
    if not match:
        raise ValueError(f"'{text}' is not a POSIX TZ string")
    name, offset, daylight_name, daylight_offset, start, end = match.groups()
    if not daylight_name:
        return ()
    # In POSIX, offsets west of Greenwich are positive.
    standard = TimeType(offset=-_span(offset), daylight=False, name=name.strip("<>"))
    ahead = -_span(daylight_offset) if daylight_offset else standard.offset + timedelta(hours=1)
    daylight = TimeType(offset=ahead, daylight=True, name=daylight_name.strip("<>"))
    return (
        Onset(standard, daylight, YearlyDay.parse(start)),
        Onset(daylight, standard, YearlyDay.parse(end)),
    )


def _block_length(data: bytes, header: int, *, instant: int) -> int:
    """Return the length in octets of the data block after a header, with `instant` octets for each instant."""
    utc, wall, leaps, times, types, chars = struct.unpack_from(">6l", data, header + 20)
    return int(times * (instant + 1) + types * 6 + chars + leaps * (instant + 4) + wall + utc)


def _span(text: str) -> timedelta:
    """Parse `2`, `-1`, `+9:30` or `26:00:00`."""
    hours, minutes, seconds = (*map(int, text.lstrip("+-").split(":")), 0, 0)[:3]
    span = timedelta(hours=hours, minutes=minutes, seconds=seconds)
    return -span if text.startswith("-") else span


_WEEKDAYS = ("SU", "MO", "TU", "WE", "TH", "FR", "SA")

Observance = TimezoneStandard | TimezoneDaylight


class _YearlyRule(vRecur):
    # The order in which calendar programs write an RRULE; some older ones expect it.
    canonical_order = ("FREQ", "BYMONTH", "BYMONTHDAY", "BYDAY")  # type: ignore[assignment]


def vtimezone(zone: str, first: datetime, last: datetime) -> Timezone:
    """Return the VTIMEZONE of an IANA zone, correct for every instant in the years from `first` to `last`.

    A zone that follows its yearly rule in all these years gets two observances with that rule, each from the onset
    since which the rule has applied without a break. Any other zone gets one observance for each transition, and a
    zone without transitions a single STANDARD. Both instants are aware and not before 1970.
    Raises ZoneInfoNotFoundError for an unknown zone.
    """
    first, last = require_aware(first, "first"), require_aware(last, "last")
    first = datetime(first.year, 1, 1, tzinfo=UTC)
    file = zone_file(zone)
    block = Timezone()
    block.add("TZID", zone)
    for observance in _yearly(file, first, last.year) or list(
        _observances_by_transition(file, first, last.year)
    ):
        block.add_component(observance)
    return block


def _yearly(file: ZoneFile, first: datetime, last: int) -> list[Observance]:
    """Return the zone's rule as observances; none if there is no rule, or it has breaks or no RRULE."""
    transitions = set(file.transitions(last + 1))
    observances: list[Observance] = []
    regular: set[Transition] = set()
    begun = EPOCH
    for onset in file.onsets:
        rule = yearly_rule(onset.day)
        since = last + 1
        while onset.transition(since - 1) in transitions:
            since -= 1
        if rule is None:
            return []
        regular.update(onset.transition(year) for year in range(since, last + 2))
        begun = max(begun, onset.transition(since).at)
        observances.append(_observance(onset, since, rule))
    irregular = any(transition.at >= begun for transition in transitions - regular)
    return [] if begun > first or irregular else observances


def yearly_rule(day: YearlyDay) -> vRecur | None:
    """Return the RRULE of `day`; None if no simple rule expresses it, such as when its dates span two months."""
    shift = day.time.days
    if fixed := day.month_and_day:
        month, number = fixed
        return None if shift else _YearlyRule(FREQ="YEARLY", BYMONTH=month, BYMONTHDAY=number)
    if not (weekly := day.month_week_weekday):
        return None
    month, week, weekday = weekly
    if not shift:
        nth = week if week < 5 else -1
        return _YearlyRule(FREQ="YEARLY", BYMONTH=month, BYDAY=f"{nth}{_WEEKDAYS[weekday]}")
    # `M3.4.4/50`, hour 50 of the fourth Thursday, is 02:00 on the Saturday in 24 to 30 March: not an nth weekday.
    if month == 2:
        return None
    length = monthrange(2001, month)[1]
    start = shift + (length - 6 if week == 5 else 7 * week - 6)
    if not 1 <= start <= length - 6:
        return None
    days = list(range(start, start + 7))
    return _YearlyRule(FREQ="YEARLY", BYMONTH=month, BYMONTHDAY=days, BYDAY=_WEEKDAYS[(weekday + shift) % 7])


def _observances_by_transition(file: ZoneFile, first: datetime, last: int) -> Iterator[Observance]:
    """Yield an observance for the time type at `first`, and for each later transition until the end of `last`."""
    transitions = file.transitions(last)
    past = [transition for transition in transitions if transition.at <= first]
    coming = [transition for transition in transitions if transition.at > first]
    current = past[-1] if past else Transition(EPOCH - file.initial.offset, file.initial, file.initial)
    for transition in (current, *coming):
        observance = _new_observance(transition.before, transition.after)
        wall = (transition.at + transition.before.offset).replace(tzinfo=None)
        observance.add("DTSTART", wall)
        if coming:
            # Some programs use only DTSTART, others only RDATE if there is one; none reads a list of RDATEs correctly.
            observance.add("RDATE", wall)
        yield observance


def _observance(onset: Onset, since: int, rule: vRecur) -> Observance:
    observance = _new_observance(onset.before, onset.after)
    observance.add("DTSTART", onset.wall(since))
    observance.add("RRULE", rule)
    return observance


def _new_observance(before: TimeType, after: TimeType) -> Observance:
    # The greater offset is DAYLIGHT, even in Dublin, whose zone data calls winter time daylight time.
    daylight = after.offset > before.offset if after.daylight != before.daylight else after.daylight
    observance = TimezoneDaylight() if daylight else TimezoneStandard()
    observance.add("TZOFFSETFROM", before.offset)
    observance.add("TZOFFSETTO", after.offset)
    observance.add("TZNAME", after.name)
    return observance
