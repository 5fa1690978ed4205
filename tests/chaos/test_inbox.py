"""With a real Dovecot and a real Postfix, what comes back has its effect exactly once, whatever is killed or broken."""

import asyncio
import os
import random
import re
import signal
import smtplib
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from urllib.parse import quote

import icalendar
import pytest

from scheduler.bootstrap.wiring import SystemClock
from scheduler.domain.token import Keys, bounce_address
from scheduler.store import answers, members, occurrences, returns
from scheduler.store.database import Database
from scheduler.store.upgrades import open_database
from tests import inbound_mail as returned
from tests.mail_servers import PASSWORD, USER, Dovecot, Postfix, have_dovecot, have_postfix
from tests.postgres import free_loopback_port

pytestmark = [
    pytest.mark.proof,
    pytest.mark.skipif(
        not (have_dovecot() and have_postfix()),
        reason="needs root and Debian's dovecot-imapd, dovecot-lmtpd and postfix",
    ),
]

PATIENCE = 90
KEYS = Keys(bytes.fromhex("5a" * 32))
SEED = int(os.environ.get("THIRD_THURSDAY_TEST_SEED", random.randrange(10**6)))
CONVENORS, ANN, GONE, ZED = "convenors@example.com", "ann@example.org", "gone@example.org", "zed@example.org"

CONFIG = """
[community]
address = "meetings@example.net"
reply_to = "convenors@example.com"

[web]
base_url = "https://meet.example.org"

[inbox]
{inbox}

[[policies]]
slug = "invitation"
kind = "invitation"
lead = "60d"
"""


async def join(database: Database, addresses: Sequence[str]) -> None:
    now = SystemClock().now()
    async with database.write() as connection:
        rows = [
            {
                "address": address,
                "address_key": address,
                "name": address.partition("@")[0].title(),
                "country": "GB",
                "zone": "Europe/London",
                "zone_source": "given",
                "locale": "en-GB",
                "status": "active",
                "role": None,
                "created_at": now,
                "active_since": now,
                "paused_until": None,
                "uninvited_at": None,
            }
            for address in addresses
        ]
        await members.add(connection, rows)


@dataclass
class Service:
    """A folder from which `serve` runs, and its database."""

    folder: Path
    environment: dict[str, str]
    database: Database
    processes: list[asyncio.subprocess.Process] = field(default_factory=list)

    @property
    def log(self) -> Path:
        return self.folder / "log"

    async def start(self) -> asyncio.subprocess.Process:
        # The web process of one that was killed may still have its port for a moment.
        port = {"THIRD_THURSDAY_WEB__PORT": str(free_loopback_port())}
        with self.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "scheduler", "--config", "settings.toml", "serve"),
                cwd=self.folder,
                stderr=log,
                stdout=asyncio.subprocess.DEVNULL,
                env={**os.environ, **self.environment, **port},
            )
        self.processes.append(process)
        return process

    async def stop(self, process: asyncio.subprocess.Process) -> None:
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            assert await process.wait() == 0, self.log.read_text()[-3000:]
        assert "Traceback" not in self.log.read_text()
        assert PASSWORD not in self.log.read_text()

    async def kinds(self) -> Counter[str]:
        """Return how many returns of each kind there are."""
        async with self.database.read() as connection:
            return Counter(item.kind for item in await returns.every(connection))


@asynccontextmanager
async def service(
    folder: Path,
    dovecot: Dovecot,
    relay: int,
    *,
    url: str = "",
    inbox: str = "",
    addresses: Sequence[str] = (ANN, GONE),
) -> AsyncIterator[Service]:
    """Yield a service with these members whose mailbox is that of USER. Its database is `url`, or else SQLite."""
    (folder / "settings.toml").write_text(CONFIG.format(inbox=inbox))
    url = url or f"sqlite:///{folder}/inbox.sqlite"
    environment = {
        "THIRD_THURSDAY_DATABASE__URL": url,
        "THIRD_THURSDAY_MAIL__TRANSPORT": f"smtp://127.0.0.1:{relay}",
        "THIRD_THURSDAY_SECURITY__KEY": "5a" * 32,
        "SSL_CERT_FILE": str(dovecot.folder / "ca.pem"),
        "PYTHONPATH": str(Path.cwd()),
    }
    if "lmtp" not in inbox:
        secret = folder / "imap"
        secret.write_text(
            f"imaps://{quote(USER)}:{quote(PASSWORD, safe='')}@localhost:{dovecot.imaps}/INBOX\n"
        )
        environment["THIRD_THURSDAY_INBOX__IMAP_FILE"] = str(secret)
    database = Database(url)
    await open_database(database, upgrade=True)
    await join(database, addresses)
    running = Service(folder, environment, database)
    try:
        yield running
    finally:
        for process in running.processes:
            if process.returncode is None:
                process.kill()
            await process.wait()
        await database.close()


