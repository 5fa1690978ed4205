"""Who holds which meeting in their calendar, whatever was done to meetings and members before: a property."""

import asyncio
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from icalendar import Calendar, Event

from scheduler.delivery.compose.message_writer import message_id
from scheduler.delivery.send.transport import ACCEPTED, Envelope, Outcome, SendPipeline
from scheduler.domain.calendar import occurrence_uid
from scheduler.domain.errors import Refused
from scheduler.domain.occurrence import Occurrence
from scheduler.domain.policy import Kind, occurrence_before
from scheduler.service.occurrences import Change, add_extra, amend, find_unannounced_change, tell, tell_again
from scheduler.store import members, occurrences
from tests.conftest import CopyDatabase
from tests.installation import (
    COMMUNITY,
    DAY_BEFORE,
    INVITATION,
    SERIES,
    Installation,
    address_of,
    make_tables,
    open_installation,
)
from tests.postgres import execute

T = TypeVar("T")

ADOPTED = datetime(2026, 10, 16, 12, tzinfo=UTC)
BEGIN = datetime(2026, 11, 10, 12, tzinfo=UTC)
"""The invitation to the meeting of 19 November is open, that to the one of 17 December is not."""

ZONES = ("Europe/London", "Pacific/Auckland", "America/New_York")
TAKEN = "taken"
AFTER_ALL = "will go ahead after all"
ABOUT_A_MEETING = (Kind.INVITATION, Kind.UPDATE, Kind.CANCELLATION)


class Recorder:
    """A transport that keeps what it is given, in its order."""

    connections = 1
    pipelined = None
    needs_reconnect = False

    def __init__(self) -> None:
        self.taken: list[bytes] = []

    async def connect(self) -> "Recorder":
        return self

    async def send(self, envelope: Envelope, *, pipeline: SendPipeline) -> Outcome:
        await pipeline.before_final_dot()
        self.taken.append(b"".join(envelope.pieces))
        return ACCEPTED

    async def close(self) -> None:
        """Nothing is open."""


@dataclass
class Mail:
    """A mail about a meeting, as its reader has it."""

    kind: Kind
    occurrence: str
    member: str
    text: str
    method: str = ""
    event: Event = field(default_factory=Event)


