"""The way into the database: one engine, short reading and writing transactions, SQLite or PostgreSQL."""

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection, Table, create_engine, event, text
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from scheduler.domain.errors import Problem, SettingsProblem
from scheduler.store.database_url import (
    certificate_files,
    connect_seconds,
    driver_address,
    parse_url,
    shown_address,
)
from scheduler.store.outage import Outages

OUTAGES: tuple[type[Exception], ...] = (SQLAlchemyError, OSError)
"""What a database that is locked, full, gone or restarting raises: worth trying again."""

T = TypeVar("T")

HURRIED_SECONDS = 2

_TICK_LOCK = 7437002


class Work(NamedTuple):
    """What `write` does within one transaction. `bare`: that is on SQLite a single statement of the driver's, which is
    a transaction of itself."""

    write: Callable[[Connection], object]
    bare: bool = False


class DatabaseProblem(Problem):
    """The database cannot be used as it is; says which and what to do."""


class Database:
    """Short transactions on one database; none may be open while something is awaited from the network.

    `read` sees one consistent state; `write` holds the writer's lock from its beginning (SQLite) and commits at
    the end of the block, or rolls back when it raises. `outages` is what of this process's work fails meanwhile.
    """

    def __init__(self, url: str) -> None:
        self.url = parse_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.outages = Outages()
        options: dict[str, Any] = {}
        if not self.is_sqlite:
            options = {"pool_size": 5, "max_overflow": 15, "async_creator": self.connect_driver}
        # Parameters are addresses and names: they stay out of messages and logs.
        try:
            self._engine = create_async_engine(self.url, hide_parameters=True, **options)
        except ModuleNotFoundError:
            raise SettingsProblem(
                "PostgreSQL needs more than is installed; run pip install 'third-thursday[postgres]'"
            ) from None
        if self.is_sqlite:
            at_once = create_engine(self.url.set(drivername="sqlite"), hide_parameters=True)
            for engine in (self._engine.sync_engine, at_once):
                event.listen(engine, "connect", _prepare_sqlite)
                event.listen(engine, "begin", _begin_sqlite)
            self._at_once = at_once.execution_options(writes=True)
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")
            self._kept: Connection | None = None
        self._writer = self._engine.execution_options(writes=True)

    @property
    def path(self) -> Path | None:
        """The file of a SQLite database."""
        return Path(self.url.database) if self.is_sqlite and self.url.database else None

    @property
    def shown(self) -> str:
        """The database's name for people, without a password or parameters."""
        return str(self.path) if self.path else shown_address(self.url)

    async def connect_driver(self) -> Any:
        """Open a connection of asyncpg's to a PostgreSQL database: the one way, whoever needs one, so that every
        parameter of the address means the same for all. The caller closes it."""
        import asyncpg

        for file in certificate_files(self.url):
            # asyncpg would not say which of them it cannot read.
            with file.open("rb"):
                pass
        return await asyncpg.connect(driver_address(self.url), timeout=connect_seconds(self.url))

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        async with self._engine.connect() as connection, connection.begin():
            yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        async with self._writer.connect() as connection, connection.begin():
            yield connection

    async def run_write(self, work: Callable[[Connection], T]) -> T:
        """As `write`, for what is written many times a second; returns what `work` does.

        On SQLite the whole of `work` runs in a thread of its own: the way there and back costs more than a
        statement, and is gone once instead of for each. All of it takes turns there, which waits less than
        asking for the writer's lock again and again.
        """
        if not self.is_sqlite:
            async with self.write() as connection:
                return await connection.run_sync(work)
        return await self._in_turn(partial(self._transact, work))

    async def run_writes(self, works: Iterable[Work]) -> None:
        """As `run_write`, work after work, each committed before the next is asked for: on SQLite in that thread,
        where the next begins without a way back here. Stops where one raises."""
        if self.is_sqlite:
            await self._in_turn(lambda: [self._transact(one.write, bare=one.bare) for one in works])
            return
        for one in works:
            await self.run_write(one.write)

    async def _in_turn(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _transact(self, work: Callable[[Connection], T], *, bare: bool = False) -> T:
        if self._kept is None:
            self._kept = self._at_once.connect()
        try:
            with nullcontext() if bare else self._kept.begin():
                return work(self._kept)
        except BaseException:
            self._kept.close()
            self._kept = None
            raise

    @asynccontextmanager
    async def change_schema(self) -> AsyncIterator[AsyncConnection]:
        """As `write`, for changes of the tables themselves: SQLite makes such a table anew, and must not take that for
        the end of all that refers to it. What refers to nothing afterwards is refused."""
        if not self.is_sqlite:
            async with self.write() as connection:
                yield connection
            return
        async with self._writer.connect() as connection:
            driver = (await connection.get_raw_connection()).driver_connection
            assert driver
            await driver.execute("PRAGMA foreign_keys = OFF")
            try:
                async with connection.begin():
                    yield connection
                    if (await connection.execute(text("PRAGMA foreign_key_check"))).first():
                        raise DatabaseProblem(
                            f"{self.shown} holds rows that refer to nothing; restore a backup"
                        )
            finally:
                await driver.execute("PRAGMA foreign_keys = ON")

    @asynccontextmanager
    async def tick(self) -> AsyncIterator[AsyncConnection]:
        """As `write`, and no other tick's transaction at the same time."""
        async with self.write() as connection:
            if not self.is_sqlite:
                await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _TICK_LOCK})
            yield connection

    async def checkpoint(self) -> None:
        """Write SQLite's log into its file and empty it; nothing to do on PostgreSQL.

        Waits for readers and writers as long as a transaction does. Raises DatabaseProblem where they go on longer.
        """
        if self.is_sqlite and (await self._by_driver("PRAGMA wal_checkpoint(TRUNCATE)"))[0]:
            raise DatabaseProblem(f"{self.shown} is busy, and its log could not be emptied; try again")

    async def rewrite(self) -> None:
        """Write SQLite's file anew with only what its rows hold; nothing to do on PostgreSQL.

        Nobody else can write meanwhile, some seconds for each gigabyte. Raises DatabaseProblem where it fails.
        """
        if self.is_sqlite:
            try:
                await self._by_driver("VACUUM")
            except sqlite3.Error as error:
                raise DatabaseProblem(f"{self.shown} could not be written anew: {error}; try again") from None
            await self.checkpoint()

    async def _by_driver(self, statement: str) -> tuple[Any, ...]:
        """Run what SQLite refuses inside a transaction, as the engine would begin one; returns the first row."""
        async with self._engine.connect() as connection:
            driver = (await connection.get_raw_connection()).driver_connection
            assert driver
            async with driver.execute(statement) as cursor:
                return await cursor.fetchone() or ()

    def with_short_timeout(self) -> "Database":
        """The same database, for who would rather fail than wait for others longer than some seconds."""
        if self.is_sqlite:
            return Database(f"sqlite:///{self.path}?timeout={HURRIED_SECONDS}")
        return Database(self.url.set(drivername="postgresql").render_as_string(hide_password=False))

    @property
    def is_served(self) -> bool:
        """Whether a `serve` is `exclusive` on this file; False on PostgreSQL."""
        if not self.path or not _lock_of(self.path).exists():
            return False
        handle = os.open(_lock_of(self.path), os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(handle)
        return False

    @asynccontextmanager
    async def exclusive(self) -> AsyncIterator[None]:
        """See that one `serve` alone works on this file. Raises DatabaseProblem where another does.

        PostgreSQL lets any number in: there ticks take turns, and chunks are handed out.
        """
        if not self.path:
            yield
            return
        with _file_lock(self.path, DatabaseProblem(f"another `serve` works on {self.shown}; stop it first")):
            yield

    async def close(self) -> None:
        await self._engine.dispose()
        if self.is_sqlite:
            self._thread.shutdown()
            if self._kept is not None:
                self._kept.close()
            self._at_once.dispose()


def _lock_of(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


@contextmanager
def _file_lock(path: Path, busy: DatabaseProblem) -> Iterator[None]:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(_lock_of(path), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise DatabaseProblem(f"the folder {path.parent} cannot be written: {error.strerror}") from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise busy from None
        yield
    finally:
        os.close(handle)


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # The driver's own transaction handling off: `begin` below decides, or a read that turns into a write would
    # fail at once whatever the timeout.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
        "secure_delete = ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def insert_into(connection: AsyncConnection, table: Table) -> Any:
    """An INSERT in the database's own dialect, which knows what to do where the row is there already."""
    return sqlite_insert(table) if connection.dialect.name == "sqlite" else postgresql_insert(table)
