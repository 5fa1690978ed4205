"""When a meeting is for one person: the one renderer behind subject, text, HTML, web page and command line."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Literal
from zoneinfo import ZoneInfo

from dateutil.relativedelta import relativedelta

from scheduler.domain.occurrence import Occurrence, Series
from scheduler.domain.zone import city

HourCycle = Literal["h12", "h23"]

# English on purpose: strftime follows the process's locale.
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_NUMBERS = (
    "no",
    "an",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
)


def say_date(day: date) -> str:
    """`19 November 2026`."""
    return f"{day.day} {MONTHS[day.month - 1]} {day.year}"


def say_day(day: date) -> str:
    """`Thursday 19 November 2026`."""
    return f"{WEEKDAYS[day.weekday()]} {say_date(day)}"


def months_later(day: date, months: int) -> date:
    """The same day of a later month, or the last day of one that is shorter."""
    return day + relativedelta(months=months)


def say_clock(moment: datetime, cycle: HourCycle) -> str:
    """`18:00`, or `6:00 pm` in a 12-hour cycle; plain spaces."""
    if cycle == "h23":
        return f"{moment.hour:02}:{moment.minute:02}"
    return f"{moment.hour % 12 or 12}:{moment.minute:02} {'am' if moment.hour < 12 else 'pm'}"


def say_offset(moment: datetime) -> str:
    """`UTC`, `UTC+1`, `UTC+5:30`, `UTC-3`."""
    minutes = round((moment.utcoffset() or timedelta()).total_seconds() / 60)
    if not minutes:
        return "UTC"
    hours, rest = divmod(abs(minutes), 60)
    return f"UTC{'+' if minutes > 0 else '-'}{hours}" + (f":{rest:02}" if rest else "")


def say_length(minutes: int) -> str:
    """A span of wall clock in words: `an hour`, `half an hour`, `two hours`, `45 minutes`."""
    hours, rest = divmod(abs(minutes), 60)
    if not hours:
        return "half an hour" if rest == 30 else f"{rest} minutes"
    if rest == 30:
        return "an hour and a half" if hours == 1 else f"{_number(hours)} and a half hours"
    whole = "an hour" if hours == 1 else f"{_number(hours)} hours"
    return f"{whole} and {rest} minutes" if rest else whole


def _number(value: int) -> str:
    return _NUMBERS[value] if value < len(_NUMBERS) else str(value)


def home_name(zone: str) -> str:
    """How the home of the clocks is called in a sentence: `the UK` for London, else its city."""
    return "the UK" if zone == "Europe/London" else city(zone)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalTime:
    """An occurrence by the clocks of one zone, beside those of its home.

    `starts` and `ends` are aware, in the person's zone; `home_starts` and `home_ends` in the home zone.
    `day_shift` is the local date minus the home date in days; `shift_minutes` how much later the wall clock shows
    than at the preceding occurrence of the rule. The notes are empty or a sentence.
    """

    zone: str
    city: str
    starts: datetime
    ends: datetime
    home_starts: datetime
    home_ends: datetime
    home_city: str
    day_shift: int
    shift_minutes: int
    day_note: str
    clock_note: str

    @property
    def weekday(self) -> str:
        return WEEKDAYS[self.starts.weekday()]

    @property
    def day(self) -> str:
        return say_day(self.starts.date())

    @property
    def offset(self) -> str:
        return say_offset(self.starts)

    @property
    def note(self) -> str:
        """Both notes as one sentence, or empty."""
        if self.day_note and self.clock_note:
            return f"{self.day_note.removesuffix('.')}; {self.clock_note}"
        return self.day_note or self.clock_note


@lru_cache(maxsize=1024)
def _start_before(series: Series, day: date) -> datetime | None:
    """The instant of the rule's last meeting before the home date `day`: asked for again for each zone."""
    before = series.date_before(day)
    return series.starts_on(before) if before else None


def _since_midnight(moment: datetime, home: datetime) -> int:
    """Minutes of wall clock from 00:00 of the home date to the local `moment`; may pass 24 hours or be negative."""
    midnight = home.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    return round((moment.replace(tzinfo=None) - midnight).total_seconds() / 60)


def _why(zone: str, home: str, before: datetime, after: datetime) -> str:
    def changed(name: str) -> bool:
        there = ZoneInfo(name)
        return before.astimezone(there).utcoffset() != after.astimezone(there).utcoffset()

    name = home_name(home)
    if changed(zone) and changed(home):
        return f"your clocks and {name}'s have changed differently"
    if changed(zone):
        return f"your clocks have changed and {name}'s have not"
    return f"{name}'s clocks have changed and yours have not"


def local_time(
    occurrence: Occurrence, zone: str, *, series: Series | None = None, cycle: HourCycle = "h23"
) -> LocalTime:
    """Return when `occurrence` is in `zone`.

    The clock is compared with the preceding occurrence of `series`' rule; without a series, for the first, for an
    extra and for a moved one there is nothing to compare with and the shift is 0. `cycle` is that of the clock
    note's time.
    """
    there, home = ZoneInfo(zone), ZoneInfo(occurrence.zone)
    starts, home_starts = occurrence.starts.astimezone(there), occurrence.starts.astimezone(home)
    shift, clock_note = 0, ""
    comparable = not occurrence.extra and occurrence.starts == occurrence.original
    previous = _start_before(series, occurrence.date) if series and comparable else None
    if series and previous:
        shift = _since_midnight(starts, home_starts) - _since_midnight(
            previous.astimezone(there), previous.astimezone(home)
        )
        if shift:
            when = "this month" if "MONTHLY" in series.rule.upper() else "this time"
            clock_note = (
                f"{say_clock(starts, cycle)} {when}, {say_length(shift)} {'later' if shift > 0 else 'earlier'} "
                f"than last time: {_why(zone, occurrence.zone, previous, occurrence.starts)}."
            )
    day_shift = (starts.date() - home_starts.date()).days
    return LocalTime(
        zone=zone, city=city(zone), starts=starts, ends=occurrence.ends.astimezone(there),
        home_starts=home_starts, home_ends=occurrence.ends.astimezone(home), home_city=city(occurrence.zone),
        day_shift=day_shift, shift_minutes=shift,
        day_note=f"That is your {WEEKDAYS[starts.weekday()]}." if day_shift else "", clock_note=clock_note,
    )  # fmt: skip
