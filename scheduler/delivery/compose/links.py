"""The personal links that mails carry: which each kind may show, and whose token each holds."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from scheduler.domain.community import Community
from scheduler.domain.policy import Kind
from scheduler.domain.token import Keys, Purpose
from scheduler.store.ledger.claims import Claim

_ACTIONS: Mapping[Kind, tuple[Purpose, str]] = {
    Kind.CONFIRMATION: (Purpose.CONFIRM, "confirm"),
    Kind.SIGN_IN: (Purpose.SIGN_IN, "sign-in"),
    Kind.ADDRESS_CHANGE: (Purpose.ADDRESS, "address"),
}
"""Kinds whose one link does something, until it expires with its notice: what for, and under which path."""

_ASKS = (Kind.INVITATION, Kind.REMINDER, Kind.UPDATE)
"""Kinds that ask whether the member comes, and show them the way in."""

_SUBSCRIBES = (Kind.WELCOME, Kind.ALREADY_MEMBER)
"""Kinds that bring the member's own feed, and the page with a button for each calendar program."""

UNPROVEN = (Kind.CONFIRMATION, Kind.ADDRESS_CHANGE)
"""What goes to an address before it has said that it is its person's: it carries nothing that somebody typed."""


class Link(NamedTuple):
    """A link that differs from member to member in nothing but their token for `purpose`, in its midst."""

    before: str
    purpose: Purpose
    after: str = ""


def purposes_of(kind: Kind) -> tuple[Purpose, ...]:
    """What the tokens in links of this kind are for, in the order in which they are handed on."""
    if kind in _ACTIONS:
        return Purpose.LEAVE, _ACTIONS[kind][0]
    subscribes = (Purpose.FEED, Purpose.SUBSCRIBE) if kind in _SUBSCRIBES else ()
    asks = (Purpose.RSVP, Purpose.JOIN) if kind in _ASKS else ()
    return Purpose.LEAVE, Purpose.PREFERENCES, *subscribes, *asks


def links_of(kind: Kind, community: Community, *, occurrence: str = "") -> Mapping[str, Link]:
    """The links that templates of this kind may show, by the names under which they know them. `occurrence` is the key
    of the meeting that they speak of."""
    found: dict[str, Link] = {}
    for purpose in purposes_of(kind):
        found |= _links_for(purpose, kind, community, occurrence)
    return found


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
                "own_apple_url": Link(f"webcal:{feed.partition(':')[2]}", purpose, ".ics"),
            }
        case Purpose.SUBSCRIBE:
            return {"own_ways_url": Link(f"{base}/subscribe/", purpose)}
        case Purpose.RSVP:
            return {"rsvp_url": Link(f"{base}/rsvp/", purpose)}
        case Purpose.JOIN:
            before, after = community.way_in("\n", occurrence).split("\n")
            return {"join_url": Link(before, purpose, after)}
        case _:
            return {"action_url": Link(f"{base}/{_ACTIONS[kind][1]}/", purpose)}


def tokens_for(
    kind: Kind, claims: Sequence[Claim], *, keys: Keys, address: str, expires: datetime, occurrence: str
) -> Iterator[tuple[bytes, ...]]:
    """Each member's tokens for `purposes_of` this kind. `address` is where the notice goes if not to the member's own
    address, else empty; an action is bound to it, as an answer is to the `occurrence`."""
    members = [(one.member, one.generation) for one in claims]

    def tokens(purpose: Purpose) -> list[bytes]:
        if purpose is Purpose.FEED:
            return keys.tokens(purpose, [(one.member, one.feed_generation) for one in claims])
        if purpose is Purpose.RSVP:
            return keys.tokens(purpose, members, about=occurrence)
        if kind in _ACTIONS and purpose is _ACTIONS[kind][0]:
            return keys.tokens(purpose, members, about=address, expires=expires)
        return keys.tokens(purpose, members)

    return zip(*map(tokens, purposes_of(kind)), strict=True)
