"""The real command in a real process, under a faked date, restarted between the due instants."""

import asyncio
import os
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from tests.delivery.receiver import Receiver, Taken

pytestmark = [pytest.mark.proof, pytest.mark.short]

ZONES = {"Europe/London": 3, "Pacific/Auckland": 2, "America/New_York": 2}
COUNT = sum(ZONES.values())
PATIENCE = 40


@pytest.fixture
def faketime() -> str:
    found = shutil.which("faketime")
    if not found:
        pytest.skip("needs faketime (Debian's package faketime)")
    return found


class Installation:
    """A folder in which the command runs as a person would run it, with the clock that `at` names."""

    def __init__(self, faketime: str, folder: Path, relay: int) -> None:
        self._faketime, self._folder = faketime, folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self._environment = {
            **os.environ, "TZ": "UTC", "THIRD_THURSDAY_WEB__PORT": str(port),
            "THIRD_THURSDAY_MAIL__TRANSPORT": f"smtp://127.0.0.1:{relay}", "THIRD_THURSDAY_MAIL__CONNECTIONS": "2",
        }  # fmt: skip

    def _command(self, at: datetime, arguments: Sequence[str]) -> list[str]:
        return [
            self._faketime,
            "-f",
            f"@{at:%Y-%m-%d %H:%M:%S}",
            sys.executable,
            "-m",
            "scheduler",
            *arguments,
        ]

    async def run(self, at: datetime, *arguments: str) -> str:
        """What a command printed; it has to succeed."""
        process = await asyncio.create_subprocess_exec(
            *self._command(at, arguments), cwd=self._folder, env=self._environment,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        return out.decode()

    @asynccontextmanager
    async def serving(self, at: datetime) -> AsyncIterator[None]:
        """`serve` from `at` on; ended by SIGTERM, as an init system does."""
        process = await asyncio.create_subprocess_exec(
            *self._command(at, ["serve"]), cwd=self._folder, env=self._environment,
            stdout=asyncio.subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        assert process.stdout
        async with asyncio.timeout(PATIENCE):
            assert b"Third Thursday is at" in await process.stdout.readline()
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            await process.wait()


async def arrived(receiver: Receiver, count: int) -> list[Taken]:
    """Wait until `count` messages have been taken."""
    async with asyncio.timeout(PATIENCE), receiver.arrived:
        await receiver.arrived.wait_for(lambda: len(receiver.taken) >= count)
    return receiver.taken


def read(one: Taken) -> EmailMessage:
    return message_from_bytes(one.content, _class=EmailMessage, policy=policy.default)


@asynccontextmanager
async def installed(faketime: str, folder: Path) -> AsyncIterator[tuple[Installation, Receiver]]:
    """Adopted on the first of November with a handful of members."""
    async with Receiver() as receiver:
        here = Installation(faketime, folder, receiver.port)
        rows = [
            f"m{zone[-4:].lower()}{n}@example.org,{zone}"
            for zone, count in ZONES.items()
            for n in range(count)
        ]
        (folder / "members.csv").write_text("email,time zone\n" + "\n".join(rows) + "\n")
        begin = datetime(2026, 11, 1, 12, tzinfo=UTC)
        await here.run(begin, "members", "import", "members.csv", "--no-invite")
        async with here.serving(begin):
            pass
        yield here, receiver


async def test_restarted_between_every_due_instant_each_member_gets_each_mail_within_a_minute(
    faketime: str, tmp_path: Path
) -> None:
    dues = [
        (datetime(2026, 11, 5, 9, tzinfo=UTC), 3), (datetime(2026, 11, 5, 14, tzinfo=UTC), 2),
        (datetime(2026, 11, 5, 20, tzinfo=UTC), 2), (datetime(2026, 11, 18, 9, tzinfo=UTC), 3),
        (datetime(2026, 11, 18, 14, tzinfo=UTC), 2), (datetime(2026, 11, 18, 20, tzinfo=UTC), 2),
        (datetime(2026, 11, 19, 17, tzinfo=UTC), COUNT),
    ]  # fmt: skip
    async with installed(faketime, tmp_path) as (here, receiver):
        expected = 0
        for due, count in dues:
            async with here.serving(due - timedelta(seconds=4)):
                taken = await arrived(receiver, expected + count)
            for one in taken[expected:]:
                late = parsedate_to_datetime(str(read(one)["Date"])) - due
                assert timedelta(0) <= late <= timedelta(seconds=60)
            expected += count
        async with here.serving(datetime(2026, 11, 19, 17, 30, tzinfo=UTC)):
            pass
        assert len(receiver.taken) == 3 * COUNT
        assert len({str(read(one)["Message-ID"]) for one in receiver.taken}) == 3 * COUNT


async def test_stopped_over_the_due_instant_the_reminder_comes_late_or_expires(
    faketime: str, tmp_path: Path
) -> None:
    async with installed(faketime, tmp_path) as (here, receiver):
        async with here.serving(datetime(2026, 11, 6, tzinfo=UTC)):
            await arrived(receiver, COUNT)
        async with here.serving(datetime(2026, 11, 19, 10, tzinfo=UTC)):
            await arrived(receiver, 2 * COUNT)
        async with here.serving(datetime(2026, 11, 19, 19, 30, tzinfo=UTC)):
            pass
        found = await here.run(datetime(2026, 11, 19, 19, 31, tzinfo=UTC), "deliveries", "--state", "expired")
        assert f"{COUNT} deliveries" in found
        assert len(receiver.taken) == 2 * COUNT
