"""Chunks as PgQueuer jobs: any free sender takes one, and takes over the jobs of a lost sender. PostgreSQL only."""

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
# A sender without a heartbeat for this long is lost; at the latest 20 s after it stopped its jobs are taken over.
HEARTBEAT_TIMEOUT = timedelta(seconds=15)
DEQUEUE_TIMEOUT = timedelta(seconds=5)
# A live sender's heartbeat is at most 0.63 * HEARTBEAT_TIMEOUT old, so nobody can take over its claims for this long.
LEASE_SECONDS = 5.0
WATCH_SECONDS = 0.5
PROVEN_SECONDS = 5.0
"""After this many seconds without a failure, fetching jobs counts as working again."""

_OUTAGE = "fetching-jobs"
_SLOT_COUNTER = "slot"

Run = Callable[[int], Awaitable[float | None]]
"""Send what is due of a chunk; return the number of seconds after which to continue with it, or None if done."""


def install(connection: Connection) -> None:
    """Create PgQueuer's tables in the open transaction."""
    queries = _queries(connection.connection.driver_connection)
    await_only(queries.install())


async def enqueue(connection: AsyncConnection, chunks: Sequence[int], *, urgent: bool = False) -> None:
    """Enqueue chunks, in this order, when the open transaction commits; one that is queued or being sent stays as it
    is. `urgent` ones, which a single person is waiting for, are taken first."""
    if chunks:
        names = [str(chunk) for chunk in chunks]
        queries = _queries((await connection.get_raw_connection()).driver_connection)
        await queries.enqueue(
            [CHUNK] * len(names),
            [name.encode() for name in names],
            [int(urgent)] * len(names),
            dedupe_key=[*names],
            on_conflict="skip",
        )


async def enqueue_open(connection: AsyncConnection, open_chunks: Sequence[int]) -> None:
    """Enqueue the chunks that have something to send now, and those with deliveries marked as being sent: if their
    sender is lost, another one takes them over."""
    sending = select(deliveries.c.chunk).where(deliveries.c.state == "sending").distinct()
    await enqueue(connection, list(dict.fromkeys([*open_chunks, *await connection.scalars(sending)])))


async def reserve_slots(connection: AsyncConnection, slots: int, *, rate: float) -> float:
    """Reserve consecutive slots of a rate (messages a second) shared by all senders; return the seconds to the first.

    Uses the database's clock. The next reservation waits for this transaction and begins after it.
    """
    length = round(slots * 1_000_000 / rate)
    now = cast(func.extract("epoch", func.clock_timestamp()) * 1_000_000, BigInteger)
    row = insert(counters).values(name=_SLOT_COUNTER, value=now + length)
    reservation = row.on_conflict_do_update(
        index_elements=["name"], set_={"value": func.greatest(counters.c.value, now) + length}
    ).returning(counters.c.value - length - now)
    return max(0, int(await connection.scalar(reservation) or 0)) / 1_000_000


class JobsLost(Exception):
    """The database connection was lost, or a chunk was interrupted: start again."""


class JobConsumer:
    """Take chunks and run them. `lost` is called at once when heartbeats can no longer be sent."""

    def __init__(self, database: "Database", run: Run, *, lost: Callable[[], None]) -> None:
        self._database = database
        self._run = run
        self._lost = lost
        self._failed = self.stopped = False
        self._manager: QueueManager | None = None

    def stop(self) -> None:
        """Take no more chunks: `work` returns when the chunks being sent are finished."""
        self.stopped = True
        if self._manager:
            self._manager.shutdown.set()

    async def work(self) -> None:
        """Take chunks and run them until stopped. Raises JobsLost if that cannot continue.

        From then on the database has an outage and the service is not ready, until fetching has worked for a while.
        """
        import asyncpg
        from pgqueuer.errors import PgqException

        failures = (
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
            watch = asyncio.create_task(self._watch(connection))
            try:
                await self._consume(connection)
            finally:
                watch.cancel()
                connection.terminate()
        except failures as error:
            self._database.outages.begin(_OUTAGE, error)
            raise JobsLost(type(error).__name__) from None
        if self._failed and not self.stopped:
            raise JobsLost("a chunk was interrupted")

    async def _watch(self, connection: Any) -> None:
        # asyncpg calls no termination listener if the server ends an idle connection, so check regularly.
        checks = 0
        while not connection.is_closed():
            await asyncio.sleep(WATCH_SECONDS)
            checks += 1
            if checks * WATCH_SECONDS == PROVEN_SECONDS:
                self._database.outages.end(_OUTAGE)
        self._lost()

    async def _consume(self, connection: Any) -> None:
        from pgqueuer.models import Job
        from pgqueuer.qm import QueueManager

        self._manager = manager = QueueManager(_queries(connection))

        # A failed run leaves its deliveries in the ledger, and the next tick enqueues the chunk again.
        @manager.entrypoint(CHUNK, on_failure="delete")
        async def chunk(job: Job) -> None:
            assert job.payload
            await self._run_chunk(int(job.payload))

        if not self.stopped:
            await manager.run(
                dequeue_timeout=DEQUEUE_TIMEOUT,
                batch_size=1,
                max_concurrent_tasks=MAX_CONCURRENT_CHUNKS,
                heartbeat_timeout=HEARTBEAT_TIMEOUT,
                shutdown_on_listener_failure=True,
            )

    async def _run_chunk(self, chunk: int) -> None:
        from pgqueuer.errors import RetryRequested

        try:
            retry_seconds = await self._run(chunk)
        except OUTAGES as error:
            log.error("chunk-interrupted", chunk=chunk, error=type(error).__name__)
            self._failed, retry_seconds = True, 0
            self._lost()
            assert self._manager
            self._manager.shutdown.set()
        if retry_seconds is not None:
            raise RetryRequested(delay=timedelta(seconds=retry_seconds))


def _queries(connection: Any) -> "Queries":
    from pgqueuer.queries import Queries

    return Queries.from_asyncpg_connection(connection)
