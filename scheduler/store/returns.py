"""Mail that came back or was refused: bounces and complaints by member, and what waits for a convenor's look."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Select, String, cast, delete, func, literal, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.store import service_state
from scheduler.store.database import insert_into
from scheduler.store.ledger.lifecycle import is_suppressed
from scheduler.store.members import BATCH, DELIVERABLE
from scheduler.store.schema import Instant, deliveries, members, notices, returns

LONGEST_CAUSE = 100

ROW_OCTETS = 500

_BOUNCES = ("hard", "soft")
_UNKEPT = "returns_unkept"


class Return(NamedTuple):
    """`kind` is hard, soft, policy, complaint or review; `words` say what it is; `address` is the member's whose it is,
    where that is known."""

    id: int
    kind: str
    came_at: datetime
    words: str
    address: str | None


async def add(
    connection: AsyncConnection,
    *,
    digest: str,
    kind: str,
    member: int | None,
    words: str,
    now: datetime,
    content: bytes | None = None,
) -> int | None:
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


class Waiting(NamedTuple):
    """A message that waits for a convenor's look."""

    id: int
    came_at: datetime
    words: str
    content: bytes


async def waiting(
    connection: AsyncConnection, *, after: int = 0, before: datetime | None = None, batch: int = 50
) -> AsyncIterator[Waiting]:
    """The messages that wait for a look, by number, behind the number `after` and come before an instant; read in
    batches, so that memory stays flat."""
    while True:
        query = select(returns.c.id, returns.c.came_at, returns.c.words, returns.c.content)
        query = query.where(returns.c.kind == "review", returns.c.id > after)
        if before is not None:
            query = query.where(returns.c.came_at < before)
        rows = (await connection.execute(query.order_by(returns.c.id).limit(batch))).all()
        for row in rows:
            yield Waiting._make(row)
        if len(rows) < batch:
            return
        after = rows[-1].id


async def octets_in_review(connection: AsyncConnection) -> int:
    """How much room the messages that wait for a look take, each with what a row costs beside its message."""
    room = func.sum(func.length(returns.c.content) + ROW_OCTETS)
    return int(await connection.scalar(select(func.coalesce(room, 0)).where(returns.c.kind == "review")) or 0)


async def note_discarded(connection: AsyncConnection, now: datetime) -> None:
    """Count a message that was not kept, for want of room."""
    count = await service_state.advance(connection, _UNKEPT)
    if await service_state.read(connection, service_state.RETURNS_FULL) is None:
        full = {"since": now.isoformat(), "before": count - 1}
        await service_state.write(connection, service_state.RETURNS_FULL, full)


async def discarded(connection: AsyncConnection) -> tuple[int, datetime] | None:
    """How many messages were not kept since when; None where there was room for all since some were last dropped."""
    full = await service_state.read(connection, service_state.RETURNS_FULL)
    if full is None:
        return None
    count = await service_state.current(connection, _UNKEPT) - full["before"]
    return count, datetime.fromisoformat(full["since"])


async def drop_many(connection: AsyncConnection, numbers: Sequence[int]) -> int:
    """Forget messages that wait for a look; returns how many were there."""
    gone = 0
    for place in range(0, len(numbers), BATCH):
        some = returns.c.id.in_(numbers[place : place + BATCH])
        gone += (await connection.execute(delete(returns).where(some, returns.c.kind == "review"))).rowcount
    if gone:
        await service_state.write(connection, service_state.RETURNS_FULL, None)
    return gone


async def add_refusals(connection: AsyncConnection, codes: Sequence[str], *, since: datetime) -> int:
    """Keep as soft bounces what relays refused for good since an instant with one of these enhanced codes, each once;
    returns how many are new. What went to another address than the member's is not of theirs."""
    said = or_(*(deliveries.c.reason.concat(" ").like(f"5__ {code} %") for code in codes))
    of_late = select(notices.c.id).where(notices.c.expires >= since, notices.c.address.is_(None))
    refused = select(
        literal("delivery ").concat(cast(deliveries.c.id, String)),
        literal("soft"),
        deliveries.c.member,
        deliveries.c.tried_at,
        deliveries.c.reason,
    ).where(
        deliveries.c.notice.in_(of_late),
        deliveries.c.state == "failed",
        deliveries.c.tried_at >= since,
        said,
        ~is_suppressed,
    )
    rows = insert_into(connection, returns).from_select(
        ["digest", "kind", "member", "came_at", "words"], refused
    )
    return int((await connection.execute(rows.on_conflict_do_nothing())).rowcount)


async def members_over_limit(
    connection: AsyncConnection, *, bounces: int, since: datetime, span: timedelta, member: int | None = None
) -> list[int]:
    """The members, or the one, not suppressed so far, from whom so many soft bounces came since an instant, the last
    at least `span` after the first."""
    first, last = func.min(returns.c.came_at, type_=Instant), func.max(returns.c.came_at, type_=Instant)
    query = (
        select(returns.c.member, first, last)
        .join(members, members.c.id == returns.c.member)
        .where(returns.c.kind == "soft", returns.c.came_at >= since, members.c.suppressed_at.is_(None))
        .group_by(returns.c.member)
        .having(func.count() >= bounces)
    )
    if member is not None:
        query = query.where(returns.c.member == member)
    return [one for one, begun, ended in await connection.execute(query) if ended - begun >= span]


async def suppress(connection: AsyncConnection, numbers: Sequence[int], now: datetime) -> None:
    """Mail nothing more to these members, for what came back from them last."""
    came = select(func.substr(returns.c.words, 1, LONGEST_CAUSE)).where(
        returns.c.member == members.c.id, returns.c.kind.in_(_BOUNCES)
    )
    last = came.order_by(returns.c.came_at.desc(), returns.c.id.desc()).limit(1).scalar_subquery()
    mark = await service_state.note_change(connection)
    for place in range(0, len(numbers), BATCH):
        await connection.execute(
            update(members)
            .where(members.c.id.in_(numbers[place : place + BATCH]))
            .values(suppressed_at=now, suppressed_for=last, changed=mark)
        )


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
    gone = (await connection.execute(delete(returns).where(returns.c.id == number))).rowcount > 0
    if gone:
        await service_state.write(connection, service_state.RETURNS_FULL, None)
    return gone


async def forget(connection: AsyncConnection, *, before: datetime) -> int:
    """Forget what came before an instant; returns how many."""
    gone = (await connection.execute(delete(returns).where(returns.c.came_at < before))).rowcount
    if gone:
        await service_state.write(connection, service_state.RETURNS_FULL, None)
    return gone


async def clear_bounces(connection: AsyncConnection, member: int) -> Mapping[str, Any]:
    """Forget what bounced from a member's address; gives the columns of one whose address takes mail."""
    await connection.execute(delete(returns).where(returns.c.member == member, returns.c.kind.in_(_BOUNCES)))
    return DELIVERABLE
