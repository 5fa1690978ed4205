"""Backups: copy the whole SQLite database and the key into one file, and restore from it."""

import hashlib
import json
import os
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from scheduler.domain.errors import Problem
from scheduler.domain.text import counted
from scheduler.store.key_file import draft_name, sync_to_disk
from scheduler.store.upgrades import is_known

FORMAT = 1
"""The version of the backup's own table, which is stored in its column `form`."""

_CREATE_TABLE = (
    "CREATE TABLE backup (form INTEGER NOT NULL, made_at TEXT NOT NULL, key TEXT NOT NULL, counts TEXT)"
)

COUNTS = """
SELECT 'members ' || status, count(*) FROM members GROUP BY status
UNION ALL SELECT 'notices ' || kind, count(*) FROM notices GROUP BY kind
UNION ALL SELECT 'deliveries ' || state, count(*) FROM deliveries GROUP BY state
UNION ALL SELECT 'archived deliveries ' || state, count(*) FROM past_deliveries GROUP BY state
"""
"""Counts the rows that matter most, by name, on both kinds of database. A backup keeps the result, so that a rehearsal
can see whether rows are missing from it."""


_SEAL = b"third-thursday sha256 "
"""Before the SHA-256 at the end of a backup, after the last page of the database. SQLite does not read it."""
_SEAL_LENGTH = len(_SEAL) + 64


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupRecord:
    """What a backup says about itself. `counts` is the result of COUNTS, or None if an older version made it."""

    made_at: datetime
    key: bytes
    counts: dict[str, int] | None


def make_backup(source: Path, file: Path, *, key: bytes, now: datetime) -> None:
    """Write a consistent copy of `source` (SQLite) and the key into `file` (mode 0600) while others read and write.

    An earlier backup is replaced once the new one is complete; any other file of that name is left alone.
    Blocks, some seconds for each gigabyte. Raises Problem.
    """
    if file.exists() and not _is_backup(file):
        raise Problem(f"{file} exists and is not a backup; choose another name")
    with explain_failures(file), draft_of(file) as draft:
        write_backup(source, draft, key=key, now=now)
        replace_file(draft, file)


def write_backup(source: Path, draft: Path, *, key: bytes, now: datetime) -> None:
    """Write a consistent copy of `source` (SQLite) and the key into an empty file. Blocks."""
    with _open(source, "rw") as reader, _open(draft, "rw") as writer:
        reader.backup(writer)
        # Without a write-ahead log beside it, the file alone is the whole backup.
        writer.execute("PRAGMA journal_mode = DELETE")
        counts = json.dumps(dict(writer.execute(COUNTS).fetchall()))
        writer.execute(_CREATE_TABLE)
        writer.execute("INSERT INTO backup VALUES (?, ?, ?, ?)", (FORMAT, now.isoformat(), key.hex(), counts))
        writer.commit()
    digest = sha256_of(draft)
    with draft.open("ab") as file:
        file.write(_SEAL + digest.encode())


def read_record(file: Path) -> BackupRecord:
    """Return what a backup that `require_backup` has accepted says about itself. Raises Problem."""
    with explain_failures(file), _open(file, "ro") as reader:
        reader.row_factory = sqlite3.Row
        row = dict(reader.execute("SELECT * FROM backup").fetchone())
    return BackupRecord(
        made_at=datetime.fromisoformat(row["made_at"]),
        key=bytes.fromhex(row["key"]),
        counts=json.loads(row["counts"]) if row.get("counts") else None,
    )


def count_rows(file: Path) -> dict[str, int]:
    """Return the result of COUNTS for a SQLite database. Raises Problem."""
    with explain_failures(file), _open(file, "ro") as reader:
        return dict(reader.execute(COUNTS).fetchall())


def require_references(file: Path) -> None:
    """Raise Problem if a row of a SQLite database refers to one that does not exist. Blocks."""
    with explain_failures(file), _open(file, "ro") as reader:
        rows = reader.execute("PRAGMA foreign_key_check").fetchall()
    if rows:
        tables = ", ".join(sorted({str(row[0]) for row in rows}))
        raise Problem(
            f"{counted(len(rows), f'row of {tables} refers', f'rows of {tables} refer')} to rows that are missing"
        )


