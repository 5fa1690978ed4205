"""The real command in a real process, under a faked date, restarted between the due instants."""

import asyncio
import os
import shutil
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest

from tests.delivery.receiver import Receiver, Taken
from tests.domain.oracle import nine_o_clock
from tests.installation import address_of
from tests.service.test_fortnight import KEY, START, by_kind, check, people

pytestmark = pytest.mark.proof

ZONES = {"Europe/London": 3, "Pacific/Auckland": 2, "America/New_York": 2}
COUNT = sum(ZONES.values())
PATIENCE = 40


@pytest.fixture(autouse=True)
def faketime() -> None:
    if not shutil.which("faketime"):
        pytest.skip("needs faketime (Debian's package faketime)")


class Installation:
    """A folder in which the command runs as a user runs it, with a clock that starts at `at`."""

    def __init__(self, folder: Path, relay: int) -> None:
        self._folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        # The library without its wrapper: the wrapper, if it ends with the command, leaves a semaphore for each number
        # of a process, and refuses to start under such a number again.
        self._environment = {
            **os.environ,
            "TZ": "UTC",
            "LD_PRELOAD": "/usr/$LIB/faketime/libfaketime.so.1",
            "THIRD_THURSDAY_WEB__PORT": str(port),
            "THIRD_THURSDAY_MAIL__TRANSPORT": f"smtp://127.0.0.1:{relay}",
            "THIRD_THURSDAY_MAIL__CONNECTIONS": "2",
        }

    async def _start(self, at: datetime, *arguments: str, **options: Any) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "scheduler",
            *arguments,
            cwd=self._folder,
            stdout=asyncio.subprocess.PIPE,
            env={**self._environment, "FAKETIME": f"@{at:%Y-%m-%d %H:%M:%S}"},
            **options,
        )

    async def run(self, at: datetime, *arguments: str) -> str:
        """Run a command, which has to succeed, and return what it printed."""
        process = await self._start(at, *arguments, stderr=asyncio.subprocess.PIPE)
        out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        return out.decode()

    @asynccontextmanager
    async def serving(self, at: datetime) -> AsyncIterator[None]:
        """Run `serve` from `at` on; end it by SIGTERM, as an init system does."""
        process = await self._start(at, "serve")
        assert process.stdout
        async with asyncio.timeout(PATIENCE):
            assert b"Third Thursday is at" in await process.stdout.readline()
        try:
            yield
        finally:
            process.terminate()
            await process.wait()


async def arrived(receiver: Receiver, count: int) -> list[Taken]:
    """Wait until `count` messages have been taken."""
    async with asyncio.timeout(PATIENCE), receiver.arrived:
        await receiver.arrived.wait_for(lambda: len(receiver.taken) >= count)
    return receiver.taken


def read(message: Taken) -> EmailMessage:
    return message_from_bytes(message.content, _class=EmailMessage, policy=policy.default)


HANDFUL = [(f"{zone[-4:]} {n}", zone) for zone, count in ZONES.items() for n in range(count)]


@asynccontextmanager
async def installed(
    folder: Path, members: Sequence[tuple[str, str]] = HANDFUL
) -> AsyncIterator[tuple[Installation, Receiver]]:
    """An installation adopted on 1 November, with a few members or those given by name and zone."""
    async with Receiver() as receiver:
        here = Installation(folder, receiver.port)
        rows = [f"{address_of(name)},{name},{zone}" for name, zone in members]
        (folder / "members.csv").write_text("email,name,time zone\n" + "\n".join(rows) + "\n")
        begin = datetime(2026, 11, 1, 12, tzinfo=UTC)
        await here.run(begin, "members", "import", "members.csv", "--no-invite")
        async with here.serving(begin):
            pass
        yield here, receiver


async def test_a_service_restarted_between_all_due_instants_sends_each_mail_within_a_minute(
    tmp_path: Path,
) -> None:
    dues = [
        (datetime(2026, 11, 5, 9, tzinfo=UTC), 3),
        (datetime(2026, 11, 5, 14, tzinfo=UTC), 2),
        (datetime(2026, 11, 5, 20, tzinfo=UTC), 2),
        (datetime(2026, 11, 18, 9, tzinfo=UTC), 3),
        (datetime(2026, 11, 18, 14, tzinfo=UTC), 2),
        (datetime(2026, 11, 18, 20, tzinfo=UTC), 2),
        (datetime(2026, 11, 19, 17, tzinfo=UTC), COUNT),
    ]
    async with installed(tmp_path) as (here, receiver):
        expected = 0
        for due, count in dues:
            async with here.serving(due - timedelta(seconds=4)):
                taken = await arrived(receiver, expected + count)
            for message in taken[expected:]:
                late = parsedate_to_datetime(str(read(message)["Date"])) - due
                assert timedelta(0) <= late <= timedelta(seconds=60)
            expected += count
        async with here.serving(datetime(2026, 11, 19, 17, 30, tzinfo=UTC)):
            pass
        assert len(receiver.taken) == 3 * COUNT
        assert len({str(read(message)["Message-ID"]) for message in receiver.taken}) == 3 * COUNT


