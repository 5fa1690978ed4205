"""All that is kept of one person, handed out or taken away as a whole; of who is gone a keyed hash stays."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Table, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.address import address_key
from scheduler.store import facts
from scheduler.store.members import BATCH, Member, by_keys
from scheduler.store.schema import erasures, members, notices, returns


async def erase(connection: AsyncConnection, member: Member, address_hash: str, now: datetime) -> None:
    """Delete a member and all that hangs on them; only the keyed hash of the address stays."""
    await facts.note_change(connection)
    await _erase_mentions(connection, member)
    for table in _hanging():
        await connection.execute(delete(table).where(table.c.member == member.id))
    await connection.execute(delete(members).where(members.c.id == member.id))
    named = select(notices.c.id, notices.c.audience).where(notices.c.audience.contains("@"))
    for number, audience in (await connection.execute(named)).all():
        if member.address_key in audience.casefold():
            await connection.execute(
                update(notices).where(notices.c.id == number).values(audience="one who was erased")
            )
    known = await connection.scalar(
        select(erasures.c.erased_at).where(erasures.c.address_hash == address_hash)
    )
    if known is None:
        await connection.execute(insert(erasures).values(address_hash=address_hash, erased_at=now))


async def _erase_mentions(connection: AsyncConnection, member: Member) -> None:
    """Delete what came back, is nobody's, and names an address of the member's."""
    sought = [one.encode().lower() for one in await addresses_of(connection, member)]
    nobodys = select(returns.c.id).where(returns.c.member.is_(None))
    for number in (await connection.scalars(nobodys)).all():
        content = await connection.scalar(select(returns.c.content).where(returns.c.id == number)) or b""
        if any(one in content.lower() for one in sought):
            await connection.execute(delete(returns).where(returns.c.id == number))


async def addresses_of(connection: AsyncConnection, member: Member) -> list[str]:
    """A member's address, as written and as compared, and those that they had or named and that are nobody else's."""
    own = {member.address, member.address_key}
    query = select(notices.c.address).where(notices.c.member == member.id, notices.c.address.is_not(None))
    named = set((await connection.scalars(query.distinct())).all())
    others = await by_keys(connection, [address_key(one) for one in named])
    return [*own, *sorted(named - own - {one for one in named if address_key(one) in others})]


async def held_about(connection: AsyncConnection, number: int) -> dict[str, list[dict[str, Any]]]:
    """All that is kept of a member, by table: every row that erasing them removes."""
    found = {}
    for table, key in ((members, members.c.id), *((table, table.c.member) for table in _hanging())):
        rows = await connection.execute(select(table).where(key == number))
        found[table.name] = [dict(row._mapping) for row in rows]
    return found


async def let_return(connection: AsyncConnection, address_hash: str) -> None:
    """Forget that the person of this keyed hash was erased."""
    await connection.execute(delete(erasures).where(erasures.c.address_hash == address_hash))


async def erased(connection: AsyncConnection, hashes: Sequence[str]) -> set[str]:
    """Those of the keyed hashes whose people asked to be forgotten."""
    found: set[str] = set()
    for start in range(0, len(hashes), BATCH):
        query = select(erasures.c.address_hash).where(
            erasures.c.address_hash.in_(hashes[start : start + BATCH])
        )
        found.update((await connection.scalars(query)).all())
    return found


async def any_erased(connection: AsyncConnection) -> bool:
    return await connection.scalar(select(erasures.c.address_hash).limit(1)) is not None


def _hanging() -> list[Table]:
    """The tables whose rows belong to a member: what is erased with them, and handed out to them."""
    return [
        table
        for table in members.metadata.sorted_tables
        if "member" in table.c and table.c.member.references(members.c.id)
    ]
