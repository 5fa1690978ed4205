"""Write messages for the wire: headers and MIME parts, 7-bit, the same bytes for the same input.

A member's name and address are encoded for each place that shows them.
"""

import re
from binascii import b2a_base64
from collections.abc import Sequence
from email.header import Header
from typing import NamedTuple
from unicodedata import is_normalized

from markupsafe import escape

from scheduler.delivery.compose.bytes_template import BytesTemplate, fold_line, quoted_printable
from scheduler.domain.address import ascii_domain
from scheduler.domain.calendar import Method, attendee_words
from scheduler.domain.text import require_line
from scheduler.domain.translation import translator

Pieces = Sequence[bytes | str]
"""Bytes and, as `str`, the names of blanks."""

CALENDAR = "calendar"
"""The name of the blank for the calendar part."""

LONGEST_LINE = 998
"""The most octets in a line, without its CRLF (RFC 5322 section 2.1.1)."""

_FOLD = 78
_LONGEST_ENCODED = 75
# The octets that the "Q" encoding of a header leaves as they are (RFC 2047 section 5), and the encoding of all others.
_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-!*+/")
_IN_HEADER = {octet: f"={octet:02X}" for octet in range(256) if octet not in _SAFE} | {ord(" "): "_"}
_LONGEST_QUOTED = 60
_LONGEST_WORD = 200
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_ATOMS = re.compile(rf"{_ATOM}( {_ATOM})*")
_LOCAL_PART = re.compile(rf"{_ATOM}(\.{_ATOM})*")
_PRINTABLE = re.compile(r"[ -~]*")


def header(name: str, *words: str) -> bytes:
    """Return one header field with its CRLF, folded only between `words`.

    Raises ValueError where a word is not printable ASCII or a line cannot be kept within LONGEST_LINE octets.
    """
    lines = [f"{name}:"]
    for position, word in enumerate(words):
        if not _PRINTABLE.fullmatch(word):
            raise ValueError(f"header {name}: a word is not printable ASCII")
        # A first line with only the name is legal, but some programs misread it.
        if position and len(lines[-1]) + 1 + len(word) > _FOLD:
            lines.append("")
        lines[-1] += f" {word}"
    if any(len(line) > LONGEST_LINE for line in lines):
        raise ValueError(f"header {name}: a line is longer than {LONGEST_LINE} octets")
    return "\r\n".join(lines).encode("ascii") + b"\r\n"


def text_words(text: str) -> list[str]:
    """Return the words of free text for a header such as Subject, as encoded words (RFC 2047) where needed."""
    words = text.split(" ")
    plain = _PRINTABLE.fullmatch(text) and all(words) and max(map(len, words)) <= _LONGEST_WORD
    return words if plain and "=?" not in text else _encoded(text)


def mailbox_words(name: str, address: str) -> list[str]:
    """Return the words of `name <address>` (RFC 5322 section 3.4), with the domain in ASCII (IDNA 2008).

    An address whose local part is not ASCII becomes an empty group that shows it (RFC 6857 section 3.1.8); only the
    envelope has the address itself. Raises ValueError where `address` could be read as anything but one address.
    """
    address = ascii_domain(address)
    local = address.rpartition("@")[0]
    if not local.isascii():
        return [*_encoded(f"{name} {address}".strip()), ":;"]
    if not _LOCAL_PART.fullmatch(local):
        raise ValueError("the local part of an address needs quoting")
    return [*_phrase(name), f"<{address}>"] if name else [address]


def list_id_words(name: str, domain: str) -> list[str]:
    """Return the words of a List-ID (RFC 2919) under `domain`."""
    return [*_phrase(name), f"<members.{ascii_domain(domain)}>"]


def encoded_word(text: str) -> str:
    """Return `text` as one encoded word (RFC 2047), in the shorter of the two encodings.

    For text that fits in one word `email.header.Header` writes the same, but takes thirty times as long.
    """
    octets = text.encode()
    q_encoded = octets.decode("latin-1").translate(_IN_HEADER)
    if (len(octets) + 2) // 3 * 4 < len(q_encoded):
        return f"=?utf-8?b?{b2a_base64(octets, newline=False).decode('ascii')}?="
    return f"=?utf-8?q?{q_encoded}?="


