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

from scheduler.domain.audience import Audience, parse_audience
from scheduler.domain.occurrence import Occurrence, Series, slugs_by_choice
from scheduler.domain.policy import Kind, Policy, identity
from scheduler.service.follows import follow
from scheduler.service.forecast import forecast
from scheduler.service.invitations import invitations
from scheduler.service.notices import resend_missed, send_notice, stop
from scheduler.service.occurrences import Change, amend, tell
from scheduler.store import members, occurrences
from scheduler.store.ledger.reports import Report
from tests.clock import FakeClock
from tests.installation import SERIES, Installation, address_of, empty_database, open_installation

BEGIN = datetime(2026, 11, 2, 12, tzinfo=UTC)
TOMORROW = BEGIN + timedelta(days=1)
FORTNIGHT = Policy(slug="fortnight", kind=Kind.INVITATION, lead=timedelta(days=14))
HOUR = Policy(slug="hour", kind=Kind.REMINDER, lead=timedelta(hours=1))
FORTNIGHT_BEFORE = timedelta(days=14)
QUEUED_AHEAD = timedelta(hours=1)
"""How long before its due instant a mail is queued."""


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


async def send_later(installation: Installation, text: str, at: datetime | str = TOMORROW) -> int:
    """Send a notice tomorrow to an audience as a convenor writes it; return its number."""
    audience = parse_audience(text, all_series=ALL, read_list=lambda _: [address_of("Ann")])
    sent = await send_notice(
        installation.database,
        subject="Tea",
        body="Bring tea.",
        audience=audience,
        audience_text=text,
        at=at,
        now=installation.clock.now(),
    )
    return sent.notice


@pytest.mark.both_databases
async def test_a_scheduled_notice_to_followers_is_not_sent_to_who_stopped_following_and_is_once_they_follow_again(
    tmp_path: Path, database_url: str
) -> None:
    async with open_installation(tmp_path, BEGIN, url=database_url, series=ALL, policies=()) as installation:
        await installation.join(("Ann", "Europe/London"), ("Bo", "Europe/London"), ("Cy", "Europe/London"))
        await installation.tick()
        await send_later(installation, "series:rounds", f"local:{TOMORROW:%Y-%m-%dT%H:%M}")
        await choose(installation, "Ann", rounds=False)
        await choose(installation, "Bo", rounds=False)
        await installation.tick()
        assert (await installation.states(kind="notice"))["Ann"] == "skipped: not following"
        await choose(installation, "Bo", rounds=True)
        await installation.live(TOMORROW - timedelta(minutes=1))
        # Sending takes the queue as it is: the last check is the claim's.
        await choose(installation, "Cy", rounds=False)
        installation.clock.pass_(timedelta(minutes=1))
        await installation.dispatcher.send_due()
        assert await installation.states(kind="notice") == {
            "Ann": "skipped: not following",
            "Bo": "sent",
            "Cy": "queued",
        }
        await installation.tick()
        assert (await installation.states(kind="notice"))["Cy"] == "skipped: not following"


@pytest.mark.parametrize(
    ("audience", "outcome"),
    [
        ("series:rounds,series:ethics", "queued"),
        ("series:rounds,series:journal", "skipped: not following"),
        ("series:rounds,country:GB", "queued"),
        ("series:rounds,country:SE", "skipped: not following"),
        ("series:rounds,except:country:SE", "skipped: not following"),
        ("series:rounds,all", "queued"),
        ("series:rounds,list:people.txt", "queued"),
        ("zone:Europe/London", "queued"),
    ],
)
async def test_who_stopped_following_is_left_out_of_a_union_only_if_nothing_else_puts_them_in_it(
    installation: Installation, audience: str, outcome: str
) -> None:
    await installation.join(("Ann", "Europe/London"))
    await installation.tick()
    await send_later(installation, audience)
    await choose(installation, "Ann", rounds=False)
    await installation.tick()
    assert await installation.states(kind="notice") == {"Ann": outcome}


