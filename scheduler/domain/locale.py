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
    """Return a language tag (BCP 47) with hyphens and in its usual case: `en-GB`, `zh-Hant-HK`; `en_GB.UTF-8` too.

    Language, script and territory must each be known to CLDR; the pair (Norwegian English) need not be. Whoever wants
    another hour cycle than is usual there says so as Unicode does: `en-GB-u-hc-h12`. Raises Refused, naming `what`.
    """
    if found := _read_tag(text):
        return found
    raise Refused(f"{what} {quoted(text)} is not known; write a language and country, as en-GB")


@lru_cache(maxsize=4096)
def find_locale(text: str) -> str | None:
    """As `require_locale`, and for a language's name in English or itself (`Welsh`, `svenska`) its tag; else None."""
    return _read_tag(text) or _named().get(folded(text))


@lru_cache(maxsize=1024)
def hour_cycle(tag: str) -> Literal["h12", "h23"]:
    """Whether people there write 6:00 pm or 18:00: as the tag itself says, else by CLDR's short time; of a pair that
    CLDR lacks, as others in that country do; 24 hours where nothing is known."""
    parts = _TAG.fullmatch(tag.replace("_", "-"))
    if parts and parts["cycle"]:
        return cast(Literal["h12", "h23"], parts["cycle"].lower())
    territory = parts and parts["territory"]
    locale = _parse(tag) or (_parse(f"und-{territory}") if territory else parts and _parse(parts["language"]))
    # What stands in quotation marks is text: `HH 'h' mm` of Quebec.
    pattern = re.sub(r"'[^']*'", "", locale.time_formats["short"].pattern) if locale else ""
    return "h12" if re.search("[hK]", pattern) else "h23"


def with_hour_cycle(tag: str, cycle: Literal["h12", "h23"] | None) -> str:
    """The tag with an hour cycle of its own choice, or None: the usual one of its language and country."""
    return plain_locale(tag) + (f"-u-hc-{cycle}" if cycle else "")


def own_hour_cycle(tag: str) -> Literal["h12", "h23"] | None:
    """The hour cycle that the tag itself asks for, if it does."""
    return hour_cycle(tag) if plain_locale(tag) != tag else None


def plain_locale(tag: str) -> str:
    """The tag without a wish for an hour cycle: language, country and their variants."""
    return tag.partition("-u-")[0]


def _parse(tag: str) -> Locale | None:
    try:
        return Locale.parse(tag.replace("_", "-"), sep="-")
    except (UnknownLocaleError, ValueError):
        return None


def _renamed(kind: Literal["language_aliases", "territory_aliases"], code: str) -> str:
    """Today's code for a withdrawn one (`iw`, `UK`), where there is exactly one."""
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
    """Languages by their names: all in English, and those people are likely to speak in the language itself."""
    english = cast(Mapping[str, str], Locale("en").languages)
    # `zh` has the same name as `zh_Hant` after it, and is meant.
    own = ((code, Locale.parse(code).get_language_name()) for code in reversed(LANGUAGES))
    return {
        **{folded(name): code.replace("_", "-") for code, name in own if name},
        **{
            folded(name): code.replace("_", "-") for code, name in english.items() if code not in _NO_LANGUAGE
        },
    }
