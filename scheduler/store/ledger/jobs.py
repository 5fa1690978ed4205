"""Chunks as PgQueuer's jobs: whoever is free takes one, and what a lost sender had is taken over. PostgreSQL only."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import structlog
from sqlalchemy import Connection, select
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.util import await_only

from scheduler.domain.problem import SettingsProblem
from scheduler.store.schema import deliveries

if TYPE_CHECKING:
    from pgqueuer.qm import QueueManager
    from pgqueuer.queries import Queries

    from scheduler.store.database import Database

log = structlog.get_logger()

CHUNK = "chunk"
AT_ONCE = 2
# A sender that has not been heard of for so long is lost; with the look around at most 20 s pass.
LOST_AFTER = timedelta(seconds=12)
LOOK_AROUND = timedelta(seconds=5)

Run = Callable[[int], Awaitable[float | None]]
"""Sends what is due of a chunk; returns after how many seconds somebody should go on with it, or None."""


def install(connection: Connection) -> None:
    """Make the tables of the jobs, inside the transaction that is open. Raises SettingsProblem without the extra."""
    queries = _queries(connection.connection.driver_connection)
    await_only(queries.install())


async def enqueue(connection: AsyncConnection, chunks: Sequence[int]) -> None:
    """Hand chunks out, in their order, when the open transaction commits; one that already waits or is worked on
    stays as it is."""
    if chunks:
        names = [str(chunk) for chunk in chunks]
        queries = _queries((await connection.get_raw_connection()).driver_connection)
        await queries.enqueue(
            [CHUNK] * len(names), [name.encode() for name in names], [0] * len(names), dedupe_key=[*names],
            on_conflict="skip",
        )  # fmt: skip


async def enqueue_open(connection: AsyncConnection, open_chunks: Sequence[int]) -> None:
    """Hand out the chunks that have something to send now, and those in which something is marked as being sent:
    where nobody works on one of these any more, what its lost sender had is taken over."""
    left = select(deliveries.c.chunk).where(deliveries.c.state == "sending").distinct()
    await enqueue(connection, list(dict.fromkeys([*open_chunks, *await connection.scalars(left)])))


class Hands:
    """Takes chunks and has them run, until told to stop; a database that goes away is come back to."""

    def __init__(self, database: "Database", run: Run) -> None:
        self._database = database
        self._run = run
        self._stopping = asyncio.Event()
        self._manager: QueueManager | None = None

    def stop(self) -> None:
        """Take nothing more: `work` ends when what is at work has ended."""
        self._stopping.set()
        if self._manager:
            self._manager.shutdown.set()

    async def work(self) -> None:
        """Take chunks and run them until stopped."""
        import asyncpg
        from pgqueuer.errors import PgqException

        faults = (
            asyncpg.PostgresError,
            asyncpg.InterfaceError,
            PgqException,
            OSError,
            TimeoutError,
            RuntimeError,
        )
        while not self._stopping.is_set():
            try:
                connection = await asyncpg.connect(self._database.dsn, timeout=10)
                try:
                    await self._work_over(connection)
                finally:
                    connection.terminate()
            except faults as error:
                if not self._stopping.is_set():
                    log.error("jobs-lost", error=type(error).__name__)
                    await asyncio.sleep(random.uniform(0.5, 1.5))  # noqa: S311 - only spreads load

    async def _work_over(self, connection: Any) -> None:
        from pgqueuer.models import Job
        from pgqueuer.qm import QueueManager

        self._manager = manager = QueueManager(_queries(connection))

        # A run that fails leaves its rows in the ledger, and the next tick hands the chunk out again.
        @manager.entrypoint(CHUNK, on_failure="delete")
        async def chunk(job: Job) -> None:
            assert job.payload
            await self._take(int(job.payload))

        if not self._stopping.is_set():
            await manager.run(
                dequeue_timeout=LOOK_AROUND, batch_size=1, max_concurrent_tasks=AT_ONCE,
                heartbeat_timeout=LOST_AFTER, shutdown_on_listener_failure=True,
            )  # fmt: skip

    async def _take(self, chunk: int) -> None:
        from pgqueuer.errors import RetryRequested

        again = await self._run(chunk)
        if again is not None:
            raise RetryRequested(delay=timedelta(seconds=again))


def _queries(connection: Any) -> "Queries":
    try:
        from pgqueuer.queries import Queries
    except ImportError:
        raise SettingsProblem(
            "PostgreSQL needs more than is installed; run pip install 'third-thursday[postgres]'"
        ) from None
    return Queries.from_asyncpg_connection(connection)
