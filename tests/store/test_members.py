"""Members in the database."""

import contextlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from scheduler.domain.audience import Audience
from scheduler.domain.policy import Kind
from scheduler.store import erasures, members, notices, service_state
from scheduler.store.database import Database
from scheduler.store.members import Member
from scheduler.store.schema import deliveries

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


def row(address: str, **values: Any) -> dict[str, Any]:
    return {
        "address": address,
        "address_key": address.lower(),
        "name": "Ann",
        "country": "GB",
        "zone": "Europe/London",
        "zone_source": "given",
        "locale": "en-GB",
        "status": "active",
        "role": None,
        "created_at": NOW,
        "active_since": NOW,
        "paused_until": None,
        "uninvited_at": None,
        **values,
    }


async def add(database: Database, *rows: dict[str, Any]) -> None:
    async with database.write() as connection:
        await members.add(connection, rows)


async def find(database: Database, address: str) -> Member | None:
    async with database.read() as connection:
        return await members.by_key(connection, address.lower())


async def change_mark(database: Database) -> int:
    async with database.read() as connection:
        return await service_state.current(connection, "change")


async def test_a_member_is_read_as_they_were_written(database: Database) -> None:
    await add(database, row("Ann@example.org", uninvited_at=NOW, role="convenor"))
    member = await find(database, "Ann@example.org")
    assert member and member.address == "Ann@example.org" and member.convenor
    assert member.active_since == member.uninvited_at == NOW
    assert (member.generation, member.feed_generation) == (0, 0)


async def test_an_address_is_unique_whatever_its_case(database: Database) -> None:
    await add(database, row("ann@example.org"))
    with pytest.raises(IntegrityError):
        await add(database, row("ANN@example.org"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"status": "active", "active_since": None},
        {"status": "left", "active_since": NOW},
        {"status": "gone", "active_since": None},
        {"zone_source": "guessed"},
    ],
)
async def test_a_wrong_row_cannot_be_stored(database: Database, wrong: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError):
        await add(database, row("ann@example.org", **wrong))


async def test_all_members_are_read_in_batches_and_none_twice(database: Database) -> None:
    await add(database, *(row(f"m{number}@example.org") for number in range(23)))
    async with database.read() as connection:
        addresses = [member.address async for member in members.every(connection, batch=5)]
    assert addresses == [f"m{number}@example.org" for number in range(23)]


async def test_many_members_are_found_by_their_addresses_at_once(database: Database) -> None:
    await add(database, *(row(f"m{number}@example.org") for number in range(1_200)))
    async with database.read() as connection:
        by_address_key = await members.by_keys(
            connection, [f"m{number}@example.org" for number in range(2_000)]
        )
    assert by_address_key.keys() == {f"m{number}@example.org" for number in range(1_200)}


async def test_every_change_raises_the_counter_that_a_running_service_watches(database: Database) -> None:
    marks = [await change_mark(database)]
    await add(database, row("ann@example.org"), row("bo@example.org"))
    marks.append(await change_mark(database))
    ann, bo = await find(database, "ann@example.org"), await find(database, "bo@example.org")
    assert ann and bo
    async with database.write() as connection:
        await members.change(connection, ann.id, name="Anne")
    marks.append(await change_mark(database))
    async with database.write() as connection:
        await members.change_each(connection, {ann.id: {"name": "Anna"}, bo.id: {"country": "NZ"}})
    marks.append(await change_mark(database))
    async with database.write() as connection:
        await erasures.erase(connection, ann, "hash", NOW)
    marks.append(await change_mark(database))
    assert marks == sorted(set(marks))
    after = await find(database, "bo@example.org")
    assert after and (after.name, after.country) == ("Ann", "NZ")


async def test_a_pause_ends_by_itself_and_one_without_an_end_does_not(database: Database) -> None:
    paused = {"status": "paused", "active_since": None}
    await add(
        database,
        row("ann@example.org", **paused, paused_until=NOW + timedelta(days=1)),
        row("bo@example.org", **paused),
    )
    for hours, back in ((23, 0), (24, 1), (500, 0)):
        async with database.write() as connection:
            assert await members.end_pauses(connection, NOW + timedelta(hours=hours)) == back
    ann, bo = await find(database, "ann@example.org"), await find(database, "bo@example.org")
    assert ann and ann.status == "active" and ann.active_since == NOW + timedelta(days=1)
    assert bo and bo.status == "paused"


