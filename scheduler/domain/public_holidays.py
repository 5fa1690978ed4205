"""Public holidays of countries by date, with their names in English."""

import re
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

_NOTE = re.compile(r" \((?:(?:observed, )?estimated|substituted from [\d/]+)\)")


@dataclass(frozen=True, slots=True)
class PublicHoliday:
    """A holiday by its name. `is_estimated` means that its date was computed and the country may set another, as for
    holidays that depend on seeing the moon."""

    name: str
    is_estimated: bool = False


@lru_cache(maxsize=4096)
def public_holidays(country: str, day: date) -> tuple[PublicHoliday, ...]:
    """Return the holidays that a whole country has on a date; none if nothing is known about the country.

    Holidays of a region, such as a German Land, are left out. The UK's nations count as countries.
    """
    # Imported here because it takes 0.4 s with the first country, and only convenors ask.
    from holidays import country_holidays

    code, _, nation = country.partition("-")
    try:
        holidays = country_holidays(code, subdiv=nation or None, years=day.year, language="en_GB")
    except NotImplementedError:
        return ()
    return tuple(
        PublicHoliday(_NOTE.sub("", name), is_estimated="estimated)" in name)
        for name in holidays.get_list(day)
    )
