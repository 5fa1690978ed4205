"""Rehearsing a restore: a good backup passes, whatever is wrong is named, and nothing else is touched."""

import asyncio
import json
import os
import signal
import sqlite3
import sys
import tempfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyrage
import pytest

from scheduler.domain.errors import Problem
from scheduler.domain.token import Keys
from scheduler.service.rehearsal import Rehearsal, newest_backup, rehearse
from scheduler.service.restore import restore
from scheduler.service.scheduled_backups import BackupPlan, ScheduledBackups, setup_problem
from scheduler.store import age_files, postgres_backups, service_state
from scheduler.store.database import Database
from scheduler.store.scratch_folder import scratch_folder
from tests.conftest import CopyDatabase
from tests.installation import COMMUNITY, Installation, open_installation
from tests.postgres import execute

NOW = datetime(2026, 11, 5, 20, tzinfo=UTC)
COUNTS = {"members active": 2, "notices invitation": 1, "notices reminder": 2, "deliveries sent": 2}
PEOPLE = (("Ann", "Europe/London"), ("Bo", "Europe/Paris"))


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files, which must be empty after each rehearsal."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


async def filled(installation: Installation) -> None:
    """Members who have got their invitation, and the fingerprint of the key as `serve` stores it."""
    async with installation.database.write() as connection:
        await service_state.write(connection, service_state.KEY_FINGERPRINT, installation.keys.fingerprint)
    await installation.join(*PEOPLE)
    await installation.tick()


async def fill(url: str, folder: Path) -> None:
    async with open_installation(folder, NOW, url=url) as installation:
        await filled(installation)


@pytest.fixture
async def installation(tmp_path: Path, copy_sqlite: CopyDatabase) -> AsyncIterator[Installation]:
    async with open_installation(tmp_path, NOW, url=await copy_sqlite(fill)) as installation:
        yield installation


def plan(installation: Installation, recipient: str = "") -> BackupPlan:
    return BackupPlan(
        folder=installation.folder / "backups",
        domain=COMMUNITY.domain,
        every=timedelta(days=1),
        keep=3,
        recipient=recipient,
    )


async def backed_up(installation: Installation, recipient: str = "") -> Path:
    of = plan(installation, recipient)
    making = ScheduledBackups(installation.database, installation.clock, of, keys=installation.keys)
    file = await making.look()
    assert file, setup_problem(installation.database, of)
    return file


async def rehearsed(installation: Installation, file: Path, **options: Any) -> Rehearsal:
    options.setdefault("keys", installation.keys)
    return await rehearse(installation.database, file, clock=installation.clock, **options)


async def refusal(installation: Installation, file: Path, scratch: Path, **options: Any) -> str:
    with pytest.raises(Problem) as refused:
        await rehearsed(installation, file, **options)
    assert "\n" not in str(refused.value)
    assert list(scratch.iterdir()) == []
    assert await last_success(installation) is None
    return str(refused.value)


async def last_success(installation: Installation) -> datetime | None:
    async with installation.database.read() as connection:
        return await service_state.read_instant(connection, service_state.REHEARSED)


async def all_facts(installation: Installation) -> dict[str, Any]:
    async with installation.database.read() as connection:
        rows = await connection.exec_driver_sql("SELECT name, value FROM facts")
        return {row.name: row.value for row in rows}


async def test_a_good_backup_passes_and_only_the_date_of_that_is_stored(
    installation: Installation, scratch: Path
) -> None:
    file = await backed_up(installation)
    whole, before, mails = file.read_bytes(), await all_facts(installation), len(installation.mails())
    installation.clock.pass_(timedelta(hours=3))
    assert newest_backup(plan(installation).place, NOW + timedelta(days=1)) == file
    done = await rehearsed(installation, file)
    assert (done.made_at, done.compared) == (NOW, True)
    assert done.counts == COUNTS
    assert list(scratch.iterdir()) == []
    assert file.read_bytes() == whole
    after = await all_facts(installation)
    assert after.pop("rehearsed") and after == before
    assert await last_success(installation) == NOW + timedelta(hours=3)
    assert len(installation.mails()) == mails