async def _mailed(database: Database, member: Member, *, audience: str) -> int:
    """Add a notice to `audience` that is being sent to `member`, and return its number."""
    async with database.write() as connection:
        number = await notices.add(
            connection,
            identity=f"notice:{audience}",
            kind=Kind.NOTICE,
            audience=audience,
            created_at=NOW,
            expires=NOW,
            ready=True,
        )
        await connection.execute(
            deliveries.insert().values(
                notice=number,
                member=member.id,
                zone="Europe/London",
                locale="en-GB",
                chunk=1,
                state="sending",
                run="run",
                due=NOW,
                next_try=NOW,
            )
        )
    return number


async def test_erasing_leaves_nothing_but_the_hash(database: Database) -> None:
    await add(database, row("Ann@example.org"), row("bo@example.org"))
    ann, bo = await find(database, "ann@example.org"), await find(database, "bo@example.org")
    assert ann and bo
    to_ann = await _mailed(database, ann, audience="test to Ann@Example.org")
    to_bo = await _mailed(database, bo, audience="test to bo@example.org")
    async with database.write() as connection:
        assert await members.is_being_mailed(connection, ann.id)
        for _ in range(2):
            await erasures.erase(connection, ann, "hash", NOW)
        assert await erasures.find_erased(connection, ["hash", "other"]) == {"hash"}
        assert not await members.is_being_mailed(connection, ann.id)
        assert await members.is_being_mailed(connection, bo.id)
        first, second = await notices.by_id(connection, to_ann), await notices.by_id(connection, to_bo)
    assert await find(database, "ann@example.org") is None
    assert first and "ann" not in first.audience.lower()
    assert second and second.audience == "test to bo@example.org"


async def test_an_erased_person_can_be_allowed_to_return(database: Database) -> None:
    await add(database, row("ann@example.org"))
    ann = await find(database, "ann@example.org")
    assert ann
    async with database.write() as connection:
        await erasures.erase(connection, ann, "hash", NOW)
        assert await erasures.any_erased(connection)
        await erasures.allow_return(connection, "hash")
        assert not await erasures.any_erased(connection)


async def test_similar_addresses_share_the_beginning_or_the_domain(database: Database) -> None:
    addresses = ("ann@example.org", "annika@other.example.org", "bo@example.org", "cy@else.example.org")
    await add(database, *map(row, addresses))
    async with database.read() as connection:
        assert set(await members.similar_addresses(connection, "anne@example.org")) == set(addresses[:3])
        assert await members.similar_addresses(connection, "%@%") == []


async def test_zones_are_those_of_members(database: Database) -> None:
    async with database.read() as connection:
        assert await members.zones(connection) == frozenset()
    zones = ("Europe/London", "Asia/Kolkata", "Europe/London", "Pacific/Auckland")
    await add(database, *(row(f"m{index}@example.org", zone=zone) for index, zone in enumerate(zones)))
    async with database.read() as connection:
        assert await members.zones(connection) == frozenset(zones)


async def test_the_count_of_everybody_follows_each_change_and_no_change_that_was_rolled_back(
    database: Database,
) -> None:
    everybody = Audience(terms={"all": []})

    async def count() -> int:
        async with database.read() as connection:
            return await members.count_audience(connection, everybody)

    await add(database, row("ann@example.org"), row("ben@example.org"))
    assert await count() == await count() == 2
    with contextlib.suppress(RuntimeError):
        async with database.write() as connection:
            await members.add(connection, [row("eve@example.org")])
            assert await members.count_audience(connection, everybody) == 3
            raise RuntimeError
    await add(database, row("dan@example.org", status="left", active_since=None))
    assert await count() == 2
    async with database.write() as connection:
        assert await members.count_audience(connection, everybody) == 2
    ben = await find(database, "ben@example.org")
    assert ben
    async with database.write() as connection:
        await members.change(connection, ben.id, suppressed_at=NOW)
    assert await count() == 1
    async with database.write() as connection:
        await erasures.erase(connection, ben, "hash", NOW)
    assert await count() == 1
