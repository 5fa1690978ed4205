"""IANA zones, from the packaged tzdata alone: which there are, whose they are, and what to call them."""

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

# Where CLDR (supplemental data, primaryZones) names one zone for a country of several; babel does not carry it.
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

# CLDR keeps this zone under the name of an island next to it.
_CITY = {"Pacific/Kanton": "Kanton"}

_NUMBERED = re.compile(r"Etc/GMT[+-]?\d+")
# Old links that are named after a country, not after an offset or an abbreviation.
_COUNTRY_LINKS = frozenset(
    "Cuba Egypt Eire GB GB-Eire Hongkong Iceland Iran Israel Jamaica Japan Kwajalein Libya NZ NZ-CHAT Navajo PRC "
    "Poland Portugal ROC ROK Singapore Turkey W-SU".split()
)
_LINKED_COUNTRIES = {"us": "US", "canada": "CA", "brazil": "BR", "mexico": "MX", "chile": "CL"}
_PLACELESS = re.compile(
    r"(?:Etc/)?(?:[A-Z]{1,3}T|UTC|UCT|Z)?\s?(?:[+-]?\d[\d:]*)?(?:[A-Z]{1,3}T)?", re.IGNORECASE
)
_BEFORE = re.compile(r"\((?:UTC|GMT)[^)]*\)\s*", re.IGNORECASE)
_AFTER = re.compile(r"\s*\([^)]*\)$")


def require_zone(name: str, what: str = "zone") -> str:
    """Return `name` as it is spelled where it is an IANA name with a place (Europe/London), a legacy link
    (Asia/Calcutta, US/Eastern, Japan), or `UTC`.

    Raises Refused, naming `what` and the nearest accepted name, for anything else: also for abbreviations and
    offsets (EST, CET, EST5EDT, GMT) and for `Etc/GMT±n`, whose sign is not what it seems.
    """
    if name in _names() or name in _COUNTRY_LINKS:
        return name
    near = nearest_zone(name)
    if near:
        hint = f"is not known; did you mean {near}?"
    elif has_no_place(name):
        hint = "names no place, so its clock changes are not known; write a place as Europe/London, or UTC"
    else:
        hint = "is not known; write an IANA name as Europe/London, or UTC"
    raise Refused(f"{what} {quoted(name)} {hint}")


@lru_cache(maxsize=1024)
def zone_info(name: str) -> ZoneInfo:
    """The rules of a zone. Raises Refused as `require_zone`."""
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
    """Return the zone that a list of people means, by its present name (`canonical_zone`); None where it means none.

    Read are the names of `require_zone` in any case and with spaces for underscores, an offset or other note in
    brackets beside them, and the names that Windows has, which mean another zone in another `country` (CLDR's
    windowsZones; None where the country has no row there).
    """
    plain = " ".join(text.split())
    bare = _AFTER.sub("", _BEFORE.sub("", plain, count=1))
    if found := _by_fold().get(_fold(plain)):
        return canonical_zone(found)
    # Brackets are part of some Windows names and of their meaning: those are read as they stand.
    if name := windows_name(plain):
        return windows_zone(name, country)
    found = _by_fold().get(_fold(bare))
    return canonical_zone(found) if found else None


def country_of_link(text: str) -> str | None:
    """The country that an old zone name begins with, as US/Pacific and Canada/Pacific do; None for other names."""
    return _LINKED_COUNTRIES.get(_fold(text).partition("/")[0]) if "/" in text else None


def is_zone_of(zone: str, country: str) -> bool:
    """Whether a zone is one of the country's, or has had the same clocks as one of them since 1970."""
    return _link_target(zone) in {_link_target(own) for own in zones_of_country(country)}


def has_no_place(text: str) -> bool:
    """Whether `text` looks like an abbreviation or an offset: EST, PT, GMT+1, +01:00."""
    return bool(text.strip() and _PLACELESS.fullmatch(text.strip()))


@lru_cache(maxsize=1024)
def nearest_zone(text: str) -> str | None:
    """A zone whose name, or whose place's, is that of `text` or nearly; None where nothing is near.

    Takes milliseconds: for a message, not for every row of a list.
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
    """The present name of an accepted zone: `zone.tab`'s (Europe/Oslo stays; Europe/Kiev is Europe/Kyiv), or `UTC`."""
    if name in zone_tab_zones():
        return name
    # CLDR knows the old names of a place apart from the places that share its clocks: tzdata's own links do not.
    if listed := _listed_by_cldr_name().get(_cldr_name(name)):
        return listed
    target = _link_target(name)
    return "UTC" if target == "Etc/UTC" else target


