"""Members follow the series they choose: who is told of which meeting, and who is invited when."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from scheduler.domain.audience import Audience
from scheduler.domain.occurrence import Occurrence, Series, slugs_by_choice
from scheduler.domain.policy import Kind, Policy
from scheduler.service.follows import follow
from scheduler.service.forecast import forecast
from scheduler.service.invitations import invitations
from scheduler.service.occurrences import Change, amend, tell
from scheduler.store import members, occurrences
from tests.clock import FakeClock
from tests.installation import SERIES, Installation, address_of, empty_database, open_installation

BEGIN = datetime(2026, 11, 2, 12, tzinfo=UTC)
FORTNIGHT = Policy(slug="fortnight", kind=Kind.INVITATION, lead=timedelta(days=14))
HOUR = Policy(slug="hour", kind=Kind.REMINDER, lead=timedelta(hours=1))


def weekly(slug: str, day: str, *, by_choice: bool = False) -> Series:
    return replace(
        SERIES, slug=slug, title=slug.title(), rule=f"FREQ=WEEKLY;BYDAY={day}", by_choice=by_choice
    )


ROUNDS, JOURNAL, ETHICS = (
    weekly("rounds", "TH"),
    weekly("journal", "TU", by_choice=True),
    weekly("ethics", "FR"),
)
ALL = (ROUNDS, JOURNAL, ETHICS)


async def choose(installation: Installation, name: str, **choices: bool) -> None:
    async with installation.database.write() as connection:
        member = await members.by_key(connection, address_of(name))
        assert member
        await follow(connection, member, choices, all_series=ALL, now=installation.clock.now())


@pytest.fixture
async def installation(tmp_path: Path) -> AsyncIterator[Installation]:
    async with open_installation(tmp_path, BEGIN, series=ALL, policies=(FORTNIGHT, HOUR)) as opened:
        yield opened


async def told(installation: Installation, name: str, kind: str = "invitation") -> list[str]:
    """The meetings of which a member was sent a kind of notice, in the order in which they are held."""
    rows = await installation.reports(name=name, kind=kind, state="sent")
    return sorted((row.occurrence or "" for row in rows), key=lambda key: key.partition("/")[::-1])


def days(*keys: str, slug: str = "rounds") -> list[str]:
    return [f"{slug}/2026-{key}" for key in keys]


async def test_all_about_a_meeting_goes_to_followers_of_its_series_only(installation: Installation) -> None:
    await installation.join(("Ann", "Europe/London"), ("Bo", "Europe/London"))
    await choose(installation, "Bo", rounds=False, journal=True, ethics=False)
    await installation.live(datetime(2026, 11, 5, 17, 59, tzinfo=UTC))
    assert await told(installation, "Ann") == ["rounds/2026-11-05", "ethics/2026-11-06"]
    assert await told(installation, "Bo") == [
        "journal/2026-11-03",
        "journal/2026-11-10",
        "journal/2026-11-17",
    ]
    assert await told(installation, "Ann", "reminder") == ["rounds/2026-11-05"]
    assert await told(installation, "Bo", "reminder") == ["journal/2026-11-03"]


async def test_a_newcomer_to_a_weekly_series_is_invited_to_each_meeting_once_when_the_one_before_is_over(
    installation: Installation,
) -> None:
    await installation.live(datetime(2026, 11, 11, 12, tzinfo=UTC))
    await installation.join(("Ann", "Europe/London"))
    await installation.tick()
    assert await told(installation, "Ann") == ["rounds/2026-11-12", "ethics/2026-11-13"]
    await installation.live(datetime(2026, 11, 12, 18, 59, tzinfo=UTC))
    assert "rounds/2026-11-19" not in await told(installation, "Ann")
    await installation.live(datetime(2026, 11, 12, 19, 1, tzinfo=UTC))
    assert "rounds/2026-11-19" in await told(installation, "Ann")
    await installation.live(datetime(2026, 12, 1, tzinfo=UTC))
    invited = list(await installation.reports(name="Ann", kind="invitation"))
    assert len({row.occurrence for row in invited}) == len(invited)
    rounds = [key for key in await told(installation, "Ann") if key.startswith("rounds")]
    assert rounds == days("11-12", "11-19", "11-26", "12-03", "12-10")


async def test_who_starts_to_follow_is_invited_to_the_next_meeting_at_once(
    installation: Installation,
) -> None:
    await installation.join(("Ann", "Europe/London"))
    await installation.live(datetime(2026, 11, 9, 12, tzinfo=UTC))
    await choose(installation, "Ann", journal=True)
    await installation.tick()
    journal = [key for key in await told(installation, "Ann") if key.startswith("journal")]
    assert journal == ["journal/2026-11-10"]
    await installation.live(datetime(2026, 11, 10, 20, tzinfo=UTC))
    journal = [key for key in await told(installation, "Ann") if key.startswith("journal")]
    # That of the 24th is due a fortnight before.
    assert journal == ["journal/2026-11-10", "journal/2026-11-17", "journal/2026-11-24"]


async def test_at_the_first_start_a_weekly_series_invites_to_one_meeting_at_a_time(
    installation: Installation,
) -> None:
    await installation.join(("Ann", "Europe/London"))
    await installation.tick()
    assert await told(installation, "Ann") == ["rounds/2026-11-05", "ethics/2026-11-06"]
    await installation.live(datetime(2026, 11, 5, 17, 59, tzinfo=UTC))
    assert await told(installation, "Ann") == ["rounds/2026-11-05", "ethics/2026-11-06"]
    await installation.live(datetime(2026, 11, 5, 19, 1, tzinfo=UTC))
    rounds = [key for key in await told(installation, "Ann") if key.startswith("rounds")]
    # That of the 19th is due a fortnight before.
    assert rounds == days("11-05", "11-12", "11-19")


@pytest.mark.parametrize("change", [Change(cancel=True), Change(move_to=datetime(2026, 11, 20, 18))])
async def test_who_waits_for_a_meeting_that_is_cancelled_or_moved_is_invited_to_the_next_one_at_once(
    installation: Installation, change: Change
) -> None:
    await installation.live(datetime(2026, 11, 11, 12, tzinfo=UTC))
    await installation.join(("Ann", "Europe/London"))
    await installation.tick()
    assert "rounds/2026-11-19" not in await told(installation, "Ann")
    now = installation.clock.now()
    await amend(installation.database, installation.by_slug, "rounds/2026-11-12", change, now=now)
    installation.clock.pass_(timedelta(minutes=1))
    await installation.tick()
    assert "rounds/2026-11-19" in await told(installation, "Ann")


async def test_the_plan_lists_latecomers_at_the_end_of_the_meeting_before(installation: Installation) -> None:
    await installation.live(datetime(2026, 11, 11, 12, tzinfo=UTC))
    await installation.join(("Ann", "Europe/London"), ("Bo", "Asia/Kolkata"))
    await choose(installation, "Bo", rounds=False)
    await installation.tick()
    now = installation.clock.now()
    rows = await forecast(
        installation.database,
        series=ALL,
        policies=(FORTNIGHT, HOUR),
        since=now,
        until=now + timedelta(days=8),
        now=now,
    )
    assert [(row.occurrence, row.due, row.recipients) for row in rows if row.kind == "invitation"] == [
        ("rounds/2026-11-26", datetime(2026, 11, 12, 18, tzinfo=UTC), 1),
        ("rounds/2026-11-19", datetime(2026, 11, 12, 19, tzinfo=UTC), 1),
        ("ethics/2026-11-27", datetime(2026, 11, 13, 18, tzinfo=UTC), 2),
        ("ethics/2026-11-20", datetime(2026, 11, 13, 19, tzinfo=UTC), 2),
    ]
    await installation.live(datetime(2026, 11, 12, 19, 1, tzinfo=UTC))
    assert "rounds/2026-11-19" in await told(installation, "Ann")


async def test_a_new_member_is_asked_about_the_next_meeting_only(installation: Installation) -> None:
    await installation.live(datetime(2026, 11, 11, 12, tzinfo=UTC))
    now = installation.clock.now()
    found = await invitations(installation.database, series=ALL, policies=(FORTNIGHT, HOUR), now=now)
    assert [one.occurrence.key for one in found if one.is_open_in("Europe/London", now)] == [
        "rounds/2026-11-12",
        "journal/2026-11-17",
        "ethics/2026-11-13",
    ]


async def test_queued_mail_is_not_sent_to_who_stopped_following_and_is_once_they_follow_again(
    installation: Installation,
) -> None:
    await installation.join(("Ann", "Europe/London"))
    await installation.planner.tick()
    await choose(installation, "Ann", rounds=False)
    # Sending takes the queue as it is: the last check is the claim's.
    await installation.dispatcher.send_due()
    assert await told(installation, "Ann") == ["ethics/2026-11-06"]
    await installation.tick()
    assert (await installation.states(name="Ann", occurrence="rounds/2026-11-05"))["Ann"] == (
        "skipped: not following"
    )
    await choose(installation, "Ann", rounds=True)
    await installation.tick()
    assert "rounds/2026-11-05" in await told(installation, "Ann")


async def test_who_was_invited_is_told_of_a_change_whatever_they_follow_since(
    installation: Installation,
) -> None:
    await installation.join(("Ann", "Europe/London"), ("Bo", "Europe/London"))
    await choose(installation, "Bo", rounds=False)
    await installation.tick()
    await choose(installation, "Ann", rounds=False)
    by_choice = slugs_by_choice(ALL)
    for change, kind in ((Change(topic="Hope"), "update"), (Change(cancel=True), "cancellation")):
        now = installation.clock.now()
        amended = await amend(
            installation.database, installation.by_slug, "rounds/2026-11-05", change, now=now
        )
        published = await tell(installation.database, amended, by_choice=by_choice, now=now)
        assert published.recipients == 1
        await installation.tick()
        assert await told(installation, "Ann", kind) == ["rounds/2026-11-05"]
        assert await told(installation, "Bo", kind) == []
        installation.clock.pass_(timedelta(minutes=1))


async def test_a_changed_default_changes_nobodys_explicit_choice(installation: Installation) -> None:
    await installation.join(("Ann", "Europe/London"), ("Bo", "Europe/London"), ("Cy", "Europe/London"))
    await choose(installation, "Ann", rounds=True)
    await choose(installation, "Bo", rounds=False)
    await installation.planner.tick()
    installation.series = (replace(ROUNDS, by_choice=True), JOURNAL, ETHICS)
    installation.restart()
    await installation.tick()
    assert await installation.states(occurrence="rounds/2026-11-05", kind="invitation") == {
        "Ann": "sent",
        "Cy": "skipped: not following",
    }
    installation.series = ALL
    installation.restart()
    await installation.tick()
    assert await told(installation, "Cy") == ["rounds/2026-11-05", "ethics/2026-11-06"]
    assert await told(installation, "Bo") == ["ethics/2026-11-06"]


async def test_the_audience_of_a_series_is_its_followers(installation: Installation) -> None:
    await installation.join(("Ann", "Europe/London"), ("Bo", "Pacific/Auckland"), ("Cy", "Europe/London"))
    await choose(installation, "Bo", rounds=False, journal=True)

    async def size(by_choice: Sequence[str] = ("journal",), **terms: object) -> int:
        audience = Audience(by_choice=by_choice, **terms)  # type: ignore[arg-type]
        async with installation.database.read() as connection:
            return await members.count_audience(connection, audience)

    assert await size(terms={"series": ["rounds"]}) == 2
    assert await size(terms={"series": ["journal"]}) == 1
    assert await size(terms={"series": ["rounds", "journal"]}) == 3
    assert await size(terms={"all": []}, without={"series": ["rounds"]}) == 1
    assert await size(terms={"series": ["rounds"]}, without={"zone": ["Europe/London"]}) == 0


@dataclass
class Choice:
    """What a member said of a series, and since when they follow it (or no longer do)."""

    follows: bool
    since: datetime
    away: bool = False

    @property
    def is_told(self) -> bool:
        return self.follows and not self.away


class Following(RuleBasedStateMachine):
    """Members join, follow and stop following while a service runs; each is told exactly what the policies say."""

    names = ("Ann", "Bo", "Cy")

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self._folder = Path(tempfile.mkdtemp(dir=os.environ.get("TMPDIR")))
        self._history: dict[tuple[str, str], list[Choice]] = {}
        self._away: set[str] = set()

    def _do(self, act: Awaitable[object]) -> None:
        async def acted() -> None:
            await act

        self._runner.run(acted())

    @initialize()
    def begin(self) -> None:
        async def make() -> None:
            (self._folder / "test.sqlite").write_bytes(await empty_database())
            self.installation = await self._stack.enter_async_context(
                open_installation(
                    self._folder,
                    BEGIN,
                    series=ALL,
                    policies=(FORTNIGHT, HOUR),
                    clock=FakeClock(BEGIN),
                )
            )
            await self.installation.tick()

        self._do(make())

    @rule(name=st.sampled_from(names))
    def join(self, name: str) -> None:
        if (name, "rounds") not in self._history:
            self._pass(timedelta(minutes=7))
            self._do(self.installation.join((name, "Europe/London")))
            now = self.installation.clock.now()
            for series in ALL:
                self._history[name, series.slug] = [Choice(not series.by_choice, now)]
            self._do(self.installation.tick())

    @rule(name=st.sampled_from(names), slug=st.sampled_from([one.slug for one in ALL]), follows=st.booleans())
    def choose(self, name: str, slug: str, follows: bool) -> None:
        history = self._history.get((name, slug))
        if history:
            self._pass(timedelta(minutes=7))
            self._do(choose(self.installation, name, **{slug: follows}))
            if history[-1].follows is not follows:
                now = self.installation.clock.now()
                history.append(Choice(follows, now, away=name in self._away))
            self._do(self.installation.tick())

    @rule(name=st.sampled_from(names))
    def pause_or_return(self, name: str) -> None:
        """Pause; or come back, which counts as having joined at that moment."""
        if (name, "rounds") not in self._history:
            return
        self._pass(timedelta(minutes=7))
        now = self.installation.clock.now()
        self._away ^= {name}
        away = name in self._away
        values = (
            {"status": "paused", "active_since": None} if away else {"status": "active", "active_since": now}
        )
        self._do(self.installation.change(name, **values))
        for series in ALL:
            history = self._history[name, series.slug]
            history.append(Choice(history[-1].follows, now, away=away))
        self._do(self.installation.tick())

    @rule()
    def restart(self) -> None:
        self.installation.restart()

    @rule(hours=st.sampled_from([1, 20, 50, 170]))
    def wait(self, hours: int) -> None:
        self._pass(timedelta(hours=hours))

    def _pass(self, time: timedelta) -> None:
        self._do(self.installation.live(self.installation.clock.now() + time))

    def teardown(self) -> None:
        async def check() -> None:
            await self._check()
            await self._stack.aclose()

        try:
            if hasattr(self, "installation"):
                self._do(check())
        finally:
            self._runner.close()
            shutil.rmtree(self._folder)

    async def _check(self) -> None:
        now = self.installation.clock.now()
        sent = {
            (row.name, row.kind, row.occurrence): row.sent_at
            for row in await self.installation.reports(state="sent")
        }
        async with self.installation.database.read() as connection:
            stored = await occurrences.all_occurrences(connection)
        for (name, kind, key), at in sent.items():
            assert key and at
            assert self._followed(name, key.partition("/")[0], at), f"{name} was sent the {kind} of {key}"
        for (name, slug), history in self._history.items():
            meetings = [one for one in stored if one.series == slug]
            for before, one in zip([None, *meetings], meetings, strict=False):
                if history[0].since >= one.starts or one.starts > now:
                    continue
                reminded = (name, "reminder", one.key) in sent
                due = one.starts - timedelta(hours=1)
                if self._followed_through(name, slug, due):
                    assert reminded, f"{name}, reminder of {one.key}"
                elif reminded:
                    # It was queued, and waited until they followed again.
                    queued = any(
                        choice.is_told and choice.since <= due and end >= due - timedelta(hours=1)
                        for choice, end in self._spells(name, slug, now)
                    )
                    assert queued, f"{name}, reminder of {one.key}"
                opens = max(due - timedelta(days=14) + timedelta(hours=1), BEGIN)
                if before and before.starts > BEGIN and opens <= BEGIN:
                    opens = before.ends
                invited = (name, "invitation", one.key) in sent
                expected = any(
                    choice.is_told
                    and self._opens_for(choice, opens, before) <= min(end, one.starts - timedelta(minutes=1))
                    for choice, end in self._spells(name, slug, now)
                )
                assert invited == expected, f"{name}, invitation to {one.key}: {history}"

    @staticmethod
    def _opens_for(choice: Choice, opens: datetime, before: Occurrence | None) -> datetime:
        """When a member who follows since then is invited."""
        if choice.since <= opens or before is None or choice.since > before.starts:
            return max(opens, choice.since)
        return max(choice.since, before.ends)

    def _spells(self, name: str, slug: str, now: datetime) -> list[tuple[Choice, datetime]]:
        history = self._history[name, slug]
        ends = [*(choice.since for choice in history[1:]), now]
        return list(zip(history, ends, strict=True))

    def _followed(self, name: str, slug: str, at: datetime) -> bool:
        return [one.is_told for one in self._history[name, slug] if one.since <= at][-1]

    def _followed_through(self, name: str, slug: str, due: datetime) -> bool:
        """Whether a member followed a series when a reminder was due."""
        earlier = [one.is_told for one in self._history[name, slug] if one.since <= due]
        return bool(earlier) and earlier[-1]


TestFollowing = Following.TestCase
TestFollowing.settings = settings(max_examples=4, stateful_step_count=10, deadline=None)


@pytest.mark.proof
@pytest.mark.short
def test_members_are_told_what_they_follow_whatever_they_do() -> None:
    run_state_machine_as_test(
        Following, settings=settings(max_examples=25, stateful_step_count=10, deadline=None)
    )
