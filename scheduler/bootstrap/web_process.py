"""The web in a process of its own: whatever visitors do there, sending keeps its own loop, memory and open files.

`serve` starts it, gives it the sockets to listen on, and starts it again if it ends. Over a socket between the two it
gets its settings, and asks what `serve` alone knows. When `serve` is gone, that socket is closed, and it stops.
"""

import asyncio
import contextlib
import json
import math
import os
import pickle
import resource
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp

import scheduler
from scheduler.bootstrap.logs import set_up_logs
from scheduler.bootstrap.settings import Settings
from scheduler.bootstrap.settings_sources import bundled
from scheduler.bootstrap.wiring import Parts, open_parts
from scheduler.domain.clock import Clock
from scheduler.domain.errors import Problem
from scheduler.service.form_limits import FormLimits
from scheduler.web.app import create_app
from scheduler.web.connection_limits import ConnectionLimiter, Limits
from scheduler.web.metrics import Metrics

log = structlog.get_logger()

NICENESS = 5
"""Where the machine is busy, sending comes first."""

WANTED_DESCRIPTORS = 65_536
START_SECONDS = 60.0
STOP_SECONDS = 10.0
ANSWER_SECONDS = 3.0
REPORT_HOLDS_SECONDS = 1.0
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
_READY, _ASK = b"ready\n", b"report\n"
_LONGEST_REPORT = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderReport:
    """What the process that sends knows: what of its work fails, and its metrics as Prometheus reads them."""

    faults: list[str]
    metrics: str


def raise_descriptor_limit() -> int:
    """Let this process and those it starts have as many open files as it may; returns how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(WANTED_DESCRIPTORS, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted if soft == resource.RLIM_INFINITY else soft
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def connection_limits(settings: Settings, descriptors: int) -> Limits:
    """The limits on connections: half of the open files stay free for the database and for all else."""
    return Limits(
        connections=min(settings.web.connections, descriptors // 2),
        of_one_network=settings.web.connections_of_one_network,
    )


class WebProcess:
    """The web's process, as `serve` sees it. `report` is called whenever that process asks."""

    def __init__(
        self, settings: Settings, listeners: Sequence[socket.socket], report: Callable[[], SenderReport]
    ) -> None:
        self._settings, self._listeners, self._report = settings, listeners, report
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()
        self._writer: asyncio.StreamWriter | None = None
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start it, and return when it answers. Raises Problem where it does not."""
        ready = asyncio.Event()
        self._running = asyncio.create_task(self._run(ready))
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait(
            {waiting, self._running}, timeout=START_SECONDS, return_when=asyncio.FIRST_COMPLETED
        )
        waiting.cancel()
        if not ready.is_set():
            await self.stop()
            raise Problem("the pages could not be served: see the log for why their process ended")

    async def stop(self) -> None:
        """Let it finish the answers that it has begun, and end it."""
        self._stopping.set()
        if self._writer:
            self._writer.close()
        if self._process:
            try:
                await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
            except TimeoutError:
                self._process.kill()
        if self._running:
            self._running.cancel()
            await asyncio.wait({self._running})

    async def _run(self, ready: asyncio.Event) -> None:
        """Start it again whenever it ends, the next time after a longer pause."""
        pause = FIRST_PAUSE
        while not self._stopping.is_set():
            began = asyncio.get_running_loop().time()
            code = await self._run_once(ready)
            if self._stopping.is_set() or not ready.is_set():
                return
            lived = asyncio.get_running_loop().time() - began
            pause = FIRST_PAUSE if lived > LONGEST_PAUSE * 2 else min(pause * 2, LONGEST_PAUSE)
            log.error("web-ended", code=code, again_in=pause)
            await asyncio.sleep(pause)

    async def _run_once(self, ready: asyncio.Event) -> int:
        ours, theirs = socket.socketpair()
        numbers = [theirs.fileno(), *(one.fileno() for one in self._listeners)]
        root = str(Path(scheduler.__file__).parent.parent)
        path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH", ""))))
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                "-m",
                "scheduler.bootstrap.web_process",
                *map(str, numbers),
                pass_fds=numbers,
                stdin=asyncio.subprocess.DEVNULL,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": path},
            )
        reader, self._writer = await asyncio.open_connection(sock=ours)
        try:
            told = pickle.dumps(self._settings)
            self._writer.write(len(told).to_bytes(8) + told)
            with contextlib.suppress(OSError):
                while line := await reader.readline():
                    if line == _READY:
                        ready.set()
                    elif line == _ASK:
                        found = self._report()
                        said = json.dumps({"faults": found.faults, "metrics": found.metrics})
                        self._writer.write(said.encode() + b"\n")
            return await self._process.wait()
        finally:
            self._writer.close()
            if self._process.returncode is None and not self._stopping.is_set():
                with contextlib.suppress(ProcessLookupError):
                    self._process.kill()


class Sender:
    """The process that sends, as the web sees it; `gone` is set when it is no longer there."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, clock: Clock) -> None:
        self._reader, self._writer, self._clock = reader, writer, clock
        self._asking = asyncio.Lock()
        self._answers: asyncio.Queue[SenderReport] = asyncio.Queue()
        self._report: SenderReport | None = None
        self._asked = -math.inf
        self.gone = asyncio.Event()

    async def listen(self) -> None:
        """Take its answers until it is gone."""
        with contextlib.suppress(OSError, ValueError):
            while line := await self._reader.readline():
                self._answers.put_nowait(SenderReport(**json.loads(line)))
        self.gone.set()

    def say_ready(self) -> None:
        """Tell it that the web answers."""
        self._writer.write(_READY)

    async def report(self) -> SenderReport | None:
        """What it knows, at most a second old, so that many visitors cost it no more than one; None where it does not
        answer in time."""
        async with self._asking:
            if self._clock.monotonic() - self._asked > REPORT_HOLDS_SECONDS:
                while not self._answers.empty():
                    self._answers.get_nowait()  # an answer that came too late
                try:
                    self._writer.write(_ASK)
                    self._report = await asyncio.wait_for(self._answers.get(), ANSWER_SECONDS)
                except (TimeoutError, OSError):
                    self._report = None
                self._asked = self._clock.monotonic()
            return self._report

    async def faults(self) -> list[str]:
        """What fails in it, a few words each."""
        found = await self.report()
        return found.faults if found else ["the process that sends does not answer"]

    async def metrics(self) -> bytes:
        """Its metrics in Prometheus's text format; empty where it does not answer."""
        found = await self.report()
        return found.metrics.encode() if found else b""


