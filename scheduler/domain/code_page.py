"""Guess the code page of a file of names, by how well its words fit the languages of each code page.

A list of people has few letters outside ASCII. Statistics for continuous text (charset-normalizer) do not work well on
them: it recognised fewer than half of 60 short lists. Names are easier: each word uses the alphabet of one language.
"""

import codecs
import io
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import chain, pairwise

from scheduler.domain.errors import Refused
from scheduler.domain.locale import find_country
from scheduler.domain.text import quoted

_LATIN: Mapping[str, Mapping[str, str]] = {
    "cp1252": {
        "de": "äöüßé",
        "fr": "àâæçéèêëîïôœùûüÿ",
        "es": "áéíñóúü",
        "pt": "áâãàçéêíóôõúü",
        "it": "àèéìíîòóùú",
        "nl": "áàéèëêïíóöôüç",
        "sv": "åäöéü",
        "da": "æøåéöäü",
        "is": "áðéíóúýþæö",
        "ca": "àçèéíïòóúü",
        "cy": "âêîôûŵŷáéíóú",
        "ga": "áéíóú",
        "en": "éèëïöüôçñáíóå",
        "fi": "åäöéšž",
        "eu": "ñçü",
    },
    "cp1250": {
        "pl": "ąćęłńóśźż",
        "cs": "áčďéěíňóřšťúůýž",
        "sk": "áäčďéíĺľňóôŕšťúýž",
        "hu": "áéíóöőúüű",
        "ro": "ăâîşţ",
        "hr": "čćđšž",
        "sl": "čšž",
        "sq": "çë",
        "de": "äöüß",
    },
    "cp1257": {"lt": "ąčęėįšųūž", "lv": "āčēģīķļņšūž", "et": "äõöüšž"},
    "cp1254": {"tr": "çğıİöşüâîû\u0307"},
    "cp1258": {"vi": "ăâđêôơưàáèéìíòóùúýỳ"},
}
_LATIN_ALIKE = {"cp850": ("cp1252",), "mac_roman": ("cp1252",), "cp852": ("cp1250",)}

_CYRILLIC = {
    "ru": "абвгдежзийклмнопрстуфхцчшщъыьэюяё",
    "uk": "абвгґдеєжзиіїйклмнопрстуфхцчшщьюя’'",
    "be": "абвгдеёжзійклмнопрстуўфхцчшыьэюя",
    "bg": "абвгдежзийклмнопрстуфхцчшщъьюя",
    "sr": "абвгдђежзијклљмнњопрстћуфхцчџш",
    "mk": "абвгдѓежзѕијклљмнњопрстќуфхцчџш",
}
_SCRIPTS: Mapping[str, tuple[str, str]] = {
    "cp1251": ("CYRILLIC", "ru uk be bg sr mk kk"),
    "koi8_r": ("CYRILLIC", "ru"),
    "koi8_u": ("CYRILLIC", "uk"),
    "cp866": ("CYRILLIC", "ru"),
    "cp1253": ("GREEK", "el"),
    "cp1255": ("HEBREW", "he"),
    "cp1256": ("ARABIC", "ar fa ur"),
    "cp874": ("THAI", "th"),
}

# The range of the first octet of the common characters in each character set.
_COMMON: Mapping[str, tuple[int, int]] = {
    "cp932": (0x88, 0x97),
    "gb18030": (0xB0, 0xD7),
    "cp949": (0xB0, 0xC8),
    "big5": (0xA4, 0xC6),
}
# Common family names; in Chinese and Korean they come first.
_FAMILY_NAMES = {
    "gb18030": "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧程曹袁邓许傅沈曾彭吕苏卢蒋蔡贾"
    "丁魏薛叶阎余潘杜戴夏钟汪田任姜范方石姚谭廖邹"
    "熊金陆郝孔白崔康毛邱秦江史顾侯邵孟龙万段雷钱汤尹黎易常武乔贺赖龚文欧",
    "big5": "王李張劉陳楊趙黃周吳徐孫胡朱高林何郭馬羅梁宋鄭謝韓唐馮于董蕭程曹袁鄧許傅沈曾彭呂蘇盧蔣蔡賈"
    "丁魏薛葉閻余潘杜戴夏鍾汪田任姜范方石姚譚廖鄒"
    "熊金陸郝孔白崔康毛邱秦江史顧侯邵孟龍萬段雷錢湯尹黎易常武喬賀賴龔文歐洪游莊柯顏",
    "cp949": "김이박최정강조윤장임한오서신권황안송전홍유고문양손배백허남심노하곽성차주우구민류나진지엄채"
    "원천방공현함변염여추도소석선설마길연위표명기반왕금옥"
    "육인맹제모탁",
}
_EAST_ASIAN = {"cp932": "ja", "gb18030": "zh", "cp949": "ko", "big5": "zh"}

