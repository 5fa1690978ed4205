"""The languages that members are written to: their catalogues of messages, and which of them is whose."""

import re
from collections.abc import Mapping
from functools import cache, lru_cache
from gettext import GNUTranslations, NullTranslations
from pathlib import Path
from struct import error as StructError  # noqa: N812 - it is an error
from typing import Literal, Protocol, cast
from unicodedata import bidirectional

from babel.core import get_global, parse_locale
from babel.languages import get_official_languages

LANGUAGES: Mapping[str, str] = {
    "en": "en_GB",
    "sv": "sv",
    "da": "da",
    "nb": "nb",
    "is": "is",
    "nl": "nl",
    "de": "de",
    "fr": "fr",
    "it": "it",
    "es": "es",
    "pt": "pt_PT",
    "pt-BR": "pt",
    "sl": "sl",
    "et": "et",
    "lv": "lv",
    "cy": "cy",
    "ar": "ar",
    "zh-Hans": "zh_Hans",
    "zh-Hant": "zh_Hant",
    "pl": "pl",
    "fi": "fi",
}
"""The languages that there are, as BCP 47 tags, each with its locale in CLDR. `pt` is the Portuguese of Portugal."""

# From the CLDR, which takes long to read for all languages.
_NAMES = {
    "en": "English",
    "sv": "svenska",
    "da": "dansk",
    "nb": "norsk bokmål",
    "is": "íslenska",
    "nl": "Nederlands",
    "de": "Deutsch",
    "fr": "français",
    "it": "italiano",
    "es": "español",
    "pt": "português (Portugal)",
    "pt-BR": "português (Brasil)",
    "sl": "slovenščina",
    "et": "eesti",
    "lv": "latviešu",
    "cy": "Cymraeg",
    "ar": "العربية",
    "zh-Hans": "简体中文",
    "zh-Hant": "繁體中文",
    "pl": "polski",
    "fi": "suomi",
}

AMERICAN = "en-US"
"""Not a language of its own: English with the dates of the United States."""

# Languages whose speakers read one of ours.
_ALIASES = {"no": "nb", "nn": "nb", "cmn": "zh", "hak": "zh", "nan": "zh", "yue": "zh"}


_FIRST_STRONG, _POP = "\N{FIRST STRONG ISOLATE}", "\N{POP DIRECTIONAL ISOLATE}"
_RIGHT_TO_LEFT = "\N{RIGHT-TO-LEFT MARK}"


class Translator(Protocol):
    """What gives a message in one language, as the module gettext does it. The messages are the English sentences."""

    def gettext(self, message: str, /) -> str: ...
    def ngettext(self, singular: str, plural: str, n: int, /) -> str: ...
    def pgettext(self, context: str, message: str, /) -> str: ...
    def npgettext(self, context: str, singular: str, plural: str, n: int, /) -> str: ...


ENGLISH: Translator = NullTranslations()


def N_(message: str) -> str:  # noqa: N802 - the usual name
    """Return the message itself: it is marked here and translated where it is shown."""
    return message


def translator(language: str) -> Translator:
    """Return the messages of a language; English where it has none, and for each message that it is missing.

    Where a language is written from right to left, what is put into a message keeps its own direction, and the order
    of the words around it: it is isolated. Links, whose placeholders end with `url`, are not.
    """
    return _translator(language)


@cache
def _translator(language: str) -> Translator:
    catalogue = _catalogue(language)
    if catalogue is None:
        return ENGLISH
    return _Isolating(catalogue) if direction(language) == "rtl" else catalogue


class _Isolating:
    """The messages of a language that is written from right to left."""

    _PLACEHOLDER = re.compile(r"%\((?!\w*url\))\w+\)s")
    _AFTER_LATIN = re.compile(r"(?<=[A-Za-z])[:.;](?=\s)")
    _PLACEHOLDER_OR_TAG = re.compile(r"%\(\w+\)s|<[^<>]*>")

    def __init__(self, catalogue: GNUTranslations) -> None:
        self._catalogue = catalogue

    def gettext(self, message: str, /) -> str:
        return self._isolated(self._catalogue.gettext(message))

    def ngettext(self, singular: str, plural: str, n: int, /) -> str:
        return self._isolated(self._catalogue.ngettext(singular, plural, n))

    def pgettext(self, context: str, message: str, /) -> str:
        return self._isolated(self._catalogue.pgettext(context, message))

    def npgettext(self, context: str, singular: str, plural: str, n: int, /) -> str:
        return self._isolated(self._catalogue.npgettext(context, singular, plural, n))

    def _isolated(self, message: str) -> str:
        own_words = self._PLACEHOLDER_OR_TAG.sub("", message)
        first = next((kind for kind in map(bidirectional, own_words) if kind in ("L", "R", "AL")), "")
        text = self._PLACEHOLDER.sub(lambda found: isolated(found[0]), message)
        # Between two Latin words, such as a name and a link, the colon would be part of both and change sides.
        text = self._AFTER_LATIN.sub(lambda found: found[0] + _RIGHT_TO_LEFT, text)
        # What is isolated says nothing about the direction of the text around it, such as that of “day, time”.
        return (
            text if not self._PLACEHOLDER.search(message) or first in ("R", "AL") else _RIGHT_TO_LEFT + text
        )


def isolated(text: str) -> str:
    """Return a text that does not change the order of the words around it, whatever its direction."""
    return f"{_FIRST_STRONG}{text}{_POP}"


