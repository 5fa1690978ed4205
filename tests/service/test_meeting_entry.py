"""The way into a meeting."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from scheduler.domain.token import Purpose
from scheduler.service.occurrences import Change, add_extra, amend
from scheduler.service.personal_links import JoinResult, JoinStatus, resolve_join_link
from scheduler.store import members
from tests.installation import SERIES, Installation, address_of, open_installation

KEY = "conversation-for-kindness/2026-11-19"
START = datetime(2026, 11, 19, 18, tzinfo=UTC)
END = START + timedelta(hours=1)


@pytest.fixture
async def installation(tmp_path: Path) -> AsyncIterator[Installation]:
    async with open_installation(tmp_path, datetime(2026, 11, 4, 12, tzinfo=UTC)) as installation:
        await installation.tick()
        await installation.join(("Bo", "Pacific/Auckland"))
        yield installation


async def come(installation: Installation, now: datetime, key: str = KEY) -> JoinResult:
    async with installation.database.read() as connection:
        member = await members.by_key(connection, address_of("Bo"))
        assert member
    token = installation.keys.token(Purpose.JOIN, member.id, generation=member.generation)
    return await resolve_join_link(
        installation.database,
        installation.by_slug,
        token,
        key,
        keys=installation.keys,
        locale="en-GB",
        now=now,
    )


async def change(installation: Installation, **values: Any) -> None:
    await amend(
        installation.database,
        installation.by_slug,
        KEY,
        Change(**values),
        now=installation.clock.now(),
    )


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (START - timedelta(minutes=15, microseconds=1), JoinStatus.EARLY),
        (START - timedelta(minutes=15), JoinStatus.OPEN),
        (START, JoinStatus.OPEN),
        (END + timedelta(minutes=30), JoinStatus.OPEN),
        (END + timedelta(minutes=30, microseconds=1), JoinStatus.OVER),
    ],
)
async def test_it_opens_a_quarter_of_an_hour_before_and_closes_half_an_hour_after(
    installation: Installation, now: datetime, expected: JoinStatus
) -> None:
    result = await come(installation, now)
    assert result.status is expected
    assert result.room == ("https://room.example.org/kindness" if expected is JoinStatus.OPEN else "")


async def test_a_meetings_own_room_goes_before_that_of_its_series(installation: Installation) -> None:
    await change(installation, link="https://other.example.org/room")
    assert (await come(installation, START)).room == "https://other.example.org/room"


async def test_a_room_not_set_yet_says_so_and_leads_nowhere(installation: Installation) -> None:
    installation.series = (replace(SERIES, link=""),)
    result = await come(installation, START)
    assert (result.status, result.room) == (JoinStatus.ROOMLESS, "")
    early = await come(installation, START - timedelta(days=3))
    assert (early.status, early.has_room) == (JoinStatus.EARLY, False)
    await change(installation, link="https://other.example.org/room")
    assert (await come(installation, START)).status is JoinStatus.OPEN


async def test_who_is_early_is_told_when_in_their_own_time(installation: Installation) -> None:
    result = await come(installation, START - timedelta(days=3))
    assert result.when
    assert (result.when.day, result.when.starts, result.when.opens) == (
        "Friday 20 November 2026",
        "07:00",
        "06:45",
    )


async def test_times_are_in_the_members_hour_cycle_and_without_one_in_the_communitys(
    installation: Installation,
) -> None:
    await installation.change("Bo", locale="en-NZ")
    result = await come(installation, START - timedelta(days=3))
    assert result.when and result.when.starts == "7:00 am"
    await installation.change("Bo", locale="")
    result = await come(installation, START - timedelta(days=3))
    assert result.when and result.when.starts == "07:00"


async def test_a_moved_meeting_says_its_new_time_and_opens_by_it(installation: Installation) -> None:
    await change(installation, move_to=datetime(2026, 11, 26, 18))
    result = await come(installation, START)
    assert result.status is JoinStatus.EARLY
    assert result.when and result.when.day == "Friday 27 November 2026"
    assert result.was and result.was.day == "Friday 20 November 2026"
    assert (await come(installation, START + timedelta(days=7))).status is JoinStatus.OPEN


async def test_a_cancelled_meeting_has_no_way_in_and_names_the_next(installation: Installation) -> None:
    await change(installation, cancel=True)
    result = await come(installation, START)
    assert (result.status, result.room) == (JoinStatus.CANCELLED, "")
    assert result.next and result.next.day == "Friday 18 December 2026"


async def test_a_meeting_beyond_the_horizon_and_an_extra_one_are_found(installation: Installation) -> None:
    assert (
        await come(installation, START, "conversation-for-kindness/2029-03-15")
    ).status is JoinStatus.EARLY
    extra = await add_extra(
        installation.database, SERIES, datetime(2026, 11, 25, 12), now=installation.clock.now()
    )
    assert (await come(installation, extra.starts, extra.key)).status is JoinStatus.OPEN


@pytest.mark.parametrize(
    "key", ["", "x", "other/2026-11-19", "conversation-for-kindness/2026-11-20", KEY + "T1800"]
)
async def test_a_meeting_that_is_none_is_told_with_the_next_one(installation: Installation, key: str) -> None:
    result = await come(installation, START - timedelta(days=1), key)
    assert result.status is JoinStatus.NO_MEETING
    assert result.next and result.next.day == "Friday 20 November 2026"


async def test_members_who_paused_may_enter_and_those_who_left_may_not(installation: Installation) -> None:
    await installation.change("Bo", status="paused", active_since=None)
    assert (await come(installation, START)).status is JoinStatus.OPEN
    await installation.change("Bo", status="left")
    result = await come(installation, START)
    assert (result.status, result.room, result.when) == (JoinStatus.LEFT, "", None)


async def test_a_link_of_another_purpose_or_an_older_one_opens_nothing(installation: Installation) -> None:
    async with installation.database.read() as connection:
        member = await members.by_key(connection, address_of("Bo"))
        assert member
    leave = installation.keys.token(Purpose.LEAVE, member.id, generation=0)
    old = installation.keys.token(Purpose.JOIN, member.id, generation=0)
    await installation.change("Bo", generation=1)
    doors = [
        (
            await resolve_join_link(
                installation.database,
                installation.by_slug,
                one,
                KEY,
                keys=installation.keys,
                locale="en-GB",
                now=START,
            )
        ).status
        for one in (leave, old)
    ]
    assert doors == [JoinStatus.UNKNOWN, JoinStatus.REPLACED]