async def test_who_followed_nothing_at_the_press_keeps_a_notice_that_they_get_for_another_reason(
    installation: Installation,
) -> None:
    await installation.join(("Ann", "Europe/London"))
    await choose(installation, "Ann", rounds=False)
    await installation.tick()
    installation.clock.pass_(timedelta(minutes=1))
    await send_later(installation, "series:rounds,country:GB")
    await installation.change("Ann", country="SE", zone="Europe/Stockholm")
    await installation.tick()
    assert await installation.states(kind="notice") == {"Ann": "queued"}


async def test_sending_a_stopped_notice_to_the_missed_leaves_out_who_stopped_following(
    installation: Installation,
) -> None:
    await installation.join(("Ann", "Europe/London"), ("Bo", "Europe/London"))
    await installation.tick()
    number = await send_later(installation, "series:rounds")
    await stop(installation.database, number, installation.clock.now())
    await choose(installation, "Ann", rounds=False)
    await installation.tick()
    requeued = await resend_missed(
        installation.database, number, installation.clock.now(), by_choice=slugs_by_choice(ALL)
    )
    assert requeued == 1
    assert (await installation.states(kind="notice"))["Bo"] == "queued"


async def test_an_audience_has_as_many_members_as_are_counted(installation: Installation) -> None:
    names = ("Ann", "Bo", "Cy", "Di", "Ed", "Flo", "Gus", "Hal")
    await installation.join(*((name, "Europe/London") for name in names))
    await installation.tick()
    await choose(installation, "Bo", rounds=False)
    await choose(installation, "Cy", rounds=True, journal=True)
    await installation.join(("Ida", "Europe/London"), ("Jo", "Europe/London"))
    await choose(installation, "Ida", rounds=False)
    await choose(installation, "Flo", rounds=False)
    await installation.change("Ed", status="left", active_since=None)
    async with installation.database.write() as connection:
        for name in ("Di", "Ida", "Flo"):
            member = await members.by_key(connection, address_of(name))
            assert member
            await members.set_mutes(connection, member.id, [("update", "")])
    audiences: list[dict[str, list[str]]] = [
        {"all": []},
        {"series": ["rounds"]},
        {"series": ["journal"]},
        {"told-of": ["rounds/2026-11-05"]},
    ]
    for terms in audiences:
        for kind in ("", "update"):
            audience = Audience(terms=terms, by_choice=("journal",))
            async with installation.database.read() as connection:
                listed = await members.some_in_audience(connection, audience, kind=kind, limit=100)
                assert await members.count_audience(connection, audience, kind=kind) == len(listed), (
                    terms,
                    kind,
                )


@dataclass
class Choice:
    """What a member said of a series, and since when they follow it (or no longer do)."""

    follows: bool
    since: datetime
    away: bool = False

    @property
    def is_told(self) -> bool:
        return self.follows and not self.away


@dataclass
class Announced:
    """A change of a meeting that members were told, and who had been invited but was away."""

    notice: int
    key: str
    at: datetime
    until: datetime
    told: set[str]
    missed: set[str]