async def test_the_newest_by_its_name_is_rehearsed_and_none_is_said(installation: Installation) -> None:
    place = plan(installation).place
    with pytest.raises(Problem, match="there is no backup in"):
        newest_backup(place, installation.clock.now())
    first = await backed_up(installation)
    installation.clock.pass_(timedelta(days=1))
    second = await backed_up(installation)
    os.utime(first, (2e9, 2e9))
    assert newest_backup(place, installation.clock.now()) == second


def change(file: Path, statement: str) -> None:
    """Change a backup and take away the SHA-256 at its end, as if it had been written like that."""
    whole = file.read_bytes()
    file.write_bytes(whole.partition(b"third-thursday sha256 ")[0])
    with sqlite3.connect(file) as copy:
        copy.execute(statement)
    copy.close()


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("missing", "there is no backup"),
        ("empty", "is not a backup"),
        ("text", "is not a backup"),
        ("a database without the key", "is not a backup"),
        ("cut", "damaged"),
        ("cut by an octet", "damaged: its SHA-256"),
        ("an octet longer", "damaged: its SHA-256"),
        ("cut in the last page", "its end is missing"),
        ("one bit in a name", "damaged: its SHA-256"),
        ("one bit in unused space", "damaged: its SHA-256"),
        ("a row deleted since", "damaged: its SHA-256"),
        ("overwritten", "damaged"),
        ("an index that does not fit", "damaged"),
        ("newer schema", "newer version (its schema is 9999)"),
        ("newer format", "newer version"),
        ("a lost member", "members active: 1 instead of 2"),
        ("a changed state", "deliveries sent: 0 instead of 2"),
        ("a lost notice", "notices invitation: 0 instead of 1"),
        ("rows without their member", "to rows that are missing"),
        ("another key's fingerprint", "another key"),
    ],
)
async def test_what_is_wrong_with_a_backup_is_named(
    installation: Installation, scratch: Path, fault: str, words: str
) -> None:
    file = await backed_up(installation)
    whole = file.read_bytes()
    match fault:
        case "missing":
            file.unlink()
        case "empty":
            file.write_bytes(b"")
        case "text":
            file.write_text("name,email\nann,ann@example.org\n" * 100)
        case "a database without the key":
            change(file, "DROP TABLE backup")
        case "cut":
            file.write_bytes(whole[: len(whole) // 2])
        case "cut by an octet":
            file.write_bytes(whole[:-1])
        case "an octet longer":
            file.write_bytes(whole + b"x")
        case "cut in the last page":
            file.write_bytes(whole[: len(whole) // 4096 * 4096 - 100])
        case "one bit in a name":
            at = whole.index(b"ann@example.org")
            file.write_bytes(whole[:at] + b"b" + whole[at + 1 :])
        case "one bit in unused space":
            at = whole.index(bytes(200)) + 100
            file.write_bytes(whole[:at] + b"\x01" + whole[at + 1 :])
        case "a row deleted since":
            with sqlite3.connect(file) as copy:
                copy.execute("DELETE FROM deliveries WHERE member = 2")
            copy.close()
        case "overwritten":
            file.write_bytes(whole[:20_000] + b"\xa5" * 40_000 + whole[60_000:])
        case "an index that does not fit":
            with sqlite3.connect(file) as copy:
                copy.execute("PRAGMA writable_schema = ON")
                copy.execute(
                    "UPDATE sqlite_master SET rootpage = (SELECT rootpage FROM sqlite_master WHERE name = 'notices') "
                    "WHERE type = 'index' AND tbl_name = 'deliveries'"
                )
            copy.close()
        case "newer schema":
            change(file, "UPDATE alembic_version SET version_num = '9999'")
        case "newer format":
            change(file, "UPDATE backup SET form = 99")
        case "a lost member":
            change(file, "DELETE FROM deliveries WHERE member = 2")
            change(file, "DELETE FROM members WHERE id = 2")
        case "a changed state":
            change(file, "UPDATE deliveries SET state = 'queued', sent_at = NULL")
        case "a lost notice":
            change(file, "DELETE FROM deliveries")
            change(file, "DELETE FROM renderings")
            change(file, "DELETE FROM notice_revisions")
            change(file, "DELETE FROM dues WHERE notice = 1")
            change(file, "DELETE FROM notices WHERE id = 1")
        case "rows without their member":
            change(file, "UPDATE deliveries SET member = 999 WHERE member = 2")
        case "another key's fingerprint":
            change(file, "UPDATE facts SET value = '\"other\"' WHERE name = 'key_fingerprint'")
    assert words in await refusal(installation, file, scratch)


async def test_a_backup_with_another_key_than_the_one_in_use_is_named(
    installation: Installation, scratch: Path
) -> None:
    file = await backed_up(installation)
    assert "another key than the one in use" in await refusal(
        installation, file, scratch, keys=Keys(b"o" * 32)
    )


async def test_a_backup_that_does_not_say_how_much_it_holds_is_rehearsed_without_that(
    installation: Installation,
) -> None:
    file = await backed_up(installation)
    change(file, "ALTER TABLE backup DROP COLUMN counts")
    done = await rehearsed(installation, file)
    assert (done.counts, done.compared) == (COUNTS, False)


async def test_an_encrypted_backup_is_rehearsed_and_restored_with_its_secret_key(
    installation: Installation, scratch: Path
) -> None:
    mine, other = pyrage.x25519.Identity.generate(), pyrage.x25519.Identity.generate()
    key, wrong, no_key = (installation.folder / name for name in ("key.txt", "wrong.txt", "no-key.txt"))
    key.write_text(f"# created: 2026-11-05\n# public key: {mine.to_public()}\n{mine}\n")
    wrong.write_text(f"{other}\n")
    no_key.write_text("# nothing\n")
    file = await backed_up(installation, str(mine.to_public()))
    for identity, words in (
        (None, "is encrypted; name the file"),
        (wrong, "another key than that of --identity"),
        (no_key, "contains no secret key"),
        (installation.folder / "nowhere", "cannot be read"),
        (installation.folder / "test.sqlite", "contains no secret key"),
    ):
        assert words in await refusal(installation, file, scratch, identity=identity)
    whole = file.read_bytes()
    for half in (whole[:-1], whole[: len(whole) // 2], whole[:40], whole[:-20] + b"x" * 20):
        file.write_bytes(half)
        assert "damaged" in await refusal(installation, file, scratch, identity=key)
    file.write_bytes(whole)
    assert (await rehearsed(installation, file, identity=key)).compared
    assert list(scratch.iterdir()) == []

    await installation.database.close()
    installation.database = Database(f"sqlite:///{installation.folder / 'test.sqlite'}")
    await restore(
        installation.database,
        file,
        secret=installation.folder / "secret",
        settings_key=None,
        now=NOW,
        identity=key,
    )
    assert set(await installation.states()) == {"Ann", "Bo"}
    assert not list(installation.folder.glob("*.decrypted"))


async def test_what_a_killed_rehearsal_left_is_deleted_by_the_next_one_but_not_what_a_running_one_uses(
    installation: Installation, scratch: Path
) -> None:
    file = await backed_up(installation)
    left = scratch / "third-thursday-rehearsal-left"
    (left / "restored").mkdir(parents=True)
    (left / "restored" / "scratch.sqlite").write_text("ann@example.org")
    foreign = scratch / "third-thursday-rehearsal.txt"
    foreign.write_text("mine")
    with scratch_folder("third-thursday-rehearsal-") as running:
        assert (await rehearsed(installation, file)).compared
        assert set(scratch.iterdir()) == {running, foreign}
    assert list(scratch.iterdir()) == [foreign]


async def databases(server: str) -> set[str]:
    import asyncpg

    connection = await asyncpg.connect(f"{server}/postgres")
    try:
        return {row[0] for row in await connection.fetch("SELECT datname FROM pg_database")}
    finally:
        await connection.close()


@pytest.mark.parametrize("encrypted", [False, True])
async def test_a_dump_of_postgresql_is_made_rehearsed_and_its_scratch_database_dropped(
    postgres_url: str, postgres_server: str, tmp_path: Path, scratch: Path, *, encrypted: bool
) -> None:
    secret = pyrage.x25519.Identity.generate()
    key = tmp_path / "key.txt"
    key.write_text(str(secret))
    async with open_installation(tmp_path, NOW, url=postgres_url) as installation:
        await filled(installation)
        file = await backed_up(installation, str(secret.to_public()) if encrypted else "")
        assert file.name.endswith(".dump.age" if encrypted else ".dump")
        assert {one.stat().st_mode & 0o777 for one in file.parent.iterdir()} == {0o600}
        before = await databases(postgres_server)
        done = await rehearsed(installation, file, identity=key)
        assert done.counts == COUNTS
        assert (done.made_at, done.compared) == (NOW, True)
        assert await databases(postgres_server) == before
        assert list(scratch.iterdir()) == []
        assert await last_success(installation) == NOW


async def test_what_is_wrong_with_a_dump_is_named_and_its_scratch_database_dropped(
    postgres_url: str, postgres_server: str, tmp_path: Path, scratch: Path
) -> None:
    async with open_installation(tmp_path, NOW, url=postgres_url) as installation:
        await filled(installation)
        file = await backed_up(installation)
        before = await databases(postgres_server)
        whole, beside = file.read_bytes(), file.with_name(f"{file.name}.json")
        counts = beside.read_text()
        file.write_bytes(whole[: len(whole) * 3 // 4])
        assert "damaged: its SHA-256" in await refusal(installation, file, scratch)
        beside.unlink()
        assert "pg_restore failed" in await refusal(installation, file, scratch)
        beside.write_text(counts)
        file.write_bytes(whole)
        record = json.loads(counts)
        record["counts"]["members active"] = 7
        beside.write_text(json.dumps(record))
        assert "members active: 2 instead of 7" in await refusal(installation, file, scratch)
        beside.write_text("half")
        assert "damaged" in await refusal(installation, file, scratch)
        beside.write_text(counts)
        assert "another key" in await refusal(installation, file, scratch, keys=Keys(b"o" * 32))
        assert await databases(postgres_server) == before
        beside.unlink()
        assert not (await rehearsed(installation, file)).compared


async def test_a_dump_of_a_newer_version_is_named(postgres_url: str, tmp_path: Path, scratch: Path) -> None:
    async with open_installation(tmp_path, NOW, url=postgres_url) as installation:
        await filled(installation)
        async with installation.database.write() as connection:
            await connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
        file = await backed_up(installation)
        assert "newer version (its schema is 9999)" in await refusal(installation, file, scratch)


async def test_a_scratch_database_that_is_named_must_be_empty_and_is_emptied_again(
    postgres_url: str, postgres_server: str, tmp_path: Path, scratch: Path
) -> None:
    name = f"{postgres_url.rpartition('/')[2]}_scratch"
    await execute(postgres_server, f"CREATE DATABASE {name}")
    url = f"{postgres_server}/{name}"
    try:
        async with open_installation(tmp_path, NOW, url=postgres_url) as installation:
            await filled(installation)
            file = await backed_up(installation)
            assert "is not empty" in await refusal(installation, file, scratch, scratch_url=postgres_url)
            for _ in range(2):
                assert (await rehearsed(installation, file, scratch_url=url)).compared
            assert (await installation.states()) == {"Ann": "sent", "Bo": "sent"}
        async with open_installation(tmp_path, NOW) as installation:
            assert "needs a scratch database" in await refusal(installation, file, scratch)
    finally:
        await execute(postgres_server, f"DROP DATABASE {name} WITH (FORCE)")


KILLED_REHEARSAL = """
import asyncio, os, pathlib, signal, sys
from scheduler.store.database import Database
from scheduler.store.postgres_backups import restore_dump, scratch_database

async def main(live, file, url):
    async with scratch_database(Database(live), url) as scratch:
        await restore_dump(pathlib.Path(file), scratch)
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("is_named", [False, True])
async def test_the_scratch_database_of_a_killed_rehearsal_is_deleted_by_the_next_one(
    postgres_url: str, postgres_server: str, tmp_path: Path, *, is_named: bool
) -> None:
    name = f"{postgres_url.rpartition('/')[2]}_scratch"
    await execute(postgres_server, f"CREATE DATABASE {name}")
    url = f"{postgres_server}/{name}" if is_named else ""
    try:
        async with open_installation(tmp_path, NOW, url=postgres_url) as installation:
            await filled(installation)
            file = await backed_up(installation)
            before = await databases(postgres_server)
            killed = await asyncio.create_subprocess_exec(
                sys.executable, "-c", KILLED_REHEARSAL, postgres_url, str(file), url
            )
            assert await killed.wait() == -signal.SIGKILL
            assert len(await databases(postgres_server) - before) == (0 if is_named else 1)
            for _ in range(2):
                assert (await rehearsed(installation, file, scratch_url=url)).compared
            assert await databases(postgres_server) == before
            # One that is running keeps its own.
            async with postgres_backups.scratch_database(installation.database, url) as running:
                if is_named:
                    with pytest.raises(Problem, match="another rehearsal uses"):
                        await rehearsed(installation, file, scratch_url=url)
                else:
                    assert (await rehearsed(installation, file)).compared
                await postgres_backups.restore_dump(file, running)
    finally:
        await execute(postgres_server, f"DROP DATABASE {name} WITH (FORCE)")


async def test_a_user_who_may_not_create_databases_is_told_what_to_do(
    postgres_url: str, postgres_server: str, tmp_path: Path, scratch: Path
) -> None:
    name = postgres_url.rpartition("/")[2]
    await execute(postgres_server, f"CREATE ROLE {name}_user LOGIN PASSWORD 'Geheim'")
    await execute(postgres_server, f"ALTER DATABASE {name} OWNER TO {name}_user")
    url = postgres_url.replace("postgres@", f"{name}_user:Geheim@")
    try:
        async with open_installation(tmp_path, NOW, url=url) as installation:
            await filled(installation)
            file = await backed_up(installation)
            words = await refusal(installation, file, scratch)
            assert "CREATEDB" in words and "[backup] scratch_url" in words and "Geheim" not in words
    finally:
        await execute(postgres_server, f"ALTER DATABASE {name} OWNER TO postgres")
        # The role may own objects in its database only, which is dropped after this test.
        import asyncpg

        connection = await asyncpg.connect(postgres_url)
        await connection.execute(f"REASSIGN OWNED BY {name}_user TO postgres")
        await connection.close()
        await execute(postgres_server, f"DROP ROLE {name}_user")


async def test_a_full_disk_while_a_dump_is_encrypted_is_said_and_leaves_nothing(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    async with open_installation(tmp_path, NOW, url=postgres_url) as installation:
        of = plan(installation, str(pyrage.x25519.Identity.generate().to_public()))
        # More than a pipe holds: pg_dump must not wait for a reader that has gone.
        async with installation.database.write() as connection:
            noise = "x" * 3_000_000
            await service_state.write(connection, "noise", noise)
        making = ScheduledBackups(installation.database, installation.clock, of, keys=installation.keys)
        monkeypatch.setattr(age_files, "encrypt", full)
        async with asyncio.timeout(30):
            assert await making.look() is None
        async with installation.database.read() as connection:
            known = await service_state.read(connection, service_state.BACKUPS)
        assert "No space left on device" in known["error"]
        assert list(of.folder.iterdir()) == []


async def test_a_missing_pg_dump_is_said_before_the_first_backup(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_installation(tmp_path, NOW, url=postgres_url) as installation:
        monkeypatch.setenv("PATH", "")
        assert "the program pg_dump is missing" in setup_problem(installation.database, plan(installation))


async def test_the_password_of_the_database_is_on_no_command_line_and_its_parameters_are_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres_url: str
) -> None:
    """A pg_dump that writes down how it was called, in place of the real one."""
    seen = tmp_path / "seen"
    program = tmp_path / "bin" / "pg_dump"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\necho "$@" >{seen}\necho "$PGPASSWORD" >>{seen}\nexec /usr/bin/pg_dump "$@"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    url = (
        postgres_url.replace("postgres@", "postgres:Geh%40im@")
        + "?sslmode=disable&application_name=the%20test"
    )
    async with open_installation(tmp_path, NOW, url=url) as installation:
        await backed_up(installation)
    arguments, password = seen.read_text().splitlines()
    assert "Geh" not in arguments and password == "Geh@im"
    assert "sslmode=disable" in arguments and "application_name=the%20test" in arguments
