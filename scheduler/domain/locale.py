"""Languages and hour cycles of members, as BCP 47 locale tags, and their countries, as ISO 3166 codes.

The UK's nations count as countries.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from functools import cache, lru_cache
from itertools import chain
from typing import Literal, cast

from babel import Locale, UnknownLocaleError
from babel.core import get_global, parse_locale
from babel.localedata import locale_identifiers

from scheduler.domain.cldr import cldr
from scheduler.domain.errors import Refused
from scheduler.domain.text import folded, quoted
from scheduler.domain.translation import N_, is_english, translator
from scheduler.domain.zone import country_table

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


NATIONS = {
    "GB-ENG": N_("England"),
    "GB-SCT": N_("Scotland"),
    "GB-WLS": N_("Wales"),
    "GB-NIR": N_("Northern Ireland"),
}

# Short names for CLDR's long ones.
_SHORT_NAMES = {"HK": "Hong Kong", "MO": "Macao", "PS": "Palestine", "MM": "Myanmar"}

# What people write that is in no list of names.
_ALTERNATIVES = {
    "AE": "Emirates, UAE",
    "BA": "Bosnia",
    "BN": "Brunei Darussalam",
    "BO": "Plurinational State of Bolivia",
    "BQ": "Bonaire Sint Eustatius and Saba",
    "CD": "DR Congo, DRC, Democratic Republic of the Congo, Congo Kinshasa, Zaire",
    "CG": "Republic of the Congo, Congo Brazzaville",
    "CI": "Ivory Coast",
    "CN": "Mainland China, PR China, PRC",
    "CV": "Cabo Verde, Cape Verde",
    "CZ": "Czech Republic",
    "FK": "Falkland Islands Malvinas, Falklands",
    "FM": "Federated States of Micronesia",
    "FO": "Faroes, Faeroe Islands",
    "GB": "UK, Great Britain, Britain, United Kingdom of Great Britain and Northern Ireland",
    "GB-ENG": "ENG",
    "GB-NIR": "NIR, N Ireland, Ulster",
    "GB-SCT": "SCT, Alba",
    "GB-WLS": "WLS, Cymru",
    "HK": "Hong Kong SAR, 香港",
    "HM": "Heard and McDonald Islands",
    "IE": "Eire, Irish Republic, Republic of Ireland, ROI",
    "IR": "Islamic Republic of Iran",
    "KP": "Democratic People's Republic of Korea, DPRK",
    "KR": "Korea, Republic of Korea, ROK",
    "LA": "Lao People's Democratic Republic, Lao PDR",
    "LY": "Libyan Arab Jamahiriya",
    "MD": "Republic of Moldova",
    "MF": "St Martin French part",
    "MK": "FYROM, Macedonia, Republic of North Macedonia",
    "MM": "Burma",
    "NL": "Holland, Kingdom of the Netherlands",
    "PS": "State of Palestine",
    "RU": "Russian Federation",
    "SH": "St Helena Ascension and Tristan da Cunha",
    "SX": "Sint Maarten Dutch part",
    "SY": "Syrian Arab Republic",
    "SZ": "Swaziland",
    "TF": "French Southern Territories",
    "TL": "East Timor",
    "TR": "Turkey",
    "TT": "Trinidad",
    "TW": "Province of China Taiwan, ROC",
    "TZ": "United Republic of Tanzania",
    "UM": "United States Minor Outlying Islands",
    "US": "America, The States, United States of America, US of A, USA",
    "VA": "Holy See, Vatican, Vatican City State",
    "VC": "St Vincent and the Grenadines",
    "VE": "Bolivarian Republic of Venezuela",
    "VN": "Viet Nam",
}

# Inverted names, as in ISO 3166: `Korea, Republic of` and `Netherlands (Kingdom of the)`.
_INVERTED = re.compile(r"^([^,(]+?)\s*[,(]\s*([^,()]+?)\)?$")


@lru_cache(maxsize=4096)
def find_country(text: str) -> str | None:
    """Return the ISO 3166 alpha-2 code, or `GB-ENG`, `GB-SCT`, `GB-WLS` or `GB-NIR`, that a text means, or None.

    Accept codes (also alpha-3) and names, in English and many other languages, in any case and with or without accents
    and punctuation. A name that means different countries in different languages means none.
    """
    for reading in (text, _INVERTED.sub(r"\2 \1", text.strip())):
        plain = _plain(reading)
        if code := _english().get(plain) or (plain and _foreign().get(plain)):
            return code
    return None


def require_country(text: str, what: str = "country") -> str:
    """Return the same as `find_country`. Raises Refused, naming `what` and the country with the nearest name."""
    if code := find_country(text):
        return code
    near = nearest_country(text)
    hint = f"did you mean {near}?" if near else "write its English name or its two-letter code"
    raise Refused(f"{what} {quoted(text)} is not known; {hint}")


@lru_cache(maxsize=1024)
def nearest_country(text: str) -> str | None:
    """Return the English name of the country whose name is most similar to `text`, or None; takes milliseconds."""
    plain = _plain(text[:60])
    for codes in (_english(), _foreign()):
        # Short names and codes are similar to almost everything.
        if near := get_close_matches(plain, [name for name in codes if len(name) > 3], n=1, cutoff=0.8):
            return country_name(codes[near[0]])
    return None


def country_name(code: str, language: str = "en") -> str:
    """Return the name of a code, or the code itself if it is unknown."""
    if not is_english(language):
        if code in NATIONS:
            return translator(language).gettext(NATIONS[code])
        return cldr(language).territories.get(code) or country_name(code)
    return NATIONS.get(code) or _SHORT_NAMES.get(code) or Locale("en").territories.get(code) or code


@lru_cache(maxsize=32)
def countries(language: str = "en") -> tuple[tuple[str, str], ...]:
    """Return (code, name) of all countries and the UK's nations, ordered by name, for a picker."""
    return tuple(
        sorted(((code, country_name(code, language)) for code in _codes()), key=lambda pair: folded(pair[1]))
    )


