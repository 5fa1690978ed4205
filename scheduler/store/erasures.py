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
from scheduler.domain.policy import Kind
from scheduler.store import about, audit, service_state
from scheduler.store.database import MOST_VALUES, Database
from scheduler.store.members import Member, by_keys
from scheduler.store.schema import (
    drafts,
    erasures,
    meeting_records,
    members,
    notices,
    occurrences,
    returns,
    revisions,
    speakers,
    themes,
)


async def erase(connection: AsyncConnection, member: Member, address_hash: str, now: datetime) -> None:
    """Delete a member and all rows that belong to them; only the keyed hash of the address remains."""
    await service_state.note_change(connection)
    await audit.blank(connection, member.id)
    await about.blank(connection, member.id)
    for table in _tables_of_member():
        await connection.execute(delete(table).where(table.c.member == member.id))
    await connection.execute(delete(members).where(members.c.id == member.id))
    by_address = select(notices.c.id, notices.c.audience).where(notices.c.audience.contains("@"))
    for number, audience in (await connection.execute(by_address)).all():
        if member.address_key in audience.casefold():
            await connection.execute(
                update(notices).where(notices.c.id == number).values(audience="one who was erased")
            )
    erased_at = await connection.scalar(
        select(erasures.c.erased_at).where(erasures.c.address_hash == address_hash)
    )
    if erased_at is None:
        await connection.execute(insert(erasures).values(address_hash=address_hash, erased_at=now))


_MAIL_SYSTEM_TEXTS = (
    (returns, returns.c.words),
    (members, members.c.suppressed_for),
)
"""What mail systems reported about members' mail. If a member forwards theirs to another person, it may name that
person's address. Our own relay does not know of the forward: `deliveries.reason` names at most the member's own."""

_ERASED = "(erased)"


async def blank_addresses(connection: AsyncConnection, addresses: Sequence[str]) -> None:
    """Replace addresses in what mail systems reported about any member's mail."""
    if not addresses:
        return
    pattern = re.compile("|".join(re.escape(address) for address in addresses), re.IGNORECASE)
    for table, column in _MAIL_SYSTEM_TEXTS:
        key = list(table.primary_key)
        contains_any = or_(
            *(func.lower(column).contains(address.lower(), autoescape=True) for address in addresses)
        )
        for row in (await connection.execute(select(*key, column).where(contains_any))).all():
            is_row = and_(*(key_column == value for key_column, value in zip(key, row[:-1], strict=True)))
            blanked = pattern.sub(_ERASED, row[-1])
            length = getattr(column.type, "length", None)
            await connection.execute(update(table).where(is_row).values({column: blanked[:length]}))


async def shares_name(connection: AsyncConnection, member: Member) -> bool:
    """Return whether another member has the same name."""
    namesake = select(members.c.id).where(members.c.name == member.name, members.c.id != member.id).limit(1)
    return await connection.scalar(namesake) is not None


_TEXTS_OF_MEETING = ("topic", "speakers", "description", "materials")


async def texts_for_everybody(connection: AsyncConnection) -> AsyncIterator[tuple[str, str]]:
    """Yield the texts by convenors that may name anybody, in occurrences, their records, notices, drafts and the page
    about the community: where each is, and the text."""
    texts = [occurrences.c[name] for name in _TEXTS_OF_MEETING]
    for row in await connection.execute(select(occurrences.c.key, *texts).order_by(occurrences.c.key)):
        yield f"the topic, speakers, description or materials of {row.key}", "\n".join(row[1:])
    states = select(revisions.c.occurrence, revisions.c.state).order_by(revisions.c.occurrence)
    for key, state in await connection.execute(states):
        values = (state.get(name, "") for name in _TEXTS_OF_MEETING)
        yield f"earlier versions of {key}", "\n".join(map(str, values))
    for row in await connection.execute(select(meeting_records).order_by(meeting_records.c.occurrence)):
        yield f"the summary or insights of {row.occurrence}", f"{row.summary}\n{row.insights}"
    for row in await connection.execute(select(themes).order_by(themes.c.slug)):
        yield f"the theme {row.slug}", f"{row.name}\n{row.words}"
    for row in await connection.execute(select(speakers).order_by(speakers.c.slug)):
        yield f"the speaker {row.slug}", f"{row.name}\n{row.role}\n{row.organisation}\n{row.link}"
    with_text = select(notices.c.id, notices.c.subject, notices.c.body).where(
        notices.c.member.is_(None), (notices.c.subject != "") | (notices.c.body != "")
    )
    for number, subject, body in await connection.execute(with_text.order_by(notices.c.id)):
        yield f"notice {number}", f"{subject}\n{body}"
    for version in await about.every(connection):
        yield f"version {version.id} of the page about the community (`about show`)", version.body
    unsent = select(drafts.c.id, drafts.c.subject, drafts.c.body).where(drafts.c.notice.is_(None))
    for number, subject, body in await connection.execute(unsent.order_by(drafts.c.id)):
        yield f"draft {number}", f"{subject}\n{body}"


