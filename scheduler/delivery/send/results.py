"""Record the results of sending. All connections share commits, and each connection waits for its own result."""

import asyncio
import random
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import NamedTuple

from scheduler.delivery.send.transport import Outcome, Verdict
from scheduler.domain.clock import Clock
from scheduler.store.database import Database, Work
from scheduler.store.ledger import claims
from scheduler.store.ledger.claims import Claim, Settlement

FIRST_BACKOFF = 30.0
MAX_BACKOFF = 900.0
FIRST_CONFIRMATION_BACKOFF = 5.0
"""Seconds until a permanent refusal that is not confirmed yet is tried again. They double as the backoff does."""
FIRST_RETRY = 0.5
MAX_RETRY = 5.0
MAX_CONSECUTIVE_COMMITS = 4
"""After this many commits, other database work, such as a claim, has its turn."""


def backoff(attempts: int, *, first: float = FIRST_BACKOFF) -> timedelta:
    """Return how long to wait after the `attempts`-th try failed temporarily: 30 s, doubling up to 15 min, ±10%."""
    seconds = min(first * 2 ** min(attempts - 1, 10), MAX_BACKOFF)
    return timedelta(seconds=seconds * random.uniform(0.9, 1.1))  # noqa: S311 - spreads load, guards nothing


def settlement_of(claim: Claim, outcome: Outcome, now: datetime) -> Settlement:
    """Return what to record for a claim that was tried."""
    match outcome.verdict:
        case Verdict.SENT:
            return Settlement(id=claim.id, state="sent", sent_at=now)
        case Verdict.PERMANENT:
            return Settlement(id=claim.id, state="failed", reason=outcome.reason)
        case Verdict.TEMPORARY:
            first = FIRST_CONFIRMATION_BACKOFF if outcome.unconfirmed else FIRST_BACKOFF
            return Settlement(
                id=claim.id,
                state="queued",
                reason=outcome.reason,
                next_try=now + backoff(claim.attempts, first=first),
                uncertain=claim.uncertain or outcome.uncertain,
            )


def release(claim: Claim, reason: str, now: datetime, seconds: float = 0) -> Settlement:
    """Return what to record for a claim that was not tried: it goes back to the queue, for at least `seconds`."""
    return Settlement(
        id=claim.id,
        state="queued",
        reason=reason,
        uncertain=claim.uncertain,
        untried=True,
        next_try=now + timedelta(seconds=seconds),
    )


class PendingCount:
    """How many messages of a chunk are not settled yet."""

    def __init__(self) -> None:
        self.total = 0
        """The number of messages added so far, settled or not."""
        self._pending = 0
        self._none_pending = asyncio.Event()
        self._none_pending.set()

    def add(self, count: int) -> None:
        """Count `count` more messages as pending."""
        if count:
            self.total += count
            self._pending += count
            self._none_pending.clear()

    def settle_one(self) -> None:
        """Count one message as settled."""
        self._pending -= 1
        if not self._pending:
            self._none_pending.set()

    async def wait_until_settled(self) -> None:
        """Wait until no message is pending."""
        await self._none_pending.wait()


class _Submission(NamedTuple):
    settlement: Settlement
    pending: PendingCount
    committed: "asyncio.Future[None]"


class ResultWriter:
    """Groups the settlements of all connections of one run into commits: the next group gathers during a commit.

    A commit contains what half of the `connections` submitted, so that the other half can send meanwhile.
    """

    def __init__(self, database: Database, clock: Clock, *, run: str, connections: int) -> None:
        self._database = database
        self._clock = clock
        self._run = run
        self._half = max(1, connections // 2)
        self._submissions: deque[_Submission] = deque()
        self._submitted = asyncio.Event()

    def submit(self, settlement: Settlement, pending: PendingCount) -> "asyncio.Future[None]":
        """Submit the result of a try. The future is done once it is committed."""
        committed = asyncio.get_running_loop().create_future()
        self._submissions.append(_Submission(settlement, pending, committed))
        self._submitted.set()
        return committed

    async def write(self) -> None:
        """Commit what is submitted, until cancelled.

        When the database fails, try again: no result is lost, and until then no connection sends its next message.
        """
        pause = FIRST_RETRY
        while True:
            await self._submitted.wait()
            self._submitted.clear()
            while self._submissions:
                try:
                    await self._database.run_writes(self._commits(asyncio.get_running_loop()))
                    self._database.outages.end("settling")
                    pause = FIRST_RETRY
                except Exception as error:  # noqa: BLE001 - whatever the error, the connections must not wait for ever
                    self._database.outages.begin("settling", error, deliveries=len(self._submissions))
                    await self._clock.sleep(pause)
                    pause = min(pause * 2, MAX_RETRY)

    def _commits(self, loop: asyncio.AbstractEventLoop) -> Iterator[Work]:
        """Yield the next commits while submissions are waiting. May run in another thread than the event loop."""
        for _ in range(MAX_CONSECUTIVE_COMMITS):
            waiting = len(self._submissions)
            if not waiting:
                return
            batch = list(islice(self._submissions, max(min(waiting, self._half), waiting - self._half)))
            yield claims.settle_work([submission.settlement for submission in batch], run=self._run)
            # The database asks for the next commit only once this one has succeeded.
            for _ in batch:
                self._submissions.popleft()
            loop.call_soon_threadsafe(_report_committed, batch)


def _report_committed(batch: Sequence[_Submission]) -> None:
    for submission in batch:
        submission.pending.settle_one()
        # A future that was cancelled together with its run has nobody waiting for it.
        if not submission.committed.done():
            submission.committed.set_result(None)
