"""Mail that came back: bounces and complaints by member, and what waits for a convenor's look."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Select, delete, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.store.database import insert_into
from scheduler.store.members import DELIVERABLE
from scheduler.store.schema import members, returns

_BOUNCES = ("hard", "soft")


class Return(NamedTuple):
    """`kind` is hard, soft, policy, complaint or review; `words` say what it is; `address` is the member's whose it is,
    where that is known."""

    id: int
    kind: str
    came_at: datetime
    words: str
    address: str | None


async def keep(
    connection: AsyncConnection, *, digest: str, kind: str, member: int | None, words: str, now: datetime,
    content: bytes | None = None,
) -> int | None:  # fmt: skip
    """Keep a return and give its number; None where the same message is kept already."""
    row = insert_into(connection, returns).values(
        digest=digest, kind=kind, member=member, words=words, came_at=now, content=content
    )
    number: int | None = await connection.scalar(row.on_conflict_do_nothing().returning(returns.c.id))
    return number


async def is_known(connection: AsyncConnection, digest: str) -> bool:
    """Whether a message is kept already."""
    return await connection.scalar(select(returns.c.id).where(returns.c.digest == digest)) is not None


async def count(connection: AsyncConnection, kind: str, *, since: datetime | None = None) -> int:
    """How many of a kind there are, or came since an instant."""
    query = select(func.count()).where(returns.c.kind == kind)
    if since is not None:
        query = query.where(returns.c.came_at >= since)
    return int(await connection.scalar(query) or 0)


async def soft_since(connection: AsyncConnection, member: int, since: datetime) -> list[datetime]:
    """When a member's soft bounces since an instant came, in order."""
    query = select(returns.c.came_at).where(
        returns.c.member == member, returns.c.kind == "soft", returns.c.came_at >= since
    )
    return list(await connection.scalars(query.order_by(returns.c.came_at)))


def _shown() -> Select[Any]:
    return select(
        returns.c.id, returns.c.kind, returns.c.came_at, returns.c.words, members.c.address
    ).outerjoin(members, members.c.id == returns.c.member)


async def every(connection: AsyncConnection, kinds: Sequence[str] = ()) -> list[Return]:
    """All returns, or those of some kinds, the oldest first."""
    query = _shown().order_by(returns.c.id)
    if kinds:
        query = query.where(returns.c.kind.in_(kinds))
    return [Return._make(row) for row in await connection.execute(query)]


async def by_id(connection: AsyncConnection, number: int) -> tuple[Return, bytes] | None:
    """A return and the message itself, which is empty where nobody has to look at it."""
    row = (
        await connection.execute(_shown().add_columns(returns.c.content).where(returns.c.id == number))
    ).first()
    return (Return._make(row[:-1]), row[-1] or b"") if row else None


async def drop(connection: AsyncConnection, number: int) -> bool:
    """Forget a return; whether it was there."""
    return (await connection.execute(delete(returns).where(returns.c.id == number))).rowcount > 0


async def forget(connection: AsyncConnection, *, before: datetime) -> int:
    """Forget what came before an instant; returns how many."""
    return (await connection.execute(delete(returns).where(returns.c.came_at < before))).rowcount


async def trust_again(connection: AsyncConnection, member: int) -> Mapping[str, Any]:
    """Forget what bounced from a member's address; gives the columns of one whose address takes mail."""
    await connection.execute(delete(returns).where(returns.c.member == member, returns.c.kind.in_(_BOUNCES)))
    return DELIVERABLE
