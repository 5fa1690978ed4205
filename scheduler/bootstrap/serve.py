"""`serve`, assembled: the clock's ticks, the sending and the web, from start to drain."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from datetime import datetime

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.date import DateTrigger
from apscheduler.triggers.interval import IntervalTrigger
from prometheus_client import generate_latest

from scheduler.bootstrap.settings import Settings
from scheduler.bootstrap.web_process import SenderReport, WebProcess, raise_descriptor_limit
from scheduler.bootstrap.wiring import Parts, open_parts
from scheduler.bootstrap.worker import (
    DRAIN_SECONDS,
    calm_collector,
    finish,
    hand_out,
    make_dispatcher,
    make_hands,
    make_transport,
    share,
    when_told,
)
from scheduler.delivery.send.metrics import MeteredTransport
from scheduler.domain.errors import Problem
from scheduler.domain.zone import tzdata_version
from scheduler.service.alerts import AlertNotifier
from scheduler.service.form_queue import run_form_queue
from scheduler.service.inbound import count_refusals
from scheduler.service.join_requests import remind_convenors
from scheduler.service.planner import Planner
from scheduler.service.retention import forget_old
from scheduler.store import service_state
from scheduler.store.database import OUTAGES, Database

log = structlog.get_logger()

SAFETY_SECONDS = 30
BACKLOG = 1_024
WATCH_SECONDS = 1
_FAULTS: tuple[type[Exception], ...] = (*OUTAGES, Problem)


def make_planner(parts: Parts) -> Planner:
    async def daily(now: datetime) -> None:
        await remind_convenors(parts.database, now=now)
        await count_refusals(parts.database, now=now)
        await forget_old(
            parts.database,
            parts.settings.retention,
            keys=parts.keys,
            outbox=parts.settings.mail.outbox,
            now=now,
        )

    return Planner(
        parts.database,
        parts.clock,
        series=parts.series,
        policies=parts.policies,
        domain=parts.community.domain,
        archive_after=parts.settings.retention.archive,
        longest_outage=parts.settings.watch.longest_outage,
        rate=parts.settings.mail.rate,
        daily=daily,
    )


class Service:
    """Ticks and sends until told to stop. All truth is in the database; this only keeps time."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._planner = make_planner(parts)
        self.transport = MeteredTransport(make_transport(parts.settings))
        self._dispatcher = make_dispatcher(parts, self.transport)
        watch = parts.settings.watch
        self._bell = AlertNotifier(
            parts.database,
            parts.clock,
            community=parts.community.name,
            webhook=watch.webhook,
            ping=watch.ping,
            late=watch.late,
        )
        self._looking: asyncio.Task[None] | None = None
        self._timer = AsyncIOScheduler(
            timezone="UTC", job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        )
        self._ticking = asyncio.Lock()
        self._work = asyncio.Event()
        self._seen = -1
        self._hands = None if parts.database.is_sqlite else make_hands(parts, self._dispatcher)

    async def start(self) -> None:
        """Take over what an earlier run left, tick once, and set the timer. Raises Problem where that fails."""
        if not self._hands and (taken := await self._dispatcher.take_over()):
            log.warning("taken-over", deliveries=taken)
        await self._tick()
        self._timer.add_job(_beat, IntervalTrigger(seconds=SAFETY_SECONDS), [self.tick], id="safety")
        self._timer.add_job(_beat, IntervalTrigger(seconds=WATCH_SECONDS), [self._watch], id="watch")
        self._timer.start()

    def report(self) -> SenderReport:
        """What the web cannot know by itself."""
        return SenderReport(
            faults=[one.words for one in self._parts.database.outages.current],
            metrics=generate_latest(self.transport.registry).decode(),
        )

    async def tick(self) -> None:
        """Tick; a tick that fails is logged, and soon tried again."""
        try:
            await self._tick()
        except _FAULTS as error:
            self._parts.database.outages.begin("tick", error)
            # What was to be seen has not been done.
            self._seen = -1
            self._look_soon()
        else:
            self._parts.database.outages.end("tick")

    async def _tick(self) -> None:
        async with self._ticking:
            async with self._parts.database.read() as connection:
                self._seen = await service_state.current(connection, "change")
            ticked = await self._planner.tick()
            if not ticked.held and self._hands:
                await hand_out(self._parts)
        if ticked.next_due:
            self._timer.add_job(
                _beat, DateTrigger(ticked.next_due), [self.tick], id="due", replace_existing=True
            )
        self._work.set()
        self._look_soon()

    def _look_soon(self) -> None:
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())

    async def _look(self) -> None:
        """Tell of troubles, beside the ticks: whom it is told may be slow."""
        with contextlib.suppress(*OUTAGES):
            await self._bell.look()

    async def _watch(self) -> None:
        """Tick soon after somebody changed something, in this process or another; tell of a database that fails."""
        if self._bell.has_news:
            self._look_soon()
        with contextlib.suppress(*OUTAGES):
            async with self._parts.database.read() as connection:
                changed = await service_state.current(connection, "change") != self._seen
            if changed and not self._ticking.locked():
                await self.tick()

    async def send(self) -> None:
        """Send what is due whenever a tick found some, until drained or cancelled."""
        if self._hands:
            await share(self._dispatcher, self._hands)
            return
        while not self._dispatcher.is_draining:
            await self._work.wait()
            self._work.clear()
            try:
                await self._dispatcher.send_due()
            except OUTAGES as error:
                self._parts.database.outages.begin("sending", error)
                await asyncio.sleep(WATCH_SECONDS)
                self._work.set()
            else:
                self._parts.database.outages.end("sending")
            if pause := self._dispatcher.relay.pause:
                await asyncio.sleep(pause)
                self._work.set()

    async def stop(self, sending: "asyncio.Task[None]") -> None:
        """Stop the timer, claim nothing more, and give what is on its way time to arrive and be written down."""
        self._timer.shutdown(wait=False)
        if self._looking:
            self._looking.cancel()
        self._dispatcher.drain()
        if self._hands:
            self._hands.stop()
        await finish(sending, within=DRAIN_SECONDS if self._hands or self._dispatcher.is_sending else 0)


