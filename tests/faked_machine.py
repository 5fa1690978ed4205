"""A machine whose clock tests move on: the real commands run there, under Debian's faketime."""

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Self
from urllib.request import urlopen

from scheduler.store import service_state
from scheduler.store.database import Database
from scheduler.store.ledger import reports
from tests.postgres import free_loopback_port

PATIENCE = 60
_FAKETIME = "/usr/$LIB/faketime/libfaketime.so.1"
"""The library without its wrapper, which leaves semaphores behind."""
BY_POLICIES = ("invitation", "reminder")
"""The kinds of mail that the policies of a new installation send."""


class Machine:
    """A folder in which the commands run. All clocks move alike, as if the machine had been suspended."""

    def __init__(self, folder: Path, now: datetime, *, url: str = "", environment: Mapping[str, str]) -> None:
        """`url` is that of the database, or else it is a file in the folder."""
        self.folder, self.log, self.port = folder, folder / "log", free_loopback_port()
        url = url or f"sqlite:///{folder}/choir.sqlite"
        self._clock = folder / "clock"
        self._environment = {
            **os.environ,
            "TZ": "UTC",
            "LD_PRELOAD": _FAKETIME,
            "FAKETIME_TIMESTAMP_FILE": str(self._clock),
            # Two threads that read the file at once disturb each other, so each process reads it once a second.
            "FAKETIME_CACHE_DURATION": "1",
            "THIRD_THURSDAY_CONFIG": "my.toml",
            "THIRD_THURSDAY_DATABASE__URL": url,
            "THIRD_THURSDAY_WEB__PORT": str(self.port),
            **environment,
        }
        self._database = Database(url)
        self._started: list[asyncio.subprocess.Process] = []
        self.set_clock(now)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Kill what is still running, so that a failed test leaves no processes behind."""
        for process in self._started:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        await self._database.close()

    @property
    def now(self) -> datetime:
        return datetime.now(UTC) + self._ahead

    def set_clock(self, at: datetime) -> None:
        self._ahead = at - datetime.now(UTC)
        new = self._clock.with_suffix(".new")
        new.write_text(f"{self._ahead.total_seconds():+.3f}\n")
        new.rename(self._clock)

    def run(self, *command: str | Path) -> str:
        """Run a program, which has to succeed, and return what it printed."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def command(self, *arguments: str) -> str:
        """Run one of our commands, and return what it printed."""
        return self.run(sys.executable, "-m", "scheduler", *arguments)

    async def serve(self) -> asyncio.subprocess.Process:
        """Start `serve`, and return its process once its pages answer."""
        with self.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "scheduler", "serve"),
                cwd=self.folder,
                env=self._environment,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )
        self._started.append(process)
        assert process.stdout
        async with asyncio.timeout(PATIENCE):
            assert b"Third Thursday is at" in await process.stdout.readline(), self.log.read_text()
        return process

    async def pass_until(self, at: datetime) -> None:
        """Move the clock to `at`, and wait until the service has ticked and, unless it is held, sent what is due."""
        self.set_clock(at)
        async with asyncio.timeout(PATIENCE):
            while await self._last_tick() < at or await self._is_sending():
                await asyncio.sleep(0.05)

    async def _last_tick(self) -> datetime:
        async with self._database.read() as connection:
            last = await service_state.read_instant(connection, service_state.LAST_TICK)
        return last or datetime.min.replace(tzinfo=UTC)

    async def _is_sending(self) -> bool:
        async with self._database.read() as connection:
            if await service_state.read(connection, service_state.PAUSE):
                return False
        now = self.now
        return any(row.due <= now and row.state in ("queued", "sending") for row in await self.mails())

    async def mails(self) -> list[reports.Report]:
        """Return all deliveries."""
        async with self._database.read() as connection:
            return [row async for row in reports.reports(connection)]

    async def sent(self, kinds: Collection[str], count: int) -> None:
        """Wait until this many mails of these kinds have been sent."""
        async with asyncio.timeout(PATIENCE):
            while sum(row.kind in kinds and row.state == "sent" for row in await self.mails()) < count:
                await asyncio.sleep(0.05)

    def fetch(self, path: str) -> int:
        """Get a page, and return the status of the answer."""
        with urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=PATIENCE) as answer:
            answer.read()
            return int(answer.status)


async def end(process: asyncio.subprocess.Process) -> None:
    """End `serve` as an init system does."""
    process.terminate()
    async with asyncio.timeout(PATIENCE):
        assert await process.wait() == 0
