"""Upgrading an older database: a backup first, a clear refusal without one, and a kill at any statement."""

import asyncio
import os
import signal
import stat
import sys
from functools import partial
from pathlib import Path
from shutil import copyfile

import pyrage
import pytest
from alembic import command
from sqlalchemy import Connection, text

from scheduler.bootstrap.settings import Settings, load_settings
from scheduler.bootstrap.upgrading import back_up_before_upgrade, upgrade_database
from scheduler.bootstrap.wiring import open_parts
from scheduler.domain.errors import Problem
from scheduler.store import age_files, backups, upgrades
from scheduler.store.database import Database

REVISION_0009 = Path(__file__).parent.parent / "store" / "revision_0009.sqlite"
KEY = "ab" * 32
STEP = 5


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "var").mkdir()
    copyfile(REVISION_0009, tmp_path / "var" / "third-thursday.sqlite")
    monkeypatch.setenv("THIRD_THURSDAY_SECURITY__KEY", KEY)
    return tmp_path


async def migrated(*, new_key: bool = False, back_up: bool = True) -> Path | None:
    return (await upgrade_database(load_settings(None, os.environ), new_key=new_key, back_up=back_up))[1]


async def revision(url: str = "sqlite:///var/third-thursday.sqlite") -> str:
    database = Database(url)
    async with database.read() as connection:
        found = await upgrades.revision_of(connection)
    await database.close()
    return found


def head() -> str:
    return max(
        path.name[:4] for path in (Path(upgrades.__file__).parent / "migrations" / "versions").glob("*.py")
    )


async def make_old(url: str) -> None:
    """Fill an empty database of PostgreSQL as version 0009 left it."""
    database = Database(url)

    def upgrade_to_first(sync: Connection) -> None:
        config = upgrades._config()
        config.attributes["connection"] = sync
        command.upgrade(config, "0009")

    async with database.write() as connection:
        await connection.run_sync(upgrade_to_first)
        await connection.execute(
            text(
                "INSERT INTO members (address, address_key, name, zone, zone_source, locale, status, created_at,"
                " active_since, changed) VALUES ('a@example.org', 'a@example.org', 'Ann', 'Europe/London', 'given',"
                " 'en-GB', 'active', 0, 0, 1)"
            )
        )
    await database.close()


async def test_an_upgrade_makes_a_private_backup_of_the_old_schema_first_and_keeps_only_the_last(
    folder: Path,
) -> None:
    made = await migrated()
    assert made and made.parent == Path("var/before-upgrade")
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    assert stat.S_IMODE(made.parent.stat().st_mode) == 0o700
    assert backups.require_backup(made).hex() == KEY
    assert await revision(f"sqlite:///{made}") == "0009"
    assert await revision() == head()
    assert await migrated() is None
    assert list(made.parent.iterdir()) == [made]
    copyfile(REVISION_0009, folder / "var" / "third-thursday.sqlite")
    made.rename(made.with_name(made.name.replace("-20", "-19")))
    again = await migrated()
    assert again and list(made.parent.iterdir()) == [again]


async def test_a_new_database_is_made_without_a_backup(folder: Path) -> None:
    (folder / "var" / "third-thursday.sqlite").unlink()
    assert await migrated() is None
    assert not (folder / "var" / "before-upgrade").exists()


async def test_the_backup_is_encrypted_and_beside_the_others_if_the_settings_say_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = pyrage.x25519.Identity.generate()
    monkeypatch.setenv("THIRD_THURSDAY_BACKUP__FOLDER", str(folder / "keep"))
    monkeypatch.setenv("THIRD_THURSDAY_BACKUP__RECIPIENT", str(identity.to_public()))
    made = await migrated()
    assert made and made.parent == folder / "keep" / "before-upgrade"
    assert age_files.is_encrypted(made)
    assert {stat.S_IMODE(place.stat().st_mode) for place in (made.parent, made.parent.parent)} == {0o700}
    assert not (folder / "var" / "before-upgrade").exists()
    assert not list((folder / "var").glob(".*"))


async def serving(settings: Settings) -> None:
    """Open the database as `serve` does."""
    before = partial(back_up_before_upgrade, settings)
    async with open_parts(settings, upgrade=True, before_upgrade=before):
        pass