class World:
    """A installation whose mail is read, and what a convenor and its members do."""

    def __init__(self, installation: Installation, recorder: Recorder) -> None:
        self.installation = installation
        self.names: list[str] = []
        self.active: set[str] = set()
        self.keys: list[str] = []
        self.mails: list[Mail] = []
        self._recorder = recorder
        self._untold: set[str] = set()
        self._zones: dict[str, str] = {}
        self._came: dict[str, datetime] = {}
        self._kept: list[Occurrence] = []

    async def begin(self) -> None:
        await self.installation.tick()
        for zone in ZONES[:2]:
            await self.join(zone)
        await self.installation.live(BEGIN)

    def continue_from(self, folder: Path) -> None:
        """Know what happened in `begin`, of which `fill` left the mails in this folder."""
        for _ in ZONES[:2]:
            self._add_name()
            self._came[self.names[-1]] = ADOPTED
        self.keys = ["conversation-for-kindness/2026-11-19"]
        self._recorder.taken = [path.read_bytes() for path in sorted((folder / TAKEN).iterdir())]

    async def join(self, zone: str) -> None:
        self._add_name()
        await self.installation.join((self.names[-1], zone))

    def _add_name(self) -> None:
        self.names.append(f"Member {chr(65 + len(self.names) // 26)}{chr(65 + len(self.names) % 26)}")
        self.active.add(self.names[-1])
        self._came[self.names[-1]] = self.installation.clock.now()

    async def set_status(self, name: str, status: str) -> None:
        since = self.installation.clock.now() if status == "active" else None
        if (name in self.active) == (status == "active"):
            return
        await self.installation.change(name, status=status, active_since=since)
        if since:
            self._came[name] = since
        (self.active.add if since else self.active.discard)(name)

    async def add(self, wall: datetime) -> None:
        extra = await add_extra(self.installation.database, SERIES, wall, now=self.installation.clock.now())
        self.keys.append(extra.key)

    async def change(self, key: str, change: Change, *, told: bool) -> None:
        now = self.installation.clock.now()
        amended = await amend(self.installation.database, self.installation.by_slug, key, change, now=now)
        if amended.before.sequence != amended.after.sequence:
            self._untold.add(key)
        if told and amended.changed:
            await tell(self.installation.database, amended, now=now, by_choice=())
            self._untold.discard(key)

    @property
    def taken(self) -> list[bytes]:
        return self._recorder.taken

    async def check(self) -> None:
        """One tick after the last act, everybody's calendar is right, and so was each word on the way."""
        await self.installation.tick()
        await self._read_mails()
        now = self.installation.clock.now()
        async with self.installation.database.read() as connection:
            kept = {one.key: one for one in await occurrences.all_occurrences(connection)}
        self._kept = list(kept.values())
        for key in self.keys:
            one = kept[key]
            for name in self.names if one.starts > now else []:
                if name in self.active:
                    self._check_calendar(name, one, now)
                self._check_words(name, key)

    def _check_calendar(self, name: str, one: Occurrence, now: datetime) -> None:
        live = self._live(name, one)
        about = f"{name}, {one.key}: {[(mail.kind, mail.method) for mail in self._to(name, one.key)]}"
        assert len(live) <= 1, f"stands {len(live)} times in the calendar of {about}"
        if one.key in self._untold:
            return
        if one.cancelled:
            assert not live, f"cancelled, and still in the calendar of {about}"
            return
        assert len(live) == 1 or not self._is_open(name, one, now), f"not in the calendar of {about}"
        for event in live:
            assert (event["SEQUENCE"], event.start) == (one.sequence, one.starts), f"out of date: {about}"

    def _is_open(self, name: str, one: Occurrence, now: datetime) -> bool:
        """Whether a member must have been invited: who came late waits until the meeting before is over."""
        due, came = INVITATION.due_about(one, self._zones[name]), self._came[name]
        before = occurrence_before(self._kept, one)
        waits = before and before.ends > now and due < came <= before.starts
        return due <= now and not waits

    def _live(self, name: str, one: Occurrence) -> list[Event]:
        """What stands in a member's calendar of a meeting: the newest of each UID, where that is no CANCEL."""
        newest: dict[str, Mail] = {}
        for mail in self._to(name, one.key):
            if mail.method:
                assert str(mail.event["UID"]).startswith(
                    occurrence_uid(one, COMMUNITY.domain).partition("@")[0]
                )
                known = newest.get(str(mail.event["UID"]))
                if known is None or _order(mail) >= _order(known):
                    newest[str(mail.event["UID"])] = mail
        return [mail.event for mail in newest.values() if mail.method == "REQUEST"]

    def _check_words(self, name: str, key: str) -> None:
        before = None
        for mail in self._to(name, key):
            if mail.kind is Kind.UPDATE:
                was_off = before is not None and before.kind is Kind.CANCELLATION
                assert (AFTER_ALL in mail.text) == was_off, f"{name}, {key}: {mail.text}"
            before = mail

    def _to(self, name: str, key: str) -> list[Mail]:
        return [mail for mail in self.mails if (mail.member, mail.occurrence) == (name, key)]

    async def _read_mails(self) -> None:
        about = {}
        for row in await self.installation.reports():
            if row.kind in ABOUT_A_MEETING:
                name = message_id(self.installation.keys, COMMUNITY, row.identity, row.member)
                about[name] = (Kind(row.kind), row.occurrence or "", row.name)
        async with self.installation.database.read() as connection:
            self._zones = {one.name: one.zone async for one in members.every(connection)}
        for octets in self._recorder.taken:
            mail = message_from_bytes(octets, _class=EmailMessage, policy=policy.default)
            if known := about.get(str(mail["Message-ID"])):
                self.mails.append(_read(mail, *known))
        self._recorder.taken.clear()


def _read(mail: EmailMessage, kind: Kind, occurrence: str, member: str) -> Mail:
    assert address_of(member) in str(mail["To"])
    plain = mail.get_body(("plain",))
    assert plain
    found = Mail(kind, occurrence, member, " ".join(plain.get_content().split()))
    for part in mail.walk():
        if part.get_content_type() == "text/calendar":
            octets = part.get_payload(decode=True)
            assert isinstance(octets, bytes)
            calendar = Calendar.from_ical(octets)
            found.method, found.event = str(calendar["METHOD"]), calendar.events[0]
    return found


def _order(mail: Mail) -> tuple[int, datetime]:
    stamp = mail.event.DTSTAMP
    assert stamp
    return int(str(mail.event["SEQUENCE"])), stamp


@asynccontextmanager
async def open_world(folder: Path, now: datetime, url: str) -> AsyncIterator[World]:
    recorder = Recorder()
    async with open_installation(
        folder, now, url=url, policies=(INVITATION, DAY_BEFORE), transport=recorder
    ) as installation:
        yield World(installation, recorder)


