"""Links that only their member can have been given: keyed, bound to one purpose, never stored."""

import base64
import hashlib
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

_SUBJECT_OCTETS = 5
_EXPIRY_OCTETS = 4
_MAC_OCTETS = 16
TOKEN_LENGTH = 34
_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"
_PAIRS = [one + other for one in _LETTERS for other in _LETTERS]
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

    def __post_init__(self) -> None:
        if len(self.secret) < 32:
            raise ValueError("the key needs at least 32 octets")

    def __repr__(self) -> str:
        return "Keys(…)"

    def digest(self, purpose: str, subject: str, *, octets: int = _MAC_OCTETS) -> bytes:
        """The first `octets` of HMAC-SHA-256 over a purpose and a subject, unambiguously joined."""
        return hmac.digest(self.secret, f"{len(purpose)}:{purpose}{subject}".encode(), hashlib.sha256)[
            :octets
        ]

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


def _text(octets: bytes) -> str:
    """Base32 without padding, in lower case; the standard library's takes half as long again, and a mail has seven."""
    length = -(-len(octets) * 8 // 5)
    pairs = -(-length // 2)
    number = int.from_bytes(octets) << 10 * pairs - 8 * len(octets)
    return "".join([_PAIRS[number >> bits & 1023] for bits in range(10 * (pairs - 1), -1, -10)])[:length]