def mime(
    text: Pieces, html: Pieces, *, boundary: str, method: Method | None = None, order: Sequence[str] = ()
) -> tuple[bytes, BytesTemplate]:
    """Return the MIME headers and the body of a message: text and HTML, in quoted-printable, as alternatives.

    With `method`, an iCalendar object is both the last alternative and an attachment, because programs look for it in
    either place (RFC 6047 section 2.4). The blank CALENDAR takes it in base64. `boundary` has at most 60 letters and
    digits; `order` lists the blanks in the order of their values.
    """
    alternatives = [
        _part("quoted-printable", text, "text/plain;", 'charset="utf-8"'),
        _part("quoted-printable", html, "text/html;", 'charset="utf-8"'),
    ]
    # "=_" cannot occur in quoted-printable or base64.
    outer, inner = f"=_{boundary}.0", f"=_{boundary}.1"
    if method is None:
        kind, parts = "alternative", alternatives
    else:
        # Programs that search with a pattern expect the method on the first line and without quotation marks.
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
    """Return the parts with the boundary before and after each."""
    line = f"--{boundary}".encode()
    joined: list[bytes | str] = []
    for part in parts:
        joined += [line + b"\r\n", *part, b"\r\n"]
    return [*joined, line + b"--\r\n"]


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


def nameless(language: str) -> str:
    """Return what a greeting calls a member whose name we do not know."""
    return translator(language).pgettext("in a greeting, in place of a name", "friend")


# A name and an address that need no encoding in any place.
_PLAIN_ADDRESS = r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*@[A-Za-z0-9.-]+"
_PLAIN = re.compile(rf"[A-Za-z0-9]+(?:[ -][A-Za-z0-9]+)*\n{_PLAIN_ADDRESS}")
# A name with letters outside ASCII but without characters that need quoting or escaping or are refused.
_LETTERS = r"[A-Za-z0-9\u00a1-\u1fff\u2010-\u2019\u2c00-\ud7ff\uf900-\ufdff]"
_WORDS = re.compile(rf"{_LETTERS}+(?:[ -]{_LETTERS}+)*\n{_PLAIN_ADDRESS}")
_LONGEST_ENCODED_WORD = 75
_ONE_LINE = 78 - len("To:  <>")
_LONGEST_PLAIN = 70
"""The most octets of name and address together that fit in a header of one line."""


class Recipient(NamedTuple):
    """The header To, and name and address in quoted-printable for text and HTML, and folded for the calendar part."""

    to: bytes
    name: bytes
    name_in_html: bytes
    address: bytes
    address_in_html: bytes
    calendar_name: bytes
    calendar_address: bytes


def recipient(name: str, address: str, language: str = "en") -> Recipient:
    """Return the name and address of a member, encoded for every place; `language` is that of the mail.

    Raises Refused where one of them has a character that a line must not have, and ValueError where the address
    cannot be written in a header.
    """
    if len(name) + len(address) <= _LONGEST_PLAIN and _PLAIN.fullmatch(f"{name}\n{address}"):
        # A shortcut for most members, with the same result as `_encode`.
        plain, at = name.encode(), address.encode()
        return Recipient(b"To: %b <%b>\r\n" % (plain, at), plain, plain, at, at, plain, at)
    if len(name) + len(address) <= _LONGEST_PLAIN and _WORDS.fullmatch(f"{name}\n{address}"):
        word, octets = encoded_word(name), name.encode()
        if (
            len(word) <= _LONGEST_ENCODED_WORD
            and len(octets) <= _LONGEST_PLAIN
            and is_normalized("NFC", name)
        ):
            at, shown = address.encode(), quoted_printable(name)
            fold = b"" if len(word) + len(at) <= _ONE_LINE else b"\r\n"
            to = b"To: %b%b <%b>\r\n" % (word.encode(), fold, at)
            return Recipient(to, shown, shown, at, at, octets, at)
    return _encode(name, address, language)


def _encode(name: str, address: str, language: str) -> Recipient:
    name = require_line(name, "name")
    address = ascii_domain(require_line(address, "address"))
    words, path = attendee_words(name, address)
    greeting_name = name or nameless(language)
    return Recipient(
        to=header("To", *mailbox_words(name, address)),
        name=quoted_printable(greeting_name),
        name_in_html=quoted_printable(str(escape(greeting_name))),
        address=quoted_printable(address),
        address_in_html=quoted_printable(str(escape(address))),
        calendar_name=fold_line(words.replace("^", "^^")),
        calendar_address=fold_line(path),
    )
