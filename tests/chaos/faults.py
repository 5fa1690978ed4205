"""Helpers for the tests of faults: a real `serve`, a relay that calls a function at a given message, a small disk."""

import asyncio
import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from pathlib import Path

import httpx
import pytest

from scheduler.store.database import Database
from scheduler.store.ledger import reports
from tests.chaos.killing import CONFIG, CONNECTIONS, join
from tests.conftest import FORBIDDEN
from tests.delivery.receiver import Receiver
from tests.postgres import free_loopback_port

PATIENCE = 40
LOCK_SECONDS = 1
"""For how long the tests' `serve` waits for a database lock; the default is 30 seconds."""


class Relay(Receiver):
    """Accepts all mail. Before it replies to the final dot of message number `at`, it awaits `then`."""

    def __init__(self, *, at: int = 0, then: Callable[[], Awaitable[None]] | None = None) -> None:
        super().__init__(extensions=["PIPELINING", "8BITMIME"])
        self.at, self.then, self.dots = at, then, 0

    async def _act(self, step: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
        if step == "DOT":
            self.dots += 1
            if self.dots == self.at and self.then:
                await self.then()
        return await super()._act(step, reader, writer)

    def messages(self) -> list[tuple[str, str]]:
        """Return recipient and Message-ID of each accepted message, in order."""
        return [
            (
                message.rcpts[0].partition("<")[2].partition(">")[0],
                message_from_bytes(message.content)["Message-ID"],
            )
            for message in self.taken
        ]

    def verdict(self, members: int, *, repeats: int = 0) -> None:
        """Check that each member has their mail, and at most `repeats` came again, with the same Message-ID."""
        messages = self.messages()
        assert {to for to, _ in messages} == {f"m{number}@example.org" for number in range(members)}
        assert len(set(messages)) == members, "a second Message-ID"
        assert len(messages) <= members + repeats, Counter(messages).most_common(repeats + 1)


@dataclass
class Installation:
    """A folder from which one `serve` runs, with a relay on loopback; its database may be elsewhere.

    `before` is put before the command line of `serve`; `more` are further environment variables."""

    folder: Path
    database: Path
    relay: str
    before: Sequence[str] = ()
    more: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        (self.folder / "faults.toml").write_text(CONFIG)
        self.url = f"sqlite:///{self.database}?timeout={LOCK_SECONDS}"
        self.port = free_loopback_port()
        self.serve: asyncio.subprocess.Process | None = None

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "PYTHONPATH": str(Path.cwd()),
            "THIRD_THURSDAY_DATABASE__URL": self.url,
            "THIRD_THURSDAY_MAIL__TRANSPORT": self.relay,
            "THIRD_THURSDAY_MAIL__CONNECTIONS": str(CONNECTIONS),
            "THIRD_THURSDAY_SECURITY__KEY": "5a" * 32,
            "THIRD_THURSDAY_WEB__PORT": str(self.port),
            "THIRD_THURSDAY_WEB__BASE_URL": "https://meet.example.org",
            **self.more,
        }

    async def join(self, count: int) -> None:
        await join(self.url, count)

    async def start(self) -> None:
        """Start `serve` with its log in a file, and wait until it has started and its web server answers."""
        with (self.folder / "log").open("ab") as log:
            begun = self.logged("started")
            self.serve = await self._run("serve", stderr=log.fileno(), stdout=asyncio.subprocess.DEVNULL)
        async with asyncio.timeout(PATIENCE):
            while self.logged("started") == begun or not await self._is_open():
                assert self.serve.returncode is None, self.log
                await asyncio.sleep(0.05)

    async def _is_open(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except ConnectionRefusedError:
            return False
        writer.close()
        return True

    async def begin(self, *arguments: str) -> asyncio.subprocess.Process:
        """Start a command of ours, whose output is lost."""
        return await self._run(
            *arguments, stderr=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, before=()
        )

    async def command(self, *arguments: str) -> tuple[int, str, str]:
        """Run a command of ours; return exit code, standard output and standard error."""
        process = await self._run(
            *arguments, stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, before=()
        )
        try:
            async with asyncio.timeout(PATIENCE):
                out, err = await process.communicate()
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        assert process.returncode is not None
        assert "Traceback" not in err.decode()
        return process.returncode, out.decode(), err.decode()

    async def _run(
        self, *arguments: str, stdout: int, stderr: int, before: Sequence[str] | None = None
    ) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(self.before if before is None else before),
            sys.executable,
            "-m",
            "scheduler",
            "--config",
            "faults.toml",
            *arguments,
            cwd=self.folder,
            env=self.environment,
            stdout=stdout,
            stderr=stderr,
        )

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def logged(self, event: str) -> int:
        """Return how often an event is in the log."""
        return len(re.findall(rf"event={event}\b", self.log))

    async def ready(self) -> list[str]:
        """Return the reasons that /readyz gives; none if the service is ready."""
        async with httpx.AsyncClient() as client:
            answer = await client.get(f"http://127.0.0.1:{self.port}/readyz", timeout=PATIENCE)
        reasons: list[str] = answer.json()["reasons"]
        assert answer.status_code == (503 if reasons else 200)
        return reasons

    async def not_ready(self, words: str) -> None:
        """Wait until /readyz gives a reason with these words."""
        async with asyncio.timeout(PATIENCE):
            while not any(words in reason for reason in await self.ready()):
                await asyncio.sleep(0.1)

    async def well(self) -> None:
        """Wait until /readyz gives no reason."""
        async with asyncio.timeout(PATIENCE):
            while await self.ready():
                await asyncio.sleep(0.1)

    async def answer(self, path: str, form: dict[str, str] | None = None) -> httpx.Response:
        """Return the response to a GET of `path`, or to a POST of `form`."""
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", timeout=PATIENCE) as visitor:
            return await (visitor.get(path) if form is None else visitor.post(path, data=form))

    async def states(self) -> dict[str, int]:
        """Return how many deliveries are in each state."""
        database = Database(self.url)
        try:
            async with database.read() as connection:
                return await reports.states(connection)
        finally:
            await database.close()

    async def all_sent(self, count: int) -> None:
        """Wait until all `count` deliveries are sent."""
        await self.all_are("sent", count)

    async def all_are(self, state: str, count: int) -> None:
        """Wait until all `count` deliveries are in this state."""
        async with asyncio.timeout(PATIENCE):
            while await self.states() != {state: count}:
                await asyncio.sleep(0.1)

    async def kill(self) -> None:
        assert self.serve
        self.serve.kill()
        await self.serve.wait()

    async def drain(self) -> None:
        """Stop `serve` as an init system does; check that it exits with 0 and has never logged a stack trace."""
        assert self.serve
        self.serve.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            code = await self.serve.wait()
        assert code == 0, self.log
        assert "Traceback" not in self.log, self.log


