"""The messages that came back and wait for a convenor's look: found by sender, age or words, and dropped together."""

from datetime import datetime, timedelta

from scheduler.domain.inbound import readable, senders
from scheduler.domain.mention import folded
from scheduler.store import returns
from scheduler.store.database import Database

_AT_ONCE = 500


async def find_waiting(
    database: Database,
    *,
    sender: str = "",
    older_than: timedelta | None = None,
    containing: str = "",
    now: datetime,
) -> list[int]:
    """Return the numbers of the waiting messages that fit all that is given: `sender` is a part of a name or address,
    `containing` words of the message, both in any case and whatever encoding hides them."""
    before = now - older_than if older_than is not None else None
    found = []
    async with database.read() as connection:
        async for one in returns.waiting(connection, before=before):
            if sender and folded(sender) not in folded(senders(one.content)):
                continue
            if containing and folded(containing) not in folded(f"{one.words}\n{readable(one.content)}"):
                continue
            found.append(one.id)
    return found


async def drop_waiting(database: Database, numbers: list[int]) -> int:
    """Forget these waiting messages, some at a time so that nobody else has to wait; returns how many were there."""
    gone = 0
    for place in range(0, len(numbers), _AT_ONCE):
        async with database.write() as connection:
            gone += await returns.drop_many(connection, numbers[place : place + _AT_ONCE])
    return gone
