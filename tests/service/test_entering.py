"""The way into a meeting."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from scheduler.domain.token import Purpose
from scheduler.service.amending import Change, add_extra, amend
from scheduler.service.entering import Door, Entry, enter
from scheduler.store import members
from tests.house import SERIES, House, address_of, open_house

KEY = "conversation-for-kindness/2026-11-19"
START = datetime(2026, 11, 19, 18, tzinfo=UTC)
END = START + timedelta(hours=1)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path, datetime(2026, 11, 4, 12, tzinfo=UTC)) as house:
        await house.tick()
        await house.join(("Bo", "Pacific/Auckland"))
        yield house


async def come(house: House, now: datetime, key: str = KEY) -> Entry:
    async with house.database.read() as connection:
        member = await members.by_key(connection, address_of("Bo"))
        assert member
    token = house.keys.token(Purpose.JOIN, member.id, generation=member.generation)
    return await enter(house.database, house.by_slug, token, key, keys=house.keys, locale="en-GB", now=now)


async def change(house: House, **values: object) -> None:
    await amend(house.database, house.by_slug, KEY, Change(**values), now=house.clock.now())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("now", "door"),
    [
        (START - timedelta(minutes=15, microseconds=1), Door.EARLY),
        (START - timedelta(minutes=15), Door.OPEN),
        (START, Door.OPEN),
        (END + timedelta(minutes=30), Door.OPEN),
        (END + timedelta(minutes=30, microseconds=1), Door.OVER),
    ],
)
async def test_it_opens_a_quarter_of_an_hour_before_and_closes_half_an_hour_after(
    house: House, now: datetime, door: Door
) -> None:
    entry = await come(house, now)
    assert entry.door is door
    assert entry.room == ("https://room.example.org/kindness" if door is Door.OPEN else "")


async def test_a_meetings_own_room_goes_before_that_of_its_series(house: House) -> None:
    await change(house, link="https://other.example.org/room")
    assert (await come(house, START)).room == "https://other.example.org/room"


async def test_a_room_not_set_yet_says_so_and_leads_nowhere(house: House) -> None:
    house.series = (replace(SERIES, link=""),)
    entry = await come(house, START)
    assert (entry.door, entry.room) == (Door.ROOMLESS, "")
    early = await come(house, START - timedelta(days=3))
    assert (early.door, early.has_room) == (Door.EARLY, False)
    await change(house, link="https://other.example.org/room")
    assert (await come(house, START)).door is Door.OPEN


async def test_who_is_early_is_told_when_in_their_own_time(house: House) -> None:
    entry = await come(house, START - timedelta(days=3))
    assert entry.when
    assert (entry.when.day, entry.when.starts, entry.when.opens) == (
        "Friday 20 November 2026",
        "07:00",
        "06:45",
    )


async def test_times_are_in_the_members_hour_cycle_and_without_one_in_the_communitys(house: House) -> None:
    await house.change("Bo", locale="en-NZ")
    entry = await come(house, START - timedelta(days=3))
    assert entry.when and entry.when.starts == "7:00 am"
    await house.change("Bo", locale="")
    entry = await come(house, START - timedelta(days=3))
    assert entry.when and entry.when.starts == "07:00"


async def test_a_moved_meeting_says_its_new_time_and_opens_by_it(house: House) -> None:
    await change(house, move_to=datetime(2026, 11, 26, 18))
    entry = await come(house, START)
    assert entry.door is Door.EARLY
    assert entry.when and entry.when.day == "Friday 27 November 2026"
    assert entry.was and entry.was.day == "Friday 20 November 2026"
    assert (await come(house, START + timedelta(days=7))).door is Door.OPEN


async def test_a_cancelled_meeting_has_no_way_in_and_names_the_next(house: House) -> None:
    await change(house, cancel=True)
    entry = await come(house, START)
    assert (entry.door, entry.room) == (Door.CANCELLED, "")
    assert entry.next and entry.next.day == "Friday 18 December 2026"


async def test_a_meeting_beyond_the_horizon_and_an_extra_one_are_found(house: House) -> None:
    assert (await come(house, START, "conversation-for-kindness/2029-03-15")).door is Door.EARLY
    extra = await add_extra(house.database, SERIES, datetime(2026, 11, 25, 12), now=house.clock.now())
    assert (await come(house, extra.starts, extra.key)).door is Door.OPEN


@pytest.mark.parametrize(
    "key", ["", "x", "other/2026-11-19", "conversation-for-kindness/2026-11-20", KEY + "T1800"]
)
async def test_a_meeting_that_is_none_is_told_with_the_next_one(house: House, key: str) -> None:
    entry = await come(house, START - timedelta(days=1), key)
    assert entry.door is Door.NO_MEETING
    assert entry.next and entry.next.day == "Friday 20 November 2026"


async def test_members_who_paused_may_enter_and_those_who_left_may_not(house: House) -> None:
    await house.change("Bo", status="paused", active_since=None)
    assert (await come(house, START)).door is Door.OPEN
    await house.change("Bo", status="left")
    entry = await come(house, START)
    assert (entry.door, entry.room, entry.when) == (Door.LEFT, "", None)


async def test_a_link_of_another_purpose_or_an_older_one_opens_nothing(house: House) -> None:
    async with house.database.read() as connection:
        member = await members.by_key(connection, address_of("Bo"))
        assert member
    leave = house.keys.token(Purpose.LEAVE, member.id, generation=0)
    old = house.keys.token(Purpose.JOIN, member.id, generation=0)
    await house.change("Bo", generation=1)
    doors = [
        (
            await enter(house.database, house.by_slug, one, KEY, keys=house.keys, locale="en-GB", now=START)
        ).door
        for one in (leave, old)
    ]
    assert doors == [Door.UNKNOWN, Door.REPLACED]
