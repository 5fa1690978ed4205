"""What the service knows of itself, and the counters that tell a running one that something changed."""

from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.store.schema import counters, facts

LAST_TICK = "last_tick"
HOLD = "hold"
WATERMARK = "watermark"
SWEPT = "swept_at"
UID_DOMAIN = "uid_domain"
TZDATA = "tzdata"
RELAY = "relay"
CLOCK_MARK = "clock_mark"


async def read(connection: AsyncConnection, name: str) -> Any:
    """The value kept under `name`, or None."""
    return await connection.scalar(select(facts.c.value).where(facts.c.name == name))


async def read_instant(connection: AsyncConnection, name: str) -> datetime | None:
    value = await read(connection, name)
    return datetime.fromisoformat(value) if value else None


async def write(connection: AsyncConnection, name: str, value: Any) -> None:
    """Keep `value` (JSON; an aware datetime as ISO 8601) under `name`; None forgets it."""
    if isinstance(value, datetime):
        value = value.isoformat()
    if value is None:
        await connection.execute(delete(facts).where(facts.c.name == name))
        return
    done = await connection.execute(update(facts).where(facts.c.name == name).values(value=value))
    if not done.rowcount:
        await connection.execute(insert(facts).values(name=name, value=value))


async def advance(connection: AsyncConnection, counter: str, *, by: int = 1) -> int:
    """Raise a counter and return its new value; who raises it next waits for this transaction.

    Hence the values become visible in their order, and a watermark over them misses nothing.
    """
    raised = update(counters).where(counters.c.name == counter).values(value=counters.c.value + by)
    value = await connection.scalar(raised.returning(counters.c.value))
    if value is None:
        await connection.execute(insert(counters).values(name=counter, value=by))
        return by
    return int(value)


async def current(connection: AsyncConnection, counter: str) -> int:
    return int(
        await connection.scalar(
            select(func.coalesce(func.max(counters.c.value), 0)).where(counters.c.name == counter)
        )
        or 0
    )


async def note_change(connection: AsyncConnection) -> int:
    """Tell a running service that people's data changed; returns the mark for the rows that changed with it."""
    return await advance(connection, "change")
