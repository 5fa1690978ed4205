"""Export or delete everything stored about a person, including what the files of a SQLite database still contain."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Table, and_, delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.address import address_key
from scheduler.store import service_state
from scheduler.store.database import Database
from scheduler.store.members import BATCH, Member, by_keys
from scheduler.store.schema import erasures, members, notices, occurrences, returns, revisions


async def erase(connection: AsyncConnection, member: Member, address_hash: str, now: datetime) -> None:
    """Delete a member and all that hangs on them; only the keyed hash of the address stays."""
    await service_state.note_change(connection)
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


_OTHERS_WORDS = (
    (returns, returns.c.words),
    (members, members.c.suppressed_for),
)
"""What mail systems said of other members' mail: where one forwards theirs to somebody, it may name that address. Our
own relay knows of no such forward, and what it said (`deliveries.reason`) names the member's own address at most."""

_ERASED = "(erased)"


async def blank_addresses(connection: AsyncConnection, addresses: Sequence[str]) -> None:
    """Blank addresses in what mail systems said of anybody's mail."""
    if not addresses:
        return
    sought = re.compile("|".join(re.escape(one) for one in addresses), re.IGNORECASE)
    for table, column in _OTHERS_WORDS:
        key = list(table.primary_key)
        naming = or_(*(func.lower(column).contains(one.lower(), autoescape=True) for one in addresses))
        for row in (await connection.execute(select(*key, column).where(naming))).all():
            is_row = and_(*(one == value for one, value in zip(key, row[:-1], strict=True)))
            blanked = sought.sub(_ERASED, row[-1])
            length = getattr(column.type, "length", None)
            await connection.execute(update(table).where(is_row).values({column: blanked[:length]}))


async def shares_name(connection: AsyncConnection, member: Member) -> bool:
    """Whether another member has the same name."""
    other = select(members.c.id).where(members.c.name == member.name, members.c.id != member.id).limit(1)
    return await connection.scalar(other) is not None


async def texts_for_everybody(connection: AsyncConnection) -> AsyncIterator[tuple[str, str]]:
    """What convenors wrote of meetings and in notices, which may name anybody: where it is, and the text."""
    its = (occurrences.c.topic, occurrences.c.speakers, occurrences.c.materials)
    for row in await connection.execute(select(occurrences.c.key, *its).order_by(occurrences.c.key)):
        yield f"the topic, speakers or materials of {row.key}", "\n".join(row[1:])
    states = select(revisions.c.occurrence, revisions.c.state).order_by(revisions.c.occurrence)
    for key, state in await connection.execute(states):
        said = (state.get(name, "") for name in ("topic", "speakers", "materials"))
        yield f"earlier versions of {key}", "\n".join(map(str, said))
    written = select(notices.c.id, notices.c.subject, notices.c.body).where(
        notices.c.member.is_(None), (notices.c.subject != "") | (notices.c.body != "")
    )
    for number, subject, body in await connection.execute(written.order_by(notices.c.id)):
        yield f"notice {number}", f"{subject}\n{body}"


async def addresses_of(connection: AsyncConnection, member: Member) -> list[str]:
    """A member's address, as written and as compared, and those that they had or named and that are nobody else's."""
    own = {member.address, member.address_key}
    query = select(notices.c.address).where(notices.c.member == member.id, notices.c.address.is_not(None))
    named = set((await connection.scalars(query.distinct())).all())
    others = await by_keys(connection, [address_key(one) for one in named])
    return [*own, *sorted(named - own - {one for one in named if address_key(one) in others})]


async def rows_about(connection: AsyncConnection, number: int) -> dict[str, list[dict[str, Any]]]:
    """All that is kept of a member, by table: every row that erasing them removes."""
    found = {}
    for table, key in ((members, members.c.id), *((table, table.c.member) for table in _hanging())):
        rows = await connection.execute(select(table).where(key == number))
        found[table.name] = [dict(row._mapping) for row in rows]
    return found


async def allow_return(connection: AsyncConnection, address_hash: str) -> None:
    """Forget that the person of this keyed hash was erased."""
    await connection.execute(delete(erasures).where(erasures.c.address_hash == address_hash))


async def find_erased(connection: AsyncConnection, hashes: Sequence[str]) -> set[str]:
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


_PIECE = 4 * 1024 * 1024


async def wipe(database: Database, words: Sequence[str], *, encoded: bool = False) -> None:
    """See that none of `words` is left in the database's files but where a member on the list has it too.

    With `encoded` something was deleted that held them in an encoding, where they cannot be searched for: the file is
    written anew.

    What is deleted is overwritten (`secure_delete`), but SQLite moves rows between pages and leaves copies in what
    is then free: where one is found, the file is written anew. Raises DatabaseProblem where the database is busy.
    PostgreSQL frees such space by itself, and overwrites it in time.
    """
    await database.checkpoint()
    if database.path and (sought := await _nobodys(database, words)):
        files = [database.path, database.path.with_name(database.path.name + "-wal")]
        if encoded or await asyncio.to_thread(_shows, files, [word.encode() for word in sought]):
            await database.rewrite()


async def _nobodys(database: Database, words: Sequence[str]) -> list[str]:
    """Those of `words` that no member's name or address contains."""
    found = []
    async with database.read() as connection:
        for word in filter(None, words):
            has = [func.instr(column, word) > 0 for column in (members.c.name, members.c.address)]
            if await connection.scalar(select(members.c.id).where(has[0] | has[1]).limit(1)) is None:
                found.append(word)
    return found


def _shows(files: Sequence[Path], words: Sequence[bytes]) -> bool:
    overlap = max(map(len, words)) - 1
    for path in files:
        if path.exists():
            with path.open("rb") as file:
                kept = b""
                while piece := file.read(_PIECE):
                    window = kept + piece
                    if any(word in window for word in words):
                        return True
                    kept = window[-overlap:] if overlap else b""
    return False