async def fill(url: str, folder: Path) -> None:
    """Let the world begin, and leave the mails in the folder."""
    async with open_world(folder, ADOPTED, url) as world:
        await world.begin()
        (folder / TAKEN).mkdir()
        for number, octets in enumerate(world.taken):
            (folder / TAKEN / f"{number:03}").write_bytes(octets)


class Meetings(RuleBasedStateMachine):
    """Anything that a convenor and members may do, in any order. What is to be tried too is one more rule."""

    url = ""
    filled = Path()
    """A folder that `fill` filled, where `url` names no server of PostgreSQL."""

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self._folder = Path(tempfile.mkdtemp(dir=os.environ.get("TMPDIR")))
        self._database = ""

    @initialize()
    def begin(self) -> None:
        async def make() -> World:
            url = ""
            if self.url:
                self._database = f"third_thursday_test_{uuid4().hex}"
                await execute(self.url, f"CREATE DATABASE {self._database}")
                url = f"{self.url}/{self._database}"
                await make_tables(url)
                await fill(url, self._folder)
            else:
                shutil.copytree(self.filled, self._folder, dirs_exist_ok=True)
            world = await self._stack.enter_async_context(open_world(self._folder, BEGIN, url))
            world.continue_from(self._folder)
            return world

        self._world = self._do(make())

    def teardown(self) -> None:
        async def end() -> None:
            await self._stack.aclose()
            if self._database:
                await execute(self.url, f"DROP DATABASE {self._database} WITH (FORCE)")

        try:
            if hasattr(self, "_world"):
                self._do(self._world.check())
        finally:
            self._do(end())
            self._runner.close()
            shutil.rmtree(self._folder)

    def _do(self, act: Awaitable[T]) -> T:
        async def acted() -> T:
            return await act

        return self._runner.run(acted())

    def _act(self, act: Awaitable[object]) -> None:
        """Do something a minute later; what cannot be done is refused, and nothing else happens."""
        self._world.installation.clock.pass_(timedelta(minutes=1))
        try:
            self._do(act)
        except Refused:
            return

    @rule(zone=st.sampled_from(ZONES))
    def join(self, zone: str) -> None:
        self._act(self._world.join(zone))

    @precondition(lambda self: self._world.names)
    @rule(data=st.data(), status=st.sampled_from(["left", "paused", "active", "active"]))
    def set_status(self, data: st.DataObject, status: str) -> None:
        self._act(self._world.set_status(data.draw(st.sampled_from(self._world.names)), status))

    @rule(day=st.integers(12, 30), hour=st.integers(7, 20))
    def add(self, day: int, hour: int) -> None:
        self._act(self._world.add(datetime(2026, 11, day, hour)))

    @rule(data=st.data(), told=st.booleans())
    def cancel(self, data: st.DataObject, told: bool) -> None:
        self._change(data, Change(cancel=True), told=told)

    @rule(data=st.data(), told=st.booleans())
    def restore(self, data: st.DataObject, told: bool) -> None:
        self._change(data, Change(restore=True), told=told)

    @rule(data=st.data(), told=st.booleans(), days=st.integers(0, 60), hour=st.integers(0, 23))
    def move(self, data: st.DataObject, told: bool, days: int, hour: int) -> None:
        wall = datetime(2026, 11, 11, hour) + timedelta(days=days)
        self._change(data, Change(move_to=wall), told=told)

    @rule(data=st.data(), told=st.booleans(), topic=st.sampled_from(["Hope", "Trust", "Kin"]))
    def describe(self, data: st.DataObject, told: bool, topic: str) -> None:
        self._change(data, Change(topic=topic), told=told)

    def _change(self, data: st.DataObject, change: Change, *, told: bool) -> None:
        self._act(self._world.change(data.draw(st.sampled_from(self._world.keys)), change, told=told))

    @precondition(lambda self: self._world.names)
    @rule(data=st.data(), answer=st.sampled_from(["coming", "declined"]))
    def answer(self, data: st.DataObject, answer: str) -> None:
        name, key = (data.draw(st.sampled_from(some)) for some in (self._world.names, self._world.keys))
        self._act(self._world.installation.answer(name, key, answer))

    @rule(hours=st.sampled_from([1, 5, 24, 72]))
    def wait(self, hours: int) -> None:
        """Time passes while no service runs."""
        self._world.installation.clock.pass_(timedelta(hours=hours))

    @rule()
    def restart(self) -> None:
        self._world.installation.restart()

    @rule()
    def plan(self) -> None:
        self._act(self._world.installation.planner.tick())

    @rule()
    def send(self) -> None:
        self._act(self._world.installation.dispatcher.send_due())

    @rule()
    def check(self) -> None:
        self._world.installation.clock.pass_(timedelta(minutes=1))
        self._do(self._world.check())