@pytest.mark.parametrize("by_serve", [False, True])
async def test_without_a_backup_nothing_is_upgraded_unless_that_is_wanted(
    folder: Path, *, by_serve: bool
) -> None:
    (folder / "var" / "before-upgrade").write_text("in the way")
    settings = load_settings(None, os.environ)
    with pytest.raises(Problem, match="could not be backed up first.*is not a folder.*migrate --no-backup"):
        await (serving(settings) if by_serve else migrated())
    assert await revision() == "0009"
    assert await migrated(back_up=False) is None
    assert await revision() == head()


async def test_a_lost_key_is_said_before_the_upgrade_and_a_new_one_can_be_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("THIRD_THURSDAY_SECURITY__KEY")
    with pytest.raises(Problem, match="the key file .* is missing"):
        await migrated()
    assert await revision() == "0009"
    made = await migrated(new_key=True)
    assert made and backups.require_backup(made).hex() == Path("var/secret").read_text().strip()


async def test_an_older_serve_that_still_runs_is_said_and_left_alone() -> None:
    running = Database("sqlite:///var/third-thursday.sqlite")
    async with running.exclusive():
        for back_up in (True, False):
            with pytest.raises(Problem, match="a `serve` of an earlier version uses"):
                await migrated(back_up=back_up)
    await running.close()
    assert await revision() == "0009"


async def test_on_postgresql_a_dump_is_made_first_and_a_missing_pg_dump_stops_the_upgrade(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_old(postgres_url)
    monkeypatch.setenv("THIRD_THURSDAY_DATABASE__URL", postgres_url)
    path = os.environ["PATH"]
    monkeypatch.setenv("PATH", "")
    with pytest.raises(Problem, match="the program pg_dump is missing.*--no-backup"):
        await migrated()
    assert await revision(postgres_url) == "0009"
    monkeypatch.setenv("PATH", path)
    made = await migrated()
    assert made and made.parent == Path("var/before-upgrade") and made.suffix == ".dump"
    assert await revision(postgres_url) == head()


KILLED = """
import asyncio, os, signal, sys
from sqlalchemy import event
from sqlalchemy.engine import Engine
from scheduler.store.database import Database
from scheduler.store.upgrades import open_database

left = int(sys.argv[2])

@event.listens_for(Engine, "before_cursor_execute")
def count(*_):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(open_database(Database(sys.argv[1]), upgrade=True))
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgres_url"))
    return "sqlite:///var/third-thursday.sqlite"


@pytest.mark.proof
async def test_killed_before_any_statement_of_an_upgrade_the_database_is_as_before_and_can_be_upgraded(
    url: str,
) -> None:
    if url.startswith("postgresql"):
        await make_old(url)
    kills, ended = 0, -signal.SIGKILL
    while ended == -signal.SIGKILL:
        running = await asyncio.create_subprocess_exec(sys.executable, "-c", KILLED, url, str(kills * STEP))
        ended = await running.wait()
        kills += 1
        if ended:
            assert ended == -signal.SIGKILL
            assert await revision(url) == "0009"
    assert kills > 5
    assert await revision(url) == head()
    database = Database(url)
    assert not await upgrades.open_database(database, upgrade=False)
    async with database.read() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM members")) == 1
    await database.close()


@pytest.mark.proof
@pytest.mark.short
async def test_processes_of_an_earlier_version_end_with_one_line_when_another_upgrades_the_database(
    postgres_url: str, free_port: int
) -> None:
    shared = {
        **os.environ,
        "THIRD_THURSDAY_DATABASE__URL": postgres_url,
        "THIRD_THURSDAY_WEB__PORT": str(free_port),
    }
    made = await asyncio.create_subprocess_exec(sys.executable, "-m", "scheduler", "migrate", env=shared)
    assert await made.wait() == 0
    both = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-m", "scheduler", program, env=shared, stderr=asyncio.subprocess.PIPE
        )
        for program in ("serve", "worker")
    ]
    async with asyncio.timeout(60):
        for running in both:
            assert running.stderr
            while b"event=started" not in (line := await running.stderr.readline()):
                assert line, running.returncode
        database = Database(postgres_url)
        async with database.write() as connection:
            await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        await database.close()
        for running in both:
            _, errors = await running.communicate()
            assert running.returncode == 1
            *_, last = errors.decode().splitlines()
            assert last.startswith("third-thursday: postgresql://")
            assert "install the same version everywhere" in last
