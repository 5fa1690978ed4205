"""Parse the rule of a series, from RFC 5545 or English words, and refuse rules that would never finish."""

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from dateutil.rrule import rrule, rrulestr

from scheduler.domain.cldr import cldr
from scheduler.domain.errors import Refused
from scheduler.domain.translation import N_, is_english, translator

LAST_YEAR = 2199
"""The last year that people may enter: expanding a rule up to then is fast."""

_EXAMPLE = 'write it as "third Thursday of the month", or as in RFC 5545, e.g. FREQ=MONTHLY;BYDAY=3TH'

_PARTS = frozenset(
    "FREQ INTERVAL BYDAY BYMONTH BYMONTHDAY BYSETPOS BYWEEKNO BYYEARDAY WKST UNTIL COUNT".split()
)
_FREQUENCIES = ("DAILY", "WEEKLY", "MONTHLY", "YEARLY")
_DAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")

_MAXIMUM: Mapping[str, int] = {"INTERVAL": 1000, "COUNT": 100_000}
"""Parts with one number, and its maximum; the minimum is 1."""

_LIST_MAXIMUM: Mapping[str, int] = {"BYMONTHDAY": 31, "BYSETPOS": 366, "BYWEEKNO": 53, "BYYEARDAY": 366}
"""Parts with a list of numbers from 1 to this maximum, or from -1 to minus this, counted from the end."""

_CYCLE = 400
"""The number of years after which the calendar repeats, including the weekdays."""

_SEARCH_YEARS = 41
"""Every sensible rule has a date within this number of years: 29 February on a given weekday can take 40."""


def read_rule(text: str, *, start: time, zone: str) -> str:
    """Return the rule in the form of RFC 5545, without `RRULE:`, and with a home date as UNTIL.

    `text` may be English words. Raises Refused if it cannot be understood or has two meanings.
    """
    plain = text.strip()
    if "=" not in plain:
        return _from_words(plain, text)
    plain = re.sub(r"^RRULE\s*:\s*", "", plain, flags=re.IGNORECASE)
    if re.search(r"DTSTART|RDATE|EXDATE|EXRULE|RRULE", plain, re.IGNORECASE):
        raise Refused(
            f"rule '{_one_line(text)}': give only the one line after RRULE:, without DTSTART or exceptions"
        )
    parts: dict[str, str] = {}
    for part in filter(None, re.sub(r"\s+", "", plain).split(";")):
        name, _, value = part.partition("=")
        if name.upper() in parts:
            raise Refused(f"rule '{_one_line(text)}': {name.upper()} is given twice")
        parts[name.upper()] = value.upper()
    _require_parts(parts, text)
    if "UNTIL" in parts:
        parts["UNTIL"] = _last_date(parts["UNTIL"], text, start=start, zone=zone)
    return ";".join(f"{name}={value}" for name, value in parts.items())


class RuleDates:
    """The dates of a rule in order, computed as far as somebody asked, and kept. Only one thread may use it.

    dateutil's own cache, before its version 4, waits forever if the last date is reached while another iteration is
    under way.
    """

    def __init__(self, rule: rrule) -> None:
        self._known: list[date] = []
        self._following = iter(rule)

    def since(self, day: date) -> Iterator[date]:
        """Yield the dates from `day` on; endless unless the rule ends."""
        self._extend_to(day)
        position = bisect_left(self._known, day)
        while position < len(self._known) or self._extend():
            yield self._known[position]
            position += 1

    def before(self, day: date) -> date | None:
        """Return the last date before `day`, or None if there is none."""
        self._extend_to(day)
        position = bisect_left(self._known, day)
        return self._known[position - 1] if position else None

    def _extend_to(self, day: date) -> None:
        while (not self._known or self._known[-1] < day) and self._extend():
            pass

    def _extend(self) -> bool:
        moment = next(self._following, None)
        if moment is None:
            return False
        self._known.append(moment.date())
        return True


