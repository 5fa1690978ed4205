"""Assemble sending: a process's dispatcher, its consumer of a cluster's jobs, and `worker`, which only sends."""

import asyncio
import gc
import math
import random
import secrets
import signal
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import structlog

from scheduler.bootstrap.settings import Settings
from scheduler.bootstrap.settings_sources import bundled
from scheduler.bootstrap.systemd import systemd_notifier
from scheduler.bootstrap.tracing import NO_TRACING, Tracing, start_tracing
from scheduler.bootstrap.upgrading import until_upgraded
from scheduler.bootstrap.wiring import Parts, load_signer, open_parts
from scheduler.delivery.compose.composer import Composer
from scheduler.delivery.compose.message_writer import MessageWriter
from scheduler.delivery.send.dispatcher import Dispatcher
from scheduler.delivery.send.maildir import MaildirTransport
from scheduler.delivery.send.send_queue import RateLimits
from scheduler.delivery.send.smtp import SmtpTransport
from scheduler.delivery.send.transport import MaildirAddress, Transport
from scheduler.domain.errors import Problem, SettingsProblem
from scheduler.domain.translation import broken_catalogues
from scheduler.service.schedule import next_meetings_of
from scheduler.store.database import OUTAGES
from scheduler.store.ledger import claims, jobs
from scheduler.store.ledger.jobs import LEASE_SECONDS, JobConsumer, JobsLost

log = structlog.get_logger()

DRAIN_SECONDS = 30
CANCEL_SECONDS = 5
_CONNECTION_LOST: tuple[type[Exception], ...] = (JobsLost, *OUTAGES)


def make_transport(settings: Settings) -> Transport:
    """Return the transport that the settings name."""
    address = settings.mail.address
    if isinstance(address, MaildirAddress):
        return MaildirTransport(Path(address.path))
    return SmtpTransport(
        address,
        hostname=settings.community.domain,
        starttls=settings.mail.starttls,
        connections=settings.mail.connections,
    )


def make_limits(settings: Settings) -> RateLimits:
    """Return the sending limits in the settings."""
    return RateLimits(
        rate=settings.mail.rate,
        domain_rate=settings.mail.domain_rate,
        domain_connections=settings.mail.domain_connections,
    )


def make_message_writer(parts: Parts, composer: Composer) -> MessageWriter:
    """Return what writes the messages of notices."""
    return MessageWriter(
        parts.database,
        composer,
        parts.clock,
        community=parts.community,
        series={series.slug: series for series in parts.series},
        keys=parts.keys,
        room_policies=parts.policies if parts.settings.mail.room_in_last_reminder else (),
        next_meetings=lambda connection, member, now: next_meetings_of(
            connection, member, parts.series, now=now
        ),
    )


def make_preview_writer(parts: Parts) -> MessageWriter:
    """Return what writes previews: the same messages, without a signature."""
    return make_message_writer(parts, Composer(bundled("templates/email"), parts.community))


def name_broken_catalogues() -> None:
    """Log each catalogue of a language that cannot be read."""
    for problem in broken_catalogues():
        log.error("catalogue-not-read", problem=problem)


def make_dispatcher(
    parts: Parts, transport: Transport | None = None, *, tracing: Tracing = NO_TRACING
) -> Dispatcher:
    """Return a dispatcher for this run of the process, with `transport` or the one that the settings name.

    Templates are loaded now, so that errors in them are logged before their mail is due.
    """
    composer = Composer(
        bundled("templates/email"),
        parts.community,
        signer=load_signer(parts.settings),
    )
    for problem in composer.prepare():
        log.error("template-not-read", problem=str(problem))
    # Reading all catalogues takes longer than everything else here, and no mail has to wait for it.
    Thread(target=name_broken_catalogues, daemon=True).start()
    message_writer = make_message_writer(parts, composer)
    rate = parts.settings.mail.rate
    only_sender = parts.database.is_sqlite

    async def reserve_slots(slots: int) -> float:
        async def reserve() -> float:
            async with parts.database.write() as connection:
                return await jobs.reserve_slots(connection, slots, rate=rate)

        # The messages that need the slots are claimed already.
        return await parts.database.outages.outlast("booking", reserve, sleep=parts.clock.sleep)

    return Dispatcher(
        parts.database,
        transport or make_transport(parts.settings),
        message_writer,
        parts.clock,
        run=secrets.token_hex(8),
        limits=make_limits(parts.settings),
        lease=math.inf if only_sender else LEASE_SECONDS,
        reserve_slots=None if only_sender else reserve_slots,
        trace=tracing.chunk,
    )