async def until(condition: Callable[[], Awaitable[bool]], *, patience: float = PATIENCE) -> None:
    async with asyncio.timeout(patience):
        while not await condition():
            await asyncio.sleep(0.1)


def mails(dovecot: Dovecot, user: str) -> list[EmailMessage]:
    """Return the mails in a user's inbox."""
    folder = dovecot.folder / "mail" / user / "Maildir"
    return [
        message_from_bytes(path.read_bytes(), _class=EmailMessage, policy=policy.default)
        for name in ("new", "cur")
        for path in sorted((folder / name).glob("*"))
    ]


async def mailed(dovecot: Dovecot, user: str, count: int) -> list[EmailMessage]:
    """Wait until a user has so many mails, and return them."""

    async def have() -> bool:
        return len(mails(dovecot, user)) >= count

    await until(have)
    return mails(dovecot, user)


def send(port: int, sender: str, recipient: str, message: bytes) -> None:
    with smtplib.SMTP("127.0.0.1", port) as smtp:
        smtp.sendmail(sender, [recipient], message)


@pytest.mark.short
@pytest.mark.parametrize("way", ["plus-addressing", "plain mailbox", "lmtp"])
async def test_what_people_and_mail_systems_send_back_by_postfix_has_its_effect(
    tmp_path: Path, way: str
) -> None:
    lmtp = free_loopback_port()
    inbox = {
        "plus-addressing": "",
        "plain mailbox": "plus_addressing = false",
        "lmtp": f'lmtp = "127.0.0.1:{lmtp}"',
    }[way]
    with Dovecot(users=[USER, CONVENORS, ANN, ZED]) as dovecot:
        delivery = f"lmtp:inet:127.0.0.1:{dovecot.lmtp}"
        ours = f"lmtp:inet:127.0.0.1:{lmtp}" if way == "lmtp" else delivery
        with Postfix({"example.net": ours, "example.com": delivery, "example.org": delivery}) as postfix:
            async with service(tmp_path, dovecot, postfix.port, inbox=inbox) as here:
                process = await here.start()

                async def suppressed() -> bool:
                    async with here.database.read() as connection:
                        return await members.suppressed(connection) == 1

                (invitation,) = await mailed(dovecot, ANN, 1)
                await until(suppressed)
                async with here.database.read() as connection:
                    gone = await members.by_key(connection, GONE)
                assert gone and gone.suppressed_at and "5.1.1" in str(gone.suppressed_for)

                part = next(p for p in invitation.walk() if p.get_content_type() == "text/calendar")
                event = icalendar.Calendar.from_ical(part.get_content()).events[0]
                assert event["ATTENDEE"].params["RSVP"] == "TRUE"
                reply = returned.answer(
                    returned.outlook(
                        str(event["UID"]), ANN, sequence=int(str(event["SEQUENCE"])), stamp="20261128T130000Z"
                    ),
                    sender=ANN,
                    to=str(event["ORGANIZER"]).removeprefix("mailto:"),
                    encoded=True,
                )
                send(postfix.port, ANN, USER, reply)
                send(postfix.port, "", USER, returned.absence(USER, "Auto-Submitted: auto-replied"))
                question = f"From: Zed <{ZED}>\r\nTo: {USER}\r\nSubject: A question\r\n\r\nMay I join?\r\n"
                send(postfix.port, ZED, USER, question.encode())
                (letter,) = await mailed(dovecot, CONVENORS, 1)
                assert letter["Reply-To"] == ZED and "not the address of a member" in letter.as_string()
                assert "May I join?" in letter.as_string()

                async def answered() -> bool:
                    async with here.database.read() as connection:
                        coming = await occurrences.all_occurrences(connection, since=SystemClock().now())
                        counts = [await answers.count_answers(connection, meeting.key) for meeting in coming]
                    return {"coming": 1} in counts

                await until(answered)
                if way != "lmtp":

                    async def filed() -> bool:
                        return dovecot.count("Third Thursday/done") == 3

                    await until(filed)
                    assert dovecot.count("Third Thursday/review") == 1
                    assert dovecot.count("INBOX") == 0
                assert await here.kinds() == Counter({"hard": 1, "review": 1})
                await here.stop(process)
                assert len(mails(dovecot, ANN)) == 1 and len(mails(dovecot, ZED)) == 0


def soft_bounce(member: int, address: str, number: int) -> bytes:
    to = bounce_address(KEYS, member, address, "example.net", mailbox="meetings")
    return returned.postfix(
        to, address, status="4.2.2", said="452 4.2.2 <{}>: mailbox full", identity=f"b{number}.ABC"
    )


def letter_from(number: int) -> bytes:
    return (
        f"From: Writer {number} <w{number}@example.org>\r\nTo: {USER}\r\nSubject: Letter {number}\r\n"
        f"Message-ID: <{number}@mail.example.org>\r\n\r\nHello.\r\n"
    ).encode()


