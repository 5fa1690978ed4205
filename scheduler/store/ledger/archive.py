"""Move finished deliveries to the smaller table `past_deliveries`, and delete them after some time."""

from datetime import datetime

from sqlalchemy import ColumnElement, Select, and_, bindparam, delete, exists, insert, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.store.renderings import rendering_of_delivery
from scheduler.store.schema import deliveries, notices, occurrences, past_deliveries, renderings

BATCH = 20_000
NOTICES = 1_000
_COLUMNS = [column.name for column in past_deliveries.c]
_in_batch = deliveries.c.id.in_(bindparam("ids", expanding=True))
_stored = [
    rendering_of_delivery().label(name) if name == "rendering" else deliveries.c[name] for name in _COLUMNS
]
_copy = insert(past_deliveries).from_select(_COLUMNS, select(*_stored).where(_in_batch))
_remove = delete(deliveries).where(_in_batch)


async def archive(connection: AsyncConnection, *, before: datetime, now: datetime) -> int:
    """Move at most 20,000 deliveries of one notice, or those of up to 1,000 service mails, and return how many.

    A notice can be archived if it is closed and expired before `before`, and its occurrence, if any, ended before
    then. It stays closed, so no delivery is made for it again.
    """
    query = select(notices.c.id, notices.c.member).where(_is_archivable(before)).order_by(notices.c.expires)
    archivable = (await connection.execute(query.limit(NOTICES))).all()
    if not archivable:
        return 0
    # Search by a whole key of an index: for a part of it a query planner may choose to read the whole table.
    finished = select(deliveries.c.id).where(deliveries.c.state.not_in(("queued", "sending")))
    if service_mails := [number for number, member in archivable if member is not None]:
        same_key = and_(notices.c.id == deliveries.c.notice, notices.c.member == deliveries.c.member)
        numbers = service_mails
        query_ids = finished.join(notices, same_key).where(notices.c.id.in_(service_mails))
    else:
        numbers = [archivable[0].id]
        query_ids = finished.where(deliveries.c.notice == archivable[0].id)
        query_ids = query_ids.order_by(deliveries.c.member).limit(BATCH)
    ids = (await connection.scalars(query_ids)).all()
    if ids:
        await connection.execute(_copy, {"ids": ids})
        await connection.execute(_remove, {"ids": ids})
    if len(ids) < BATCH:
        await connection.execute(update(notices).where(notices.c.id.in_(numbers)).values(archived_at=now))
    return len(ids)


def _is_archivable(before: datetime) -> ColumnElement[bool]:
    is_not_over = exists().where(occurrences.c.key == notices.c.occurrence, occurrences.c.ends >= before)
    return and_(
        notices.c.closed_at.is_not(None),
        notices.c.archived_at.is_(None),
        notices.c.expires < before,
        ~is_not_over,
    )


async def forget(connection: AsyncConnection, *, before: datetime) -> int:
    """Delete at most 20,000 deliveries of closed notices that expired before `before`, and return how many.

    Once none is left, delete their renderings, and old service mails themselves. Other notices stay, so that they are
    not planned again.
    """
    is_old = and_(notices.c.closed_at.is_not(None), notices.c.expires < before)
    of_old = select(notices.c.id).where(is_old)
    current = select(deliveries.c.id).where(deliveries.c.notice.in_(of_old)).limit(BATCH)
    result = await connection.execute(delete(deliveries).where(deliveries.c.id.in_(current)))
    if result.rowcount:
        return result.rowcount
    key = tuple_(past_deliveries.c.notice, past_deliveries.c.member)
    past: Select[tuple[int, int]] = (
        select(past_deliveries.c.notice, past_deliveries.c.member)
        .where(past_deliveries.c.notice.in_(of_old))
        .limit(BATCH)
    )
    result = await connection.execute(delete(past_deliveries).where(key.in_(past)))
    if not result.rowcount:
        await connection.execute(delete(renderings).where(renderings.c.notice.in_(of_old)))
        await connection.execute(delete(notices).where(is_old, notices.c.member.is_not(None)))
    return result.rowcount
