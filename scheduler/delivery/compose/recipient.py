"""A member's name and address, in the encoding of each place in which a mail shows them."""

import re
from typing import NamedTuple
from unicodedata import is_normalized

from markupsafe import escape

from scheduler.delivery.compose.bytes_template import folded, quoted
from scheduler.delivery.compose.mime import encoded_word, header, mailbox_words
from scheduler.domain.address import ascii_domain
from scheduler.domain.calendar import attendee_words
from scheduler.domain.text import require_line

NAMELESS = "friend"
"""How a member is greeted whose name we do not know."""

# A name and an address that stand for themselves in every place.
_PLAIN_ADDRESS = r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*@[A-Za-z0-9.-]+"
_PLAIN = re.compile(rf"[A-Za-z0-9]+(?:[ -][A-Za-z0-9]+)*\n{_PLAIN_ADDRESS}")
# A name in other letters, which needs encoding and nothing else: no quotation marks, no escapes, nothing to be refused.
_LETTERS = r"[A-Za-z0-9\u00a1-\u1fff\u2010-\u2019\u2c00-\ud7ff\uf900-\ufdff]"
_WORDS = re.compile(rf"{_LETTERS}+(?:[ -]{_LETTERS}+)*\n{_PLAIN_ADDRESS}")
_LONGEST_WORD = 75
_ONE_LINE = 78 - len("To:  <>")
_LONGEST_PLAIN = 70
"""Octets of both together: they leave room for the rest of a header of one line."""


class Recipient(NamedTuple):
    """`to` is the header. The others are encoded for quoted-printable, in text and in HTML, and for a calendar."""

    to: bytes
    name: bytes
    name_in_html: bytes
    address: bytes
    address_in_html: bytes
    calendar_name: bytes
    calendar_address: bytes


def recipient(name: str, address: str) -> Recipient:
    """Raises Refused where name or address hold what no line may hold, ValueError where the address is none."""
    if len(name) + len(address) <= _LONGEST_PLAIN and _PLAIN.fullmatch(f"{name}\n{address}"):
        # Most are; the long way would write the same.
        plain, at = name.encode(), address.encode()
        return Recipient(b"To: %b <%b>\r\n" % (plain, at), plain, plain, at, at, plain, at)
    if len(name) + len(address) <= _LONGEST_PLAIN and _WORDS.fullmatch(f"{name}\n{address}"):
        word, octets = encoded_word(name), name.encode()
        if len(word) <= _LONGEST_WORD and len(octets) <= _LONGEST_PLAIN and is_normalized("NFC", name):
            at, shown = address.encode(), quoted(name)
            fold = b"" if len(word) + len(at) <= _ONE_LINE else b"\r\n"
            to = b"To: %b%b <%b>\r\n" % (word.encode(), fold, at)
            return Recipient(to, shown, shown, at, at, octets, at)
    return _in_every_place(name, address)


def _in_every_place(name: str, address: str) -> Recipient:
    name = require_line(name, "name")
    address = ascii_domain(require_line(address, "address"))
    words, path = attendee_words(name, address)
    called = name or NAMELESS
    return Recipient(
        to=header("To", *mailbox_words(name, address)),
        name=quoted(called),
        name_in_html=quoted(str(escape(called))),
        address=quoted(address),
        address_in_html=quoted(str(escape(address))),
        calendar_name=folded(words.replace("^", "^^")),
        calendar_address=folded(path),
    )
