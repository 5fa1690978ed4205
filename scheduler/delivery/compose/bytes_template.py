"""Bytes with blanks in them: what a whole cohort is sent, and the places of what is a member's own."""

import re
from collections.abc import Iterable, Sequence
from operator import itemgetter

_LONGEST_LINE = 75
"""Octets of a line in quoted-printable before its soft break (RFC 2045 section 6.7)."""

# What stands for itself in quoted-printable here: printable ASCII but "=", and single spaces inside a line. A dot
# that could come to stand first in a line is encoded, so that nothing is ever dot-stuffed (RFC 5321 section 4.5.2);
# so is each further space of a row, so that a body is in the canonical form of DKIM as it stands (RFC 6376 section
# 3.4.4).
_ENCODED = re.compile(rb"[^\n !-<>-~]|^\.|(?<=\.)\.|(?<= ) | $", re.MULTILINE)
# A line that goes on behind a soft break leaves room for it.
_LONG = re.compile(rb"(?=[^\n]{77}|[^\n]{76}\Z)([^\n]{1,75})(?<!=)(?<!=.)(?=[^\n.])")
# Most values of members are words, or an address without spaces.
_PLAIN = re.compile(r"(?!\.)[!-<>-~]+(?: [!-<>-~]+)*")
# Where nothing depends on its place, each octet is encoded by itself: one call, for a tenth of the price.
_PLACELESS = re.compile(r"[^\s.]+(?: [^\s.]+)*")
_EACH = {octet: f"={octet:02X}" for octet in range(256) if not 32 <= octet < 127 or octet == ord("=")}
_SOFT_BREAK = b"=\r\n"
_LONGEST_FOLDED = 74
"""Octets of a folded line behind its space."""


class BytesTemplate:
    """Bytes, and among them blanks by their names, for values that come in a fixed order."""

    def __init__(self, pieces: Iterable[bytes | str], order: Sequence[str]) -> None:
        """Raises ValueError where a blank is not in `order`."""
        self._pieces = [b""]
        blanks: list[int] = []
        for piece in pieces:
            if isinstance(piece, str):
                blanks.append(order.index(piece))
                self._pieces += [b"", b""]
            else:
                self._pieces[-1] += piece
        # One call for all blanks; of a single one it would give no sequence.
        self._in_turn = itemgetter(*blanks, *blanks[-1:]) if blanks else None

    def fill(self, values: Sequence[bytes]) -> bytes:
        """Return the bytes with each blank's value in its place."""
        return b"".join(self.pieces(values))

    def pieces(self, values: Sequence[bytes]) -> list[bytes]:
        """As `fill`, not yet joined."""
        pieces = self._pieces.copy()
        if self._in_turn is not None:
            pieces[1::2] = self._in_turn(values)[:-1]
        return pieces


def quoted(text: str) -> bytes:
    """`text` in quoted-printable (RFC 2045 section 6.7), to stand at the beginning of a line: lines of at most 76
    octets, none of which begins with a dot, room for a soft break behind the last one."""
    if _PLAIN.fullmatch(text) and "." not in text[::_LONGEST_LINE]:
        # It is cut into lines as it stands: none of them begins with a dot.
        lines = range(0, len(text), _LONGEST_LINE)
        return "=\r\n".join([text[place : place + _LONGEST_LINE] for place in lines]).encode("ascii")
    if _PLACELESS.fullmatch(text):
        octets = text.encode().decode("latin-1").translate(_EACH).encode("ascii")
        return octets if len(octets) <= _LONGEST_LINE else _LONG.sub(rb"\1=\r\n", octets)
    octets = text.replace("\r\n", "\n").replace("\r", "\n").encode()
    octets = _ENCODED.sub(lambda found: b"=%02X" % ord(found[0]), octets)
    return _LONG.sub(rb"\1=\n", octets).replace(b"\n", b"\r\n")


def quoted_pieces(pieces: Iterable[str]) -> list[bytes | str]:
    """A text that has a blank in every second of its `pieces`, in quoted-printable.

    A value is filled in as `quoted` gives it. It stands on lines of its own between soft breaks: so its length
    moves nothing.
    """
    texts = list(pieces)
    found: list[bytes | str] = []
    for position, text in enumerate(texts):
        if position % 2:
            before, after = texts[position - 1], texts[position + 1]
            begins = before.endswith("\n") or not (before or found)
            found += [
                b"" if begins else _SOFT_BREAK,
                text,
                b"" if after.startswith("\n") else _SOFT_BREAK,
            ]
        else:
            literal = quoted(text)
            if text.endswith(" ") and not text.endswith("  ") and position + 1 < len(texts):
                # The soft break behind it keeps the space.
                literal = literal.removesuffix(b"=20") + b" "
            found.append(literal)
    return found


def folded(text: str) -> bytes:
    """`text` behind the fold of a line of a calendar: as many folded lines as it needs (RFC 5545 section 3.1)."""
    octets, lines = text.encode(), []
    while len(octets) > _LONGEST_FOLDED:
        end = _LONGEST_FOLDED
        while octets[end] & 0xC0 == 0x80:  # inside a character
            end -= 1
        lines.append(octets[:end])
        octets = octets[end:]
    return b"\r\n ".join([*lines, octets])
