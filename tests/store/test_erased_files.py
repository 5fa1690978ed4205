"""What the files of a SQLite database still contain after a member is erased."""

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from scheduler.store import members
from scheduler.store.database import Database, DatabaseProblem
from scheduler.store.erasures import wipe
from scheduler.store.upgrades import open_database
from tests.store.test_members import row


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "test.sqlite"


@pytest.fixture
async def sqlite_database(path: Path) -> AsyncIterator[Database]:
    database = Database(f"sqlite:///{path}")
    await open_database(database, upgrade=True)
    yield database
    await database.close()


def plant(path: Path, text: str) -> None:
    """Leave `text` in free space of the file, as SQLite may when it moves rows."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA secure_delete = OFF")
    connection.execute("INSERT INTO facts VALUES ('trace', ?)", (f'"{text}"',))
    connection.execute("DELETE FROM facts WHERE name = 'trace'")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    assert text.encode() in path.read_bytes()


def contains(path: Path, text: str) -> bool:
    return any(text.encode() in file.read_bytes() for file in path.parent.iterdir())


async def test_a_copy_in_free_space_is_overwritten(sqlite_database: Database, path: Path) -> None:
    plant(path, "ann@example.org")
    await wipe(sqlite_database, ["ann@example.org"])
    assert not contains(path, "ann@example.org")


async def test_a_copy_across_two_blocks_is_found(
    sqlite_database: Database, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scheduler.store.erasures._READ_OCTETS", 7)
    plant(path, "ann@example.org")
    await wipe(sqlite_database, ["ann@example.org"])
    assert not contains(path, "ann@example.org")


async def test_a_name_that_another_member_has_causes_no_rewrite(
    sqlite_database: Database, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with sqlite_database.write() as connection:
        await members.add(connection, [row("bo@example.org", name="Ann Smith")])
    monkeypatch.setattr(Database, "vacuum", lambda self: pytest.fail("rewritten without need"))
    await wipe(sqlite_database, ["Smith", ""])
    assert contains(path, "Ann Smith")


async def test_a_checkpoint_empties_the_log_into_the_file(sqlite_database: Database, path: Path) -> None:
    async with sqlite_database.write() as connection:
        await members.add(connection, [row("ann@example.org")])
    log = path.with_name(path.name + "-wal")
    assert log.stat().st_size
    await sqlite_database.checkpoint()
    assert not log.stat().st_size and b"ann@example.org" in path.read_bytes()


async def test_a_checkpoint_while_another_connection_reads_is_a_clear_error(
    sqlite_database: Database, path: Path
) -> None:
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM members").fetchone()
    async with sqlite_database.write() as connection:
        await members.add(connection, [row("ann@example.org")])
    await sqlite_database._execute_outside_transaction("PRAGMA busy_timeout = 10")
    with pytest.raises(DatabaseProblem, match="busy"):
        await sqlite_database.checkpoint()
    reader.close()


async def test_wiping_does_nothing_on_postgresql(database: Database) -> None:
    await wipe(database, ["ann@example.org"])
