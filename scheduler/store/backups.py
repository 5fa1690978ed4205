"""Keeping a copy of everything in one file, the key included, and putting it back."""

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from scheduler.domain.errors import Problem
from scheduler.store.upgrades import knows

FORM = 1
_MARK = "CREATE TABLE backup (form INTEGER NOT NULL, made_at TEXT NOT NULL, key TEXT NOT NULL)"


def make_backup(source: Path, file: Path, *, key: bytes, now: datetime) -> None:
    """Write all that `source` (SQLite) holds at one moment, and the key, into `file` (mode 0600), while others read
    and write. A former backup is replaced once the new one is whole; anything else of that name is left alone.

    Blocks, some seconds for each gigabyte. Raises Problem.
    """
    if file.exists() and not _is_backup(file):
        raise Problem(f"{file} exists and is no backup; give another name")
    with _telling(file), _beside(file) as draft:
        with _open(source, "rw") as reader, _open(draft, "rw") as writer:
            reader.backup(writer)
            # The file alone is the whole backup: no log beside it.
            writer.execute("PRAGMA journal_mode = DELETE")
            writer.execute(_MARK)
            writer.execute("INSERT INTO backup VALUES (?, ?, ?)", (FORM, now.isoformat(), key.hex()))
            writer.commit()
        _put(draft, file)


def require_backup(file: Path) -> bytes:
    """The key in a backup that is whole and that this version can read. Blocks. Raises Problem."""
    if not file.is_file():
        raise Problem(f"there is no backup {file}")
    if not _is_backup(file):
        raise Problem(f"{file} is no backup of Third Thursday, or it is damaged; give another")
    with _telling(file), _open(file, "ro") as reader:
        form, key = reader.execute("SELECT form, key FROM backup").fetchone()
        (schema,) = reader.execute("SELECT version_num FROM alembic_version").fetchone()
        if form > FORM or not knows(schema):
            raise Problem(
                f"{file} was made by a newer version (its schema is {schema}); install that version"
            )
        (found,) = reader.execute("PRAGMA integrity_check(1)").fetchone()
        if found != "ok":
            raise Problem(f"{file} is damaged: {found.splitlines()[-1]}; give another")
        return bytes.fromhex(key)


def restore_backup(file: Path, database: Path, *, facts: Mapping[str, Any], now: datetime) -> Path | None:
    """Make what a checked backup holds the database, with `facts` written into it before anybody can see it.

    The database that was there is set aside under a name that is returned. To be called while no `serve` runs.
    Blocks. Raises Problem.
    """
    with _telling(database), _beside(database) as draft:
        with _open(file, "ro") as reader, _open(draft, "rw") as writer:
            reader.backup(writer)
            writer.execute("PRAGMA secure_delete = ON")
            writer.execute("DROP TABLE backup")
            for name, value in facts.items():
                writer.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, json.dumps(value)))
            writer.commit()
        aside = set_aside(database, now)
        _put(draft, database)
        return aside


def set_aside(path: Path, now: datetime) -> Path | None:
    """Rename a file, and SQLite's log of it; returns its new name, or None where there was none.

    The file goes first: SQLite drops a log that it finds beside an empty database.
    """
    if not path.exists():
        return None
    aside = path.with_name(f"{path.name}.before-{now:%Y%m%dT%H%M%S}")
    for end in ("", "-wal", "-shm"):
        part = path.with_name(path.name + end)
        if part.exists():
            part.rename(aside.with_name(aside.name + end))
    return aside


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
def _beside(file: Path) -> Iterator[Path]:
    """An empty file beside `file` that nobody else may read; gone at the end."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        yield draft
    finally:
        for end in ("", "-wal", "-shm", "-journal"):
            draft.with_name(draft.name + end).unlink(missing_ok=True)


def _put(draft: Path, file: Path) -> None:
    """Give a finished file its name, so that it is whole even after a power cut."""
    _sync(draft)
    draft.replace(file)
    _sync(file.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _telling(file: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise Problem(f"{file}: {reason}; make room or choose another place, and try again") from None
