"""When a meeting is for one person: the one renderer behind subject, text, HTML, web page and command line."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import Literal
from zoneinfo import ZoneInfo

from dateutil.relativedelta import relativedelta

from scheduler.domain.cldr import cldr
from scheduler.domain.occurrence import Occurrence, Preceding, Series, in_gap, instant
from scheduler.domain.policy import Kind, Policy
from scheduler.domain.recurrence import rule_in_words
from scheduler.domain.translation import N_, is_english, translator
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
    Each note is empty or a sentence. All words are in `language`.
    """

    language: str = "en"

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
        return self._say(N_("%(time)s in %(place)s"), time=self.starts, place=self.place)

    @property
    def span(self) -> str:
        """Day, start, end and clock: `Thursday 19 November 2026, 18:00 to 19:00 in London (UTC)`."""
        return self._say(
            # Translators: %(day)s is a day, or a rule such as “Every Thursday”.
            N_("%(day)s, %(starts)s to %(ends)s in %(place)s"),
            day=self.day,
            starts=self.starts,
            ends=self.ends,
            place=self.place,
        )

    @property
    def place(self) -> str:
        """The city with its offset: `London (UTC)`, and `UTC` for UTC itself."""
        if self.city == self.offset:
            return self.city
        # Translators: a city and the offset of its clocks, as in “London (UTC+1)”.
        return self._say(N_("%(city)s (%(offset)s)"), city=self.city, offset=self.offset)

    @property
    def home_ends_with_offset(self) -> str:
        """The end by the home clock with its offset: `19:00 (UTC+1)`, and `19:00` where the home zone is UTC itself."""
        if self.home_city == self.home_offset:
            return self.home_ends
        # Translators: a time and the offset of the clock, as in “19:00 (UTC+1)”.
        return self._say(N_("%(time)s (%(offset)s)"), time=self.home_ends, offset=self.home_offset)

    @property
    def day_and_start(self) -> str:
        """Day and start: `Thursday 19 November 2026, 18:00`."""
        return day_and_time(self.day, self.starts, self.language)

    @property
    def home_day_and_start(self) -> str:
        """Day and start by the home clock."""
        return day_and_time(self.home_day, self.home_starts, self.language)

    @property
    def line(self) -> str:
        """The short form for a subject: `Thursday 19 November, 18:00 London (UTC)`."""
        return self._say(
            # Translators: the short form for a subject: “Thursday 19 November, 18:00 London (UTC)”.
            N_("%(date)s, %(time)s %(place)s"),
            date=format_day_and_month(self.starts_at.date(), self.language),
            time=self.starts,
            place=self.place,
        )

    @property
    def note(self) -> str:
        """Both notes as one text, or empty."""
        if self.day_note and self.clock_note:
            if is_english(self.language):
                return f"{self.day_note.removesuffix('.')}; {self.clock_note}"
            return f"{self.day_note} {self.clock_note}"
        return self.day_note or self.clock_note

    def _say(self, message: str, **values: str) -> str:
        return translator(self.language).gettext(message) % values


