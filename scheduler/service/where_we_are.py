"""Where members are, for everybody to see: countries with several of them, in numbers that single nobody out."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from scheduler.domain.locale import country_name
from scheduler.store import numbers
from scheduler.store.database import Database

FRESH = timedelta(days=1)
"""How long the countries are shown before members are counted again: numbers that follow each change would tell when
somebody joined or left."""

FEWEST = 3
"""In a country with fewer members, somebody could be recognised. It is not shown at all."""

_A_FEW_UP_TO = 9
_LARGE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class CountryOfMembers:
    """A country with several members. `words` is their number, rounded down: `a few`, `15 or more`."""

    code: str
    name: str
    words: str


async def where_we_are(database: Database) -> list[CountryOfMembers]:
    """Return the countries with at least FEWEST active or paused members: most members first, then by name.

    It counts all members, so keep what it returns (FRESH).
    """
    async with database.read() as connection:
        places = await numbers.members_by_place(connection)
    return countries_shown(places)


def countries_shown(places: Mapping[tuple[str, str], int]) -> list[CountryOfMembers]:
    """Return the countries to show of the members by country (empty if unknown) and zone."""
    counts = Counter[str]()
    for (country, _), count in places.items():
        counts[country] += count
    shown = [
        (-_rounded(count), country_name(code), code)
        for code, count in counts.items()
        if code and count >= FEWEST
    ]
    # By the rounded number: the order must not tell more than the words do.
    return [
        CountryOfMembers(code=code, name=name, words=_words(-number)) for number, name, code in sorted(shown)
    ]


def _rounded(count: int) -> int:
    if count <= _A_FEW_UP_TO:
        return 0
    step = 10 if count >= _LARGE else 5
    return count // step * step


def _words(number: int) -> str:
    return f"{number:,} or more" if number else "a few"
