"""What the files of a SQLite database show after somebody is gone."""

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
async def lite(path: Path) -> AsyncIterator[Database]:
    database = Database(f"sqlite:///{path}")
    await open_database(database, upgrade=True)
    yield database
    await database.close()


def plant(path: Path, text: str) -> None:
    """Leave `text` in free space of the file, as SQLite's moves of rows may."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA secure_delete = OFF")
    connection.execute("INSERT INTO facts VALUES ('trace', ?)", (f'"{text}"',))
    connection.execute("DELETE FROM facts WHERE name = 'trace'")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    assert text.encode() in path.read_bytes()


def shown(path: Path, text: str) -> bool:
    return any(text.encode() in file.read_bytes() for file in path.parent.iterdir())


async def test_what_free_space_still_shows_is_written_over(lite: Database, path: Path) -> None:
    plant(path, "ann@example.org")
    await wipe(lite, ["ann@example.org"])
    assert not shown(path, "ann@example.org")


async def test_a_trace_on_the_edge_of_two_pieces_is_found(
    lite: Database, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scheduler.store.erasures._READ_OCTETS", 7)
    plant(path, "ann@example.org")
    await wipe(lite, ["ann@example.org"])
    assert not shown(path, "ann@example.org")


async def test_what_another_member_is_called_stays_without_a_rewrite(
    lite: Database, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lite.write() as connection:
        await members.add(connection, [row("bo@example.org", name="Ann Smith")])
    monkeypatch.setattr(Database, "vacuum", lambda self: pytest.fail("rewritten for nothing"))
    await wipe(lite, ["Smith", ""])
    assert shown(path, "Ann Smith")


async def test_the_log_is_emptied_into_the_file(lite: Database, path: Path) -> None:
    async with lite.write() as connection:
        await members.add(connection, [row("ann@example.org")])
    log = path.with_name(path.name + "-wal")
    assert log.stat().st_size
    await lite.checkpoint()
    assert not log.stat().st_size and b"ann@example.org" in path.read_bytes()


async def test_a_log_that_somebody_still_reads_is_a_clear_problem(lite: Database, path: Path) -> None:
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM members").fetchone()
    async with lite.write() as connection:
        await members.add(connection, [row("ann@example.org")])
    await lite._execute_outside_transaction("PRAGMA busy_timeout = 10")
    with pytest.raises(DatabaseProblem, match="busy"):
        await lite.checkpoint()
    reader.close()


async def test_on_postgresql_there_is_nothing_to_wipe(database: Database) -> None:
    await wipe(database, ["ann@example.org"])
