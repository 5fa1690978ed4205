"""Return addresses (VERP): the addresses to which bounces and leave requests come back, each with a member's token."""

import re
from dataclasses import dataclass
from enum import StrEnum

from scheduler.domain.address import address_key
from scheduler.domain.token import TOKEN_LENGTH, Keys, Purpose


class ReturnPurpose(StrEnum):
    """What comes to a return address: mail that could not be delivered, or a request to leave."""

    BOUNCE = "b"
    LEAVE = "u"


@dataclass(frozen=True, slots=True)
class Token:
    """The purpose and the token of a return address, unverified."""

    way: ReturnPurpose
    token: str


# Mail systems quote, wrap and rewrite addresses and domains in many ways, but they keep the token.
_RETURN_ADDRESS = re.compile(rf"(?<![\w.+-])([bu])\+([a-z2-7]{{{TOKEN_LENGTH}}})@", re.ASCII | re.IGNORECASE)
_LINK = re.compile(rf"/u/([a-z2-7]{{{TOKEN_LENGTH}}})(?![a-z2-7])", re.ASCII | re.IGNORECASE)


def bounce_address(keys: Keys, member: int, address: str, domain: str) -> str:
    """Return the address to which bounces of mail to a member at `address` go (VERP): 36 octets before the @.

    It is always the same for the same address. A new address gets another one, so that an old bounce does not count
    against it.
    """
    return f"{ReturnPurpose.BOUNCE}+{_bounce_token(keys, member, address)}@{domain}"


def _bounce_token(keys: Keys, member: int, address: str) -> str:
    return keys.token(Purpose.BOUNCE, member, generation=0, about=address_key(address))


def is_bounce_of(keys: Keys, token: str, address: str) -> bool:
    """Return whether `token` was made for mail to its member at `address`."""
    return keys.matches(token, Purpose.BOUNCE, generation=0, about=address_key(address))


def leave_address(token: str, domain: str) -> str:
    """Return the address for leaving by mail (RFC 2369, the mailto of List-Unsubscribe); `token` is for leaving."""
    return f"{ReturnPurpose.LEAVE}+{token}@{domain}"


def tokens_in(text: str) -> list[Token]:
    """Return the tokens of the return addresses in a header or another text, in order."""
    return [
        Token(ReturnPurpose(match[1].lower()), match[2].lower()) for match in _RETURN_ADDRESS.finditer(text)
    ]


def leave_tokens_in(text: str) -> list[str]:
    """Return the tokens of the links and then of the addresses for leaving in a text, each in order."""
    mailed = [token.token for token in tokens_in(text) if token.way is ReturnPurpose.LEAVE]
    return [*(match[1].lower() for match in _LINK.finditer(text)), *mailed]
