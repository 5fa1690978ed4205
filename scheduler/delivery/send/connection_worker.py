"""One connection's road: job after job, and before each one's final dot the job before it is settled."""

import asyncio
from collections.abc import Callable

import structlog

from scheduler.delivery.send.relay_health import RelayHealth
from scheduler.delivery.send.results import ResultWriter, release, settlement_of
from scheduler.delivery.send.send_queue import QueuedMessage, SendQueue
from scheduler.delivery.send.transport import (
    TAKEN,
    Connection,
    ConnectProblem,
    Envelope,
    Outcome,
    Transport,
    Verdict,
)
from scheduler.domain.clock import Clock
from scheduler.store.ledger.claims import Settlement

log = structlog.get_logger()

IDLE_SECONDS = 5.0


class _TooLate(Exception):
    """The present message waited longer than its claim is surely ours."""


class ConnectionWorker:
    """Sends what `backlog` gives out; the `Feed` of its connection, which is made when it is needed.

    `is_idle` says that nothing new is to be tried. `claimed_too_long` is told of a job whose time was over.
    """

    def __init__(
        self,
        backlog: SendQueue,
        transport: Transport,
        settler: ResultWriter,
        relay: RelayHealth,
        clock: Clock,
        *,
        is_idle: Callable[[], bool],
        claimed_too_long: Callable[[], None],
    ) -> None:
        self._backlog = backlog
        self._transport = transport
        self._settler = settler
        self._relay = relay
        self._clock = clock
        self._is_idle = is_idle
        self._claimed_too_long = claimed_too_long
        self._connection: Connection | None = None
        self._settled: asyncio.Future[None] | None = None
        self._job: QueuedMessage | None = None
        self._following: QueuedMessage | None = None

    async def serve(self) -> None:
        """Send until the backlog ends, and all of it is settled; or until cancelled."""
        try:
            self._job = await self._backlog.get()
            while self._job:
                self._following = self._get_ahead()
                outcome = None
                try:
                    outcome, settlement = await self._try(self._job)
                except Exception as error:
                    log.exception("try-failed", delivery=self._job.claim.id, error=type(error).__name__)
                    failed = Outcome(verdict=Verdict.TEMPORARY, reason=type(error).__name__, uncertain=True)
                    settlement = settlement_of(self._job.claim, failed, self._clock.now())
                self._note(self._job, outcome, settlement)
                self._job = self._following or await self._next()
            await self._all_settled()
        finally:
            await self._close()

    @property
    def following(self) -> Envelope | None:
        return self._following.envelope if self._following else None

    async def before_dot(self) -> None:
        await self._all_settled()
        self.check()

    def check(self) -> None:
        assert self._job
        if self._clock.monotonic() > self._job.until:
            raise _TooLate

    def taken(self) -> "asyncio.Future[None] | None":
        job, following = self._job, self._following
        if not job or not following or self._clock.monotonic() > following.until:
            return None
        if not self._relay.note_taken(job.claim.id):
            return None
        settlement = settlement_of(job.claim, TAKEN, self._clock.now())
        ahead = self._get_ahead()
        settled = self._note(job, TAKEN, settlement)
        self._job, self._following = following, ahead
        return settled

    async def _try(self, job: QueuedMessage) -> tuple[Outcome | None, Settlement]:
        """What became of `job`; or, once that was taken, of the last of those that went behind it."""
        try:
            self.check()
            connection = self._connection
            if connection is None or not self._has_offered(job):
                if self._is_idle():
                    return None, self._release(job, "not tried yet")
                if wait := self._backlog.pause(job):
                    return None, self._release(job, "its destination is busy", wait)
                connection = await self._connected()
            outcome = await connection.send(job.envelope, feed=self)
            assert self._job
            outcome = await self._relay.judge(outcome, self._job.claim.id)
        except ConnectProblem as problem:
            await self._relay.failed(str(problem), brief=problem.brief)
            return None, self._release(job, str(problem))
        except _TooLate:
            outcome = None
        assert self._job
        if outcome is None:
            if self._has_offered(self._job):
                await self._close()
            self._claimed_too_long()
            return None, self._release(self._job, "claimed for too long")
        return outcome, settlement_of(self._job.claim, outcome, self._clock.now())

    def _note(
        self, job: QueuedMessage, outcome: Outcome | None, settlement: Settlement
    ) -> "asyncio.Future[None]":
        self._backlog.done(job, outcome)
        self._settled = self._settler.submit(settlement, job.tally)
        return self._settled

    def _release(self, job: QueuedMessage, reason: str, seconds: float = 0) -> Settlement:
        return release(job.claim, reason, self._clock.now(), seconds)

    def _has_offered(self, job: QueuedMessage) -> bool:
        connection = self._connection
        return connection is not None and connection.offered is job.envelope and not connection.spent

    async def _all_settled(self) -> None:
        if self._settled is not None:
            await self._settled

    def _get_ahead(self) -> QueuedMessage | None:
        return None if self._is_idle() else self._backlog.get_ahead()

    async def _next(self) -> QueuedMessage | None:
        """The next job; a connection for which there is none is not kept for long."""
        if self._connection is None:
            return await self._backlog.get()
        getting = asyncio.ensure_future(self._backlog.get())
        try:
            await asyncio.wait({getting}, timeout=IDLE_SECONDS)
            if not getting.done():
                await self._all_settled()
                await self._close()
            return await getting
        finally:
            getting.cancel()

    async def _connected(self) -> Connection:
        """The connection; another one where that is spent. Raises ConnectProblem."""
        if self._connection is not None and self._connection.spent:
            await self._close()
        if self._connection is None:
            self._connection = await self._transport.connect()
        return self._connection

    async def _close(self) -> None:
        if self._connection is not None:
            await self._connection.close()
            self._connection = None