def zones_of_country(code: str) -> tuple[str, ...]:
    """The zones of a country in `zone.tab`'s order; of GB-ENG and the UK's other nations, the UK's."""
    return _zones_by_country().get(code.partition("-")[0], ())


@cache
def names_of_country_zones(code: str) -> frozenset[str]:
    """The names, former ones too, of the zones that belong to a country alone, as `zone.tab` lists them."""
    own = frozenset(zones_of_country(code))
    return frozenset(name for name in _names() if canonical_zone(name) in own) if own else own


def primary_zone(code: str) -> str | None:
    """The only zone of a country that has but one, or the one that CLDR names above its others; else None."""
    zones = zones_of_country(code)
    return zones[0] if len(zones) == 1 else _PRIMARY.get(code)


@lru_cache(maxsize=1024)
def city(zone: str) -> str:
    """The English name of an accepted zone's place: `London`, `St John's`, `Ho Chi Minh City`; `UTC` for UTC."""
    canonical = canonical_zone(zone)
    if canonical.startswith("Etc/"):
        return "UTC"
    # CLDR leaves out a city whose name can be made from the zone's.
    known = Locale("en").time_zones.get(_cldr_name(canonical), {}).get("city")
    name = _CITY.get(canonical) or known or canonical.rpartition("/")[2].replace("_", " ")
    return name.replace("’", "'").replace("St. ", "St ")


@cache
def zone_tab_zones() -> tuple[str, ...]:
    """The zones of `zone.tab`: one or more for every inhabited country."""
    return tuple(row[2] for row in _rows("zone.tab"))


def country_table() -> tuple[tuple[str, str], ...]:
    """(ISO 3166 alpha-2 code, English name) of every country of `iso3166.tab`."""
    return tuple((code, name) for code, name, *_ in _rows("iso3166.tab"))


@cache
def tzdata_version() -> str:
    """The version of the zone data, as `2026c`."""
    return _packaged("tzdata.zi").split("\n", 1)[0].removeprefix("# version").strip()


def _packaged(name: str) -> str:
    return files("tzdata").joinpath("zoneinfo", name).read_text(encoding="utf-8")


@cache
def _rows(name: str) -> tuple[tuple[str, ...], ...]:
    lines = _packaged(name).splitlines()
    return tuple(tuple(line.split("\t")) for line in lines if line and not line.startswith("#"))


@cache
def _links() -> Mapping[str, str]:
    """Link to target, as tzdata.zi has them."""
    lines = (line.split() for line in _packaged("tzdata.zi").splitlines())
    return {words[2]: words[1] for words in lines if words[0] == "L"}


@cache
def _names() -> frozenset[str]:
    """All that `require_zone` accepts."""
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
    """Places that have a zone, folded: cities of today, cities' old names, and lands such as Japan."""
    old = {name.rpartition("/")[2]: canonical_zone(name) for name in _links() if not _is_part_of_land(name)}
    new = {zone.rpartition("/")[2]: zone for zone in zone_tab_zones()} | {
        city(zone): zone for zone in zone_tab_zones()
    }
    return {folded(place): zone for place, zone in (old | new).items()}


def _is_part_of_land(name: str) -> bool:
    """Whether a link's last word means something only after its first, as in US/Eastern; or nothing, as in EST."""
    lands = ("Australia/", "Brazil/", "Canada/", "Chile/", "Etc/", "Mexico/", "US/")
    return name.startswith(lands) or has_no_place(name)


def _cldr_name(name: str) -> str:
    aliases = cast(Mapping[str, str], get_global("zone_aliases"))
    return aliases.get(name, name)


@cache
def _listed_by_cldr_name() -> Mapping[str, str]:
    return {_cldr_name(zone): zone for zone in zone_tab_zones()}


@cache
def _zones_by_country() -> Mapping[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for code, _, zone, *_ in _rows("zone.tab"):
        found[code] = (*found.get(code, ()), zone)
    return found