# The more likely code page has the higher factor, and wins if two are equally good.
_PRIOR = {
    "cp1252": 1.0,
    "cp1250": 0.97,
    "cp1251": 0.99,
    "cp932": 0.99,
    "gb18030": 0.97,
    "cp949": 0.98,
    "cp1253": 0.97,
    "cp1254": 0.95,
    "big5": 0.94,
    "cp1257": 0.93,
    "cp1255": 0.95,
    "cp1256": 0.95,
    "cp874": 0.93,
    "cp1258": 0.7,
    "koi8_r": 0.85,
    "koi8_u": 0.84,
    "cp866": 0.84,
    "cp850": 0.8,
    "mac_roman": 0.8,
    "cp852": 0.75,
}
CODE_PAGES = tuple(_PRIOR)

_NAMES = {
    "cp932": "Shift JIS",
    "gb18030": "GBK",
    "cp949": "EUC-KR",
    "big5": "Big5",
    "mac_roman": "Mac Roman",
    "koi8_r": "KOI8-R",
    "koi8_u": "KOI8-U",
    "utf-8": "UTF-8",
    "utf-8-sig": "UTF-8",
    "utf-16": "UTF-16",
    "utf-16-le": "UTF-16",
    "utf-16-be": "UTF-16",
}
_ALIASES = {
    "shiftjis": "cp932",
    "sjis": "cp932",
    "windows31j": "cp932",
    "ms932": "cp932",
    "gbk": "gb18030",
    "gb2312": "gb18030",
    "cp936": "gb18030",
    "euckr": "cp949",
    "uhc": "cp949",
    "ksc5601": "cp949",
    "cp950": "big5",
    "big5": "big5",
    "ansi": "cp1252",
    "latin1": "cp1252",
    "iso88591": "cp1252",
    "unicode": "utf-16",
    "utf8": "utf-8",
    "macintosh": "mac_roman",
    "macroman": "mac_roman",
    "mac": "mac_roman",
}