CANCEL, RESTORE, LATER = Change(cancel=True), Change(restore=True), Change(move_to=datetime(2026, 11, 20, 19))
FAR, BACK = Change(move_to=datetime(2027, 2, 4, 18)), Change(move_to=datetime(2026, 12, 1, 18))
TELL, HUSH = True, False
JOIN, TICK, LEAVE, RETURN, ADD = "join", "tick", "leave", "return", "add"
OVER = timedelta(days=10)
Act = str | timedelta | tuple[Change, bool]
STORIES: dict[str, list[Act]] = {
    "joined while it was cancelled": [(CANCEL, TELL), JOIN, TICK, (RESTORE, TELL)],
    "joined while it was cancelled, and nobody was told": [(CANCEL, HUSH), JOIN, TICK, (RESTORE, HUSH)],
    "joined while it was cancelled, told at a new time": [
        (CANCEL, TELL),
        JOIN,
        TICK,
        (RESTORE, HUSH),
        (LATER, TELL),
    ],
    "returned while it was cancelled": [LEAVE, TICK, (CANCEL, TELL), TICK, RETURN, TICK, (RESTORE, TELL)],
    "away when it was cancelled": [LEAVE, (CANCEL, TELL), TICK, RETURN],
    "away when it was restored": [(CANCEL, TELL), TICK, LEAVE, TICK, (RESTORE, TELL), TICK, RETURN],
    "away while it was cancelled": [LEAVE, (CANCEL, TELL), TICK, (RESTORE, TELL), TICK, RETURN],
    "away while it was cancelled twice": [
        LEAVE,
        (CANCEL, TELL),
        TICK,
        (RESTORE, TELL),
        TICK,
        RETURN,
        TICK,
        (CANCEL, TELL),
        TICK,
        (RESTORE, TELL),
    ],
    "away when it was moved": [LEAVE, TICK, (LATER, TELL), TICK, RETURN],
    "joined and away": [JOIN, LEAVE, TICK, (CANCEL, TELL), TICK, (RESTORE, TELL), JOIN, RETURN],
    "added and cancelled while nothing ran": [ADD, (CANCEL, HUSH), JOIN, TICK, (RESTORE, TELL)],
    "added, and cancelled later": [ADD, TICK, (CANCEL, TELL), JOIN, TICK, (RESTORE, TELL)],
    "added, cancelled before it was invited to, and told each time": [
        ADD,
        (CANCEL, TELL),
        TICK,
        (RESTORE, TELL),
        TICK,
    ],
    "added, cancelled before it was invited to, and restored in one go": [
        ADD,
        (CANCEL, TELL),
        (RESTORE, TELL),
        TICK,
    ],
    "added, cancelled before it was invited to, and told of something else": [
        ADD,
        (CANCEL, TELL),
        TICK,
        (RESTORE, HUSH),
        (Change(topic="Hope"), TELL),
    ],
    "added, cancelled before it was invited to, and joined meanwhile": [
        ADD,
        (CANCEL, TELL),
        TICK,
        JOIN,
        (RESTORE, TELL),
        TICK,
    ],
    "moved, and cancelled before anybody was told": [
        (LATER, TELL),
        (CANCEL, HUSH),
        TICK,
        JOIN,
        TICK,
        (RESTORE, HUSH),
        TICK,
        (Change(topic="Hope"), TELL),
    ],
    "told that it was restored, cancelled in silence, and restored again": [
        (CANCEL, TELL),
        TICK,
        (RESTORE, TELL),
        (CANCEL, HUSH),
        TICK,
        (RESTORE, TELL),
        TICK,
    ],
    "cancelled and restored before anybody was told": [(CANCEL, TELL), JOIN, (RESTORE, TELL)],
    "moved out of sight, past the old start, and back": [
        (FAR, HUSH),
        TICK,
        OVER,
        TICK,
        JOIN,
        TICK,
        (BACK, TELL),
    ],
    "moved once it was over": [OVER, TICK, JOIN, TICK, (BACK, TELL)],
    "cancelled past its start, and held another day": [
        (CANCEL, TELL),
        TICK,
        OVER,
        TICK,
        JOIN,
        TICK,
        (Change(restore=True, move_to=BACK.move_to), TELL),
    ],
}


ON_BOTH_DATABASES = ("away when it was moved", "added, and cancelled later")


