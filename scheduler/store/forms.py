"""Form submissions that wait to be processed, and how many mails forms have caused in the current hour."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.store.database import insert_into
from scheduler.store.schema import asks, form_counts

EVERYBODY = ""
"""The `visitor` of the counts for all visitors together."""


class FormSubmission(NamedTuple):
    """A submitted form: `what` is join, link or contact, `fields` is what was typed, in order."""

    what: str
    fields: Mapping[str, Any]
    asked_at: datetime


async def add(connection: AsyncConnection, what: str, fields: Mapping[str, Any], now: datetime) -> int:
    """Insert a submission and return its number."""
    row = insert(asks).values(what=what, said=dict(fields), asked_at=now)
    return int(await connection.scalar(row.returning(asks.c.id)) or 0)


async def take(connection: AsyncConnection, number: int) -> FormSubmission | None:
    """Remove a submission, to process it in the same transaction; return None if another process has taken it."""
    removed = delete(asks).where(asks.c.id == number).returning(asks.c.what, asks.c.said, asks.c.asked_at)
    row = (await connection.execute(removed)).first()
    return FormSubmission._make(row) if row else None


async def pending(connection: AsyncConnection, *, until: datetime) -> list[int]:
    """Return the numbers of the submissions made by `until` and not processed yet, the oldest first."""
    return list(
        await connection.scalars(select(asks.c.id).where(asks.c.asked_at <= until).order_by(asks.c.id))
    )


async def lock_and_read(connection: AsyncConnection, hour: datetime, visitor: str) -> tuple[int, int]:
    """Return the counts of all visitors and of `visitor`; the next request to read them waits for this transaction."""
    everybody = await count(connection, hour, EVERYBODY, by=0)
    own = await connection.scalar(
        select(form_counts.c.count).where(form_counts.c.hour == hour, form_counts.c.visitor == visitor)
    )
    return everybody, int(own or 0)


async def count(connection: AsyncConnection, hour: datetime, visitor: str, *, by: int = 1) -> int:
    """Raise a visitor's count in an hour, and return it."""
    row = insert_into(connection, form_counts).values(hour=hour, visitor=visitor, count=by)
    raised = row.on_conflict_do_update(
        index_elements=["hour", "visitor"], set_={"count": form_counts.c.count + by}
    )
    return int(await connection.scalar(raised.returning(form_counts.c.count)) or 0)


async def forget_before(connection: AsyncConnection, hour: datetime) -> None:
    """Delete the counts of earlier hours."""
    await connection.execute(delete(form_counts).where(form_counts.c.hour < hour))
