"""Read dates and months as people write them in sheets, such as `20th May 2021`, `May 2021`, `05/2021` or `20.5.21`."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, time
from functools import cache

from babel.dates import get_month_names

from scheduler.domain.errors import Refused
from scheduler.domain.recurrence import LAST_YEAR
from scheduler.domain.text import quoted

_LANGUAGES = ("en", "de", "fr", "es", "it", "pt", "nl")
_FIRST_YEAR = 1900
_CENTURY = 2000


@dataclass(frozen=True, slots=True)
class When:
    """A day. Several `days` are what a text such as 05/06/2021 may mean; without any, only the month is known.

    `month` is year and month. `start` is the wall time, if the text says one.
    """

    month: tuple[int, int]
    days: tuple[date, ...] = ()
    start: time | None = None


_ISO = re.compile(r"(\d{4})[-/.](\d{1,2})(?:[-/.](\d{1,2}))?")
_NUMBERS = re.compile(r"(\d{1,2})[-/. ]+(\d{1,2})[-/. ]+(\d{2}|\d{4})")
_MONTH_YEAR = re.compile(r"(\d{1,2})[-/. ]+(\d{4})")
_CLOCK = re.compile(r"[T,\s]\s*(\d{1,2})[:.h](\d{2})(?::\d{2})?(?:\s*(am|pm))?\b.*$", re.IGNORECASE)


@cache
def _months() -> Mapping[str, int]:
    """Return the months by their names and short names in some languages, without case and accents."""
    names = {"sept": 9}
    for language in _LANGUAGES:
        for width in ("abbreviated", "wide"):
            for context in ("format", "stand-alone"):
                for number, name in get_month_names(width, context, language).items():
                    names.setdefault(_plain(name), number)
    return names


def _plain(text: str) -> str:
    text = unicodedata.normalize("NFKD", text.casefold())
    return "".join(char for char in text if not unicodedata.combining(char)).strip(" .,")


def year_alone(text: str) -> int | None:
    """Return the year if a text is nothing else, as in a row above those of its year; otherwise None."""
    text = text.strip(" :.-")
    return int(text) if re.fullmatch(r"(19|20|21)\d\d", text) else None


def read_when(text: str, *, year: int | None = None, is_month: bool = False) -> When:
    """Return the day or month that `text` is. Raises Refused.

    `year` is for texts without one. With `is_month`, as under the heading Month, the first day of a month is the
    month: spreadsheets turn `May 2021` into that day.
    """
    typed, start = " ".join(text.split()), None
    if clock := _CLOCK.search(typed):
        start = _time(clock, text)
        typed = typed[: clock.start()]
    found = _by_numbers(typed, text) or _by_name(typed, text, year)
    if found is None:
        raise Refused(f"{quoted(text)} is not a date or a month; write it as 2021-05-20 or May 2021")
    if is_month and len(found.days) == 1 and found.days[0].day == 1:
        return When(month=found.month)
    return When(month=found.month, days=found.days, start=start)


def _time(clock: re.Match[str], text: str) -> time | None:
    hour, minute, half = int(clock[1]), int(clock[2]), (clock[3] or "").casefold()
    if half and 1 <= hour <= 12:
        hour = hour % 12 + 12 * (half == "pm")
    try:
        # A day in a spreadsheet is midnight.
        return time(hour, minute) if hour or minute else None
    except ValueError:
        raise Refused(f"{quoted(text)}: {clock[1]}:{clock[2]} is not a time") from None


def _by_numbers(typed: str, text: str) -> When | None:
    typed = typed.strip(" .,")
    if match := _ISO.fullmatch(typed):
        year, month = int(match[1]), int(match[2])
        if match[3]:
            return _days([_day(year, month, int(match[3]))], text)
        return _month(year, month, text)
    if match := _NUMBERS.fullmatch(typed):
        year = _full_year(match[3])
        one, other = int(match[1]), int(match[2])
        # Day first, as most of the world writes; a slash may also be the American way.
        days = [_day(year, other, one), *([_day(year, one, other)] if "." not in typed else [])]
        return _days(days, text)
    if match := _MONTH_YEAR.fullmatch(typed):
        return _month(int(match[2]), int(match[1]), text)
    return None


def _by_name(typed: str, text: str, year: int | None) -> When | None:
    parts = re.findall(r"[^\W\d_]+|\d+|['’]\d\d", typed)
    numbers: list[str] = []
    months: list[int] = []
    for part in parts:
        if part[0].isdigit() or part[0] in "'’":
            numbers.append(part)
        elif (month := _months().get(_plain(part))) is not None:
            months.append(month)
        elif len(numbers) > 2:
            return None
    if len(months) != 1 or not _is_dateless(parts):
        return None
    (month,) = months
    years = [number for number in numbers if len(number) == 4 or number[0] in "'’"]
    others = [number for number in numbers if number not in years]
    if len(years) > 1 or len(others) > 2:
        return None
    if years:
        full = _full_year(years[0].strip("'’"))
    elif len(others) == 2:
        full = _full_year(others.pop())
    elif len(others) == 1 and (year is None or int(others[0]) == year % 100):
        # `May-21` is how spreadsheets show a month, also below a row with the year.
        full = _full_year(others.pop())
    elif year is not None:
        full = year
    else:
        raise Refused(f"{quoted(text)} has no year; write it as 2021-05-20 or May 2021")
    if len(others) > 1:
        return None
    return _days([_day(full, month, int(others[0]))], text) if others else _month(full, month, text)


_SMALL_WORDS = frozenset("st nd rd th of the de del di of den le el".split())


def _is_dateless(parts: list[str]) -> bool:
    """Return whether the words beside the month can be left out: a weekday at the beginning, and small words."""
    words = [part for part in parts if part[0].isalpha()]
    rest = [word for word in words if _plain(word) not in _months() and _plain(word) not in _SMALL_WORDS]
    return not rest or (len(rest) == 1 and words[0] == rest[0])


def _full_year(digits: str) -> int:
    return int(digits) if len(digits) == 4 else _CENTURY + int(digits)


def _day(year: int, month: int, day: int) -> date | None:
    try:
        return date(year, month, day)
    except ValueError:
        return None


def _days(days: list[date | None], text: str) -> When:
    valid = tuple(dict.fromkeys(day for day in days if day and _FIRST_YEAR <= day.year <= LAST_YEAR))
    if not valid:
        raise Refused(f"{quoted(text)} is not a day of the calendar; write it as 2021-05-20")
    return When(month=(valid[0].year, valid[0].month), days=valid)


def _month(year: int, month: int, text: str) -> When:
    if not (1 <= month <= 12 and _FIRST_YEAR <= year <= LAST_YEAR):
        raise Refused(f"{quoted(text)} is not a month; write it as 2021-05 or May 2021")
    return When(month=(year, month))
