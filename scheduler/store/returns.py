"""Returned mail: bounces and complaints by member, and messages that wait for a convenor to review them."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, String, cast, delete, func, literal, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.store import service_state
from scheduler.store.database import MOST_VALUES, insert_into
from scheduler.store.ledger.lifecycle import is_suppressed
from scheduler.store.members import DELIVERABLE
from scheduler.store.schema import Instant, deliveries, members, notices, returns

ROW_OCTETS = 500
"""Roughly what a row takes in the database besides its message."""

_LONGEST_CAUSE = 100
_BOUNCES = ("hard", "soft")
_DISCARDED = "returns_unkept"


class Return(NamedTuple):
    """A returned mail. `kind` is hard, soft, policy, complaint or review; `words` describe it; `address` is that of
    the member it is about, if known."""

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
    """Insert a return and return its number; None if the same message is stored already."""
    row = insert_into(connection, returns).values(
        digest=digest, kind=kind, member=member, words=words, came_at=now, content=content
    )
    number: int | None = await connection.scalar(row.on_conflict_do_nothing().returning(returns.c.id))
    return number


async def count(connection: AsyncConnection, kind: str, *, since: datetime | None = None) -> int:
    """Count the returns of a kind, or only those that came at `since` or later."""
    query = select(func.count()).where(returns.c.kind == kind)
    if since is not None:
        query = query.where(returns.c.came_at >= since)
    return int(await connection.scalar(query) or 0)


class Waiting(NamedTuple):
    """A message that waits for a convenor to review it."""

    id: int
    came_at: datetime
    words: str
    content: bytes


async def waiting(
    connection: AsyncConnection,
    *,
    after: int = 0,
    before: datetime | None = None,
    batch: int = 50,
    most: int | None = None,
) -> AsyncIterator[Waiting]:
    """Yield the messages to review, by number, with a number above `after` and that came before `before`; at most the
    first `most`.

    Reads in batches, so that memory stays flat.
    """
    yielded = 0
    while True:
        query = select(returns.c.id, returns.c.came_at, returns.c.words, returns.c.content)
        query = query.where(returns.c.kind == "review", returns.c.id > after)
        if before is not None:
            query = query.where(returns.c.came_at < before)
        rows = (await connection.execute(query.order_by(returns.c.id).limit(batch))).all()
        for row in rows:
            yield Waiting._make(row)
        yielded += len(rows)
        if len(rows) < batch or (most is not None and yielded >= most):
            return
        after = rows[-1].id


async def octets_in_review(connection: AsyncConnection) -> int:
    """Return how many octets the messages to review take, including ROW_OCTETS for each row."""
    octets = func.sum(func.length(returns.c.content) + ROW_OCTETS)
    query = select(func.coalesce(octets, 0)).where(returns.c.kind == "review")
    return int(await connection.scalar(query) or 0)


async def note_discarded(connection: AsyncConnection, now: datetime) -> None:
    """Count a message that was discarded because too many wait for review."""
    count = await service_state.advance(connection, _DISCARDED)
    if await service_state.read(connection, service_state.RETURNS_FULL) is None:
        full = {"since": now.isoformat(), "before": count - 1}
        await service_state.write(connection, service_state.RETURNS_FULL, full)


async def discarded(connection: AsyncConnection) -> tuple[int, datetime] | None:
    """Return how many messages were discarded, and since when; None if none since the last one was deleted."""
    full = await service_state.read(connection, service_state.RETURNS_FULL)
    if full is None:
        return None
    count = await service_state.current(connection, _DISCARDED) - full["before"]
    return count, datetime.fromisoformat(full["since"])


async def drop_many(connection: AsyncConnection, numbers: Sequence[int]) -> int:
    """Delete messages that wait for review; return how many existed."""
    deleted = 0
    for start in range(0, len(numbers), MOST_VALUES):
        in_batch = returns.c.id.in_(numbers[start : start + MOST_VALUES])
        deleted += await _delete(connection, in_batch, returns.c.kind == "review")
    return deleted


async def add_refusals(connection: AsyncConnection, codes: Sequence[str], *, since: datetime) -> int:
    """Add as soft bounces what relays refused permanently since `since` with one of these enhanced codes, each once.

    Return how many are new. Mails to another address than the member's own do not count against it.
    """
    has_code = or_(*(deliveries.c.reason.concat(" ").like(f"5__ {code} %") for code in codes))
    recent = select(notices.c.id).where(notices.c.expires >= since, notices.c.address.is_(None))
    refused = select(
        literal("delivery ").concat(cast(deliveries.c.id, String)),
        literal("soft"),
        deliveries.c.member,
        deliveries.c.tried_at,
        deliveries.c.reason,
    ).where(
        deliveries.c.notice.in_(recent),
        deliveries.c.state == "failed",
        deliveries.c.tried_at >= since,
        has_code,
        ~is_suppressed,
    )
    rows = insert_into(connection, returns).from_select(
        ["digest", "kind", "member", "came_at", "words"], refused
    )
    return int((await connection.execute(rows.on_conflict_do_nothing())).rowcount)


async def members_over_limit(
    connection: AsyncConnection, *, bounces: int, since: datetime, span: timedelta, member: int | None = None
) -> list[int]:
    """Return the members, or only `member`, to suppress: not suppressed yet, and with at least `bounces` soft bounces
    since `since`, the last at least `span` after the first."""
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
    rows = await connection.execute(query)
    return [number for number, first_at, last_at in rows if last_at - first_at >= span]


async def suppress(connection: AsyncConnection, numbers: Sequence[int], now: datetime) -> None:
    """Suppress these members' addresses, giving the words of each one's last bounce as the cause."""
    bounces = select(func.substr(returns.c.words, 1, _LONGEST_CAUSE)).where(
        returns.c.member == members.c.id, returns.c.kind.in_(_BOUNCES)
    )
    last = bounces.order_by(returns.c.came_at.desc(), returns.c.id.desc()).limit(1).scalar_subquery()
    change_mark = await service_state.note_change(connection)
    for start in range(0, len(numbers), MOST_VALUES):
        await connection.execute(
            update(members)
            .where(members.c.id.in_(numbers[start : start + MOST_VALUES]))
            .values(suppressed_at=now, suppressed_for=last, changed=change_mark)
        )


def _query() -> Select[Any]:
    return select(
        returns.c.id, returns.c.kind, returns.c.came_at, returns.c.words, members.c.address
    ).outerjoin(members, members.c.id == returns.c.member)


async def every(connection: AsyncConnection, kinds: Sequence[str] = ()) -> list[Return]:
    """Return all returns, or only those of some kinds, the oldest first."""
    query = _query().order_by(returns.c.id)
    if kinds:
        query = query.where(returns.c.kind.in_(kinds))
    return [Return._make(row) for row in await connection.execute(query)]


async def by_id(connection: AsyncConnection, number: int) -> tuple[Return, bytes] | None:
    """Return a return and its message, which is empty unless it waits for review."""
    row = (
        await connection.execute(_query().add_columns(returns.c.content).where(returns.c.id == number))
    ).first()
    return (Return._make(row[:-1]), row[-1] or b"") if row else None


async def drop(connection: AsyncConnection, number: int) -> bool:
    """Delete a return; return whether it existed."""
    return await _delete(connection, returns.c.id == number) > 0


async def forget(connection: AsyncConnection, *, before: datetime) -> int:
    """Delete the returns that came before an instant; return how many."""
    return await _delete(connection, returns.c.came_at < before)


async def _delete(connection: AsyncConnection, *conditions: ColumnElement[bool]) -> int:
    deleted = (await connection.execute(delete(returns).where(*conditions))).rowcount
    if deleted:
        await service_state.write(connection, service_state.RETURNS_FULL, None)
    return deleted


async def clear_bounces(connection: AsyncConnection, member: int) -> Mapping[str, Any]:
    """Delete a member's bounces; return the column values of a member whose address is not suppressed."""
    await connection.execute(delete(returns).where(returns.c.member == member, returns.c.kind.in_(_BOUNCES)))
    return DELIVERABLE
