"""Assemble `serve`: ticks, sending, alerts and the web process, from start to shutdown."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.date import DateTrigger
from apscheduler.triggers.interval import IntervalTrigger
from prometheus_client import generate_latest

from scheduler.bootstrap.inbox import inbox_listener, running_inbox
from scheduler.bootstrap.settings import Settings
from scheduler.bootstrap.systemd import systemd_notifier
from scheduler.bootstrap.tracing import NO_TRACING, Tracing, start_tracing
from scheduler.bootstrap.upgrading import back_up_before_upgrade, until_upgraded
from scheduler.bootstrap.web_process import SenderReport, WebProcess, raise_descriptor_limit
from scheduler.bootstrap.wiring import Parts, backup_plan, open_parts
from scheduler.bootstrap.worker import (
    DRAIN_SECONDS,
    consume_jobs,
    enqueue_due_chunks,
    finish_or_cancel,
    make_dispatcher,
    make_job_consumer,
    make_transport,
    stop_on_signal,
    tune_garbage_collector,
)
from scheduler.delivery.send.metrics import MeteredTransport
from scheduler.delivery.send.smtp import SmtpTransport
from scheduler.delivery.send.transport import SmtpAddress
from scheduler.domain.address import is_loopback
from scheduler.domain.errors import Problem
from scheduler.domain.weekly_report import Certificate
from scheduler.domain.zone import tzdata_version
from scheduler.service.advance_notices import AdvanceNotices
from scheduler.service.alerts import AlertNotifier
from scheduler.service.certificates import check_certificate, read_website
from scheduler.service.convenors import appoint_first
from scheduler.service.form_queue import run_form_queue
from scheduler.service.inbound import count_refusals
from scheduler.service.join_requests import remind_convenors
from scheduler.service.planner import Planner
from scheduler.service.retention import forget_old
from scheduler.service.scheduled_backups import ScheduledBackups, forget_backups
from scheduler.service.weekly_reports import WeeklyReports
from scheduler.store import service_state
from scheduler.store.database import OUTAGES, Database
from scheduler.web.brand import read_logo

log = structlog.get_logger()

SAFETY_SECONDS = 30
LISTEN_BACKLOG = 1_024
WATCH_SECONDS = 1
LONGEST_TICK_SECONDS = 15 * 60
"""The longest time that a tick of a working service takes, with a very long list of members on a slow disk."""
_FAULTS: tuple[type[Exception], ...] = (*OUTAGES, Problem)


def make_planner(parts: Parts) -> Planner:
    """Return the planner for these parts, with its daily clean-up."""

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
        tell_convenors=AdvanceNotices(
            parts.database,
            series=parts.series,
            policies=parts.policies,
            preflight=parts.settings.convenors.preflight,
        ).plan,
        daily=daily,
    )


async def _make_backups(parts: Parts) -> None:
    """Make backups until cancelled, if the settings say so. No failure of one stops the service."""
    if plan := backup_plan(parts.settings):
        await ScheduledBackups(parts.database, parts.clock, plan, keys=parts.keys).run()
    else:
        with contextlib.suppress(*OUTAGES):
            await forget_backups(parts.database)


async def _report_weekly(parts: Parts) -> None:
    """Mail convenors a report each week until cancelled, if the settings say so."""
    if at := parts.settings.convenors.weekly:
        await WeeklyReports(
            parts.database,
            parts.clock,
            series=parts.series,
            at=at,
            check_certificates=partial(_check_certificates, parts.settings),
        ).run()


async def _check_certificates(settings: Settings) -> list[Certificate]:
    """Return the certificates of the website and of the relay, where they are on other machines and use TLS."""
    checks = []
    site, relay = urlsplit(settings.community.base_url), make_transport(settings)
    if site.scheme == "https" and site.hostname and not is_loopback(site.hostname):
        checks.append(
            check_certificate(site.hostname, partial(read_website, site.hostname, site.port or 443))
        )
    address = settings.mail.address
    if isinstance(relay, SmtpTransport) and isinstance(address, SmtpAddress) and not address.is_loopback:
        checks.append(check_certificate(address.host, relay.certificate))
    return [found for found in await asyncio.gather(*checks) if found]


class Service:
    """Tick, send and alert until stopped. All state is in the database."""

    def __init__(self, parts: Parts, *, tracing: Tracing = NO_TRACING) -> None:
        self._parts = parts
        self._tracing = tracing
        self._planner = make_planner(parts)
        self.transport = MeteredTransport(make_transport(parts.settings))
        self._dispatcher = make_dispatcher(parts, self.transport, tracing=tracing)
        watch = parts.settings.watch
        self._alerts = AlertNotifier(
            parts.database,
            parts.clock,
            community=parts.community.name,
            webhook=watch.webhook,
            ping=watch.ping,
            late=watch.late,
        )
        self._alerting: asyncio.Task[None] | None = None
        self._timer = AsyncIOScheduler(
            timezone="UTC", job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        )
        self._ticking = asyncio.Lock()
        self._work = asyncio.Event()
        self._seen = -1
        self._ticked = parts.clock.monotonic()
        self._consumer = None if parts.database.is_sqlite else make_job_consumer(parts, self._dispatcher)

    async def start(self) -> None:
        """Take over deliveries that an earlier run left, tick once and start the timer. Raises Problem on failure.

        As long as PostgreSQL is away, that is tried again.
        """
        if not self._consumer and (taken := await self._dispatcher.take_over()):
            log.warning("taken-over", deliveries=taken)
        await _wait_for_postgresql(self._parts, "tick", self._tick, waiting=self._alert_soon)
        self._ticked = self._parts.clock.monotonic()
        self._timer.add_job(
            _until_cancelled, IntervalTrigger(seconds=SAFETY_SECONDS), [self.tick], id="safety"
        )
        self._timer.add_job(
            _until_cancelled, IntervalTrigger(seconds=WATCH_SECONDS), [self._watch], id="watch"
        )
        self._timer.start()

    def report(self) -> SenderReport:
        """Return what only this process knows, for the web process."""
        return SenderReport(
            faults=[fault.words for fault in self._parts.database.outages.current],
            metrics=generate_latest(self.transport.registry).decode(),
        )

    def is_working(self) -> bool:
        """Return whether ticks still end, with success or not: a database that is away is no reason to restart."""
        return self._parts.clock.monotonic() - self._ticked < SAFETY_SECONDS + LONGEST_TICK_SECONDS

    async def tick(self) -> None:
        """Tick. If that fails, log it and try again soon."""
        try:
            await self._tick()
        except _FAULTS as error:
            self._parts.database.outages.begin("tick", error)
            # The change has not been dealt with: let _watch see it again.
            self._seen = -1
            self._alert_soon()
        else:
            self._parts.database.outages.end("tick")
        self._ticked = self._parts.clock.monotonic()

    async def _tick(self) -> None:
        async with self._ticking:
            async with self._parts.database.read() as connection:
                self._seen = await service_state.current(connection, "change")
            with self._tracing.span("tick"):
                ticked = await self._planner.tick()
            if not ticked.stopped and self._consumer:
                await enqueue_due_chunks(self._parts)
        if ticked.next_due:
            self._timer.add_job(
                _until_cancelled, DateTrigger(ticked.next_due), [self.tick], id="due", replace_existing=True
            )
        self._work.set()
        self._alert_soon()

    def _alert_soon(self) -> None:
        if self._alerting is None or self._alerting.done():
            self._alerting = asyncio.create_task(self._alert())

    async def _alert(self) -> None:
        """Send alerts in a task of their own, because the webhook may be slow."""
        with contextlib.suppress(*OUTAGES):
            await self._alerts.look()

    async def _watch(self) -> None:
        """Tick soon after this or another process has changed something."""
        if self._alerts.has_news:
            self._alert_soon()
        with contextlib.suppress(*OUTAGES):
            async with self._parts.database.read() as connection:
                changed = await service_state.current(connection, "change") != self._seen
            if changed and not self._ticking.locked():
                await self.tick()

    async def send(self) -> None:
        """Send due mail after each tick, until drained or cancelled."""
        if self._consumer:
            await consume_jobs(self._dispatcher, self._consumer)
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
        """Stop the timer and new claims, and wait for the mails that are being sent to be recorded."""
        self._timer.shutdown(wait=False)
        if self._alerting:
            self._alerting.cancel()
        self._dispatcher.drain()
        if self._consumer:
            self._consumer.stop()
        await finish_or_cancel(
            sending, within=DRAIN_SECONDS if self._consumer or self._dispatcher.is_sending else 0
        )


async def _wait_for_postgresql(
    parts: Parts,
    work: str,
    do: Callable[[], Awaitable[object]],
    *,
    waiting: Callable[[], object] = lambda: None,
) -> None:
    """Do `do` at the start, again as long as PostgreSQL is away.

    A full or failing disk under SQLite raises at once: whoever starts the service reads the reason.
    """
    if parts.database.is_sqlite:
        await do()
    else:
        await parts.database.outages.outlast(work, do, sleep=parts.clock.sleep, waiting=waiting)


async def _until_cancelled(work: Callable[[], Awaitable[None]]) -> None:
    """Run a job of the timer. Stopping the timer may cancel a job that waits for a locked database."""
    with contextlib.suppress(asyncio.CancelledError):
        await work()


def _listeners(settings: Settings) -> list[socket.socket]:
    """Return the listening sockets of the pages and, if set, of /metrics. Raises Problem if an address is not free."""
    pages = listen(
        settings.web.host,
        settings.web.port,
        f"[web] {settings.web.host} port {settings.web.port}",
        remedy="choose another with THIRD_THURSDAY_WEB__PORT",
    )
    if not (place := settings.watch.metrics_listen):
        return [pages]
    host, _, port = place.rpartition(":")
    name = f"[watch] metrics_listen {place}"
    return [pages, listen(host.strip("[]"), int(port), name, remedy="choose another port")]


def listen(host: str, port: int, name: str, *, remedy: str) -> socket.socket:
    """Return a socket that listens. Raises Problem, which calls the address `name` and says to use `remedy`."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(LISTEN_BACKLOG)  # now, so that a second service on this port fails at its start
    except OSError as error:
        raise Problem(
            f"{name} cannot be listened on: {error.strerror}; stop the program that uses it, or {remedy}"
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
    afterwards: Callable[[Parts], Coroutine[Any, Any, None]] | None = None,
) -> None:
    """Run the service until SIGTERM or SIGINT, then drain and return.

    `say` prints the address of the pages. `prepare` may first write to the open database, and `afterwards` runs beside
    the service once its pages answer. Raises Problem if the service cannot start or ends by itself.
    """
    raise_descriptor_limit()
    read_logo(settings.logo)
    listeners = _listeners(settings)
    mail_listener = inbox_listener(settings)
    database, systemd = Database(settings.database.url), systemd_notifier()
    async with (
        database.exclusive(),
        open_parts(settings, upgrade=True, before_upgrade=partial(back_up_before_upgrade, settings)) as parts,
    ):
        if prepare:
            await prepare(parts)
        await _wait_for_postgresql(
            parts,
            "appointing",
            lambda: appoint_first(
                parts.database,
                settings.convenors.first,
                keys=parts.keys,
                zone=settings.series[0].zone,
                locale=settings.community.locale,
                now=parts.clock.now(),
            ),
        )
        if settings.mail.outbox:
            await (await make_transport(settings).connect()).close()
        tracing = start_tracing()
        parts.database.outages.watcher = tracing.note_outage
        service = Service(parts, tracing=tracing)
        web = WebProcess(settings, listeners, service.report)
        await asyncio.gather(web.start(), service.start())
        stopping = stop_on_signal()
        log.info("started", tzdata=tzdata_version(), database=parts.database.url.get_backend_name())
        sending = asyncio.create_task(service.send())
        background = [
            asyncio.create_task(run_form_queue(parts.database, parts.clock)),
            asyncio.create_task(_make_backups(parts)),
            asyncio.create_task(_report_weekly(parts)),
        ]
        inbox = contextlib.AsyncExitStack()
        await inbox.enter_async_context(running_inbox(parts, service.transport, mail_listener))
        watchdog = asyncio.create_task(systemd.keep_watchdog(service.is_working))
        upgraded = asyncio.create_task(until_upgraded(parts.database, parts.clock))
        tune_garbage_collector()
        say(f"Third Thursday is at http://{settings.web.host}:{settings.web.port}/")
        systemd.ready()
        if afterwards:
            background.append(asyncio.create_task(afterwards(parts)))
        await asyncio.wait(
            [asyncio.create_task(stopping.wait()), sending, upgraded], return_when=asyncio.FIRST_COMPLETED
        )
        log.info("stopping")
        systemd.stopping()
        for task in background:
            task.cancel()
        ended_early = None if stopping.is_set() or upgraded.done() else sending
        await asyncio.gather(_stop_web(web, listeners), service.stop(sending), inbox.aclose())
        watchdog.cancel()
        if upgraded.done():
            raise Problem(upgraded.result())
        upgraded.cancel()
        if ended_early:
            error = ended_early.exception()
            log.error("sending-ended", error=type(error).__name__)
            raise Problem(
                f"the service stopped unexpectedly ({error or 'sending ended'}); start it again"
            ) from error
    await database.close()
    await asyncio.to_thread(tracing.close)
    log.info("stopped")
