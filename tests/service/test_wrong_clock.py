"""A start with a wrong clock, and a machine that slept: nothing is sent, given up or deleted by a time that is not."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from scheduler.service.amending import Change, amend
from scheduler.service.holding import Hold, held, resume
from scheduler.store import facts, members
from tests.house import LONGEST_OUTAGE, House, address_of, open_house

KEY = "conversation-for-kindness/2026-11-19"
WED = datetime(2026, 11, 18, 8, 30, tzinfo=UTC)
"""Half an hour before the reminder of the day before."""


@pytest.fixture
async def house(tmp_path: Path, database_url: str) -> AsyncIterator[House]:
    async with open_house(tmp_path, datetime(2026, 11, 1, 12, tzinfo=UTC), url=database_url) as house:
        await house.tick()
        await house.join(("Ann", "Europe/London"), ("Bo", "America/New_York"))
        await house.live(WED)
        yield house


async def hold_of(house: House) -> Hold | None:
    async with house.database.read() as connection:
        return await held(connection)


async def go_on(house: House) -> int:
    async with house.database.write() as connection:
        return await resume(connection, house.clock.now())


async def start(house: House, span: timedelta) -> None:
    """Start again with a clock that is ahead by `span` (or back), and let it tick for a minute."""
    house.clock.jump(span)
    house.restart()
    await house.dispatcher.take_over()
    for _ in range(3):
        await house.tick()
        house.clock.pass_(timedelta(seconds=20))


@pytest.mark.parametrize("days", [31, 120, 500, 4000])
async def test_a_start_with_a_clock_far_ahead_sends_nothing_and_gives_nothing_up(
    house: House, days: int
) -> None:
    before = await house.reports()
    mails = len(house.mails())
    await start(house, timedelta(days=days))
    found = await hold_of(house)
    assert found and found.reason == "clock-ahead"
    assert await house.reports() == before
    assert len(house.mails()) == mails
    await start(house, -timedelta(days=days))
    assert await hold_of(house) is None, "the clock is right again: it goes on by itself"
    await house.live(datetime(2026, 11, 19, 18, tzinfo=UTC))
    assert set((await house.states(kind="reminder")).values()) == {"sent"}


async def test_the_hold_says_what_would_happen_and_what_to_do(house: House) -> None:
    await start(house, timedelta(days=120))
    found = await hold_of(house)
    assert found and found.last == WED
    # Too late are the reminders of November and all mails of three months; in March one is invited and reminded.
    assert (found.sends, found.expires) == (2 + 2, 2 * 2 + 3 * 2 * 3)
    assert "120 days after the last tick (2026-11-18 08:30 UTC)" in found.advice
    assert (
        "`third-thursday resume`: 4 mails would be sent at once, and 22 mails given up as too late"
        in found.advice
    )


@pytest.mark.parametrize("outage", [timedelta(days=2), LONGEST_OUTAGE - timedelta(minutes=2)])
async def test_an_outage_that_is_not_longer_than_the_longest_does_not_hold(
    house: House, outage: timedelta
) -> None:
    house.clock.pass_(outage)
    house.restart()
    assert not (await house.tick()).held


async def test_a_first_start_does_not_hold_and_neither_does_the_second(tmp_path: Path) -> None:
    async with open_house(tmp_path, WED) as house:
        for _ in range(2):
            assert not (await house.tick()).held
            house.restart()


async def test_nobody_is_erased_and_nothing_dropped_by_a_clock_that_is_500_days_ahead(house: House) -> None:
    await house.change("Bo", status="left", active_since=None, feed_changed_at=house.clock.now())
    await house.tick()
    await start(house, timedelta(days=500))
    async with house.database.read() as connection:
        assert await members.by_key(connection, address_of("Bo"))
    assert len(await house.reports(name="Bo")) > 0


async def test_after_an_outage_that_was_that_long_resume_goes_on_and_shows_what_was_missed(
    house: House,
) -> None:
    house.clock.pass_(timedelta(days=120))
    house.restart()
    assert (await house.tick()).held
    assert await go_on(house) == 0
    assert not (await house.tick()).held
    assert await house.states(kind="invitation", occurrence="conversation-for-kindness/2027-03-18") == {
        "Ann": "sent", "Bo": "sent",
    }  # fmt: skip
    missed = await house.reports(state="expired")
    assert {row.occurrence for row in missed} >= {KEY, "conversation-for-kindness/2027-01-21"}
    await house.live(datetime(2027, 3, 18, 20, tzinfo=UTC))
    assert set((await house.states(occurrence="conversation-for-kindness/2027-03-18")).values()) == {"sent"}


async def test_what_expired_by_a_wrong_clock_comes_back_on_resume(house: House) -> None:
    house.clock.pass_until(datetime(2026, 11, 18, 9, tzinfo=UTC))
    await house.planner.tick()  # the reminder is made, and not sent yet
    await start(house, timedelta(days=20))
    assert (await house.states(policy="day-before", name="Ann")) == {"Ann": "expired: late"}
    await start(house, -timedelta(days=20))
    found = await hold_of(house)
    assert found and found.reason == "clock-behind"
    assert await go_on(house) > 0
    await house.tick()
    assert (await house.states(policy="day-before", name="Ann")) == {"Ann": "sent"}
    await house.live(datetime(2026, 11, 19, 18, tzinfo=UTC))
    assert (await house.states(policy="hour-before")) == {"Ann": "sent", "Bo": "sent"}


async def test_a_pause_that_a_wrong_clock_ended_goes_on_after_resume(house: House) -> None:
    until = house.clock.now() + timedelta(days=10)
    await house.change("Ann", status="paused", active_since=None, paused_until=until)
    await start(house, timedelta(days=20))
    await start(house, -timedelta(days=20))
    await go_on(house)
    await house.tick()
    async with house.database.read() as connection:
        ann = await members.by_key(connection, address_of("Ann"))
    assert ann and (ann.status, ann.paused_until) == ("paused", until)


async def test_what_really_expired_and_what_was_stopped_does_not_come_back(house: House) -> None:
    await amend(house.database, house.by_slug, KEY, Change(cancel=True), now=house.clock.now())
    await house.tick()
    await start(house, timedelta(days=20))
    await start(house, -timedelta(days=20))
    await go_on(house)
    await house.live(datetime(2026, 11, 20, tzinfo=UTC))
    assert await house.reports(kind="reminder", state="sent") == []


async def test_what_a_killed_run_left_is_not_put_off_by_a_start_with_a_wrong_clock(house: House) -> None:
    house.clock.pass_until(datetime(2026, 11, 18, 9, tzinfo=UTC))
    await house.planner.tick()
    async with house.database.write() as connection:
        await connection.exec_driver_sql(
            "UPDATE deliveries SET state = 'sending', run = 'gone', attempts = 1, revision = 0 "
            "WHERE state = 'queued' AND zone = 'Europe/London'"
        )
    await start(house, timedelta(days=120))
    await start(house, -timedelta(days=120))
    assert await house.states(policy="day-before", name="Ann") == {"Ann": "sent"}


@pytest.mark.parametrize("hours", [1, 9, 24 * 40])
async def test_a_machine_that_was_suspended_goes_on_by_itself(house: House, hours: int) -> None:
    house.clock.suspend(timedelta(hours=hours))
    assert not (await house.tick()).held
    assert await hold_of(house) is None


async def test_a_machine_whose_clock_jumped_while_it_was_suspended_holds(house: House) -> None:
    house.clock.suspend(timedelta(hours=1))
    house.clock.jump(timedelta(days=3))
    assert (await house.tick()).held


async def test_nothing_is_deleted_while_a_restored_backup_waits_for_resume(house: House) -> None:
    await house.change("Bo", status="left", active_since=None, feed_changed_at=house.clock.now())
    await house.tick()
    house.clock.pass_(timedelta(days=500))
    async with house.database.write() as connection:
        restored = {"reason": "restored", "since": house.clock.now().isoformat()}
        await facts.write(connection, facts.HOLD, restored)
    house.restart()
    assert not (await house.tick()).held, "`resume` is to show what waits, however old the backup is"
    async with house.database.read() as connection:
        assert await members.by_key(connection, address_of("Bo"))
    await go_on(house)
    await house.tick()
    async with house.database.read() as connection:
        assert await members.by_key(connection, address_of("Bo")) is None