@lru_cache(maxsize=256)
def rule_dates(text: str, first: date) -> RuleDates:
    """Return the dates of a rule from `read_rule`. Raises Refused if it has none."""
    try:
        rule = rrulestr(text, dtstart=datetime.combine(first, time()))
        gives = _first_date(text, first)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
        raise Refused(f"rule '{text}': {error}; {_EXAMPLE}") from None
    assert isinstance(rule, rrule)
    until = re.search(r"UNTIL=(\d+)", text)
    if gives is None or (until and f"{gives:%Y%m%d}" > until[1]):
        raise Refused(f"rule '{text}' never has a date")
    return RuleDates(rule)


def _first_date(text: str, first: date) -> date | None:
    """Return the first date of a rule, or None.

    dateutil searches until the year 9999, which takes many seconds for a rule without dates. In the last cycle of the
    calendar before that year the same rule has the same dates, and the search is short.
    """
    ahead = max(0, (9999 - _SEARCH_YEARS - first.year) // _CYCLE * _CYCLE)
    late = datetime(first.year + ahead, first.month, first.day)  # noqa: DTZ001 - home dates have no zone
    endless = ";".join(part for part in text.split(";") if not part.startswith(("UNTIL=", "COUNT=")))
    moment: datetime | None = next(iter(rrulestr(endless, dtstart=late)), None)
    return moment.date().replace(year=moment.year - ahead) if moment else None


def _require_parts(parts: Mapping[str, str], text: str) -> None:
    """Raise Refused for the first part that is not valid."""
    shown = _one_line(text)
    if unknown := sorted(parts.keys() - _PARTS):
        raise Refused(f"rule '{shown}': '{unknown[0]}' is not understood; known: {', '.join(sorted(_PARTS))}")
    if parts.get("FREQ") not in _FREQUENCIES:
        raise Refused(f"rule '{shown}': FREQ must be DAILY, WEEKLY, MONTHLY or YEARLY")
    for name, value in parts.items():
        if (most := _MAXIMUM.get(name)) and not _is_number(value, most):
            raise Refused(f"rule '{shown}': {name} must be a whole number from 1 to {most}")
        if name == "BYMONTH" and not all(_is_number(month, 12) for month in value.split(",")):
            raise Refused(f"rule '{shown}': BYMONTH must have months from 1 to 12")
        farthest = _LIST_MAXIMUM.get(name, 0)
        if farthest and not all(
            _is_number(re.sub("^[+-]", "", number), farthest) for number in value.split(",")
        ):
            raise Refused(
                f"rule '{shown}': {name} must have numbers from 1 to {farthest}, or -1 to -{farthest} from the end"
            )
        if name == "WKST" and value not in _DAYS:
            raise Refused(f"rule '{shown}': WKST must be one of {', '.join(_DAYS)}")
    if "UNTIL" in parts and "COUNT" in parts:
        raise Refused(f"rule '{shown}': give UNTIL or COUNT, not both")
    _require_days(parts, shown)


def _require_days(parts: Mapping[str, str], shown: str) -> None:
    farthest = 5 if parts["FREQ"] == "MONTHLY" or "BYMONTH" in parts else 53
    for day in parts["BYDAY"].split(",") if "BYDAY" in parts else []:
        match = re.fullmatch(rf"([+-]?\d*)({'|'.join(_DAYS)})", day)
        if not match:
            raise Refused(f"rule '{shown}': BYDAY has days as MO, 3TH or -1FR, not '{day}'")
        if match[1] and parts["FREQ"] in ("DAILY", "WEEKLY"):
            raise Refused(
                f"rule '{shown}': BYDAY={day} counts within a month; write FREQ=MONTHLY, or the day alone"
            )
        if match[1] and not _is_number(match[1].lstrip("+-"), farthest):
            raise Refused(
                f"rule '{shown}': BYDAY={day}: no month or year has such a day; up to {farthest} are counted"
            )


def _is_number(text: str, most: int) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 6 and 1 <= int(text) <= most


def _last_date(value: str, text: str, *, start: time, zone: str) -> str:
    """Return the last home date on which a meeting that starts at `start` is not later than UNTIL."""
    match = re.fullmatch(r"(\d{4})-?(\d\d)-?(\d\d)(?:T(\d\d):?(\d\d):?(\d\d)?(Z?))?", value)
    try:
        if not match:
            raise ValueError
        day = date(int(match[1]), int(match[2]), int(match[3]))
        if match[4] is None:
            return f"{day:%Y%m%d}"
        wall = datetime.combine(day, time(int(match[4]), int(match[5]), int(match[6] or 0)))
        if match[7]:
            wall = wall.replace(tzinfo=UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None)
        return f"{wall.date() - timedelta(days=int(wall.time() < start)):%Y%m%d}"
    except (ValueError, OverflowError):
        raise Refused(
            f"rule '{_one_line(text)}': UNTIL={value} is not a date; write UNTIL=20261217 for the last home date"
        ) from None


_ORDINALS: Mapping[str, int] = {
    "first": 1,
    "second": 2,
    "third": 3,
    "fourth": 4,
    "fifth": 5,
    "last": -1,
    "penultimate": -2,
}
_NUMBERS: Mapping[str, int] = {
    "other": 2,
    "second": 2,
    "third": 3,
    "fourth": 4,
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
}
_WEEKDAYS: Mapping[str, str] = {
    word: day
    for day, words in zip(
        _DAYS,
        (
            "monday mon",
            "tuesday tue tues",
            "wednesday wed",
            "thursday thu thur thurs",
            "friday fri",
            "saturday sat",
            "sunday sun",
        ),
        strict=True,
    )
    for word in words.split()
}
_MONTHLY_END = re.compile(r" (?:(?:of|in) (?:every |a )?month|every month|a month|monthly)$")
_EVERY = re.compile(r"every (?:(?P<number>\d{1,2}|[a-z]+) )?(?P<unit>day|week|fortnight|month)s?\b ?")


def _from_words(plain: str, text: str) -> str:
    """Parse words such as `third Thursday`, `every other Monday` or `monthly on the 15th`. Raises Refused."""
    words = " ".join(re.sub(r"[,&/+]", " and ", plain.casefold()).replace("-", " ").split()).rstrip(".")
    words = re.sub(r"\bsecond (?:to )?last\b", "penultimate", words)
    words = re.sub(r"\beach\b", "every", re.sub(r"\b(?:the|on) ", "", f"{words} ").strip())
    frequency, interval, rest, after_every = "", 1, words, False
    if ending := _MONTHLY_END.search(f" {rest}"):
        frequency, rest = "MONTHLY", f" {rest}"[: ending.start()].strip()
    if match := re.match(r"(monthly|weekly|daily|fortnightly)\b ?", rest):
        frequency, interval = _unit(match[1].removesuffix("ly"), frequency, 1, text)
        rest = rest[match.end() :]
    elif match := _EVERY.match(rest):
        number = match["number"]
        if number and not number.isdecimal() and number not in _NUMBERS:
            raise _not_understood(text)
        times = int(number) if number and number.isdecimal() else _NUMBERS.get(number or "", 1)
        frequency, interval = _unit(match["unit"], frequency, times, text)
        rest = rest[match.end() :]
    elif rest.startswith("every other "):
        frequency, interval, rest = "WEEKLY", 2, rest.removeprefix("every other ")
    elif rest.startswith("every "):
        after_every, rest = not frequency, rest.removeprefix("every ")
    if not 1 <= interval <= 99:
        raise _not_understood(text)
    by = _which_days(rest, frequency, text, after_every=after_every)
    if not frequency:
        frequency = "WEEKLY" if by.startswith("BYDAY") and not re.search(r"\d", by) else "MONTHLY"
    if not by and frequency == "MONTHLY":
        raise _not_understood(text)
    counted = f"INTERVAL={interval}" if interval > 1 else ""
    return ";".join(filter(None, (f"FREQ={frequency}", counted, by)))


def _unit(unit: str, frequency: str, times: int, text: str) -> tuple[str, int]:
    unit_frequency = {
        "day": "DAILY",
        "dai": "DAILY",
        "week": "WEEKLY",
        "fortnight": "WEEKLY",
        "month": "MONTHLY",
    }[unit]
    if frequency and frequency != unit_frequency:
        raise _not_understood(text)
    return unit_frequency, times * (2 if unit == "fortnight" else 1)


def _which_days(words: str, frequency: str, text: str, *, after_every: bool) -> str:
    """Return BYDAY or BYMONTHDAY for the rest of a rule in words; empty if there is none."""
    days: list[str] = []
    ordinals: list[int] = []
    for word in (word for word in words.split() if word != "and"):
        day = _WEEKDAYS.get(word) or _WEEKDAYS.get(word.removesuffix("s"))
        number = re.fullmatch(r"(\d{1,2})(?:st|nd|rd|th)?", word)
        if word in _ORDINALS or number:
            ordinals.append(int(number[1]) if number else _ORDINALS[word])
        elif word in ("weekday", "weekdays") and not ordinals and not days:
            days += _DAYS[:5]
        elif word == "day" and ordinals and not days:
            continue
        elif day and ordinals:
            days += [f"{ordinal}{day}" for ordinal in ordinals]
            ordinals = []
        elif day and not re.search(r"\d", "".join(days)):
            days.append(day)
        else:
            raise _not_understood(text)
    numbered = bool(re.search(r"\d", "".join(days)))
    if after_every and (nth_weekday := re.fullmatch(r"([2-5])([A-Z]{2})", ",".join(days))):
        name = next(word for word, day in _WEEKDAYS.items() if day == nth_weekday[2]).capitalize()
        nth = next(word for word, number in _ORDINALS.items() if number == int(nth_weekday[1]))
        raise Refused(
            f"rule '{_one_line(text)}' has two meanings; write '{nth} {name} of the month' or "
            f"'every {nth_weekday[1]} weeks on {name}'"
        )
    if ordinals and (
        days
        or frequency not in ("", "MONTHLY")
        or not all(-2 <= ordinal <= 31 and ordinal for ordinal in ordinals)
    ):
        raise _not_understood(text)
    if days and (
        (numbered and frequency not in ("", "MONTHLY"))
        or (not numbered and frequency in ("MONTHLY", "DAILY"))
        or any(not -2 <= int(day[:-2] or 1) <= 5 or day[:-2] == "0" for day in days)
    ):
        raise _not_understood(text)
    if ordinals:
        return f"BYMONTHDAY={','.join(map(str, dict.fromkeys(ordinals)))}"
    return f"BYDAY={','.join(dict.fromkeys(days))}" if days else ""


_DAY_NAMES = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTH_NAMES = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_NTH = {1: "first", 2: "second", 3: "third", 4: "fourth", 5: "fifth", -1: "last", -2: "second to last"}
_COUNTED = ("", "", "other", "third", "fourth", "fifth", "sixth")
_ENDING_PARTS = frozenset(("UNTIL", "COUNT", "WKST"))


def rule_in_words(rule: str, first: date, language: str = "en") -> str:
    """Return a rule from `read_rule` in words, such as `the third Thursday of every month`.

    Return an empty text for a rule that cannot be said in a few words, as more cannot in other languages than in
    English. An end of the rule is not mentioned.
    """
    if not is_english(language):
        return _rule_in(language, rule, first)
    parts = dict(part.split("=", 1) for part in rule.split(";") if part)
    by = {name: list(dict.fromkeys(parts[name].split(","))) for name in parts if name.startswith("BY")}
    interval = int(parts.get("INTERVAL", 1))
    if parts.keys() - _ENDING_PARTS - by.keys() - {"FREQ", "INTERVAL"}:
        return ""
    if parts["FREQ"] == "DAILY":
        return _every(interval, "day") if not by else ""
    if parts["FREQ"] == "WEEKLY":
        days = by.pop("BYDAY", [_DAYS[first.weekday()]])
        return _weekly(days, interval) if not by else ""
    if parts["FREQ"] == "YEARLY" and interval > 1:
        return ""
    months = _months(by.pop("BYMONTH", None), parts["FREQ"], interval, first)
    if "BYSETPOS" in by and parts["FREQ"] == "YEARLY":
        return ""
    days_of_month = _days_of_month(by, first)
    if months == "every month" and days_of_month.startswith("every "):
        return days_of_month
    return f"{days_of_month} of {months}" if months and days_of_month else ""


_EVERY_DAY = {
    "MO": N_("every Monday"),
    "TU": N_("every Tuesday"),
    "WE": N_("every Wednesday"),
    "TH": N_("every Thursday"),
    "FR": N_("every Friday"),
    "SA": N_("every Saturday"),
    "SU": N_("every Sunday"),
}
_EVERY_OTHER = {
    "MO": N_("every other Monday"),
    "TU": N_("every other Tuesday"),
    "WE": N_("every other Wednesday"),
    "TH": N_("every other Thursday"),
    "FR": N_("every other Friday"),
    "SA": N_("every other Saturday"),
    "SU": N_("every other Sunday"),
}
_OF_EVERY_MONTH = {
    "1MO": N_("the first Monday of every month"),
    "1TU": N_("the first Tuesday of every month"),
    "1WE": N_("the first Wednesday of every month"),
    "1TH": N_("the first Thursday of every month"),
    "1FR": N_("the first Friday of every month"),
    "1SA": N_("the first Saturday of every month"),
    "1SU": N_("the first Sunday of every month"),
    "2MO": N_("the second Monday of every month"),
    "2TU": N_("the second Tuesday of every month"),
    "2WE": N_("the second Wednesday of every month"),
    "2TH": N_("the second Thursday of every month"),
    "2FR": N_("the second Friday of every month"),
    "2SA": N_("the second Saturday of every month"),
    "2SU": N_("the second Sunday of every month"),
    "3MO": N_("the third Monday of every month"),
    "3TU": N_("the third Tuesday of every month"),
    "3WE": N_("the third Wednesday of every month"),
    "3TH": N_("the third Thursday of every month"),
    "3FR": N_("the third Friday of every month"),
    "3SA": N_("the third Saturday of every month"),
    "3SU": N_("the third Sunday of every month"),
    "4MO": N_("the fourth Monday of every month"),
    "4TU": N_("the fourth Tuesday of every month"),
    "4WE": N_("the fourth Wednesday of every month"),
    "4TH": N_("the fourth Thursday of every month"),
    "4FR": N_("the fourth Friday of every month"),
    "4SA": N_("the fourth Saturday of every month"),
    "4SU": N_("the fourth Sunday of every month"),
    "-1MO": N_("the last Monday of every month"),
    "-1TU": N_("the last Tuesday of every month"),
    "-1WE": N_("the last Wednesday of every month"),
    "-1TH": N_("the last Thursday of every month"),
    "-1FR": N_("the last Friday of every month"),
    "-1SA": N_("the last Saturday of every month"),
    "-1SU": N_("the last Sunday of every month"),
}


def _rule_in(language: str, rule: str, first: date) -> str:
    """Return a rule in a language whose words for days have genders and cases, so that each is a message of its own."""
    parts = {
        name: value
        for name, value in (part.split("=", 1) for part in rule.split(";") if part)
        if name not in _ENDING_PARTS and (name, value) != ("INTERVAL", "1")
    }
    frequency, interval, say = parts.pop("FREQ"), parts.pop("INTERVAL", "1"), translator(language).gettext
    if not parts and interval == "1" and frequency == "DAILY":
        return say(N_("every day"))
    if frequency == "WEEKLY" and not parts.keys() - {"BYDAY"}:
        days = sorted(parts.get("BYDAY", _DAYS[first.weekday()]).split(","), key=_DAYS.index)
        if interval == "1" and days == list(_DAYS):
            return say(N_("every day"))
        if interval == "1" and days == list(_DAYS[:5]):
            return say(N_("every weekday, Monday to Friday"))
        if interval == "1":
            return _all_of(language, [say(_EVERY_DAY[day]) for day in days])
        return say(_EVERY_OTHER[days[0]]) if interval == "2" and len(days) == 1 else ""
    if frequency != "MONTHLY" or interval != "1":
        return ""
    if parts.keys() == {"BYDAY", "BYSETPOS"} and parts["BYDAY"] in _DAYS:
        parts = {"BYDAY": ",".join(f"{number}{parts['BYDAY']}" for number in parts["BYSETPOS"].split(","))}
    if parts.keys() == {"BYDAY"}:
        days = parts["BYDAY"].split(",")
        if not all(day in _OF_EVERY_MONTH for day in days):
            return ""
        return _all_of(language, [say(_OF_EVERY_MONTH[day]) for day in days])
    day = parts.get("BYMONTHDAY", str(first.day))
    if parts.keys() - {"BYMONTHDAY"} or not (day == "-1" or (day.isdigit() and (parts or int(day) <= 28))):
        return ""
    if day == "-1":
        return say(N_("the last day of every month"))
    return say(N_("every month on day %(day)s")) % {"day": day}


def _all_of(language: str, items: list[str]) -> str:
    return cldr(language).format_list(items)


def _every(interval: int, unit: str) -> str:
    if interval == 1:
        return f"every {unit}"
    return f"every {_COUNTED[interval]} {unit}" if interval < len(_COUNTED) else f"every {interval} {unit}s"


def _weekly(days: list[str], interval: int) -> str:
    days = sorted(days, key=_DAYS.index)
    if days == list(_DAYS):
        return _every(1, "day") if interval == 1 else ""
    if days == list(_DAYS[:5]):
        return "every weekday, Monday to Friday" if interval == 1 else ""
    names = [_DAY_NAMES[_DAYS.index(day)] for day in days]
    if interval == 1:
        return f"every {_listed(names)}"
    if len(names) == 1 and interval < len(_COUNTED):
        return f"every {_COUNTED[interval]} {names[0]}"
    return f"{_every(interval, 'week')} on {_listed(names)}"


def _months(chosen: list[str] | None, frequency: str, interval: int, first: date) -> str:
    """Return the months of a rule in words, or an empty text."""
    if chosen is None and frequency == "YEARLY":
        return ""
    if chosen is None and 12 % interval:
        return _every(interval, "month") if interval < 12 else ""
    numbers = sorted(map(int, chosen)) if chosen else [*range(1, 13)]
    if frequency == "MONTHLY" and interval > 1:
        if 12 % interval:
            return ""
        numbers = [month for month in numbers if (month - first.month) % interval == 0]
    if len(numbers) == 12:
        return "every month"
    return _listed([_MONTH_NAMES[number - 1] for number in numbers])


def _days_of_month(by: dict[str, list[str]], first: date) -> str:
    """Return the days of a month that BYDAY, BYMONTHDAY or BYDAY with BYSETPOS give, or an empty text."""
    if not by:
        return f"the {_ordinal(first.day)}" if first.day <= 28 else ""
    if by.keys() == {"BYMONTHDAY"}:
        days = sorted(map(int, by["BYMONTHDAY"]), key=lambda day: (day < 0, day))
        if all(day > 0 or day in _NTH for day in days):
            return f"the {_listed([_ordinal(day) if day > 0 else f'{_NTH[day]} day' for day in days])}"
        return ""
    if by.keys() == {"BYDAY", "BYSETPOS"} and len(by["BYDAY"]) == 1 and by["BYDAY"][0] in _DAYS:
        return _nth_days([f"{position}{by['BYDAY'][0]}" for position in by["BYSETPOS"]])
    return _nth_days(by["BYDAY"]) if by.keys() == {"BYDAY"} else ""


def _nth_days(days: list[str]) -> str:
    """Return BYDAY of a month in words: `the first and third Monday`, or `every Monday`."""
    by_day: dict[str, list[int]] = {}
    for day in days:
        by_day.setdefault(day[-2:], []).append(int(day[:-2] or 0))
    words = []
    for day, numbers in sorted(by_day.items(), key=lambda pair: _DAYS.index(pair[0])):
        name = _DAY_NAMES[_DAYS.index(day)]
        if numbers == [0]:
            words.append(f"every {name}")
        elif all(number in _NTH for number in numbers):
            ordered = sorted(numbers, key=lambda number: (number < 0, number))
            words.append(f"the {_listed([_NTH[number] for number in ordered])} {name}")
        else:
            return ""
    return _listed(words)


def _ordinal(number: int) -> str:
    ending = "th" if 10 < number % 100 < 14 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _listed(words: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _not_understood(text: str) -> Refused:
    return Refused(f"rule '{_one_line(text)}' is not understood; {_EXAMPLE}")


def _one_line(text: str) -> str:
    return " ".join(text.split())
