"""What the world sees of the meetings."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import pytest
from icalendar import Calendar

from scheduler.domain.occurrence import Series
from scheduler.domain.problem import SettingsProblem
from scheduler.service.amending import Change, add_extra, amend
from scheduler.service.publishing import (
    Row,
    feed,
    meeting_calendar,
    next_meeting,
    outlook,
    read_meeting,
    schedule,
)
from tests.house import COMMUNITY, SERIES, House, open_house

NOW = datetime(2026, 11, 4, 12, tzinfo=UTC)
NOVEMBER = "conversation-for-kindness/2026-11-19"
DECEMBER = "conversation-for-kindness/2026-12-17"
TUESDAYS = Series(
    slug="tuesdays", title="Second Tuesdays", rule="FREQ=WEEKLY;INTERVAL=2;BYDAY=TU", start=time(9),
    zone="Australia/Sydney", duration=timedelta(minutes=30), first=date(2026, 1, 6),
)  # fmt: skip


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """Nothing in it yet: no tick has adopted the series."""
    async with open_house(tmp_path, NOW) as house:
        yield house


async def rows(
    house: House, *, since: date | None = None, count: int = 3, zones: tuple[str, ...] = ()
) -> list[Row]:
    return await schedule(
        house.database, house.series, now=house.clock.now(), since=since, count=count, zones=zones
    )


async def keys(house: House, *, since: date | None = None, count: int = 3) -> list[str]:
    return [row.occurrence.key.partition("/")[2] for row in await rows(house, since=since, count=count)]


async def change(house: House, key: str, **values: object) -> None:
    await amend(house.database, house.by_slug, key, Change(**values), now=house.clock.now())  # type: ignore[arg-type]


async def starts_in_feed(house: House) -> list[str]:
    found = await feed(house.database, house.series, COMMUNITY, now=house.clock.now())
    return [str(event.start) for event in Calendar.from_ical(found.content).events]


async def test_an_empty_database_and_an_adopted_one_show_the_same(house: House) -> None:
    wanted = ["2026-11-19", "2026-12-17", "2027-01-21"]
    assert await keys(house) == wanted
    before = await starts_in_feed(house)
    await house.tick()
    assert await keys(house) == wanted
    assert await starts_in_feed(house) == before


async def test_a_document_says_what_the_command_promises(house: House) -> None:
    (row,) = await rows(house, since=date(2027, 4, 15), count=1, zones=("Asia/Dhaka", "UTC", "Asia/Calcutta"))
    assert row.document() == {
        "key": "conversation-for-kindness/2027-04-15",
        "series": "conversation-for-kindness",
        "starts_utc": "2027-04-15T17:00:00+00:00",
        "ends_utc": "2027-04-15T18:00:00+00:00",
        "status": "scheduled",
        "topic": "",
        "local": {
            "Asia/Dhaka": {
                "starts": "2027-04-15T23:00:00+06:00", "ends": "2027-04-16T00:00:00+06:00",
                "weekday": "Thursday", "day_shift": 0, "shift_minutes": -60,
                "note": "23:00 this month, an hour earlier than last time: "
                        "the UK's clocks have changed and yours have not.",
            },
            "UTC": {
                "starts": "2027-04-15T17:00:00+00:00", "ends": "2027-04-15T18:00:00+00:00",
                "weekday": "Thursday", "day_shift": 0, "shift_minutes": -60,
                "note": "17:00 this month, an hour earlier than last time: "
                        "the UK's clocks have changed and yours have not.",
            },
            "Asia/Calcutta": {
                "starts": "2027-04-15T22:30:00+05:30", "ends": "2027-04-15T23:30:00+05:30",
                "weekday": "Thursday", "day_shift": 0, "shift_minutes": -60,
                "note": "22:30 this month, an hour earlier than last time: "
                        "the UK's clocks have changed and yours have not.",
            },
        },
    }  # fmt: skip


async def test_without_zones_the_local_time_is_that_of_home(house: House) -> None:
    house.series = (SERIES, TUESDAYS)
    shown = {row.occurrence.series: set(row.local) for row in await rows(house, count=4)}
    assert shown == {"conversation-for-kindness": {"Europe/London"}, "tuesdays": {"Australia/Sydney"}}


async def test_the_first_and_a_moved_meeting_have_no_shift(house: House) -> None:
    await change(house, "conversation-for-kindness/2027-04-15", move_to=datetime(2027, 4, 22, 19))
    first, moved = [
        (await rows(house, since=since, count=1, zones=("Asia/Dhaka",)))[0].local["Asia/Dhaka"]
        for since in (date(2020, 1, 1), date(2027, 4, 16))
    ]
    assert (first.starts.date(), first.shift_minutes, first.clock_note) == (date(2020, 7, 16), 0, "")
    assert (moved.starts.date(), moved.shift_minutes, moved.day_shift) == (date(2027, 4, 23), 0, 1)


@pytest.mark.parametrize("since", ["2026-11-19", "2026-11-01", "0001-01-01"])
async def test_from_is_inclusive_and_may_lie_before_everything(house: House, since: str) -> None:
    first = (await keys(house, since=date.fromisoformat(since), count=1))[0]
    assert first == ("2020-07-16" if since.startswith("0001") else "2026-11-19")


async def test_from_is_a_date_at_home_not_in_utc(house: House) -> None:
    """Tuesday 09:00 in Sydney is still Monday in UTC."""
    house.series = (TUESDAYS,)
    assert await keys(house, since=date(2026, 11, 10), count=1) == ["2026-11-10"]
    assert await keys(house, since=date(2026, 11, 11), count=1) == ["2026-11-24"]
    house.clock.pass_until(datetime(2026, 11, 9, 23, tzinfo=UTC))  # there it is the tenth already, and over
    assert await keys(house, count=1) == ["2026-11-10"]


async def test_a_move_counts_by_where_it_went(house: House) -> None:
    await house.tick()
    await change(house, NOVEMBER, move_to=datetime(2027, 2, 1, 18))
    assert await keys(house, count=4) == ["2026-12-17", "2027-01-21", "2026-11-19", "2027-02-18"]
    assert await keys(house, since=date(2027, 2, 1), count=1) == ["2026-11-19"]


async def test_a_meeting_beyond_the_horizon_that_was_moved_back_is_shown_once(house: House) -> None:
    await house.tick()
    await change(house, "conversation-for-kindness/2027-06-17", move_to=datetime(2026, 11, 12, 18))
    assert await keys(house, count=9) == [
        "2027-06-17", "2026-11-19", "2026-12-17", "2027-01-21", "2027-02-18", "2027-03-18", "2027-04-15",
        "2027-05-20", "2027-07-15",
    ]  # fmt: skip
    assert len(await starts_in_feed(house)) == len(set(await starts_in_feed(house))) == 37


async def test_a_change_made_before_the_first_tick_shows(house: House) -> None:
    await change(house, NOVEMBER, topic="Listening", cancel=True)
    first = (await rows(house, count=1))[0].document()
    assert (first["status"], first["topic"]) == ("cancelled", "Listening")
    assert await keys(house) == ["2026-11-19", "2026-12-17", "2027-01-21"]


async def test_extra_meetings_stand_among_the_others(house: House) -> None:
    await add_extra(house.database, SERIES, datetime(2026, 11, 25, 12), now=NOW)
    assert await keys(house) == ["2026-11-19", "2026-11-25T1200", "2026-12-17"]


async def test_several_series_are_in_one_order(house: House) -> None:
    house.series = (SERIES, TUESDAYS)
    found = await rows(house, count=30)
    instants = [row.occurrence.starts for row in found]
    assert instants == sorted(instants)
    assert {row.occurrence.series for row in found} == {"conversation-for-kindness", "tuesdays"}


async def test_a_rule_that_ends_gives_what_there_is(house: House) -> None:
    house.series = (replace(SERIES, rule="FREQ=MONTHLY;BYDAY=3TH;UNTIL=20261231T000000"),)
    assert await keys(house, count=50) == ["2026-11-19", "2026-12-17"]
    house.clock.pass_until(datetime(2027, 1, 1, tzinfo=UTC))
    assert await next_meeting(house.database, house.series, now=house.clock.now()) is None
    assert (
        await outlook(
            house.database, house.series, now=house.clock.now(), until=house.clock.now() + timedelta(days=365)
        )
    ).coming == []


async def test_a_changed_rule_shows_before_and_after_it_is_adopted(house: House) -> None:
    """Nobody was told of the 19th yet, so the new rule replaces it; the amended December stays, orphaned."""
    await house.tick()
    await change(house, DECEMBER, topic="Kept")
    house.series = (replace(SERIES, rule="FREQ=MONTHLY;BYDAY=-1MO"),)
    wanted = ["2026-11-30", "2026-12-17", "2026-12-28"]
    assert await keys(house) == wanted
    house.restart()
    await house.tick()
    assert await keys(house) == wanted
    house.clock.pass_until(datetime(2026, 12, 1, tzinfo=UTC))
    following = await next_meeting(house.database, house.series, now=house.clock.now())
    assert following and following.key.endswith("2026-12-28")


async def test_the_feed_is_the_same_bytes_for_the_same_state(house: House) -> None:
    for _ in range(2):
        first = await feed(house.database, house.series, COMMUNITY, now=house.clock.now())
        house.clock.pass_(timedelta(days=3))
        assert await feed(house.database, house.series, COMMUNITY, now=house.clock.now()) == first
        await house.tick()


async def test_the_feed_of_one_series_holds_it_alone_under_its_own_name(house: House) -> None:
    house.series = (SERIES, TUESDAYS)
    one = Calendar.from_ical(
        (await feed(house.database, house.series, COMMUNITY, now=NOW, only="tuesdays")).content
    )
    assert str(one["NAME"]) == "Second Tuesdays"
    assert str(one["SOURCE"]) == "https://meet.example.org/calendar/tuesdays.ics"
    assert {str(event["UID"]).partition("-")[0] for event in one.events} == {"tuesdays"}


async def test_the_feed_follows_changes_and_says_when_it_did(house: House) -> None:
    await house.tick()
    house.clock.pass_(timedelta(hours=5))
    await change(house, NOVEMBER, cancel=True)
    found = await feed(house.database, house.series, COMMUNITY, now=house.clock.now())
    assert found.changed_at == house.clock.now()
    assert b"SUMMARY:CANCELLED: Conversation for Kindness" in found.content


async def test_a_meeting_is_found_by_its_key_wherever_it_went(house: House) -> None:
    await house.tick()
    await change(house, NOVEMBER, move_to=datetime(2027, 3, 1, 18))
    for key, starts in (
        (NOVEMBER, datetime(2027, 3, 1, 18, tzinfo=UTC)),
        ("conversation-for-kindness/2030-03-21", datetime(2030, 3, 21, 18, tzinfo=UTC)),
    ):
        one = await read_meeting(house.database, house.by_slug, key)
        assert one and one.starts == starts


async def test_a_date_that_only_a_later_rule_gives_was_never_a_meeting(house: House) -> None:
    await house.tick()
    house.series = (replace(SERIES, rule="FREQ=MONTHLY;BYDAY=-1MO"),)
    house.restart()
    await house.tick()
    past, coming = ("conversation-for-kindness/2026-09-28", "conversation-for-kindness/2026-11-30")
    assert await read_meeting(house.database, house.by_slug, past) is None
    assert await read_meeting(house.database, house.by_slug, coming)
    assert await read_meeting(house.database, house.by_slug, "conversation-for-kindness/2026-09-17")


async def test_a_meetings_own_calendar_changes_with_it_alone(house: House) -> None:
    await house.tick()
    one = await read_meeting(house.database, house.by_slug, DECEMBER)
    assert one
    found = meeting_calendar(one, SERIES, COMMUNITY)
    assert found.changed_at == one.changed_at
    assert found.content.count(b"BEGIN:VEVENT") == 1


async def test_a_series_that_is_gone_from_the_settings_shows_nothing(house: House) -> None:
    await house.tick()
    house.series = (TUESDAYS,)
    assert {row.occurrence.series for row in await rows(house, count=5)} == {"tuesdays"}
    house.restart()
    with pytest.raises(SettingsProblem):
        await house.tick()
