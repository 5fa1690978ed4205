"""Deadlines at a relay's rate, lived through: what begins early, and what follows when that changes."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path

from scheduler.service.amending import Change, amend
from scheduler.service.forecasting import forecast
from scheduler.service.notifying import send_notice
from scheduler.service.pacing import paced
from scheduler.service.restoring import back_up, let_go, missed, restore
from scheduler.store.database import Database
from scheduler.store.ledger import claims
from scheduler.store.ledger.reports import Report
from tests.clock import FakeClock
from tests.house import DAY_BEFORE, HOUR_BEFORE, House, open_house

KEY = "conversation-for-kindness/2026-11-19"
COUNT = 60
A_MINUTE = 1 / 60
"""A message a minute: an hour for all, half of which lies behind the due instant at 17:00."""
ZONES = ("Europe/London", "Pacific/Auckland", "America/New_York")


def at(hour: int, minute: int = 0, *, day: int = 19) -> datetime:
    return datetime(2026, 11, day, hour, minute, tzinfo=UTC)


BEGIN, START, DUE, MEETING, OVER = at(12, day=18), at(16, 30), at(17), at(18), at(20)


class ClockWithEvents(FakeClock):
    """Lets something happen at an instant while others wait: time stands until it is done."""

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
    """What is sent is written down a message or two later, and those take a minute each here."""
    return timedelta() <= moment - expected <= timedelta(minutes=2)


async def people(house: House) -> None:
    await house.join(*((f"Member {number:02}", ZONES[number % 3]) for number in range(COUNT)))


async def reminders(house: House, policy: str = "hour-before") -> list[Report]:
    return await house.reports(policy=policy)


def sent_at(rows: list[Report]) -> list[datetime]:
    return sorted(row.sent_at for row in rows if row.sent_at)


async def test_at_a_rate_the_first_reminders_leave_early_and_the_last_while_it_is_of_use(
    tmp_path: Path, database_url: str
) -> None:
    async with open_house(tmp_path, BEGIN, url=database_url, policies=(HOUR_BEFORE,), rate=A_MINUTE) as house:
        await people(house)
        await house.live(OVER)
        rows = await reminders(house)
        instants = sent_at(rows)
        assert len(instants) == len(house.mails()) == COUNT
        assert is_about(instants[0], START)
        assert instants[-1] <= at(17, 30)
        assert {row.due for row in rows} == {DUE}, "the policy's instant stays what it is"


async def test_without_a_rate_nothing_leaves_before_its_due_instant(tmp_path: Path) -> None:
    async with open_house(tmp_path, BEGIN, policies=(HOUR_BEFORE,)) as house:
        await people(house)
        await house.live(OVER)
        assert set(sent_at(await reminders(house))) == {DUE}


async def test_a_rate_that_changes_re_times_what_has_not_begun(tmp_path: Path, database_url: str) -> None:
    async with open_house(tmp_path, BEGIN, url=database_url, policies=(HOUR_BEFORE,), rate=A_MINUTE) as house:
        await people(house)
        await house.live(at(15, 40))
        assert await forecast_ready(house) == {START}
        house.rate = A_MINUTE * 1.2
        house.restart()
        await house.tick()
        assert await forecast_ready(house) == {at(16, 40)}
        house.rate = 0
        house.restart()
        await house.tick()
        assert await forecast_ready(house) == {DUE}
        house.rate = A_MINUTE / 2
        house.restart()
        await house.tick()
        assert is_about(sent_at(await reminders(house))[0], at(15, 40)), "it should have begun already"


async def forecast_ready(house: House) -> set[datetime | None]:
    rows = await forecast(
        house.database, series=house.series, policies=house.policies, since=house.clock.now(), until=OVER,
        now=house.clock.now(),
    )  # fmt: skip
    return {row.ready for row in rows}


async def test_who_joins_or_leaves_while_it_is_being_sent_is_followed(tmp_path: Path) -> None:
    clock = ClockWithEvents(BEGIN)
    async with open_house(tmp_path, BEGIN, policies=(HOUR_BEFORE,), rate=A_MINUTE, clock=clock) as house:
        await people(house)
        await house.live(at(16))

        ready: list[datetime | None] = []

        async def change() -> None:
            await house.join(("Late Comer", "Europe/London"))
            waiting = [row.name for row in await reminders(house) if row.state == "queued"]
            await house.change(waiting[-1], status="left", active_since=None)
            await house.planner.tick()
            async with house.database.read() as connection:
                ready.append(await claims.next_try(connection, clock.now()))

        clock.at(at(16, 45), change)
        await house.live(OVER)
        states = [row.state for row in await reminders(house)]
        assert (states.count("sent"), states.count("withdrawn"), len(states)) == (COUNT, 1, COUNT + 1)
        assert ready == [DUE], "who joins is in time when it is due"
        (late,) = await house.reports(name="Late Comer")
        assert late.sent_at
        assert DUE <= late.sent_at < MEETING
        assert len(house.mails()) == COUNT


async def test_a_later_reminder_that_has_begun_stands_for_an_earlier_one_that_is_unsent(
    tmp_path: Path,
) -> None:
    async with open_house(tmp_path, BEGIN, policies=(DAY_BEFORE, HOUR_BEFORE), rate=A_MINUTE) as house:
        house.clock.jump(timedelta(days=-1))  # the day before is due on the 18th, 09:00 of each zone
        await people(house)
        await house.planner.tick()
        house.clock.pass_until(at(16, 40))
        house.restart()
        await house.tick()
        assert await house.states(policy="day-before") == {
            row.name: "skipped: superseded" for row in await reminders(house)
        }
        assert len(house.mails()) == len(sent_at(await reminders(house))) == COUNT


async def test_a_meeting_that_moves_while_its_reminder_is_being_sent_reminds_anew(tmp_path: Path) -> None:
    clock = ClockWithEvents(BEGIN)
    async with open_house(tmp_path, BEGIN, policies=(HOUR_BEFORE,), rate=A_MINUTE, clock=clock) as house:
        await people(house)
        await house.live(at(16))

        async def move() -> None:
            later = Change(move_to=datetime(2026, 11, 19, 22))
            await amend(house.database, house.by_slug, KEY, later, now=clock.now())
            await house.planner.tick()

        clock.at(at(16, 45), move)
        await house.live(at(23))
        rows = await reminders(house)
        old = [row for row in rows if row.due == DUE]
        new = [row for row in rows if row.due == at(21)]
        assert {row.state for row in old} == {"sent", "withdrawn"}
        assert len(sent_at(new)) == COUNT
        assert is_about(sent_at(new)[0], at(20, 30))


async def test_after_a_restore_what_had_begun_early_is_not_sent_again(tmp_path: Path) -> None:
    clock = ClockWithEvents(BEGIN)
    async with open_house(tmp_path, BEGIN, policies=(HOUR_BEFORE,), rate=A_MINUTE, clock=clock) as house:
        await people(house)
        await house.tick()
        await back_up(house.database, tmp_path / "backup", keys=house.keys, now=clock.now())
        await house.live(at(16))

        async def stop() -> None:
            house.dispatcher.drain()

        clock.at(at(16, 45), stop)
        clock.pass_until(START)
        await house.tick()
        gone = len(house.mails())
        assert 0 < gone < COUNT

        await house.database.close()
        house.database = Database(f"sqlite:///{tmp_path / 'test.sqlite'}")
        await restore(
            house.database, tmp_path / "backup", secret=tmp_path / "secret", given=None, now=clock.now()
        )
        house.restart()
        await house.tick()
        assert [row.count for row in await missed(house.database)] == [COUNT]
        assert await let_go(house.database) == COUNT
        await house.live(OVER)
        assert len(house.mails()) == gone


async def test_a_convenors_notice_leaves_at_its_instant_however_long_it_takes(tmp_path: Path) -> None:
    async with open_house(tmp_path, BEGIN, policies=(), rate=A_MINUTE) as house:
        await people(house)
        await send_notice(
            house.database, subject="Hello", body="Hello.", audience={"all": []}, audience_text="all",
            now=house.clock.now(), at=DUE, expires=timedelta(hours=1),
        )  # fmt: skip
        (row,) = await paced(
            house.database,
            series=house.series,
            policies=(),
            rate=house.rate,
            until=OVER,
            now=house.clock.now(),
        )
        assert (row.span.start, row.span.finish) == (DUE, MEETING)
        assert (row.span.late, row.span.misses) == (True, False)
        await house.live(OVER)
        assert is_about(sent_at(await house.reports(kind="notice"))[0], DUE)


async def test_a_reminder_leaves_before_a_convenors_notice_behind_which_it_would_be_late(
    tmp_path: Path,
) -> None:
    async with open_house(tmp_path, BEGIN, policies=(HOUR_BEFORE,), rate=A_MINUTE) as house:
        await people(house)
        await send_notice(
            house.database, subject="Hello", body="Hello.", audience={"all": []}, audience_text="all",
            now=house.clock.now(), at=START,
        )  # fmt: skip
        await house.live(OVER)
        assert is_about(sent_at(await reminders(house))[0], START - timedelta(hours=1))
        assert is_about(sent_at(await house.reports(kind="notice"))[0], START)
        assert len(house.mails()) == 2 * COUNT


async def test_the_plan_says_when_the_first_and_the_last_mail_leave(tmp_path: Path) -> None:
    async with open_house(tmp_path, BEGIN, policies=(HOUR_BEFORE,), rate=A_MINUTE) as house:
        await people(house)
        (row,) = await paced(
            house.database, series=house.series, policies=house.policies, rate=house.rate, until=OVER,
            now=house.clock.now(),
        )  # fmt: skip
        await house.live(OVER)
        instants = sent_at(await reminders(house))
        assert is_about(instants[0], row.span.start)
        assert timedelta() <= row.span.finish - instants[-1] <= timedelta(minutes=1)


async def test_at_a_slow_rate_little_is_claimed_before_it_can_go(tmp_path: Path) -> None:
    clock = ClockWithEvents(BEGIN)
    async with open_house(tmp_path, BEGIN, policies=(HOUR_BEFORE,), rate=A_MINUTE, clock=clock) as house:
        await people(house)
        await house.live(at(16))

        async def cancel() -> None:
            await amend(house.database, house.by_slug, KEY, Change(cancel=True), now=clock.now())
            await house.planner.tick()

        clock.at(at(16, 45), cancel)
        await house.live(OVER)
        assert sent_at(await reminders(house))[-1] <= at(16, 50)
