"""The meetings as everybody sees them."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest
from icalendar import Calendar

from scheduler.domain.errors import SettingsProblem
from scheduler.domain.occurrence import Series
from scheduler.service.occurrences import Change, add_extra, amend
from scheduler.service.schedule import (
    Row,
    feed,
    meeting_calendar,
    next_meeting,
    outlook,
    read_meeting,
    schedule,
)
from tests.installation import COMMUNITY, SERIES, Installation, open_installation

NOW = datetime(2026, 11, 4, 12, tzinfo=UTC)
NOVEMBER = "conversation-for-kindness/2026-11-19"
DECEMBER = "conversation-for-kindness/2026-12-17"
TUESDAYS = Series(
    slug="tuesdays",
    title="Second Tuesdays",
    rule="FREQ=WEEKLY;INTERVAL=2;BYDAY=TU",
    start=time(9),
    zone="Australia/Sydney",
    duration=timedelta(minutes=30),
    first=date(2026, 1, 6),
)


@pytest.fixture
async def installation(tmp_path: Path) -> AsyncIterator[Installation]:
    """An empty database: no tick has adopted the series."""
    async with open_installation(tmp_path, NOW) as installation:
        yield installation


async def rows(
    installation: Installation, *, since: date | None = None, count: int = 3, zones: tuple[str, ...] = ()
) -> list[Row]:
    return await schedule(
        installation.database,
        installation.series,
        now=installation.clock.now(),
        since=since,
        count=count,
        zones=zones,
    )


async def keys(installation: Installation, *, since: date | None = None, count: int = 3) -> list[str]:
    return [
        row.occurrence.key.partition("/")[2] for row in await rows(installation, since=since, count=count)
    ]


async def change(installation: Installation, key: str, **values: Any) -> None:
    await amend(
        installation.database,
        installation.by_slug,
        key,
        Change(**values),
        now=installation.clock.now(),
    )


async def starts_in_feed(installation: Installation) -> list[str]:
    published = await feed(
        installation.database, installation.series, COMMUNITY, now=installation.clock.now()
    )
    return [str(event.start) for event in Calendar.from_ical(published.content).events]


async def test_an_empty_database_and_an_adopted_one_show_the_same(installation: Installation) -> None:
    wanted = ["2026-11-19", "2026-12-17", "2027-01-21"]
    assert await keys(installation) == wanted
    before = await starts_in_feed(installation)
    await installation.tick()
    assert await keys(installation) == wanted
    assert await starts_in_feed(installation) == before


async def test_a_document_says_what_the_command_promises(installation: Installation) -> None:
    (row,) = await rows(
        installation, since=date(2027, 4, 15), count=1, zones=("Asia/Dhaka", "UTC", "Asia/Calcutta")
    )
    assert row.document() == {
        "key": "conversation-for-kindness/2027-04-15",
        "series": "conversation-for-kindness",
        "starts_utc": "2027-04-15T17:00:00+00:00",
        "ends_utc": "2027-04-15T18:00:00+00:00",
        "status": "scheduled",
        "topic": "",
        "local": {
            "Asia/Dhaka": {
                "starts": "2027-04-15T23:00:00+06:00",
                "ends": "2027-04-16T00:00:00+06:00",
                "weekday": "Thursday",
                "day_shift": 0,
                "shift_minutes": -60,
                "note": "23:00 this month, an hour earlier than last time: "
                "the UK's clocks have changed and yours have not.",
            },
            "UTC": {
                "starts": "2027-04-15T17:00:00+00:00",
                "ends": "2027-04-15T18:00:00+00:00",
                "weekday": "Thursday",
                "day_shift": 0,
                "shift_minutes": -60,
                "note": "17:00 this month, an hour earlier than last time: "
                "the UK's clocks have changed and yours have not.",
            },
            "Asia/Calcutta": {
                "starts": "2027-04-15T22:30:00+05:30",
                "ends": "2027-04-15T23:30:00+05:30",
                "weekday": "Thursday",
                "day_shift": 0,
                "shift_minutes": -60,
                "note": "22:30 this month, an hour earlier than last time: "
                "the UK's clocks have changed and yours have not.",
            },
        },
    }


async def test_without_zones_the_local_time_is_that_of_home(installation: Installation) -> None:
    installation.series = (SERIES, TUESDAYS)
    shown = {row.occurrence.series: set(row.local) for row in await rows(installation, count=4)}
    assert shown == {"conversation-for-kindness": {"Europe/London"}, "tuesdays": {"Australia/Sydney"}}


async def test_the_first_and_a_moved_meeting_have_no_shift(installation: Installation) -> None:
    await change(installation, "conversation-for-kindness/2027-04-15", move_to=datetime(2027, 4, 22, 19))
    first, moved = [
        (await rows(installation, since=since, count=1, zones=("Asia/Dhaka",)))[0].local["Asia/Dhaka"]
        for since in (date(2020, 1, 1), date(2027, 4, 16))
    ]
    assert (first.starts_at.date(), first.shift_minutes, first.clock_note) == (date(2020, 7, 16), 0, "")
    assert (moved.starts_at.date(), moved.shift_minutes, moved.day_shift) == (date(2027, 4, 23), 0, 1)


@pytest.mark.parametrize("since", ["2026-11-19", "2026-11-01", "0001-01-01"])
async def test_from_is_inclusive_and_may_be_before_all_meetings(
    installation: Installation, since: str
) -> None:
    first = (await keys(installation, since=date.fromisoformat(since), count=1))[0]
    assert first == ("2020-07-16" if since.startswith("0001") else "2026-11-19")


async def test_from_is_a_date_at_home_not_in_utc(installation: Installation) -> None:
    """Tuesday 09:00 in Sydney is still Monday in UTC."""
    installation.series = (TUESDAYS,)
    assert await keys(installation, since=date(2026, 11, 10), count=1) == ["2026-11-10"]
    assert await keys(installation, since=date(2026, 11, 11), count=1) == ["2026-11-24"]
    installation.clock.pass_until(
        datetime(2026, 11, 9, 23, tzinfo=UTC)
    )  # there it is the tenth already, and over
    assert await keys(installation, count=1) == ["2026-11-10"]


async def test_a_moved_meeting_is_listed_at_its_new_time(installation: Installation) -> None:
    await installation.tick()
    await change(installation, NOVEMBER, move_to=datetime(2027, 2, 1, 18))
    assert await keys(installation, count=4) == ["2026-12-17", "2027-01-21", "2026-11-19", "2027-02-18"]
    assert await keys(installation, since=date(2027, 2, 1), count=1) == ["2026-11-19"]


async def test_a_meeting_beyond_the_horizon_that_was_moved_back_is_shown_once(
    installation: Installation,
) -> None:
    await installation.tick()
    await change(installation, "conversation-for-kindness/2027-06-17", move_to=datetime(2026, 11, 12, 18))
    assert await keys(installation, count=9) == [
        "2027-06-17",
        "2026-11-19",
        "2026-12-17",
        "2027-01-21",
        "2027-02-18",
        "2027-03-18",
        "2027-04-15",
        "2027-05-20",
        "2027-07-15",
    ]
    assert len(await starts_in_feed(installation)) == len(set(await starts_in_feed(installation))) == 37


async def test_a_change_made_before_the_first_tick_shows(installation: Installation) -> None:
    await change(installation, NOVEMBER, topic="Listening", cancel=True)
    first = (await rows(installation, count=1))[0].document()
    assert (first["status"], first["topic"]) == ("cancelled", "Listening")
    assert await keys(installation) == ["2026-11-19", "2026-12-17", "2027-01-21"]


async def test_extra_meetings_are_listed_among_the_others(installation: Installation) -> None:
    await add_extra(installation.database, SERIES, datetime(2026, 11, 25, 12), now=NOW)
    assert await keys(installation) == ["2026-11-19", "2026-11-25T1200", "2026-12-17"]


async def test_several_series_are_listed_in_one_order(installation: Installation) -> None:
    installation.series = (SERIES, TUESDAYS)
    listed = await rows(installation, count=30)
    instants = [row.occurrence.starts for row in listed]
    assert instants == sorted(instants)
    assert {row.occurrence.series for row in listed} == {"conversation-for-kindness", "tuesdays"}


async def test_a_rule_that_ends_gives_only_the_meetings_it_has(installation: Installation) -> None:
    installation.series = (replace(SERIES, rule="FREQ=MONTHLY;BYDAY=3TH;UNTIL=20261231T000000"),)
    assert await keys(installation, count=50) == ["2026-11-19", "2026-12-17"]
    installation.clock.pass_until(datetime(2027, 1, 1, tzinfo=UTC))
    assert (
        await next_meeting(installation.database, installation.series, now=installation.clock.now()) is None
    )
    assert (
        await outlook(
            installation.database,
            installation.series,
            now=installation.clock.now(),
            until=installation.clock.now() + timedelta(days=365),
        )
    ).coming == []


async def test_a_changed_rule_is_shown_before_and_after_it_is_adopted(installation: Installation) -> None:
    """Nobody was told of the 19th yet, so the new rule replaces it; the amended December stays, orphaned."""
    await installation.tick()
    await change(installation, DECEMBER, topic="Kept")
    installation.series = (replace(SERIES, rule="FREQ=MONTHLY;BYDAY=-1MO"),)
    wanted = ["2026-11-30", "2026-12-17", "2026-12-28"]
    assert await keys(installation) == wanted
    installation.restart()
    await installation.tick()
    assert await keys(installation) == wanted
    installation.clock.pass_until(datetime(2026, 12, 1, tzinfo=UTC))
    following = await next_meeting(installation.database, installation.series, now=installation.clock.now())
    assert following and following.key.endswith("2026-12-28")


async def test_the_feed_is_the_same_bytes_for_the_same_state(installation: Installation) -> None:
    for _ in range(2):
        first = await feed(
            installation.database, installation.series, COMMUNITY, now=installation.clock.now()
        )
        installation.clock.pass_(timedelta(days=3))
        assert (
            await feed(installation.database, installation.series, COMMUNITY, now=installation.clock.now())
            == first
        )
        await installation.tick()


async def test_the_feed_of_one_series_contains_only_that_series_under_its_own_name(
    installation: Installation,
) -> None:
    installation.series = (SERIES, TUESDAYS)
    calendar = Calendar.from_ical(
        (await feed(installation.database, installation.series, COMMUNITY, now=NOW, only="tuesdays")).content
    )
    assert str(calendar["NAME"]) == "Second Tuesdays"
    assert str(calendar["SOURCE"]) == "https://meet.example.org/calendar/tuesdays.ics"
    assert {str(event["UID"]).partition("-")[0] for event in calendar.events} == {"tuesdays"}


async def test_the_feed_follows_changes_and_says_when_it_did(installation: Installation) -> None:
    await installation.tick()
    installation.clock.pass_(timedelta(hours=5))
    await change(installation, NOVEMBER, cancel=True)
    published = await feed(
        installation.database, installation.series, COMMUNITY, now=installation.clock.now()
    )
    assert published.changed_at == installation.clock.now()
    assert b"SUMMARY:CANCELLED: Conversation for Kindness" in published.content


async def test_a_moved_meeting_is_found_by_its_key(installation: Installation) -> None:
    await installation.tick()
    await change(installation, NOVEMBER, move_to=datetime(2027, 3, 1, 18))
    for key, starts in (
        (NOVEMBER, datetime(2027, 3, 1, 18, tzinfo=UTC)),
        ("conversation-for-kindness/2030-03-21", datetime(2030, 3, 21, 18, tzinfo=UTC)),
    ):
        meeting = await read_meeting(
            installation.database, installation.by_slug, key, now=installation.clock.now()
        )
        assert meeting and meeting.starts == starts


async def test_a_date_that_only_a_later_rule_gives_was_never_a_meeting(installation: Installation) -> None:
    await installation.tick()
    installation.series = (replace(SERIES, rule="FREQ=MONTHLY;BYDAY=-1MO"),)
    installation.restart()
    await installation.tick()
    past, coming = ("conversation-for-kindness/2026-09-28", "conversation-for-kindness/2026-11-30")
    assert (
        await read_meeting(installation.database, installation.by_slug, past, now=installation.clock.now())
        is None
    )
    assert await read_meeting(
        installation.database, installation.by_slug, coming, now=installation.clock.now()
    )
    assert await read_meeting(
        installation.database,
        installation.by_slug,
        "conversation-for-kindness/2026-09-17",
        now=installation.clock.now(),
    )


async def test_a_meetings_own_calendar_changes_with_it_alone(installation: Installation) -> None:
    await installation.tick()
    meeting = await read_meeting(
        installation.database, installation.by_slug, DECEMBER, now=installation.clock.now()
    )
    assert meeting
    published = meeting_calendar(meeting, SERIES, COMMUNITY)
    assert published.changed_at == meeting.changed_at
    assert published.content.count(b"BEGIN:VEVENT") == 1


async def test_a_series_that_is_gone_from_the_settings_shows_nothing(installation: Installation) -> None:
    await installation.tick()
    installation.series = (TUESDAYS,)
    assert {row.occurrence.series for row in await rows(installation, count=5)} == {"tuesdays"}
    installation.restart()
    with pytest.raises(SettingsProblem):
        await installation.tick()
