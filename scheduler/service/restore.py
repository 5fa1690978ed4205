"""Back up and restore the database. After a restore nobody is mailed twice: sending is paused until `resume`."""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from scheduler.domain.errors import Problem
from scheduler.domain.token import Keys
from scheduler.service.sending_pause import RESTORED, as_state, current_pause, end_sending_pause
from scheduler.store import age_files, backups, service_state
from scheduler.store.database import Database
from scheduler.store.key_file import read_key, write_key
from scheduler.store.ledger import lifecycle, reports
from scheduler.store.ledger.reports import PastDue


@dataclass(frozen=True, slots=True)
class MissedMail:
    """What was due before a restore and still waits: the deliveries by notice, and to how many members they go."""

    notices: list[PastDue]
    members: int


async def back_up(database: Database, file: Path, *, keys: Keys, now: datetime) -> None:
    """Write the whole database, as of one moment, and its key to one file. Raises Problem on PostgreSQL or if the file
    cannot be written."""
    path = _require_file(database, "pg_dump --format=custom, and keep [security] key with it")
    await asyncio.to_thread(backups.make_backup, path, file, key=keys.secret, now=now)


async def restore(
    database: Database,
    file: Path,
    *,
    secret: Path,
    settings_key: bytes | None,
    now: datetime,
    identity: Path | None = None,
) -> Path | None:
    """Restore a backup, write its key to `secret`, and pause sending until `resume`.

    `identity` is the file with the secret key of age for an encrypted backup. Returns where the replaced database was
    moved to. Raises Problem if the file cannot be used, if a `serve` is running, or if the settings have another key
    (`settings_key`) than the backup.
    """
    path = _require_file(
        database, "pg_restore; the first tick notices it, and holds sending until `third-thursday resume`"
    )
    async with database.exclusive():
        decrypting = path.with_name(f".{path.name}.decrypted")
        with backups.explain_failures(file), age_files.decrypted(file, identity, folder=decrypting) as plain:
            key = await asyncio.to_thread(backups.require_backup, plain)
            if settings_key is not None and settings_key != key:
                raise Problem(
                    f"{file} was made with another key than [security] key: every link in its mails would break; "
                    "remove that setting, or set it to the key in the backup's table `backup`"
                )
            if settings_key is None and not _has_key(secret, key):
                # Before the database: beside the wrong key, every link in a mail would be wrong.
                backups.set_aside(secret, now)
                write_key(secret, key)
            facts = {service_state.PAUSE: as_state(RESTORED, now)}
            return await asyncio.to_thread(backups.restore_backup, plain, path, facts=facts, now=now)


async def missed(database: Database) -> MissedMail:
    """Return what was due before a restore and still waits; nothing unless sending is paused by a restore."""
    async with database.read() as connection:
        pause = await current_pause(connection)
        if pause is None or pause.reason != RESTORED:
            return MissedMail([], 0)
        return MissedMail(
            await reports.due_before(connection, pause.since),
            await reports.members_due_before(connection, pause.since),
        )


async def resume_without_missed(database: Database) -> int:
    """Resume sending after a restore without what was due before it, which may have been sent after the backup was
    made. Returns the number of deliveries ended."""
    async with database.write() as connection:
        pause = await end_sending_pause(connection)
        assert pause
        return await lifecycle.end_due_before(connection, pause.since, reason=RESTORED)


def _require_file(database: Database, instead: str) -> Path:
    if database.path is None:
        raise Problem(f"this command works on SQLite only; for PostgreSQL use {instead}")
    return database.path


def _has_key(secret: Path, key: bytes) -> bool:
    try:
        return read_key(secret) == key
    except Problem:
        return False
