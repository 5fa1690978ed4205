"""A start with a wrong clock, and a machine that was suspended: a wrong time sends, gives up and deletes nothing."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from scheduler.service.occurrences import Change, amend
from scheduler.service.sending_pause import SendingPaused, current_pause, resume
from scheduler.store import members, service_state
from tests.clock import FakeClock
from tests.conftest import CopyDatabase
from tests.installation import LONGEST_OUTAGE, Installation, address_of, open_installation

KEY = "conversation-for-kindness/2026-11-19"
WED = datetime(2026, 11, 18, 8, 30, tzinfo=UTC)
"""Half an hour before the reminder of the day before."""


BEGIN = datetime(2026, 11, 1, 12, tzinfo=UTC)


async def fill(url: str, folder: Path) -> None:
    async with open_installation(folder, BEGIN, url=url) as installation:
        await installation.tick()
        await installation.join(("Ann", "Europe/London"), ("Bo", "America/New_York"))
        await installation.live(WED)


@pytest.fixture
async def installation(tmp_path: Path, copy_database: CopyDatabase) -> AsyncIterator[Installation]:
    clock = FakeClock(BEGIN)
    clock.pass_until(WED)
    url = await copy_database(fill)
    async with open_installation(tmp_path, WED, url=url, clock=clock) as installation:
        await installation.tick()
        yield installation


async def pause_of(installation: Installation) -> SendingPaused | None:
    async with installation.database.read() as connection:
        return await current_pause(connection)


async def go_on(installation: Installation) -> int:
    async with installation.database.write() as connection:
        return await resume(connection, installation.clock.now())


async def start(installation: Installation, span: timedelta) -> None:
    """Restart with a clock that is ahead by `span` (behind if negative), and let it tick for a minute."""
    installation.clock.jump(span)
    installation.restart()
    await installation.dispatcher.take_over()
    for _ in range(3):
        await installation.tick()
        installation.clock.pass_(timedelta(seconds=20))


@pytest.mark.parametrize("days", [31, 120, 500, 4000])
async def test_a_start_with_a_clock_far_ahead_sends_nothing_and_gives_nothing_up(
    installation: Installation, days: int
) -> None:
    before = await installation.reports()
    mails = len(installation.mails())
    await start(installation, timedelta(days=days))
    pause = await pause_of(installation)
    assert pause and pause.reason == "clock-ahead"
    assert await installation.reports() == before
    assert len(installation.mails()) == mails
    await start(installation, -timedelta(days=days))
    assert await pause_of(installation) is None, "the clock is right again: it goes on by itself"
    await installation.live(datetime(2026, 11, 19, 18, tzinfo=UTC))
    assert set((await installation.states(kind="reminder")).values()) == {"sent"}


async def test_the_pause_says_what_would_happen_and_what_to_do(installation: Installation) -> None:
    await start(installation, timedelta(days=120))
    pause = await pause_of(installation)
    assert pause and pause.last == WED
    # The reminders of November and all mails of three months are too late; in March members are invited and reminded.
    assert (pause.sends, pause.expires) == (2 + 2, 2 * 2 + 3 * 2 * 3)
    assert "120 days after the last tick (2026-11-18 08:30 UTC)" in pause.advice
    assert (
        "`third-thursday resume`: 4 mails would be sent at once, and 22 mails given up as too late"
        in pause.advice
    )


@pytest.mark.parametrize("outage", [timedelta(days=2), LONGEST_OUTAGE - timedelta(minutes=2)])
async def test_an_outage_within_the_longest_allowed_does_not_pause_sending(
    installation: Installation, outage: timedelta
) -> None:
    installation.clock.pass_(outage)
    installation.restart()
    assert not (await installation.tick()).stopped


async def test_the_first_and_second_starts_do_not_pause_sending(tmp_path: Path) -> None:
    async with open_installation(tmp_path, WED) as installation:
        for _ in range(2):
            assert not (await installation.tick()).stopped
            installation.restart()


async def test_a_clock_500_days_ahead_erases_nobody_and_deletes_nothing(
    installation: Installation,
) -> None:
    await installation.change(
        "Bo", status="left", active_since=None, feed_changed_at=installation.clock.now()
    )
    await installation.tick()
    await start(installation, timedelta(days=500))
    async with installation.database.read() as connection:
        assert await members.by_key(connection, address_of("Bo"))
    assert len(await installation.reports(name="Bo")) > 0


async def test_after_a_real_long_outage_resume_goes_on_and_shows_what_was_missed(
    installation: Installation,
) -> None:
    installation.clock.pass_(timedelta(days=120))
    installation.restart()
    assert (await installation.tick()).stopped
    assert await go_on(installation) == 0
    assert not (await installation.tick()).stopped
    assert await installation.states(
        kind="invitation", occurrence="conversation-for-kindness/2027-03-18"
    ) == {
        "Ann": "sent",
        "Bo": "sent",
    }
    missed = await installation.reports(state="expired")
    assert {row.occurrence for row in missed} >= {KEY, "conversation-for-kindness/2027-01-21"}
    await installation.live(datetime(2027, 3, 18, 20, tzinfo=UTC))
    assert set((await installation.states(occurrence="conversation-for-kindness/2027-03-18")).values()) == {
        "sent"
    }


async def test_mail_that_expired_by_a_wrong_clock_is_queued_again_on_resume(
    installation: Installation,
) -> None:
    installation.clock.pass_until(datetime(2026, 11, 18, 9, tzinfo=UTC))
    await installation.planner.tick()  # the reminder is made, and not sent yet
    await start(installation, timedelta(days=20))
    assert (await installation.states(policy="day-before", name="Ann")) == {"Ann": "expired: late"}
    await start(installation, -timedelta(days=20))
    pause = await pause_of(installation)
    assert pause and pause.reason == "clock-behind"
    assert await go_on(installation) > 0
    await installation.tick()
    assert (await installation.states(policy="day-before", name="Ann")) == {"Ann": "sent"}
    await installation.live(datetime(2026, 11, 19, 18, tzinfo=UTC))
    assert (await installation.states(policy="hour-before")) == {"Ann": "sent", "Bo": "sent"}


@pytest.mark.both_databases
async def test_a_members_pause_that_a_wrong_clock_ended_continues_after_resume(
    installation: Installation,
) -> None:
    until = installation.clock.now() + timedelta(days=10)
    await installation.change("Ann", status="paused", active_since=None, paused_until=until)
    await start(installation, timedelta(days=20))
    await start(installation, -timedelta(days=20))
    await go_on(installation)
    await installation.tick()
    async with installation.database.read() as connection:
        ann = await members.by_key(connection, address_of("Ann"))
    assert ann and (ann.status, ann.paused_until) == ("paused", until)


async def test_mail_that_really_expired_or_was_stopped_is_not_queued_again(
    installation: Installation,
) -> None:
    await amend(
        installation.database, installation.by_slug, KEY, Change(cancel=True), now=installation.clock.now()
    )
    await installation.tick()
    await start(installation, timedelta(days=20))
    await start(installation, -timedelta(days=20))
    await go_on(installation)
    await installation.live(datetime(2026, 11, 20, tzinfo=UTC))
    assert await installation.reports(kind="reminder", state="sent") == []


@pytest.mark.both_databases
async def test_mail_left_by_a_killed_run_is_not_delayed_by_a_start_with_a_wrong_clock(
    installation: Installation,
) -> None:
    installation.clock.pass_until(datetime(2026, 11, 18, 9, tzinfo=UTC))
    await installation.planner.tick()
    async with installation.database.write() as connection:
        await connection.exec_driver_sql(
            "UPDATE deliveries SET state = 'sending', run = 'gone', attempts = 1, revision = 0 "
            "WHERE state = 'queued' AND zone = 'Europe/London'"
        )
    await start(installation, timedelta(days=120))
    await start(installation, -timedelta(days=120))
    assert await installation.states(policy="day-before", name="Ann") == {"Ann": "sent"}


@pytest.mark.parametrize("hours", [1, 9, 24 * 40])
async def test_after_the_machine_was_suspended_sending_continues(
    installation: Installation, hours: int
) -> None:
    installation.clock.suspend(timedelta(hours=hours))
    assert not (await installation.tick()).stopped
    assert await pause_of(installation) is None


async def test_a_clock_that_jumped_while_the_machine_was_suspended_pauses_sending(
    installation: Installation,
) -> None:
    installation.clock.suspend(timedelta(hours=1))
    installation.clock.jump(timedelta(days=3))
    assert (await installation.tick()).stopped


async def test_nothing_is_deleted_while_a_restored_backup_waits_for_resume(
    installation: Installation,
) -> None:
    await installation.change(
        "Bo", status="left", active_since=None, feed_changed_at=installation.clock.now()
    )
    await installation.tick()
    installation.clock.pass_(timedelta(days=500))
    async with installation.database.write() as connection:
        restored = {"reason": "restored", "since": installation.clock.now().isoformat()}
        await service_state.write(connection, service_state.PAUSE, restored)
    installation.restart()
    assert not (await installation.tick()).stopped, (
        "`resume` is to show what waits, however old the backup is"
    )
    async with installation.database.read() as connection:
        assert await members.by_key(connection, address_of("Bo"))
    await go_on(installation)
    await installation.tick()
    async with installation.database.read() as connection:
        assert await members.by_key(connection, address_of("Bo")) is None
