"""The page about the community, as it was each time it was saved."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.actor import Actor
from scheduler.store import service_state
from scheduler.store.schema import about_versions


@dataclass(frozen=True, slots=True, kw_only=True)
class AboutVersion:
    """The text (Markdown) as somebody saved it. Numbers rise, so the highest is what is shown."""

    id: int
    body: str
    author: int | None
    author_name: str
    saved_at: datetime


async def lock(connection: AsyncConnection) -> None:
    """Let nobody else change the page until the transaction ends."""
    await service_state.note_change(connection)


async def newest(connection: AsyncConnection) -> AboutVersion | None:
    """Return the version that is shown; None if nobody has written the page."""
    query = select(about_versions).order_by(about_versions.c.id.desc()).limit(1)
    row = (await connection.execute(query)).first()
    return AboutVersion(**row._mapping) if row else None


async def by_id(connection: AsyncConnection, number: int) -> AboutVersion | None:
    row = (await connection.execute(select(about_versions).where(about_versions.c.id == number))).first()
    return AboutVersion(**row._mapping) if row else None


async def every(connection: AsyncConnection) -> list[AboutVersion]:
    """Return all versions, the newest first."""
    query = select(about_versions).order_by(about_versions.c.id.desc())
    return [AboutVersion(**row._mapping) for row in await connection.execute(query)]


async def add(connection: AsyncConnection, body: str, *, by: Actor, now: datetime) -> int:
    """Insert a version, in a transaction that has the lock, and return its number."""
    row = insert(about_versions).values(body=body, author=by.member, author_name=by.name, saved_at=now)
    return int(await connection.scalar(row.returning(about_versions.c.id)) or 0)


async def blank(connection: AsyncConnection, member: int) -> None:
    """Remove the name of a member who is erased from the versions that they saved."""
    await connection.execute(
        update(about_versions)
        .where(about_versions.c.author == member)
        .values(author=None, author_name="(erased)")
    )


async def forget(connection: AsyncConnection, *, before: datetime) -> None:
    """Delete the versions saved before an instant, except the one that is shown."""
    shown = select(func.max(about_versions.c.id)).scalar_subquery()
    await connection.execute(
        delete(about_versions).where(about_versions.c.saved_at < before, about_versions.c.id != shown)
    )
