"""Serve the web pages in a process of their own, so that visitors cannot use up what sending needs.

`serve` starts the process, passes it the listening sockets, and starts it again if it ends. Over a socket between them,
the web process receives its settings and asks for what only `serve` knows. It stops when that socket is closed.
"""

import asyncio
import contextlib
import gc
import json
import math
import os
import pickle
import resource
import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import structlog
import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.types import ASGIApp

import scheduler
from scheduler.bootstrap.settings import Settings
from scheduler.bootstrap.settings_sources import bundled
from scheduler.bootstrap.tracing import Tracing, start_tracing
from scheduler.bootstrap.wiring import Parts, SystemClock, open_parts, set_up_logs
from scheduler.bootstrap.worker import make_preview_writer
from scheduler.domain.clock import Clock
from scheduler.domain.errors import Problem
from scheduler.service.form_limits import FormLimits
from scheduler.store.outage import Outages
from scheduler.web.app import create_app, prepare
from scheduler.web.brand import read_logo
from scheduler.web.connection_limits import ConnectionLimiter, Limits
from scheduler.web.forms import LARGEST_UPLOAD, MEMBER_UPLOADS, UPLOAD_PATHS, WORDS_PATHS
from scheduler.web.metrics import Metrics

log = structlog.get_logger()

NICENESS = 5
"""On a busy machine, sending has priority over the pages."""

WANTED_DESCRIPTORS = 65_536
START_SECONDS = 60.0
STOP_SECONDS = 10.0
ANSWER_SECONDS = 3.0
REPORT_MAX_AGE_SECONDS = 1.0
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
_READY, _WAITING, _ASK = b"ready\n", b"waiting\n", b"report\n"
_LONGEST_REPORT = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderReport:
    """What only the sending process knows: its current faults, and its metrics in Prometheus's text format."""

    faults: list[str]
    metrics: str


