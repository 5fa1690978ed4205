"""Tokens for members' personal links and return addresses: an HMAC bound to one purpose, never stored.

Bounces and requests to leave come back to the return addresses (VERP), each with a member's token.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from scheduler.domain.address import address_key

_SUBJECT_OCTETS = 5
_EXPIRY_OCTETS = 4
_MAC_OCTETS = 16
TOKEN_LENGTH = 34
EXPIRING_LENGTH = 40


class Purpose(StrEnum):
    """The only purpose for which a token is valid."""

    LEAVE = "leave"
    JOIN = "join"
    RSVP = "rsvp"
    PREFERENCES = "me"
    FEED = "feed"
    SUBSCRIBE = "subscribe"
    CONFIRM = "confirm"
    SIGN_IN = "sign-in"
    CONSOLE = "console"
    ADDRESS = "address"
    BOUNCE = "bounce"


@dataclass(frozen=True, slots=True)
class Keys:
    """The installation's secret key, and what is derived from it. Its repr does not show the key."""

    secret: bytes
    _inner: "hashlib._Hash" = field(init=False, repr=False, compare=False)
    _outer: "hashlib._Hash" = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.secret) < 32:
            raise ValueError("the key must have at least 32 octets")
        # The start of HMAC (RFC 2104): copying it costs a quarter of a new one, and every mail needs four.
        block = (self.secret if len(self.secret) <= 64 else hashlib.sha256(self.secret).digest()).ljust(
            64, b"\0"
        )
        object.__setattr__(self, "_inner", hashlib.sha256(bytes(octet ^ 0x36 for octet in block)))
        object.__setattr__(self, "_outer", hashlib.sha256(bytes(octet ^ 0x5C for octet in block)))

    def __repr__(self) -> str:
        return "Keys(…)"

    def digest(self, purpose: str, subject: str, *, octets: int = _MAC_OCTETS) -> bytes:
        """Return the first `octets` of HMAC-SHA-256 over a purpose and a subject, joined unambiguously."""
        (digest,) = self._digests(purpose, [subject], octets)
        return digest

    def name(self, purpose: str, subject: str) -> str:
        """Return the digest as 26 characters of lower-case base32: an opaque, stable name."""
        return _text(self.digest(purpose, subject))

    @property
    def fingerprint(self) -> str:
        """A name for the key itself, from which it cannot be told."""
        return self.name("fingerprint", "")

    def names(self, purpose: str, subjects: Iterable[str]) -> list[bytes]:
        """Return the same as `name` for many subjects at once, in ASCII."""
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
        """Return a token of 34 lower-case base32 characters: the member's number and 128 bits of an HMAC.

        The HMAC covers all arguments. `about` binds the token to something else too, such as an occurrence. The length
        is constant and the case does not matter, so that it also works in an envelope address (VERP) and in a
        prepared calendar line. With `expires` (aware) the token contains that instant, to the second, and has 40
        characters; `token_expiry` returns it.
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
        """Return the same as `token`, in ASCII, for many members at once, each a pair of number and generation."""
        return _texts(self._tokens(purpose, members, about, expires))

    def matches(self, token: str, purpose: Purpose, *, generation: int, about: str = "") -> bool:
        """Return whether `token` was made for its member with this purpose, generation and `about`, expired or not."""
        member = token_subject(token)
        if member is None:
            return False
        expected = self.token(
            purpose, member, generation=generation, about=about, expires=token_expiry(token)
        )
        return hmac.compare_digest(token.lower().encode(), expected.encode())

    def _tokens(
        self, purpose: str, members: Iterable[tuple[int, int]], about: str, expires: datetime | None
    ) -> list[bytes]:
        """Return the octets of tokens before they are encoded."""
        pairs, until = list(members), b""
        if expires:
            until = int(expires.timestamp()).to_bytes(_EXPIRY_OCTETS)
            purpose = f"{purpose} until {int.from_bytes(until)}"
        bound = f".{about}" if about else ""
        digests = self._digests(purpose, [f"{member}.{generation}{bound}" for member, generation in pairs])
        return [
            b"%b%b%b" % (member.to_bytes(_SUBJECT_OCTETS), until, digest)
            for (member, _), digest in zip(pairs, digests, strict=True)
        ]

    def _digests(self, purpose: str, subjects: Iterable[str], octets: int = _MAC_OCTETS) -> Iterator[bytes]:
        prefix = self._inner.copy()
        prefix.update(f"{len(purpose)}:{purpose}".encode())
        for subject in subjects:
            inner, outer = prefix.copy(), self._outer.copy()
            inner.update(subject.encode())
            outer.update(inner.digest())
            yield outer.digest()[:octets]


def token_subject(token: str) -> int | None:
    """Return the member's number in `token`, unverified; None if it is not a token."""
    octets = _octets(token)
    return int.from_bytes(octets[:_SUBJECT_OCTETS]) if octets else None


def token_expiry(token: str) -> datetime | None:
    """Return the instant at which `token` expires, unverified; None if it has none."""
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
_PAIRS = [first + second for first in _LETTERS for second in _LETTERS]


def _text(octets: bytes) -> str:
    """Return 16, 21 or 25 octets in base32, two bits short of pairs of letters; b32encode takes three times as long."""
    bits = int.from_bytes(octets) << 2
    return "".join([_PAIRS[bits >> place & 1023] for place in range(len(octets) * 8 - 8, -1, -10)])


_CELL = 25
"""At least the octets of the longest value, and a multiple of 5: eight letters of base32 hold 5 octets."""

_BY_VALUE = _LETTERS.encode().ljust(256)