async def _beat(work: Callable[[], Awaitable[None]]) -> None:
    """Do what the timer is for, until it stops: that may cut off what waits for a database held by another."""
    with contextlib.suppress(asyncio.CancelledError):
        await work()


def _listeners(settings: Settings) -> list[socket.socket]:
    """Of the pages, and of /metrics where they have one of their own. Raises Problem where one cannot be."""
    pages = _listen(
        settings.web.host,
        settings.web.port,
        f"[web] {settings.web.host} port {settings.web.port}",
        remedy="choose another with THIRD_THURSDAY_WEB__PORT",
    )
    if not (place := settings.watch.metrics_listen):
        return [pages]
    host, _, port = place.rpartition(":")
    name = f"[watch] metrics_listen {place}"
    return [pages, _listen(host.strip("[]"), int(port), name, remedy="choose another port")]


def _listen(host: str, port: int, name: str, *, remedy: str) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)  # now, so that two services do not both begin with one port
    except OSError as error:
        raise Problem(
            f"{name} cannot be listened on: {error.strerror}; stop what uses it, or {remedy}"
        ) from None
    return listener


async def _stop_web(web: WebProcess, listeners: list[socket.socket]) -> None:
    await web.stop()
    for listener in listeners:
        listener.close()


async def serve(
    settings: Settings,
    *,
    say: Callable[[str], None],
    prepare: Callable[[Parts], Awaitable[None]] | None = None,
) -> None:
    """Run the service until SIGTERM or SIGINT, then drain and return. `say` is told where it is; `prepare` may put
    something into the open database first. Raises Problem, in one line, where it cannot start."""
    raise_descriptor_limit()
    listeners = _listeners(settings)
    database = Database(settings.database.url)
    async with database.exclusive(), open_parts(settings, upgrade=True) as parts:
        if prepare:
            await prepare(parts)
        if settings.mail.outbox:
            await (await make_transport(settings).connect()).close()
        service = Service(parts)
        web = WebProcess(settings, listeners, service.report)
        await asyncio.gather(web.start(), service.start())
        stopping = when_told()
        log.info("started", tzdata=tzdata_version(), database=parts.database.url.get_backend_name())
        sending = asyncio.create_task(service.send())
        asked = asyncio.create_task(run_form_queue(parts.database, parts.clock))
        calm_collector()
        say(f"Third Thursday is at http://{settings.web.host}:{settings.web.port}/")
        await asyncio.wait(
            [asyncio.create_task(stopping.wait()), sending], return_when=asyncio.FIRST_COMPLETED
        )
        log.info("stopping")
        asked.cancel()
        broken = None if stopping.is_set() else sending
        await asyncio.gather(_stop_web(web, listeners), service.stop(sending))
        if broken:
            error = broken.exception()
            log.error("broke-off", error=type(error).__name__)
            raise Problem(f"the service broke off ({error or 'it ended'}); start it again") from error
    await database.close()
    log.info("stopped")