def note(number: int) -> bytes:
    return returned.absence(USER, "Auto-Submitted: auto-replied", f"X-Number: {number}") + b"%d" % number


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty PostgreSQL database; or none, for SQLite in the service's folder."""
    return "" if request.param == "sqlite" else str(request.getfixturevalue("postgres_url"))


async def killed(folder: Path, kills: int, *, url: str = "") -> None:
    """Kill `serve` at so many random moments while mail of all kinds comes in, and check that each had one effect."""
    choice = random.Random(SEED)
    print(f"THIRD_THURSDAY_TEST_SEED={SEED}")  # noqa: T201 - to repeat this run
    with (
        Dovecot(users=[USER, CONVENORS, ANN]) as dovecot,
        Postfix(
            dict.fromkeys(
                ["example.net", "example.com", "example.org"], f"lmtp:inet:127.0.0.1:{dovecot.lmtp}"
            )
        ) as postfix,
    ):
        async with service(folder, dovecot, postfix.port, url=url, addresses=[ANN]) as here:
            async with here.database.read() as connection:
                ann = await members.by_key(connection, ANN)
            assert ann
            number = 0
            for kill in range(kills):
                process = await here.start()
                for _ in range(3):
                    number += 1
                    dovecot.deliver(letter_from(number), soft_bounce(ann.id, ANN, number), note(number))
                    await asyncio.sleep(choice.uniform(0, 0.3))
                logged = here.log.read_text().count("mailbox-read")
                if choice.random() < 0.7:
                    # Most kills come while the mailbox is being read.
                    for _ in range(200):
                        if here.log.read_text().count("message-handled") or logged:
                            break
                        await asyncio.sleep(0.02)
                await asyncio.sleep(choice.uniform(0, 2.5))
                process.kill()
                await process.wait()
                if kill == kills // 3:
                    dovecot.restart()
                if kill == kills // 2 and dovecot.count("Third Thursday/done"):
                    dovecot.doveadm("mailbox", "rename", "-u", USER, "Third Thursday/done", "Put away")
            process = await here.start()

            async def empty() -> bool:
                return dovecot.count("INBOX") == 0

            await until(empty)
            letters = await mailed(dovecot, CONVENORS, number)
            await here.stop(process)
            assert await here.kinds() == Counter({"review": number, "soft": number})
            names = Counter(str(mail["Message-ID"]) for mail in letters)
            repeats = len(letters) - len(names)
            subjects = {re.sub(r"^.*Letter ", "", str(mail["Subject"])) for mail in letters}
            assert subjects == {str(count) for count in range(1, number + 1)}
            assert len(names) == number, "a letter got a second Message-ID"
            assert repeats <= kills, "more repeats than crashes"
            moved = sum(
                dovecot.count(name) for name in ("Third Thursday/done", "Third Thursday/review", "Put away")
            )
            assert moved == number * 3, "a message is lost from the mailbox, or copied"
            print(f"{kills} kills, {number * 3} messages: lost 0, {repeats} letters repeated")  # noqa: T201


@pytest.mark.short
async def test_killed_a_few_times_each_message_has_one_effect(tmp_path: Path) -> None:
    await killed(tmp_path, 4)


async def test_killed_at_fifty_random_moments_each_message_has_one_effect(tmp_path: Path, url: str) -> None:
    await killed(tmp_path, int(os.environ.get("THIRD_THURSDAY_TEST_KILLS", "50")), url=url)


async def test_ten_thousand_messages_at_once_take_little_memory(tmp_path: Path, url: str) -> None:
    count = int(os.environ.get("THIRD_THURSDAY_TEST_MESSAGES", "10000"))
    with Dovecot(users=[USER, CONVENORS, ANN]) as dovecot:
        async with service(tmp_path, dovecot, free_loopback_port(), url=url, addresses=[ANN]) as here:
            async with here.database.read() as connection:
                ann = await members.by_key(connection, ANN)
            assert ann
            messages = []
            for number in range(0, count, 4):
                letter = letter_from(number) + b"x" * (number % 50_000)
                messages += [letter, soft_bounce(ann.id, ANN, number), note(number)]
                messages.append(note(number + 1) + os.urandom(60_000))
            dovecot.deliver(*messages)
            process = await here.start()

            async def empty() -> bool:
                return dovecot.count("INBOX") == 0

            await until(empty, patience=1200)
            status = Path(f"/proc/{process.pid}/status").read_text()
            peak = int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]
            await here.stop(process)
            kinds_kept = await here.kinds()
            print(f"{count} messages: {peak:.0f} MB at most; {dict(kinds_kept)}")  # noqa: T201
            assert kinds_kept == Counter({"review": count // 4, "soft": count // 4})
            assert dovecot.count("Third Thursday/done") == count * 3 // 4
            assert dovecot.count("Third Thursday/review") == count // 4
            assert peak < 200
