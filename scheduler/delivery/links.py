"""The personal links that mails carry: which each kind may show, and how each is made for its member."""

from collections.abc import Mapping
from datetime import datetime

from scheduler.domain.community import Community
from scheduler.domain.policy import Kind
from scheduler.domain.token import Keys, Purpose

_ACTIONS: Mapping[Kind, tuple[Purpose, str]] = {
    Kind.CONFIRMATION: (Purpose.CONFIRM, "confirm"),
    Kind.SIGN_IN: (Purpose.SIGN_IN, "sign-in"),
    Kind.ADDRESS_CHANGE: (Purpose.ADDRESS, "address"),
}
"""Kinds whose one link does something, until it expires with its notice: what for, and under which path."""

_ASKS = (Kind.INVITATION, Kind.REMINDER, Kind.UPDATE)
"""Kinds that ask whether the member comes."""

_SUBSCRIBES = (Kind.WELCOME, Kind.ALREADY_MEMBER)
"""Kinds that bring the member's own feed, and the page with a button for each calendar program."""

UNPROVEN = (Kind.CONFIRMATION, Kind.ADDRESS_CHANGE)
"""What goes to an address before it has said that it is its person's: it carries nothing that somebody typed."""


def blanks_of(kind: Kind) -> tuple[str, ...]:
    """The names by which templates of this kind know their links, beside the ways to leave and into a meeting."""
    if kind in _ACTIONS:
        return ("action_url",)
    if kind in _SUBSCRIBES:
        return ("me_url", "own_feed_url", "own_apple_url", "own_ways_url")
    return ("me_url", *(["rsvp_url"] if kind in _ASKS else []))


def links_for(
    kind: Kind, *, keys: Keys, community: Community, member: int, generation: int, feed_generation: int,
    address: str, expires: datetime, occurrence: str,
) -> dict[str, str]:  # fmt: skip
    """A member's own link for each of `blanks_of(kind)`. `address` is where the notice goes if not to the member's own
    address, else empty; an action is bound to it, as an answer is to the `occurrence`."""
    base = community.base_url
    if kind in _ACTIONS:
        purpose, path = _ACTIONS[kind]
        token = keys.token(purpose, member, generation=generation, about=address, expires=expires)
        return {"action_url": f"{base}/{path}/{token}"}
    found = {"me_url": f"{base}/me/{keys.token(Purpose.PREFERENCES, member, generation=generation)}"}
    if kind in _SUBSCRIBES:
        feed = f"{base}/cal/{keys.token(Purpose.FEED, member, generation=feed_generation)}.ics"
        ways = keys.token(Purpose.SUBSCRIBE, member, generation=generation)
        found |= {
            "own_feed_url": feed,
            "own_apple_url": f"webcal:{feed.partition(':')[2]}",
            "own_ways_url": f"{base}/subscribe/{ways}",
        }
    if kind in _ASKS:
        token = keys.token(Purpose.RSVP, member, generation=generation, about=occurrence)
        found["rsvp_url"] = f"{base}/rsvp/{token}"
    return found
