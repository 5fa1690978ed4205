"""Deliveries of which nothing is to be done any more move to a smaller table of their own, and go in time."""

from datetime import datetime

from sqlalchemy import ColumnElement, Select, and_, bindparam, delete, exists, insert, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.store.schema import deliveries, notices, occurrences, past_deliveries

BATCH = 20_000
NOTICES = 1_000
_MOVED = [column.name for column in past_deliveries.c]
_ids = deliveries.c.id.in_(bindparam("those", expanding=True))
_copy = insert(past_deliveries).from_select(
    _MOVED, select(*(deliveries.c[name] for name in _MOVED)).where(_ids)
)
_remove = delete(deliveries).where(_ids)


async def archive(connection: AsyncConnection, *, before: datetime, now: datetime) -> int:
    """Move at most 20,000 deliveries of a notice that was closed, of no more use, and about a meeting that was over,
    before an instant, or those of up to 1,000 such service mails; returns how many.

    A closed notice stays closed, so that no delivery is made for it again.
    """
    query = select(notices.c.id, notices.c.member).where(_over(before)).order_by(notices.c.expires)
    over = (await connection.execute(query.limit(NOTICES))).all()
    if not over:
        return 0
    # By the whole of a key: where some of much are sought, a planner may choose to read all.
    ended = select(deliveries.c.id).where(deliveries.c.state.not_in(("queued", "sending")))
    if mails := [number for number, member in over if member is not None]:
        its = and_(notices.c.id == deliveries.c.notice, notices.c.member == deliveries.c.member)
        done, chosen = mails, ended.join(notices, its).where(notices.c.id.in_(mails))
    else:
        done = [over[0].id]
        chosen = ended.where(deliveries.c.notice == over[0].id).order_by(deliveries.c.member).limit(BATCH)
    ids = (await connection.scalars(chosen)).all()
    if ids:
        await connection.execute(_copy, {"those": ids})
        await connection.execute(_remove, {"those": ids})
    if len(ids) < BATCH:
        await connection.execute(update(notices).where(notices.c.id.in_(done)).values(archived_at=now))
    return len(ids)


def _over(before: datetime) -> ColumnElement[bool]:
    to_come = exists().where(occurrences.c.key == notices.c.occurrence, occurrences.c.ends >= before)
    return and_(
        notices.c.closed_at.is_not(None),
        notices.c.archived_at.is_(None),
        notices.c.expires < before,
        ~to_come,
    )


async def forget(connection: AsyncConnection, *, before: datetime) -> int:
    """Delete deliveries of notices that were closed and of no more use before an instant, at most 20,000 of them, and
    service mails altogether; returns how many. What was for many stays, so that nobody is told again."""
    old = and_(notices.c.closed_at.is_not(None), notices.c.expires < before)
    of_old = select(notices.c.id).where(old)
    live = select(deliveries.c.id).where(deliveries.c.notice.in_(of_old)).limit(BATCH)
    done = await connection.execute(delete(deliveries).where(deliveries.c.id.in_(live)))
    if done.rowcount:
        return done.rowcount
    key = tuple_(past_deliveries.c.notice, past_deliveries.c.member)
    past: Select[tuple[int, int]] = (
        select(past_deliveries.c.notice, past_deliveries.c.member)
        .where(past_deliveries.c.notice.in_(of_old))
        .limit(BATCH)
    )
    done = await connection.execute(delete(past_deliveries).where(key.in_(past)))
    if not done.rowcount:
        await connection.execute(delete(notices).where(old, notices.c.member.is_not(None)))
    return done.rowcount