def without_isolates(text: str) -> str:
    """Return a text without its marks for direction."""
    return text.replace(_FIRST_STRONG, "").replace(_POP, "").replace(_RIGHT_TO_LEFT, "")


def is_english(language: str) -> bool:
    """Return whether a language is English, with British or American dates."""
    return language in ("en", AMERICAN)


def available_languages() -> tuple[str, ...]:
    """Return English and each language whose catalogue can be read, in the order of LANGUAGES."""
    return tuple(language for language in LANGUAGES if is_available(language))


@cache
def offered_languages() -> tuple[str, ...]:
    """Return English and each language that has a catalogue, without reading it, in the order of LANGUAGES."""
    return tuple(language for language in LANGUAGES if language == "en" or _catalogue_path(language).exists())


def is_available(language: str) -> bool:
    """Return whether people can be written to in a language of LANGUAGES."""
    return is_english(language) or _catalogue(language) is not None


def broken_catalogues() -> list[str]:
    """Return for each catalogue that is there but cannot be read what is wrong with it. English is used instead."""
    return [
        f"{language}: {found}; English is used instead"
        for language in LANGUAGES
        # Not kept: most languages are never needed.
        if isinstance(found := _read_catalogue(language), str)
    ]


@cache
def _catalogue(language: str) -> GNUTranslations | None:
    found = _read_catalogue(language)
    return None if isinstance(found, str) else found


def _read_catalogue(language: str) -> GNUTranslations | str | None:
    """Return the catalogue of a language, None where there is none, or what is wrong with it."""
    if language not in LANGUAGES or language == "en":
        return None
    path = _catalogue_path(language)
    try:
        with path.open("rb") as opened:
            return GNUTranslations(opened)
    except FileNotFoundError:
        return None
    # The reader raises any of these for a file that is damaged.
    except (OSError, ValueError, LookupError, SyntaxError, ArithmeticError, TypeError, StructError) as error:
        return f"{path} cannot be read ({type(error).__name__}: {error})"


def _catalogue_path(language: str) -> Path:
    return _folder() / language.replace("-", "_") / "LC_MESSAGES" / "messages.mo"


def _folder() -> Path:
    """Return the folder of the catalogues: in an installed package inside it, in a checkout beside it."""
    package = Path(__file__).resolve().parents[1]
    bundled = package / "_bundled" / "locales"
    return bundled if bundled.is_dir() else package.parent / "locales"


@lru_cache(maxsize=4096)
def shipped_language(tag: str) -> str | None:
    """Return the language of LANGUAGES that a language tag means, or None where we do not have it.

    Scripts are derived from countries: `zh-TW` is zh-Hant. Those who write Nynorsk read Bokmål.
    """
    try:
        language, territory, script = _parts(tag)
    except ValueError:
        return None
    usual = _usual_script(language, territory)
    language = _ALIASES.get(language, language)
    if language == "zh":
        script = script or usual
        return f"zh-{script}" if f"zh-{script}" in LANGUAGES else None
    if language == "pt" and territory == "BR":
        return "pt-BR"
    return language if language in LANGUAGES and script in (None, usual) else None


def _parts(tag: str) -> tuple[str, str | None, str | None]:
    """Return language, territory and script of a tag. Raises ValueError."""
    language, territory, script, *_ = parse_locale(tag.partition("-u-")[0].replace("_", "-"), sep="-")
    return language, territory, script


def _usual_script(language: str, territory: str | None) -> str | None:
    likely = cast(Mapping[str, str], get_global("likely_subtags"))
    for tag in (f"{language}_{territory}", language):
        if tag in likely:
            return parse_locale(likely[tag])[2]
    return None


@lru_cache(maxsize=1024)
def language_of_country(code: str) -> str | None:
    """Return the language of LANGUAGES that a country writes in, or None where it has several official languages.

    Wales is a country here, with two.
    """
    if code == "GB-WLS":
        return None
    territory = code[:2].upper()
    official = get_official_languages(territory, de_facto=True)
    if not official:
        return None
    spoken = {
        shipped_language(language.replace("_", "-") if "_" in language else f"{language}-{territory}")
        for language in official
    }
    return spoken.pop() if len(spoken) == 1 else None


def locale_for(country: str | None, default: str) -> str:
    """Return the locale of a new member of whom only the country is known: with its language where it is clear."""
    language = language_of_country(country) if country else None
    if country is None or language is None or is_english(language) or not is_available(language):
        return default
    return language if language.endswith(f"-{country[:2]}") else f"{language}-{country[:2]}"


@lru_cache(maxsize=4096)
def language_for(locale: str, country: str | None, default: str) -> str:
    """Return the language in which to write to a member: that of their locale if we have it, or else that of their
    country where it is clear, or else `default`.

    Without a `country`, that of the locale counts. `en-US` is for Americans, who write dates in another order.
    """
    try:
        spoken, territory, _ = _parts(locale)
    except ValueError:
        spoken, territory = "", None
    if spoken == "en" and territory == "US":
        return AMERICAN
    if spoken == "pt" and not territory and country == "BR":
        return "pt-BR"
    home = country or territory
    for language in (shipped_language(locale), home and language_of_country(home), default):
        if language and is_available(language):
            return language
    return "en"


def direction(language: str) -> Literal["ltr", "rtl"]:
    """Return the direction in which a language is written, for the attribute `dir`."""
    return "rtl" if language == "ar" else "ltr"


def language_name(language: str) -> str:
    """Return the name of a language as its speakers write it, for a menu: `svenska`, `português (Brasil)`."""
    return _NAMES[language]
