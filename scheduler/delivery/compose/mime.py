"""The message as it goes over the wire: headers and MIME parts, 7-bit, the same bytes for the same input."""

import re
from binascii import b2a_base64
from collections.abc import Sequence
from email.header import Header

from scheduler.delivery.compose.bytes_template import BytesTemplate
from scheduler.domain.address import ascii_domain
from scheduler.domain.calendar import Method

Pieces = Sequence[bytes | str]
"""Bytes, and among them blanks by their names."""

CALENDAR = "calendar"
LONGEST_LINE = 998
"""Octets in a line without its CRLF (RFC 5322 section 2.1.1)."""

_FOLD = 78
_LONGEST_ENCODED = 75
# What stands for itself in the "Q" encoding of a header (RFC 2047 section 5), and all other octets.
_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-!*+/")
_IN_HEADER = {octet: f"={octet:02X}" for octet in range(256) if octet not in _SAFE} | {ord(" "): "_"}
_LONGEST_QUOTED = 60
_LONGEST_WORD = 200
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_ATOMS = re.compile(rf"{_ATOM}( {_ATOM})*")
_LOCAL_PART = re.compile(rf"{_ATOM}(\.{_ATOM})*")
_PRINTABLE = re.compile(r"[ -~]*")


def header(name: str, *words: str) -> bytes:
    """One header field, folded between `words` only, with its CRLF.

    Raises ValueError where a word is not printable ASCII or a line cannot be kept within LONGEST_LINE octets.
    """
    lines = [f"{name}:"]
    for position, word in enumerate(words):
        if not _PRINTABLE.fullmatch(word):
            raise ValueError(f"header {name}: a word is not printable ASCII")
        # A first line that is nothing but the name is legal, and misread.
        if position and len(lines[-1]) + 1 + len(word) > _FOLD:
            lines.append("")
        lines[-1] += f" {word}"
    if any(len(line) > LONGEST_LINE for line in lines):
        raise ValueError(f"header {name}: a line is longer than {LONGEST_LINE} octets")
    return "\r\n".join(lines).encode("ascii") + b"\r\n"


def text_words(text: str) -> list[str]:
    """The words of free text in a header such as Subject, as encoded words (RFC 2047) where needed."""
    words = text.split(" ")
    plain = _PRINTABLE.fullmatch(text) and all(words) and max(map(len, words)) <= _LONGEST_WORD
    return words if plain and "=?" not in text else _encoded(text)


def mailbox_words(name: str, address: str) -> list[str]:
    """The words of `name <address>` (RFC 5322 section 3.4), the domain in ASCII (IDNA 2008).

    An address that ASCII cannot hold becomes a group without members that shows it (RFC 6857 section 3.1.8): the
    envelope alone carries it. Raises ValueError where `address` would not stay one address.
    """
    address = ascii_domain(address)
    local = address.rpartition("@")[0]
    if not local.isascii():
        return [*_encoded(f"{name} {address}".strip()), ":;"]
    if not _LOCAL_PART.fullmatch(local):
        raise ValueError("an address has a local part that needs quoting")
    return [*_phrase(name), f"<{address}>"] if name else [address]


def list_id_words(name: str, domain: str) -> list[str]:
    """The words of a List-ID (RFC 2919) under `domain`."""
    return [*_phrase(name), f"<members.{ascii_domain(domain)}>"]


def mime(
    text: Pieces, html: Pieces, *, boundary: str, method: Method | None = None, order: Sequence[str] = ()
) -> tuple[bytes, BytesTemplate]:
    """The MIME headers and the body of a message: text and HTML, in quoted-printable, as alternatives.

    With `method`, an iCalendar object is the last alternative and once more an attachment, as programs look for it
    in either place (RFC 6047 section 2.4): the blank CALENDAR takes it in base64. `boundary` is of letters and
    digits, at most 60; `order` is that of the blanks' values.
    """
    alternatives = [
        _part("quoted-printable", text, "text/plain;", 'charset="utf-8"'),
        _part("quoted-printable", html, "text/html;", 'charset="utf-8"'),
    ]
    # "=_" can stand in neither quoted-printable nor base64.
    outer, inner = f"=_{boundary}.0", f"=_{boundary}.1"
    if method is None:
        kind, parts = "alternative", alternatives
    else:
        # Programs that read by pattern expect the method on the first line and without quotation marks.
        inline = _part("base64", [CALENDAR], 'text/calendar; charset="utf-8"; method=' + method)
        attachment = _part(
            "base64",
            [CALENDAR],
            'application/ics; name="invite.ics"',
            disposition='attachment; filename="invite.ics"',
        )
        head = b"".join((_content_type("multipart/alternative;", f'boundary="{inner}"'), b"\r\n"))
        kind, parts = "mixed", [[head, *_joined([*alternatives, inline], inner)], attachment]
    headers = header("MIME-Version", "1.0") + _content_type(f"multipart/{kind};", f'boundary="{outer}"')
    return headers, BytesTemplate(_joined(parts, outer), order)


def _part(encoding: str, content: Pieces, *kind: str, disposition: str = "") -> Pieces:
    head = _content_type(*kind) + header("Content-Transfer-Encoding", encoding)
    if disposition:
        head += header("Content-Disposition", disposition)
    return [head + b"\r\n", *content]


def _content_type(*words: str) -> bytes:
    return header("Content-Type", *words)


def _joined(parts: Sequence[Pieces], boundary: str) -> Pieces:
    """The parts with the boundary around each."""
    line = f"--{boundary}".encode()
    found: list[bytes | str] = []
    for part in parts:
        found += [line + b"\r\n", *part, b"\r\n"]
    return [*found, line + b"--\r\n"]


def encoded_word(text: str) -> str:
    """`text` as one encoded word, in the shorter of both encodings: what `Header` writes of one that needs no cutting,
    and takes thirty times as long for."""
    octets = text.encode()
    quoted = octets.decode("latin-1").translate(_IN_HEADER)
    if (len(octets) + 2) // 3 * 4 < len(quoted):
        return f"=?utf-8?b?{b2a_base64(octets, newline=False).decode('ascii')}?="
    return f"=?utf-8?q?{quoted}?="


def _phrase(name: str) -> list[str]:
    if _ATOMS.fullmatch(name) and "=?" not in name and max(map(len, name.split(" "))) <= _LONGEST_WORD:
        return name.split(" ")
    if _PRINTABLE.fullmatch(name) and "=?" not in name and len(name) <= _LONGEST_QUOTED:
        return ['"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"']
    return _encoded(name)


def _encoded(text: str) -> list[str]:
    if 0 < len(text) <= _LONGEST_ENCODED and len(word := encoded_word(text)) <= _LONGEST_ENCODED:
        return [word]
    return Header(text, "utf-8", maxlinelen=_LONGEST_ENCODED).encode(linesep="\n").split("\n ")
