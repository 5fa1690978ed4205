"""The service's own state, by name, and the counters that show a running service that something changed."""

from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, delete, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.store.database import insert_into
from scheduler.store.schema import counters, facts

# The names of all values, which existing databases contain; instants are in ISO 8601.
LAST_TICK = "last_tick"
TICKED_BEFORE_PAUSE = "ticked_before_hold"
PAUSE = "hold"
"""Why and since when sending is paused; nothing is claimed while it is set."""
WATERMARK = "watermark"
"""The counter `change` up to which ticks have processed the changes of members."""
BY_CHOICE = "by_choice"
"""The slugs of the series that only those members follow who say so, as of the last tick."""
SWEPT = "swept_at"
"""When a tick last considered every member and not only changed ones."""
UID_DOMAIN = "uid_domain"
TZDATA = "tzdata"
"""The version of the zone data that occurrences were last calculated with."""
RELAY = "relay"
TROUBLES = "troubles"
"""What was wrong when alerts were last checked."""
ALERTS = "alerts"
"""Alerts that still have to be delivered."""
DATABASE_IDENTITY = "where"
"""The PostgreSQL database that these rows were last seen in."""
TRIED = "tried"
"""When writing was last tested."""
KEY_FINGERPRINT = "key_fingerprint"
RETURNS_FULL = "returns_full"
"""Since when returned mail is discarded because too much waits for review."""
FORMS_LIMITED = "forms_limited"
"""When the limit of mails sent for all forms together was last reached."""
BACKUPS = "backups"
"""Since when backups are made, when the last one succeeded, and why a later one failed; absent if none are made."""
MAILBOX = "mailbox"
"""Since when the mailbox cannot be read and why, and when it was last read; absent if none is read."""
MAILBOX_TOKEN = "mailbox_token"  # noqa: S105 - a name
"""The encrypted refresh token that the provider of the mailbox issued last."""
REHEARSED = "rehearsed"
"""When a backup was last restored into a scratch place and found to be right."""

# Each tick runs these several times, and building a query takes longer than running it.
_value = select(facts.c.value).where(facts.c.name == bindparam("key"))
_current = select(func.coalesce(func.max(counters.c.value), 0)).where(counters.c.name == bindparam("key"))


async def read(connection: AsyncConnection, name: str) -> Any:
    """Return the value stored as `name`, or None."""
    return await connection.scalar(_value, {"key": name})


async def read_several(connection: AsyncConnection, *names: str) -> list[Any]:
    """Return the values stored as `names`, in that order, None for each that is missing."""
    rows = await connection.execute(select(facts.c.name, facts.c.value).where(facts.c.name.in_(names)))
    values = {row.name: row.value for row in rows}
    return [values.get(name) for name in names]


async def read_instant(connection: AsyncConnection, name: str) -> datetime | None:
    return as_instant(await read(connection, name))


def as_instant(value: Any) -> datetime | None:
    """Convert a stored value that was written as an instant."""
    return datetime.fromisoformat(value) if value else None


async def write(connection: AsyncConnection, name: str, value: Any) -> None:
    """Store `value` (JSON; an aware datetime as ISO 8601) as `name`; None deletes it."""
    if isinstance(value, datetime):
        value = value.isoformat()
    if value is None:
        await connection.execute(delete(facts).where(facts.c.name == name))
        return
    row = insert_into(connection, facts).values(name=name, value=value)
    await connection.execute(
        row.on_conflict_do_update(index_elements=["name"], set_={"value": row.excluded.value})
    )


async def advance(connection: AsyncConnection, counter: str, *, by: int = 1) -> int:
    """Raise a counter and return its new value; the next one to raise it waits for this transaction.

    So the values become visible in their order, and a watermark over them misses nothing.
    """
    row = insert_into(connection, counters).values(name=counter, value=by)
    raised = row.on_conflict_do_update(index_elements=["name"], set_={"value": counters.c.value + by})
    return int(await connection.scalar(raised.returning(counters.c.value)) or 0)


async def current(connection: AsyncConnection, counter: str) -> int:
    return int(await connection.scalar(_current, {"key": counter}) or 0)


async def note_change(connection: AsyncConnection) -> int:
    """Tell a running service that members' data changed; return the mark for the rows that changed (`changed`)."""
    return await advance(connection, "change")


async def detect_copy(connection: AsyncConnection) -> bool:
    """Return whether these rows are a copy from another PostgreSQL database (pg_restore, a template), and store which
    database they are in now. Always False on SQLite, where `restore` is the only way to restore a copy."""
    if connection.dialect.name == "sqlite":
        return False
    identity = await connection.scalar(
        text(
            "SELECT system_identifier || '/' || oid FROM pg_control_system(), pg_database "
            "WHERE datname = current_database()"
        )
    )
    stored = await read(connection, DATABASE_IDENTITY)
    if stored != identity:
        await write(connection, DATABASE_IDENTITY, identity)
    return stored is not None and stored != identity
