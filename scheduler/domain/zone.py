"""IANA time zones, from the packaged tzdata only: which exist, to which country they belong, and their names."""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache, lru_cache
from importlib.resources import files
from typing import cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from babel import Locale
from babel.core import get_global

from scheduler.domain.errors import Refused
from scheduler.domain.text import folded, quoted
from scheduler.domain.windows_zone import windows_name, windows_zone

# CLDR's primary zones of countries with several (supplemental data, primaryZones), which Babel does not include.
_PRIMARY = {
    "CL": "America/Santiago",
    "CN": "Asia/Shanghai",
    "DE": "Europe/Berlin",
    "EC": "America/Guayaquil",
    "ES": "Europe/Madrid",
    "MH": "Pacific/Majuro",
    "MY": "Asia/Kuala_Lumpur",
    "NZ": "Pacific/Auckland",
    "PT": "Europe/Lisbon",
    "UA": "Europe/Kyiv",
    "UZ": "Asia/Tashkent",
}

# CLDR has this zone under the name of an island nearby.
_CITY = {"Pacific/Kanton": "Kanton"}

_NUMBERED = re.compile(r"Etc/GMT[+-]?\d+")
# Old links named after a country, not after an offset or an abbreviation.
_COUNTRY_LINKS = frozenset(
    "Cuba Egypt Eire GB GB-Eire Hongkong Iceland Iran Israel Jamaica Japan Kwajalein Libya NZ NZ-CHAT Navajo PRC "
    "Poland Portugal ROC ROK Singapore Turkey W-SU".split()
)
_LINKED_COUNTRIES = {"us": "US", "canada": "CA", "brazil": "BR", "mexico": "MX", "chile": "CL"}
_WITHOUT_PLACE = re.compile(
    r"(?:Etc/)?(?:[A-Z]{1,3}T|UTC|UCT|Z)?\s?(?:[+-]?\d[\d:]*)?(?:[A-Z]{1,3}T)?", re.IGNORECASE
)
_OFFSET_BEFORE = re.compile(r"\((?:UTC|GMT)[^)]*\)\s*", re.IGNORECASE)
_NOTE_AFTER = re.compile(r"\s*\([^)]*\)$")


def require_zone(name: str, what: str = "zone") -> str:
    """Return `name`, unchanged, if it is an IANA name of a place (Europe/London), a legacy link (US/Eastern), or `UTC`.

    Raises Refused, naming `what` and the nearest accepted name, for anything else, including abbreviations and offsets
    (EST, CET, EST5EDT, GMT) and `Etc/GMT±n`, whose sign is the opposite of what people expect.
    """
    if name in _names() or name in _COUNTRY_LINKS:
        return name
    near = nearest_zone(name)
    if near:
        hint = f"is not known; did you mean {near}?"
    elif has_no_place(name):
        hint = (
            "is not a place, so its clock changes are not known; write a place such as Europe/London, or UTC"
        )
    else:
        hint = "is not known; write an IANA name such as Europe/London, or UTC"
    raise Refused(f"{what} {quoted(name)} {hint}")


@lru_cache(maxsize=1024)
def zone_info(name: str) -> ZoneInfo:
    """Return the rules of a zone. Raises Refused like `require_zone`."""
    return ZoneInfo(require_zone(name))


