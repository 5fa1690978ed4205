"""Where members are, for everybody to see: countries with several of them, in numbers that single nobody out."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from scheduler.domain.cldr import cldr
from scheduler.domain.locale import country_name
from scheduler.domain.translation import translator
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
    """A country with several members, and their number, rounded down; 0 is a few."""

    code: str
    number: int

    def name(self, language: str = "en") -> str:
        """Return the name of the country."""
        return country_name(self.code, language)

    def words(self, language: str = "en") -> str:
        """Return the number in words: `a few`, `15 or more`."""
        say = translator(language)
        if not self.number:
            # Translators: members in a country.
            return say.gettext("a few")
        words = say.ngettext("%(number)s or more", "%(number)s or more", self.number)
        return words % {"number": cldr(language).format_number(self.number)}


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
    return [CountryOfMembers(code=code, number=-number) for number, _, code in sorted(shown)]


def _rounded(count: int) -> int:
    if count <= _A_FEW_UP_TO:
        return 0
    step = 10 if count >= _LARGE else 5
    return count // step * step
