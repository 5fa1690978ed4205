"""Sending, assembled: the dispatcher of a process, its share of a cluster's chunks, and `worker`, which only sends."""

import asyncio
import gc
import math
import random
import secrets
import signal
from collections.abc import Callable
from pathlib import Path

import structlog

from scheduler.bootstrap.settings import Settings
from scheduler.bootstrap.settings_sources import bundled
from scheduler.bootstrap.wiring import Parts, load_signer, open_parts
from scheduler.delivery.compose.composer import Composer
from scheduler.delivery.compose.message_writer import MessageWriter
from scheduler.delivery.send.dispatcher import Dispatcher
from scheduler.delivery.send.maildir import MaildirTransport
from scheduler.delivery.send.send_queue import RateLimits
from scheduler.delivery.send.smtp import SmtpTransport
from scheduler.delivery.send.transport import MaildirAddress, Transport
from scheduler.domain.errors import SettingsProblem
from scheduler.service.schedule import upcoming
from scheduler.store.database import OUTAGES
from scheduler.store.ledger import claims, jobs
from scheduler.store.ledger.jobs import LEASE_SECONDS, JobConsumer, JobsLost

log = structlog.get_logger()

DRAIN_SECONDS = 30
CANCEL_SECONDS = 5
BOOK_AGAIN_SECONDS = 1
_LOST: tuple[type[Exception], ...] = (JobsLost, *OUTAGES)


def make_transport(settings: Settings) -> Transport:
    """The way out that the settings name."""
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
    """How fast the settings let mail go."""
    return RateLimits(
        rate=settings.mail.rate,
        domain_rate=settings.mail.domain_rate,
        domain_connections=settings.mail.domain_connections,
    )


def make_dispatcher(parts: Parts, transport: Transport | None = None) -> Dispatcher:
    """A dispatcher for one run of this process, over the transport that the settings name or another.

    Templates that cannot be read are named in the log now, not when their mail is due."""
    composer = Composer(
        bundled("templates/email"),
        parts.community,
        signer=load_signer(parts.settings),
    )
    for problem in composer.prepare():
        log.error("template-not-read", problem=str(problem))
    letters = MessageWriter(
        parts.database,
        composer,
        parts.clock,
        community=parts.community,
        series={one.slug: one for one in parts.series},
        keys=parts.keys,
        room_policies=parts.policies if parts.settings.mail.room_in_last_reminder else (),
        next_meeting=lambda connection, now: upcoming(connection, parts.series, now=now),
    )
    rate = parts.settings.mail.rate
    alone = parts.database.is_sqlite

    async def reserve_slots(slots: int) -> float:
        # What waits for a slot has been claimed, and must not be forgotten where the database is away for a while.
        while True:
            try:
                async with parts.database.write() as connection:
                    seconds = await jobs.reserve_slots(connection, slots, rate=rate)
            except OUTAGES as error:
                parts.database.outages.begin("booking", error)
                await parts.clock.sleep(BOOK_AGAIN_SECONDS)
            else:
                parts.database.outages.end("booking")
                return seconds

    return Dispatcher(
        parts.database,
        transport or make_transport(parts.settings),
        letters,
        parts.clock,
        run=secrets.token_hex(8),
        limits=make_limits(parts.settings),
        lease=math.inf if alone else LEASE_SECONDS,
        reserve_slots=None if alone else reserve_slots,
    )


def make_hands(parts: Parts, dispatcher: Dispatcher) -> JobConsumer:
    """What takes this process's share of the chunks."""

    async def run(chunk: int) -> float | None:
        if await dispatcher.send_chunk(chunk, take_over=True):
            async with parts.database.read() as connection:
                others_waited = await claims.has_welcome(connection, chunk)
            if others_waited:
                # Whatever else there is for who was just welcomed: its own job found nothing that might go.
                await hand_out(parts)
        # What a process that stops leaves of a chunk is somebody else's at once.
        return 0 if dispatcher.is_draining else dispatcher.relay.pause or None

    return JobConsumer(parts.database, run, lost=dispatcher.halt)


async def share(dispatcher: Dispatcher, hands: JobConsumer) -> None:
    """Send one chunk after the other until `hands` are stopped; a database that goes away is come back to."""
    while not hands.stopped:
        try:
            async with dispatcher.running():
                await hands.work()
        except _LOST as error:
            log.error("jobs-lost", error=type(error).__name__, problem=str(error).partition("\n")[0])
            await asyncio.sleep(random.uniform(0.5, 1.5))  # noqa: S311 - only spreads load


async def hand_out(parts: Parts) -> None:
    """Hand out the chunks that have something to send now."""
    async with parts.database.write() as connection:
        await jobs.enqueue_open(connection, await claims.open_chunks(connection, parts.clock.now()))


def calm_collector() -> None:
    """Look less often for circles of garbage, and never among what lives as long as the process: a fourteenth of the
    time of sending went there."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)


async def finish(task: "asyncio.Task[None]", *, within: float) -> None:
    """Give a task so many seconds to end, then cancel it, and go on soon whatever it does: what waits for a database
    that has gone silent may take no notice."""
    await asyncio.wait({task}, timeout=within)
    task.cancel()
    await asyncio.wait({task}, timeout=CANCEL_SECONDS)
    if task.done() and not task.cancelled():
        task.exception()  # it is nobody's any more


def when_told() -> asyncio.Event:
    """Set by SIGTERM and SIGINT."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    return stopping


async def work(settings: Settings, *, say: Callable[[str], None]) -> None:
    """Send what others plan, until SIGTERM or SIGINT; then drain and return. Raises Problem where it cannot start,
    SettingsProblem with SQLite."""
    if not settings.database.is_shared:
        raise SettingsProblem(
            "`worker` needs PostgreSQL in [database] url; with SQLite `serve` sends everything by itself"
        )
    stopping = when_told()
    async with open_parts(settings) as parts:
        dispatcher = make_dispatcher(parts)
        hands = make_hands(parts, dispatcher)
        working = asyncio.create_task(share(dispatcher, hands))
        log.info("started", database=parts.database.url.get_backend_name())
        calm_collector()
        say("sending what `serve` hands out")
        await asyncio.wait(
            [asyncio.create_task(stopping.wait()), working], return_when=asyncio.FIRST_COMPLETED
        )
        log.info("stopping")
        dispatcher.drain()
        hands.stop()
        await finish(working, within=DRAIN_SECONDS)
    log.info("stopped")
