"""IANA time zones, from the packaged tzdata only: which exist, to which country they belong, and their names.

Also those that Windows, Outlook and Exchange use.
"""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache, lru_cache
from importlib.resources import files
from typing import cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from babel import Locale
from babel.core import get_global

from scheduler.domain.cldr import cldr
from scheduler.domain.errors import Refused
from scheduler.domain.text import folded, quoted
from scheduler.domain.translation import is_english

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
    if zone := _by_fold().get(_fold(plain)):
        return canonical_zone(zone)
    # Some Windows names contain brackets that matter, so look them up with the brackets.
    if name := windows_name(plain):
        return windows_zone(name, country)
    zone = _by_fold().get(_fold(bare))
    return canonical_zone(zone) if zone else None


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
    name = text.strip()[:60]
    if not name or has_no_place(name):
        return find_zone(name)
    if zone := _by_fold().get(_fold(name)) or find_zone(name) or _places().get(folded(name)):
        return zone
    if near := get_close_matches(_fold(name), _by_fold(), n=1, cutoff=0.8):
        return _by_fold()[near[0]]
    near = get_close_matches(folded(name.rpartition("/")[2]), _places(), n=1, cutoff=0.8)
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
def city(zone: str, language: str = "en") -> str:
    """Return the name of a zone's place: `London`, `St John's`, `Ho Chi Minh City`; `UTC` for UTC.

    A name that CLDR does not have in a language is in English.
    """
    if not is_english(language):
        return cldr(language).cities.get(_cldr_name(canonical_zone(zone))) or city(zone)
    canonical = canonical_zone(zone)
    if canonical.startswith("Etc/"):
        return "UTC"
    # CLDR omits a city if its name is part of the name of the zone.
    known = Locale("en").time_zones.get(_cldr_name(canonical), {}).get("city")
    name = _CITY.get(canonical) or known or canonical.rpartition("/")[2].replace("_", " ")
    return name.replace("’", "'").replace("St. ", "St ")


def zones_named(text: str) -> tuple[str, ...]:
    """Return the zones, and their other names, that contain `text` in any case."""
    return tuple(sorted(name for name in _names() if text.casefold() in name.casefold()))


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


