"""Send what is due: claim, write, send, and record each result before the connection sends its next message."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from functools import partial
from typing import Protocol

import structlog

from scheduler.delivery.send.connection_worker import ConnectionWorker
from scheduler.delivery.send.relay_health import RelayHealth
from scheduler.delivery.send.results import PendingCount, ResultWriter, release
from scheduler.delivery.send.send_queue import MAX_QUEUED, RateLimits, ReserveSlots, SendQueue
from scheduler.delivery.send.transport import Envelope, Transport
from scheduler.domain.clock import Clock
from scheduler.domain.errors import Problem
from scheduler.store.database import Database
from scheduler.store.ledger import claims
from scheduler.store.ledger.claims import Claim, Settlement
from scheduler.store.ledger.fan_out import CHUNK

log = structlog.get_logger()

FIRST_CLAIM = 50
MAX_CLAIM = 500
CLAIM_SECONDS = 5
CONCURRENT_CHUNKS = 2
POLL_SECONDS = 1.0


class Writer(Protocol):
    """Writes the messages of claims."""

    async def write(self, batch: Sequence[Claim]) -> list[Envelope | Problem]:
        """Return the envelope for each claim, or a Problem that says why it cannot be written."""
        ...


class Dispatcher:
    """Sends what is due over one transport, as one run: it settles only rows that it claimed under the name `run`.

    `serve` calls `send_due`. A worker enters `running` and calls `send_chunk` for each chunk that it is given.
    `lease` is the number of seconds for which a claim certainly belongs to this run, where other runs take over claims
    of a lost one: what is not sent by then goes back to the queue. `reserve_slots` reserves slots of the rate where
    several processes share it. `trace` returns what to enter while a chunk is sent.
    """

    def __init__(
        self,
        database: Database,
        transport: Transport,
        writer: Writer,
        clock: Clock,
        *,
        run: str,
        limits: RateLimits | None = None,
        lease: float = math.inf,
        reserve_slots: ReserveSlots | None = None,
        trace: Callable[[int], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self._database = database
        self._transport = transport
        self._writer = writer
        self._clock = clock
        self._run = run
        self._limits = limits or RateLimits()
        self._lease = lease
        self._reserve_slots = reserve_slots
        self._trace = trace
        self._claim_size = FIRST_CLAIM
        self._was_cut_off = self._running = self._halted = False
        self._chunks_in_progress: set[int] = set()
        self._draining = asyncio.Event()
        self._results = ResultWriter(database, clock, run=run, connections=transport.connections)
        self._queue = self._new_queue()
        self.relay = RelayHealth(database, clock)

    @property
    def is_sending(self) -> bool:
        """Whether `running` is entered."""
        return self._running

    @property
    def is_draining(self) -> bool:
        """Whether `drain` was called."""
        return self._draining.is_set()

    async def take_over(self) -> int:
        """Queue again what earlier runs left unanswered. Call once before anything is sent, when no other run is
        active; return the number of deliveries."""
        async with self._database.write() as connection:
            return await claims.take_over(connection, now=self._clock.now())

    def drain(self) -> None:
        """Stop claiming: `send_due` and `send_chunk` return when what is in flight has been settled."""
        self._draining.set()

    def halt(self) -> None:
        """Try nothing more until `running` is entered again: claims that were not tried go back to the queue."""
        self._halted = True

    async def send_due(self) -> int:
        """Send everything that is due now, and return how many were claimed. Returns early when the relay is down."""
        claimed = 0
        if self._is_stopped():
            return claimed
        async with self.running():
            while not self._is_stopped():
                async with self._database.read() as connection:
                    chunks = iter(await claims.open_chunks(connection, self._clock.now()))

                async def send_chunks(chunks: Iterator[int] = chunks) -> int:
                    return sum([await self.send_chunk(chunk) for chunk in chunks])

                # While the messages of one chunk are in flight, the next chunk is claimed and written.
                tasks = [asyncio.create_task(send_chunks()) for _ in range(CONCURRENT_CHUNKS)]
                results = await asyncio.gather(*tasks, self._send_awaited(tasks), return_exceptions=True)
                for result in results:
                    if isinstance(result, BaseException):
                        raise result
                    claimed += result
                if not any(results):
                    break
        return claimed

    async def send_chunk(self, chunk: int, *, take_over: bool = False) -> int:
        """Send everything in a chunk that may be sent now; once it is settled, return how many were claimed.

        Call only within `running`. Several chunks may be sent at once; one that is in progress already is skipped.
        `take_over` first queues again what was left unanswered of the chunk, for a caller that knows that no other
        process is sending it. Returns early when the relay is down.
        """
        if chunk in self._chunks_in_progress:
            return 0
        self._chunks_in_progress.add(chunk)
        try:
            if take_over:
                async with self._database.write() as connection:
                    await claims.take_over(connection, chunk=chunk, now=self._clock.now())
            with self._trace(chunk):
                return await self._send_chunk(chunk)
        finally:
            self._chunks_in_progress.discard(chunk)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the connection workers and the result writer. On exit, wait for what is in flight, unless cancelled."""
        if self._was_cut_off:
            # The last time was cancelled: no worker holds any longer what it had claimed.
            async with self._database.write() as connection:
                await claims.take_over(connection, run=self._run, now=self._clock.now())
        self._halted = False
        self._queue = queue = self._new_queue()
        writing = asyncio.create_task(self._results.write())
        workers = [
            asyncio.create_task(self._new_worker(queue).run()) for _ in range(self._transport.connections)
        ]
        self._was_cut_off = self._running = True
        try:
            try:
                yield
            except Exception:
                queue.close()
                await asyncio.gather(*workers)
                raise
            queue.close()
            await asyncio.gather(*workers)
            self._was_cut_off = False
        finally:
            for task in (*workers, writing):
                task.cancel()
            await asyncio.gather(*workers, writing, return_exceptions=True)
            self._running = False

    async def _send_awaited(self, tasks: Sequence["asyncio.Task[int]"]) -> int:
        """While `tasks` run, which may take hours, send the mails that individual people have just asked for."""
        claimed = 0
        while (await asyncio.wait(tasks, timeout=POLL_SECONDS))[1] and not self._is_stopped():
            async with self._database.read() as connection:
                chunks = await claims.urgent_chunks(connection, self._clock.now())
            claimed += sum([await self.send_chunk(chunk) for chunk in chunks])
        return claimed

    async def _send_chunk(self, chunk: int) -> int:
        pending = PendingCount()
        try:
            while not self._is_stopped():
                limit = self._claim_limit()
                batch = await self._database.run_write(
                    partial(claims.claim, chunk=chunk, run=self._run, now=self._clock.now(), limit=limit)
                )
                begun = self._clock.monotonic()
                await self._enqueue(batch, pending, deadline=begun + self._lease)
                self._adjust_claim_size(self._clock.monotonic() - begun)
                if len(batch) < limit or pending.total >= CHUNK:
                    break
        finally:
            await pending.wait_until_settled()
        return pending.total

    async def _enqueue(self, batch: Sequence[Claim], pending: PendingCount, *, deadline: float) -> None:
        """Write the messages of a batch and queue them; one that cannot be written does not hold up the others."""
        results = await self._writer.write(batch) if batch else []
        pending.add(len(results))
        for claim, result in zip(batch, results, strict=True):
            if isinstance(result, Problem):
                log.error("message-not-written", delivery=claim.id, notice=claim.notice, problem=str(result))
                self._results.submit(Settlement(id=claim.id, state="failed", reason=str(result)), pending)
                continue
            message = self._queue.message(claim, result, pending, deadline=deadline)
            if wait := await self._queue.put(message):
                self._results.submit(
                    release(claim, "the recipient's domain is busy", self._clock.now(), wait), pending
                )

    def _is_stopped(self) -> bool:
        return self._halted or self._draining.is_set() or self.relay.is_down

    def _new_worker(self, queue: SendQueue) -> ConnectionWorker:
        return ConnectionWorker(
            queue,
            self._transport,
            self._results,
            self.relay,
            self._clock,
            is_stopped=self._is_stopped,
            on_expired=self._halve_claim_size,
        )

    def _new_queue(self) -> SendQueue:
        # Under a lease the queue is short, so that it empties in time however slow the relay is.
        capacity = MAX_QUEUED if self._lease == math.inf else 4 * self._transport.connections
        if self._limits.rate:
            capacity = min(capacity, self._claim_by_rate)
        return SendQueue(self._clock, self._limits, self._reserve_slots, capacity=capacity)

    def _claim_limit(self) -> int:
        """How many to claim: what is sent within seconds, since a claimed message no longer follows changes."""
        if self.relay.is_failing:
            return 1
        return min(self._claim_size, self._claim_by_rate) if self._limits.rate else self._claim_size

    @property
    def _claim_by_rate(self) -> int:
        """How many messages the rate allows in CLAIM_SECONDS."""
        return max(1, round(self._limits.rate * CLAIM_SECONDS))

    def _adjust_claim_size(self, seconds: float) -> None:
        """Claim more where the last claim was queued within a moment, and less where it took long."""
        longest = min(CLAIM_SECONDS, self._lease / 4)
        if seconds < longest / 10:
            self._claim_size = min(self._claim_size * 10, MAX_CLAIM)
        elif seconds > longest:
            self._halve_claim_size()

    def _halve_claim_size(self) -> None:
        self._claim_size = max(self._claim_size // 2, 1)
