"""Leaving, and what a personal link is worth."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from scheduler.domain.token import Keys, Purpose
from scheduler.service.personal_links import LinkStatus
from scheduler.service.preferences import check_leave_link, leave
from scheduler.store import erasures, members, service_state
from scheduler.store.members import Member
from tests.installation import Installation, address_of, open_installation


@pytest.fixture
async def installation(tmp_path: Path, database_url: str) -> AsyncIterator[Installation]:
    async with open_installation(
        tmp_path, datetime(2026, 11, 4, 12, tzinfo=UTC), url=database_url
    ) as installation:
        await installation.join(("Ann", "Europe/London"), ("Bo", "Pacific/Auckland"))
        yield installation


async def person(installation: Installation, name: str) -> Member:
    async with installation.database.read() as connection:
        found = await members.by_key(connection, address_of(name))
        assert found
        return found


async def link(installation: Installation, name: str, purpose: Purpose = Purpose.LEAVE) -> str:
    one = await person(installation, name)
    return installation.keys.token(purpose, one.id, generation=one.generation)


async def changes(installation: Installation) -> int:
    async with installation.database.read() as connection:
        return await service_state.current(connection, "change")


async def test_leaving_takes_effect_at_once_and_a_running_service_notices(installation: Installation) -> None:
    before = await changes(installation)
    assert (
        await leave(
            installation.database,
            await link(installation, "Bo"),
            keys=installation.keys,
            now=installation.clock.now(),
        )
        is LinkStatus.GOOD
    )
    left = await person(installation, "Bo")
    assert (left.status, left.active_since) == ("left", None)
    assert await changes(installation) == before + 1
    assert (await person(installation, "Ann")).status == "active"


async def test_leaving_twice_is_leaving_once(installation: Installation) -> None:
    token = await link(installation, "Bo")
    await leave(installation.database, token, keys=installation.keys, now=installation.clock.now())
    before = await changes(installation)
    assert (
        await leave(installation.database, token, keys=installation.keys, now=installation.clock.now())
        is LinkStatus.LEFT
    )
    assert await changes(installation) == before


async def test_a_pause_ends_with_leaving(installation: Installation) -> None:
    await installation.change(
        "Bo", status="paused", active_since=None, paused_until=datetime(2026, 12, 1, tzinfo=UTC)
    )
    await leave(
        installation.database,
        await link(installation, "Bo"),
        keys=installation.keys,
        now=installation.clock.now(),
    )
    left = await person(installation, "Bo")
    assert (left.status, left.paused_until) == ("left", None)


async def test_looking_changes_nothing(installation: Installation) -> None:
    before = await changes(installation)
    assert (
        await check_leave_link(installation.database, await link(installation, "Bo"), keys=installation.keys)
        is LinkStatus.GOOD
    )
    assert await changes(installation) == before
    assert (await person(installation, "Bo")).status == "active"


async def test_who_came_back_can_leave_again_by_the_same_link(installation: Installation) -> None:
    token = await link(installation, "Bo")
    await leave(installation.database, token, keys=installation.keys, now=installation.clock.now())
    await installation.change("Bo", status="active", active_since=installation.clock.now())
    assert (
        await leave(installation.database, token, keys=installation.keys, now=installation.clock.now())
        is LinkStatus.GOOD
    )


@pytest.mark.both_databases
async def test_a_rotated_link_is_known_for_what_it_was(installation: Installation) -> None:
    token = await link(installation, "Bo")
    await installation.change("Bo", generation=3)
    assert (
        await leave(installation.database, token, keys=installation.keys, now=installation.clock.now())
        is LinkStatus.REPLACED
    )
    assert (await person(installation, "Bo")).status == "active"


async def test_nobodys_link_is_unknown(installation: Installation) -> None:
    token, other = await link(installation, "Bo"), Keys(b"x" * 32)
    stranger = installation.keys.token(Purpose.LEAVE, 2**40 - 1, generation=0)
    forged = other.token(Purpose.LEAVE, (await person(installation, "Bo")).id, generation=0)
    another_purpose = await link(installation, "Bo", Purpose.JOIN)
    for one in ("", "x", token[:-1], stranger, forged, another_purpose, "é" * 34):
        assert (
            await leave(installation.database, one, keys=installation.keys, now=installation.clock.now())
            is LinkStatus.UNKNOWN
        )
    assert (await person(installation, "Bo")).status == "active"


async def test_an_erased_members_link_is_unknown(installation: Installation) -> None:
    token, one = await link(installation, "Bo"), await person(installation, "Bo")
    async with installation.database.write() as connection:
        await erasures.erase(connection, one, "0" * 64, installation.clock.now())
    assert (
        await leave(installation.database, token, keys=installation.keys, now=installation.clock.now())
        is LinkStatus.UNKNOWN
    )
