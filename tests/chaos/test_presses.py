"""Processes are killed while a button of the console is pressed: whoever presses it again mails nobody twice."""

import asyncio
import contextlib
import os
import re
import secrets
import signal
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from hashlib import sha256
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx
import pytest
from sqlalchemy import update

from scheduler.bootstrap.settings import load_settings
from scheduler.service.occurrences import Change, add_extra, amend
from scheduler.store import audit, join_requests, members, notices, sessions
from scheduler.store.database import Database
from scheduler.store.ledger import reports
from scheduler.store.schema import policies as adopted_policies
from tests.chaos.faults import PATIENCE, Installation, Relay, held, installed, stuck, until
from tests.chaos.killing import CONNECTIONS, ZONES

pytestmark = pytest.mark.proof

MEMBERS = 10
REFUSED = "m7@example.org"
SERIES = load_settings(None, {}).series[0]
LEAD = timedelta(days=60)
"""How long before a meeting its invitation is due, as tests.chaos.killing configures it."""
ENDLESS, FOR_A_WHILE = 10**15, 4 * 10**6
VICTIMS = ("the web process", "serve", "both")
IS_FIRST = (
    "new.notice IN (SELECT max(id) FROM notices) "
    "AND NOT EXISTS (SELECT 1 FROM deliveries WHERE notice = new.notice AND zone = new.zone)"
)
ANSWERED = "the answer is lost"
ONLY_THE_MARK = "the mark of the draft is missing"
RECORDING = "the act is not recorded"

PUBLISHING = {
    "nothing is stored": "INSERT ON notices WHEN new.frozen",
    "the notice is stored": f"INSERT ON deliveries WHEN {IS_FIRST} AND new.zone = '{min(ZONES)}'",
    "some deliveries are stored": f"INSERT ON deliveries WHEN {IS_FIRST} AND new.zone = '{max(ZONES)}'",
    "all deliveries are stored": "UPDATE OF ready ON notices WHEN new.ready",
    ANSWERED: "",
}
STOPPING = {
    "nothing is stored": "UPDATE OF stopped_at ON notices WHEN new.stopped_at IS NOT NULL",
    "some deliveries are withdrawn": (
        f"UPDATE OF state ON deliveries WHEN new.reason = 'stopped' AND new.zone = '{max(ZONES)}'"
    ),
    ANSWERED: "",
}
MOMENTS = {
    "send": {**PUBLISHING, ONLY_THE_MARK: "UPDATE OF notice ON drafts"},
    "tell": PUBLISHING,
    "resend": {
        "nothing is stored": "UPDATE OF stopped_at ON notices",
        "some are queued": "UPDATE OF state ON deliveries WHEN old.state = 'failed' AND new.state = 'queued'",
        ANSWERED: "",
    },
    "accept": {
        "nothing is stored": "UPDATE OF state ON requests WHEN new.state = 'accepted'",
        "the member is admitted": "INSERT ON notices WHEN new.kind = 'welcome'",
        ANSWERED: "",
    },
    "cancel": STOPPING,
    "stop": STOPPING,
    "hold": {
        "nothing is stored": "UPDATE OF held_at ON notices WHEN new.held_at IS NOT NULL",
        RECORDING: "INSERT ON audit_entries WHEN new.act = 'notice-held'",
        ANSWERED: "",
    },
    "release": {
        "nothing is stored": "UPDATE OF held_at ON notices WHEN new.held_at IS NULL",
        RECORDING: "INSERT ON audit_entries WHEN new.act = 'notice-released'",
        ANSWERED: "",
    },
    "drop": {
        "some deliveries are withdrawn": (
            f"UPDATE OF state ON deliveries WHEN new.reason = 'dropped' AND new.zone = '{max(ZONES)}'"
        ),
        RECORDING: "INSERT ON audit_entries WHEN new.act = 'notice-dropped'",
        ANSWERED: "",
    },
}
"""By act, the statement before which the processes are killed."""

HOLDS = {"hold": "notice-held", "release": "notice-released", "drop": "notice-dropped"}
"""What the audit log calls the acts on what a policy sends."""