@pytest.mark.parametrize(
    "story",
    [
        pytest.param(story, marks=pytest.mark.both_databases if story in ON_BOTH_DATABASES else ())
        for story in STORIES
    ],
)
async def test_each_has_the_meeting_in_their_calendar_as_it_is_after(
    story: str, copy_database: CopyDatabase, tmp_path: Path
) -> None:
    async with open_world(tmp_path, BEGIN, await copy_database(fill)) as world:
        world.continue_from(tmp_path)
        installation = world.installation
        for act in STORIES[story]:
            installation.clock.pass_(timedelta(minutes=1))
            match act:
                case (change, told):
                    await world.change(world.keys[-1], change, told=told)
                case timedelta():
                    installation.clock.pass_(act)
                case "join":
                    await world.join(ZONES[0])
                case "leave" | "return":
                    await world.set_status(world.names[0], "left" if act == LEAVE else "active")
                case "add":
                    await world.add(datetime(2026, 11, 23, 18))
                case _:
                    await installation.tick()
        installation.clock.pass_(timedelta(minutes=1))
        await world.check()


async def test_telling_again_leaves_out_whoever_was_invited_since_the_meeting_was_restored(
    copy_sqlite: CopyDatabase, tmp_path: Path
) -> None:
    async with open_world(tmp_path, BEGIN, await copy_sqlite(fill)) as world:
        world.continue_from(tmp_path)
        installation, (by_feed, by_mail) = world.installation, world.names
        await installation.change(by_feed, invitation_by="feed")
        await world.add(datetime(2026, 11, 23, 18))
        key = world.keys[-1]
        await world.change(key, CANCEL, told=TELL)
        await installation.tick()
        await world.change(key, RESTORE, told=HUSH)
        installation.clock.pass_(timedelta(minutes=1))
        await installation.tick()
        now = installation.clock.now()
        pending = await find_unannounced_change(installation.database, installation.by_slug, key, now=now)
        assert pending.recipients == 1
        await tell_again(installation.database, installation.by_slug, key, now=now, recipients=1)
        await world.check()
        about = [(mail.member, mail.kind) for mail in world.mails if mail.occurrence == key]
        assert [kind for member, kind in about if member == by_mail] == [Kind.CANCELLATION, Kind.INVITATION]
        assert [kind for member, kind in about if member == by_feed] == [Kind.CANCELLATION, Kind.UPDATE]
        with pytest.raises(Refused, match="nothing to tell"):
            await find_unannounced_change(installation.database, installation.by_slug, key, now=now)


async def test_an_update_that_another_one_replaced_is_not_sent_after_a_quiet_cancellation(
    copy_sqlite: CopyDatabase, tmp_path: Path
) -> None:
    async with open_world(tmp_path, BEGIN, await copy_sqlite(fill)) as world:
        world.continue_from(tmp_path)
        for change, told in ((LATER, TELL), (Change(topic="Hope"), TELL), (CANCEL, HUSH), (RESTORE, HUSH)):
            world.installation.clock.pass_(timedelta(minutes=1))
            await world.change(world.keys[-1], change, told=told)
            await world.installation.planner.tick()
        await world.check()
        assert Counter(mail.member for mail in world.mails if mail.kind is Kind.UPDATE) == dict.fromkeys(
            world.names, 1
        )


def _examples(usual: int) -> int:
    return int(os.environ.get("THIRD_THURSDAY_TEST_EXAMPLES", usual))


@pytest.fixture
def meetings(copy_sqlite: CopyDatabase, tmp_path: Path) -> type[Meetings]:
    """The machine on copies of one SQLite database."""

    async def made() -> None:
        await copy_sqlite(fill)

    asyncio.run(made())

    class OnSqlite(Meetings):
        filled = tmp_path

    return OnSqlite


def test_whatever_was_done_everybody_invited_holds_each_meeting_exactly_once_and_as_it_is(
    meetings: type[Meetings],
) -> None:
    run_state_machine_as_test(meetings, settings=settings(max_examples=_examples(5), stateful_step_count=15))


@pytest.mark.proof
def test_whatever_was_done_everybody_invited_holds_each_meeting_exactly_once_proved_at_length(
    meetings: type[Meetings],
) -> None:
    run_state_machine_as_test(
        meetings, settings=settings(max_examples=_examples(200), stateful_step_count=30)
    )


@pytest.mark.proof
def test_whatever_was_done_the_same_holds_on_postgresql(postgres_server: str) -> None:
    class OnPostgres(Meetings):
        url = postgres_server

    run_state_machine_as_test(
        OnPostgres, settings=settings(max_examples=_examples(3), stateful_step_count=12)
    )
