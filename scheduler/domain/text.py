"""Text from people: check it, quote it, compare spellings, and find out whether it names a person.

It is kept unchanged, or refused when it comes in. A person is named by one of their addresses, or by their name in any
spelling.
"""

import re
import sys
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

from scheduler.domain.errors import Refused

# C0 and C1 controls, line and paragraph separators, and the marks that change the direction of text: none of these
# belongs in a name, topic or subject, and each could forge a header or a line of a calendar. Surrogates and
# non-characters cannot be encoded.
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
_FORBIDDEN_IN_PROSE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)

LONGEST_LINE = 500
LONGEST_PROSE = 100_000


def require_line(value: str, what: str, *, longest: int = LONGEST_LINE) -> str:
    """Return `value` as one line of text: NFC, without surrounding space.

    Raises Refused, naming `what`, if it contains a control or direction-changing character or is longer than
    `longest` characters.
    """
    value = unicodedata.normalize("NFC", value.strip())
    if match := _FORBIDDEN.search(value):
        raise Refused(f"{what}: character U+{ord(match[0]):04X} is not allowed here; leave it out")
    if len(value) > longest:
        raise Refused(f"{what}: {len(value)} characters; at most {longest} are accepted")
    return value


def require_prose(value: str, what: str, *, longest: int = LONGEST_PROSE) -> str:
    """Return `value` as text of several lines (LF and tab allowed, CRLF becomes LF). Raises Refused as above."""
    value = unicodedata.normalize("NFC", value.replace("\r\n", "\n").replace("\r", "\n")).strip("\n")
    if match := _FORBIDDEN_IN_PROSE.search(value):
        raise Refused(f"{what}: character U+{ord(match[0]):04X} is not allowed here; leave it out")
    if len(value) > longest:
        raise Refused(f"{what}: {len(value)} characters; at most {longest} are accepted")
    return value


def counted(number: int, words: str, plural: str = "") -> str:
    """Return a number with its noun, such as `1 member` or `1,372 members`.

    `plural` is needed where an s at the end does not make it, as in `counted(number, "member has", "members have")`.
    """
    return f"{number:,} {words if number == 1 else plural or words + 's'}"


def read_fields(
    typed: Mapping[str, str], checks: Mapping[str, Callable[[str], str]]
) -> tuple[dict[str, str], dict[str, Refused]]:
    """Return the checked values of a form's fields, and what is wrong with each of the others, both by name."""
    values: dict[str, str] = {}
    refusals: dict[str, Refused] = {}
    for name, check in checks.items():
        try:
            values[name] = check(typed.get(name, ""))
        except Refused as refusal:
            refusals[name] = refusal
    return values, refusals


def quoted(value: str, *, longest: int = 60) -> str:
    """Return `value` in quotation marks for a message: one printable line of at most `longest` characters."""
    value = value.strip()
    cut = value if len(value) <= longest else f"{value[: longest - 1]}…"
    return "'" + "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in cut) + "'"


# Letters that Unicode does not decompose, and what people type who do not have them on the keyboard.
_UNDECOMPOSED = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "æ": "ae", "œ": "oe", "ı": "i", "&": " and "}
)


def folded(value: str) -> str:
    """Return a name without case, accents, spaces and punctuation, for comparing."""
    decomposed = unicodedata.normalize("NFKD", value.casefold().translate(_UNDECOMPOSED))
    return "".join(char for char in decomposed if char.isalnum())


_SPELT = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i"})


def plain(text: str) -> str:
    """Return a text without case and accents; letters that Unicode does not decompose are spelt as people type them."""
    if text.isascii():
        return text.lower()
    text = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return "".join(char for char in text if not unicodedata.combining(char)).translate(_SPELT)


def folded_prose(text: str) -> str:
    """Return a text for comparing spellings: without case, accents, invisible characters and line breaks."""
    if not text.isascii():
        text = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold()).translate(
            _without_marks()
        )
    return " ".join(text.lower().split())


@cache
def _without_marks() -> dict[int, None]:
    """Return a table that removes combining accents and invisible characters, such as a soft hyphen."""
    return {code: None for code in range(sys.maxunicode) if unicodedata.category(chr(code)) in ("Mn", "Cf")}


@dataclass(frozen=True)
class Person:
    """The person to look for: a member, with all addresses that they have or had."""

    addresses: Sequence[str]
    name: str
    shares_name: bool = False

    @property
    def is_distinctive(self) -> bool:
        """Whether the name identifies this person: a single word such as Kim, or another member's name, does not."""
        return not self.shares_name and len(folded_prose(self.name).split()) > 1

    def is_addressed_in(self, text: str) -> bool:
        """Return whether the folded `text` contains one of their addresses."""
        return any(pattern.search(text) for pattern in self._addresses)

    def is_named_in(self, text: str) -> bool:
        """Return whether the folded `text` contains their name as whole words, also as `Last, First`."""
        return self._name is not None and self._name.search(text) is not None

    @cached_property
    def _addresses(self) -> list[re.Pattern[str]]:
        addresses = {folded_prose(address) for address in self.addresses if "@" in address}
        return [re.compile(rf"(?<![\w.+-]){re.escape(text)}(?!\.?[\w-])") for text in sorted(addresses)]

    @cached_property
    def _name(self) -> re.Pattern[str] | None:
        words = folded_prose(self.name).split()
        if not words:
            return None
        forms = [r"\s".join(map(re.escape, words))]
        if len(words) > 1:
            forms.append(rf"{re.escape(words[-1])},?\s" + r"\s".join(map(re.escape, words[:-1])))
        return re.compile(rf"(?<!\w)(?:{'|'.join(forms)})(?!\w)")
