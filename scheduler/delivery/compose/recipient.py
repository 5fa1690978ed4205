"""Encode a member's name and address for each place in a mail that shows them."""

import re
from typing import NamedTuple
from unicodedata import is_normalized

from markupsafe import escape

from scheduler.delivery.compose.bytes_template import fold_line, quoted_printable
from scheduler.delivery.compose.mime import encoded_word, header, mailbox_words
from scheduler.domain.address import ascii_domain
from scheduler.domain.calendar import attendee_words
from scheduler.domain.text import require_line

NAMELESS = "friend"
"""The greeting for a member whose name we do not know."""

# A name and an address that need no encoding in any place.
_PLAIN_ADDRESS = r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*@[A-Za-z0-9.-]+"
_PLAIN = re.compile(rf"[A-Za-z0-9]+(?:[ -][A-Za-z0-9]+)*\n{_PLAIN_ADDRESS}")
# A name with letters outside ASCII but without characters that need quoting or escaping or are refused.
_LETTERS = r"[A-Za-z0-9\u00a1-\u1fff\u2010-\u2019\u2c00-\ud7ff\uf900-\ufdff]"
_WORDS = re.compile(rf"{_LETTERS}+(?:[ -]{_LETTERS}+)*\n{_PLAIN_ADDRESS}")
_LONGEST_WORD = 75
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


def recipient(name: str, address: str) -> Recipient:
    """Return the name and address of a member, encoded for every place.

    Raises Refused where one of them has a character that a line must not have, and ValueError where the address
    cannot be written in a header.
    """
    if len(name) + len(address) <= _LONGEST_PLAIN and _PLAIN.fullmatch(f"{name}\n{address}"):
        # A shortcut for most members, with the same result as `_encode`.
        plain, at = name.encode(), address.encode()
        return Recipient(b"To: %b <%b>\r\n" % (plain, at), plain, plain, at, at, plain, at)
    if len(name) + len(address) <= _LONGEST_PLAIN and _WORDS.fullmatch(f"{name}\n{address}"):
        word, octets = encoded_word(name), name.encode()
        if len(word) <= _LONGEST_WORD and len(octets) <= _LONGEST_PLAIN and is_normalized("NFC", name):
            at, shown = address.encode(), quoted_printable(name)
            fold = b"" if len(word) + len(at) <= _ONE_LINE else b"\r\n"
            to = b"To: %b%b <%b>\r\n" % (word.encode(), fold, at)
            return Recipient(to, shown, shown, at, at, octets, at)
    return _encode(name, address)


def _encode(name: str, address: str) -> Recipient:
    name = require_line(name, "name")
    address = ascii_domain(require_line(address, "address"))
    words, path = attendee_words(name, address)
    greeting_name = name or NAMELESS
    return Recipient(
        to=header("To", *mailbox_words(name, address)),
        name=quoted_printable(greeting_name),
        name_in_html=quoted_printable(str(escape(greeting_name))),
        address=quoted_printable(address),
        address_in_html=quoted_printable(str(escape(address))),
        calendar_name=fold_line(words.replace("^", "^^")),
        calendar_address=fold_line(path),
    )
