"""When a meeting is for one person: the one renderer behind subject, text, HTML, web page and command line."""

from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import Literal
from zoneinfo import ZoneInfo

from dateutil.relativedelta import relativedelta

from scheduler.domain.occurrence import Occurrence, Preceding, Series, in_gap, instant
from scheduler.domain.policy import Kind, Policy
from scheduler.domain.recurrence import rule_in_words
from scheduler.domain.zone import city, known_zone

HourCycle = Literal["h12", "h23"]

JOIN_OPENS = timedelta(minutes=15)
"""How long before the start the join link begins to lead to the room."""

# Not strftime, which depends on the locale of the process.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalTime:
    """An occurrence's time by the clocks of one zone, as finished words, beside the time in its home zone.

    Clock times are in the requested hour cycle: `05:00` or `5:00 am`; one on another day than the start names its
    weekday. `opens` is when the join link starts to work, `opens_before` how long that is before the start. The
    `…_iso` fields are for `<time datetime>`; `starts_at` is in the zone.
    `day_shift` is the local date minus the home date in days; `shift_minutes` is how much later the wall clock
    shows than at the preceding occurrence of the rule. The `home_…` fields are empty if the zone is the home zone.
    Each note is empty or a sentence.
    """

    weekday: str
    date: str
    day: str
    starts: str
    ends: str
    opens: str
    opens_before: str
    city: str
    zone: str
    offset: str
    starts_at: datetime
    starts_iso: str
    ends_iso: str
    home_day: str = ""
    home_starts: str = ""
    home_ends: str = ""
    home_city: str = ""
    home_offset: str = ""
    home_iso: str = ""
    day_shift: int
    shift_minutes: int
    day_note: str
    clock_note: str

    @property
    def clock(self) -> str:
        """The start with the clock that it is by: `18:00 in London (UTC)`."""
        return f"{self.starts} in {self.place}"

    @property
    def span(self) -> str:
        """Day, start, end and clock: `Thursday 19 November 2026, 18:00 to 19:00 in London (UTC)`."""
        return f"{self.day}, {self.starts} to {self.ends} in {self.place}"

    @property
    def place(self) -> str:
        """The city with its offset: `London (UTC)`, and `UTC` for UTC itself."""
        return self.city if self.city == self.offset else f"{self.city} ({self.offset})"

    @property
    def home_ends_with_offset(self) -> str:
        """The end by the home clock with its offset: `19:00 (UTC+1)`, and `19:00` where the home zone is UTC itself."""
        return (
            self.home_ends if self.home_city == self.home_offset else f"{self.home_ends} ({self.home_offset})"
        )

    @property
    def line(self) -> str:
        """The short form for a subject: `Thursday 19 November, 18:00 London (UTC)`."""
        return f"{self.weekday} {self.starts_at.day} {MONTHS[self.starts_at.month - 1]}, {self.starts} {self.place}"

    @property
    def note(self) -> str:
        """Both notes as one sentence, or empty."""
        if self.day_note and self.clock_note:
            return f"{self.day_note.removesuffix('.')}; {self.clock_note}"
        return self.day_note or self.clock_note


