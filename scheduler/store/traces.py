"""What the files of a SQLite database still show of somebody after the rows are gone."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import func, select

from scheduler.store.database import Database
from scheduler.store.schema import members

_PIECE = 4 * 1024 * 1024


async def wipe(database: Database, words: Sequence[str], *, encoded: bool = False) -> None:
    """See that none of `words` is left in the database's files but where a member on the list has it too.

    With `encoded` something was deleted that held them in an encoding, where they cannot be searched for: the file is
    written anew.

    What is deleted is overwritten (`secure_delete`), but SQLite moves rows between pages and leaves copies in what
    is then free: where one is found, the file is written anew. Raises DatabaseProblem where the database is busy.
    PostgreSQL frees such space by itself, and overwrites it in time.
    """
    await database.flush_log()
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
