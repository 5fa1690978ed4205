"""Send message after message over one connection, each only once the message before it is settled."""

import asyncio
from collections.abc import Callable

import structlog

from scheduler.delivery.send.relay_health import RelayHealth
from scheduler.delivery.send.results import ResultWriter, release, settlement_of
from scheduler.delivery.send.send_queue import QueuedMessage, SendQueue
from scheduler.delivery.send.transport import (
    ACCEPTED,
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


class _DeadlinePassed(Exception):
    """The current message has waited until its claim may belong to another run."""


class ConnectionWorker:
    """Sends the messages of `queue` over a connection that it opens when it needs one. It is the `SendPipeline` of that
    connection.

    `is_stopped` says that nothing new may be tried. `on_expired` is called for a message whose deadline has passed.
    """

    def __init__(
        self,
        queue: SendQueue,
        transport: Transport,
        results: ResultWriter,
        relay: RelayHealth,
        clock: Clock,
        *,
        is_stopped: Callable[[], bool],
        on_expired: Callable[[], None],
    ) -> None:
        self._queue = queue
        self._transport = transport
        self._results = results
        self._relay = relay
        self._clock = clock
        self._is_stopped = is_stopped
        self._on_expired = on_expired
        self._connection: Connection | None = None
        self._last_settled: asyncio.Future[None] | None = None
        self._current: QueuedMessage | None = None
        self._next: QueuedMessage | None = None

    async def run(self) -> None:
        """Send until the queue is closed and empty and every result is settled, or until cancelled."""
        try:
            self._current = await self._queue.get()
            while self._current:
                self._next = self._get_nowait()
                outcome = None
                try:
                    outcome, settlement = await self._send(self._current)
                except Exception as error:
                    claim = self._current.claim
                    log.exception(
                        "try-failed", delivery=claim.id, notice=claim.notice, error=type(error).__name__
                    )
                    failed = Outcome(verdict=Verdict.TEMPORARY, reason=type(error).__name__, uncertain=True)
                    settlement = settlement_of(self._current.claim, failed, self._clock.now())
                self._record(self._current, outcome, settlement)
                self._current = self._next or await self._get()
            await self._wait_until_settled()
        finally:
            await self._close()

    @property
    def next_envelope(self) -> Envelope | None:
        return self._next.envelope if self._next else None

    async def before_final_dot(self) -> None:
        await self._wait_until_settled()
        self.check_deadline()

    def check_deadline(self) -> None:
        assert self._current
        if self._clock.monotonic() > self._current.deadline:
            raise _DeadlinePassed

    def advance(self) -> "asyncio.Future[None] | None":
        current, next_message = self._current, self._next
        if not current or not next_message or self._clock.monotonic() > next_message.deadline:
            return None
        if not self._relay.note_accepted(current.claim.id):
            return None
        settlement = settlement_of(current.claim, ACCEPTED, self._clock.now())
        after_next = self._get_nowait()
        settled = self._record(current, ACCEPTED, settlement)
        self._current, self._next = next_message, after_next
        return settled

    async def _send(self, message: QueuedMessage) -> tuple[Outcome | None, Settlement]:
        """Send `message`, and those that follow it in the same `send`; return the result of the last one."""
        try:
            self.check_deadline()
            connection = self._connection
            if connection is None or not self._is_pipelined(message):
                if self._is_stopped():
                    return None, self._release(message, "not tried yet")
                if wait := self._queue.retry_after(message):
                    return None, self._release(message, "the recipient's domain is busy", wait)
                connection = await self._connect()
            outcome = await connection.send(message.envelope, pipeline=self)
            assert self._current
            outcome = await self._relay.assess(outcome, self._current.claim.id)
        except ConnectProblem as problem:
            await self._relay.record_failure(str(problem), brief=problem.brief)
            return None, self._release(message, str(problem))
        except _DeadlinePassed:
            outcome = None
        assert self._current
        if outcome is None:
            if self._is_pipelined(self._current):
                await self._close()
            self._on_expired()
            return None, self._release(self._current, "claimed for too long")
        return outcome, settlement_of(self._current.claim, outcome, self._clock.now())

    def _record(
        self, message: QueuedMessage, outcome: Outcome | None, settlement: Settlement
    ) -> "asyncio.Future[None]":
        self._queue.task_done(message, outcome)
        self._last_settled = self._results.submit(settlement, message.pending)
        return self._last_settled

    def _release(self, message: QueuedMessage, reason: str, seconds: float = 0) -> Settlement:
        return release(message.claim, reason, self._clock.now(), seconds)

    def _is_pipelined(self, message: QueuedMessage) -> bool:
        connection = self._connection
        return (
            connection is not None
            and connection.pipelined is message.envelope
            and not connection.needs_reconnect
        )

    async def _wait_until_settled(self) -> None:
        if self._last_settled is not None:
            await self._last_settled

    def _get_nowait(self) -> QueuedMessage | None:
        return None if self._is_stopped() else self._queue.get_nowait()

    async def _get(self) -> QueuedMessage | None:
        """Wait for the next message. The connection is closed when there is none for IDLE_SECONDS."""
        if self._connection is None:
            return await self._queue.get()
        getting = asyncio.ensure_future(self._queue.get())
        try:
            await asyncio.wait({getting}, timeout=IDLE_SECONDS)
            if not getting.done():
                await self._wait_until_settled()
                await self._close()
            return await getting
        finally:
            getting.cancel()

    async def _connect(self) -> Connection:
        """Return the open connection, or open a new one if that needs it. Raises ConnectProblem."""
        if self._connection is not None and self._connection.needs_reconnect:
            await self._close()
        if self._connection is None:
            self._connection = await self._transport.connect()
        return self._connection

    async def _close(self) -> None:
        if self._connection is not None:
            await self._connection.close()
            self._connection = None
