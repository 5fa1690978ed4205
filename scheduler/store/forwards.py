"""Letters on their way to the convenors' address. The message itself is among the returns, and goes with it."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.store.schema import forwards, members, returns


class Letter(NamedTuple):
    """A letter to forward: its message's number, digest, arrival and content, how often it was tried, this try
    included, and when it is too late to try. If its writer's address is a member's, their status and since when they
    are active."""

    message: int
    digest: str
    came_at: datetime
    content: bytes
    attempts: int
    gives_up: datetime
    member_status: str | None
    member_since: datetime | None


async def add(connection: AsyncConnection, message: int, *, now: datetime, gives_up: datetime) -> None:
    """Queue a message to be forwarded."""
    await connection.execute(
        insert(forwards).values(message=message, state="queued", next_try=now, gives_up=gives_up)
    )


async def has_due(connection: AsyncConnection, *, now: datetime) -> bool:
    """Return whether a letter is to be tried now."""
    query = select(forwards.c.message).where(forwards.c.state == "queued", forwards.c.next_try <= now)
    return await connection.scalar(query.limit(1)) is not None


async def release(connection: AsyncConnection, *, now: datetime) -> None:
    """Make every queued letter due now, because nobody else is trying one."""
    await connection.execute(
        update(forwards).where(forwards.c.state == "queued", forwards.c.next_try > now).values(next_try=now)
    )


async def claim(connection: AsyncConnection, *, now: datetime, until: datetime) -> Letter | None:
    """Return the next letter that is due, or None. Nobody else tries it before `until`, or before its result is
    stored."""
    number = await connection.scalar(
        select(forwards.c.message)
        .where(forwards.c.state == "queued", forwards.c.next_try <= now)
        .order_by(forwards.c.next_try, forwards.c.message)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    if number is None:
        return None
    await connection.execute(
        update(forwards)
        .where(forwards.c.message == number)
        .values(next_try=until, attempts=forwards.c.attempts + 1)
    )
    row = (
        await connection.execute(
            select(
                returns.c.id,
                returns.c.digest,
                returns.c.came_at,
                returns.c.content,
                forwards.c.attempts,
                forwards.c.gives_up,
                members.c.status,
                members.c.active_since,
            )
            .join_from(forwards, returns, returns.c.id == forwards.c.message)
            .outerjoin(members, members.c.id == returns.c.member)
            .where(forwards.c.message == number)
        )
    ).one()
    return Letter._make(row)


async def settle(
    connection: AsyncConnection,
    message: int,
    state: str,
    *,
    reason: str = "",
    next_try: datetime | None = None,
) -> None:
    """Store the result of a try: `sent`, `failed`, or `queued` until `next_try`."""
    values = {"state": state, "reason": reason, **({"next_try": next_try} if next_try else {})}
    await connection.execute(update(forwards).where(forwards.c.message == message).values(values))


async def states_of(connection: AsyncConnection, messages: Sequence[int]) -> dict[int, str]:
    """Return the state of each of these messages that was queued to be forwarded."""
    query = select(forwards.c.message, forwards.c.state).where(forwards.c.message.in_(messages))
    return {row.message: row.state for row in await connection.execute(query)}


async def count_failed(connection: AsyncConnection) -> int:
    """Count the letters that could not be forwarded."""
    query = select(func.count()).select_from(forwards).where(forwards.c.state == "failed")
    return int(await connection.scalar(query) or 0)
