"""Receipts: which inbound messages were dealt with, so that each has exactly one effect."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.store.database import MOST_VALUES, insert_into
from scheduler.store.schema import receipts


async def add(connection: AsyncConnection, digest: str, *, place: str | None, now: datetime) -> bool:
    """Insert a receipt; return whether the message is new. Another transaction with the same message waits for this.

    `place` is where the message is in a mailbox.
    """
    row = insert_into(connection, receipts).values(digest=digest, place=place, kept=False, came_at=now)
    new = await connection.scalar(row.on_conflict_do_nothing().returning(receipts.c.digest))
    return new is not None


async def complete(
    connection: AsyncConnection, digest: str, *, kept: bool, writer: str | None = None
) -> None:
    """Store what became of a message: whether it is kept for review, and the writer's hash if it is forwarded."""
    await connection.execute(
        update(receipts).where(receipts.c.digest == digest).values(kept=kept, writer=writer)
    )


async def is_kept(connection: AsyncConnection, digest: str) -> bool:
    """Return whether a message that was dealt with is kept for review."""
    return bool(await connection.scalar(select(receipts.c.kept).where(receipts.c.digest == digest)))


async def by_place(connection: AsyncConnection, places: Sequence[str]) -> Mapping[str, bool]:
    """Return which of these places hold a message that was dealt with, and whether it is kept for review."""
    kept: dict[str, bool] = {}
    for start in range(0, len(places), MOST_VALUES):
        query = select(receipts.c.place, receipts.c.kept)
        rows = await connection.execute(
            query.where(receipts.c.place.in_(places[start : start + MOST_VALUES]))
        )
        kept.update((row.place, row.kept) for row in rows)
    return kept


async def count_forwarded(connection: AsyncConnection, *, since: datetime, writer: str = "") -> int:
    """Count the messages that were forwarded since an instant, or only those of one writer."""
    query = select(func.count()).where(receipts.c.writer.is_not(None), receipts.c.came_at >= since)
    if writer:
        query = query.where(receipts.c.writer == writer)
    return int(await connection.scalar(query) or 0)


async def forget(connection: AsyncConnection, *, before: datetime, writers_before: datetime) -> None:
    """Delete the receipts of messages that came before an instant, and whose letters came before another."""
    old_letters = receipts.c.writer.is_not(None) & (receipts.c.came_at < writers_before)
    await connection.execute(update(receipts).where(old_letters).values(writer=None))
    await connection.execute(delete(receipts).where(receipts.c.came_at < before))
