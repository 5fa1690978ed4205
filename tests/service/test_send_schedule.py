"""Sending at a relay's rate over time: what begins early, and how deliveries are re-timed when that changes."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path

from scheduler.domain.audience import Audience
from scheduler.service.forecast import forecast
from scheduler.service.notices import send_notice
from scheduler.service.occurrences import Change, amend
from scheduler.service.restore import back_up, missed, restore, resume_without_missed
from scheduler.service.send_schedule import schedule_sends
from scheduler.store.database import Database
from scheduler.store.ledger import claims
from scheduler.store.ledger.reports import Report
from tests.clock import FakeClock
from tests.installation import DAY_BEFORE, HOUR_BEFORE, Installation, open_installation

KEY = "conversation-for-kindness/2026-11-19"
COUNT = 60
A_MINUTE = 1 / 60
"""A message a minute: an hour for all, half of which lies behind the due instant at 17:00."""
ZONES = ("Europe/London", "Pacific/Auckland", "America/New_York")


def at(hour: int, minute: int = 0, *, day: int = 19) -> datetime:
    return datetime(2026, 11, day, hour, minute, tzinfo=UTC)


BEGIN, START, DUE, MEETING, OVER = at(12, day=18), at(16, 30), at(17), at(18), at(20)


class ClockWithEvents(FakeClock):
    """Runs a step at an instant while others wait: the clock stops until it is done."""

    def __init__(self, now: datetime) -> None:
        super().__init__(now)
        self._events: list[tuple[datetime, Callable[[], Coroutine[None, None, None]]]] = []
        self._happening: asyncio.Task[None] | None = None

    def at(self, moment: datetime, event: Callable[[], Coroutine[None, None, None]]) -> None:
        self._events.append((moment, event))

    async def sleep(self, seconds: float) -> None:
        if self._events and self._events[0][0] <= self.now() + timedelta(seconds=seconds):
            self._happening = asyncio.create_task(self._events.pop(0)[1]())
        if self._happening:
            # Who sleeps may be woken meanwhile, and sleeps again.
            await asyncio.wait({self._happening})
        await super().sleep(seconds)


def is_about(moment: datetime, expected: datetime) -> bool:
    """A sent message is recorded one or two messages later, and each takes a minute here."""
    return timedelta() <= moment - expected <= timedelta(minutes=2)


async def people(installation: Installation) -> None:
    await installation.join(*((f"Member {number:02}", ZONES[number % 3]) for number in range(COUNT)))


async def reminders(installation: Installation, policy: str = "hour-before") -> list[Report]:
    return await installation.reports(policy=policy)


def sent_at(rows: list[Report]) -> list[datetime]:
    return sorted(row.sent_at for row in rows if row.sent_at)


async def test_at_a_rate_the_first_reminders_leave_early_and_the_last_are_still_useful(
    tmp_path: Path, database_url: str
) -> None:
    async with open_installation(
        tmp_path, BEGIN, url=database_url, policies=(HOUR_BEFORE,), rate=A_MINUTE
    ) as installation:
        await people(installation)
        await installation.live(OVER)
        rows = await reminders(installation)
        instants = sent_at(rows)
        assert len(instants) == len(installation.mails()) == COUNT
        assert is_about(instants[0], START)
        assert instants[-1] <= at(17, 30)
        assert {row.due for row in rows} == {DUE}, "the policy's instant stays what it is"


async def test_without_a_rate_nothing_leaves_before_its_due_instant(tmp_path: Path) -> None:
    async with open_installation(tmp_path, BEGIN, policies=(HOUR_BEFORE,)) as installation:
        await people(installation)
        await installation.live(OVER)
        assert set(sent_at(await reminders(installation))) == {DUE}


async def test_a_rate_that_changes_re_times_what_has_not_begun(tmp_path: Path, database_url: str) -> None:
    async with open_installation(
        tmp_path, BEGIN, url=database_url, policies=(HOUR_BEFORE,), rate=A_MINUTE
    ) as installation:
        await people(installation)
        await installation.live(at(15, 40))
        assert await forecast_ready(installation) == {START}
        installation.rate = A_MINUTE * 1.2
        installation.restart()
        await installation.tick()
        assert await forecast_ready(installation) == {at(16, 40)}
        installation.rate = 0
        installation.restart()
        await installation.tick()
        assert await forecast_ready(installation) == {DUE}
        installation.rate = A_MINUTE / 2
        installation.restart()
        await installation.tick()
        assert is_about(sent_at(await reminders(installation))[0], at(15, 40)), "it should have begun already"


async def forecast_ready(installation: Installation) -> set[datetime | None]:
    rows = await forecast(
        installation.database,
        series=installation.series,
        policies=installation.policies,
        since=installation.clock.now(),
        until=OVER,
        now=installation.clock.now(),
    )
    return {row.ready for row in rows}


async def test_members_who_join_or_leave_while_a_reminder_is_being_sent_are_followed(tmp_path: Path) -> None:
    clock = ClockWithEvents(BEGIN)
    async with open_installation(
        tmp_path, BEGIN, policies=(HOUR_BEFORE,), rate=A_MINUTE, clock=clock
    ) as installation:
        await people(installation)
        await installation.live(at(16))

        ready: list[datetime | None] = []

        async def change() -> None:
            await installation.join(("Late Comer", "Europe/London"))
            waiting = [row.name for row in await reminders(installation) if row.state == "queued"]
            await installation.change(waiting[-1], status="left", active_since=None)
            await installation.planner.tick()
            async with installation.database.read() as connection:
                ready.append(await claims.next_try(connection, clock.now()))

        clock.at(at(16, 45), change)
        await installation.live(OVER)
        states = [row.state for row in await reminders(installation)]
        assert (states.count("sent"), states.count("withdrawn"), len(states)) == (COUNT, 1, COUNT + 1)
        assert ready == [DUE], "who joins is in time when it is due"
        (late,) = await installation.reports(name="Late Comer")
        assert late.sent_at
        assert DUE <= late.sent_at < MEETING
        assert len(installation.mails()) == COUNT


async def test_a_later_reminder_that_has_begun_replaces_an_earlier_unsent_one(
    tmp_path: Path,
) -> None:
    async with open_installation(
        tmp_path, BEGIN, policies=(DAY_BEFORE, HOUR_BEFORE), rate=A_MINUTE
    ) as installation:
        installation.clock.jump(timedelta(days=-1))  # the day before is due on the 18th, 09:00 of each zone
        await people(installation)
        await installation.planner.tick()
        installation.clock.pass_until(at(16, 40))
        installation.restart()
        await installation.tick()
        assert await installation.states(policy="day-before") == {
            row.name: "skipped: superseded" for row in await reminders(installation)
        }
        assert len(installation.mails()) == len(sent_at(await reminders(installation))) == COUNT


async def test_a_meeting_that_moves_while_its_reminder_is_being_sent_has_a_new_reminder(
    tmp_path: Path,
) -> None:
    clock = ClockWithEvents(BEGIN)
    async with open_installation(
        tmp_path, BEGIN, policies=(HOUR_BEFORE,), rate=A_MINUTE, clock=clock
    ) as installation:
        await people(installation)
        await installation.live(at(16))

        async def move() -> None:
            later = Change(move_to=datetime(2026, 11, 19, 22))
            await amend(installation.database, installation.by_slug, KEY, later, now=clock.now())
            await installation.planner.tick()

        clock.at(at(16, 45), move)
        await installation.live(at(23))
        rows = await reminders(installation)
        old = [row for row in rows if row.due == DUE]
        new = [row for row in rows if row.due == at(21)]
        assert {row.state for row in old} == {"sent", "withdrawn"}
        assert len(sent_at(new)) == COUNT
        assert is_about(sent_at(new)[0], at(20, 30))


async def test_after_a_restore_mail_that_had_begun_early_is_not_sent_again(tmp_path: Path) -> None:
    clock = ClockWithEvents(BEGIN)
    async with open_installation(
        tmp_path, BEGIN, policies=(HOUR_BEFORE,), rate=A_MINUTE, clock=clock
    ) as installation:
        await people(installation)
        await installation.tick()
        await back_up(installation.database, tmp_path / "backup", keys=installation.keys, now=clock.now())
        await installation.live(at(16))

        async def stop() -> None:
            installation.dispatcher.drain()

        clock.at(at(16, 45), stop)
        clock.pass_until(START)
        await installation.tick()
        gone = len(installation.mails())
        assert 0 < gone < COUNT

        await installation.database.close()
        installation.database = Database(f"sqlite:///{tmp_path / 'test.sqlite'}")
        await restore(
            installation.database,
            tmp_path / "backup",
            secret=tmp_path / "secret",
            settings_key=None,
            now=clock.now(),
        )
        installation.restart()
        await installation.tick()
        assert [row.count for row in (await missed(installation.database)).notices] == [COUNT]
        assert await resume_without_missed(installation.database) == COUNT
        await installation.live(OVER)
        assert len(installation.mails()) == gone


async def test_a_convenors_notice_never_leaves_early_however_long_it_takes(tmp_path: Path) -> None:
    async with open_installation(tmp_path, BEGIN, policies=(), rate=A_MINUTE) as installation:
        await people(installation)
        await send_notice(
            installation.database,
            subject="Hello",
            body="Hello.",
            audience=Audience(terms={"all": []}),
            audience_text="all",
            now=installation.clock.now(),
            at=DUE,
            expires=timedelta(hours=1),
        )
        (row,) = await schedule_sends(
            installation.database,
            series=installation.series,
            policies=(),
            rate=installation.rate,
            until=OVER,
            now=installation.clock.now(),
        )
        assert (row.span.start, row.span.finish) == (DUE, MEETING)
        assert (row.span.late, row.span.misses) == (True, False)
        await installation.live(OVER)
        assert is_about(sent_at(await installation.reports(kind="notice"))[0], DUE)


async def test_a_reminder_leaves_before_a_convenors_notice_that_would_make_it_late(
    tmp_path: Path,
) -> None:
    async with open_installation(tmp_path, BEGIN, policies=(HOUR_BEFORE,), rate=A_MINUTE) as installation:
        await people(installation)
        await send_notice(
            installation.database,
            subject="Hello",
            body="Hello.",
            audience=Audience(terms={"all": []}),
            audience_text="all",
            now=installation.clock.now(),
            at=START,
        )
        await installation.live(OVER)
        assert is_about(sent_at(await reminders(installation))[0], START - timedelta(hours=1))
        assert is_about(sent_at(await installation.reports(kind="notice"))[0], START)
        assert len(installation.mails()) == 2 * COUNT


async def test_the_plan_shows_when_the_first_and_the_last_mail_leave(tmp_path: Path) -> None:
    async with open_installation(tmp_path, BEGIN, policies=(HOUR_BEFORE,), rate=A_MINUTE) as installation:
        await people(installation)
        (row,) = await schedule_sends(
            installation.database,
            series=installation.series,
            policies=installation.policies,
            rate=installation.rate,
            until=OVER,
            now=installation.clock.now(),
        )
        await installation.live(OVER)
        instants = sent_at(await reminders(installation))
        assert is_about(instants[0], row.span.start)
        assert timedelta() <= row.span.finish - instants[-1] <= timedelta(minutes=1)


async def test_at_a_slow_rate_little_is_claimed_before_it_can_go(tmp_path: Path) -> None:
    clock = ClockWithEvents(BEGIN)
    async with open_installation(
        tmp_path, BEGIN, policies=(HOUR_BEFORE,), rate=A_MINUTE, clock=clock
    ) as installation:
        await people(installation)
        await installation.live(at(16))

        async def cancel() -> None:
            await amend(
                installation.database, installation.by_slug, KEY, Change(cancel=True), now=clock.now()
            )
            await installation.planner.tick()

        clock.at(at(16, 45), cancel)
        await installation.live(OVER)
        assert sent_at(await reminders(installation))[-1] <= at(16, 50)