def raise_descriptor_limit() -> int:
    """Raise the limit of open files for this process and its children as far as allowed, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    target = WANTED_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(WANTED_DESCRIPTORS, hard)
    if soft == resource.RLIM_INFINITY or soft >= target:
        return target if soft == resource.RLIM_INFINITY else soft
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def connection_limits(settings: Settings, descriptors: int) -> Limits:
    """Return the limits on connections. Half of the open files stay free for the database and everything else."""
    return Limits(
        connections=min(settings.web.connections, descriptors // 2),
        of_one_network=settings.web.connections_of_one_network,
        largest_upload=LARGEST_UPLOAD,
        uploads=frozenset(path.encode() for path in UPLOAD_PATHS),
        upload_folders=tuple(path.encode() for path in (*WORDS_PATHS, MEMBER_UPLOADS)),
    )


class WebProcess:
    """The web process, controlled by `serve`. `report` is called whenever the process asks for it."""

    def __init__(
        self, settings: Settings, listeners: Sequence[socket.socket], report: Callable[[], SenderReport]
    ) -> None:
        self._settings, self._listeners, self._report = settings, listeners, report
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()
        self._writer: asyncio.StreamWriter | None = None
        self._running: asyncio.Task[None] | None = None
        self._awaits_database = False

    async def start(self) -> None:
        """Start the process, and return when it is ready.

        Raises Problem if it ends, or if for START_SECONDS it neither is ready nor says that it waits for the database.
        """
        ready = asyncio.Event()
        self._running = asyncio.create_task(self._run(ready))
        waiting = asyncio.create_task(ready.wait())
        is_alive = True
        while is_alive and not waiting.done() and not self._running.done():
            self._awaits_database = False
            await asyncio.wait(
                {waiting, self._running}, timeout=START_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            is_alive = self._awaits_database
        waiting.cancel()
        if not ready.is_set():
            await self.stop()
            raise Problem("the web pages could not be served; see the log for why their process ended")

    async def stop(self) -> None:
        """Let the process finish the responses it has started, and end it."""
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
        """Restart the process whenever it ends, after pauses that grow."""
        pause = FIRST_PAUSE
        while not self._stopping.is_set():
            started = asyncio.get_running_loop().time()
            code = await self._run_once(ready)
            if self._stopping.is_set() or not ready.is_set():
                return
            lived = asyncio.get_running_loop().time() - started
            pause = FIRST_PAUSE if lived > LONGEST_PAUSE * 2 else min(pause * 2, LONGEST_PAUSE)
            log.error("web-ended", code=code, again_in=pause)
            await asyncio.sleep(pause)

    async def _run_once(self, ready: asyncio.Event) -> int:
        own_end, child_end = socket.socketpair()
        descriptors = [child_end.fileno(), *(listener.fileno() for listener in self._listeners)]
        root = str(Path(scheduler.__file__).parent.parent)
        path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH", ""))))
        with child_end:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                "-m",
                "scheduler.bootstrap.web_process",
                *map(str, descriptors),
                pass_fds=descriptors,
                stdin=asyncio.subprocess.DEVNULL,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": path},
            )
        reader, self._writer = await asyncio.open_connection(sock=own_end)
        try:
            settings = pickle.dumps(self._settings)
            self._writer.write(len(settings).to_bytes(8) + settings)
            with contextlib.suppress(OSError):
                while line := await reader.readline():
                    if line == _READY:
                        ready.set()
                    elif line == _WAITING:
                        self._awaits_database = True
                    elif line == _ASK:
                        report = self._report()
                        answer = json.dumps({"faults": report.faults, "metrics": report.metrics})
                        self._writer.write(answer.encode() + b"\n")
            return await self._process.wait()
        finally:
            self._writer.close()
            if self._process.returncode is None and not self._stopping.is_set():
                with contextlib.suppress(ProcessLookupError):
                    self._process.kill()


class Sender:
    """The sending process, as the web process sees it. `gone` is set when it has ended."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, clock: Clock) -> None:
        self._reader, self._writer, self._clock = reader, writer, clock
        self._asking = asyncio.Lock()
        self._answers: asyncio.Queue[SenderReport] = asyncio.Queue()
        self._report: SenderReport | None = None
        self._asked = -math.inf
        self.gone = asyncio.Event()

    async def listen(self) -> None:
        """Receive reports until the sending process has ended."""
        with contextlib.suppress(OSError, ValueError):
            while line := await self._reader.readline():
                self._answers.put_nowait(SenderReport(**json.loads(line)))
        self.gone.set()

    def say_ready(self) -> None:
        """Tell the sending process that the pages are being served."""
        self._writer.write(_READY)

    def say_waiting(self) -> None:
        """Tell the sending process that the pages cannot be served before the database answers."""
        self._writer.write(_WAITING)

    async def report(self) -> SenderReport | None:
        """Return a report that is at most a second old, or None if there is no answer in time.

        Many visitors therefore cost the sending process no more than one.
        """
        async with self._asking:
            if self._clock.monotonic() - self._asked > REPORT_MAX_AGE_SECONDS:
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
        """Return its current faults, in a few words each."""
        report = await self.report()
        return report.faults if report else ["the process that sends does not answer"]

    async def metrics(self) -> bytes:
        """Return its metrics in Prometheus's text format, or b"" if it does not answer."""
        report = await self.report()
        return report.metrics.encode() if report else b""


def _make_app(parts: Parts, sender: Sender, tracing: Tracing) -> tuple[Starlette, Metrics]:
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
        hold=timedelta(minutes=settings.convenors.hold_minutes),
        rate=settings.mail.rate,
        trusted_proxies=settings.web.proxies,
        form_limits=FormLimits(total=settings.web.form_mails_an_hour),
        sender_faults=sender.faults,
        message_writer=make_preview_writer(parts),
        logo=read_logo(settings.logo),
        metrics=metrics,
        trace=tracing.span,
    )
    return app, metrics