# What Windows shows in its settings, after an offset such as (UTC-08:00), and the names that it stores.
_DISPLAYED = {
    "Coordinated Universal Time-11": "UTC-11",
    "Aleutian Islands": "Aleutian Standard Time",
    "Hawaii": "Hawaiian Standard Time",
    "Marquesas Islands": "Marquesas Standard Time",
    "Alaska": "Alaskan Standard Time",
    "Coordinated Universal Time-09": "UTC-09",
    "Baja California": "Pacific Standard Time (Mexico)",
    "Coordinated Universal Time-08": "UTC-08",
    "Pacific Time (US & Canada)": "Pacific Standard Time",
    "Arizona": "US Mountain Standard Time",
    "Chihuahua, La Paz, Mazatlan": "Mountain Standard Time (Mexico)",
    "La Paz, Mazatlan": "Mountain Standard Time (Mexico)",
    "Mazatlan": "Mountain Standard Time (Mexico)",
    "Mountain Time (US & Canada)": "Mountain Standard Time",
    "Yukon": "Yukon Standard Time",
    "Central America": "Central America Standard Time",
    "Central Time (US & Canada)": "Central Standard Time",
    "Easter Island": "Easter Island Standard Time",
    "Guadalajara, Mexico City, Monterrey": "Central Standard Time (Mexico)",
    "Saskatchewan": "Canada Central Standard Time",
    "Bogota, Lima, Quito": "SA Pacific Standard Time",
    "Bogota, Lima, Quito, Rio Branco": "SA Pacific Standard Time",
    "Chetumal": "Eastern Standard Time (Mexico)",
    "Eastern Time (US & Canada)": "Eastern Standard Time",
    "Haiti": "Haiti Standard Time",
    "Havana": "Cuba Standard Time",
    "Indiana (East)": "US Eastern Standard Time",
    "Turks and Caicos": "Turks And Caicos Standard Time",
    "Asuncion": "Paraguay Standard Time",
    "Atlantic Time (Canada)": "Atlantic Standard Time",
    "Caracas": "Venezuela Standard Time",
    "Cuiaba": "Central Brazilian Standard Time",
    "Georgetown, La Paz, Manaus, San Juan": "SA Western Standard Time",
    "Santiago": "Pacific SA Standard Time",
    "Newfoundland": "Newfoundland Standard Time",
    "Araguaina": "Tocantins Standard Time",
    "Brasilia": "E. South America Standard Time",
    "Cayenne, Fortaleza": "SA Eastern Standard Time",
    "Buenos Aires": "Argentina Standard Time",
    "City of Buenos Aires": "Argentina Standard Time",
    "Greenland": "Greenland Standard Time",
    "Montevideo": "Montevideo Standard Time",
    "Punta Arenas": "Magallanes Standard Time",
    "Saint Pierre and Miquelon": "Saint Pierre Standard Time",
    "Salvador": "Bahia Standard Time",
    "Coordinated Universal Time-02": "UTC-02",
    "Azores": "Azores Standard Time",
    "Cabo Verde Is.": "Cape Verde Standard Time",
    "Cape Verde Is.": "Cape Verde Standard Time",
    "Coordinated Universal Time": "UTC",
    "Dublin, Edinburgh, Lisbon, London": "GMT Standard Time",
    "Edinburgh, London": "GMT Standard Time",
    "Dublin, Lisbon": "GMT Standard Time",
    "Monrovia, Reykjavik": "Greenwich Standard Time",
    "Sao Tome": "Sao Tome Standard Time",
    "Casablanca": "Morocco Standard Time",
    "Amsterdam, Berlin, Bern, Rome, Stockholm, Vienna": "W. Europe Standard Time",
    "Belgrade, Bratislava, Budapest, Ljubljana, Prague": "Central Europe Standard Time",
    "Brussels, Copenhagen, Madrid, Paris": "Romance Standard Time",
    "Sarajevo, Skopje, Warsaw, Zagreb": "Central European Standard Time",
    "West Central Africa": "W. Central Africa Standard Time",
    "Amman": "Jordan Standard Time",
    "Athens, Bucharest": "GTB Standard Time",
    "Beirut": "Middle East Standard Time",
    "Cairo": "Egypt Standard Time",
    "Chisinau": "E. Europe Standard Time",
    "Damascus": "Syria Standard Time",
    "Gaza, Hebron": "West Bank Standard Time",
    "Harare, Pretoria": "South Africa Standard Time",
    "Helsinki, Kyiv, Riga, Sofia, Tallinn, Vilnius": "FLE Standard Time",
    "Jerusalem": "Israel Standard Time",
    "Juba": "South Sudan Standard Time",
    "Kaliningrad": "Kaliningrad Standard Time",
    "Khartoum": "Sudan Standard Time",
    "Tripoli": "Libya Standard Time",
    "Windhoek": "Namibia Standard Time",
    "Baghdad": "Arabic Standard Time",
    "Istanbul": "Turkey Standard Time",
    "Kuwait, Riyadh": "Arab Standard Time",
    "Minsk": "Belarus Standard Time",
    "Moscow, St. Petersburg": "Russian Standard Time",
    "Moscow, St. Petersburg, Volgograd": "Russian Standard Time",
    "Nairobi": "E. Africa Standard Time",
    "Volgograd": "Volgograd Standard Time",
    "Tehran": "Iran Standard Time",
    "Abu Dhabi, Muscat": "Arabian Standard Time",
    "Astrakhan, Ulyanovsk": "Astrakhan Standard Time",
    "Baku": "Azerbaijan Standard Time",
    "Izhevsk, Samara": "Russia Time Zone 3",
    "Port Louis": "Mauritius Standard Time",
    "Saratov": "Saratov Standard Time",
    "Tbilisi": "Georgian Standard Time",
    "Yerevan": "Caucasus Standard Time",
    "Kabul": "Afghanistan Standard Time",
    "Ashgabat, Tashkent": "West Asia Standard Time",
    "Astana": "Central Asia Standard Time",
    "Nur-Sultan": "Central Asia Standard Time",
    "Bishkek": "Central Asia Standard Time",
    "Ekaterinburg": "Ekaterinburg Standard Time",
    "Islamabad, Karachi": "Pakistan Standard Time",
    "Qyzylorda": "Qyzylorda Standard Time",
    "Chennai, Kolkata, Mumbai, New Delhi": "India Standard Time",
    "Sri Jayawardenepura": "Sri Lanka Standard Time",
    "Kathmandu": "Nepal Standard Time",
    "Dhaka": "Bangladesh Standard Time",
    "Omsk": "Omsk Standard Time",
    "Yangon (Rangoon)": "Myanmar Standard Time",
    "Bangkok, Hanoi, Jakarta": "SE Asia Standard Time",
    "Barnaul, Gorno-Altaysk": "Altai Standard Time",
    "Hovd": "W. Mongolia Standard Time",
    "Krasnoyarsk": "North Asia Standard Time",
    "Novosibirsk": "N. Central Asia Standard Time",
    "Tomsk": "Tomsk Standard Time",
    "Beijing, Chongqing, Hong Kong, Urumqi": "China Standard Time",
    "Irkutsk": "North Asia East Standard Time",
    "Kuala Lumpur, Singapore": "Singapore Standard Time",
    "Perth": "W. Australia Standard Time",
    "Taipei": "Taipei Standard Time",
    "Ulaanbaatar": "Ulaanbaatar Standard Time",
    "Eucla": "Aus Central W. Standard Time",
    "Chita": "Transbaikal Standard Time",
    "Osaka, Sapporo, Tokyo": "Tokyo Standard Time",
    "Pyongyang": "North Korea Standard Time",
    "Seoul": "Korea Standard Time",
    "Yakutsk": "Yakutsk Standard Time",
    "Adelaide": "Cen. Australia Standard Time",
    "Darwin": "AUS Central Standard Time",
    "Brisbane": "E. Australia Standard Time",
    "Canberra, Melbourne, Sydney": "AUS Eastern Standard Time",
    "Guam, Port Moresby": "West Pacific Standard Time",
    "Hobart": "Tasmania Standard Time",
    "Vladivostok": "Vladivostok Standard Time",
    "Lord Howe Island": "Lord Howe Standard Time",
    "Bougainville Island": "Bougainville Standard Time",
    "Chokurdakh": "Russia Time Zone 10",
    "Magadan": "Magadan Standard Time",
    "Norfolk Island": "Norfolk Standard Time",
    "Sakhalin": "Sakhalin Standard Time",
    "Solomon Is., New Caledonia": "Central Pacific Standard Time",
    "Anadyr, Petropavlovsk-Kamchatsky": "Russia Time Zone 11",
    "Auckland, Wellington": "New Zealand Standard Time",
    "Coordinated Universal Time+12": "UTC+12",
    "Fiji": "Fiji Standard Time",
    "Chatham Islands": "Chatham Islands Standard Time",
    "Coordinated Universal Time+13": "UTC+13",
    "Nuku'alofa": "Tonga Standard Time",
    "Samoa": "Samoa Standard Time",
    "Kiritimati Island": "Line Islands Standard Time",
}

