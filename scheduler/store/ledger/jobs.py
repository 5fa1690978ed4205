"""Chunks as PgQueuer's jobs: whoever is free takes one, and what a lost sender had is taken over. PostgreSQL only."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import structlog
from sqlalchemy import BigInteger, Connection, cast, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.util import await_only

from scheduler.store.database import OUTAGES
from scheduler.store.schema import counters, deliveries

if TYPE_CHECKING:
    from pgqueuer.qm import QueueManager
    from pgqueuer.queries import Queries

    from scheduler.store.database import Database

log = structlog.get_logger()

CHUNK = "chunk"
MAX_CONCURRENT_CHUNKS = 2
# A sender that has not been heard of for so long is lost; with the look around at most 20 s pass.
HEARTBEAT_TIMEOUT = timedelta(seconds=15)
DEQUEUE_TIMEOUT = timedelta(seconds=5)
# A living one is heard of again within 0.63 of that; so much later nobody can have taken over its claims.
LEASE_SECONDS = 5.0
WATCH_SECONDS = 0.5
PROVEN_SECONDS = 5.0
"""How long fetching jobs must have gone on for it to count as working again."""

JOBS = "fetching-jobs"
SLOT = "slot"

Run = Callable[[int], Awaitable[float | None]]
"""Sends what is due of a chunk; returns after how many seconds somebody should go on with it, or None."""


def install(connection: Connection) -> None:
    """Make the tables of the jobs, inside the transaction that is open."""
    queries = _queries(connection.connection.driver_connection)
    await_only(queries.install())


async def enqueue(connection: AsyncConnection, chunks: Sequence[int], *, awaited: bool = False) -> None:
    """Hand chunks out, in their order, when the open transaction commits; one that already waits or is worked on
    stays as it is. What a single person waits for is `awaited`, and taken before all else."""
    if chunks:
        names = [str(chunk) for chunk in chunks]
        queries = _queries((await connection.get_raw_connection()).driver_connection)
        await queries.enqueue(
            [CHUNK] * len(names),
            [name.encode() for name in names],
            [int(awaited)] * len(names),
            dedupe_key=[*names],
            on_conflict="skip",
        )


async def enqueue_open(connection: AsyncConnection, open_chunks: Sequence[int]) -> None:
    """Hand out the chunks that have something to send now, and those in which something is marked as being sent:
    where nobody works on one of these any more, what its lost sender had is taken over."""
    left = select(deliveries.c.chunk).where(deliveries.c.state == "sending").distinct()
    await enqueue(connection, list(dict.fromkeys([*open_chunks, *await connection.scalars(left)])))


async def reserve_slots(connection: AsyncConnection, slots: int, *, rate: float) -> float:
    """Reserve so many slots of a rate (messages a second) in a row among all senders; the seconds until the first.

    The database's clock counts; who books next waits for this transaction, and begins behind it.
    """
    length = round(slots * 1_000_000 / rate)
    now = cast(func.extract("epoch", func.clock_timestamp()) * 1_000_000, BigInteger)
    row = insert(counters).values(name=SLOT, value=now + length)
    booked = row.on_conflict_do_update(
        index_elements=["name"], set_={"value": func.greatest(counters.c.value, now) + length}
    ).returning(counters.c.value - length - now)
    return max(0, int(await connection.scalar(booked) or 0)) / 1_000_000


class JobsLost(Exception):
    """The database went away, or a chunk was cut off: come back to it."""


class JobConsumer:
    """Takes chunks and has them run. `lost` is called at once when nobody else can be told that they are at work."""

    def __init__(self, database: "Database", run: Run, *, lost: Callable[[], None]) -> None:
        self._database = database
        self._run = run
        self._lost = lost
        self._failed = self.stopped = False
        self._manager: QueueManager | None = None

    def stop(self) -> None:
        """Take nothing more: `work` ends when what is at work has ended."""
        self.stopped = True
        if self._manager:
            self._manager.shutdown.set()

    async def work(self) -> None:
        """Take chunks and run them until stopped. Raises JobsLost when that cannot go on; until it has gone on for a
        while again, that is an outage of the database, and the service is not ready."""
        import asyncpg
        from pgqueuer.errors import PgqException

        faults = (
            asyncpg.PostgresError,
            asyncpg.InterfaceError,
            asyncpg.InternalClientError,
            PgqException,
            OSError,
            TimeoutError,
            RuntimeError,
        )
        self._failed = False
        try:
            connection = await self._database.connect_driver()
            watching = asyncio.create_task(self._watch(connection))
            try:
                await self._work_over(connection)
            finally:
                watching.cancel()
                connection.terminate()
        except faults as error:
            self._database.outages.begin(JOBS, error)
            raise JobsLost(type(error).__name__) from None
        if self._failed and not self.stopped:
            raise JobsLost("a chunk was cut off")

    async def _watch(self, connection: Any) -> None:
        # A backend that is ended while nothing is asked of it tells no termination listener.
        looks = 0
        while not connection.is_closed():
            await asyncio.sleep(WATCH_SECONDS)
            looks += 1
            if looks * WATCH_SECONDS == PROVEN_SECONDS:
                self._database.outages.end(JOBS)
        self._lost()

    async def _work_over(self, connection: Any) -> None:
        from pgqueuer.models import Job
        from pgqueuer.qm import QueueManager

        self._manager = manager = QueueManager(_queries(connection))

        # A run that fails leaves its rows in the ledger, and the next tick hands the chunk out again.
        @manager.entrypoint(CHUNK, on_failure="delete")
        async def chunk(job: Job) -> None:
            assert job.payload
            await self._take(int(job.payload))

        if not self.stopped:
            await manager.run(
                dequeue_timeout=DEQUEUE_TIMEOUT,
                batch_size=1,
                max_concurrent_tasks=MAX_CONCURRENT_CHUNKS,
                heartbeat_timeout=HEARTBEAT_TIMEOUT,
                shutdown_on_listener_failure=True,
            )

    async def _take(self, chunk: int) -> None:
        from pgqueuer.errors import RetryRequested

        try:
            again = await self._run(chunk)
        except OUTAGES as error:
            log.error("chunk-cut-off", chunk=chunk, error=type(error).__name__)
            self._failed, again = True, 0
            self._lost()
            assert self._manager
            self._manager.shutdown.set()
        if again is not None:
            raise RetryRequested(delay=timedelta(seconds=again))


def _queries(connection: Any) -> "Queries":
    from pgqueuer.queries import Queries

    return Queries.from_asyncpg_connection(connection)
