"""Links that only their member can have been given: keyed, bound to one purpose, never stored."""

import base64
import hashlib
import hmac
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
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(f"{len(purpose)}:{purpose}{subject}".encode())
        outer.update(inner.digest())
        return outer.digest()[:octets]

    def name(self, purpose: str, subject: str) -> str:
        """The digest as 26 characters of lower-case base32: an opaque, stable name."""
        return _text(self.digest(purpose, subject))

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
        seconds = int(expires.timestamp()) if expires else None
        subject = f"{member}.{generation}" + (f".{about}" if about else "")
        if seconds is None:
            return _text(member.to_bytes(_SUBJECT_OCTETS) + self.digest(purpose, subject))
        digest = self.digest(f"{purpose} until {seconds}", subject)
        return _text(member.to_bytes(_SUBJECT_OCTETS) + seconds.to_bytes(_EXPIRY_OCTETS) + digest)

    def matches(self, token: str, purpose: Purpose, *, generation: int, about: str = "") -> bool:
        """Whether `token` was made for this purpose, generation and thing of the member whom it names, be it expired
        or not."""
        member = token_subject(token)
        if member is None:
            return False
        made = self.token(purpose, member, generation=generation, about=about, expires=token_expiry(token))
        return hmac.compare_digest(token.lower().encode(), made.encode())


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