@pytest.mark.short
async def test_a_reminder_comes_late_or_expires_if_the_service_was_stopped_at_its_due_instant(
    tmp_path: Path,
) -> None:
    async with installed(tmp_path) as (here, receiver):
        async with here.serving(datetime(2026, 11, 6, tzinfo=UTC)):
            await arrived(receiver, COUNT)
        async with here.serving(datetime(2026, 11, 19, 10, tzinfo=UTC)):
            await arrived(receiver, 2 * COUNT)
        async with here.serving(datetime(2026, 11, 19, 19, 30, tzinfo=UTC)):
            pass
        listing = await here.run(
            datetime(2026, 11, 19, 19, 31, tzinfo=UTC), "deliveries", "--state", "expired"
        )
        assert f"{COUNT} deliveries" in listing
        assert len(receiver.taken) == 2 * COUNT


async def test_reminders_follow_a_meeting_that_is_moved_by_a_week_after_the_invitation(
    tmp_path: Path,
) -> None:
    async with installed(tmp_path) as (here, receiver):
        async with here.serving(datetime(2026, 11, 6, tzinfo=UTC)):
            await arrived(receiver, COUNT)
        moved = datetime(2026, 11, 10, tzinfo=UTC)
        printed = await here.run(
            moved, "occurrence", "amend", KEY, "--move-to", "2026-11-26 18:00", "--tell", "--yes"
        )
        assert f"tells {COUNT} members" in printed
        async with here.serving(moved + timedelta(minutes=1)):
            await arrived(receiver, 2 * COUNT)
        # Run it just after each old due instant and the old start.
        for old in (datetime(2026, 11, 18, 21, tzinfo=UTC), datetime(2026, 11, 19, 17, 30, tzinfo=UTC)):
            async with here.serving(old):
                pass
        async with here.serving(datetime(2026, 11, 25, 22, tzinfo=UTC)):
            await arrived(receiver, 3 * COUNT)
        async with here.serving(datetime(2026, 11, 26, 16, 59, 56, tzinfo=UTC)):
            await arrived(receiver, 4 * COUNT)
        kinds = by_kind([read(message) for message in receiver.taken])
        assert {kind: len(mails) for kind, mails in kinds.items()} == dict.fromkeys(
            ("invitation", "update", "day-before", "hour-before"), COUNT
        )
        for kind in ("day-before", "hour-before"):
            assert all(
                "26 November" in mail["Subject"] or "27 November" in mail["Subject"] for mail in kinds[kind]
            )


async def test_fourteen_hundred_members_in_every_zone_get_each_mail_once_within_a_minute_of_its_due_instant(
    tmp_path: Path,
) -> None:
    """The service runs only around each due instant, and is restarted in between."""
    everybody = people(1_400)
    zones = Counter(zone for _, zone in everybody)
    dues = Counter({START - timedelta(hours=1): len(everybody)})
    for zone, count in zones.items():
        for days in (14, 1):
            dues[nine_o_clock(zone, START, days)] += count
    async with installed(tmp_path, everybody) as (here, receiver):
        expected = 0
        for due, count in sorted(dues.items()):
            async with here.serving(due - timedelta(seconds=4)):
                taken = await arrived(receiver, expected + count)
            for message in taken[expected:]:
                late = parsedate_to_datetime(str(read(message)["Date"])) - due
                assert timedelta(0) <= late <= timedelta(seconds=60)
            expected += count
        async with here.serving(datetime(2026, 11, 19, 17, 30, tzinfo=UTC)):
            pass
        mails = [read(message) for message in receiver.taken]
        assert len({str(mail["Message-ID"]) for mail in mails}) == len(mails) == 3 * len(everybody)
        kinds = by_kind(mails)
        assert sorted(kinds) == ["day-before", "hour-before", "invitation"]
        for mails_of_kind in kinds.values():
            check(mails_of_kind, len(everybody), START)
