"""The addresses to which mail comes back to us: whom it is about stands in them, keyed, and in either case."""

import re
from dataclasses import dataclass
from enum import StrEnum

from scheduler.domain.address import address_key
from scheduler.domain.token import TOKEN_LENGTH, Keys, Purpose


class ReturnPurpose(StrEnum):
    """What comes to an address of ours: mail that could not be delivered, or the wish to leave."""

    BOUNCE = "b"
    LEAVE = "u"


@dataclass(frozen=True, slots=True)
class Token:
    """What an address of ours says, unverified."""

    way: ReturnPurpose
    token: str


# Mail systems quote, wrap and rewrite addresses in many ways, their domains too; a token stays what it is.
_OURS = re.compile(rf"(?<![\w.+-])([bu])\+([a-z2-7]{{{TOKEN_LENGTH}}})@", re.ASCII | re.IGNORECASE)
_LINK = re.compile(rf"/u/([a-z2-7]{{{TOKEN_LENGTH}}})(?![a-z2-7])", re.ASCII | re.IGNORECASE)


def bounce_address(keys: Keys, member: int, address: str, domain: str) -> str:
    """Where mail to a member at `address` comes back to (VERP): 36 octets before the @, the same for the same address.

    With another address it is another, so that no old bounce is held against it.
    """
    return f"{ReturnPurpose.BOUNCE}+{_bounce_token(keys, member, address)}@{domain}"


def _bounce_token(keys: Keys, member: int, address: str) -> str:
    return keys.token(Purpose.BOUNCE, member, generation=0, about=address_key(address))


def is_bounce_of(keys: Keys, token: str, address: str) -> bool:
    """Whether `token` was made for mail to the member whom it names, at `address`."""
    return keys.matches(token, Purpose.BOUNCE, generation=0, about=address_key(address))


def leave_address(token: str, domain: str) -> str:
    """Where a mail lets the member of `token`, made for leaving, leave (RFC 2369, the mailto of List-Unsubscribe)."""
    return f"{ReturnPurpose.LEAVE}+{token}@{domain}"


def tokens_in(text: str) -> list[Token]:
    """The tokens of our addresses in a header or another text, in order."""
    return [Token(ReturnPurpose(one[1].lower()), one[2].lower()) for one in _OURS.finditer(text)]


def leave_tokens_in(text: str) -> list[str]:
    """The tokens of links and addresses to leave in a text, in order."""
    mailed = [one.token for one in tokens_in(text) if one.way is ReturnPurpose.LEAVE]
    return [*(one[1].lower() for one in _LINK.finditer(text)), *mailed]
