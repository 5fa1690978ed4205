"""Passkeys of convenors and helpers."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.store.schema import passkeys


@dataclass(frozen=True, slots=True, kw_only=True)
class Passkey:
    """A passkey. `credential` is its ID, `key_data` its attested credential data (WebAuthn, section 6.5.1)."""

    id: int
    member: int
    credential: bytes
    key_data: bytes
    name: str
    created_at: datetime
    used_at: datetime | None


async def add(
    connection: AsyncConnection,
    *,
    member: int,
    credential: bytes,
    key_data: bytes,
    name: str,
    now: datetime,
) -> None:
    """Insert a passkey. Raises IntegrityError if it is known."""
    await connection.execute(
        insert(passkeys).values(
            member=member, credential=credential, key_data=key_data, name=name, created_at=now
        )
    )


async def by_credential(connection: AsyncConnection, credential: bytes) -> Passkey | None:
    row = (await connection.execute(select(passkeys).where(passkeys.c.credential == credential))).first()
    return Passkey(**row._mapping) if row else None


async def of_member(connection: AsyncConnection, member: int) -> list[Passkey]:
    """Return a member's passkeys, the oldest first."""
    query = select(passkeys).where(passkeys.c.member == member).order_by(passkeys.c.id)
    return [Passkey(**row._mapping) for row in await connection.execute(query)]


async def note_use(connection: AsyncConnection, number: int, now: datetime) -> None:
    await connection.execute(update(passkeys).where(passkeys.c.id == number).values(used_at=now))


async def remove(connection: AsyncConnection, number: int, *, member: int) -> bool:
    """Delete a member's passkey, and return whether it was there."""
    removed = delete(passkeys).where(passkeys.c.id == number, passkeys.c.member == member)
    return bool((await connection.execute(removed)).rowcount)
