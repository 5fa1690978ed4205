"""The calendar part of a cohort's messages: one calendar in base64, with blanks for the members' own values."""

import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import cached_property
from secrets import token_hex

from icalendar import Calendar

from scheduler.delivery.compose.bytes_template import BytesTemplate, fold_line
from scheduler.domain.calendar import MEMBER_HASH, Method
from scheduler.domain.token import TOKEN_LENGTH

_MIME_LINE = 57
"""The number of octets that one line of base64 encodes (RFC 2045 section 6.8)."""

_ENCODED_LINE = 76
_FOLD = "\r\n "
VALUES = ("uid", "token", "attendee_name", "attendee_address")
"""The values of a member: their hash in the UID, their token to join, and the attendee's name and address."""

_LENGTHS = {"uid": MEMBER_HASH, "token": TOKEN_LENGTH}
"""Values that have the same length for every member, with their number of octets."""

Write = Callable[..., bytes]


class CalendarPart:
    """An iCalendar object for a cohort, with its iTIP `method` (RFC 6047)."""

    def __init__(self, write: Write, method: Method) -> None:
        """`write` makes the whole calendar of one member from the values named in VALUES."""
        self.method = method
        marks = {name: token_hex(length // 2) for name, length in _LENGTHS.items()} | {
            "attendee_name": f"{token_hex(16)}, n",
            "attendee_address": f"{token_hex(16)}@example.org",
        }
        sample = write(**marks).decode()
        self._lines, self._open = _encode_fixed_lines(list(_pieces(sample, marks)))

    @cached_property
    def starts(self) -> datetime:
        """The start of the meeting, as a calendar program reads it from this part."""
        octets = a2b_base64(self.encoded([b"0" * _LENGTHS.get(name, 1) for name in VALUES]))
        start = Calendar.from_ical(octets).events[0].start
        assert isinstance(start, datetime)
        return start

    def encoded(self, values: Sequence[bytes]) -> bytes:
        """Return the calendar of one member in base64, ending with CRLF.

        `values` are in the order of VALUES; the attendee's name and address are folded.
        """
        encoded = b2a_base64(self._open.fill(values), newline=False)
        own = [encoded[start : start + _ENCODED_LINE] for start in range(0, len(encoded), _ENCODED_LINE)]
        lines = self._lines.copy()
        fixed = len(lines) // 2
        lines[1::2] = own[:fixed]
        lines += [b"\r\n".join(own[fixed:]), b"\r\n"]
        return b"".join(lines)


def _encode_fixed_lines(pieces: list[bytes | str]) -> tuple[list[bytes], BytesTemplate]:
    """Encode the lines of base64 that are the same for every member; return them, and a template of all other octets.

    In the list every second item is empty: it takes a line that holds octets of a member's value. The template has
    the octets of these lines, and everything from the first value of variable length to the end. Before that value
    each line of base64 encodes the same positions for every member.
    """
    first = next(
        position for position, piece in enumerate(pieces) if isinstance(piece, str) and piece not in _LENGTHS
    )
    sample, open_lines = b"", set[int]()
    for piece in pieces[:first]:
        begin = len(sample)
        sample += piece if isinstance(piece, bytes) else bytes(_LENGTHS[piece])
        if isinstance(piece, str):
            open_lines |= set(range(begin // _MIME_LINE, (len(sample) - 1) // _MIME_LINE + 1))
    whole = len(sample) // _MIME_LINE
    open_lines.add(whole)
    lines = [b""]
    for line in range(whole):
        if line in open_lines:
            lines += [b"", b"\r\n"]
        else:
            octets = sample[line * _MIME_LINE : (line + 1) * _MIME_LINE]
            lines[-1] += b2a_base64(octets, newline=False) + b"\r\n"
    open_pieces: list[bytes | str] = []
    begin = 0
    for piece in pieces[:first]:
        if isinstance(piece, str):
            open_pieces.append(piece)
            begin += _LENGTHS[piece]
        else:
            positions = enumerate(piece, start=begin)
            open_pieces.append(
                bytes(octet for position, octet in positions if position // _MIME_LINE in open_lines)
            )
            begin += len(piece)
    return lines, BytesTemplate([*open_pieces, *pieces[first:]], VALUES)


def _pieces(sample: str, marks: dict[str, str]) -> Iterator[bytes | str]:
    """Yield the calendar with each mark replaced by the name of its blank, on folded lines of its own."""
    names = {mark: name for name, mark in marks.items()}
    split = re.compile("(" + "|".join(map(re.escape, names)) + ")")
    literal = b""
    for line in sample.replace(_FOLD, "").removesuffix("\r\n").split("\r\n"):
        pieces = split.split(line)
        for position, piece in enumerate(pieces):
            if position % 2:
                yield literal + _FOLD.encode()
                literal = b""
                yield names[piece]
            else:
                literal += (_FOLD.encode() if position and piece else b"") + fold_line(piece)
        literal += b"\r\n"
    yield literal
