"""Whose a personal link is, and what it is still worth: the same for every purpose."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.token import Keys, Purpose, token_expiry, token_subject
from scheduler.store import members
from scheduler.store.members import Member

_OLD_LINKS_KNOWN = 50


class Standing(StrEnum):
    """What a personal link is worth: its member's and good, theirs but they have left, replaced by a newer one of
    theirs, past its time, or nobody's."""

    GOOD = "good"
    LEFT = "left"
    REPLACED = "replaced"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


async def recognise(
    connection: AsyncConnection, token: str, purpose: Purpose, *, keys: Keys, now: datetime | None = None
) -> tuple[Standing, Member | None]:
    """Whose personal link `token` is, if it was made for `purpose`; the member only where it is good or they left.

    `now` is needed for a purpose whose links expire.
    """
    standing, member, _ = await recognise_among(connection, token, purpose, [""], keys=keys, now=now)
    return standing, member


async def recognise_among(
    connection: AsyncConnection, token: str, purpose: Purpose, things: Sequence[str], *,
    keys: Keys, now: datetime | None = None,
) -> tuple[Standing, Member | None, str]:  # fmt: skip
    """The same for a link that is bound to one of `things`, and which of them it is."""
    number = token_subject(token)
    member = await members.by_id(connection, number) if number is not None else None
    if member is None:
        return Standing.UNKNOWN, None, ""
    current = member.feed_generation if purpose is Purpose.FEED else member.generation
    for about in things:
        if keys.matches(token, purpose, generation=current, about=about):
            if (expires := token_expiry(token)) and _is_over(expires, now):
                return Standing.EXPIRED, None, about
            return (Standing.LEFT if member.status == "left" else Standing.GOOD), member, about
    older = range(max(0, current - _OLD_LINKS_KNOWN), current)
    replaced = any(
        keys.matches(token, purpose, generation=one, about=about) for one in older for about in things
    )
    return (Standing.REPLACED if replaced else Standing.UNKNOWN), None, ""


def _is_over(expires: datetime, now: datetime | None) -> bool:
    if now is None:
        raise ValueError("a link that expires was taken for one that does not")
    return expires <= now
