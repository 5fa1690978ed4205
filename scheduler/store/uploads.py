"""Tables that convenors want to import, kept until they have seen what that would do."""

from datetime import datetime

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.store.schema import uploads


async def add(connection: AsyncConnection, *, member: int, content: bytes, now: datetime) -> int:
    """Insert a table and return its number."""
    row = insert(uploads).values(author=member, content=content, created_at=now)
    return int(await connection.scalar(row.returning(uploads.c.id)) or 0)


async def content_of(connection: AsyncConnection, number: int, *, member: int) -> bytes | None:
    """Return a table that a member sent; None if they sent none with that number."""
    query = select(uploads.c.content).where(uploads.c.id == number, uploads.c.author == member)
    content: bytes | None = await connection.scalar(query)
    return content


async def remove_of(connection: AsyncConnection, member: int) -> None:
    """Delete the tables that a member sent."""
    await connection.execute(delete(uploads).where(uploads.c.author == member))


async def forget(connection: AsyncConnection, *, before: datetime) -> None:
    """Delete the tables that came before an instant."""
    await connection.execute(delete(uploads).where(uploads.c.created_at < before))