def local_time(
    occurrence: Occurrence, series: Series | None, *, zone: str, cycle: HourCycle = "h23"
) -> LocalTime:
    """Return when `occurrence` is for people in `zone`, or by the home clock if the zone data does not know that zone.

    The clock is compared with the preceding occurrence: the stored one, or else the one that the rule of `series`
    gives. Without a series, and for the first, an extra or a moved occurrence, there is nothing to compare with,
    and the shift is 0.
    """
    zone = known_zone(zone, occurrence.zone)
    tz, home_tz = ZoneInfo(zone), ZoneInfo(occurrence.zone)
    starts, home_starts = occurrence.starts.astimezone(tz), occurrence.starts.astimezone(home_tz)
    ends = occurrence.ends.astimezone(tz)
    day, start_text = starts.date(), format_clock(starts, cycle)
    day_shift = (day - home_starts.date()).days
    weekday = WEEKDAYS[day.weekday()]
    shift_minutes, clock_note = _clock_change(occurrence, series, zone, cycle) if series else (0, "")

    def clock(moment: datetime, start: datetime) -> str:
        words = format_clock(moment, cycle)
        return words if moment.date() == start.date() else f"{words} on {WEEKDAYS[moment.weekday()]}"

    local = LocalTime(
        weekday=weekday,
        date=format_date(day),
        day=format_day(day),
        starts=start_text,
        ends=clock(ends, starts),
        opens=clock((occurrence.starts - JOIN_OPENS).astimezone(tz), starts),
        opens_before=format_length(JOIN_OPENS // timedelta(minutes=1)),
        city=city(zone),
        zone=zone,
        offset=format_offset(starts),
        starts_at=starts,
        starts_iso=starts.isoformat(),
        ends_iso=ends.isoformat(),
        day_shift=day_shift,
        shift_minutes=shift_minutes,
        day_note=f"{weekday} for you." if day_shift else "",
        clock_note=clock_note,
    )
    if zone == occurrence.zone:
        return local
    return replace(
        local,
        home_day=format_day(home_starts.date()),
        home_starts=format_clock(home_starts, cycle),
        home_ends=clock(occurrence.ends.astimezone(home_tz), home_starts),
        home_city=city(occurrence.zone),
        home_offset=format_offset(home_starts),
        home_iso=home_starts.isoformat(),
    )


def format_date(day: date) -> str:
    """Return `19 November 2026`."""
    return f"{day.day} {MONTHS[day.month - 1]} {day.year}"


def format_month(day: date) -> str:
    """Return `November 2026`."""
    return f"{MONTHS[day.month - 1]} {day.year}"


def format_day(day: date) -> str:
    """Return `Thursday 19 November 2026`."""
    return f"{WEEKDAYS[day.weekday()]} {format_date(day)}"


def format_clock(moment: datetime, cycle: HourCycle) -> str:
    """Return `18:00`, or `6:00 pm` in a 12-hour cycle, with plain spaces."""
    if cycle == "h23":
        return f"{moment.hour:02}:{moment.minute:02}"
    return f"{moment.hour % 12 or 12}:{moment.minute:02} {'am' if moment.hour < 12 else 'pm'}"


def describe_instant(instant: datetime, *, zone: str, cycle: HourCycle) -> str:
    """Return an instant in the time of a zone: `Thursday 19 November 2026, 18:00 in London`."""
    local = instant.astimezone(ZoneInfo(zone))
    return f"{format_day(local.date())}, {format_clock(local, cycle)} in {city(zone)}"


def format_offset(moment: datetime) -> str:
    """Return `UTC`, `UTC+1`, `UTC+5:30` or `UTC-3`."""
    minutes = round((moment.utcoffset() or timedelta()).total_seconds() / 60)
    if not minutes:
        return "UTC"
    hours, rest = divmod(abs(minutes), 60)
    return f"UTC{'+' if minutes > 0 else '-'}{hours}" + (f":{rest:02}" if rest else "")


def format_length(minutes: int) -> str:
    """Return a length of time in words: `an hour`, `half an hour`, `two hours`, `45 minutes`."""
    hours, rest = divmod(abs(minutes), 60)
    if not hours:
        return "half an hour" if rest == 30 else f"{rest} minutes"
    if rest == 30:
        return "an hour and a half" if hours == 1 else f"{_number(hours)} and a half hours"
    whole = "an hour" if hours == 1 else f"{_number(hours)} hours"
    return f"{whole} and {rest} minutes" if rest else whole


def format_timing(policy: Policy, cycle: HourCycle) -> str:
    """Return when a notice of a policy is due, in words: `an hour before the start`, `on the day before, at 09:00`. A
    time of day is that of each member's own zone."""
    event, direction = ("end", "after") if policy.kind is Kind.FOLLOW_UP else ("start", "before")
    if policy.span is not None:
        minutes = int(policy.span.total_seconds()) // 60
        days = _number(minutes // 1440) + " days" if minutes % 1440 == 0 and minutes > 1440 else ""
        return f"{days or format_length(minutes)} {direction} the {event}"
    assert policy.at is not None
    day = {0: "on the day", 1: f"on the day {direction}"}.get(
        policy.days or 0, f"{_number(policy.days or 0)} days {direction}"
    )
    return f"{day}, at {format_clock(datetime.combine(date.min, policy.at), cycle)}"


def format_rule(series: Series, cycle: HourCycle) -> str:
    """Return when the meetings of a series are held, in words: `Every Thursday, 18:00 to 19:00 in London`.

    A rule that cannot be said in a few words is left out; an end after midnight is not on the same day.
    """
    starts = datetime.combine(series.first, series.start)
    ends = starts + series.duration
    hours = f"{format_clock(starts, cycle)} to {format_clock(ends, cycle)} in {city(series.zone)}"
    days = rule_in_words(series.rule, series.first)
    return f"{days[:1].upper()}{days[1:]}, {hours}" if days else hours


def local_minute(moment: datetime, zone: str) -> str:
    """Return the wall time of `zone` to the minute, such as `2026-11-19T18:00`, for storing and comparing."""
    return f"{moment.astimezone(ZoneInfo(zone)):%Y-%m-%dT%H:%M}"


def months_later(day: date, months: int) -> date:
    """Return the same day of a later month, or its last day if the month is shorter."""
    return day + relativedelta(months=months)


def _number(value: int) -> str:
    return _NUMBERS[value] if value < len(_NUMBERS) else str(value)


def _clock_change(occurrence: Occurrence, series: Series, zone: str, cycle: HourCycle) -> tuple[int, str]:
    """Return how many minutes later the wall clock of `zone` shows than at the meeting before, and a sentence on it."""
    previous = _previous(occurrence, series)
    if previous is None:
        return 0, ""
    tz = ZoneInfo(zone)
    starts = occurrence.starts.astimezone(tz)
    shift = _since_midnight(
        starts, occurrence.starts.astimezone(ZoneInfo(occurrence.zone))
    ) - _since_midnight(
        previous.original.astimezone(tz), previous.original.astimezone(ZoneInfo(previous.zone))
    )
    if not shift:
        return 0, ""
    period = "this month" if "MONTHLY" in series.rule.upper() else "this time"
    # Nobody met at that time if the last meeting was moved or cancelled.
    reference = "last time" if previous.as_planned else "usual"
    cause = _cause(occurrence, previous, zone, series, cycle)
    return shift, (
        f"{format_clock(starts, cycle)} {period}, {format_length(shift)} {'later' if shift > 0 else 'earlier'} "
        f"than {reference}{f': {cause}' if cause else ''}."
    )


@lru_cache(maxsize=1024)
def _rule_before(series: Series, day: date) -> Preceding | None:
    """Return the rule's last meeting before the home date `day`. Cached because every zone asks for it again."""
    before = series.date_before(day)
    return Preceding(original=series.starts_on(before), zone=series.zone) if before else None


def _previous(occurrence: Occurrence, series: Series) -> Preceding | None:
    """Return the meeting to compare the clock with; None for an extra or a moved one."""
    if occurrence.extra or occurrence.starts != occurrence.original:
        return None
    return occurrence.previous or _rule_before(series, occurrence.date)


def _since_midnight(moment: datetime, home: datetime) -> int:
    """Return the minutes of wall clock from 00:00 of the home date to the local `moment`.

    They may be negative or more than 24 hours.
    """
    midnight = home.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    return round((moment.replace(tzinfo=None) - midnight).total_seconds() / 60)


def _wall_time(start: datetime, home: str, series: Series) -> time:
    """Return the wall time for which a meeting was planned, even if the clocks skipped it that day."""
    shown = start.astimezone(ZoneInfo(home)).replace(tzinfo=None)
    planned = datetime.combine(shown.date(), series.start)
    return series.start if instant(planned, home) == start else shown.time()


def _cause(occurrence: Occurrence, previous: Preceding, zone: str, series: Series, cycle: HourCycle) -> str:
    """Return why the wall clock of `zone` shows another time than at the meeting before; empty if not known.

    The change is split at the instant at which the meeting would start by its former wall time and home zone: the
    change up to that instant comes from the clocks, the rest from the convenors.
    """
    tz, home_tz, former_home_tz = ZoneInfo(zone), ZoneInfo(occurrence.zone), ZoneInfo(previous.zone)
    former_wall_time = _wall_time(previous.original, previous.zone, series)
    home_date = occurrence.original.astimezone(home_tz).date()
    unchanged = datetime.combine(home_date, former_wall_time)
    expected = instant(unchanged, previous.zone)
    midnight = datetime.combine(home_date, time())

    def since_midnight(moment: datetime) -> int:
        return round((moment.astimezone(tz).replace(tzinfo=None) - midnight).total_seconds() / 60)

    before = _since_midnight(previous.original.astimezone(tz), previous.original.astimezone(former_home_tz))
    causes = []
    if since_midnight(occurrence.starts) != since_midnight(expected):
        starts = format_clock(occurrence.starts.astimezone(home_tz), cycle)
        place = "" if zone == occurrence.zone else f" in {city(occurrence.zone)}"
        causes.append(f"the meeting now begins at {starts}{place}")
    if since_midnight(expected) != before:
        causes.append(
            _clocks_cause(
                previous, zone, former_wall_time, expected=expected, unchanged=unchanged, cycle=cycle
            )
        )
    return ", and ".join(filter(None, causes))


def _clocks_cause(
    previous: Preceding,
    zone: str,
    former_wall_time: time,
    *,
    expected: datetime,
    unchanged: datetime,
    cycle: HourCycle,
) -> str:
    name, home_tz = _home_name(previous.zone), ZoneInfo(previous.zone)
    last = previous.original.astimezone(home_tz)
    if in_gap(unchanged, previous.zone):
        return f"{name}'s clocks skip {format_clock(unchanged, cycle)} that day"
    if last.time() != former_wall_time:
        return f"last time {name}'s clocks skipped {format_clock(unchanged, cycle)}"

    def has_changed(tz: ZoneInfo) -> bool:
        return previous.original.astimezone(tz).utcoffset() != expected.astimezone(tz).utcoffset()

    own_changed, home_changed = has_changed(ZoneInfo(zone)), has_changed(home_tz)
    if own_changed and home_changed:
        return f"your clocks and {name}'s have changed differently"
    if own_changed:
        return f"your clocks have changed and {name}'s have not"
    return f"{name}'s clocks have changed and yours have not" if home_changed else ""


def _home_name(zone: str) -> str:
    """Return what a sentence calls the home of a series: `the UK` for London, otherwise its city."""
    return "the UK" if zone == "Europe/London" else city(zone)
