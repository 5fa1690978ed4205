"""A backup taken while the service runs, and restoring it without mailing anybody twice."""

import os
import sqlite3
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from scheduler.domain.audience import Audience
from scheduler.domain.errors import Problem
from scheduler.domain.token import Keys
from scheduler.service.notices import send_notice
from scheduler.service.restore import back_up, missed, restore, resume_without_missed
from scheduler.service.sending_pause import current_pause, end_sending_pause
from scheduler.store.database import Database
from tests.conftest import CopyDatabase
from tests.installation import Installation, open_installation
from tests.postgres import execute

BEGIN = datetime(2026, 11, 4, 12, tzinfo=UTC)  # the invitation is due on the fifth, 09:00 of each zone
PEOPLE = (("Ann", "Europe/London"), ("Bo", "Europe/Paris"))


async def fill(url: str, folder: Path) -> None:
    async with open_installation(folder, BEGIN, url=url) as installation:
        await installation.tick()
        await installation.join(*PEOPLE)
        await installation.tick()


@pytest.fixture
async def installation(tmp_path: Path, copy_sqlite: CopyDatabase) -> AsyncIterator[Installation]:
    async with open_installation(tmp_path, BEGIN, url=await copy_sqlite(fill)) as installation:
        yield installation


async def keep(installation: Installation) -> Path:
    file = installation.folder / "copies" / "backup"
    await back_up(installation.database, file, keys=installation.keys, now=installation.clock.now())
    return file


async def put_back(installation: Installation, file: Path, *, given: bytes | None = None) -> None:
    await installation.database.close()
    installation.database = Database(f"sqlite:///{installation.folder / 'test.sqlite'}")
    await restore(
        installation.database,
        file,
        secret=installation.folder / "secret",
        settings_key=given,
        now=installation.clock.now(),
    )
    installation.restart()


async def test_mail_sent_after_the_backup_is_not_sent_again_and_later_mail_is_sent(
    installation: Installation,
) -> None:
    file = await keep(installation)
    await installation.live(datetime(2026, 11, 5, 20, tzinfo=UTC))
    assert len(installation.mails()) == 2

    await put_back(installation, file)
    await installation.tick()
    assert [(row.kind, row.count) for row in (await missed(installation.database)).notices] == [
        ("invitation", 2)
    ]
    assert (await missed(installation.database)).members == 2
    installation.clock.pass_(timedelta(minutes=1))
    await installation.tick()
    assert len(installation.mails()) == 2, "held"
    assert await resume_without_missed(installation.database) == 2
    await installation.join(("Cy", "Europe/London"))
    await installation.live(datetime(2026, 11, 19, 20, tzinfo=UTC))
    assert await installation.states(kind="invitation") == {
        "Ann": "expired: restored",
        "Bo": "expired: restored",
        "Cy": "sent",
    }
    assert len(installation.mails()) == 2 + 1 + 2 * 3


async def test_send_missed_sends_what_was_due_before_the_restore(installation: Installation) -> None:
    file = await keep(installation)
    installation.clock.pass_(timedelta(days=2))
    await put_back(installation, file)
    await installation.tick()
    async with installation.database.write() as connection:
        await end_sending_pause(connection)
    await installation.tick()
    assert await installation.states() == {"Ann": "sent", "Bo": "sent"}
    assert (await missed(installation.database)).notices == []


async def test_mail_that_was_being_sent_in_the_backup_is_ended(installation: Installation) -> None:
    await send_notice(
        installation.database,
        subject="Hello",
        body="All.",
        audience=Audience(terms={"all": [""]}),
        audience_text="all",
        now=installation.clock.now(),
    )
    async with installation.database.write() as connection:
        await connection.exec_driver_sql(
            "UPDATE deliveries SET state = 'sending', run = 'gone' WHERE member = 1"
        )
    file = await keep(installation)
    installation.clock.pass_(timedelta(minutes=1))
    await put_back(installation, file)
    assert await resume_without_missed(installation.database) == 2
    await installation.dispatcher.take_over()
    await installation.tick()
    assert installation.mails() == []


async def test_a_backup_is_one_private_file_of_one_moment_with_the_key_in_it(
    installation: Installation,
) -> None:
    async with installation.database.write() as connection:
        await connection.exec_driver_sql("UPDATE members SET name = 'unseen'")
        file = await keep(installation)
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["backup"]
    with sqlite3.connect(file) as copy:
        assert copy.execute("SELECT name FROM members").fetchall() == [("Ann",), ("Bo",)]
        assert copy.execute("SELECT key FROM backup").fetchone() == (installation.keys.secret.hex(),)
    copy.close()
    assert await keep(installation) == file, "a newer one replaces it"
    (installation.folder / "words").write_text("mine")
    with pytest.raises(Problem, match="is not a backup"):
        await back_up(installation.database, installation.folder / "words", keys=installation.keys, now=BEGIN)


