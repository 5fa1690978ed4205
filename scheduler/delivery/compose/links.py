"""The personal links in mails: which of them each kind of notice may show, and the token in each."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from scheduler.domain.community import Community
from scheduler.domain.placeholder import purposes_in
from scheduler.domain.policy import Kind
from scheduler.domain.token import Keys, Purpose
from scheduler.store.ledger.claims import Claim

_ACTIONS: Mapping[Kind, tuple[Purpose, str]] = {
    Kind.CONFIRMATION: (Purpose.CONFIRM, "confirm"),
    Kind.SIGN_IN: (Purpose.SIGN_IN, "sign-in"),
    Kind.CONSOLE_SIGN_IN: (Purpose.CONSOLE, "convenor/sign-in"),
    Kind.ADDRESS_CHANGE: (Purpose.ADDRESS, "address"),
}
"""Kinds that have one link to act on, valid until the notice expires: the purpose of its token, and its path."""

_ASKS_FOR_ANSWER = (Kind.INVITATION, Kind.REMINDER, Kind.UPDATE)
"""Kinds that ask for an answer (RSVP), and have the link to join."""

_OFFERS_FEED = (Kind.WELCOME, Kind.ALREADY_MEMBER)
"""Kinds that have the member's own feed, and the link to a page with a button for each calendar program."""

UNCONFIRMED = (Kind.CONFIRMATION, Kind.ADDRESS_CHANGE)
"""Kinds that go to an address not yet confirmed: they contain nothing that a visitor typed, so as not to carry spam."""


NAMELESS = (*UNCONFIRMED, Kind.CONTACT)
"""Kinds whose recipient is not named: the address may not be that of the member in the ledger."""


class Link(NamedTuple):
    """A link whose only part that differs between members is the token for `purpose`, after `before`."""

    before: str
    purpose: Purpose
    after: str = ""


def purposes_of(kind: Kind, words: str = "") -> tuple[Purpose, ...]:
    """Return the purposes of the tokens that links of this kind hold, in the order of RecipientValues.tokens.

    The `words` of a notice may have placeholders for more links.
    """
    if kind in _ACTIONS:
        return Purpose.LEAVE, _ACTIONS[kind][0]
    feed = (Purpose.FEED, Purpose.SUBSCRIBE) if kind in _OFFERS_FEED else ()
    answer = (Purpose.RSVP, Purpose.JOIN) if kind in _ASKS_FOR_ANSWER else ()
    usual = (Purpose.LEAVE, Purpose.PREFERENCES, *feed, *answer)
    asked_for = purposes_in(words) if kind is Kind.NOTICE else ()
    return *usual, *(purpose for purpose in asked_for if purpose not in usual)


def links_of(
    kind: Kind, community: Community, *, occurrence: str = "", words: str = ""
) -> Mapping[str, Link]:
    """Return the links that templates of this kind may use, by their names in the templates.

    `occurrence` is the key of the meeting that the mail is about; `words` are those of a notice.
    """
    links: dict[str, Link] = {}
    for purpose in purposes_of(kind, words):
        links |= _links_for(purpose, kind, community, occurrence)
    return links


def tokens_for(
    kind: Kind,
    claims: Sequence[Claim],
    *,
    keys: Keys,
    address: str,
    expires: datetime,
    occurrence: str,
    words: str = "",
) -> Iterator[tuple[bytes, ...]]:
    """Yield the tokens of each claim's member, in the order of `purposes_of` this kind and these words.

    `address` is the address that the notice goes to where it is not the member's own, else empty. The token of an
    action is bound to it and to `expires`, that of an answer to `occurrence`.
    """
    members = [(claim.member, claim.generation) for claim in claims]

    def tokens(purpose: Purpose) -> list[bytes]:
        if purpose is Purpose.FEED:
            return keys.tokens(purpose, [(claim.member, claim.feed_generation) for claim in claims])
        if purpose is Purpose.RSVP:
            return keys.tokens(purpose, members, about=occurrence)
        if kind in _ACTIONS and purpose is _ACTIONS[kind][0]:
            return keys.tokens(purpose, members, about=address, expires=expires)
        return keys.tokens(purpose, members)

    return zip(*map(tokens, purposes_of(kind, words)), strict=True)


def _links_for(purpose: Purpose, kind: Kind, community: Community, occurrence: str) -> Mapping[str, Link]:
    base = community.base_url
    match purpose:
        case Purpose.LEAVE:
            return {"leave_url": Link(f"{base}/u/", purpose)}
        case Purpose.PREFERENCES:
            return {"me_url": Link(f"{base}/me/", purpose)}
        case Purpose.FEED:
            feed = f"{base}/cal/"
            return {
                "own_feed_url": Link(feed, purpose, ".ics"),
                "own_webcal_url": Link(f"webcal:{feed.partition(':')[2]}", purpose, ".ics"),
            }
        case Purpose.SUBSCRIBE:
            return {"own_subscribe_url": Link(f"{base}/subscribe/", purpose)}
        case Purpose.RSVP:
            return {"rsvp_url": Link(f"{base}/rsvp/", purpose)}
        case Purpose.JOIN:
            before, after = community.join_url("\n", occurrence).split("\n")
            return {"join_url": Link(before, purpose, after)}
        case _:
            return {"action_url": Link(f"{base}/{_ACTIONS[kind][1]}/", purpose)}