def make_job_consumer(parts: Parts, dispatcher: Dispatcher) -> JobConsumer:
    """Return the consumer of this process's share of the jobs, one for each chunk."""

    async def run(chunk: int) -> float | None:
        if await dispatcher.send_chunk(chunk, take_over=True):
            async with parts.database.read() as connection:
                others_waited = await claims.has_welcome(connection, chunk)
            if others_waited:
                # Other mail to the new members waited for their welcome, and its own jobs may have ended.
                await enqueue_due_chunks(parts)
        # A process that stops leaves the rest of its chunk to others at once.
        return 0 if dispatcher.is_draining else dispatcher.relay.pause or None

    return JobConsumer(parts.database, run, lost=dispatcher.halt)


async def consume_jobs(dispatcher: Dispatcher, consumer: JobConsumer) -> None:
    """Send chunk after chunk until `consumer` is stopped. Reconnect when the database has been away."""
    while not consumer.stopped:
        try:
            async with dispatcher.running():
                await consumer.work()
        except _CONNECTION_LOST as error:
            log.error("jobs-lost", error=type(error).__name__, problem=str(error).partition("\n")[0])
            await asyncio.sleep(random.uniform(0.5, 1.5))  # noqa: S311 - only spreads load


async def enqueue_due_chunks(parts: Parts) -> None:
    """Enqueue a job for each chunk that has mail to send now."""
    async with parts.database.write() as connection:
        await jobs.enqueue_open(connection, await claims.open_chunks(connection, parts.clock.now()))


def tune_garbage_collector() -> None:
    """Run the cyclic garbage collector less often, and never on objects that exist already.

    It took a fourteenth of the sending time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)


async def finish_or_cancel(task: "asyncio.Task[None]", *, within: float) -> None:
    """Wait `within` seconds for a task, then cancel it and wait at most CANCEL_SECONDS more.

    A task that waits for a silent database may not react to being cancelled.
    """
    await asyncio.wait({task}, timeout=within)
    task.cancel()
    await asyncio.wait({task}, timeout=CANCEL_SECONDS)
    if task.done() and not task.cancelled():
        task.exception()  # retrieve it, or asyncio logs that nobody did


def stop_on_signal() -> asyncio.Event:
    """Return an event that SIGTERM and SIGINT set."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    return stopping


async def work(settings: Settings, *, say: Callable[[str], None]) -> None:
    """Send what `serve` plans until SIGTERM or SIGINT, then drain and return.

    Raises Problem if it cannot start, SettingsProblem with SQLite.
    """
    if not settings.database.is_shared:
        raise SettingsProblem(
            "`worker` needs PostgreSQL in [database] url; with SQLite, `serve` sends everything"
        )
    stopping, systemd = stop_on_signal(), systemd_notifier()
    tracing = start_tracing()
    async with open_parts(settings) as parts:
        parts.database.outages.watcher = tracing.note_outage
        dispatcher = make_dispatcher(parts, tracing=tracing)
        consumer = make_job_consumer(parts, dispatcher)
        working = asyncio.create_task(consume_jobs(dispatcher, consumer))
        watchdog = asyncio.create_task(systemd.keep_watchdog(lambda: not working.done()))
        upgraded = asyncio.create_task(until_upgraded(parts.database, parts.clock))
        log.info("started", database=parts.database.url.get_backend_name())
        tune_garbage_collector()
        say("sending mail that `serve` has planned")
        systemd.ready()
        await asyncio.wait(
            [asyncio.create_task(stopping.wait()), working, upgraded], return_when=asyncio.FIRST_COMPLETED
        )
        log.info("stopping")
        systemd.stopping()
        dispatcher.drain()
        consumer.stop()
        await finish_or_cancel(working, within=DRAIN_SECONDS)
        watchdog.cancel()
        if upgraded.done():
            raise Problem(upgraded.result())
        upgraded.cancel()
    await asyncio.to_thread(tracing.close)
    log.info("stopped")
