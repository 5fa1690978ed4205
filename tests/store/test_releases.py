"""Upgrade a database that each released version made, and one that this version makes in the same way."""

import asyncio
import gzip
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from scheduler.store.backups import require_backup, restore_backup
from scheduler.store.database import Database
from scheduler.store.upgrades import open_database
from tests.postgres import execute, postgres_programs

RELEASES = Path(__file__).parent.parent / "fixtures" / "releases"
COUNTS = {"members": 2, "notices": 1, "deliveries": 1, "occurrences": 1}
"""At least so many rows are in each."""


@pytest.fixture
def second_postgres_url(postgres_url: str, postgres_server: str) -> Iterator[str]:
    """The URL of another empty database on the same server."""
    name = f"{postgres_url.rpartition('/')[2]}_second"
    asyncio.run(execute(postgres_server, f"CREATE DATABASE {name}"))
    yield f"{postgres_server}/{name}"
    asyncio.run(execute(postgres_server, f"DROP DATABASE {name} WITH (FORCE)"))


def made(version: str, folder: Path, postgres_url: str) -> Path:
    """Return the folder with a release's backup and dump. "this" stands for this version."""
    if version != "this":
        return RELEASES
    program = Path(sys.executable).with_name("third-thursday")
    script = [sys.executable, str(RELEASES / "make.py"), "this", str(folder), "--postgres", postgres_url]
    subprocess.run([*script, "--program", str(program)], check=True)
    return folder


def rows(database: Database) -> dict[str, int]:
    """Upgrade a database, and return how many rows its tables have."""

    async def count() -> dict[str, int]:
        await open_database(database, upgrade=True)
        async with database.read() as connection:
            counts: dict[str, Any] = {
                table: await connection.scalar(text(f"SELECT count(*) FROM {table}")) for table in COUNTS
            }
        await database.close()
        return counts

    return asyncio.run(count())


@pytest.mark.parametrize(
    "version",
    [
        *sorted(file.name.removesuffix(".sqlite.gz") for file in RELEASES.glob("*.sqlite.gz")),
        pytest.param("this", marks=pytest.mark.proof),
    ],
)
def test_a_database_of_every_release_can_be_upgraded(
    version: str, tmp_path: Path, postgres_url: str, second_postgres_url: str
) -> None:
    folder = made(version, tmp_path, second_postgres_url)
    backup = tmp_path / "backup.sqlite"
    backup.write_bytes(gzip.decompress((folder / f"{version}.sqlite.gz").read_bytes()))
    require_backup(backup)
    restored = tmp_path / "restored.sqlite"
    restore_backup(backup, restored, facts={}, now=datetime(2026, 11, 28, tzinfo=UTC))
    programs = postgres_programs()
    assert programs
    dump = gzip.decompress((folder / f"{version}.sql.gz").read_bytes())
    subprocess.run(
        [programs / "psql", "--quiet", f"--dbname={postgres_url}"],
        input=dump,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    for url in (f"sqlite:///{restored}", postgres_url):
        counts = rows(Database(url))
        assert all(counts[table] >= least for table, least in COUNTS.items()), (url, counts)
