"""Byte templates: the bytes that all messages of a cohort share, with named blanks for the members' values."""

import re
from collections.abc import Iterable, Sequence
from operator import itemgetter

_LONGEST_LINE = 75
"""The most octets in a line of quoted-printable before its soft break (RFC 2045 section 6.7)."""

# Octets to encode: all but printable ASCII without "=", and single spaces inside a line. A dot that could begin a line
# is encoded, so that no message ever needs dot-stuffing (RFC 5321 section 4.5.2). So is a space that follows another,
# so that the body already is in DKIM's canonical form (RFC 6376 section 3.4.4).
_ENCODED = re.compile(rb"[^\n !-<>-~]|^\.|(?<=\.)\.|(?<= ) | $", re.MULTILINE)
# A line that continues after a soft break leaves space for the "=".
_LONG = re.compile(rb"(?=[^\n]{77}|[^\n]{76}\Z)([^\n]{1,75})(?<!=)(?<!=.)(?=[^\n.])")
# Most values of members need no encoding: words with single spaces, or an address.
_PLAIN = re.compile(r"(?!\.)[!-<>-~]+(?: [!-<>-~]+)*")
# Without dots, and with single spaces only, no octet's encoding depends on its position: one call to `translate` is
# enough, and takes a tenth of the time.
_POSITION_FREE = re.compile(r"[^\s.]+(?: [^\s.]+)*")
_ENCODINGS = {octet: f"={octet:02X}" for octet in range(256) if not 32 <= octet < 127 or octet == ord("=")}
_SOFT_BREAK = b"=\r\n"
_LONGEST_FOLDED = 74
"""The most octets in a folded line of a calendar, without the space that it begins with."""


class BytesTemplate:
    """Bytes with named blanks. The values to fill in come in a fixed order."""

    def __init__(self, pieces: Iterable[bytes | str], order: Sequence[str]) -> None:
        """Take bytes and, as `str`, the names of blanks; `order` lists the names in the order of their values.

        Raises ValueError where a blank is not in `order`.
        """
        self._pieces = [b""]
        blanks: list[int] = []
        for piece in pieces:
            if isinstance(piece, str):
                blanks.append(order.index(piece))
                self._pieces += [b"", b""]
            else:
                self._pieces[-1] += piece
        # `itemgetter` takes all values in one call. The last index is repeated because a single index would return
        # the value itself and no tuple.
        self._take_values = itemgetter(*blanks, *blanks[-1:]) if blanks else None

    def fill(self, values: Sequence[bytes]) -> bytes:
        """Return the bytes with each blank filled in."""
        return b"".join(self.pieces(values))

    def pieces(self, values: Sequence[bytes]) -> list[bytes]:
        """Return what `fill` returns, as pieces to join."""
        pieces = self._pieces.copy()
        if self._take_values is not None:
            pieces[1::2] = self._take_values(values)[:-1]
        return pieces


def quoted_printable(text: str) -> bytes:
    """Return `text`, which begins a line, in quoted-printable (RFC 2045 section 6.7).

    Lines have at most 76 octets, none begins with a dot, and the last one has space for a soft break.
    """
    if _PLAIN.fullmatch(text) and "." not in text[::_LONGEST_LINE]:
        # No line would begin with a dot, so cutting the text is enough.
        starts = range(0, len(text), _LONGEST_LINE)
        return "=\r\n".join([text[start : start + _LONGEST_LINE] for start in starts]).encode("ascii")
    if _POSITION_FREE.fullmatch(text):
        octets = text.encode().decode("latin-1").translate(_ENCODINGS).encode("ascii")
        return octets if len(octets) <= _LONGEST_LINE else _LONG.sub(rb"\1=\r\n", octets)
    octets = text.replace("\r\n", "\n").replace("\r", "\n").encode()
    octets = _ENCODED.sub(lambda match: b"=%02X" % ord(match[0]), octets)
    return _LONG.sub(rb"\1=\n", octets).replace(b"\n", b"\r\n")


def quoted_printable_pieces(pieces: Iterable[str]) -> list[bytes | str]:
    """Return a text in quoted-printable; every second of its `pieces` is the name of a blank.

    Values are filled in as `quoted_printable` returns them. Each is on lines of its own between soft breaks, so that
    its length changes no other line.
    """
    texts = list(pieces)
    encoded: list[bytes | str] = []
    for position, text in enumerate(texts):
        if position % 2:
            before, after = texts[position - 1], texts[position + 1]
            begins_line = before.endswith("\n") or not (before or encoded)
            encoded += [
                b"" if begins_line else _SOFT_BREAK,
                text,
                b"" if after.startswith("\n") else _SOFT_BREAK,
            ]
        else:
            literal = quoted_printable(text)
            if text.endswith(" ") and not text.endswith("  ") and position + 1 < len(texts):
                # A soft break follows, so the space does not end its line and need not be encoded.
                literal = literal.removesuffix(b"=20") + b" "
            encoded.append(literal)
    return encoded


def fold_line(text: str) -> bytes:
    """Return `text`, which follows a fold in a calendar, on as many folded lines as needed (RFC 5545 section 3.1)."""
    octets, lines = text.encode(), []
    while len(octets) > _LONGEST_FOLDED:
        end = _LONGEST_FOLDED
        while octets[end] & 0xC0 == 0x80:  # inside a character
            end -= 1
        lines.append(octets[:end])
        octets = octets[end:]
    return b"\r\n ".join([*lines, octets])
