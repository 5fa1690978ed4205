"""Returned messages kept for a convenor's review: find them by sender, age or words, and drop many at once."""

from datetime import datetime, timedelta

from scheduler.domain.inbound import readable, senders
from scheduler.domain.text import folded_prose
from scheduler.store import returns
from scheduler.store.database import Database

_BATCH = 500


async def find_waiting(
    database: Database,
    *,
    sender: str = "",
    older_than: timedelta | None = None,
    containing: str = "",
    now: datetime,
) -> list[int]:
    """Return the numbers of the kept messages that match every condition: `sender` is part of a name or address,
    `containing` is part of the message. Case does not matter, and encodings are decoded."""
    before = now - older_than if older_than is not None else None
    numbers = []
    async with database.read() as connection:
        async for message in returns.waiting(connection, before=before):
            if sender and folded_prose(sender) not in folded_prose(senders(message.content)):
                continue
            if containing and folded_prose(containing) not in folded_prose(
                f"{message.words}\n{readable(message.content)}"
            ):
                continue
            numbers.append(message.id)
    return numbers


async def drop_waiting(database: Database, numbers: list[int]) -> int:
    """Delete these kept messages, in batches so that other writers need not wait; return how many were deleted."""
    deleted = 0
    for start in range(0, len(numbers), _BATCH):
        async with database.write() as connection:
            deleted += await returns.drop_many(connection, numbers[start : start + _BATCH])
    return deleted