@cache
def _codes() -> frozenset[str]:
    # Kosovo has no code in ISO 3166; XK is in common use.
    return frozenset({code for code, _ in country_table()} | NATIONS.keys() | {"XK"})


def _plain(text: str) -> str:
    """Fold `text` so that `The St. Kitts & Nevis` equals `Saint Kitts and Nevis`."""
    words = re.sub(
        r"^(the|saint)\b", lambda word: "st" if word[0] == "saint" else "", text.strip().casefold()
    )
    return folded(words)


def _names_in(language: str) -> Iterator[tuple[str, str]]:
    for code, name in Locale.parse(language).territories.items():
        if code in _codes():
            yield _plain(name), code


@cache
def _english() -> Mapping[str, str]:
    """Return codes by folded codes and English names; a code has precedence over an equal name."""
    aliases = cast(Mapping[str, list[str]], get_global("territory_aliases"))
    return {
        **{_plain(name): code for code, name in country_table()},
        **dict(_names_in("en")),
        **{_plain(name): code for code, names in _ALTERNATIVES.items() for name in names.split(", ")},
        **{_plain(name): code for code, name in (_SHORT_NAMES | NATIONS).items()},
        **{
            old.casefold(): new[0]
            for old, new in aliases.items()
            if len(old) == 3 and old.isalpha() and len(new) == 1 and new[0] in _codes()
        },
        **{folded(code): code for code in _codes()},
    }


@cache
def _foreign() -> Mapping[str, str]:
    """Return codes by folded names that mean the same country in all languages that have them."""
    shared = ((_plain(name.partition("(")[0]), code) for code, name in country_table())
    return _unambiguous(chain(shared, *map(_names_in, LANGUAGES)))


def _unambiguous(pairs: Iterable[tuple[str, str]]) -> Mapping[str, str]:
    meanings: dict[str, set[str]] = {}
    for name, code in pairs:
        meanings.setdefault(name, set()).add(code)
    return {name: codes.pop() for name, codes in meanings.items() if len(codes) == 1}


@lru_cache(maxsize=4096)
def language_name(tag: str) -> str:
    """Return the name of a language tag, with its script, country and variant if it has them, as its speakers write it.

    Each part is looked up separately, because CLDR has no locale for most pairs, such as English in France, and none at
    all for many languages. Parts that CLDR cannot name in the language are in English, and unknown ones are codes.
    """
    try:
        language, territory, script, variant, *_ = parse_locale(plain_locale(tag).replace("_", "-"), sep="-")
    except ValueError:
        return tag
    own, english = _locale(language, script, territory), Locale("en")

    def named(kind: str, code: str | None) -> str | None:
        return code and (getattr(own, kind).get(code) or getattr(english, kind).get(code) or code)

    subtags = (("scripts", script), ("territories", territory), ("variants", variant and variant.upper()))
    rest = ", ".join(filter(None, (named(kind, code) for kind, code in subtags)))
    name = named("languages", language) or tag
    return name[:1].upper() + name[1:] + (f" ({rest})" if rest else "")


def _locale(language: str, script: str | None, territory: str | None) -> Locale:
    """Return the nearest locale that CLDR has for a language; English if it has none."""
    for details in ((script, territory), (None, territory), (script, None), (None, None)):
        if "_".join(filter(None, (language, *details))) in _known_locales():
            return Locale(language, script=details[0], territory=details[1])
    return Locale("en")


@cache
def _known_locales() -> frozenset[str]:
    return frozenset(locale_identifiers())