_WORLD = "001"
_OFFSET = re.compile(r"^\((?:UTC|GMT)[^)]*\)\s*", re.IGNORECASE)


def windows_name(text: str) -> str | None:
    """Return the name that Windows stores, in lower case, for that name or for what its settings show.

    The settings show a text such as `(UTC-08:00) Pacific Time (US & Canada)`. Return None for anything else.
    """
    plain = " ".join(text.split()).casefold()
    if plain in _zones():
        return plain
    shown = _OFFSET.sub("", plain).replace(" and canada", " & canada")
    # A place without an offset may just be a place, so it is only a Windows name with one.
    return _displayed().get(shown) if shown != plain or "(us & canada)" in shown else None


def windows_zone(name: str, country: str | None = None) -> str | None:
    """Return the zone of a `windows_name` in a country, or CLDR's default if `country` is None; None without a row."""
    territory = country.partition("-")[0] if country else _WORLD
    rows = _zones()[name]
    # UTC is the same in every country.
    return rows.get(territory) or (rows.get(_WORLD) if name == "utc" else None)


@cache
def _displayed() -> Mapping[str, str]:
    return {shown.casefold(): name.casefold() for shown, name in _DISPLAYED.items()}


@cache
def _zones() -> Mapping[str, Mapping[str, str]]:
    """Return the zones by the lower-case Windows name and then by territory."""
    text = files("scheduler.domain.data").joinpath("windows_zones.tsv").read_text(encoding="utf-8")
    zones: dict[str, dict[str, str]] = {}
    for line in text.splitlines():
        name, territory, zone = line.split("\t")
        zones.setdefault(name.casefold(), {})[territory] = zone
    return zones
