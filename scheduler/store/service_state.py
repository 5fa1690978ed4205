"""What the service knows of itself, and the counters that tell a running one that something changed."""

from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, select, text
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.store.schema import counters, facts

LAST_TICK = "last_tick"
TICKED_BEFORE_HOLD = "ticked_before_hold"
HOLD = "hold"
WATERMARK = "watermark"
SWEPT = "swept_at"
UID_DOMAIN = "uid_domain"
TZDATA = "tzdata"
RELAY = "relay"
TROUBLES = "troubles"
ALERTS = "alerts"
CLOCK_MARK = "clock_mark"
DATABASE_IDENTITY = "where"
TRIED = "tried"
KEY_FINGERPRINT = "key_fingerprint"
RETURNS_FULL = "returns_full"
FORMS_LIMITED = "forms_limited"


async def read(connection: AsyncConnection, name: str) -> Any:
    """The value kept under `name`, or None."""
    return await connection.scalar(select(facts.c.value).where(facts.c.name == name))


async def read_several(connection: AsyncConnection, *names: str) -> list[Any]:
    """The value kept under each of `names`, or None."""
    rows = await connection.execute(select(facts.c.name, facts.c.value).where(facts.c.name.in_(names)))
    found = {row.name: row.value for row in rows}
    return [found.get(name) for name in names]


async def read_instant(connection: AsyncConnection, name: str) -> datetime | None:
    return as_instant(await read(connection, name))


def as_instant(value: Any) -> datetime | None:
    """A value that was written as an instant."""
    return datetime.fromisoformat(value) if value else None


async def write(connection: AsyncConnection, name: str, value: Any) -> None:
    """Keep `value` (JSON; an aware datetime as ISO 8601) under `name`; None forgets it."""
    if isinstance(value, datetime):
        value = value.isoformat()
    if value is None:
        await connection.execute(delete(facts).where(facts.c.name == name))
        return
    make = sqlite_insert if connection.dialect.name == "sqlite" else postgresql_insert
    row = make(facts).values(name=name, value=value)
    await connection.execute(
        row.on_conflict_do_update(index_elements=["name"], set_={"value": row.excluded.value})
    )


async def advance(connection: AsyncConnection, counter: str, *, by: int = 1) -> int:
    """Raise a counter and return its new value; who raises it next waits for this transaction.

    Hence the values become visible in their order, and a watermark over them misses nothing.
    """
    make = sqlite_insert if connection.dialect.name == "sqlite" else postgresql_insert
    raised = (
        make(counters)
        .values(name=counter, value=by)
        .on_conflict_do_update(index_elements=["name"], set_={"value": counters.c.value + by})
    )
    return int(await connection.scalar(raised.returning(counters.c.value)) or 0)


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


async def detect_copy(connection: AsyncConnection) -> bool:
    """Whether these rows were last seen in another PostgreSQL database: they are then a copy, brought back by
    pg_restore or a template. Notes where they are now. A SQLite file is put back by `restore` alone."""
    if connection.dialect.name == "sqlite":
        return False
    here = await connection.scalar(
        text(
            "SELECT system_identifier || '/' || oid FROM pg_control_system(), pg_database "
            "WHERE datname = current_database()"
        )
    )
    known = await read(connection, DATABASE_IDENTITY)
    if known != here:
        await write(connection, DATABASE_IDENTITY, here)
    return known is not None and known != here
