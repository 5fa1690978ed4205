"""Upgrading an older database: a backup first, a clear refusal without one, and a kill at any statement."""

import asyncio
import os
import sqlite3
import stat
import sys
from contextlib import closing
from functools import partial
from pathlib import Path
from shutil import copyfile, copytree

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
from tests.postgres import free_loopback_port

REVISION_0009 = Path(__file__).parent.parent / "store" / "revision_0009.sqlite"
PROGRAM = Path(upgrades.__file__).parent.parent.parent
KEY = "ab" * 32


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


MIGRATING = """
import os, signal, sys
import aiosqlite, alembic.command, asyncpg, scheduler.cli.health  # so that each child need not import them
from scheduler.cli import main
from sqlalchemy import event
from sqlalchemy.engine import Engine

step, *sys.argv[1:] = sys.argv[1:]
left = None

def count(*_):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)

for name in ("before_cursor_execute", "commit"):
    event.listen(Engine, name, count)
for start in range(int(step) - 1, 10**6, int(step)):
    if not (child := os.fork()):
        left = start
        main()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print("killed" if os.WIFSIGNALED(status) else f"ended {status}", flush=True)
    if not os.WIFSIGNALED(status):
        break
    sys.stdin.readline()
"""
"""Runs a command in processes that are killed before every statement or commit, or before each `step`-th, until one
ends by itself. After each kill, it waits for a line."""


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgres_url"))
    return "sqlite:///var/third-thursday.sqlite"


async def content(url: str) -> str:
    """Return all that a database of SQLite holds, and the revision of one of PostgreSQL."""
    if url.startswith("postgresql"):
        return await revision(url)
    with closing(sqlite3.connect("var/third-thursday.sqlite")) as connection:
        return "\n".join(connection.iterdump())


@pytest.mark.proof
@pytest.mark.parametrize("step", [pytest.param(90, marks=pytest.mark.short), 1])
async def test_migrate_killed_before_any_statement_leaves_the_old_content_or_the_new_schema_and_then_completes(
    url: str, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THIRD_THURSDAY_DATABASE__URL", url)
    command = ["migrate"]
    if url.startswith("postgresql"):
        await make_old(url)
        command.append("--no-backup")  # pg_dump would take most of the time
    before = await content(url)
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", MIGRATING, str(step), *command),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert running.stdin and running.stdout
    undone, done = 0, False
    while (line := await running.stdout.readline()) != b"ended 0\n":
        if line == b"killed\n":
            if not done and await content(url) == before:
                undone += 1
            else:  # what follows the upgrade is no part of it
                assert await revision(url) == head()
                done = True
            running.stdin.write(b"\n")
        else:
            assert not line.startswith(b"ended") and line, line
    await running.wait()
    assert undone * step > 50
    assert await revision(url) == head()
    database = Database(url)
    async with database.read() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM members")) == 1
    await database.close()
    if database.path:
        (made,) = Path("var/before-upgrade").iterdir()
        assert await revision(f"sqlite:///{made}") == "0009"


def make_newer(folder: Path) -> Path:
    """Copy the program into a folder, with one more migration."""
    for name in ("scheduler", "config", "templates"):
        copytree(PROGRAM / name, folder / name)
    (folder / "scheduler" / "store" / "migrations" / "versions" / "9000_later.py").write_text(
        f"revision = '9000'\ndown_revision = {head()!r}\n\n\ndef upgrade() -> None:\n    pass\n"
    )
    return folder


@pytest.mark.proof
@pytest.mark.short
async def test_beside_a_newer_serve_processes_of_an_earlier_version_end_with_one_line_and_are_refused(
    postgres_url: str, free_port: int, tmp_path: Path
) -> None:
    shared = {
        **os.environ,
        "THIRD_THURSDAY_DATABASE__URL": postgres_url,
        "THIRD_THURSDAY_WEB__PORT": str(free_port),
    }
    newer = {
        **shared,
        "PYTHONPATH": str(make_newer(tmp_path / "newer")),
        "THIRD_THURSDAY_WEB__PORT": str(free_loopback_port()),
    }

    async def started(program: str, environment: dict[str, str]) -> asyncio.subprocess.Process:
        running = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "scheduler", program), env=environment, stderr=asyncio.subprocess.PIPE
        )
        assert running.stderr
        while b"event=started" not in (line := await running.stderr.readline()):
            assert line, running.returncode
        return running

    async def last_line(running: asyncio.subprocess.Process) -> str:
        _, errors = await running.communicate()
        assert running.returncode == 1
        return errors.decode().splitlines()[-1]

    async with asyncio.timeout(90):
        earlier = [await started(program, shared) for program in ("serve", "worker")]
        upgraded = await started("serve", newer)
        assert await revision(postgres_url) == "9000"
        for running in earlier:
            line = await last_line(running)
            assert line.startswith("third-thursday: postgresql://")
            assert f"schema of another version of Third Thursday (9000, not {head()})" in line
            assert "install the same version everywhere" in line
        again = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "scheduler", "worker"), env=shared, stderr=asyncio.subprocess.PIPE
        )
        assert "was made by a newer version of Third Thursday" in await last_line(again)
        assert upgraded.returncode is None
        upgraded.terminate()
        assert await upgraded.wait() == 0
