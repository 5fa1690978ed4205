"""Whatever visitors do to the web server, mail is sent. The tests run the real command and hostile clients."""

import asyncio
import os
import resource
import signal
import sys
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.chaos import crowd
from tests.chaos.killing import Relay, join, relay
from tests.postgres import free_loopback_port

pytestmark = pytest.mark.proof

MEMBERS = 3_000
LONGEST_ANSWER = 1.0
LARGEST = 250 * 1024
"""Kilobytes of memory of all processes of `serve`."""

CONFIG = """
[[policies]]
slug = "hour-before"
kind = "reminder"
lead = "1h"
"""


def limit_descriptors() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))


class Service:
    """`serve` with the usual limit of open files, which sends only the notices of the test."""

    def __init__(self, folder: Path, to: Relay) -> None:
        self.folder, self.to, self.port = folder, to, free_loopback_port()
        self.process: asyncio.subprocess.Process | None = None
        self._environment = {
            **os.environ,
            "THIRD_THURSDAY_MAIL__TRANSPORT": f"smtp://127.0.0.1:{to.port}",
            "THIRD_THURSDAY_DATABASE__URL": f"sqlite:///{folder}/t.sqlite",
            "THIRD_THURSDAY_WEB__PORT": str(self.port),
            "PYTHONPATH": str(Path.cwd()),
        }

    async def run(self, *arguments: str, **options: object) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "scheduler",
            "--config",
            "crowds.toml",
            *arguments,
            cwd=self.folder,
            env=self._environment,
            stdout=asyncio.subprocess.DEVNULL,
            **options,  # type: ignore[arg-type]
        )

    async def healthz(self) -> float:
        """Return the seconds until /healthz answered."""

        def ask() -> float:
            began = time.monotonic()
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=10) as answer:
                assert answer.status == 200
            return time.monotonic() - began

        return await asyncio.to_thread(ask)

    def memory(self) -> int:
        """Return the kilobytes of all processes of `serve`; shared memory is counted once."""
        assert self.process
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        total = 0
        for pid in [self.process.pid, *children]:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        return total

    async def send_to_all(self, number: int) -> float:
        """Send a notice to everybody and watch the service meanwhile; return how many mails a second were accepted."""
        (self.folder / "words.md").write_text("Hello.")
        command = await self.run(
            "notice", "send", "--subject", f"Notice {number}", "--body", "words.md", "--yes"
        )
        already, slowest, largest = len(self.to.taken()), 0.0, 0
        assert await command.wait() == 0
        async with asyncio.timeout(120):
            while len(self.to.taken()) < already + MEMBERS:
                slowest = max(slowest, await self.healthz())
                largest = max(largest, self.memory())
                await asyncio.sleep(0.1)
        taken = self.to.taken()[already:]
        assert len({recipient for recipient, _, _ in taken}) == len(taken) == MEMBERS
        times = self.to.times()[already:]
        rate = MEMBERS / (times[-1] - times[0])
        print(f"{rate:.0f} mails a second; /healthz {slowest * 1000:.0f} ms; {largest / 1024:.0f} MB")  # noqa: T201
        assert slowest < LONGEST_ANSWER
        assert largest < LARGEST
        return rate


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    (tmp_path / "crowds.toml").write_text(CONFIG)
    async with relay(tmp_path / "relay.log") as to:
        service = Service(tmp_path, to)
        await join(f"sqlite:///{tmp_path}/t.sqlite", MEMBERS)
        with (tmp_path / "log").open("wb") as log:
            service.process = await service.run("serve", stderr=log, preexec_fn=limit_descriptors)
        async with asyncio.timeout(60):
            while "event=started" not in (tmp_path / "log").read_text():
                await asyncio.sleep(0.1)
        yield service
        output = (tmp_path / "log").read_text()
        service.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            assert await service.process.wait() == 0
        assert "Traceback" not in output, output[-3000:]


@asynccontextmanager
async def hostile_clients(kind: str, count: int, port: int) -> AsyncIterator[None]:
    """Run hostile clients until the end of the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, crowd.__file__, kind, str(count), str(port), stdout=asyncio.subprocess.PIPE
    )
    await asyncio.sleep(3)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        output, _ = await process.communicate()
        print(f"{kind}: {int(output or 0)} answers")  # noqa: T201


@pytest.mark.short
@pytest.mark.parametrize(
    ("kind", "count"),
    [("idle", 1_100), ("trickle", 1_100), ("endless", 8), ("slow", 256), ("flood", 256), ("busy", 256)],
)
async def test_a_crowd_on_the_web_does_not_stop_the_mail(service: Service, kind: str, count: int) -> None:
    """Once, 1,100 partial requests used up all file descriptors, and sending stopped with "Too many open files"."""
    async with hostile_clients(kind, count, service.port):
        await service.send_to_all(1)
    assert await service.healthz() < LONGEST_ANSWER


@pytest.mark.parametrize(("kind", "count"), [("idle", 256), ("slow", 256), ("busy", 256)])
async def test_256_clients_slow_sending_by_less_than_a_third(service: Service, kind: str, count: int) -> None:
    alone = max([await service.send_to_all(number) for number in range(2)])
    async with hostile_clients(kind, count, service.port):
        with_clients = max([await service.send_to_all(number) for number in range(2, 4)])
    assert with_clients > alone * 2 / 3
