"""Backups: copy the whole SQLite database and the key into one file, and restore from it."""

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from scheduler.domain.errors import Problem
from scheduler.store.key_file import sync_to_disk
from scheduler.store.upgrades import is_known

FORMAT = 1
"""The version of the backup's own table, which is stored in its column `form`."""

_CREATE_TABLE = "CREATE TABLE backup (form INTEGER NOT NULL, made_at TEXT NOT NULL, key TEXT NOT NULL)"


def make_backup(source: Path, file: Path, *, key: bytes, now: datetime) -> None:
    """Write a consistent copy of `source` (SQLite) and the key into `file` (mode 0600) while others read and write.

    An earlier backup is replaced once the new one is complete; any other file of that name is left alone.
    Blocks, some seconds for each gigabyte. Raises Problem.
    """
    if file.exists() and not _is_backup(file):
        raise Problem(f"{file} exists and is not a backup; choose another name")
    with _explain_failures(file), _draft_of(file) as draft:
        with _open(source, "rw") as reader, _open(draft, "rw") as writer:
            reader.backup(writer)
            # Without a write-ahead log beside it, the file alone is the whole backup.
            writer.execute("PRAGMA journal_mode = DELETE")
            writer.execute(_CREATE_TABLE)
            writer.execute("INSERT INTO backup VALUES (?, ?, ?)", (FORMAT, now.isoformat(), key.hex()))
            writer.commit()
        _replace(draft, file)


def require_backup(file: Path) -> bytes:
    """Check that `file` is an intact backup that this version can read, and return its key. Blocks. Raises Problem."""
    if not file.is_file():
        raise Problem(f"there is no backup {file}; check the name")
    if not _is_backup(file):
        raise Problem(f"{file} is not a backup of Third Thursday, or it is damaged; choose another")
    with _explain_failures(file), _open(file, "ro") as reader:
        form, key = reader.execute("SELECT form, key FROM backup").fetchone()
        (schema,) = reader.execute("SELECT version_num FROM alembic_version").fetchone()
        if form > FORMAT or not is_known(schema):
            raise Problem(
                f"{file} was made by a newer version (its schema is {schema}); install that version"
            )
        (result,) = reader.execute("PRAGMA integrity_check(1)").fetchone()
        if result != "ok":
            raise Problem(f"{file} is damaged: {result.splitlines()[-1]}; choose another")
        return bytes.fromhex(key)


def restore_backup(file: Path, database: Path, *, facts: Mapping[str, Any], now: datetime) -> Path | None:
    """Replace the database with a checked backup, adding `facts` (service state) before anybody can see it.

    Rename the existing database and return its new name, or None if there was none. Only for use while no `serve`
    runs. Blocks. Raises Problem.
    """
    with _explain_failures(database), _draft_of(database) as draft:
        with _open(file, "ro") as reader, _open(draft, "rw") as writer:
            reader.backup(writer)
            writer.execute("PRAGMA secure_delete = ON")
            writer.execute("DROP TABLE backup")
            for name, value in facts.items():
                writer.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, json.dumps(value)))
            writer.commit()
        former = set_aside(database, now)
        _replace(draft, database)
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
def _draft_of(file: Path) -> Iterator[Path]:
    """Create an empty file in the folder of `file` that nobody else may read; delete it at the end."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        yield draft
    finally:
        for suffix in ("", "-wal", "-shm", "-journal"):
            draft.with_name(draft.name + suffix).unlink(missing_ok=True)


def _replace(draft: Path, file: Path) -> None:
    """Rename a finished draft to `file` durably: after a power cut the file is complete."""
    sync_to_disk(draft)
    draft.replace(file)
    sync_to_disk(file.parent)


@contextmanager
def _explain_failures(file: Path) -> Iterator[None]:
    """Turn a failure to read or write `file` into a Problem."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise Problem(f"{file}: {reason}; free some space or choose another place, and try again") from None
