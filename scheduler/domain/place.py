"""Find the zone of a state or city, in countries that have several zones."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files

from scheduler.domain.text import folded

# A city is meant if it has at least this many times the population of all others with its name.
_DOMINANT = 8

_UNITS = re.compile(
    r"\b(?:state|province|region|oblast|krai|kray|okrug|republic|district|provincia|estado|departamento|kanton|"
    r"of|the|de|do|область|край|республика)\b",
    re.IGNORECASE,
)
_ABBREVIATED = {
    "US": {
        "calif": "CA",
        "penn": "PA",
        "penna": "PA",
        "mass": "MA",
        "wash": "WA",
        "fla": "FL",
        "tex": "TX",
        "ill": "IL",
        "mich": "MI",
        "minn": "MN",
        "conn": "CT",
        "ariz": "AZ",
        "colo": "CO",
        "ore": "OR",
        "wis": "WI",
        "tenn": "TN",
        "nyc": "NY",
        "washingtondc": "DC",
        "dc": "DC",
    },
    "CA": {
        "ont": "ON",
        "que": "QC",
        "pq": "QC",
        "alta": "AB",
        "sask": "SK",
        "man": "MB",
        "nf": "NL",
        "newfoundland": "NL",
    },
    "AU": {"qld": "QLD", "vic": "VIC", "tas": "TAS"},
    "MX": {"cdmx": "CMX", "df": "CMX", "edomex": "MEX"},
}

_CITY_NAMES = {"US": {"nyc": "newyorkcity", "la": "losangeles", "sf": "sanfrancisco"}}


@dataclass(frozen=True, slots=True)
class Subdivision:
    """A state or province: the zone of nearly everybody there (or None), and all its zones."""

    zone: str | None
    zones: tuple[str, ...]


@lru_cache(maxsize=4096)
def zone_of_place(country: str, *, state: str = "", city: str = "") -> str | None:
    """Return the zone of a city or state in a country that has several zones, or None if it is not certain.

    A city whose name occurs in several zones needs its state, unless it is far larger than the others of that name. A
    state with several zones needs a city, unless nearly everybody there lives in one. `city` may be `Portland, OR`.
    """
    country = country.partition("-")[0]
    name, _, after_comma = city.partition(",")
    subdivision = find_subdivision(country, state) or find_subdivision(country, after_comma.partition(",")[0])
    name = folded(name)
    population = _cities(country).get(_CITY_NAMES.get(country, {}).get(name, name), {})
    if subdivision:
        within = {zone: people for zone, people in population.items() if zone in subdivision.zones}
        return _dominant(within) or subdivision.zone
    return _dominant(population)


def find_subdivision(country: str, text: str) -> Subdivision | None:
    """Return a state or province by its ISO 3166-2 code, with or without that of the country, or by its name."""
    plain = folded(text.strip().upper().removeprefix(f"{country}-"))
    if not plain:
        return None
    subdivisions = _subdivisions().get(country, {})
    code = _ABBREVIATED.get(country, {}).get(plain, "").lower()
    return subdivisions.get(code) or subdivisions.get(plain) or subdivisions.get(_plain(text))


def is_subdivision(text: str) -> bool:
    """Return whether a text is the name or code of a state or province of the USA, Canada or Australia."""
    return any(find_subdivision(country, text) for country in ("US", "CA", "AU"))


def _dominant(population: Mapping[str, int]) -> str | None:
    """Return the zone of the city that is probably meant, or None."""
    ordered = sorted(population.items(), key=lambda pair: -pair[1])
    if ordered and ordered[0][1] >= _DOMINANT * sum(number for _, number in ordered[1:]):
        return ordered[0][0]
    return None


def _plain(name: str) -> str:
    return folded(_UNITS.sub(" ", name))


@cache
def _subdivisions() -> Mapping[str, Mapping[str, Subdivision]]:
    by_country: dict[str, dict[str, Subdivision]] = {}
    for country, code, zones, names in _rows("subdivisions.tsv"):
        first, *zones_after_first = zones.split()
        all_zones = tuple(zones_after_first) if first == "-" else (first, *zones_after_first)
        subdivision = Subdivision(None if first == "-" else first, all_zones)
        own = by_country.setdefault(country, {})
        for name in filter(None, names.split("|")):
            own.setdefault(folded(name), subdivision)
            own.setdefault(_plain(name), subdivision)
        own[code.lower()] = subdivision
    return by_country


@cache
def _cities(country: str) -> Mapping[str, Mapping[str, int]]:
    """Return the population of a country's cities by their folded names and then by zone."""
    cities: dict[str, dict[str, int]] = {}
    for city_country, name, zones in _rows("cities.tsv"):
        if city_country == country:
            pairs = (zone.partition("=") for zone in zones.split())
            cities[name] = {zone: int(people or 1) for zone, _, people in pairs}
    return cities


def _rows(name: str) -> list[list[str]]:
    text = files("scheduler.domain.data").joinpath(name).read_text(encoding="utf-8")
    return [line.split("\t") for line in text.splitlines()]
