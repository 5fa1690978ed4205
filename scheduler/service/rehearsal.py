"""Rehearse a restore: put a backup into a scratch place, check everything in it, and delete the copy."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from scheduler.domain.clock import Clock
from scheduler.domain.errors import Problem
from scheduler.domain.token import Keys
from scheduler.service.sending_pause import RESTORED, as_state
from scheduler.store import age_files, backups, postgres_backups, service_state
from scheduler.store.backup_folder import BackupFolder, counts_file, require_space
from scheduler.store.database import Database
from scheduler.store.scratch_folder import scratch_folder
from scheduler.store.upgrades import is_known, open_database, revision_of

_SQLITE = b"SQLite format 3\x00"
_DUMP = b"PGDMP"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """A backup that was restored and found to be right.

    `made_at` is None if a dump does not tell. `counts` are its rows by name; `compared` says whether they were compared
    with those that were counted when the backup was made.
    """

    file: Path
    made_at: datetime | None
    took: timedelta
    revision: str
    counts: Mapping[str, int]
    compared: bool


def newest_backup(folder: BackupFolder, now: datetime) -> Path:
    """Return the newest backup in the folder. Raises Problem if there is none."""
    with backups.explain_failures(folder.path):
        newest = folder.newest(now)
    if not newest:
        raise Problem(f"there is no backup in {folder.path} yet; `serve` makes them, or name one with --file")
    return newest.file


async def rehearse(
    database: Database,
    file: Path,
    *,
    keys: Keys,
    clock: Clock,
    identity: Path | None = None,
    scratch_url: str = "",
) -> Rehearsal:
    """Restore `file` into a scratch place, check it, and store the date of the success in `database`.

    `identity` is the file with the secret key of age for an encrypted backup; `scratch_url` is an empty PostgreSQL
    database for a dump. Sends nothing, and does not touch the database otherwise. Raises Problem with what is wrong.
    """
    began = clock.monotonic()
    with backups.explain_failures(file), scratch_folder("third-thursday-rehearsal-") as folder:
        if file.is_file():
            require_space(folder, 2 * file.stat().st_size, remedy="set TMPDIR to a folder on another disk")
        with age_files.decrypted(file, identity, folder=folder / "decrypted") as plain:
            beginning = _beginning(plain)
            if beginning.startswith(_SQLITE):
                restored = await _rehearse_file(file, plain, folder, keys=keys, now=clock.now())
            elif beginning.startswith(_DUMP):
                restored = await _rehearse_dump(file, plain, database, scratch_url, keys=keys)
            else:
                raise Problem(f"{file} is not a backup of Third Thursday, or it is damaged; choose another")
    async with database.write() as connection:
        await service_state.write(connection, service_state.REHEARSED, clock.now())
    return Rehearsal(
        file=file,
        made_at=restored.made_at,
        took=timedelta(seconds=clock.monotonic() - began),
        revision=restored.revision,
        counts=restored.counts,
        compared=restored.compared,
    )


@dataclass(frozen=True, slots=True)
class _RestoredCopy:
    """What a restored copy contains; the names are those of Rehearsal."""

    made_at: datetime | None
    revision: str
    counts: Mapping[str, int]
    compared: bool


async def _rehearse_file(
    file: Path, plain: Path, folder: Path, *, keys: Keys, now: datetime
) -> _RestoredCopy:
    copy = folder / "restored" / "scratch.sqlite"
    key = await asyncio.to_thread(backups.require_backup, plain)
    _require_key(file, Keys(key), keys)
    record = backups.read_record(plain)
    facts = {service_state.PAUSE: as_state(RESTORED, now)}
    await asyncio.to_thread(backups.restore_backup, plain, copy, facts=facts, now=now)
    await asyncio.to_thread(backups.require_references, copy)
    counts = await asyncio.to_thread(backups.count_rows, copy)
    _require_counts(file, counts, record.counts)
    async with _closing(Database(f"sqlite:///{copy}")) as scratch:
        revision = await _require_usable(file, scratch, keys)
        await open_database(scratch, upgrade=True)
    return _RestoredCopy(record.made_at, revision, counts, record.counts is not None)


async def _rehearse_dump(
    file: Path, plain: Path, database: Database, scratch_url: str, *, keys: Keys
) -> _RestoredCopy:
    made_at, expected = _read_counts(file)
    async with postgres_backups.scratch_database(database, scratch_url) as scratch:
        await postgres_backups.restore_dump(plain, scratch)
        revision = await _require_usable(file, scratch, keys)
        counts = await postgres_backups.count_rows(scratch)
        _require_counts(file, counts, expected)
        await open_database(scratch, upgrade=True)
    return _RestoredCopy(made_at, revision, counts, expected is not None)


@asynccontextmanager
async def _closing(database: Database) -> AsyncIterator[Database]:
    try:
        yield database
    finally:
        await database.close()


async def _require_usable(file: Path, scratch: Database, keys: Keys) -> str:
    """Check that this version knows the schema of a restored database and that the key fits; return its revision."""
    async with scratch.read() as connection:
        revision = await revision_of(connection)
        if not revision:
            raise Problem(f"{file} contains another program's data, or nothing; choose another")
        if not is_known(revision):
            raise Problem(
                f"{file} was made by a newer version (its schema is {revision}); install that version"
            )
        fingerprint = await service_state.read(connection, service_state.KEY_FINGERPRINT)
    if fingerprint is not None and fingerprint != keys.fingerprint:
        raise _wrong_key(file)
    return revision


def _require_key(file: Path, own: Keys, used: Keys) -> None:
    if own != used:
        raise _wrong_key(file)


def _wrong_key(file: Path) -> Problem:
    return Problem(
        f"{file} was made with another key than the one in use: after a restore, links in mails sent since would not "
        "work; keep the old key, or rehearse a newer backup"
    )


def _require_counts(file: Path, counts: Mapping[str, int], expected: Mapping[str, int] | None) -> None:
    """Compare the rows that were restored with those that were counted when the backup was made."""
    if expected is None or dict(counts) == dict(expected):
        return
    differences = [
        f"{name}: {counts.get(name, 0)} instead of {expected.get(name, 0)}"
        for name in sorted(counts.keys() | expected.keys())
        if counts.get(name, 0) != expected.get(name, 0)
    ]
    raise Problem(f"{file} does not contain what it should ({'; '.join(differences)}); choose another")


def _beginning(file: Path) -> bytes:
    with file.open("rb") as reader:
        return reader.read(len(_SQLITE))


def _read_counts(file: Path) -> tuple[datetime | None, dict[str, int] | None]:
    """Return when a dump was made and its row counts, from the file beside it; None if there is no such file."""
    beside = counts_file(file)
    try:
        record = json.loads(beside.read_text(encoding="utf-8"))
        made_at, counts, digest = (
            datetime.fromisoformat(record["made_at"]),
            dict(record["counts"]),
            record["sha256"],
        )
    except FileNotFoundError:
        return None, None
    except (ValueError, KeyError, TypeError):
        raise Problem(f"{beside} is damaged; delete it to rehearse the dump without its counts") from None
    if backups.sha256_of(file) != digest:
        raise Problem(f"{file} is damaged: its SHA-256 is not the one in {beside.name}; choose another")
    return made_at, counts
