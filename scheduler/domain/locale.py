"""Languages and hour cycles of members, as BCP 47 locale tags."""

import re
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Literal, cast

from babel import Locale, UnknownLocaleError
from babel.core import get_global

from scheduler.domain.errors import Refused
from scheduler.domain.text import folded, quoted

_TAG = re.compile(
    r"(?P<language>[a-z]{2,3})(?:-(?P<script>[a-z]{4}))?(?:-(?P<territory>[a-z]{2}|\d{3}))?"
    r"(?P<variants>(?:-(?:[a-z\d]{5,8}|\d[a-z\d]{3}))*)"
    r"(?:-u-hc-(?P<cycle>h12|h23))?",
    re.IGNORECASE,
)
# The languages in which people are likely to write the names of languages and countries.
LANGUAGES = (
    "ar bg ca cs cy da de el en es et fa fi fil fo fr ga he hi hr hu id is it ja ko lt lv mi ms mt nb nl nn no pl pt "
    "ro ru sk sl sr sv sw th tr uk vi zh zh_Hant"
).split()

_SYSTEM_SUFFIX = re.compile(r"(?:\.[\w-]+)?(?:@[\w-]+)?$", re.ASCII)
_NO_LANGUAGE = {"mul", "und", "zxx"}
_NO_TERRITORY = {"EU", "EZ", "QO", "UN", "XA", "XB", "ZZ"}


def require_locale(text: str, what: str = "locale") -> str:
    """Return a language tag (BCP 47) with hyphens and in the usual case: `en-GB`, `zh-Hant-HK`.

    Accept `en_GB.UTF-8` too. CLDR must know the language, script and territory, but not the combination of them. A
    Unicode extension can choose another hour cycle than the usual one: `en-GB-u-hc-h12`. Raises Refused, naming `what`.
    """
    if tag := _read_tag(text):
        return tag
    raise Refused(f"{what} {quoted(text)} is not known; write a language and country, such as en-GB")


@lru_cache(maxsize=4096)
def find_locale(text: str) -> str | None:
    """Return the tag for a tag, or for the name of a language in English or itself (`Welsh`, `svenska`), or None."""
    return _read_tag(text) or _named().get(folded(text))


@lru_cache(maxsize=1024)
def hour_cycle(tag: str) -> Literal["h12", "h23"]:
    """Return whether people with this locale write 6:00 pm or 18:00.

    This is what the tag itself says, or else CLDR's short time format for the locale, or else that of its country or
    language; 24 hours if nothing is known.
    """
    parts = _TAG.fullmatch(tag.replace("_", "-"))
    if parts and parts["cycle"]:
        return cast(Literal["h12", "h23"], parts["cycle"].lower())
    territory = parts and parts["territory"]
    locale = _parse(tag) or (_parse(f"und-{territory}") if territory else parts and _parse(parts["language"]))
    # The part in quotation marks is text, as in `HH 'h' mm` of Quebec.
    pattern = re.sub(r"'[^']*'", "", locale.time_formats["short"].pattern) if locale else ""
    return "h12" if re.search("[hK]", pattern) else "h23"


def with_hour_cycle(tag: str, cycle: Literal["h12", "h23"] | None) -> str:
    """Return the tag with an explicit hour cycle, or without one if `cycle` is None."""
    return plain_locale(tag) + (f"-u-hc-{cycle}" if cycle else "")


def own_hour_cycle(tag: str) -> Literal["h12", "h23"] | None:
    """Return the hour cycle that the tag itself sets, or None."""
    return hour_cycle(tag) if plain_locale(tag) != tag else None


def plain_locale(tag: str) -> str:
    """Return the tag without an explicit hour cycle: language, script, country and variants."""
    return tag.partition("-u-")[0]


def _parse(tag: str) -> Locale | None:
    try:
        return Locale.parse(tag.replace("_", "-"), sep="-")
    except (UnknownLocaleError, ValueError):
        return None


def _renamed(kind: Literal["language_aliases", "territory_aliases"], code: str) -> str:
    """Return the present code for a withdrawn one (`iw`, `UK`) if there is exactly one; otherwise `code`."""
    new = cast(Mapping[str, str | list[str]], get_global(kind)).get(code, code)
    if isinstance(new, list):
        new = new[0] if len(new) == 1 else code
    return new if new.isalnum() else code


@lru_cache(maxsize=4096)
def _read_tag(text: str) -> str | None:
    english = Locale("en")
    parts = _TAG.fullmatch(_SYSTEM_SUFFIX.sub("", text.strip()).replace("_", "-"))
    if not parts:
        return None
    language = _renamed("language_aliases", parts["language"].lower())
    script = (parts["script"] or "").title()
    territory = _renamed("territory_aliases", (parts["territory"] or "").upper())
    if language not in english.languages or language in _NO_LANGUAGE:
        return None
    if (script and script not in english.scripts) or (territory and territory not in english.territories):
        return None
    if territory in _NO_TERRITORY:
        return None
    variants = parts["variants"].lower().strip("-")
    cycle = f"u-hc-{parts['cycle'].lower()}" if parts["cycle"] else ""
    return "-".join(filter(None, (language, script, territory, variants, cycle)))


@cache
def _named() -> Mapping[str, str]:
    """Return tags by folded names of languages: all names in English, and those of LANGUAGES in the language itself."""
    english = cast(Mapping[str, str], Locale("en").languages)
    # Reversed, so that `zh` wins over `zh_Hant`, which has the same name.
    own = ((code, Locale.parse(code).get_language_name()) for code in reversed(LANGUAGES))
    return {
        **{folded(name): code.replace("_", "-") for code, name in own if name},
        **{
            folded(name): code.replace("_", "-") for code, name in english.items() if code not in _NO_LANGUAGE
        },
    }
