"""The long lists that forms offer: places by region, and languages by their own names."""

from collections.abc import Sequence
from functools import cache

from babel import Locale

from scheduler.domain.locale_tag import LANGUAGES
from scheduler.domain.zone import city, zone_tab_zones


@cache
def zones() -> Sequence[tuple[str, Sequence[tuple[str, str]]]]:
    """The zones to choose from, by region: name and what to call it."""
    regions: dict[str, list[tuple[str, str]]] = {}
    for zone in zone_tab_zones():
        regions.setdefault(zone.partition("/")[0], []).append((zone, city(zone)))
    found = [(region, sorted(places, key=lambda one: one[1])) for region, places in sorted(regions.items())]
    return [*found, ("None of these", [("UTC", "UTC")])]


@cache
def languages() -> Sequence[tuple[str, str]]:
    """Languages by the name that their speakers give them."""
    named = ((code.replace("_", "-"), language_name(code)) for code in LANGUAGES)
    return sorted(named, key=lambda one: one[1].casefold())


@cache
def language_name(tag: str) -> str:
    """A language (and where the tag says so its country) as its speakers call it; the tag where CLDR does not know."""
    try:
        name = Locale.parse(tag.replace("_", "-"), sep="-").get_display_name() or tag
    except ValueError:
        return tag
    return name[:1].upper() + name[1:]
