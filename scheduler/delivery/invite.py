"""The calendar part of a cohort's messages: one calendar, with places for what is a member's own."""

import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import cached_property
from secrets import token_hex

from icalendar import Calendar

from scheduler.delivery.pattern import Pattern
from scheduler.domain.calendar import Method, attendee_words, escaped_text

_MIME_LINE = 57
"""Octets that one line of base64 holds (RFC 2045 section 6.8)."""

_FOLD = "\r\n "
_LONGEST = 74
"""Octets of a folded line behind its space (RFC 5545 section 3.1)."""

Write = Callable[..., bytes]


class Invite:
    """An iCalendar object for a cohort. `method` is the one that it names (RFC 6047)."""

    def __init__(self, write: Write, method: Method) -> None:
        """`write` makes one member's whole calendar of `uid`, `attendee_name`, `attendee_address`, `join_url`."""
        self.method = method
        stem = f"blank{token_hex(16)}"
        marks = {
            "uid": f"{stem}u@example.org", "name": f"{stem}, n", "address": f"{stem}a@example.org",
            "join_url": f"https://{stem}.example.org/j",
        }  # fmt: skip
        written = write(
            uid=marks["uid"], attendee_name=marks["name"], attendee_address=marks["address"],
            join_url=marks["join_url"],
        ).decode()  # fmt: skip
        begin, *rest = _pieces(written, marks)
        # What no member changes is encoded once, as far as it fills whole lines.
        whole = len(begin) // _MIME_LINE * _MIME_LINE
        assert isinstance(begin, bytes)
        self._begin = _base64(begin[:whole])
        self._rest = Pattern([begin[whole:], *rest])

    @cached_property
    def starts(self) -> datetime:
        """When the meeting starts, as a calendar program reads it."""
        octets = a2b_base64(self.encoded(uid="-", name="-", address="-", join_url="-"))
        start = Calendar.from_ical(octets).events[0].start
        assert isinstance(start, datetime)
        return start

    def encoded(self, *, uid: str, name: str, address: str, join_url: str) -> bytes:
        """The calendar of one member in base64, its lines ended. `uid` is of printable ASCII."""
        words, path = attendee_words(name, address)
        link = _folded(join_url)
        escaped = escaped_text(join_url)
        return self._begin + _base64(
            self._rest.fill(
                {
                    "uid": _folded(uid), "name": _folded(words.replace("^", "^^")), "address": _folded(path),
                    "join_url": link, "join_url in text": link if escaped == join_url else _folded(escaped),
                }
            )
        )  # fmt: skip


def _pieces(written: str, marks: dict[str, str]) -> Iterator[bytes | str]:
    """The calendar with a blank in the place of each mark, which stands on folded lines of its own."""
    names = {mark: name for name, mark in marks.items()}
    split = re.compile("(" + "|".join(map(re.escape, names)) + ")")
    literal = b""
    for line in written.replace(_FOLD, "").removesuffix("\r\n").split("\r\n"):
        pieces = split.split(line)
        for position, piece in enumerate(pieces):
            if position % 2:
                yield literal + _FOLD.encode()
                literal = b""
                # A CONFERENCE is an address, all else is text (RFC 5545 section 3.3.11).
                text = names[piece] == "join_url" and not line.startswith("CONFERENCE")
                yield "join_url in text" if text else names[piece]
            else:
                literal += (_FOLD.encode() if position and piece else b"") + _folded(piece)
        literal += b"\r\n"
    yield literal


def _folded(text: str) -> bytes:
    octets, lines = text.encode(), []
    while len(octets) > _LONGEST:
        end = _LONGEST
        while octets[end] & 0xC0 == 0x80:  # inside a character
            end -= 1
        lines.append(octets[:end])
        octets = octets[end:]
    return b"\r\n ".join([*lines, octets])


def _base64(octets: bytes) -> bytes:
    encoded = b2a_base64(octets, newline=False)
    return b"".join([encoded[place : place + 76] + b"\r\n" for place in range(0, len(encoded), 76)])