@asynccontextmanager
async def installed(
    folder: Path, relay: str, *, database: Path | None = None, before: Sequence[str] = (), **more: str
) -> AsyncIterator[Installation]:
    """An installation whose `serve` is killed at the end of the test."""
    installation = Installation(folder, database or folder / "faults.sqlite", relay, before, more)
    try:
        yield installation
    finally:
        if installation.serve and installation.serve.returncode is None:
            await installation.kill()


@asynccontextmanager
async def webhook() -> AsyncIterator[tuple[str, list[dict[str, str]]]]:
    """A URL for alerts, and the alerts that arrive there."""
    alerts: list[dict[str, str]] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        size = int(head.partition("content-length:")[2].split()[0])
        alerts.append(json.loads(await reader.readexactly(size)))
        writer.write(b"HTTP/1.1 204 taken\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(take, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", alerts


async def until(holds: Callable[[], object]) -> None:
    """Wait until `holds` returns something true, at most PATIENCE seconds."""
    async with asyncio.timeout(PATIENCE):
        while not holds():
            await asyncio.sleep(0.05)


@contextmanager
def small_disk(folder: Path, *, megabytes: int = 8) -> Iterator[Path]:
    """A file system in memory that is small enough to be filled. Only root can mount one."""
    folder.mkdir()
    do_as_root("mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def exclusive_mounts() -> Iterator[None]:
    """Let only one test at a time create a mount namespace or unmount a disk: a namespace keeps the disks that
    were mounted when it was created."""
    with (Path(tempfile.gettempdir()) / "third-thursday-mounts.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def do_as_root(program: str, *arguments: str | Path) -> str:
    """Run a system program and return its output; skip the test if it is missing or we may not run it."""
    path = shutil.which(program)
    if os.geteuid() or not path:
        pytest.skip(f"needs to be root, and {program}")
    done = subprocess.run([path, *arguments], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"{FORBIDDEN} what {program} does: {done.stderr.strip()}")
    return done.stdout


def fill(folder: Path) -> Path:
    """Fill the disk with a file; return that file."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"\0" * size)
    return filler


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Hold the database exclusively, as another program."""
    other = sqlite3.connect(database, isolation_level=None, timeout=PATIENCE, check_same_thread=False)
    try:
        other.execute("BEGIN EXCLUSIVE")
        yield
    finally:
        other.close()


@contextmanager
def stuck(database: Path, statement: str, *, rows: int) -> Iterator[None]:
    """Let a statement, such as `INSERT ON notices WHEN new.frozen`, take as long as counting `rows` rows while its
    process holds the database, so that the process can be killed at exactly this moment."""
    with contextlib.closing(sqlite3.connect(database, isolation_level=None, timeout=PATIENCE)) as other:
        # SQLite allows no WITH in a trigger, but a view that has one.
        other.execute(
            f"CREATE VIEW long_work AS WITH RECURSIVE n(i) AS "
            f"(SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT {rows}) SELECT i FROM n"
        )
        action, _, condition = statement.partition(" WHEN ")
        other.execute(
            f"CREATE TRIGGER stuck BEFORE {action} WHEN {condition or 'true'} BEGIN SELECT count(*) FROM long_work; END"
        )
    try:
        yield
    finally:
        with contextlib.closing(sqlite3.connect(database, isolation_level=None, timeout=PATIENCE)) as other:
            other.executescript("DROP TRIGGER stuck; DROP VIEW long_work;")


async def held(database: Path, *, seconds: float = 0.5) -> None:
    """Wait until a process has held the database for some time, which no transaction of ours does by itself."""
    with contextlib.closing(sqlite3.connect(database, isolation_level=None, timeout=0)) as other:
        async with asyncio.timeout(PATIENCE):
            since = None
            while since is None or time.monotonic() - since < seconds:
                try:
                    other.execute("BEGIN IMMEDIATE")
                    other.execute("ROLLBACK")
                    since = None
                except sqlite3.OperationalError:
                    since = since or time.monotonic()
                await asyncio.sleep(0.02)
