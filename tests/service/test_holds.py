"""A convenor holds what a policy sends: nobody gets it before the release, and then only those to whom it is of use."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from scheduler.domain.errors import Refused
from scheduler.service.forecast import forecast
from scheduler.service.health import health
from scheduler.service.holds import drop, hold, on_hold, release
from scheduler.service.notices import resend_missed
from scheduler.service.numbers import count_numbers
from scheduler.service.occurrences import Change, amend
from scheduler.store import audit, notices
from tests.conftest import CopyDatabase
from tests.installation import Installation, open_installation

KEY = "conversation-for-kindness/2026-11-19"


def at(day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2026, 11, day, hour, minute, tzinfo=UTC)


async def fill(url: str, folder: Path) -> None:
    async with open_installation(folder, at(4, 12), url=url) as installation:
        await installation.tick()
        await installation.join(
            ("Ann", "Europe/London"), ("Bo", "Pacific/Auckland"), ("Cy", "America/New_York")
        )
        await installation.live(at(15, 12))


@pytest.fixture
async def on_both(tmp_path: Path, copy_database: CopyDatabase) -> AsyncIterator[Installation]:
    """After the invitations went out: once on SQLite, once on PostgreSQL."""
    async with open_installation(tmp_path, at(15, 12), url=await copy_database(fill)) as installation:
        yield installation


@pytest.fixture
async def installation(tmp_path: Path, copy_sqlite: CopyDatabase) -> AsyncIterator[Installation]:
    """After the invitations went out, on SQLite."""
    async with open_installation(tmp_path, at(15, 12), url=await copy_sqlite(fill)) as installation:
        yield installation


async def number_of(installation: Installation, policy: str) -> int:
    """The number of the newest notice of a policy."""
    async with installation.database.read() as connection:
        return max(notice.id for notice in await notices.about(connection, KEY) if notice.policy == policy)


async def put_on_hold(installation: Installation, policy: str) -> int:
    number = await number_of(installation, policy)
    await hold(installation.database, number, now=installation.clock.now())
    return number


async def sent(installation: Installation, policy: str) -> set[str]:
    return {row.name for row in await installation.reports(policy=policy, state="sent")}


@pytest.mark.both_databases
async def test_what_is_on_hold_waits_and_after_the_release_goes_to_those_to_whom_it_is_still_of_use(
    on_both: Installation,
) -> None:
    installation = on_both
    number = await put_on_hold(installation, "day-before")
    installation.restart()
    await installation.live(at(19, 10))
    assert await sent(installation, "day-before") == set()
    state = await health(installation.database, installation.clock.now())
    assert [notice.id for notice in state.on_hold] == [number]
    assert state.oldest_waiting is None and state.lag(installation.clock.now()) == timedelta()
    await installation.answer("Bo", KEY, "declined")
    await release(installation.database, number, now=installation.clock.now())
    await installation.tick()
    assert await sent(installation, "day-before") == {"Ann", "Cy"}
    await installation.live(at(19, 20))
    assert await sent(installation, "hour-before") == {"Ann", "Cy"}
    assert await on_hold(installation.database, installation.clock.now()) == []
    async with installation.database.read() as connection:
        acts = [entry.act for entry in await audit.entries(connection, subject=KEY)]
    assert acts == ["notice-released", "notice-held"]


async def test_what_is_dropped_goes_to_nobody_until_somebody_resends_it(installation: Installation) -> None:
    number = await put_on_hold(installation, "day-before")
    await installation.live(at(18, 12))
    await drop(installation.database, number, now=installation.clock.now())
    await installation.live(at(19, 10))
    assert await installation.states(policy="day-before") == {"Ann": "withdrawn: dropped"}
    with pytest.raises(Refused, match="not on hold"):
        await release(installation.database, number, now=installation.clock.now())
    await resend_missed(installation.database, number, installation.clock.now(), by_choice=())
    await installation.tick()
    assert await sent(installation, "day-before") == {"Ann", "Bo", "Cy"}


async def test_what_is_on_hold_for_too_long_expires_with_that_reason(on_both: Installation) -> None:
    installation = on_both
    number = await put_on_hold(installation, "hour-before")
    await installation.live(at(20, 12))
    assert await installation.states(policy="hour-before") == dict.fromkeys(
        ("Ann", "Bo", "Cy"), "expired: late: on hold"
    )
    numbers = await count_numbers(
        installation.database, series=installation.series, now=installation.clock.now()
    )
    assert ("reminder", "it was on hold for too long", 3) in {
        (row.kind, row.reason, row.count) for row in numbers.not_sent
    }
    for act in (hold, release, drop):
        with pytest.raises(Refused, match="expired"):
            await act(installation.database, number, now=installation.clock.now())


async def test_neither_a_move_nor_a_cancellation_and_its_end_lifts_a_hold(installation: Installation) -> None:
    await put_on_hold(installation, "day-before")
    for change in (Change(move_to=datetime(2026, 11, 26, 18)), Change(cancel=True), Change(restore=True)):
        await amend(installation.database, installation.by_slug, KEY, change, now=installation.clock.now())
        await installation.tick()
    await installation.live(at(26, 12))
    assert await sent(installation, "day-before") == set()
    moved = await number_of(installation, "day-before")
    assert [notice.id for notice in await on_hold(installation.database, installation.clock.now())] == [moved]
    await release(installation.database, moved, now=installation.clock.now())
    await installation.tick()
    assert await sent(installation, "day-before") == {"Ann", "Bo", "Cy"}


async def test_an_earlier_reminder_is_not_skipped_for_one_that_is_on_hold(on_both: Installation) -> None:
    installation = on_both
    await put_on_hold(installation, "hour-before")
    earlier = await put_on_hold(installation, "day-before")
    await installation.live(at(19, 17, 30))
    await release(installation.database, earlier, now=installation.clock.now())
    await installation.tick()
    assert await sent(installation, "day-before") == {"Ann", "Bo", "Cy"}


async def test_the_forecast_says_what_is_on_hold(installation: Installation) -> None:
    number = await put_on_hold(installation, "day-before")
    now = installation.clock.now()
    rows = await forecast(
        installation.database,
        series=installation.series,
        policies=installation.policies,
        since=now,
        until=at(25, 0),
        now=now,
    )
    assert {row.policy for row in rows if row.on_hold} == {"day-before"}
    assert {row.number for row in rows if row.on_hold} == {number}
    assert sum(row.recipients for row in rows if row.on_hold) == 3


async def test_only_what_a_policy_is_still_to_send_can_be_held(installation: Installation) -> None:
    invitation = await number_of(installation, "invitation")
    with pytest.raises(Refused, match="has gone out already"):
        await hold(installation.database, invitation, now=installation.clock.now())
    with pytest.raises(Refused, match="there is no notice 999"):
        await hold(installation.database, 999, now=installation.clock.now())
    number = await number_of(installation, "day-before")
    with pytest.raises(Refused, match="not on hold"):
        await drop(installation.database, number, now=installation.clock.now())
    await put_on_hold(installation, "day-before")
    await put_on_hold(installation, "day-before")
    async with installation.database.read() as connection:
        assert len(await audit.entries(connection, act="notice-held")) == 1