async def test_the_key_is_restored_and_the_replaced_files_are_set_aside(installation: Installation) -> None:
    file = await keep(installation)
    secret = installation.folder / "secret"
    secret.write_text("ab" * 32)
    with pytest.raises(Problem, match="another key"):
        await put_back(installation, file, given=b"x" * 32)
    await put_back(installation, file)
    assert Keys(bytes.fromhex(secret.read_text())) == installation.keys
    names = sorted(path.name for path in installation.folder.glob("*.before-*"))
    assert names == ["secret.before-20261104T120000", "test.sqlite.before-20261104T120000"]
    with sqlite3.connect(installation.folder / "test.sqlite") as now:
        assert not now.execute("SELECT name FROM sqlite_master WHERE name = 'backup'").fetchall()
    now.close()
    async with installation.database.read() as connection:
        pause = await current_pause(connection)
    assert pause
    assert pause.reason == "restored"


@pytest.mark.parametrize("fault", ["missing", "words", "database", "cut", "overwritten", "newer"])
async def test_a_file_that_cannot_be_used_is_refused_and_nothing_is_touched(
    installation: Installation, fault: str
) -> None:
    file = await keep(installation)
    whole = file.read_bytes()
    match fault:
        case "missing":
            file.unlink()
        case "words":
            file.write_text("name,email")
        case "database":
            file.write_bytes((installation.folder / "test.sqlite").read_bytes())
        case "cut":
            file.write_bytes(whole[: len(whole) // 2])
        case "overwritten":
            file.write_bytes(whole[:20_000] + b"\xa5" * 40_000 + whole[60_000:])
        case "newer":
            with sqlite3.connect(file) as copy:
                copy.execute("UPDATE alembic_version SET version_num = '9999'")
            copy.close()
    with pytest.raises(Problem) as refused:
        await put_back(installation, file)
    assert "\n" not in str(refused.value)
    assert not list(installation.folder.glob("*.before-*"))
    assert await installation.reports() == []
    async with installation.database.read() as connection:
        assert await current_pause(connection) is None


async def test_a_database_that_is_served_is_not_replaced(installation: Installation) -> None:
    file = await keep(installation)
    other = Database(f"sqlite:///{installation.folder / 'test.sqlite'}")
    async with other.exclusive():
        with pytest.raises(Problem, match="another `serve`"):
            await put_back(installation, file)
    await other.close()


async def test_a_copy_of_a_postgresql_database_is_noticed_and_pauses_sending(
    postgres_url: str, postgres_server: str, tmp_path: Path
) -> None:
    async with open_installation(tmp_path, BEGIN, url=postgres_url) as installation:
        await installation.tick()
        await installation.join(*PEOPLE)
        await installation.tick()
        with pytest.raises(Problem, match="pg_dump"):
            await back_up(installation.database, tmp_path / "backup", keys=installation.keys, now=BEGIN)
    name = postgres_url.rpartition("/")[2]
    await execute(postgres_server, f"CREATE DATABASE {name}_copy TEMPLATE {name}")
    async with open_installation(
        tmp_path, BEGIN + timedelta(days=2), url=f"{postgres_url}_copy"
    ) as installation:
        await installation.tick()
        assert [row.count for row in (await missed(installation.database)).notices] == [2]
        assert await resume_without_missed(installation.database) == 2
        await installation.tick()
        assert installation.mails() == []
    await execute(postgres_server, f"DROP DATABASE {name}_copy WITH (FORCE)")


async def test_what_a_killed_restore_left_hinders_none_and_is_deleted_by_the_next_one(
    installation: Installation,
) -> None:
    """In a container, every process may have the ID of the one that was killed."""
    file = await keep(installation)
    left = [
        installation.folder / name
        for name in (f".test.sqlite.{os.getpid()}", ".test.sqlite.4711-wal", f".secret.{os.getpid()}")
    ]
    foreign = installation.folder / ".other.sqlite.4711"
    for half in (*left, foreign):
        half.write_text("ann@example.org")
    await put_back(installation, file)
    assert not left[0].exists() and not left[1].exists() and foreign.exists()
    async with installation.database.read() as connection:
        pause = await current_pause(connection)
    assert pause and (installation.folder / "secret").exists()
