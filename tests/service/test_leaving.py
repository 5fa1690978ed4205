"""Leaving, and what a personal link is worth."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from scheduler.domain.token import Keys, Purpose
from scheduler.service.leaving import leave, look
from scheduler.service.recognising import Standing
from scheduler.store import erasures, facts, members
from scheduler.store.members import Member
from tests.house import House, address_of, open_house


@pytest.fixture
async def house(tmp_path: Path, database_url: str) -> AsyncIterator[House]:
    async with open_house(tmp_path, datetime(2026, 11, 4, 12, tzinfo=UTC), url=database_url) as house:
        await house.join(("Ann", "Europe/London"), ("Bo", "Pacific/Auckland"))
        yield house


async def person(house: House, name: str) -> Member:
    async with house.database.read() as connection:
        found = await members.by_key(connection, address_of(name))
        assert found
        return found


async def link(house: House, name: str, purpose: Purpose = Purpose.LEAVE) -> str:
    one = await person(house, name)
    return house.keys.token(purpose, one.id, generation=one.generation)


async def changes(house: House) -> int:
    async with house.database.read() as connection:
        return await facts.current(connection, "change")


async def test_leaving_takes_effect_at_once_and_a_running_service_notices(house: House) -> None:
    before = await changes(house)
    assert (
        await leave(house.database, await link(house, "Bo"), keys=house.keys, now=house.clock.now())
        is Standing.GOOD
    )
    left = await person(house, "Bo")
    assert (left.status, left.active_since) == ("left", None)
    assert await changes(house) == before + 1
    assert (await person(house, "Ann")).status == "active"


async def test_leaving_twice_is_leaving_once(house: House) -> None:
    token = await link(house, "Bo")
    await leave(house.database, token, keys=house.keys, now=house.clock.now())
    before = await changes(house)
    assert await leave(house.database, token, keys=house.keys, now=house.clock.now()) is Standing.LEFT
    assert await changes(house) == before


async def test_a_pause_ends_with_leaving(house: House) -> None:
    await house.change(
        "Bo", status="paused", active_since=None, paused_until=datetime(2026, 12, 1, tzinfo=UTC)
    )
    await leave(house.database, await link(house, "Bo"), keys=house.keys, now=house.clock.now())
    left = await person(house, "Bo")
    assert (left.status, left.paused_until) == ("left", None)


async def test_looking_changes_nothing(house: House) -> None:
    before = await changes(house)
    assert await look(house.database, await link(house, "Bo"), keys=house.keys) is Standing.GOOD
    assert await changes(house) == before
    assert (await person(house, "Bo")).status == "active"


async def test_who_came_back_can_leave_again_by_the_same_link(house: House) -> None:
    token = await link(house, "Bo")
    await leave(house.database, token, keys=house.keys, now=house.clock.now())
    await house.change("Bo", status="active", active_since=house.clock.now())
    assert await leave(house.database, token, keys=house.keys, now=house.clock.now()) is Standing.GOOD


async def test_a_rotated_link_is_known_for_what_it_was(house: House) -> None:
    token = await link(house, "Bo")
    await house.change("Bo", generation=3)
    assert await leave(house.database, token, keys=house.keys, now=house.clock.now()) is Standing.REPLACED
    assert (await person(house, "Bo")).status == "active"


async def test_nobodys_link_is_unknown(house: House) -> None:
    token, other = await link(house, "Bo"), Keys(b"x" * 32)
    stranger = house.keys.token(Purpose.LEAVE, 2**40 - 1, generation=0)
    forged = other.token(Purpose.LEAVE, (await person(house, "Bo")).id, generation=0)
    another_purpose = await link(house, "Bo", Purpose.JOIN)
    for one in ("", "x", token[:-1], stranger, forged, another_purpose, "é" * 34):
        assert await leave(house.database, one, keys=house.keys, now=house.clock.now()) is Standing.UNKNOWN
    assert (await person(house, "Bo")).status == "active"


async def test_an_erased_members_link_is_unknown(house: House) -> None:
    token, one = await link(house, "Bo"), await person(house, "Bo")
    async with house.database.write() as connection:
        await erasures.erase(connection, one, "0" * 64, house.clock.now())
    assert await leave(house.database, token, keys=house.keys, now=house.clock.now()) is Standing.UNKNOWN
