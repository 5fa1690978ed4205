"""How many mails forms were asked for in the present hour: by each visitor, and by all of them."""

from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.store.database import insert_into
from scheduler.store.schema import form_counts

EVERYBODY = ""


async def lock_and_read(connection: AsyncConnection, hour: datetime, visitor: str) -> tuple[int, int]:
    """The counts of everybody and of `visitor`; who asks next waits for this transaction."""
    everybody = await count(connection, hour, EVERYBODY, by=0)
    own = await connection.scalar(
        select(form_counts.c.count).where(form_counts.c.hour == hour, form_counts.c.visitor == visitor)
    )
    return everybody, int(own or 0)


async def count(connection: AsyncConnection, hour: datetime, visitor: str, *, by: int = 1) -> int:
    """Raise a count, and return it."""
    row = insert_into(connection, form_counts).values(hour=hour, visitor=visitor, count=by)
    raised = row.on_conflict_do_update(
        index_elements=["hour", "visitor"], set_={"count": form_counts.c.count + by}
    )
    return int(await connection.scalar(raised.returning(form_counts.c.count)) or 0)


async def forget_before(connection: AsyncConnection, hour: datetime) -> None:
    """Delete the counts of earlier hours."""
    await connection.execute(delete(form_counts).where(form_counts.c.hour < hour))
