"""What visitors asked for and were answered, until it is carried out."""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.store.schema import asks


class Ask(NamedTuple):
    """`what` is join or link, `said` what was typed."""

    what: str
    said: Mapping[str, str]
    asked_at: datetime


async def keep(connection: AsyncConnection, what: str, said: Mapping[str, str], now: datetime) -> int:
    row = insert(asks).values(what=what, said=dict(said), asked_at=now)
    return int(await connection.scalar(row.returning(asks.c.id)) or 0)


async def take(connection: AsyncConnection, number: int) -> Ask | None:
    """Take an ask away, to carry it out in the same transaction; None where somebody else has."""
    gone = delete(asks).where(asks.c.id == number).returning(asks.c.what, asks.c.said, asks.c.asked_at)
    row = (await connection.execute(gone)).first()
    return Ask._make(row) if row else None


async def left(connection: AsyncConnection, *, until: datetime) -> list[int]:
    """Return those asked until an instant and not carried out yet, the oldest first."""
    return list(
        await connection.scalars(select(asks.c.id).where(asks.c.asked_at <= until).order_by(asks.c.id))
    )