def require_backup(file: Path) -> bytes:
    """Check that `file` is an intact backup that this version can read, and return its key. Blocks. Raises Problem."""
    if not file.is_file():
        raise Problem(f"there is no backup {file}; check the name")
    if not _is_backup(file):
        raise Problem(f"{file} is not a backup of Third Thursday, or it is damaged; choose another")
    with explain_failures(file), _open(file, "ro") as reader:
        form, key = reader.execute("SELECT form, key FROM backup").fetchone()
        (schema,) = reader.execute("SELECT version_num FROM alembic_version").fetchone()
        if form > FORMAT or not is_known(schema):
            raise Problem(
                f"{file} was made by a newer version (its schema is {schema}); install that version"
            )
        if damage := _damage(file):
            raise Problem(f"{file} is damaged: {damage}; choose another")
        (result,) = reader.execute("PRAGMA integrity_check(1)").fetchone()
        if result != "ok":
            raise Problem(f"{file} is damaged: {result.splitlines()[-1]}; choose another")
        return bytes.fromhex(key)


def sha256_of(file: Path, size: int | None = None) -> str:
    """Return the SHA-256 of a file, or of its first `size` bytes, in hexadecimal. Blocks. Raises OSError."""
    digest, left = hashlib.sha256(), file.stat().st_size if size is None else size
    with file.open("rb") as reader:
        while left and (chunk := reader.read(min(left, 1 << 20))):
            digest.update(chunk)
            left -= len(chunk)
    return digest.hexdigest()


def _damage(file: Path) -> str:
    """Return how a backup differs from what was written, or an empty string. SQLite itself notices little of that."""
    size = file.stat().st_size
    with file.open("rb") as reader:
        header = reader.read(32)
        page_size, pages = int.from_bytes(header[16:18]), int.from_bytes(header[28:32])
        # SQLite writes a page size of 65536 as 1.
        database = (65_536 if page_size == 1 else page_size) * pages
        reader.seek(min(database, size))
        seal = reader.read(_SEAL_LENGTH + 1)
    if size < database:
        return "its end is missing"
    # A backup of an earlier version has no seal.
    if seal and seal != _SEAL + sha256_of(file, database).encode():
        return "its SHA-256 is not the one with which it was written"
    return ""


def restore_backup(file: Path, database: Path, *, facts: Mapping[str, Any], now: datetime) -> Path | None:
    """Replace the database with a checked backup, adding `facts` (service state) before anybody can see it.

    Rename the existing database and return its new name, or None if there was none. Delete what a killed restore left.
    Only for use while no `serve` runs. Blocks. Raises Problem.
    """
    with explain_failures(database):
        _delete_drafts(database)
    with explain_failures(database), draft_of(database) as draft:
        with _open(file, "ro") as reader, _open(draft, "rw") as writer:
            reader.backup(writer)
            writer.execute("PRAGMA secure_delete = ON")
            writer.execute("DROP TABLE backup")
            for name, value in facts.items():
                writer.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, json.dumps(value)))
            writer.commit()
        former = set_aside(database, now)
        replace_file(draft, database)
        return former


def set_aside(path: Path, now: datetime) -> Path | None:
    """Rename a database file and SQLite's log of it; return the new name, or None if there is no such file.

    The file is renamed before its log: SQLite deletes a log that it finds beside an empty database.
    """
    if not path.exists():
        return None
    renamed = path.with_name(f"{path.name}.before-{now:%Y%m%dT%H%M%S}")
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(renamed.with_name(renamed.name + suffix))
    return renamed


def _is_backup(file: Path) -> bool:
    try:
        with _open(file, "ro") as reader:
            return bool(reader.execute("SELECT count(*) FROM backup").fetchone() == (1,))
    except sqlite3.Error:
        return False


@contextmanager
def _open(file: Path, mode: str) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(f"{file.absolute().as_uri()}?mode={mode}", uri=True, timeout=30)
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def draft_of(file: Path) -> Iterator[Path]:
    """Create an empty file in the folder of `file` that nobody else may read; delete it at the end."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = draft_name(file)
    os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        yield draft
    finally:
        for suffix in ("", "-wal", "-shm", "-journal"):
            draft.with_name(draft.name + suffix).unlink(missing_ok=True)


def _delete_drafts(file: Path) -> None:
    """Delete what killed processes left of `draft_of(file)`; only for use while nobody else can be writing one."""
    draft = re.compile(rf"\.{re.escape(file.name)}\.\d+(-wal|-shm|-journal)?", re.ASCII)
    for other in file.parent.iterdir() if file.parent.is_dir() else ():
        if draft.fullmatch(other.name):
            other.unlink(missing_ok=True)


def replace_file(draft: Path, file: Path) -> None:
    """Rename a finished draft to `file` durably: after a power cut the file is complete."""
    sync_to_disk(draft)
    draft.replace(file)
    sync_to_disk(file.parent)


@contextmanager
def explain_failures(file: Path) -> Iterator[None]:
    """Turn a failure to read or write `file` into a Problem."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise Problem(f"{file}: {reason}; free some space or choose another place, and try again") from None