def _make_app(parts: Parts, sender: Sender) -> tuple[Starlette, Metrics]:
    settings = parts.settings
    metrics = Metrics(collect=sender.metrics, token=settings.watch.metrics_token)
    app = create_app(
        community=parts.community,
        series=parts.series,
        policies=parts.policies,
        database=parts.database,
        clock=parts.clock,
        keys=parts.keys,
        templates=bundled("templates/web"),
        outbox=settings.mail.outbox,
        shows_outbox=settings.web.outbox,
        retention=settings.retention,
        admits=settings.membership.is_open,
        embedded_by=settings.web.embedded_by,
        trusted_proxies=settings.web.proxies,
        form_limits=FormLimits(total=settings.web.form_mails_an_hour),
        sender_faults=sender.faults,
        metrics=metrics,
    )
    return app, metrics


def limited_server(app: ASGIApp, limiter: ConnectionLimiter) -> uvicorn.Server:
    """The server of an application, behind the limits on connections."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=limiter.protocol,
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            timeout_graceful_shutdown=5,
            proxy_headers=False,
        )
    )


async def _started(servers: Sequence[uvicorn.Server], serving: Sequence["asyncio.Task[None]"]) -> None:
    """Wait until all servers listen, or one of them has failed; uvicorn has no event for it."""
    while not all(one.started for one in servers):
        if any(one.done() for one in serving):
            return
        await asyncio.sleep(0.01)


async def _serve(channel: socket.socket, listeners: Sequence[socket.socket]) -> None:
    reader, writer = await asyncio.open_connection(sock=channel, limit=_LONGEST_REPORT)
    size = int.from_bytes(await reader.readexactly(8))
    settings: Settings = pickle.loads(await reader.readexactly(size))  # noqa: S301 - from the process that began this
    async with open_parts(settings) as parts:
        sender = Sender(reader, writer, parts.clock)
        app, metrics = _make_app(parts, sender)
        limits = connection_limits(settings, raise_descriptor_limit())
        limiter = ConnectionLimiter(limits, parts.clock, trusted=settings.web.proxies)
        apps: list[ASGIApp] = [app, metrics.listener(app.state.site)]
        servers = [limited_server(one, limiter) for one, _ in zip(apps, listeners, strict=False)]
        beside = [
            asyncio.create_task(work)
            for work in (sender.listen(), app.state.site.feed_cache.watch(), limiter.close_overdue())
        ]
        serving = [
            asyncio.create_task(server.serve(sockets=[listener]))
            for server, listener in zip(servers, listeners, strict=True)
        ]
        await _started(servers, serving)
        for one in serving:
            if one.done():
                raise Problem(f"the pages cannot be served: {one.exception() or 'their server ended'}")
        sender.say_ready()
        with contextlib.suppress(OSError):
            os.nice(NICENESS)
        gone = asyncio.create_task(sender.gone.wait())
        await asyncio.wait([gone, *serving], return_when=asyncio.FIRST_COMPLETED)
        for server in servers:
            server.should_exit = True
        await asyncio.wait(serving)
        for task in (gone, *beside):
            task.cancel()
        await asyncio.wait([gone, *beside])


def main() -> None:
    """Serve the web until `serve` closes the socket whose number is the first argument."""
    import uvloop

    set_up_logs()
    channel, *listeners = (socket.socket(fileno=int(number)) for number in sys.argv[1:])
    try:
        uvloop.run(_serve(channel, listeners))
    except Problem as problem:
        log.error("web-not-started", problem=str(problem))
        sys.exit(1)


if __name__ == "__main__":
    main()
