"""Forgetting somebody: nothing of them is left but a hash that nobody can read."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from scheduler.domain.problem import Refused
from scheduler.service.erasing import Erased, erase_member, find_erasable
from scheduler.service.membership import remove_member
from scheduler.store import answers, facts, members, notices
from scheduler.store.database import Database
from scheduler.store.ledger import claims
from tests.house import House, address_of, open_house
from tests.service.people import KEYS, NOW, everybody, row, take

NAME = "Zdenka Quarrendon"
ADDRESS = address_of(NAME)
NINE = datetime(2026, 11, 5, 9, tzinfo=UTC)


def found(folder: Path, *words: str) -> list[str]:
    """The files below `folder` that show any of `words`, in any case."""
    return [
        f"{path.relative_to(folder)}: {word}"
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        for word in words
        if word.lower().encode() in path.read_bytes().lower()
    ]


async def erase(house: House, email: str = ADDRESS) -> Erased:
    return await erase_member(
        house.database, email, keys=house.keys, outbox=house.mail, now=house.clock.now()
    )


async def test_a_search_of_all_files_finds_neither_address_nor_name(tmp_path: Path) -> None:
    async with open_house(tmp_path, datetime(2026, 11, 1, tzinfo=UTC)) as house:
        await house.tick()
        await house.join(("Ann", "Europe/London"), (NAME, "Europe/London"), ("Bo", "Asia/Kolkata"))
        for day in (5, 18):
            house.clock.pass_until(datetime(2026, 11, day, 12, tzinfo=UTC))
            await house.tick()
        async with house.database.write() as connection:
            member = await members.by_key(connection, ADDRESS)
            assert member
            await answers.set_answer(
                connection, member.id, "conversation-for-kindness/2026-11-19", answer="coming", now=house.clock.now()
            )  # fmt: skip
            await facts.write(connection, facts.RELAY, {"reason": f"450 <{ADDRESS}>: later", "since": "x"})
        sent, folder = len(house.mails()), house.folder
        assert found(folder, ADDRESS, NAME)
        assert await erase(house) == Erased(stood=True, mails=2)
        assert not found(folder, ADDRESS, NAME, "Quarrendon")
        assert len(house.mails()) == sent - 2
        assert {one.name for one in await house.reports()} == {"Ann", "Bo"}
        house.clock.pass_until(datetime(2026, 11, 19, 17, tzinfo=UTC))
        await house.tick()
        assert not found(folder, ADDRESS, NAME)


async def test_among_many_nothing_of_those_erased_is_left(tmp_path: Path) -> None:
    async with open_house(tmp_path, NOW) as house:
        rows = [row(f"Person{number:05}@Example.org", name=f"Name{number:05}") for number in range(20_000)]
        await take(house.database, sorted(rows, key=lambda one: hash(one.email)))
        for number in (7, 9_999, 12_345):
            await erase_member(
                house.database, f"person{number:05}@example.org", keys=KEYS, outbox=None, now=NOW
            )
            assert not found(tmp_path, f"person{number:05}@", f"Name{number:05}")


async def test_on_every_database_the_rows_are_gone(database: Database) -> None:
    await take(database, [row("ann@example.org"), row("bo@example.org")])
    assert (await find_erasable(database, "Ann@example.org", keys=KEYS)) is not None
    await erase_member(database, "Ann@example.org", keys=KEYS, outbox=None, now=NOW)
    assert [member.address for member in await everybody(database)] == ["bo@example.org"]
    assert await find_erasable(database, "ann@example.org", keys=KEYS) is None


async def test_erasing_again_finishes_what_broke_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_house(tmp_path, NINE) as house:
        await house.join((NAME, "Europe/London"))
        await house.tick()
        with monkeypatch.context() as broken:
            broken.setattr(os, "scandir", lambda path: (_ for _ in ()).throw(PermissionError("no")))
            with pytest.raises(PermissionError):
                await erase(house)
        assert found(tmp_path / "mail", ADDRESS)
        assert await erase(house) == Erased(stood=False, mails=1)
        assert not found(tmp_path, ADDRESS, NAME)


async def test_who_was_never_known_is_not_erased(database: Database) -> None:
    await take(database, [row("ann@example.org")])
    with pytest.raises(Refused, match="no member 'anne@example.org'; did you mean ann@example.org"):
        await erase_member(database, "anne@example.org", keys=KEYS, outbox=None, now=NOW)


async def test_who_left_may_be_erased_too(database: Database) -> None:
    await take(database, [row("ann@example.org")])
    await remove_member(database, "ann@example.org", now=NOW)
    assert (await erase_member(database, "ann@example.org", keys=KEYS, outbox=None, now=NOW)).stood


async def _being_mailed(house: House) -> None:
    """Let the invitation be on its way."""
    await house.join((NAME, "Europe/London"))
    await house.planner.tick()
    async with house.database.write() as connection:
        (chunk,) = await claims.open_chunks(connection, house.clock.now())
        await connection.run_sync(claims.claim, chunk, run="another", now=house.clock.now(), limit=10)


async def test_while_a_mail_to_them_is_on_its_way_nobody_is_erased(tmp_path: Path) -> None:
    async with open_house(tmp_path, NINE) as house:
        await _being_mailed(house)
        with pytest.raises(Refused, match="on its way at this moment; try again in a minute"):
            await erase(house)
        async with house.database.read() as connection:
            assert await members.by_key(connection, ADDRESS)


async def test_a_mail_whose_sender_broke_off_is_no_hindrance(tmp_path: Path) -> None:
    async with open_house(tmp_path, NINE) as house:
        await _being_mailed(house)
        house.clock.pass_(timedelta(minutes=2))
        assert (await erase(house)).stood
        house.restart()
        await house.dispatcher.take_over()
        await house.tick()
        assert not house.mails() and not await house.reports()


async def test_a_test_mail_to_them_is_told_of_without_their_address(tmp_path: Path) -> None:
    async with open_house(tmp_path, NINE) as house:
        await house.join((NAME, "Europe/London"))
        async with house.database.write() as connection:
            await notices.add(
                connection, identity="notice:x", kind="notice", audience=f"test to {ADDRESS.upper()}",
                created_at=NINE, expires=NINE,
            )  # fmt: skip
        await erase(house)
        assert not found(tmp_path, ADDRESS)