# Letters of these languages look like misread letters of others, so the others win if both fit.
_RARE = ("is", "cy")
# Hungarian names look like this in Windows-1252.
_NOT_PORTUGUESE = re.compile("õ(?!e)")
_VOWELS = frozenset("аеёиоуыэюяіїєўъѐѝαεηιουωάέήίόύώϊϋΐΰ")
_IN_NAMES = frozenset("’‘“”–—·«»¡¿…‐´`・･")
_HINT = 1.25
_MOST_LINES = 1_000
_HALF_WIDTH = re.compile("[\uff61-\uff9f]")
_TOP_LEVEL = re.compile(rb"[\w-]\.([a-z]{2})(?=[\s,;\t\"'>]|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Guess:
    """A guessed code page: its codec, and a sample of the text decoded with it."""

    codec: str
    sample: str

    def __str__(self) -> str:
        return f"{code_page_name(self.codec)}: {self.sample}"


def require_encoding(text: str, what: str = "encoding") -> str:
    """Return the codec for a name such as `windows-1251`, `1251`, `cp1251`, `Shift JIS` or `utf-8`. Raises Refused."""
    plain = re.sub(r"[^a-z0-9]", "", text.casefold())
    name = _ALIASES.get(plain) or (
        f"cp{plain.removeprefix('windows').removeprefix('cp')}" if plain[-3:].isdigit() else ""
    )
    for candidate in (name, text.strip()):
        try:
            codec = codecs.lookup(candidate).name if candidate else ""
        except (LookupError, ValueError):
            continue
        # Python also has codecs that are not for text, such as base64.
        if codec and _is_text(codec):
            return name if candidate == name else codec
    raise Refused(
        f"{what} {quoted(text)} is not known; write, for example, utf-8, utf-16, windows-1250, windows-1251, "
        "windows-1252, shift-jis, gbk or euc-kr"
    )


def _is_text(codec: str) -> bool:
    try:
        return "a\n".encode(codec).decode(codec) == "a\n"
    except (LookupError, ValueError, TypeError):
        return False


def code_page_name(codec: str) -> str:
    """Return the usual name of a codec: `Windows-1251`, `Shift JIS`."""
    if codec.startswith("cp12"):
        return f"Windows-{codec[2:]}"
    return _NAMES.get(codec) or (f"code page {codec[2:]}" if codec.startswith("cp") else codec.upper())


def guess_code_page(data: bytes) -> Guess:
    """Return the code page that fits best to the words of `data`, which is neither ASCII nor UTF-8.

    Country names in ASCII and the top-level domains of addresses count as hints.
    """
    lines = list(_non_ascii_lines(data))
    hints = _languages_of(_countries(data))
    codec = max(CODE_PAGES, key=lambda page: _score(lines, page, hints))
    return Guess(codec, next(iter(_cells(lines, codec)), ""))


def plausibility(text: str, codec: str) -> float:
    """Return how well `text` fits the languages of `codec`, from 0 to 1; 1 for ASCII."""
    scores = [_word_score(word, codec) for word in text.split() if not word.isascii()]
    return sum(scores) / len(scores) if scores else 1.0


def is_misread(text: str, *, as_read: str, certain: bool) -> bool:
    """Return whether `text` is `as_read` with its octets decoded in the wrong code page.

    The text that fits worse is the wrong one; if both fit equally well, `certain` says that `as_read` is right.
    """
    if text == as_read or text.isascii():
        return False
    for written in ("utf-8", *CODE_PAGES):
        try:
            octets = as_read.encode(written)
        except UnicodeEncodeError:
            continue
        if any(_decoded(octets, page) == text for page in CODE_PAGES if page != written):
            before, after = _best(text), _best(as_read)
            return after > before or (certain and after == before)
    return False


def _best(text: str) -> float:
    return max(plausibility(text, page) for page in CODE_PAGES)


def _decoded(octets: bytes, codec: str) -> str:
    return unicodedata.normalize("NFC", octets.decode(codec, "replace").strip())


def _non_ascii_lines(data: bytes) -> Iterator[bytes]:
    """Yield the first thousand different lines that are not ASCII."""
    seen: set[bytes] = set()
    # Iterate instead of splitting: the file may be large, and its first such line far from the start.
    for line in chain.from_iterable(part.splitlines() for part in io.BytesIO(data)):
        if not line.isascii() and line not in seen:
            seen.add(line)
            yield line
            if len(seen) == _MOST_LINES:
                return


def _cells(lines: Iterable[bytes], codec: str) -> Iterator[str]:
    for line in lines:
        for cell in re.split(r"[,;\t]", line.decode(codec, "replace")):
            if not cell.isascii():
                yield quoted(cell.strip(" \"'"))[1:-1]


def _score(lines: Iterable[bytes], codec: str, hints: Collection[str]) -> float:
    words = list(_words(lines, codec))
    if not words:
        return 0.0
    score = sum(_word_score(word, codec) for word in words) / len(words)
    return score * _PRIOR[codec] * (_HINT if _languages(codec) & set(hints) else 1)


def _words(lines: Iterable[bytes], codec: str) -> Iterator[str]:
    for line in lines:
        for word in re.split(r"[\s,;\"()<>/&.|:_+]+", line.decode(codec, "replace")):
            if not word.isascii():
                yield word


@cache
def _languages(codec: str) -> frozenset[str]:
    latin = [language for page in (codec, *_LATIN_ALIKE.get(codec, ())) for language in _LATIN.get(page, ())]
    return frozenset([*latin, *_SCRIPTS.get(codec, ("", ""))[1].split(), *_EAST_ASIAN.get(codec, "").split()])


def _word_score(word: str, codec: str) -> float:
    """Return how well one word fits the languages of `codec`, from 0 to 1."""
    non_ascii = [char for char in word if not char.isascii()]
    # Names contain no symbols, controls or undecodable characters, but may contain quotation marks and dashes.
    if any(
        (unicodedata.category(char)[0] not in "LM" and char not in _IN_NAMES) or char in "ªº"
        for char in non_ascii
    ):
        return 0.0
    non_ascii = [char for char in non_ascii if char not in _IN_NAMES]
    if not non_ascii:
        return 0.9 if any(char.isalpha() for char in word) else 0.3
    if codec in _COMMON:
        return _east_asian_score(word, non_ascii, codec)
    if codec in _SCRIPTS:
        return _script_score(word, codec)
    return _latin_score(word, non_ascii, codec)


def _latin_score(word: str, non_ascii: list[str], codec: str) -> float:
    letters = sum(map(str.isalpha, word))
    needed = {char.lower() if char != "İ" else char for char in non_ascii}
    pages = (codec, *_LATIN_ALIKE.get(codec, ()))
    languages = [
        language
        for page in pages
        for language, alphabet in _LATIN.get(page, {}).items()
        if needed <= set(alphabet) and not (language == "pt" and _NOT_PORTUGUESE.search(word.lower()))
    ]
    score = 0.25 if not languages else 0.85 if set(languages) <= set(_RARE) else 1.0
    if letters > 2 and len(non_ascii) * 2 > letters:
        score *= 0.3
    return score * (0.4 if _case_is_mixed(word) else 1)


def _script_score(word: str, codec: str) -> float:
    script, languages = _SCRIPTS[codec]
    letters = [char for char in word if unicodedata.category(char)[0] == "L"]
    if not letters or any(not unicodedata.name(char, "").startswith(script) for char in letters):
        return 0.1
    score = 1.0
    if script == "CYRILLIC":
        needed = {char.lower() for char in letters}
        alphabets = [_CYRILLIC[language] for language in languages.split() if language in _CYRILLIC]
        score = 1.0 if any(needed <= set(alphabet) for alphabet in alphabets) else 0.5
    if script in ("CYRILLIC", "GREEK") and len(letters) > 2:
        vowels = sum(char.lower() in _VOWELS for char in letters) / len(letters)
        score *= 1 if vowels > 0.2 else 0.5
    return score * (0.4 if _case_is_mixed(word) else 1)


def _case_is_mixed(word: str) -> bool:
    """Return whether a non-ASCII capital follows a small letter, or a non-ASCII small letter follows capitals."""
    return any(
        first.islower() and second.isupper() and not (first + second).isascii()
        for first, second in pairwise(word)
    ) or any(
        first.isupper() and second.isupper() and third.islower() and not (first + second + third).isascii()
        for first, second, third in zip(word, word[1:], word[2:], strict=False)
    )


def _east_asian_score(word: str, non_ascii: list[str], codec: str) -> float:
    if _HALF_WIDTH.search(word):
        return (
            0.85
            if all(map(_HALF_WIDTH.match, non_ascii)) and len(non_ascii) == len(word) and len(word) > 2
            else 0.05
        )
    if len(non_ascii) < sum(map(str.isalpha, word)):
        return 0.1
    low, high = _COMMON[codec]
    kana = [char for char in non_ascii if "\u3040" <= char <= "\u30ff"]
    common = [char for char in non_ascii if low <= char.encode(codec, "replace")[0] <= high]
    if codec == "cp932":
        return (len(kana) + len(common)) / len(non_ascii)
    if codec == "cp949":
        common = [char for char in common if "\uac00" <= char <= "\ud7a3"]
    return len(common) / len(non_ascii) * (1 if word[0] in _FAMILY_NAMES[codec] else 0.9)


def _countries(data: bytes) -> frozenset[str]:
    """Return the countries named in ASCII cells or in the top-level domains of addresses."""
    names = {match[1].decode() for match in _TOP_LEVEL.finditer(data[:200_000])}
    for line in data[:200_000].splitlines()[1:500]:
        names |= {
            cell.strip(b" \"'").decode()
            for cell in re.split(rb"[,;\t]", line)
            if cell.isascii() and len(cell) < 40
        }
    return frozenset(code for name in names if name and (code := find_country(name)))


def _languages_of(countries: Collection[str]) -> frozenset[str]:
    return frozenset(language for country in countries for language in _spoken(country))


@cache
def _spoken(country: str) -> frozenset[str]:
    from babel.languages import get_official_languages

    spoken = get_official_languages(country.partition("-")[0], regional=True, de_facto=True)
    return frozenset(language.partition("_")[0] for language in spoken)
