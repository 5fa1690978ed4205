"""What the CLDR has for a language and we need: names of days, months, places and countries, and how dates are written.

Babel keeps everything that it has for a language, about a megabyte, for as long as the process lives. So this is copied
out of it once, and Babel drops what it has read: it reads it again if it needs it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache, lru_cache

from babel import Locale, localedata
from babel.dates import tokenize_pattern

from scheduler.domain.translation import AMERICAN, LANGUAGES

_SKELETONS = ("yMMMM", "MMMMEd", "hm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cldr:
    """A language in the CLDR. Days begin with Monday; `names` are those of days and months by the letters of a pattern.

    `patterns` are those of dates: `long`, `full`, and by skeleton. `lists` join two items, and the start, middle and
    end of more. `group` separates thousands.
    """

    names: Mapping[str, Sequence[str]]
    patterns: Mapping[str, str]
    periods: Sequence[str]
    lists: Mapping[str, str]
    group: str
    cities: Mapping[str, str]
    territories: Mapping[str, str]

    def format_date(self, day: date, pattern: str) -> str:
        """Return a date by a pattern of the CLDR, which may have year, month, day and weekday."""
        return "".join(self._field(day, field) if field else text for text, field in _fields(pattern))

    def _field(self, day: date, field: str) -> str:
        if field in ("d", "M", "y"):
            return str({"d": day.day, "M": day.month, "y": day.year}[field])
        return self.names[field][day.month - 1 if field[0] in "ML" else day.weekday()]

    def format_list(self, items: Sequence[str]) -> str:
        """Return the items as a list in a sentence: `a, b and c`."""
        if len(items) < 2:
            return "".join(items)
        if len(items) == 2:
            return self.lists["2"].format(*items)
        words = self.lists["start"].format(*items[:2])
        for item in items[2:-1]:
            words = self.lists["middle"].format(words, item)
        return self.lists["end"].format(words, items[-1])

    def format_number(self, number: int) -> str:
        """Return a whole number with its thousands separated, in Latin digits."""
        return f"{number:,}".replace(",", self.group)


@cache
def cldr(language: str) -> Cldr:
    """Return what the CLDR has for a language of LANGUAGES, or for AMERICAN."""
    identifier = "en_US" if language == AMERICAN else LANGUAGES[language]
    found = _read(Locale.parse(identifier))
    localedata.clear_caches()
    return found


def _read(locale: Locale) -> Cldr:
    names = {
        f"{letter * length}": tuple(
            str(kinds[context][width][place]) for place in sorted(kinds[context][width])
        )
        for letter, kinds, context in (
            ("E", locale.days, "format"),
            ("c", locale.days, "stand-alone"),
            ("M", locale.months, "format"),
            ("L", locale.months, "stand-alone"),
        )
        for length, width in ((3, "abbreviated"), (4, "wide"))
    }
    lists, periods = locale.list_patterns["standard"], locale.day_periods["format"]
    return Cldr(
        names=names,
        patterns={
            **{length: locale.date_formats[length].pattern for length in ("long", "full")},
            **{skeleton: locale.datetime_skeletons[skeleton].pattern for skeleton in _SKELETONS},
        },
        periods=tuple(
            str((periods["abbreviated"] if name in periods["abbreviated"] else periods["wide"])[name])
            for name in ("am", "pm")
        ),
        lists={part: lists[part] for part in ("2", "start", "middle", "end")},
        group=locale.number_symbols["latn"]["group"],
        cities={zone: words["city"] for zone, words in locale.time_zones.items() if "city" in words},
        territories={
            code: name for code, name in locale.territories.items() if re.fullmatch("[A-Z]{2}", code)
        },
    )


@lru_cache(maxsize=256)
def _fields(pattern: str) -> Sequence[tuple[str, str]]:
    """Return the pieces of a pattern, each a text or a field: ("den", "") or ("", "MMMM")."""
    return tuple(
        # Weekdays are never shortened: there are no patterns with a day, a month and a whole weekday.
        ("", token[0] * (4 if token[0] in "Ec" else token[1])) if isinstance(token, tuple) else (token, "")
        for _, token in tokenize_pattern(pattern)
    )
