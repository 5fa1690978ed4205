"""Helpers for the tests that kill processes: a relay and senders as real processes, and what happened to each mail."""

import asyncio
import contextlib
import os
import random
import signal
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import text

from scheduler.bootstrap.wiring import SystemClock
from scheduler.store import members
from scheduler.store.database import Database
from scheduler.store.ledger import reports
from scheduler.store.upgrades import open_database
from tests.chaos import receiver

MEMBERS = 1_400
CONNECTIONS = 4
PATIENCE = 90
ZONES = ("Europe/London", "America/New_York", "Asia/Kolkata", "Pacific/Auckland", "Europe/Stockholm")
BY_RELAY = ("data", "dot", "lost", "accepted")

# One policy, whose notice is due from the first tick on.
CONFIG = """
[[policies]]
slug = "invitation"
kind = "invitation"
lead = "60d"
"""


@dataclass
class Relay:
    """The process of the relay; see `receiver`."""

    process: asyncio.subprocess.Process
    port: int
    log: Path

    async def kill_at(self, moment: str, count: int, pid: int) -> None:
        """Let the relay kill a process at a moment of the count-th message from now; return when it has."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(f"{moment} {count} {pid}\n".encode())
        await self.process.stdin.drain()
        assert await self.process.stdout.readline() == b"killed\n"

    def taken(self) -> list[tuple[str, str, str]]:
        """Return recipient, Message-ID and hash of each accepted message, in order."""
        messages = []
        for line in self.log.read_text().splitlines():
            recipient, message_id, digest, _ = line.split()
            messages.append((recipient, message_id, digest))
        return messages

    def times(self, *, after: int = 0) -> list[float]:
        """Return the seconds at which messages were accepted, in order, from byte `after` of the log on."""
        with self.log.open() as log:
            log.seek(after)
            return [float(line.split()[3]) for line in log]


@asynccontextmanager
async def relay(log: Path) -> AsyncIterator[Relay]:
    log.touch()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        receiver.__file__,
        str(log),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout
    try:
        yield Relay(process, int(await process.stdout.readline()), log)
    finally:
        process.kill()
        await process.wait()


async def join(url: str, count: int) -> None:
    """Add `count` members to a database, which is created or upgraded first if necessary."""
    database = Database(url)
    await open_database(database, upgrade=True)
    now = SystemClock().now()
    async with database.write() as connection:
        rows = [
            {
                "address": f"m{number}@example.org",
                "address_key": f"m{number}@example.org",
                "name": f"Member {number}",
                "country": "GB",
                "zone": ZONES[number % len(ZONES)],
                "zone_source": "given",
                "locale": "en-GB",
                "status": "active",
                "role": None,
                "created_at": now,
                "active_since": now,
                "paused_until": None,
                "uninvited_at": None,
            }
            for number in range(count)
        ]
        await members.add(connection, rows)
    await database.close()


@dataclass
class Installation:
    """A folder from which senders run, with one relay and one database."""

    folder: Path
    url: str
    relay: Relay
    choice: random.Random
    connections: int = CONNECTIONS
    rate: float = 0
    kills: Counter[str] = field(default_factory=Counter)
    started: list[asyncio.subprocess.Process] = field(default_factory=list)

    async def __aenter__(self) -> "Installation":
        return self

    async def __aexit__(self, *_: object) -> None:
        """Kill what is still running, so that a failed test leaves no processes behind."""
        for process in self.started:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        (self.folder / "chaos.toml").write_text(CONFIG)

    async def start(self, command: str = "serve") -> asyncio.subprocess.Process:
        """Start a sender and return its process."""
        with socket.socket() as probe, (self.folder / "log").open("wb") as log:
            probe.bind(("127.0.0.1", 0))
            environment = {
                **os.environ,
                "THIRD_THURSDAY_DATABASE__URL": self.url,
                "THIRD_THURSDAY_MAIL__TRANSPORT": f"smtp://127.0.0.1:{self.relay.port}",
                "THIRD_THURSDAY_MAIL__CONNECTIONS": str(self.connections),
                "THIRD_THURSDAY_SECURITY__KEY": "5a" * 32,
                "THIRD_THURSDAY_MAIL__RATE": str(self.rate),
                "THIRD_THURSDAY_WEB__PORT": str(probe.getsockname()[1]),
                "THIRD_THURSDAY_WEB__BASE_URL": "https://meet.example.org",
            }
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "scheduler",
                "--config",
                "chaos.toml",
                command,
                cwd=self.folder,
                stderr=log,
                stdout=asyncio.subprocess.DEVNULL,
                env=environment | {"PYTHONPATH": str(Path.cwd())},
            )
        self.started.append(process)
        (self.folder / "log").rename(self._log(process))
        return process

    async def join(self, count: int = MEMBERS) -> None:
        """Add the members to the database, which may have been left partly created."""
        await join(self.url, count)

    async def states(self) -> dict[str, int]:
        """Return how many deliveries are in each state."""
        database = Database(self.url)
        try:
            async with database.read() as connection:
                return await reports.states(connection)
        finally:
            await database.close()

    async def longest_silence(self) -> float:
        """Return the longest time in seconds since a sender that holds a chunk sent a heartbeat (PostgreSQL)."""
        database = Database(self.url)
        try:
            async with database.read() as connection:
                silence = (
                    "SELECT max(extract(epoch FROM now() - heartbeat)) FROM pgqueuer WHERE status = 'picked'"
                )
                return float(await connection.scalar(text(silence)) or 0)
        finally:
            await database.close()

    async def left(self) -> int:
        """Return how many members still wait for their mail."""
        return MEMBERS - (await self.states()).get("sent", 0)

    async def kill_at_random(
        self,
        process: asyncio.subprocess.Process,
        moments: Sequence[str],
        *,
        left: int = MEMBERS,
        share: int = 1,
    ) -> None:
        """Kill a process at one of `moments` while `left` mails have still to be sent."""
        moment = self.choice.choice(moments)
        if moment in BY_RELAY:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(8):
                    await self.relay.kill_at(
                        moment, self.choice.randint(1, min(left, 120) // share + 1), process.pid
                    )
        elif moment == "start":
            await asyncio.sleep(self.choice.uniform(0, 1.5))
        else:
            await self.logs(process, {"plan": "notice-planned", "send": "started"}[moment])
            await asyncio.sleep(self.choice.uniform(0, 0.3))
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        self.kills[moment] += 1

    async def logs(self, process: asyncio.subprocess.Process, event: str) -> None:
        """Wait until a process has logged an event or has ended, at most ten seconds."""
        for _ in range(200):
            if f"event={event}" in self._log(process).read_text() or process.returncode is not None:
                return
            await asyncio.sleep(0.05)

    def _log(self, process: asyncio.subprocess.Process) -> Path:
        return self.folder / f"log.{process.pid}"

    async def finish(self) -> None:
        """Wait until everything is sent; fail if there is no progress for PATIENCE seconds."""
        left = MEMBERS
        while left:
            async with asyncio.timeout(PATIENCE):
                while (now := await self.left()) == left:
                    await asyncio.sleep(0.2)
            left = now

    async def restarted(self, name: str, process: asyncio.subprocess.Process) -> asyncio.subprocess.Process:
        """Return the process; or start another if it ended because the database was away when it started, as an init
        system does."""
        if process.returncode is None:
            return process
        output = self._log(process).read_text()
        assert "third-thursday: the database" in output and "Traceback" not in output, output[-2000:]
        return await self.start(name)

    async def drain(self, process: asyncio.subprocess.Process) -> None:
        """Stop a process as an init system does, once it has started, and check that it exits with 0."""
        await self.logs(process, "started")
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            assert await process.wait() == 0, self._log(process).read_text()[-2000:]

    def verdict(self, *, open_connections: int) -> int:
        """Check that each member has their mail and that its copies are all the same; return the number of repeats."""
        taken = self.relay.taken()
        lost = {f"m{number}@example.org" for number in range(MEMBERS)} - {
            recipient for recipient, _, _ in taken
        }
        assert not lost, f"lost {len(lost)}: {sorted(lost)[:5]}"
        assert len({(recipient, message_id) for recipient, message_id, _ in taken}) == MEMBERS, (
            "a second Message-ID"
        )
        assert len(set(taken)) == MEMBERS, "a second text"
        repeats = len(taken) - MEMBERS
        assert repeats <= open_connections, f"{repeats} repeats of {dict(self.kills)}"
        return repeats
