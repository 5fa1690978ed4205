"""Writing down what became of tries: many in one commit, and each waited for by its own connection."""

import asyncio
from collections.abc import Sequence
from functools import partial

from scheduler.domain.clock import Clock
from scheduler.store.database import Database
from scheduler.store.ledger import claims
from scheduler.store.ledger.claims import Settlement

LONGEST_PAUSE = 5.0


class Tally:
    """How many of a chunk's messages are not settled yet."""

    def __init__(self) -> None:
        self.count = 0
        """How many there were in all."""
        self._left = 0
        self._none_left = asyncio.Event()
        self._none_left.set()

    def add(self) -> None:
        self.count += 1
        self._left += 1
        self._none_left.clear()

    def settled(self) -> None:
        self._left -= 1
        if not self._left:
            self._none_left.set()

    async def all_settled(self) -> None:
        await self._none_left.wait()


class Settler:
    """Groups the settlements of all connections of one run: while one commit is under way the next gathers."""

    def __init__(self, database: Database, clock: Clock, *, run: str) -> None:
        self._database = database
        self._clock = clock
        self._run = run
        self._waiting: list[tuple[Settlement, Tally]] = []
        self._committed: asyncio.Future[None] | None = None
        self._arrived = asyncio.Event()

    def submit(self, settlement: Settlement, tally: Tally) -> asyncio.Future[None]:
        """Hand in what became of a try. What is returned is done once that is committed; all of a commit share it, so
        that nobody may cancel it alone."""
        self._waiting.append((settlement, tally))
        self._arrived.set()
        # One that was cut off with its run is nobody's any more.
        if self._committed is None or self._committed.done():
            self._committed = asyncio.get_running_loop().create_future()
        return self._committed

    async def settle(self) -> None:
        """Commit what comes in until cancelled. A database that fails is tried again: nothing is forgotten, and
        meanwhile no connection goes on to its next message."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            batch, self._waiting = self._waiting, []
            committed, self._committed = self._committed, None
            await self._commit([settlement for settlement, _ in batch])
            for _, tally in batch:
                tally.settled()
            if committed and not committed.done():
                committed.set_result(None)

    async def _commit(self, settlements: Sequence[Settlement]) -> None:
        pause = 0.5
        while settlements:
            try:
                await self._database.write_at_once(
                    partial(claims.settle, settlements=settlements, run=self._run),
                    bare=claims.is_bare(settlements),
                )
                self._database.faults.end("settling")
                return
            except Exception as error:  # noqa: BLE001 - whatever it is, the lanes wait and must not wait for ever
                self._database.faults.begin("settling", error, deliveries=len(settlements))
                await self._clock.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