class Following(RuleBasedStateMachine):
    """Members join, follow and stop following, and meetings are moved and cancelled, while a service runs. Each member
    is told exactly what the policies say.

    A mail is queued for who follows the series an hour before it is due, or at a later moment if they may still be sent
    it: a reminder if they have followed since before it was due, an invitation unless they came after it opened and the
    meeting before is still to come or being held. It is sent at the first moment, from its due instant to the start of
    the meeting, at which they follow, even if they stopped and came back in the meantime. A change goes to all who
    follow at that moment, and to all who were sent the invitation; of these, who is away is told when they return.
    """

    names = ("Ann", "Bo", "Cy")

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self._folder = Path(tempfile.mkdtemp(dir=os.environ.get("TMPDIR")))
        self._history: dict[tuple[str, str], list[Choice]] = {}
        self._away: set[str] = set()
        self._changes: dict[str, list[Occurrence]] = {}
        self._announced: list[Announced] = []
        self._moments: dict[tuple[str, str], list[datetime]] = {}

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

    @rule(
        slug=st.sampled_from([one.slug for one in ALL]),
        later=st.booleans(),
        hours=st.sampled_from([None, -3, 3, 26]),
    )
    def change_meeting(self, slug: str, later: bool, hours: int | None) -> None:
        """Move or cancel the next meeting of a series, or the one after it, and tell members."""
        self._pass(timedelta(minutes=7))
        self._do(self._change_meeting(slug, 1 if later else 0, hours))

    async def _change_meeting(self, slug: str, which: int, hours: int | None) -> None:
        database, now = self.installation.database, self.installation.clock.now()
        async with database.read() as connection:
            stored = await occurrences.all_occurrences(connection, since=now, series=slug)
        soon = now + timedelta(hours=4)
        ahead = [one for one in stored if one.is_held and one.starts > soon]
        if len(ahead) <= which or (ahead[which].revision and hours is not None):
            return
        before = ahead[which]
        change = Change(cancel=True)
        if hours is not None:
            change = Change(move_to=before.starts.replace(tzinfo=None) + timedelta(hours=hours))
        invited = {row.name for row in await self._sent("invitation", before.key)}
        here = {name for name, _ in self._history} - self._away
        amended = await amend(database, self.installation.by_slug, before.key, change, now=now)
        self._changes.setdefault(before.key, [before]).append(amended.after)
        published = await tell(database, amended, by_choice=slugs_by_choice(ALL), now=now)
        await self.installation.tick()
        followers = {name for name in here if self._history[name, slug][-1].follows}
        told = {row.name for row in await self.installation.reports(notice=published.notice, state="sent")}
        assert told == followers | invited & here, f"{before.key}, {change}"
        until = before.ends if amended.after.cancelled else amended.after.starts
        self._announced.append(
            Announced(published.notice, before.key, now, until, told, invited & self._away)
        )

    async def _sent(self, kind: str, key: str) -> list[Report]:
        return await self.installation.reports(kind=kind, occurrence=key, state="sent")

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
        sent = await self.installation.reports(state="sent")
        for row in sent:
            assert row.occurrence and row.sent_at
            if row.kind in ("invitation", "reminder"):
                choice = self._choice(row.name, row.occurrence.partition("/")[0], row.sent_at)
                assert choice and choice.is_told, f"{row.name} was sent the {row.kind} of {row.occurrence}"
        invited = [(row.name, row.occurrence) for row in sent if row.kind == "invitation"]
        assert len(invited) == len(set(invited))
        reminded = {(row.name, row.identity) for row in sent if row.kind == "reminder"}
        async with self.installation.database.read() as connection:
            stored = await occurrences.all_occurrences(connection)
        for one in stored:
            self._changes.setdefault(one.key, [one])
        self._moments = {(name, slug): self._moments_of(name, slug) for name, slug in self._history}
        for (name, slug), history in self._history.items():
            for key in (one.key for one in stored if one.series == slug):
                told = f"{name} and {key}: {history}, {self._changes[key]}"
                assert ((name, key) in invited) == self._is_invited(name, key), f"invitation of {told}"
                for version in {one.starts: one for one in self._changes[key]}.values():
                    reminder = identity(Kind.REMINDER, version, "hour")
                    expected = self._is_reminded(name, key, version.starts)
                    assert ((name, reminder) in reminded) == expected, f"{reminder} of {told}"
        for change in self._announced:
            told_later = {row.name for row in sent if row.notice == change.notice} - change.told
            assert told_later == self._told_on_return(change), f"{change}"

    def _is_invited(self, name: str, key: str) -> bool:
        """Whether there is a moment at which the invitation is queued, and one at which it is sent."""
        slug = key.partition("/")[0]
        queued = False
        for at in self._moments[name, slug]:
            choice, meeting = self._choice(name, slug, at), self._meeting(key, at)
            if choice and choice.is_told and meeting.is_held and at < meeting.starts:
                earlier = [one for one in self._held(slug, at) if one.starts < meeting.starts]
                opens = meeting.starts - FORTNIGHT_BEFORE
                if opens < BEGIN:
                    # It was open when the policy was adopted.
                    opens = max([opens, BEGIN, *(one.ends for one in earlier if one.starts > BEGIN)])
                before = max(earlier, key=lambda one: one.starts, default=None)
                waits = before and before.ends > at and opens < choice.since <= before.starts
                queued |= at >= opens - QUEUED_AHEAD and not waits
                if queued and at >= opens:
                    return True
        return False

    def _is_reminded(self, name: str, key: str, starts: datetime) -> bool:
        """Whether the same is true of the reminder of a meeting at `starts`."""
        slug, due = key.partition("/")[0], starts - timedelta(hours=1)
        queued = False
        for at in self._moments[name, slug]:
            choice, meeting = self._choice(name, slug, at), self._meeting(key, at)
            if choice and choice.is_told and meeting.is_held and meeting.starts == starts and at < starts:
                queued |= at >= due - QUEUED_AHEAD and choice.since <= due
                if queued and at >= due:
                    return True
        return False

    def _told_on_return(self, change: Announced) -> set[str]:
        """Who was invited and away, and returned while that was the last change and still useful to know."""
        later = (other.at for other in self._announced if other.key == change.key and other.at > change.at)
        until = min([change.until, *later])
        slug = change.key.partition("/")[0]
        return {
            name
            for name in change.missed
            if any(
                not choice.away and change.at < choice.since < until for choice in self._history[name, slug]
            )
        }

    def _moments_of(self, name: str, slug: str) -> list[datetime]:
        """All moments until now at which anything may begin to be true, in their order."""
        moments = {BEGIN} | {choice.since for choice in self._history[name, slug]}
        for key, versions in self._changes.items():
            if key.partition("/")[0] == slug:
                moments |= {one.changed_at for one in versions if one.revision}
                for one in versions:
                    moments.add(one.ends)
                    for due in (
                        one.starts - FORTNIGHT_BEFORE,
                        one.starts - timedelta(hours=1),
                        # An invitation that was already open is due then.
                        one.ends,
                    ):
                        moments |= {due, due - QUEUED_AHEAD}
        return sorted(moment for moment in moments if BEGIN <= moment <= self.installation.clock.now())

    def _meeting(self, key: str, at: datetime) -> Occurrence:
        """A meeting as it was at a moment."""
        first, *later = self._changes[key]
        return [first, *(one for one in later if one.changed_at <= at)][-1]

    def _held(self, slug: str, at: datetime) -> list[Occurrence]:
        keys = [key for key in self._changes if key.partition("/")[0] == slug]
        return [one for one in (self._meeting(key, at) for key in keys) if one.is_held]

    def _choice(self, name: str, slug: str, at: datetime) -> Choice | None:
        earlier = [choice for choice in self._history[name, slug] if choice.since <= at]
        return earlier[-1] if earlier else None


TestFollowing = Following.TestCase
TestFollowing.settings = settings(max_examples=4, stateful_step_count=10, deadline=None)


def run_following(examples: int) -> None:
    run_state_machine_as_test(
        Following, settings=settings(max_examples=examples, stateful_step_count=10, deadline=None)
    )


@pytest.mark.proof
def test_members_are_told_what_they_follow_whatever_they_do() -> None:
    run_following(25)


@pytest.mark.proof
def test_members_are_told_what_they_follow_whatever_they_do_proved_at_length() -> None:
    run_following(2_000)