def local_time(
    occurrence: Occurrence,
    series: Series | None,
    *,
    zone: str,
    cycle: HourCycle = "h23",
    language: str = "en",
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
    day, start_text = starts.date(), format_clock(starts, cycle, language)
    day_shift = (day - home_starts.date()).days
    weekday, say = weekday_name(day, language), translator(language).gettext
    shift_minutes, clock_note = (
        _clock_change(occurrence, series, zone, cycle, language) if series else (0, "")
    )

    def clock(moment: datetime, start: datetime) -> str:
        words = format_clock(moment, cycle, language)
        if moment.date() == start.date():
            return words
        # Translators: a time on another day, as in “00:30 on Friday”.
        return say("%(time)s on %(weekday)s") % {"time": words, "weekday": weekday_name(moment, language)}

    local = LocalTime(
        weekday=weekday,
        date=format_date(day, language),
        day=format_day(day, language),
        starts=start_text,
        ends=clock(ends, starts),
        opens=clock((occurrence.starts - JOIN_OPENS).astimezone(tz), starts),
        opens_before=format_length(JOIN_OPENS // timedelta(minutes=1), language),
        city=city(zone, language),
        zone=zone,
        offset=format_offset(starts),
        starts_at=starts,
        starts_iso=starts.isoformat(),
        ends_iso=ends.isoformat(),
        day_shift=day_shift,
        shift_minutes=shift_minutes,
        # Translators: the meeting is on another day there than at its home: “Friday for you.”
        day_note=say("%(weekday)s for you.") % {"weekday": weekday} if day_shift else "",
        clock_note=clock_note,
        language=language,
    )
    if zone == occurrence.zone:
        return local
    return replace(
        local,
        home_day=format_day(home_starts.date(), language),
        home_starts=format_clock(home_starts, cycle, language),
        home_ends=clock(occurrence.ends.astimezone(home_tz), home_starts),
        home_city=city(occurrence.zone, language),
        home_offset=format_offset(home_starts),
        home_iso=home_starts.isoformat(),
    )


def weekday_name(day: date, language: str = "en") -> str:
    """Return `Thursday`."""
    if is_english(language):
        return WEEKDAYS[day.weekday()]
    names = cldr(language).names
    name, in_sentence = names["cccc"][day.weekday()], names["EEEE"][day.weekday()]
    # Latvian writes it with a capital where it stands alone.
    return in_sentence if name.lower() == in_sentence else name


def format_date(day: date, language: str = "en") -> str:
    """Return `19 November 2026`, or `November 19, 2026` for Americans."""
    if language == "en":
        return f"{day.day} {MONTHS[day.month - 1]} {day.year}"
    return _by_pattern("long", day, language)


def format_month(day: date, language: str = "en") -> str:
    """Return `November 2026`."""
    if is_english(language):
        return f"{MONTHS[day.month - 1]} {day.year}"
    return _by_pattern("yMMMM", day, language)


def format_short_weekday(day: date, language: str = "en") -> str:
    """Return `Thu`."""
    if is_english(language):
        return WEEKDAYS[day.weekday()][:3]
    return cldr(language).names["ccc"][day.weekday()]


def format_short_month(day: date, language: str = "en") -> str:
    """Return `Nov`."""
    if is_english(language):
        return MONTHS[day.month - 1][:3]
    return cldr(language).names["LLL"][day.month - 1]


def format_day(day: date, language: str = "en") -> str:
    """Return `Thursday 19 November 2026`, or `Thursday, November 19, 2026` for Americans."""
    if language == "en":
        return f"{WEEKDAYS[day.weekday()]} {format_date(day)}"
    return _by_pattern("full", day, language)


def format_day_and_month(day: date, language: str = "en") -> str:
    """Return `Thursday 19 November`, or `Thursday, November 19` for Americans."""
    if language == "en":
        return f"{WEEKDAYS[day.weekday()]} {day.day} {MONTHS[day.month - 1]}"
    return _by_pattern("MMMMEd", day, language)


# Where CLDR is wrong, or contradicts its own long date.
_PATTERNS = {
    ("lv", "yMMMM"): "y. 'gada' MMMM",
    ("nb", "MMMMEd"): "EEEE d. MMMM",
}


def _by_pattern(name: str, day: date, language: str) -> str:
    """Return a date by a pattern of CLDR, with the whole name of the weekday, for which CLDR has no skeleton."""
    own = cldr(language)
    return own.format_date(day, _PATTERNS.get((language, name)) or own.patterns[name])


def format_clock(moment: datetime, cycle: HourCycle, language: str = "en") -> str:
    """Return `18:00`, or `6:00 pm` in a 12-hour cycle, with plain spaces. The digits are Latin in all languages."""
    if cycle == "h23":
        return f"{moment.hour:02}:{moment.minute:02}"
    if is_english(language):
        return f"{moment.hour % 12 or 12}:{moment.minute:02} {'am' if moment.hour < 12 else 'pm'}"
    own, time = cldr(language), f"{moment.hour % 12 or 12}:{moment.minute:02}"
    pattern, period = own.patterns["hm"].replace("B", "a"), own.periods[moment.hour // 12]
    return re.sub(r"\s", " ", re.sub("a|h.mm", lambda found: period if found[0] == "a" else time, pattern))


def describe_instant(instant: datetime, *, zone: str, cycle: HourCycle) -> str:
    """Return an instant in the time of a zone: `Thursday 19 November 2026, 18:00 in London`."""
    local = instant.astimezone(ZoneInfo(zone))
    return f"{format_day(local.date())}, {format_clock(local, cycle)} in {city(zone)}"


def day_and_time(day: str, time: str, language: str) -> str:
    """Return a day and a time, which are in words: `Thursday 19 November 2026, 18:00`."""
    return translator(language).gettext("%(day)s, %(time)s") % {"day": day, "time": time}


def format_offset(moment: datetime) -> str:
    """Return `UTC`, `UTC+1`, `UTC+5:30` or `UTC-3`."""
    minutes = round((moment.utcoffset() or timedelta()).total_seconds() / 60)
    if not minutes:
        return "UTC"
    hours, rest = divmod(abs(minutes), 60)
    return f"UTC{'+' if minutes > 0 else '-'}{hours}" + (f":{rest:02}" if rest else "")


def format_length(minutes: int, language: str = "en") -> str:
    """Return a length of time in words: `an hour`, `half an hour`, `two hours`, `45 minutes`.

    It is in the form that it has before “before” and “later”.
    """
    say, (hours, rest) = translator(language), divmod(abs(minutes), 60)
    # Translators: all lengths of time are said before “before the start” or “later than last time”.
    few = say.ngettext("%(count)s minute", "%(count)s minutes", rest) % {"count": rest}
    if not hours:
        return say.gettext("half an hour") if rest == 30 else few
    if rest == 30 and hours == 1:
        return say.gettext("an hour and a half")
    if rest == 30 and is_english(language):
        return f"{_number(hours)} and a half hours"
    # Translators: this is for exactly one hour, and %(count)s hour(s) for other numbers.
    whole = say.gettext("an hour") if hours == 1 else _counted_hours(hours, language)
    if not rest:
        return whole
    return say.gettext("%(hours)s and %(minutes)s") % {"hours": whole, "minutes": few}


def _counted_hours(hours: int, language: str) -> str:
    words = translator(language).ngettext("%(count)s hour", "%(count)s hours", hours)
    return words % {"count": _count(hours, language)}


def format_timing(policy: Policy, cycle: HourCycle, language: str = "en") -> str:
    """Return when a notice of a policy is due, in words: `an hour before the start`, `on the day before, at 09:00`. A
    time of day is that of each member's own zone."""
    say, after = translator(language), policy.kind is Kind.FOLLOW_UP
    if policy.span is not None:
        minutes = int(policy.span.total_seconds()) // 60
        if minutes % 1440 == 0 and minutes > 1440:
            days = minutes // 1440
            length = say.ngettext("%(count)s day", "%(count)s days", days) % {"count": _count(days, language)}
        else:
            length = format_length(minutes, language)
        return say.gettext(N_("%(length)s after the end") if after else N_("%(length)s before the start")) % {
            "length": length
        }
    assert policy.at is not None
    days = policy.days or 0
    if days > 1 and after:
        words = say.ngettext("%(count)s day after, at %(time)s", "%(count)s days after, at %(time)s", days)
    elif days > 1:
        words = say.ngettext("%(count)s day before, at %(time)s", "%(count)s days before, at %(time)s", days)
    elif not days:
        words = say.gettext("on the day, at %(time)s")
    else:
        words = say.gettext(
            N_("on the day after, at %(time)s") if after else N_("on the day before, at %(time)s")
        )
    at = format_clock(datetime.combine(date.min, policy.at), cycle, language)
    return words % {"count": _count(days, language), "time": at}


def format_rule(series: Series, cycle: HourCycle, language: str = "en") -> str:
    """Return when the meetings of a series are held, in words: `Every Thursday, 18:00 to 19:00 in London`.

    A rule that cannot be said in a few words is left out; an end after midnight is not on the same day.
    """
    starts = datetime.combine(series.first, series.start)
    values = {
        "starts": format_clock(starts, cycle, language),
        "ends": format_clock(starts + series.duration, cycle, language),
        "place": city(series.zone, language),
    }
    say, days = translator(language).gettext, rule_in_words(series.rule, series.first, language)
    if not days:
        return say("%(starts)s to %(ends)s in %(place)s") % values
    values["day"] = f"{days[:1].upper()}{days[1:]}"
    return say("%(day)s, %(starts)s to %(ends)s in %(place)s") % values


def local_minute(moment: datetime, zone: str) -> str:
    """Return the wall time of `zone` to the minute, such as `2026-11-19T18:00`, for storing and comparing."""
    return f"{moment.astimezone(ZoneInfo(zone)):%Y-%m-%dT%H:%M}"


def months_later(day: date, months: int) -> date:
    """Return the same day of a later month, or its last day if the month is shorter."""
    return day + relativedelta(months=months)


def _number(value: int) -> str:
    return _NUMBERS[value] if value < len(_NUMBERS) else str(value)


def _count(value: int, language: str) -> str:
    """Return a number as a sentence shows it: in words where that is easy to do right."""
    return _number(value) if is_english(language) else str(value)


# By whether a series is held monthly, whether the meeting is later, and whether one was held at the time before. Where
# the reason is known, it follows after a colon, as in “18:00 this month, an hour later than last time: your clocks have
# changed and the UK's have not.”
# In “than usual” nobody met last time, because that meeting was moved or cancelled.
_CHANGES: Mapping[tuple[bool, bool, bool], tuple[str, str]] = {
    (True, True, True): (
        N_("%(time)s this month, %(length)s later than last time."),
        N_("%(time)s this month, %(length)s later than last time: %(reason)s."),
    ),
    (True, True, False): (
        N_("%(time)s this month, %(length)s later than usual."),
        N_("%(time)s this month, %(length)s later than usual: %(reason)s."),
    ),
    (True, False, True): (
        N_("%(time)s this month, %(length)s earlier than last time."),
        N_("%(time)s this month, %(length)s earlier than last time: %(reason)s."),
    ),
    (True, False, False): (
        N_("%(time)s this month, %(length)s earlier than usual."),
        N_("%(time)s this month, %(length)s earlier than usual: %(reason)s."),
    ),
    (False, True, True): (
        N_("%(time)s this time, %(length)s later than last time."),
        N_("%(time)s this time, %(length)s later than last time: %(reason)s."),
    ),
    (False, True, False): (
        N_("%(time)s this time, %(length)s later than usual."),
        N_("%(time)s this time, %(length)s later than usual: %(reason)s."),
    ),
    (False, False, True): (
        N_("%(time)s this time, %(length)s earlier than last time."),
        N_("%(time)s this time, %(length)s earlier than last time: %(reason)s."),
    ),
    (False, False, False): (
        N_("%(time)s this time, %(length)s earlier than usual."),
        N_("%(time)s this time, %(length)s earlier than usual: %(reason)s."),
    ),
}


def _clock_change(
    occurrence: Occurrence, series: Series, zone: str, cycle: HourCycle, language: str
) -> tuple[int, str]:
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
    # Nobody met at that time if the last meeting was moved or cancelled.
    unexplained, explained = _CHANGES["MONTHLY" in series.rule.upper(), shift > 0, previous.as_planned]
    reason = _cause(occurrence, previous, zone, series, cycle, language)
    return shift, translator(language).gettext(explained if reason else unexplained) % {
        "time": format_clock(starts, cycle, language),
        "length": format_length(shift, language),
        "reason": reason,
    }


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


def _cause(
    occurrence: Occurrence, previous: Preceding, zone: str, series: Series, cycle: HourCycle, language: str
) -> str:
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
    say, new_time, clocks = translator(language).gettext, "", ""
    if since_midnight(occurrence.starts) != since_midnight(expected):
        starts = format_clock(occurrence.starts.astimezone(home_tz), cycle, language)
        if zone == occurrence.zone:
            new_time = say("the meeting now begins at %(time)s") % {"time": starts}
        else:
            new_time = say("the meeting now begins at %(time)s in %(city)s") % {
                "time": starts,
                "city": city(occurrence.zone, language),
            }
    if since_midnight(expected) != before:
        message = _clocks_cause(previous, zone, former_wall_time, expected=expected, unchanged=unchanged)
        clocks = message and say(message) % {
            "time": format_clock(unchanged, cycle, language),
            "city": city(previous.zone, language),
        }
    if new_time and clocks:
        # Translators: two reasons, each of them one of the messages above.
        return say("%(new_time)s, and %(clocks)s") % {"new_time": new_time, "clocks": clocks}
    return new_time or clocks


# What happened to the clocks, by whether the home of the series is London, where everybody speaks of the UK.
_SKIPS = {
    True: N_("the UK's clocks skip %(time)s that day"),
    # Translators: a city in the form in which it stands alone: “die Uhren in %(city)s”, “the clocks (%(city)s)”.
    False: N_("%(city)s's clocks skip %(time)s that day"),
}
_SKIPPED = {
    True: N_("last time the UK's clocks skipped %(time)s"),
    False: N_("last time %(city)s's clocks skipped %(time)s"),
}
_BOTH_CHANGED = {
    True: N_("your clocks and the UK's have changed differently"),
    False: N_("your clocks and %(city)s's have changed differently"),
}
_YOURS_CHANGED = {
    True: N_("your clocks have changed and the UK's have not"),
    False: N_("your clocks have changed and %(city)s's have not"),
}
_HOME_CHANGED = {
    True: N_("the UK's clocks have changed and yours have not"),
    False: N_("%(city)s's clocks have changed and yours have not"),
}


def _clocks_cause(
    previous: Preceding, zone: str, former_wall_time: time, *, expected: datetime, unchanged: datetime
) -> str:
    """Return the message about the clocks that changed; empty if none did."""
    is_british, home_tz = previous.zone == "Europe/London", ZoneInfo(previous.zone)
    last = previous.original.astimezone(home_tz)
    if in_gap(unchanged, previous.zone):
        return _SKIPS[is_british]
    if last.time() != former_wall_time:
        return _SKIPPED[is_british]

    def has_changed(tz: ZoneInfo) -> bool:
        return previous.original.astimezone(tz).utcoffset() != expected.astimezone(tz).utcoffset()

    own_changed, home_changed = has_changed(ZoneInfo(zone)), has_changed(home_tz)
    if own_changed and home_changed:
        return _BOTH_CHANGED[is_british]
    if own_changed:
        return _YOURS_CHANGED[is_british]
    return _HOME_CHANGED[is_british] if home_changed else ""
