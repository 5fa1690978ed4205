"""Check, quote and compare text from people: it is kept unchanged, or refused when it comes in."""

import re
import unicodedata

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