@lru_cache(maxsize=1024)
def is_known_zone(name: str) -> bool:
    """Return whether the installed zone data has the rules of a stored zone: older data may not."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return False
    return True


def known_zone(name: str, home: str) -> str:
    """Return a stored zone to show times in, or the zone `home` if the installed zone data does not have it."""
    return name if is_known_zone(name) else home


@lru_cache(maxsize=4096)
def find_zone(text: str, country: str | None = None) -> str | None:
    """Return the zone that a text in a list of people means, by its present name (`canonical_zone`), or None.

    Accept the names of `require_zone` in any case, with spaces instead of underscores, and with an offset or another
    note in brackets before or after them; and the names that Windows uses, whose zone depends on the `country`
    (CLDR's windowsZones; None if the country has no row there).
    """
    plain = " ".join(text.split())
    bare = _NOTE_AFTER.sub("", _OFFSET_BEFORE.sub("", plain, count=1))
    if found := _by_fold().get(_fold(plain)):
        return canonical_zone(found)
    # Some Windows names contain brackets that matter, so look them up with the brackets.
    if name := windows_name(plain):
        return windows_zone(name, country)
    found = _by_fold().get(_fold(bare))
    return canonical_zone(found) if found else None


def country_of_link(text: str) -> str | None:
    """Return the country with which an old zone name such as US/Pacific begins; None for other names."""
    return _LINKED_COUNTRIES.get(_fold(text).partition("/")[0]) if "/" in text else None


def is_zone_of(zone: str, country: str) -> bool:
    """Return whether a zone belongs to the country, or has had the same clocks as one that does since 1970."""
    return _link_target(zone) in {_link_target(own) for own in zones_of_country(country)}


def has_no_place(text: str) -> bool:
    """Return whether `text` looks like an abbreviation or an offset: EST, PT, GMT+1, +01:00."""
    return bool(text.strip() and _WITHOUT_PLACE.fullmatch(text.strip()))


@lru_cache(maxsize=1024)
def nearest_zone(text: str) -> str | None:
    """Return the zone whose name or place is equal or similar to `text`; None if nothing is similar.

    This takes milliseconds: use it for a message, not for every row of a list.
    """
    wanted = text.strip()[:60]
    if not wanted or has_no_place(wanted):
        return find_zone(wanted)
    if found := _by_fold().get(_fold(wanted)) or find_zone(wanted) or _places().get(folded(wanted)):
        return found
    if near := get_close_matches(_fold(wanted), _by_fold(), n=1, cutoff=0.8):
        return _by_fold()[near[0]]
    near = get_close_matches(folded(wanted.rpartition("/")[2]), _places(), n=1, cutoff=0.8)
    return _places()[near[0]] if near else None


@lru_cache(maxsize=1024)
def canonical_zone(name: str) -> str:
    """Return the present name of a zone, as in `zone.tab` (Europe/Kyiv for Europe/Kiev, but Europe/Oslo), or `UTC`."""
    if name in zone_tab_zones():
        return name
    # CLDR separates old names of a place from other places with the same clocks; the links of tzdata do not.
    if listed := _listed_by_cldr_name().get(_cldr_name(name)):
        return listed
    target = _link_target(name)
    return "UTC" if target == "Etc/UTC" else target


def zones_of_country(code: str) -> tuple[str, ...]:
    """Return the zones of a country in the order of `zone.tab`; for the UK's nations (GB-ENG, …), those of the UK."""
    return _zones_by_country().get(code.partition("-")[0], ())


@cache
def names_of_country_zones(code: str) -> frozenset[str]:
    """Return the present and former names of the zones that `zone.tab` lists for a country."""
    own = frozenset(zones_of_country(code))
    return frozenset(name for name in _names() if canonical_zone(name) in own) if own else own


def primary_zone(code: str) -> str | None:
    """Return the only zone of a country, or the one that CLDR calls its primary zone; otherwise None."""
    zones = zones_of_country(code)
    return zones[0] if len(zones) == 1 else _PRIMARY.get(code)


@lru_cache(maxsize=1024)
def city(zone: str) -> str:
    """Return the English name of a zone's place: `London`, `St John's`, `Ho Chi Minh City`; `UTC` for UTC."""
    canonical = canonical_zone(zone)
    if canonical.startswith("Etc/"):
        return "UTC"
    # CLDR omits a city if its name is part of the name of the zone.
    known = Locale("en").time_zones.get(_cldr_name(canonical), {}).get("city")
    name = _CITY.get(canonical) or known or canonical.rpartition("/")[2].replace("_", " ")
    return name.replace("’", "'").replace("St. ", "St ")


@cache
def zone_tab_zones() -> tuple[str, ...]:
    """Return the zones of `zone.tab`: one or more for every inhabited country."""
    return tuple(row[2] for row in _rows("zone.tab"))


def country_table() -> tuple[tuple[str, str], ...]:
    """Return (ISO 3166 alpha-2 code, English name) of every country in `iso3166.tab`."""
    return tuple((code, name) for code, name, *_ in _rows("iso3166.tab"))


@cache
def tzdata_version() -> str:
    """Return the version of the zone data, such as `2026c`."""
    return _packaged("tzdata.zi").split("\n", 1)[0].removeprefix("# version").strip()


def _packaged(name: str) -> str:
    return files("tzdata").joinpath("zoneinfo", name).read_text(encoding="utf-8")


@cache
def _rows(name: str) -> tuple[tuple[str, ...], ...]:
    lines = _packaged(name).splitlines()
    return tuple(tuple(line.split("\t")) for line in lines if line and not line.startswith("#"))


@cache
def _links() -> Mapping[str, str]:
    """Return the links of tzdata.zi and their targets."""
    lines = (line.split() for line in _packaged("tzdata.zi").splitlines())
    return {words[2]: words[1] for words in lines if words[0] == "L"}


@cache
def _names() -> frozenset[str]:
    """Return all names that `require_zone` accepts, apart from those named after a country."""
    lines = (line.split() for line in _packaged("tzdata.zi").splitlines())
    names = {words[1] for words in lines if words[0] == "Z"} | _links().keys()
    return frozenset({name for name in names if "/" in name and not _NUMBERED.fullmatch(name)} | {"UTC"})


def _link_target(name: str) -> str:
    while name in _links():
        name = _links()[name]
    return name


def _fold(name: str) -> str:
    return re.sub(r"[\s_]+", " ", name.strip().casefold())


@cache
def _by_fold() -> Mapping[str, str]:
    return {_fold(name): name for name in sorted(_names())}


@cache
def _places() -> Mapping[str, str]:
    """Return zones by the folded names of places: present and former names of cities, and countries such as Japan."""
    old = {name.rpartition("/")[2]: canonical_zone(name) for name in _links() if not _is_not_a_place(name)}
    new = {zone.rpartition("/")[2]: zone for zone in zone_tab_zones()} | {
        city(zone): zone for zone in zone_tab_zones()
    }
    return {folded(place): zone for place, zone in (old | new).items()}


def _is_not_a_place(name: str) -> bool:
    """Return whether the last word of a link is not a place by itself, as in US/Eastern and EST."""
    prefixes = ("Australia/", "Brazil/", "Canada/", "Chile/", "Etc/", "Mexico/", "US/")
    return name.startswith(prefixes) or has_no_place(name)


def _cldr_name(name: str) -> str:
    aliases = cast(Mapping[str, str], get_global("zone_aliases"))
    return aliases.get(name, name)


@cache
def _listed_by_cldr_name() -> Mapping[str, str]:
    return {_cldr_name(zone): zone for zone in zone_tab_zones()}


@cache
def _zones_by_country() -> Mapping[str, tuple[str, ...]]:
    zones: dict[str, tuple[str, ...]] = {}
    for code, _, zone, *_ in _rows("zone.tab"):
        zones[code] = (*zones.get(code, ()), zone)
    return zones
