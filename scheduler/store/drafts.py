"""Notices that convenors are writing."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.store.schema import drafts


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A notice that is being written. `audience` is in the command line's terms, `at` an instant in ISO 8601 or
    `local:…`, or empty; `revision` rises with each change; `notice` is what it was sent as; `meeting` is the key of the
    meeting that its placeholders are about, or empty for the next one."""

    id: int
    subject: str
    body: str
    audience: str
    at: str
    author: int | None
    changed_at: datetime
    revision: int
    notice: int | None
    meeting: str = ""


async def add(
    connection: AsyncConnection,
    *,
    subject: str,
    body: str,
    audience: str,
    at: str,
    meeting: str,
    author: int | None,
    now: datetime,
) -> int:
    """Insert a draft and return its number."""
    row = insert(drafts).values(
        subject=subject, body=body, audience=audience, at=at, meeting=meeting, author=author, changed_at=now
    )
    return int(await connection.scalar(row.returning(drafts.c.id)) or 0)


async def by_id(connection: AsyncConnection, number: int) -> Draft | None:
    row = (await connection.execute(select(drafts).where(drafts.c.id == number))).first()
    return Draft(**row._mapping) if row else None


async def unsent(connection: AsyncConnection) -> list[Draft]:
    """Return the drafts that were not sent, the last changed first."""
    query = select(drafts).where(drafts.c.notice.is_(None)).order_by(drafts.c.changed_at.desc(), drafts.c.id)
    return [Draft(**row._mapping) for row in await connection.execute(query)]


async def change(
    connection: AsyncConnection,
    number: int,
    *,
    revision: int,
    subject: str,
    body: str,
    audience: str,
    at: str,
    meeting: str,
    now: datetime,
) -> bool:
    """Change a draft that was not sent and still has this revision; return whether it did."""
    changed = (
        update(drafts)
        .where(drafts.c.id == number, drafts.c.revision == revision, drafts.c.notice.is_(None))
        .values(
            subject=subject,
            body=body,
            audience=audience,
            at=at,
            meeting=meeting,
            changed_at=now,
            revision=revision + 1,
        )
    )
    return bool((await connection.execute(changed)).rowcount)


async def note_sent(connection: AsyncConnection, number: int, notice: int) -> None:
    await connection.execute(update(drafts).where(drafts.c.id == number).values(notice=notice))


async def forget(connection: AsyncConnection, *, before: datetime) -> None:
    """Delete the drafts, sent or not, that nobody has changed since an instant."""
    await connection.execute(delete(drafts).where(drafts.c.changed_at < before))


async def remove(connection: AsyncConnection, number: int, *, revision: int) -> bool:
    """Delete a draft that was not sent and still has this revision; return whether it did."""
    removed = delete(drafts).where(
        drafts.c.id == number, drafts.c.revision == revision, drafts.c.notice.is_(None)
    )
    return bool((await connection.execute(removed)).rowcount)