def limited_server(app: ASGIApp, limiter: ConnectionLimiter) -> uvicorn.Server:
    """Return a server for an application, with the limits on connections."""
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


async def _wait_until_listening(
    servers: Sequence[uvicorn.Server], serving: Sequence["asyncio.Task[None]"]
) -> None:
    """Wait until all servers are listening or one has failed. Poll, because uvicorn has no event for it."""
    while not all(server.started for server in servers):
        if any(task.done() for task in serving):
            return
        await asyncio.sleep(0.01)


async def _serve(channel: socket.socket, listeners: Sequence[socket.socket]) -> None:
    reader, writer = await asyncio.open_connection(sock=channel, limit=_LONGEST_REPORT)
    size = int.from_bytes(await reader.readexactly(8))
    settings: Settings = pickle.loads(await reader.readexactly(size))  # noqa: S301 - from our parent process
    clock = SystemClock()
    sender = Sender(reader, writer, clock)
    async with contextlib.AsyncExitStack() as stack:
        parts = await Outages().outlast(
            "web-start",
            lambda: stack.enter_async_context(open_parts(settings, clock=clock)),
            sleep=clock.sleep,
            waiting=sender.say_waiting,
        )
        tracing = start_tracing()
        stack.callback(tracing.close)
        parts.database.outages.watcher = tracing.note_outage
        app, metrics = _make_app(parts, sender, tracing)
        limits = connection_limits(settings, raise_descriptor_limit())
        limiter = ConnectionLimiter(limits, parts.clock, trusted=settings.web.proxies)
        apps: list[ASGIApp] = [app, metrics.listener(app.state.site)]
        servers = [limited_server(app, limiter) for app, _ in zip(apps, listeners, strict=False)]
        background = [
            asyncio.create_task(work)
            for work in (sender.listen(), app.state.site.feed_cache.watch(), limiter.close_overdue())
        ]
        serving = [
            asyncio.create_task(server.serve(sockets=[listener]))
            for server, listener in zip(servers, listeners, strict=True)
        ]
        await _wait_until_listening(servers, serving)
        for task in serving:
            if task.done():
                raise Problem(f"the web pages cannot be served: {task.exception() or 'their server ended'}")
        gc.collect()
        gc.freeze()  # a full collection would otherwise keep a visitor waiting for a tenth of a second
        sender.say_ready()
        background.append(asyncio.create_task(prepare(app)))
        with contextlib.suppress(OSError):
            os.nice(NICENESS)
        sender_ended = asyncio.create_task(sender.gone.wait())
        await asyncio.wait([sender_ended, *serving], return_when=asyncio.FIRST_COMPLETED)
        for server in servers:
            server.should_exit = True
        await asyncio.wait(serving)
        for task in (sender_ended, *background):
            task.cancel()
        await asyncio.wait([sender_ended, *background])


def end_with_parent(channel: socket.socket) -> None:
    """End this process STOP_SECONDS after the other end of `channel` was closed, whatever it is waiting for.

    A statement that PostgreSQL does not answer cannot be cancelled, and a thread that runs one keeps the interpreter
    from ending.
    """
    other_end = select.poll()
    # A descriptor of its own: the event loop closes the other one. Asked for no event, poll still reports a hang-up.
    other_end.register(os.dup(channel.fileno()), 0)

    def watch() -> None:
        other_end.poll()
        time.sleep(STOP_SECONDS)
        try:
            log.error("web-killed", problem=f"it did not end within {STOP_SECONDS:.0f} seconds")
        finally:
            os._exit(1)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()


def main() -> None:
    """Serve the pages until `serve` closes the socket whose descriptor is the first argument."""
    set_up_logs()
    channel, *listeners = (socket.socket(fileno=int(descriptor)) for descriptor in sys.argv[1:])
    end_with_parent(channel)
    try:
        uvloop.run(_serve(channel, listeners))
    except Problem as problem:
        log.error("web-not-started", problem=str(problem))
        sys.exit(1)


if __name__ == "__main__":
    main()
