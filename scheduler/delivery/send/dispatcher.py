"""Claim, send, settle: what is due leaves, once, and what became of it is written down before the next leaves."""

import asyncio
import math
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Protocol

import structlog

from scheduler.delivery.send.connection_worker import ConnectionWorker
from scheduler.delivery.send.relay_health import RelayHealth
from scheduler.delivery.send.results import PendingCount, ResultWriter, release
from scheduler.delivery.send.send_queue import LARGEST, Limits, ReserveSlots, SendQueue
from scheduler.delivery.send.transport import Envelope, Transport
from scheduler.domain.clock import Clock
from scheduler.domain.errors import Problem
from scheduler.store.database import Database
from scheduler.store.ledger import claims
from scheduler.store.ledger.claims import Claim, Settlement
from scheduler.store.ledger.fan_out import CHUNK

log = structlog.get_logger()

SMALLEST_CLAIM = 50
LARGEST_CLAIM = 500
CLAIM_SECONDS = 5
CHUNKS_AT_ONCE = 2
LOOK_SECONDS = 1.0


class Writer(Protocol):
    """Writes the message of each claim; a Problem in its place says why it cannot be written."""

    async def write(self, batch: Sequence[Claim]) -> list[Envelope | Problem]: ...


class Dispatcher:
    """Sends what is due over one transport, as one run: rows it claims are settled under the run's name only.

    `serve` calls `send_due`; a worker stays within `working` and calls `send_chunk` for each chunk it is given.
    `lease` is how many seconds a claim is surely this run's own, where others take over what a lost run had: what
    is still unsent then goes back to the queue. `book` reserves the rate's slots where others share it.
    """

    def __init__(
        self,
        database: Database,
        transport: Transport,
        writer: Writer,
        clock: Clock,
        *,
        run: str,
        limits: Limits | None = None,
        lease: float = math.inf,
        book: ReserveSlots | None = None,
    ) -> None:
        self._database = database
        self._transport = transport
        self._writer = writer
        self._clock = clock
        self._run = run
        self._limits = limits or Limits()
        self._lease = lease
        self._book = book
        self._claim_size = SMALLEST_CLAIM
        self._unclean = self._sending = self._halted = False
        self._at_work: set[int] = set()
        self._stopping = asyncio.Event()
        self._settler = ResultWriter(database, clock, run=run, connections=transport.connections)
        self._backlog = self._new_backlog()
        self.relay = RelayHealth(database, clock)

    async def take_over(self) -> int:
        """Queue again what earlier runs left unanswered; call once, before anything is sent, and alone."""
        async with self._database.write() as connection:
            return await claims.take_over(connection, now=self._clock.now())

    def drain(self) -> None:
        """Claim nothing more: `send_due` and `send_chunk` end when what is on its way has been settled."""
        self._stopping.set()

    def halt(self) -> None:
        """Try nothing more until `working` is entered anew: what is claimed goes back to the queue."""
        self._halted = True

    @property
    def is_sending(self) -> bool:
        """Whether `working` is entered."""
        return self._sending

    @property
    def is_draining(self) -> bool:
        """Whether nothing more is claimed."""
        return self._stopping.is_set()

    async def send_due(self) -> int:
        """Send all that is due now, and return how many were claimed. Ends early when the relay is down."""
        claimed = 0
        if self._is_idle():
            return claimed
        async with self.working():
            while not self._is_idle():
                async with self._database.read() as connection:
                    chunks = iter(await claims.open_chunks(connection, self._clock.now()))

                async def work(chunks: Iterator[int] = chunks) -> int:
                    return sum([await self.send_chunk(chunk) for chunk in chunks])

                # While the messages of one chunk are on their way, the next is claimed and written.
                at_work = [asyncio.create_task(work()) for _ in range(CHUNKS_AT_ONCE)]
                found = await asyncio.gather(*at_work, self._send_awaited(at_work), return_exceptions=True)
                for one in found:
                    if isinstance(one, BaseException):
                        raise one
                    claimed += one
                if not any(found):
                    break
        return claimed

    async def _send_awaited(self, at_work: Sequence["asyncio.Task[int]"]) -> int:
        """Beside what is `at_work`, which may take hours, send what single people ask for meanwhile and wait for."""
        claimed = 0
        while (await asyncio.wait(at_work, timeout=LOOK_SECONDS))[1] and not self._is_idle():
            async with self._database.read() as connection:
                chunks = await claims.urgent_chunks(connection, self._clock.now())
            claimed += sum([await self.send_chunk(chunk) for chunk in chunks])
        return claimed

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Within, connections are at work and settlements are committed. What is on its way at the end is waited for,
        unless the end is a cancellation."""
        if self._unclean:
            # The last time was cut off: what it had claimed has no lane any more.
            async with self._database.write() as connection:
                await claims.take_over(connection, run=self._run, now=self._clock.now())
        self._halted = False
        self._backlog = backlog = self._new_backlog()
        settling = asyncio.create_task(self._settler.settle())
        lanes = [asyncio.create_task(self._lane(backlog).serve()) for _ in range(self._transport.connections)]
        self._unclean = self._sending = True
        try:
            try:
                yield
            except Exception:
                backlog.end()
                await asyncio.gather(*lanes)
                raise
            backlog.end()
            await asyncio.gather(*lanes)
            self._unclean = False
        finally:
            for task in (*lanes, settling):
                task.cancel()
            await asyncio.gather(*lanes, settling, return_exceptions=True)
            self._sending = False

    async def send_chunk(self, chunk: int, *, take_over: bool = False) -> int:
        """Send all of a chunk that may be sent now; when all of it is settled, return how many were claimed.

        Only within `working`; several chunks may be sent at once, and one that is at work already is let be.
        `take_over` queues again what was left unanswered of the chunk: for where no other process can be at work on
        it. Ends early when the relay is down.
        """
        if chunk in self._at_work:
            return 0
        self._at_work.add(chunk)
        try:
            if take_over:
                async with self._database.write() as connection:
                    await claims.take_over(connection, chunk=chunk, now=self._clock.now())
            return await self._send_chunk(chunk)
        finally:
            self._at_work.discard(chunk)

    async def _send_chunk(self, chunk: int) -> int:
        tally = PendingCount()
        try:
            while not self._is_idle():
                limit = self._claim_limit()
                batch = await self._database.run_write(
                    partial(claims.claim, chunk=chunk, run=self._run, now=self._clock.now(), limit=limit)
                )
                begun = self._clock.monotonic()
                await self._hand_out(batch, tally, until=begun + self._lease)
                self._adapt(self._clock.monotonic() - begun)
                if len(batch) < limit or tally.count >= CHUNK:
                    break
        finally:
            await tally.all_settled()
        return tally.count

    def _is_idle(self) -> bool:
        return self._halted or self._stopping.is_set() or self.relay.is_down

    def _lane(self, backlog: SendQueue) -> ConnectionWorker:
        return ConnectionWorker(
            backlog,
            self._transport,
            self._settler,
            self.relay,
            self._clock,
            is_idle=self._is_idle,
            claimed_too_long=self._claim_less,
        )

    def _new_backlog(self) -> SendQueue:
        # Under a lease little waits, so that it is gone in time however slow the relay is.
        room = LARGEST if self._lease == math.inf else 4 * self._transport.connections
        if self._limits.rate:
            room = min(room, self._gone_soon)
        return SendQueue(self._clock, self._limits, self._book, room=room)

    def _claim_limit(self) -> int:
        """What goes out in a few seconds: whatever is claimed no longer follows its member."""
        if self.relay.is_doubted:
            return 1
        return min(self._claim_size, self._gone_soon) if self._limits.rate else self._claim_size

    @property
    def _gone_soon(self) -> int:
        """How many the rate lets go in a few seconds."""
        return max(1, round(self._limits.rate * CLAIM_SECONDS))

    def _adapt(self, seconds: float) -> None:
        """Claim more where a claim is gone at once, and less where it takes long."""
        longest = min(CLAIM_SECONDS, self._lease / 4)
        if seconds < longest / 10:
            self._claim_size = min(self._claim_size * 10, LARGEST_CLAIM)
        elif seconds > longest:
            self._claim_less()

    def _claim_less(self) -> None:
        self._claim_size = max(self._claim_size // 2, 1)

    async def _hand_out(self, batch: Sequence[Claim], tally: PendingCount, *, until: float) -> None:
        """Put the messages of a batch on their way; one that cannot be written costs nobody else theirs."""
        all_written = await self._writer.write(batch) if batch else []
        tally.add(len(all_written))
        for claim, written in zip(batch, all_written, strict=True):
            if isinstance(written, Problem):
                log.error("message-not-written", delivery=claim.id, notice=claim.notice, problem=str(written))
                self._settler.submit(Settlement(id=claim.id, state="failed", reason=str(written)), tally)
            elif wait := await self._backlog.put(self._backlog.job(claim, written, tally, until=until)):
                self._settler.submit(
                    release(claim, "its destination is busy", self._clock.now(), wait), tally
                )