def _texts(values: Sequence[bytes]) -> list[bytes]:
    """Return each value, all of one length, in base32; as one long number this takes a fifth of the time."""
    octets = b"".join([value.ljust(_CELL, b"\0") for value in values])
    groups = len(octets) // 5
    wide = bytearray(8 * groups)
    for place in range(5):
        wide[3 + place :: 8] = octets[place::5]
    # Spread the 40 bits in each 64 over eight octets of five bits each, by halving them three times.
    bits = int.from_bytes(wide)
    for width, pattern in ((20, 0xFFFFF), (10, 0x3FF000003FF), (5, 0x1F001F001F001F)):
        low = int.from_bytes(pattern.to_bytes(8) * groups)
        bits = bits & low | (bits & low << width) << 3 * width // 5
    letters = bits.to_bytes(8 * groups).translate(_BY_VALUE)
    length = (8 * len(values[0]) + 4) // 5 if values else 0
    return [letters[place : place + length] for place in range(0, len(letters), _CELL * 8 // 5)]


class ReturnPurpose(StrEnum):
    """What comes to a return address: mail that could not be delivered, or a request to leave."""

    BOUNCE = "b"
    LEAVE = "u"


@dataclass(frozen=True, slots=True)
class ReturnToken:
    """The purpose and the token of a return address, unverified."""

    purpose: ReturnPurpose
    token: str


_MAIL = "message"
_MAIL_NAME = re.compile(r"(?<![\w.+-])([a-z2-7]{26})(?![\w.+-])", re.ASCII)
_MOST_NAMES = 20


def mail_name(keys: Keys, identity: str, member: int) -> str:
    """Return the name of a notice's mail to a member, the part of its Message-ID before the @, and its ENVID."""
    return keys.name(_MAIL, f"{identity}:{member}")


def mail_names(keys: Keys, mails: Iterable[tuple[str, int]]) -> list[bytes]:
    """Return the same, in ASCII, for many mails at once, each an identity and a member's number."""
    return keys.names(_MAIL, [f"{identity}:{member}" for identity, member in mails])


def mail_names_in(text: str) -> list[str]:
    """Return what may be names of our mails in a text, unverified, at most the first 20."""
    names = dict.fromkeys(match[1] for match in _MAIL_NAME.finditer(text))
    return list(names)[:_MOST_NAMES]


# Mail systems quote, wrap and rewrite addresses and domains in many ways, but they keep the token. Before it there may
# be the name of a mailbox and a plus sign.
_RETURN_ADDRESS = re.compile(rf"(?<![\w.-])([bu])\+([a-z2-7]{{{TOKEN_LENGTH}}})@", re.ASCII | re.IGNORECASE)
_LEAVE_SUBJECT = re.compile(rf"leave[ _-]([a-z2-7]{{{TOKEN_LENGTH}}})", re.ASCII | re.IGNORECASE)
_LINK = re.compile(rf"/u/([a-z2-7]{{{TOKEN_LENGTH}}})(?![a-z2-7])", re.ASCII | re.IGNORECASE)


LONGEST_TAG = len(f"+{ReturnPurpose.BOUNCE}+") + TOKEN_LENGTH
"""How many octets plus-addressing adds to the name of a mailbox."""


def bounce_address(keys: Keys, member: int, address: str, domain: str, *, mailbox: str = "") -> str:
    """Return the address to which bounces of mail to a member at `address` go (VERP): 36 octets before the @, after the
    name of a `mailbox` with plus-addressing.

    It is always the same for the same address. A new address gets another one, so that an old bounce does not count
    against it.
    """
    return f"{_tagged(mailbox)}{ReturnPurpose.BOUNCE}+{_bounce_token(keys, member, address)}@{domain}"


def _tagged(mailbox: str) -> str:
    return f"{mailbox}+" if mailbox else ""


def _bounce_token(keys: Keys, member: int, address: str) -> str:
    return keys.token(Purpose.BOUNCE, member, generation=0, about=address_key(address))


def is_bounce_of(keys: Keys, token: str, address: str) -> bool:
    """Return whether `token` was made for mail to its member at `address`."""
    return keys.matches(token, Purpose.BOUNCE, generation=0, about=address_key(address))


def leave_address(token: str, domain: str, *, mailbox: str = "") -> str:
    """Return the address for leaving by mail (RFC 2369, the mailto of List-Unsubscribe); `token` is for leaving."""
    return f"{_tagged(mailbox)}{ReturnPurpose.LEAVE}+{token}@{domain}"


def leave_by_subject(token: str, address: str) -> str:
    """Return the same for a mailbox without plus-addressing: the subject carries the token (RFC 6068)."""
    return f"{address}?subject=leave-{token}"


def leave_token_in_subject(subject: str) -> ReturnToken | None:
    """Return the token of a mail whose whole subject asks to leave."""
    match = _LEAVE_SUBJECT.fullmatch(subject.strip())
    return ReturnToken(ReturnPurpose.LEAVE, match[1].lower()) if match else None


def tokens_in(text: str) -> list[ReturnToken]:
    """Return the tokens of the return addresses in a header or another text, in order."""
    return [
        ReturnToken(ReturnPurpose(match[1].lower()), match[2].lower())
        for match in _RETURN_ADDRESS.finditer(text)
    ]


def leave_tokens_in(text: str) -> list[str]:
    """Return the tokens of the links and then of the addresses for leaving in a text, each in order."""
    mailed = [token.token for token in tokens_in(text) if token.purpose is ReturnPurpose.LEAVE]
    return [*(match[1].lower() for match in _LINK.finditer(text)), *mailed]