class PressRelay(Relay):
    """Accepts mail except for the addresses in `refused`."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: set[str] = set()

    async def _act(self, step: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
        if step == "RCPT" and any(f"<{address}>" in self.lines[-1] for address in self.refused):
            self._push(step, "550 5.1.1 there is no such user")
        return await super()._act(step, reader, writer)

    def copies(self, word: str) -> Counter[tuple[str, str]]:
        """Return how many copies of each mail with a word were accepted, by recipient and Message-ID."""
        return Counter(
            (to, message_id)
            for (to, message_id), taken in zip(self.messages(), self.taken, strict=True)
            if word in _words(taken.content)
        )


def _words(content: bytes) -> str:
    mail = message_from_bytes(content, policy=policy.default)
    body = mail.get_body(("plain",))
    assert body
    return f"{mail['Subject']}\n{body.get_content()}"


@dataclass
class Press:
    """A button that is about to be pressed: its page and form, and who shall have one mail with the word. Those in
    `perhaps` may have one: a mail to them was being sent when `serve` was killed, and then its notice was stopped."""

    path: str
    form: dict[str, str]
    word: str
    readers: set[str]
    perhaps: set[str] = field(default_factory=set)
    meeting: str = ""


@dataclass
class Convenor:
    """The first member, signed in, at the console of an installation whose processes are killed."""

    installation: Installation
    relay: PressRelay
    presses: int = 0
    secret: str = field(default_factory=lambda: secrets.token_urlsafe(32))

    async def sign_in(self) -> None:
        now = datetime.now(UTC)
        async with self._database() as database, database.write() as connection:
            await members.change(connection, 1, role="convenor")
            await sessions.add(
                connection,
                member=1,
                generation=0,
                secret_hash=sha256(self.secret.encode()).hexdigest(),
                sign_in_hash="chaos",
                browser="chaos",
                now=now,
            )

    async def get(self, path: str) -> str:
        return (await self._ask("GET", path)).text

    async def post(self, path: str, form: dict[str, str]) -> httpx.Response:
        return await self._ask("POST", path, form)

    async def _ask(self, method: str, path: str, form: dict[str, str] | None = None) -> httpx.Response:
        url = f"http://127.0.0.1:{self.installation.port}"
        async with httpx.AsyncClient(base_url=url, timeout=PATIENCE) as browser:
            cookie = {"Cookie": f"__Host-session={self.secret}"}
            return await browser.request(method, path, data=form, headers=cookie)

    async def form(self, path: str, **values: str) -> dict[str, str]:
        """The hidden fields of a page as it is now, and the values."""
        page = await self.get(path)
        return {**dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page)), **values}

    async def write(self, word: str, **values: str) -> str:
        """Save a notice and return the path of its draft."""
        typed = {"subject": word, "body": "Bring tea.", "who": "all", "except": "", "when": "now", **values}
        saved = await self.post("/convenor/notices/write", typed)
        assert saved.status_code == 303, saved.text
        return saved.headers["location"].partition("?")[0]

    async def publish(self, word: str, **values: str) -> str:
        """Send a notice and return the path of its progress."""
        path = await self.write(word, **values)
        sent = await self.post(path, await self.form(path, act="send"))
        assert sent.status_code == 303, sent.text
        return sent.headers["location"]

    async def prepare(self, act: str) -> Press:
        """Do what comes before a press of the button of this name."""
        self.presses += 1
        word = f"press-{act}-{self.presses}-x"
        everybody = await self._members()
        match act:
            case "send":
                path = await self.write(word)
                return Press(path, await self.form(path, act="send"), word, everybody)
            case "tell":
                path = await self._next_meeting()
                saved = await self.post(path, await self.form(path, topic=f"Tea {self.presses}", act="save"))
                assert saved.status_code == 303, saved.text
                form = await self.form(f"{path}/tell", message=word)
                return Press(f"{path}/tell", form, word, everybody)
            case "resend":
                self.relay.refused = {REFUSED}
                path = await self.publish(word)
                await self.settled(path, failed=1)
                self.relay.refused = set()
                return Press(path, await self.form(path, act="resend"), word, everybody)
            case "accept":
                number, address = await self._request()
                return Press(f"/convenor/desk/{number}", {"act": "accept", "message": word}, word, {address})
            case "cancel":
                tomorrow = f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%d}"
                path = await self.publish(word, when="instant", date=tomorrow, time="12:00")
                return Press(path, await self.form(path, act="stop"), word, set())
            case "stop":
                path = await self.publish(word)
                await until(lambda: self.relay.copies(word))
                return Press(path, await self.form(path, act="stop"), word, set())
            case "hold":
                number, meeting = await self._planned(word)
                return Press(f"/convenor/planned/{number}", {"act": act}, word, set(), meeting=meeting)
            case "release" | "drop":
                number, meeting = await self._planned(word)
                held = await self.post(f"/convenor/planned/{number}", {"act": "hold"})
                assert held.status_code == 303, held.text
                await self.make_due(number, meeting)
                readers = everybody if act == "release" else set()
                return Press(f"/convenor/planned/{number}", {"act": act}, word, readers, meeting=meeting)
        raise AssertionError(act)

    async def _planned(self, word: str) -> tuple[int, str]:
        """Add a meeting with this word as its topic, and return the number of its planned invitation, and its key."""
        now = datetime.now(UTC)
        wall = (now + LEAD + timedelta(hours=1, minutes=self.presses)).astimezone(ZoneInfo(SERIES.zone))
        async with self._database() as database, asyncio.timeout(PATIENCE):
            extra = await add_extra(
                database, SERIES, wall.replace(second=0, microsecond=0, tzinfo=None), now=now
            )
            await amend(database, {SERIES.slug: SERIES}, extra.key, Change(topic=word), now=now)
            while True:
                async with database.read() as connection:
                    if about := await notices.about(connection, extra.key):
                        return about[0].id, extra.key
                await asyncio.sleep(0.05)

    async def make_due(self, number: int, meeting: str) -> None:
        """Move a meeting so that its invitation is due, and wait for the deliveries of this notice."""
        now = datetime.now(UTC)
        async with self._database() as database, asyncio.timeout(PATIENCE):
            wall = (now + LEAD - timedelta(hours=1, minutes=self.presses)).astimezone(ZoneInfo(SERIES.zone))
            earlier = Change(move_to=wall.replace(second=0, microsecond=0, tzinfo=None))
            await amend(database, {SERIES.slug: SERIES}, meeting, earlier, now=now)
            while True:
                async with database.read() as connection:
                    if await reports.states(connection, number) == {"queued": MEMBERS}:
                        return
                await asyncio.sleep(0.05)

    async def recorded(self, act: str, meeting: str) -> int:
        """How often the audit log has an act on a notice about a meeting."""
        async with self._database() as database, database.read() as connection:
            return len(await audit.entries(connection, act=HOLDS[act], subject=meeting))

    async def age_policies(self) -> None:
        """Let the policies have been adopted yesterday, so that what is due since then is sent."""
        async with self._database() as database, database.write() as connection:
            await connection.execute(
                update(adopted_policies).values(adopted_at=datetime.now(UTC) - timedelta(days=1))
            )

    async def read(self, press: Press) -> None:
        """Wait until all who shall have the mail of a press have it."""
        await until(lambda: {to for to, _ in self.relay.copies(press.word)} >= press.readers)

    async def others_arrive(self) -> None:
        """Wait until mail of another notice has arrived, which was queued after whatever is on hold."""
        word = f"others-{self.presses}-x"
        await self.publish(word)
        await until(lambda: len(self.relay.copies(word)) == MEMBERS)

    async def _next_meeting(self) -> str:
        match = re.search(r'href="(/convenor/meetings/[\w-]+/[\d-]+)"', await self.get("/convenor/"))
        assert match
        return match[1]

    async def _request(self) -> tuple[int, str]:
        """A confirmed request to join."""
        now, address = datetime.now(UTC), f"new{self.presses}@example.org"
        person = {"name": "Noor", "country": "GB", "zone": "Europe/London", "locale": "en-GB"}
        row = {
            **person,
            "address": address,
            "address_key": address,
            "zone_source": "given",
            "status": "pending",
            "role": None,
            "created_at": now,
            "active_since": None,
            "paused_until": None,
            "uninvited_at": None,
        }
        async with self._database() as database, database.write() as connection:
            await members.add(connection, [row])
            member = await members.by_key(connection, address)
            assert member
            await join_requests.add(connection, member.id, now, **person, words="", follows=None)
            request = await join_requests.latest_of(connection, member.id)
            assert request
            await join_requests.confirm(connection, request.id, now)
        return request.id, address

    async def _members(self) -> set[str]:
        async with self._database() as database, database.read() as connection:
            return {member.address async for member in members.every(connection) if member.status == "active"}

    async def settled(self, path: str, **states: int) -> None:
        """Wait until the notice at a path has these numbers of deliveries, and none that waits."""
        number = int(path.rpartition("/")[2])
        async with self._database() as database, asyncio.timeout(PATIENCE):
            while True:
                async with database.read() as connection:
                    now = await reports.states(connection, number)
                if not {"queued", "sending"} & set(now) and states.items() <= now.items():
                    return
                await asyncio.sleep(0.05)

    async def stopped(self, press: Press) -> None:
        """Wait until a stopped notice has no delivery that waits, and note to whom it was sent."""
        await self.settled(press.path)
        number = int(press.path.rpartition("/")[2])
        async with self._database() as database, database.read() as connection:
            async for row in reports.reports(connection, notice=number, state="sent"):
                (press.perhaps if row.reason == "uncertain" else press.readers).add(row.address)

    @contextlib.asynccontextmanager
    async def _database(self) -> AsyncIterator[Database]:
        database = Database(self.installation.url)
        try:
            yield database
        finally:
            await database.close()

    async def press_and_kill(self, press: Press, *, before: str, victim: str) -> None:
        """Press the button, and kill a process before it executes a statement; with none, after its answer. Return when
        the service runs again."""
        if not before:
            assert (await self.post(press.path, press.form)).status_code == 303
            await self.kill(victim)
        else:
            # A web process whose `serve` was killed may first do what it is doing.
            rows = FOR_A_WHILE if victim == "serve" else ENDLESS
            with stuck(self.installation.database, before, rows=rows):
                pressing = asyncio.create_task(self.post(press.path, press.form))
                await held(self.installation.database)
                assert not pressing.done(), "the statement is not part of this press"
                await self.kill(victim)
                with contextlib.suppress(httpx.TransportError):
                    await pressing
        if self.installation.serve is None:
            await self.installation.start()

    async def kill(self, victim: str) -> None:
        """Kill a process, and wait until the web process has ended, too."""
        serve = self.installation.serve
        assert serve
        web = [int(pid) for pid in Path(f"/proc/{serve.pid}/task/{serve.pid}/children").read_text().split()]
        if victim != "the web process":
            await self.installation.kill()
            self.installation.serve = None
        if victim != "serve":
            for pid in web:
                os.kill(pid, signal.SIGKILL)
        await until(lambda: not any(is_running(pid) for pid in web))


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@contextlib.asynccontextmanager
async def at_the_console(folder: Path, *, rate: int = 0) -> AsyncIterator[Convenor]:
    """A convenor of an installation that has sent its invitations."""
    async with (
        PressRelay() as relay,
        installed(
            folder,
            f"smtp://127.0.0.1:{relay.port}",
            THIRD_THURSDAY_CONVENORS__HOLD_MINUTES="0",
            THIRD_THURSDAY_CONVENORS__PREFLIGHT="",
            THIRD_THURSDAY_MAIL__RATE=str(rate),
        ) as installation,
    ):
        await installation.join(MEMBERS)
        convenor = Convenor(installation, relay)
        await convenor.sign_in()
        await installation.start()
        await installation.all_sent(MEMBERS)
        await convenor.age_policies()
        yield convenor


async def survive(convenor: Convenor, act: str, moment: str, victim: str) -> Press:
    """Kill a process at a moment of a press; press again as somebody who reloads the page, twice; return the press."""
    relay, press = convenor.relay, await convenor.prepare(act)
    had = {to for to, _ in relay.copies(press.word)}
    await convenor.press_and_kill(press, before=MOMENTS[act][moment], victim=victim)
    # If only `serve` is killed, the web process may still do what it is doing.
    may_be_done = moment == ANSWERED or victim == "serve"
    if act in ("send", "tell") and moment != ONLY_THE_MARK and not may_be_done:
        assert not relay.copies(press.word), "nothing is sent before all deliveries are stored"
    answers = [await convenor.post(press.path, press.form) for _ in range(2)]
    assert all(answer.status_code in (303, 409, 422) for answer in answers)
    assert answers[0].status_code == 303 or may_be_done, (moment, victim)
    if act == "cancel":
        assert f"0 have it, {MEMBERS} will not get it" in await convenor.get(press.path)
    if act == "stop":
        await convenor.stopped(press)
    if act in HOLDS:
        await kept(convenor, act, press)
    await until(lambda: {to for to, _ in relay.copies(press.word)} >= press.readers | had)
    return press


async def kept(convenor: Convenor, act: str, press: Press) -> None:
    """Check that an act on a planned notice is recorded once, and holds when the notice is due."""
    number = int(press.path.rpartition("/")[2])
    assert await convenor.recorded(act, press.meeting) == 1
    if act == "hold":
        assert "On hold since" in await convenor.get(press.path)
        await convenor.make_due(number, press.meeting)
    if act == "drop":
        await convenor.settled(press.path, withdrawn=MEMBERS)
    if act != "release":
        await convenor.others_arrive()


def verdict(relay: PressRelay, presses: list[Press], *, repeats: int) -> None:
    """Check that each reader has one mail of each press and nobody else has any. At most `repeats` came again, with the
    same Message-ID: `serve` was killed while it sent them."""
    copies = {press.word: relay.copies(press.word) for press in presses}
    for press in presses:
        readers = [to for to, _ in copies[press.word]]
        assert len(readers) == len(set(readers)), "a second mail"
        assert press.readers <= set(readers) <= press.readers | press.perhaps, press.word
    assert sum(count - 1 for counts in copies.values() for count in counts.values()) <= repeats, copies


@pytest.mark.parametrize("act", MOMENTS)
async def test_a_press_that_was_killed_and_is_repeated_mails_each_member_once(
    tmp_path: Path, act: str
) -> None:
    # At this rate a notice can be stopped midway.
    async with at_the_console(tmp_path, rate=1 if act == "stop" else 0) as convenor:
        presses, killed_sending = list[Press](), 0
        for number, moment in enumerate(MOMENTS[act], list(MOMENTS).index(act)):
            victim = VICTIMS[number % len(VICTIMS)]
            presses.append(await survive(convenor, act, moment, victim))
            killed_sending += victim != VICTIMS[0] and (act == "stop" or moment in (ANSWERED, ONLY_THE_MARK))
        await convenor.installation.drain()
        verdict(convenor.relay, presses, repeats=CONNECTIONS * killed_sending)


@pytest.mark.short
async def test_a_notice_whose_press_was_killed_in_the_midst_or_at_the_end_is_sent_once(
    tmp_path: Path,
) -> None:
    async with at_the_console(tmp_path) as convenor:
        moments = ("some deliveries are stored", ONLY_THE_MARK)
        presses = [await survive(convenor, "send", moment, "both") for moment in moments]
        await convenor.installation.drain()
        verdict(convenor.relay, presses, repeats=CONNECTIONS)


async def test_the_web_process_of_a_killed_serve_ends_in_the_middle_of_an_endless_statement(
    tmp_path: Path,
) -> None:
    async with at_the_console(tmp_path) as convenor:
        press, installation = await convenor.prepare("send"), convenor.installation
        with stuck(installation.database, MOMENTS["send"]["nothing is stored"], rows=ENDLESS):
            pressing = asyncio.create_task(convenor.post(press.path, press.form))
            await held(installation.database)
            await convenor.kill("serve")
            with contextlib.suppress(httpx.TransportError):
                assert (await pressing).status_code == 500


@pytest.mark.parametrize("act", HOLDS)
async def test_a_command_that_was_killed_and_is_repeated_holds_releases_or_drops_once(
    tmp_path: Path, act: str
) -> None:
    async with at_the_console(tmp_path) as convenor:
        presses, installation = list[Press](), convenor.installation
        for moment, statement in MOMENTS[act].items():
            press = await convenor.prepare(act)
            presses.append(press)
            command = ("notice", act, press.path.rpartition("/")[2], *(["--yes"] if act == "release" else []))
            if moment != ANSWERED:
                with stuck(installation.database, statement, rows=ENDLESS):
                    process = await installation.begin(*command)
                    await held(installation.database)
                    process.kill()
                    await process.wait()
                assert await convenor.recorded(act, press.meeting) == 0
            assert (await installation.command(*command))[0] == 0
            again, _, _ = await installation.command(*command)
            assert again == (0 if act == "hold" else 1)
            await kept(convenor, act, press)
            await convenor.read(press)
        await installation.drain()
        verdict(convenor.relay, presses, repeats=0)
