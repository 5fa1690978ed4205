"""Claim, send, settle: what is due leaves, once, and what became of it is written down before the next leaves."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

import structlog

from scheduler.delivery.relay import Relay
from scheduler.delivery.settling import Settler
from scheduler.delivery.transport import Connection, ConnectProblem, Envelope, Outcome, Transport, Verdict
from scheduler.domain.clock import Clock
from scheduler.domain.problem import Problem
from scheduler.store.database import Database
from scheduler.store.ledger import claims
from scheduler.store.ledger.claims import Claim, Settlement

log = structlog.get_logger()

LARGEST_CLAIM = 50
CLAIM_SECONDS = 5
SHORTEST_BACKOFF = 30.0
LONGEST_BACKOFF = 900.0


class Writer(Protocol):
    """Writes the message of each claim; a Problem in its place says why it cannot be written."""

    async def write(self, batch: Sequence[Claim]) -> list[Envelope | Problem]: ...


def backoff(attempts: int) -> timedelta:
    """How long to wait after the `attempts`-th try failed for now: 30 s, doubling to 15 min, a fifth at random."""
    seconds = min(SHORTEST_BACKOFF * 2 ** (attempts - 1), LONGEST_BACKOFF)
    return timedelta(seconds=seconds * random.uniform(0.9, 1.1))  # noqa: S311 - spreads load, guards nothing


@dataclass(slots=True)
class _Job:
    claim: Claim
    envelope: Envelope


@dataclass(slots=True)
class _Lane:
    """One connection's road: the settlement of its last message must stand before the next one's final dot."""

    connection: Connection | None = None
    settled: asyncio.Future[None] | None = field(default=None)

    async def previous_settled(self) -> None:
        if self.settled is not None:
            await self.settled


class Dispatcher:
    """Sends what is due over one transport, as one run: rows it claims are settled under the run's name only."""

    def __init__(
        self,
        database: Database,
        transport: Transport,
        writer: Writer,
        clock: Clock,
        *,
        run: str,
        rate: float = 0,
    ) -> None:
        self._database = database
        self._transport = transport
        self._writer = writer
        self._clock = clock
        self._run = run
        self._rate = rate
        self._next_slot = 0.0
        self._unclean = self._sending = False
        self._stopping = asyncio.Event()
        self._one = asyncio.Lock()
        self._settler = Settler(database, clock, run=run)
        self.relay = Relay(database, clock)

    async def take_over(self) -> int:
        """Queue again what earlier runs left unanswered; call once, before anything is sent, and alone."""
        async with self._database.write() as connection:
            return await claims.take_over(connection, now=self._clock.now())

    def drain(self) -> None:
        """Claim nothing more: `send_due` ends when what is on its way has been settled."""
        self._stopping.set()

    @property
    def is_sending(self) -> bool:
        """Whether `send_due` is at work."""
        return self._sending

    @property
    def is_draining(self) -> bool:
        """Whether nothing more is claimed."""
        return self._stopping.is_set()

    async def send_due(self) -> int:
        """Send all that is due now, and return how many were claimed. Ends early when the relay is down."""
        if self._stopping.is_set() or self.relay.is_down:
            return 0
        if self._unclean:
            # The last call was cut off: what it had claimed has no lane any more.
            async with self._database.write() as connection:
                await claims.take_over(connection, of=self._run, now=self._clock.now())
            self._unclean = False
        return await self._send(None)

    async def _send(self, only: int | None) -> int:
        jobs: asyncio.Queue[_Job | None] = asyncio.Queue(maxsize=LARGEST_CLAIM)
        settling = asyncio.create_task(self._settler.settle())
        lanes = [asyncio.create_task(self._serve_lane(jobs)) for _ in range(self._transport.connections)]
        self._unclean = self._sending = True
        try:
            try:
                claimed = await self._hand_out(jobs, only)
            finally:
                for _ in lanes:
                    await jobs.put(None)
                await asyncio.gather(*lanes)
            self._unclean = False
            return claimed
        finally:
            for task in (*lanes, settling):
                task.cancel()
            await asyncio.gather(*lanes, settling, return_exceptions=True)
            self._sending = False

    async def send_chunk(self, chunk: int) -> None:
        """Send what is due of one chunk, of which nobody else sends any more: what an earlier run left of it without an
        answer is taken over first."""
        async with self._database.write() as connection:
            await claims.take_over(connection, chunk=chunk, now=self._clock.now())
        async with self._one:
            await self._send(chunk)

    async def _hand_out(self, jobs: "asyncio.Queue[_Job | None]", only: int | None) -> int:
        limit = (
            LARGEST_CLAIM if not self._rate else max(1, min(LARGEST_CLAIM, round(self._rate * CLAIM_SECONDS)))
        )
        claimed = 0
        while not self._stopping.is_set() and not self.relay.is_down:
            chunks = [] if only is None else [only]
            if only is None:
                async with self._database.read() as connection:
                    chunks = await claims.open_chunks(connection, self._clock.now())
            found = 0
            for chunk in chunks:
                while batch := await self._claim(chunk, limit):
                    found += len(batch)
                    await self._write(batch, jobs)
            claimed += found
            if not found:
                break
        return claimed

    async def _claim(self, chunk: int, limit: int) -> list[Claim]:
        if self._stopping.is_set() or self.relay.is_down:
            return []
        async with self._database.write() as connection:
            return await claims.claim(connection, chunk, run=self._run, now=self._clock.now(), limit=limit)

    async def _write(self, batch: Sequence[Claim], jobs: "asyncio.Queue[_Job | None]") -> None:
        """Put the messages of a batch on their way; one that cannot be written costs nobody else theirs."""
        for claim, written in zip(batch, await self._writer.write(batch), strict=True):
            if isinstance(written, Problem):
                log.error("message-not-written", delivery=claim.id, notice=claim.notice, problem=str(written))
                await self._settler.submit(Settlement(id=claim.id, state="failed", reason=str(written)))
            else:
                await jobs.put(_Job(claim, written))

    async def _serve_lane(self, jobs: "asyncio.Queue[_Job | None]") -> None:
        lane = _Lane()
        try:
            while job := await jobs.get():
                try:
                    settlement = await self._try(lane, job)
                except Exception as error:
                    log.exception("try-failed", delivery=job.claim.id, error=type(error).__name__)
                    outcome = Outcome(verdict=Verdict.TEMPORARY, reason=type(error).__name__, uncertain=True)
                    settlement = self._settlement(job.claim, outcome)
                lane.settled = self._settler.submit(settlement)
            await lane.previous_settled()
        finally:
            if lane.connection is not None:
                await lane.connection.close()

    async def _try(self, lane: _Lane, job: _Job) -> Settlement:
        if self._stopping.is_set() or self.relay.is_down:
            return self._release(job.claim, "not tried yet")
        await self._wait_for_slot()
        try:
            await self._connect(lane)
        except ConnectProblem as problem:
            await self.relay.failed(str(problem))
            return self._release(job.claim, str(problem))
        assert lane.connection is not None
        outcome = await lane.connection.send(job.envelope, before_dot=lane.previous_settled)
        if outcome.relay and outcome.verdict is Verdict.TEMPORARY:
            await self.relay.failed(outcome.reason)
        elif outcome.verdict is Verdict.SENT:
            await self.relay.succeeded()
        return self._settlement(job.claim, outcome)

    async def _connect(self, lane: _Lane) -> None:
        if lane.connection is not None and lane.connection.spent:
            await lane.connection.close()
            lane.connection = None
        if lane.connection is None:
            lane.connection = await self._transport.connect()

    async def _wait_for_slot(self) -> None:
        """Keep to the rate: slots are handed out one after the other, over all connections."""
        if self._rate:
            slot = max(self._next_slot, self._clock.monotonic())
            self._next_slot = slot + 1 / self._rate
            if (wait := slot - self._clock.monotonic()) > 0:
                await self._clock.sleep(wait)

    def _release(self, claim: Claim, reason: str) -> Settlement:
        return Settlement(
            id=claim.id, state="queued", reason=reason, uncertain=claim.uncertain, untried=True,
            next_try=self._clock.now(),
        )  # fmt: skip

    def _settlement(self, claim: Claim, outcome: Outcome) -> Settlement:
        now = self._clock.now()
        match outcome.verdict:
            case Verdict.SENT:
                return Settlement(id=claim.id, state="sent", sent_at=now, uncertain=False)
            case Verdict.PERMANENT:
                return Settlement(id=claim.id, state="failed", reason=outcome.reason)
            case Verdict.TEMPORARY:
                return Settlement(
                    id=claim.id, state="queued", reason=outcome.reason, next_try=now + backoff(claim.attempts),
                    uncertain=claim.uncertain or outcome.uncertain,
                )  # fmt: skip
