"""When a meeting is for one person: the one renderer behind subject, text, HTML, web page and command line."""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import Literal
from zoneinfo import ZoneInfo

from dateutil.relativedelta import relativedelta

from scheduler.domain.occurrence import Occurrence, Preceding, Series, in_gap, instant
from scheduler.domain.zone import city

HourCycle = Literal["h12", "h23"]

# English on purpose: strftime follows the process's locale.
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
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


def local_minute(moment: datetime, zone: str) -> str:
    """The wall time of `zone` to the minute, as `2026-11-19T18:00`: to be kept and compared."""
    return f"{moment.astimezone(ZoneInfo(zone)):%Y-%m-%dT%H:%M}"


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
def _rule_before(series: Series, day: date) -> Preceding | None:
    """The rule's last meeting before the home date `day`. Cached because it is asked for again for each zone."""
    before = series.date_before(day)
    return Preceding(original=series.starts_on(before), zone=series.zone) if before else None


def _previous(occurrence: Occurrence, series: Series | None) -> Preceding | None:
    """The meeting to compare the clock with; None for an extra or a moved one."""
    if series is None or occurrence.extra or occurrence.starts != occurrence.original:
        return None
    return occurrence.previous or _rule_before(series, occurrence.date)


def _since_midnight(moment: datetime, home: datetime) -> int:
    """Minutes of wall clock from 00:00 of the home date to the local `moment`; may pass 24 hours or be negative."""
    midnight = home.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    return round((moment.replace(tzinfo=None) - midnight).total_seconds() / 60)


def _wall_time(start: datetime, home: str, series: Series) -> time:
    """The wall time for which a meeting was set: not what the clocks show where they skip it."""
    shown = start.astimezone(ZoneInfo(home)).replace(tzinfo=None)
    planned = datetime.combine(shown.date(), series.start)
    return series.start if instant(planned, home) == start else shown.time()


def _why(occurrence: Occurrence, previous: Preceding, zone: str, series: Series, cycle: HourCycle) -> str:
    """Why the wall clock of `zone` shows another time than at the meeting before; empty where that is not known.

    The change is split at the instant at which the meeting would start by its former wall time and home zone: what
    lies before that is the clocks' doing, what lies after it the convenors'.
    """
    there, home, former_home = ZoneInfo(zone), ZoneInfo(occurrence.zone), ZoneInfo(previous.zone)
    former = _wall_time(previous.original, previous.zone, series)
    home_date = occurrence.original.astimezone(home).date()
    unchanged = datetime.combine(home_date, former)
    expected = instant(unchanged, previous.zone)
    midnight = datetime.combine(home_date, time())

    def since(moment: datetime) -> int:
        return round((moment.astimezone(there).replace(tzinfo=None) - midnight).total_seconds() / 60)

    before = _since_midnight(previous.original.astimezone(there), previous.original.astimezone(former_home))
    reasons = []
    if since(occurrence.starts) != since(expected):
        starts = say_clock(occurrence.starts.astimezone(home), cycle)
        place = "" if zone == occurrence.zone else f" in {city(occurrence.zone)}"
        reasons.append(f"the meeting now begins at {starts}{place}")
    if since(expected) != before:
        reasons.append(
            _whose_clocks(previous, zone, former, expected=expected, unchanged=unchanged, cycle=cycle)
        )
    return ", and ".join(filter(None, reasons))


def _whose_clocks(
    previous: Preceding, zone: str, former: time, *, expected: datetime, unchanged: datetime, cycle: HourCycle
) -> str:
    name, home = home_name(previous.zone), ZoneInfo(previous.zone)
    last = previous.original.astimezone(home)
    if in_gap(unchanged, previous.zone):
        return f"{name}'s clocks skip {say_clock(unchanged, cycle)} that day"
    if last.time() != former:
        return f"last time {name}'s clocks skipped {say_clock(unchanged, cycle)}"

    def changed(place: ZoneInfo) -> bool:
        return previous.original.astimezone(place).utcoffset() != expected.astimezone(place).utcoffset()

    yours, theirs = changed(ZoneInfo(zone)), changed(home)
    if yours and theirs:
        return f"your clocks and {name}'s have changed differently"
    if yours:
        return f"your clocks have changed and {name}'s have not"
    return f"{name}'s clocks have changed and yours have not" if theirs else ""


def local_time(
    occurrence: Occurrence, zone: str, *, series: Series | None = None, cycle: HourCycle = "h23"
) -> LocalTime:
    """Return when `occurrence` is in `zone`.

    The clock is compared with the preceding occurrence, as it was kept or else as `series`' rule gives it; without a
    series, for the first, for an extra and for a moved one there is nothing to compare with and the shift is 0.
    `cycle` is that of the clock note's time.
    """
    there, home = ZoneInfo(zone), ZoneInfo(occurrence.zone)
    starts, home_starts = occurrence.starts.astimezone(there), occurrence.starts.astimezone(home)
    shift, clock_note = 0, ""
    if series and (previous := _previous(occurrence, series)):
        shift = _since_midnight(starts, home_starts) - _since_midnight(
            previous.original.astimezone(there), previous.original.astimezone(ZoneInfo(previous.zone))
        )
        if shift:
            when = "this month" if "MONTHLY" in series.rule.upper() else "this time"
            # Nobody met at that hour where the last meeting was moved or cancelled.
            than = "last time" if previous.as_planned else "usual"
            why = _why(occurrence, previous, zone, series, cycle)
            clock_note = (
                f"{say_clock(starts, cycle)} {when}, {say_length(shift)} {'later' if shift > 0 else 'earlier'} "
                f"than {than}{f': {why}' if why else ''}."
            )
    day_shift = (starts.date() - home_starts.date()).days
    return LocalTime(
        zone=zone,
        city=city(zone),
        starts=starts,
        ends=occurrence.ends.astimezone(there),
        home_starts=home_starts,
        home_ends=occurrence.ends.astimezone(home),
        home_city=city(occurrence.zone),
        day_shift=day_shift,
        shift_minutes=shift,
        day_note=f"{WEEKDAYS[starts.weekday()]} for you." if day_shift else "",
        clock_note=clock_note,
    )
