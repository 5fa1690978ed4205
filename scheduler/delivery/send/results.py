"""Writing down what became of tries: many in one commit, and each waited for by its own connection."""

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

SHORTEST_BACKOFF = 30.0
LONGEST_BACKOFF = 900.0
LONGEST_PAUSE = 5.0
DOUBT_SECONDS = 5.0
"""After how long a refusal that is not believed yet is tried again first; that doubles as the backoff does."""
IN_A_ROW = 4
"""So many commits at most follow each other before others, as a claim, have their turn."""


def backoff(attempts: int, *, shortest: float = SHORTEST_BACKOFF) -> timedelta:
    """How long to wait after the `attempts`-th try failed for now: 30 s, doubling to 15 min, a fifth at random."""
    seconds = min(shortest * 2 ** min(attempts - 1, 10), LONGEST_BACKOFF)
    return timedelta(seconds=seconds * random.uniform(0.9, 1.1))  # noqa: S311 - spreads load, guards nothing


def settlement_of(claim: Claim, outcome: Outcome, now: datetime) -> Settlement:
    """What is written down of a try."""
    match outcome.verdict:
        case Verdict.SENT:
            return Settlement(id=claim.id, state="sent", sent_at=now)
        case Verdict.PERMANENT:
            return Settlement(id=claim.id, state="failed", reason=outcome.reason)
        case Verdict.TEMPORARY:
            wait = backoff(claim.attempts, shortest=DOUBT_SECONDS if outcome.doubted else SHORTEST_BACKOFF)
            return Settlement(
                id=claim.id,
                state="queued",
                reason=outcome.reason,
                next_try=now + wait,
                uncertain=claim.uncertain or outcome.uncertain,
            )


def release(claim: Claim, reason: str, now: datetime, seconds: float = 0) -> Settlement:
    """What is written down of a claim that was not tried: it goes back to the queue, for `seconds` at least."""
    return Settlement(
        id=claim.id,
        state="queued",
        reason=reason,
        uncertain=claim.uncertain,
        untried=True,
        next_try=now + timedelta(seconds=seconds),
    )


class PendingCount:
    """How many of a chunk's messages are not settled yet."""

    def __init__(self) -> None:
        self.count = 0
        """How many there were in all."""
        self._left = 0
        self._none_left = asyncio.Event()
        self._none_left.set()

    def add(self, count: int) -> None:
        if count:
            self.count += count
            self._left += count
            self._none_left.clear()

    def settled(self) -> None:
        self._left -= 1
        if not self._left:
            self._none_left.set()

    async def all_settled(self) -> None:
        await self._none_left.wait()


class _Waiting(NamedTuple):
    settlement: Settlement
    tally: PendingCount
    committed: "asyncio.Future[None]"


class ResultWriter:
    """Groups the settlements of all connections of one run: while one commit is under way the next gathers.

    A commit takes what half of the `connections` hand in, so that the other half's messages are on their way meanwhile.
    """

    def __init__(self, database: Database, clock: Clock, *, run: str, connections: int) -> None:
        self._database = database
        self._clock = clock
        self._run = run
        self._half = max(1, connections // 2)
        self._waiting: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()

    def submit(self, settlement: Settlement, tally: PendingCount) -> "asyncio.Future[None]":
        """Hand in what became of a try. What is returned is done once that is committed."""
        committed = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(settlement, tally, committed))
        self._arrived.set()
        return committed

    async def settle(self) -> None:
        """Commit what comes in until cancelled. A database that fails is tried again: nothing is forgotten, and
        meanwhile no connection goes on to its next message."""
        pause = 0.5
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                try:
                    await self._database.run_writes(self._commits(asyncio.get_running_loop()))
                    self._database.outages.end("settling")
                    pause = 0.5
                except Exception as error:  # noqa: BLE001 - whatever it is, the lanes wait and must not wait for ever
                    self._database.outages.begin("settling", error, deliveries=len(self._waiting))
                    await self._clock.sleep(pause)
                    pause = min(pause * 2, LONGEST_PAUSE)

    def _commits(self, loop: asyncio.AbstractEventLoop) -> Iterator[Work]:
        """What to commit next, as long as something waits; perhaps in another thread than the loop's."""
        for _ in range(IN_A_ROW):
            waiting = len(self._waiting)
            if not waiting:
                return
            batch = list(islice(self._waiting, max(min(waiting, self._half), waiting - self._half)))
            yield claims.settle_work([one.settlement for one in batch], run=self._run)
            # It is committed, or nothing would have been asked for behind it.
            for _ in batch:
                self._waiting.popleft()
            loop.call_soon_threadsafe(_tell, batch)


def _tell(batch: Sequence[_Waiting]) -> None:
    for one in batch:
        one.tally.settled()
        # One that was cut off with its run is nobody's any more.
        if not one.committed.done():
            one.committed.set_result(None)
