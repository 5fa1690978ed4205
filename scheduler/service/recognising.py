"""Whose a personal link is, and what it is still worth: the same for every purpose."""

from enum import StrEnum

from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.token import Keys, Purpose, token_subject
from scheduler.store import members
from scheduler.store.members import Member

_OLD_LINKS_KNOWN = 50


class Standing(StrEnum):
    """What a personal link is worth: its member's and good, theirs but they have left, replaced by a newer one of
    theirs, or nobody's."""

    GOOD = "good"
    LEFT = "left"
    REPLACED = "replaced"
    UNKNOWN = "unknown"


async def recognise(
    connection: AsyncConnection, token: str, purpose: Purpose, *, keys: Keys
) -> tuple[Standing, Member | None]:
    """Whose personal link `token` is, if it was made for `purpose`; the member only where it is good or they left."""
    number = token_subject(token)
    member = await members.by_id(connection, number) if number is not None else None
    if member is None:
        return Standing.UNKNOWN, None
    current = member.feed_generation if purpose is Purpose.FEED else member.generation
    if keys.matches(token, purpose, generation=current):
        return (Standing.LEFT if member.status == "left" else Standing.GOOD), member
    older = range(max(0, current - _OLD_LINKS_KNOWN), current)
    replaced = any(keys.matches(token, purpose, generation=one) for one in older)
    return (Standing.REPLACED if replaced else Standing.UNKNOWN), None