async def addresses_of(connection: AsyncConnection, member: Member) -> list[str]:
    """Return a member's address, its key, and the addresses of their service mails that belong to no other member."""
    own = {member.address, member.address_key}
    # A message to the convenors goes to an address that they share.
    query = select(notices.c.address).where(
        notices.c.member == member.id, notices.c.address.is_not(None), notices.c.kind != Kind.CONTACT
    )
    mailed = set((await connection.scalars(query.distinct())).all())
    of_members = await by_keys(connection, [address_key(address) for address in mailed])
    return [
        *own,
        *sorted(mailed - own - {address for address in mailed if address_key(address) in of_members}),
    ]


async def rows_about(connection: AsyncConnection, number: int) -> dict[str, list[dict[str, Any]]]:
    """Return everything stored about a member, by table: every row that erasing them deletes."""
    by_table = {}
    for table, key in ((members, members.c.id), *((table, table.c.member) for table in _tables_of_member())):
        rows = await connection.execute(select(table).where(key == number))
        by_table[table.name] = [dict(row._mapping) for row in rows]
    return by_table


async def has_worded_mails(connection: AsyncConnection, number: int) -> bool:
    """Return whether a member was sent mails of their own with a convenor's words, which may name them."""
    query = select(notices.c.id).where(
        notices.c.member == number, notices.c.body != "", notices.c.again.is_(None)
    )
    return await connection.scalar(query.limit(1)) is not None


async def allow_return(connection: AsyncConnection, address_hash: str) -> None:
    """Delete the record that the person with this keyed hash was erased, so that they can be added again."""
    await connection.execute(delete(erasures).where(erasures.c.address_hash == address_hash))


async def find_erased(connection: AsyncConnection, hashes: Sequence[str]) -> set[str]:
    """Return those of the keyed hashes that belong to people who asked to be erased."""
    erased: set[str] = set()
    for start in range(0, len(hashes), MOST_VALUES):
        query = select(erasures.c.address_hash).where(
            erasures.c.address_hash.in_(hashes[start : start + MOST_VALUES])
        )
        erased.update((await connection.scalars(query)).all())
    return erased


async def any_erased(connection: AsyncConnection) -> bool:
    return await connection.scalar(select(erasures.c.address_hash).limit(1)) is not None


def _tables_of_member() -> list[Table]:
    """Return the tables whose rows belong to a member: they are erased and exported with them."""
    return [
        table
        for table in members.metadata.sorted_tables
        if "member" in table.c and table.c.member.references(members.c.id)
    ]


_READ_OCTETS = 4 * 1024 * 1024


async def wipe(database: Database, words: Sequence[str], *, encoded: bool = False) -> None:
    """Make sure that none of `words` is left in SQLite's files, unless a member's name or address contains it too.

    SQLite overwrites what is deleted (`secure_delete`), but it also moves rows between pages and leaves copies in the
    space that this frees. The file is rewritten if a copy is found, or with `encoded`: then the deleted rows held the
    words in an encoding, in which they cannot be searched for.

    Raises DatabaseProblem if the database is busy. PostgreSQL reuses and overwrites such space by itself, in time.
    """
    await database.checkpoint()
    if database.path and (unused := await _unused_by_members(database, words)):
        files = [database.path, database.path.with_name(database.path.name + "-wal")]
        if encoded or await asyncio.to_thread(_contain_any, files, [word.encode() for word in unused]):
            await database.vacuum()


async def _unused_by_members(database: Database, words: Sequence[str]) -> list[str]:
    """Return those of `words` that no member's name or address contains."""
    unused = []
    async with database.read() as connection:
        for word in filter(None, words):
            contains = [func.instr(column, word) > 0 for column in (members.c.name, members.c.address)]
            if await connection.scalar(select(members.c.id).where(or_(*contains)).limit(1)) is None:
                unused.append(word)
    return unused


def _contain_any(files: Sequence[Path], words: Sequence[bytes]) -> bool:
    overlap = max(map(len, words)) - 1
    for path in files:
        if path.exists():
            with path.open("rb") as file:
                tail = b""
                while block := file.read(_READ_OCTETS):
                    window = tail + block
                    if any(word in window for word in words):
                        return True
                    tail = window[-overlap:] if overlap else b""
    return False
