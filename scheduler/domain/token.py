"""Links that only their member can have been given: keyed, bound to one purpose, never stored."""

import base64
import hashlib
import hmac
from dataclasses import dataclass
from enum import StrEnum

_SUBJECT_OCTETS = 5
_MAC_OCTETS = 16
TOKEN_LENGTH = 34


class Purpose(StrEnum):
    """What a token may be used for, and nothing else."""

    LEAVE = "leave"
    JOIN = "join"
    FEED = "feed"
    SUBSCRIBE = "subscribe"


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

    def token(self, purpose: Purpose, member: int, *, generation: int) -> str:
        """A token of 34 lower-case base32 characters: the member's number and 128 bits keyed to all three.

        Its length is constant and its case does not matter, so it also fits an envelope address (VERP) and a
        line of a calendar made in advance.
        """
        return _text(member.to_bytes(_SUBJECT_OCTETS) + self.digest(purpose, f"{member}.{generation}"))

    def matches(self, token: str, purpose: Purpose, *, generation: int) -> bool:
        """Whether `token` was made for this purpose and generation of the member whom it names."""
        member = token_subject(token)
        return member is not None and hmac.compare_digest(
            token.lower().encode(), self.token(purpose, member, generation=generation).encode()
        )


def token_subject(token: str) -> int | None:
    """The member's number that `token` claims, unverified; None where it is no token at all."""
    if len(token) != TOKEN_LENGTH or not token.isascii():
        return None
    try:
        return int.from_bytes(base64.b32decode(token.upper() + "=" * (-TOKEN_LENGTH % 8))[:_SUBJECT_OCTETS])
    except ValueError:
        return None


def _text(octets: bytes) -> str:
    return base64.b32encode(octets).decode().rstrip("=").lower()
