"""Sessions of convenors and helpers in the console. Only hashes of their secrets are stored."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.store.schema import sessions


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSession:
    """A session. `generation` is that of the member's links when it began; `ended_at` is None while it is open."""

    id: int
    member: int
    generation: int
    browser: str
    created_at: datetime
    used_at: datetime
    ended_at: datetime | None


_COLUMNS = [sessions.c[name] for name in StoredSession.__dataclass_fields__]


async def add(
    connection: AsyncConnection,
    *,
    member: int,
    generation: int,
    secret_hash: str,
    sign_in_hash: str,
    browser: str,
    now: datetime,
) -> int:
    """Insert a session and return its number. Raises IntegrityError if its mailed link or challenge was used before."""
    row = insert(sessions).values(
        member=member,
        generation=generation,
        secret_hash=secret_hash,
        sign_in_hash=sign_in_hash,
        browser=browser,
        created_at=now,
        used_at=now,
    )
    return int(await connection.scalar(row.returning(sessions.c.id)) or 0)


async def by_secret(connection: AsyncConnection, secret_hash: str) -> StoredSession | None:
    row = (await connection.execute(select(*_COLUMNS).where(sessions.c.secret_hash == secret_hash))).first()
    return StoredSession(**row._mapping) if row else None


async def is_used(connection: AsyncConnection, sign_in_hash: str) -> bool:
    """Return whether a session began with this mailed link."""
    query = select(sessions.c.id).where(sessions.c.sign_in_hash == sign_in_hash)
    return await connection.scalar(query) is not None


async def open_of(connection: AsyncConnection, member: int) -> list[StoredSession]:
    """Return a member's sessions that were not ended, the last used first."""
    query = (
        select(*_COLUMNS)
        .where(sessions.c.member == member, sessions.c.ended_at.is_(None))
        .order_by(sessions.c.used_at.desc(), sessions.c.id.desc())
    )
    return [StoredSession(**row._mapping) for row in await connection.execute(query)]


async def note_use(connection: AsyncConnection, number: int, now: datetime) -> None:
    await connection.execute(update(sessions).where(sessions.c.id == number).values(used_at=now))


async def end(
    connection: AsyncConnection,
    member: int,
    *,
    now: datetime,
    number: int | None = None,
    except_number: int | None = None,
) -> int:
    """End a member's open sessions: all, only one, or all except one. Return how many."""
    ended = update(sessions).where(sessions.c.member == member, sessions.c.ended_at.is_(None))
    if number is not None:
        ended = ended.where(sessions.c.id == number)
    if except_number is not None:
        ended = ended.where(sessions.c.id != except_number)
    return (await connection.execute(ended.values(ended_at=now))).rowcount


async def forget(
    connection: AsyncConnection, *, used_before: datetime, created_before: datetime, ended_before: datetime
) -> int:
    """Delete sessions that were last used or created before these instants, or ended before; return how many."""
    old = or_(
        sessions.c.used_at < used_before,
        sessions.c.created_at < created_before,
        sessions.c.ended_at < ended_before,
    )
    return (await connection.execute(delete(sessions).where(old))).rowcount
