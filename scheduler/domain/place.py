"""Zones of states and cities, for the countries that have several zones."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files

from scheduler.domain.text import folded

# Of cities with one name, the one with at least this many times the people of the others is meant.
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

_CITIES_CALLED = {"US": {"nyc": "newyorkcity", "la": "losangeles", "sf": "sanfrancisco"}}


@dataclass(frozen=True, slots=True)
class Subdivision:
    """A state or province: the zone of nearly everybody there, or None, and all its zones."""

    zone: str | None
    zones: tuple[str, ...]


@lru_cache(maxsize=4096)
def zone_of_place(country: str, *, state: str = "", city: str = "") -> str | None:
    """The zone of a city or state in a country that has several zones; None where they do not say it.

    A city whose name is in several zones needs its state, unless it is far larger than the others of its name. A state
    in several zones needs a city, unless nearly everybody there lives in one. `Portland, OR` may stand in one cell.
    """
    land = country.partition("-")[0]
    town, _, beside = city.partition(",")
    found = find_subdivision(land, state) or find_subdivision(land, beside.partition(",")[0])
    name = folded(town)
    people = _cities(land).get(_CITIES_CALLED.get(land, {}).get(name, name), {})
    if found:
        within = {zone: number for zone, number in people.items() if zone in found.zones}
        return _dominant(within) or found.zone
    return _dominant(people)


def find_subdivision(country: str, text: str) -> Subdivision | None:
    """A state or province by its ISO 3166-2 code, with or without the country's, or its name."""
    plain = folded(text.strip().upper().removeprefix(f"{country}-"))
    if not plain:
        return None
    known = _subdivisions().get(country, {})
    code = _ABBREVIATED.get(country, {}).get(plain, "").lower()
    return known.get(code) or known.get(plain) or known.get(_plain(text))


def is_subdivision(text: str) -> bool:
    """Whether a text is a state of the USA or a province of Canada or Australia, by name or by code."""
    return any(find_subdivision(country, text) for country in ("US", "CA", "AU"))


def _dominant(people: Mapping[str, int]) -> str | None:
    """The zone of a city's name where one city is meant."""
    ordered = sorted(people.items(), key=lambda pair: -pair[1])
    if ordered and ordered[0][1] >= _DOMINANT * sum(number for _, number in ordered[1:]):
        return ordered[0][0]
    return None


def _plain(name: str) -> str:
    return folded(_UNITS.sub(" ", name))


@cache
def _subdivisions() -> Mapping[str, Mapping[str, Subdivision]]:
    found: dict[str, dict[str, Subdivision]] = {}
    for country, code, zones, names in _rows("subdivisions.tsv"):
        first, *others = zones.split()
        all_zones = tuple(others) if first == "-" else (first, *others)
        subdivision = Subdivision(None if first == "-" else first, all_zones)
        own = found.setdefault(country, {})
        for name in filter(None, names.split("|")):
            own.setdefault(folded(name), subdivision)
            own.setdefault(_plain(name), subdivision)
        own[code.lower()] = subdivision
    return found


@cache
def _cities(country: str) -> Mapping[str, Mapping[str, int]]:
    """Folded names of a country's cities, their zones, and how many people live in cities of that name there."""
    found: dict[str, dict[str, int]] = {}
    for land, name, zones in _rows("cities.tsv"):
        if land == country:
            pairs = (zone.partition("=") for zone in zones.split())
            found[name] = {zone: int(number or 1) for zone, _, number in pairs}
    return found


def _rows(name: str) -> list[list[str]]:
    text = files("scheduler.domain.data").joinpath(name).read_text(encoding="utf-8")
    return [line.split("\t") for line in text.splitlines()]
