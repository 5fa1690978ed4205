"""Forms: the fields that a browser sends, and the long lists to choose from."""

from collections.abc import Sequence
from functools import cache, lru_cache

from babel import Locale
from babel.core import parse_locale
from babel.localedata import locale_identifiers
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request

from scheduler.domain.errors import Refused
from scheduler.domain.locale import LANGUAGES, plain_locale
from scheduler.domain.zone import city, zone_tab_zones

LARGEST_FORM = 64 * 1024
_MOST_FIELDS = 100


async def fields(request: Request) -> dict[str, list[str]]:
    """The texts of a form by their names, in their order. What is no form has none; a file is no text."""
    try:
        form = await request.form(max_files=0, max_fields=_MOST_FIELDS, max_part_size=LARGEST_FORM)
    except HTTPException as error:
        if error.status_code != 400:
            raise
        form = FormData()
    found: dict[str, list[str]] = {}
    for name, value in form.multi_items():
        if isinstance(value, str):
            found.setdefault(name, []).append(value)
    return found


async def field(request: Request, name: str) -> str:
    """The last text of that name, or empty."""
    return (await fields(request)).get(name, [""])[-1].strip()


NEEDS = {
    "name": "change the name",
    "email": "check the email address",
    "country": "choose another country",
    "zone": "choose another time zone",
    "locale": "choose another language",
    "words": "change what you wrote",
    "until": "choose another day",
}
"""What somebody needs to do about a field whose text is refused."""


def told(refusal: Refused, name: str) -> str:
    """What is wrong with the field of that name, as a sentence that begins with what to do."""
    words = str(refusal).removeprefix(":").strip()
    return words if words.startswith("You need to ") else f"You need to {NEEDS[name]}: {words}"


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


@lru_cache(maxsize=4096)
def language_name(tag: str) -> str:
    """Return the language of a tag, and its script, country and variant if it names them, as its speakers write them.

    Each is looked up by itself: CLDR has no locale for most pairs (English in France), and for many languages it has
    no locale at all. Those are named in English, and what is not known at all by its code.
    """
    try:
        language, territory, script, variant, *_ = parse_locale(plain_locale(tag).replace("_", "-"), sep="-")
    except ValueError:
        return tag
    own, english = _locale(language, script, territory), Locale("en")

    def named(kind: str, code: str | None) -> str | None:
        return code and (getattr(own, kind).get(code) or getattr(english, kind).get(code) or code)

    details = (("scripts", script), ("territories", territory), ("variants", variant and variant.upper()))
    rest = ", ".join(filter(None, (named(kind, code) for kind, code in details)))
    name = named("languages", language) or tag
    return name[:1].upper() + name[1:] + (f" ({rest})" if rest else "")


def _locale(language: str, script: str | None, territory: str | None) -> Locale:
    """Return the nearest locale that CLDR has for a language; English where it has none."""
    for details in ((script, territory), (None, territory), (script, None), (None, None)):
        if "_".join(filter(None, (language, *details))) in _known_locales():
            return Locale(language, script=details[0], territory=details[1])
    return Locale("en")


@cache
def _known_locales() -> frozenset[str]:
    return frozenset(locale_identifiers())
