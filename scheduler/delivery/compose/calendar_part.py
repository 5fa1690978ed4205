"""The calendar part of a cohort's messages: one calendar, with places for what is a member's own."""

import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import cached_property
from secrets import token_hex

from icalendar import Calendar

from scheduler.delivery.compose.bytes_template import BytesTemplate, folded
from scheduler.domain.calendar import MEMBER_HASH, Method
from scheduler.domain.token import TOKEN_LENGTH

_MIME_LINE = 57
"""Octets that one line of base64 holds (RFC 2045 section 6.8)."""

_ENCODED_LINE = 76
_FOLD = "\r\n "
VALUES = ("uid", "token", "attendee_name", "attendee_address")
"""The keyed name in the UID, the token to join, and the attendee: what is a member's own."""

_LENGTHS = {"uid": MEMBER_HASH, "token": TOKEN_LENGTH}
"""Octets of those that have the same length for every member."""

Write = Callable[..., bytes]


class CalendarPart:
    """An iCalendar object for a cohort. `method` is the one that it names (RFC 6047)."""

    def __init__(self, write: Write, method: Method) -> None:
        """`write` makes one member's whole calendar of what is in VALUES."""
        self.method = method
        marks = {name: token_hex(length // 2) for name, length in _LENGTHS.items()} | {
            "attendee_name": f"{token_hex(16)}, n",
            "attendee_address": f"{token_hex(16)}@example.org",
        }
        written = write(**marks).decode()
        self._lines, self._open = _ready(list(_pieces(written, marks)))

    @cached_property
    def starts(self) -> datetime:
        """When the meeting starts, as a calendar program reads it."""
        octets = a2b_base64(self.encoded([b"0" * _LENGTHS.get(name, 1) for name in VALUES]))
        start = Calendar.from_ical(octets).events[0].start
        assert isinstance(start, datetime)
        return start

    def encoded(self, values: Sequence[bytes]) -> bytes:
        """The calendar of one member in base64, its lines ended, with what VALUES names; name and address folded."""
        encoded = b2a_base64(self._open.fill(values), newline=False)
        own = [encoded[place : place + _ENCODED_LINE] for place in range(0, len(encoded), _ENCODED_LINE)]
        lines = self._lines.copy()
        fixed = len(lines) // 2
        lines[1::2] = own[:fixed]
        lines += [b"\r\n".join(own[fixed:]), b"\r\n"]
        return b"".join(lines)


def _ready(pieces: list[bytes | str]) -> tuple[list[bytes], BytesTemplate]:
    """What no member changes, encoded once, with a place for each line between that some member changes; and what is to
    be encoded for each member: those lines, and all from the first value of any length on.

    Before that value every line begins where it always does.
    """
    first = next(
        place for place, piece in enumerate(pieces) if isinstance(piece, str) and piece not in _LENGTHS
    )
    sample, open_lines = b"", set[int]()
    for piece in pieces[:first]:
        begin = len(sample)
        sample += piece if isinstance(piece, bytes) else bytes(_LENGTHS[piece])
        if isinstance(piece, str):
            open_lines |= set(range(begin // _MIME_LINE, (len(sample) - 1) // _MIME_LINE + 1))
    whole = len(sample) // _MIME_LINE
    open_lines.add(whole)
    ready = [b""]
    for line in range(whole):
        if line in open_lines:
            ready += [b"", b"\r\n"]
        else:
            octets = sample[line * _MIME_LINE : (line + 1) * _MIME_LINE]
            ready[-1] += b2a_base64(octets, newline=False) + b"\r\n"
    found: list[bytes | str] = []
    begin = 0
    for piece in pieces[:first]:
        if isinstance(piece, str):
            found.append(piece)
            begin += _LENGTHS[piece]
        else:
            places = enumerate(piece, start=begin)
            found.append(bytes(octet for place, octet in places if place // _MIME_LINE in open_lines))
            begin += len(piece)
    return ready, BytesTemplate([*found, *pieces[first:]], VALUES)


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
                yield names[piece]
            else:
                literal += (_FOLD.encode() if position and piece else b"") + folded(piece)
        literal += b"\r\n"
    yield literal
