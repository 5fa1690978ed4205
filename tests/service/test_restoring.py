"""A backup taken while the service works, and going back to it without telling anybody twice."""

import sqlite3
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from scheduler.domain.problem import Problem
from scheduler.domain.token import Keys
from scheduler.service.holding import held, release
from scheduler.service.notifying import send_notice
from scheduler.service.restoring import back_up, let_go, missed, restore
from scheduler.store.database import Database
from tests.house import House, open_house
from tests.postgres import execute

BEGIN = datetime(2026, 11, 4, 12, tzinfo=UTC)  # the invitation is due on the fifth, 09:00 of each zone
PEOPLE = (("Ann", "Europe/London"), ("Bo", "Europe/Paris"))


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path, BEGIN) as house:
        await house.tick()
        await house.join(*PEOPLE)
        await house.tick()
        yield house


async def keep(house: House) -> Path:
    file = house.folder / "copies" / "backup"
    await back_up(house.database, file, keys=house.keys, now=house.clock.now())
    return file


async def put_back(house: House, file: Path, *, given: bytes | None = None) -> None:
    await house.database.close()
    house.database = Database(f"sqlite:///{house.folder / 'test.sqlite'}")
    await restore(house.database, file, secret=house.folder / "secret", given=given, now=house.clock.now())
    house.restart()


async def test_what_was_sent_after_the_backup_is_not_sent_again_and_what_comes_later_is(house: House) -> None:
    file = await keep(house)
    await house.live(datetime(2026, 11, 5, 20, tzinfo=UTC))
    assert len(house.mails()) == 2

    await put_back(house, file)
    await house.tick()
    assert [(row.kind, row.count) for row in await missed(house.database)] == [("invitation", 2)]
    house.clock.pass_(timedelta(minutes=1))
    await house.tick()
    assert len(house.mails()) == 2, "held"
    assert await let_go(house.database) == 2
    await house.join(("Cy", "Europe/London"))
    await house.live(datetime(2026, 11, 19, 20, tzinfo=UTC))
    assert await house.states(kind="invitation") == {
        "Ann": "expired: restored", "Bo": "expired: restored", "Cy": "sent",
    }  # fmt: skip
    assert len(house.mails()) == 2 + 1 + 2 * 3


async def test_send_missed_sends_what_was_due_before_the_restore(house: House) -> None:
    file = await keep(house)
    house.clock.pass_(timedelta(days=2))
    await put_back(house, file)
    await house.tick()
    async with house.database.write() as connection:
        await release(connection)
    await house.tick()
    assert await house.states() == {"Ann": "sent", "Bo": "sent"}
    assert await missed(house.database) == []


async def test_what_was_on_its_way_in_the_backup_ends_with_it(house: House) -> None:
    await send_notice(
        house.database,
        subject="Hello",
        body="All.",
        audience={"all": [""]},
        audience_text="all",
        now=house.clock.now(),
    )
    async with house.database.write() as connection:
        await connection.exec_driver_sql(
            "UPDATE deliveries SET state = 'sending', run = 'gone' WHERE member = 1"
        )
    file = await keep(house)
    house.clock.pass_(timedelta(minutes=1))
    await put_back(house, file)
    assert await let_go(house.database) == 2
    await house.dispatcher.take_over()
    await house.tick()
    assert house.mails() == []


async def test_a_backup_is_one_private_file_of_one_moment_with_the_key_in_it(house: House) -> None:
    async with house.database.write() as connection:
        await connection.exec_driver_sql("UPDATE members SET name = 'unseen'")
        file = await keep(house)
    assert file.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in file.parent.iterdir()] == ["backup"]
    with sqlite3.connect(file) as copy:
        assert copy.execute("SELECT name FROM members").fetchall() == [("Ann",), ("Bo",)]
        assert copy.execute("SELECT key FROM backup").fetchone() == (house.keys.secret.hex(),)
    copy.close()
    assert await keep(house) == file, "a newer one replaces it"
    (house.folder / "words").write_text("mine")
    with pytest.raises(Problem, match="is no backup"):
        await back_up(house.database, house.folder / "words", keys=house.keys, now=BEGIN)


async def test_the_key_comes_back_and_what_was_there_is_set_aside(house: House) -> None:
    file = await keep(house)
    secret = house.folder / "secret"
    secret.write_text("ab" * 32)
    with pytest.raises(Problem, match="another key"):
        await put_back(house, file, given=b"x" * 32)
    await put_back(house, file)
    assert Keys(bytes.fromhex(secret.read_text())) == house.keys
    names = sorted(one.name for one in house.folder.glob("*.before-*"))
    assert names == ["secret.before-20261104T120000", "test.sqlite.before-20261104T120000"]
    with sqlite3.connect(house.folder / "test.sqlite") as now:
        assert not now.execute("SELECT name FROM sqlite_master WHERE name = 'backup'").fetchall()
    now.close()
    async with house.database.read() as connection:
        standing = await held(connection)
    assert standing
    assert standing.reason == "restored"


@pytest.mark.parametrize("fault", ["missing", "words", "database", "cut", "overwritten", "newer"])
async def test_a_file_that_cannot_be_used_is_refused_and_nothing_is_touched(house: House, fault: str) -> None:
    file = await keep(house)
    whole = file.read_bytes()
    match fault:
        case "missing":
            file.unlink()
        case "words":
            file.write_text("name,email")
        case "database":
            file.write_bytes((house.folder / "test.sqlite").read_bytes())
        case "cut":
            file.write_bytes(whole[: len(whole) // 2])
        case "overwritten":
            file.write_bytes(whole[:20_000] + b"\xa5" * 40_000 + whole[60_000:])
        case "newer":
            with sqlite3.connect(file) as copy:
                copy.execute("UPDATE alembic_version SET version_num = '9999'")
            copy.close()
    with pytest.raises(Problem) as refused:
        await put_back(house, file)
    assert "\n" not in str(refused.value)
    assert not list(house.folder.glob("*.before-*"))
    assert await house.reports() == []
    async with house.database.read() as connection:
        assert await held(connection) is None


async def test_a_database_that_is_served_is_not_replaced(house: House) -> None:
    file = await keep(house)
    other = Database(f"sqlite:///{house.folder / 'test.sqlite'}")
    async with other.alone():
        with pytest.raises(Problem, match="another `serve`"):
            await put_back(house, file)
    await other.close()


async def test_a_copy_of_a_postgresql_database_is_noticed_and_holds_sending(
    postgres_url: str, postgres_server: str, tmp_path: Path
) -> None:
    async with open_house(tmp_path, BEGIN, url=postgres_url) as house:
        await house.tick()
        await house.join(*PEOPLE)
        await house.tick()
        with pytest.raises(Problem, match="pg_dump"):
            await back_up(house.database, tmp_path / "backup", keys=house.keys, now=BEGIN)
    name = postgres_url.rpartition("/")[2]
    await execute(postgres_server, f"CREATE DATABASE {name}_copy TEMPLATE {name}")
    async with open_house(tmp_path, BEGIN + timedelta(days=2), url=f"{postgres_url}_copy") as house:
        await house.tick()
        assert [row.count for row in await missed(house.database)] == [2]
        assert await let_go(house.database) == 2
        await house.tick()
        assert house.mails() == []
    await execute(postgres_server, f"DROP DATABASE {name}_copy WITH (FORCE)")
