"""Links that only their member can have been given: keyed, bound to one purpose, never stored."""

import base64
import hashlib
import hmac
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

_SUBJECT_OCTETS = 5
_EXPIRY_OCTETS = 4
_MAC_OCTETS = 16
TOKEN_LENGTH = 34
EXPIRING_LENGTH = 40


class Purpose(StrEnum):
    """What a token may be used for, and nothing else."""

    LEAVE = "leave"
    JOIN = "join"
    RSVP = "rsvp"
    PREFERENCES = "me"
    FEED = "feed"
    SUBSCRIBE = "subscribe"
    CONFIRM = "confirm"
    SIGN_IN = "sign-in"
    ADDRESS = "address"
    BOUNCE = "bounce"


@dataclass(frozen=True, slots=True)
class Keys:
    """The installation's secret key, and all that is derived from it. Its text shows nothing of the key."""

    secret: bytes
    _inner: "hashlib._Hash" = field(init=False, repr=False, compare=False)
    _outer: "hashlib._Hash" = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.secret) < 32:
            raise ValueError("the key needs at least 32 octets")
        # HMAC begun (RFC 2104): to go on from here costs a quarter of beginning anew, and every mail holds four.
        block = (self.secret if len(self.secret) <= 64 else hashlib.sha256(self.secret).digest()).ljust(
            64, b"\0"
        )
        object.__setattr__(self, "_inner", hashlib.sha256(bytes(octet ^ 0x36 for octet in block)))
        object.__setattr__(self, "_outer", hashlib.sha256(bytes(octet ^ 0x5C for octet in block)))

    def __repr__(self) -> str:
        return "Keys(…)"

    def digest(self, purpose: str, subject: str, *, octets: int = _MAC_OCTETS) -> bytes:
        """The first `octets` of HMAC-SHA-256 over a purpose and a subject, unambiguously joined."""
        (found,) = self._digests(purpose, [subject], octets)
        return found

    def name(self, purpose: str, subject: str) -> str:
        """The digest as 26 characters of lower-case base32: an opaque, stable name."""
        return _text(self.digest(purpose, subject))

    def names(self, purpose: str, subjects: Iterable[str]) -> list[bytes]:
        """As `name`, of many subjects at once, in ASCII."""
        return _texts(list(self._digests(purpose, subjects)))

    def token(
        self,
        purpose: Purpose,
        member: int,
        *,
        generation: int,
        about: str = "",
        expires: datetime | None = None,
    ) -> str:
        """A token of 34 lower-case base32 characters: the member's number and 128 bits keyed to all that is given.

        `about` binds it to one thing more, as an occurrence. Its length is constant and its case does not matter,
        so it also fits an envelope address (VERP) and a line of a calendar made in advance. With `expires` (aware)
        it carries that instant, by the second, and has 40 characters; `token_expiry` reads it.
        """
        (octets,) = self._tokens(purpose, [(member, generation)], about, expires)
        return _text(octets)

    def tokens(
        self,
        purpose: Purpose,
        members: Iterable[tuple[int, int]],
        *,
        about: str = "",
        expires: datetime | None = None,
    ) -> list[bytes]:
        """As `token`, for many members at once, each with their generation, in ASCII."""
        return _texts(self._tokens(purpose, members, about, expires))

    def matches(self, token: str, purpose: Purpose, *, generation: int, about: str = "") -> bool:
        """Whether `token` was made for this purpose, generation and thing of the member whom it names, be it expired
        or not."""
        member = token_subject(token)
        if member is None:
            return False
        made = self.token(purpose, member, generation=generation, about=about, expires=token_expiry(token))
        return hmac.compare_digest(token.lower().encode(), made.encode())

    def _tokens(
        self, purpose: str, members: Iterable[tuple[int, int]], about: str, expires: datetime | None
    ) -> list[bytes]:
        """The octets of tokens."""
        known, until = list(members), b""
        if expires:
            until = int(expires.timestamp()).to_bytes(_EXPIRY_OCTETS)
            purpose = f"{purpose} until {int.from_bytes(until)}"
        bound = f".{about}" if about else ""
        digests = self._digests(purpose, [f"{member}.{generation}{bound}" for member, generation in known])
        return [
            b"%b%b%b" % (member.to_bytes(_SUBJECT_OCTETS), until, digest)
            for (member, _), digest in zip(known, digests, strict=True)
        ]

    def _digests(self, purpose: str, subjects: Iterable[str], octets: int = _MAC_OCTETS) -> Iterator[bytes]:
        begun = self._inner.copy()
        begun.update(f"{len(purpose)}:{purpose}".encode())
        for subject in subjects:
            inner, outer = begun.copy(), self._outer.copy()
            inner.update(subject.encode())
            outer.update(inner.digest())
            yield outer.digest()[:octets]


def token_subject(token: str) -> int | None:
    """The member's number that `token` claims, unverified; None where it is no token at all."""
    octets = _octets(token)
    return int.from_bytes(octets[:_SUBJECT_OCTETS]) if octets else None


def token_expiry(token: str) -> datetime | None:
    """The instant until which `token` claims to hold, unverified; None where it names none."""
    octets = _octets(token)
    if not octets or len(token) != EXPIRING_LENGTH:
        return None
    seconds = int.from_bytes(octets[_SUBJECT_OCTETS : _SUBJECT_OCTETS + _EXPIRY_OCTETS])
    return datetime.fromtimestamp(seconds, UTC)


def _octets(token: str) -> bytes | None:
    if len(token) not in (TOKEN_LENGTH, EXPIRING_LENGTH) or not token.isascii():
        return None
    try:
        return base64.b32decode(token.upper() + "=" * (-len(token) % 8))
    except ValueError:
        return None


_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"
_PAIRS = [one + other for one in _LETTERS for other in _LETTERS]


def _text(octets: bytes) -> str:
    """`octets`, two bits short of a pair of letters, in base32; the library's own takes three times as long."""
    bits = int.from_bytes(octets) << 2
    return "".join([_PAIRS[bits >> place & 1023] for place in range(len(octets) * 8 - 8, -1, -10)])


_CELL = 25
"""Octets: the longest of all, and a multiple of the five that eight letters of base32 hold."""

_BY_VALUE = _LETTERS.encode().ljust(256)


def _texts(many: Sequence[bytes]) -> list[bytes]:
    """Each of `many`, all of one length, in base32: as one long number, for a fifth of what it costs one by one."""
    octets = b"".join([one.ljust(_CELL, b"\0") for one in many])
    groups = len(octets) // 5
    wide = bytearray(8 * groups)
    for place in range(5):
        wide[3 + place :: 8] = octets[place::5]
    # Forty bits in each 64 become eight times five bits, each in an octet of its own: cut in half, three times.
    bits = int.from_bytes(wide)
    for width, pattern in ((20, 0xFFFFF), (10, 0x3FF000003FF), (5, 0x1F001F001F001F)):
        low = int.from_bytes(pattern.to_bytes(8) * groups)
        bits = bits & low | (bits & low << width) << 3 * width // 5
    letters = bits.to_bytes(8 * groups).translate(_BY_VALUE)
    length = (8 * len(many[0]) + 4) // 5 if many else 0
    return [letters[place : place + length] for place in range(0, len(letters), _CELL * 8 // 5)]
