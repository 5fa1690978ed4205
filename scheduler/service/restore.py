"""Going back to a backup without telling anybody twice: held first, and what was due before is shown and let go."""

import asyncio
from datetime import datetime
from pathlib import Path

from scheduler.domain.errors import Problem
from scheduler.domain.token import Keys
from scheduler.service.sending_pause import RESTORED, as_fact, held, release
from scheduler.store import backups, service_state
from scheduler.store.database import Database
from scheduler.store.key_file import read_key, write_key
from scheduler.store.ledger import lifecycle, reports
from scheduler.store.ledger.reports import PastDue


async def back_up(database: Database, file: Path, *, keys: Keys, now: datetime) -> None:
    """Keep all there is, as of one moment, in one file. Raises Problem."""
    path = _require_file(database, "pg_dump --format=custom, and keep [security] key with it")
    await asyncio.to_thread(backups.make_backup, path, file, key=keys.secret, now=now)


async def restore(
    database: Database, file: Path, *, secret: Path, given: bytes | None, now: datetime
) -> Path | None:
    """Put a backup back, its key into `secret`, and hold sending until `resume`. Returns where the database that it
    replaced lies. Raises Problem where the file cannot be used, a `serve` runs, or another key is `given` by the
    settings."""
    path = _require_file(
        database, "pg_restore; the first tick notices it, and holds sending until `third-thursday resume`"
    )
    async with database.exclusive():
        key = await asyncio.to_thread(backups.require_backup, file)
        if given is not None and given != key:
            raise Problem(
                f"{file} was made with another key than [security] key names: its links would break; "
                "take that setting out, or set it to the key in the backup's table `backup`"
            )
        if given is None and not _holds(secret, key):
            # Before the database: with a wrong key beside it every link in a mail would be wrong.
            backups.set_aside(secret, now)
            write_key(secret, key)
        return await asyncio.to_thread(
            backups.restore_backup, file, path, facts={service_state.HOLD: as_fact(RESTORED, now)}, now=now
        )


async def missed(database: Database) -> list[PastDue]:
    """What waits although it was due before a restore; nothing where sending is not held by one."""
    async with database.read() as connection:
        standing = await held(connection)
        if standing is None or standing.reason != RESTORED:
            return []
        return await reports.due_before(connection, standing.since)


async def let_go(database: Database) -> int:
    """Go on after a restore without what was due before it: it may have been sent after the backup was made.
    Returns how many deliveries were ended."""
    async with database.write() as connection:
        was = await release(connection)
        assert was
        return await lifecycle.end_due_before(connection, was.since, reason=RESTORED)


def _require_file(database: Database, instead: str) -> Path:
    if database.path is None:
        raise Problem(f"PostgreSQL has its own way; use {instead}")
    return database.path


def _holds(secret: Path, key: bytes) -> bool:
    try:
        return read_key(secret) == key
    except Problem:
        return False
