"""Access to the database: one engine, and short read and write transactions, on SQLite or PostgreSQL.

Its URL names a SQLite file, or a PostgreSQL server with libpq's connection parameters.
"""

import asyncio
import fcntl
import os
import re
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from sqlalchemy import Connection, Table, create_engine, event, make_url, text
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from scheduler.domain.errors import Problem, SettingsProblem
from scheduler.store.outage import Outages

MOST_VALUES = 500
"""The number of values that one statement may list: SQLite and PostgreSQL limit a statement's parameters."""

OUTAGES: tuple[type[Exception], ...] = (SQLAlchemyError, OSError)
"""What a locked, full, missing or restarting database raises: trying again may help."""

T = TypeVar("T")

_SHORT_TIMEOUT_SECONDS = 2

_TICK_LOCK = 7437002
"""The advisory lock of PostgreSQL that a tick's transaction holds."""


class Work(NamedTuple):
    """A function to run in one transaction. `bare` says that on SQLite it runs a single statement through the driver,
    which needs no BEGIN and COMMIT around it."""

    write: Callable[[Connection], object]
    bare: bool = False


class DatabaseProblem(Problem):
    """The database cannot be used as it is; the message names the database and says what to do."""


class Database:
    """Short transactions on one database. None may stay open while waiting for the network.

    `read` sees one consistent state. `write` takes SQLite's write lock at once; it commits at the end of the block,
    or rolls back if the block raises. `outages` tells which work of this process fails because of the database.
    """

    def __init__(self, url: str) -> None:
        self.url = parse_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.outages = Outages()
        # Turn the driver's own transaction handling off: `_begin_sqlite` decides. Otherwise a read transaction that
        # turns into a write fails at once, whatever the timeout.
        options: dict[str, Any] = {"connect_args": {"isolation_level": None}}
        if not self.is_sqlite:
            options = {"pool_size": 5, "max_overflow": 15, "async_creator": self.connect_driver}
        # Parameters contain addresses and names: keep them out of messages and logs.
        try:
            self._engine = create_async_engine(self.url, hide_parameters=True, **options)
        except ModuleNotFoundError:
            raise SettingsProblem(
                "the PostgreSQL driver is not installed; run pip install 'third-thursday[postgres]'"
            ) from None
        if self.is_sqlite:
            sync_engine = create_engine(self.url.set(drivername="sqlite"), hide_parameters=True, **options)
            for engine in (self._engine.sync_engine, sync_engine):
                event.listen(engine, "connect", _prepare_sqlite)
                event.listen(engine, "begin", _begin_sqlite)
            self._sync_writer = sync_engine.execution_options(writes=True)
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")
            self._sync_connection: Connection | None = None
        self._writer = self._engine.execution_options(writes=True)

    @property
    def path(self) -> Path | None:
        """The file of a SQLite database; None on PostgreSQL."""
        return Path(self.url.database) if self.is_sqlite and self.url.database else None

    @property
    def shown(self) -> str:
        """The database's name to show to people: no password, no parameters."""
        return str(self.path) if self.path else shown_address(self.url)

    async def connect_driver(self) -> Any:
        """Open an asyncpg connection to a PostgreSQL database; the caller closes it.

        Everything that connects does so here, so that each parameter of the URL has the same effect everywhere.
        """
        import asyncpg

        for file in certificate_files(self.url):
            # asyncpg does not say which file it cannot read; opening each one here does.
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
        """Run `work` in a write transaction and return its result; for writes that happen many times a second.

        On SQLite all of `work` runs in one dedicated thread: switching threads costs more than a statement, and this
        way it happens once for each transaction. Taking turns there also waits less than polling the write lock.
        """
        if not self.is_sqlite:
            async with self.write() as connection:
                return await connection.run_sync(work)
        return await self._in_thread(partial(self._transact, work))

    async def run_writes(self, works: Iterable[Work]) -> None:
        """Run several transactions as `run_write` does, each committed before the next is taken from `works`.

        On SQLite the dedicated thread takes the next one without returning to the event loop. Stops at the first one
        that raises.
        """
        if self.is_sqlite:
            await self._in_thread(lambda: [self._transact(work.write, bare=work.bare) for work in works])
            return
        for work in works:
            await self.run_write(work.write)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _transact(self, work: Callable[[Connection], T], *, bare: bool = False) -> T:
        if self._sync_connection is None:
            self._sync_connection = self._sync_writer.connect()
        try:
            with nullcontext() if bare else self._sync_connection.begin():
                return work(self._sync_connection)
        except BaseException:
            self._sync_connection.close()
            self._sync_connection = None
            raise

    @asynccontextmanager
    async def change_schema(self) -> AsyncIterator[AsyncConnection]:
        """Open a write transaction for a migration.

        SQLite rebuilds a table to alter it; foreign keys are off meanwhile, or dropping the old table would delete
        all rows that refer to it. Raises DatabaseProblem if a row refers to a missing one afterwards.
        """
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
                            f"{self.shown} contains rows that refer to missing rows; restore a backup"
                        )
            finally:
                await driver.execute("PRAGMA foreign_keys = ON")

    @asynccontextmanager
    async def tick(self) -> AsyncIterator[AsyncConnection]:
        """Open a write transaction that excludes the transactions of other ticks."""
        async with self.write() as connection:
            if not self.is_sqlite:
                await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _TICK_LOCK})
            yield connection

    @asynccontextmanager
    async def only_one(self, lock: int) -> AsyncIterator[Callable[[], bool]]:
        """Take a lock that one process at a time holds, and yield a function that says whether we still hold it.

        On SQLite that is always so, because `exclusive` allows only one `serve`. On PostgreSQL it is an advisory lock
        of a connection of its own: it ends with the process, and with the connection.
        """
        if self.is_sqlite:
            yield lambda: True
            return
        import asyncpg

        connection = None
        try:
            try:
                connection = await self.connect_driver()
                held = await connection.fetchval("SELECT pg_try_advisory_lock($1)", lock)
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
                held = False
            yield lambda: bool(held) and connection is not None and not connection.is_closed()
        finally:
            if connection is not None:
                connection.terminate()

    async def checkpoint(self) -> None:
        """Copy SQLite's write-ahead log into the database file and empty it; nothing to do on PostgreSQL.

        Waits for readers and writers as long as a transaction does, then raises DatabaseProblem.
        """
        if self.is_sqlite and (await self._execute_outside_transaction("PRAGMA wal_checkpoint(TRUNCATE)"))[0]:
            raise DatabaseProblem(f"{self.shown} is busy, and its log could not be emptied; try again")

    async def vacuum(self) -> None:
        """Rewrite SQLite's file so that it contains only what its rows hold; nothing to do on PostgreSQL.

        Nobody else can write meanwhile, some seconds for each gigabyte. Raises DatabaseProblem if it fails.
        """
        if self.is_sqlite:
            try:
                await self._execute_outside_transaction("VACUUM")
            except sqlite3.Error as error:
                raise DatabaseProblem(f"{self.shown} could not be rewritten: {error}; try again") from None
            await self.checkpoint()

    async def _execute_outside_transaction(self, statement: str) -> tuple[Any, ...]:
        """Run a statement that SQLite refuses inside a transaction, and return its first row."""
        async with self._engine.connect() as connection:
            driver = (await connection.get_raw_connection()).driver_connection
            assert driver
            async with driver.execute(statement) as cursor:
                return await cursor.fetchone() or ()

    def with_short_timeout(self) -> "Database":
        """Return the same database, but on SQLite waiting only 2 s for another transaction before it fails."""
        if self.is_sqlite:
            return Database(f"sqlite:///{self.path}?timeout={_SHORT_TIMEOUT_SECONDS}")
        return Database(self.url.set(drivername="postgresql").render_as_string(hide_password=False))

    @property
    def is_served(self) -> bool:
        """Whether a `serve` holds this file's lock (see `exclusive`); always False on PostgreSQL."""
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
        """Hold the lock that allows one `serve` for each SQLite file. Raises DatabaseProblem if another one holds it.

        PostgreSQL needs no such lock: there ticks take turns, and chunks are jobs.
        """
        if not self.path:
            yield
            return
        with _file_lock(self.path, DatabaseProblem(f"another `serve` uses {self.shown}; stop it first")):
            yield

    async def close(self) -> None:
        await self._engine.dispose()
        if self.is_sqlite:
            self._thread.shutdown()
            if self._sync_connection is not None:
                self._sync_connection.close()
            self._sync_writer.dispose()


def _lock_of(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


@contextmanager
def _file_lock(path: Path, busy: DatabaseProblem) -> Iterator[None]:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(_lock_of(path), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise DatabaseProblem(
            f"the folder {path.parent} cannot be written to: {error.strerror}; make it writable"
        ) from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise busy from None
        yield
    finally:
        os.close(handle)


def _prepare_sqlite(connection: Any, _record: Any) -> None:
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


def batches(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield values in parts of at most MOST_VALUES."""
    return (values[start : start + MOST_VALUES] for start in range(0, len(values), MOST_VALUES))


def insert_into(connection: AsyncConnection | Connection, table: Table) -> Any:
    """Return an INSERT in the database's own dialect, which offers ON CONFLICT."""
    return sqlite_insert(table) if connection.dialect.name == "sqlite" else postgresql_insert(table)


BUSY_SECONDS = 30
"""The number of seconds a SQLite transaction waits for another one to end, unless the URL sets `timeout`."""

CONNECT_SECONDS = 10
"""The number of seconds connecting to PostgreSQL may take, unless the URL sets `connect_timeout`."""

# libpq's parameters that asyncpg reads from a URL. It would send any other to the server as a setting.
_PASSED_ON = frozenset(
    {
        "application_name",
        "host",
        "krbsrvname",
        "options",
        "passfile",
        "port",
        "ssl_max_protocol_version",
        "ssl_min_protocol_version",
        "sslcert",
        "sslcrl",
        "sslkey",
        "sslmode",
        "sslnegotiation",
        "sslpassword",
        "sslrootcert",
        "target_session_attrs",
    }
)
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
# Parameters that asyncpg does not know, with the values that describe what it does anyway (None: any value).
_FIXED = {
    "channel_binding": ("disable", "prefer"),
    "client_encoding": ("utf8", "utf-8", "auto"),
    "fallback_application_name": None,
    "gssencmode": ("disable", "prefer"),
    "keepalives": None,
    "keepalives_count": None,
    "keepalives_idle": None,
    "keepalives_interval": None,
    "sslcompression": ("0",),
    "sslsni": ("1",),
}
_ACCEPTED_PARAMETERS = sorted({*_PASSED_ON, *_FIXED, "connect_timeout", "dbname", "password", "user"})


def parse_url(address: str) -> URL:
    """Return the engine's URL for `sqlite:///PATH[?timeout=SECONDS]` or `postgresql://…`.

    The query of a PostgreSQL URL keeps only the parameters that asyncpg reads, and `connect_timeout`; a password is
    never left in the query. Raises SettingsProblem, whose message contains no value that may be secret.
    """
    scheme, _, rest = address.partition("://")
    if scheme == "sqlite" and re.fullmatch(r"/[^?#]+(\?timeout=[0-9]{1,4})?", rest):
        url = make_url(address)
        query = {"timeout": str(BUSY_SECONDS), **url.query}
        return url.set(drivername="sqlite+aiosqlite", query=query)
    if scheme in ("postgresql", "postgres"):
        return _parse_postgresql(f"postgresql://{rest}")
    raise _problem("is not a database URL")


def driver_address(url: URL) -> str:
    """Return the URL of a PostgreSQL database for asyncpg, including the password."""
    login = ":".join(quote(part, safe="") for part in (url.username, url.password) if part is not None)
    server = f"{url.host or ''}{f':{url.port}' if url.port else ''}"
    if url.host and ":" in url.host:
        server = f"[{url.host}]{f':{url.port}' if url.port else ''}"
    query = {name: value for name, value in url.query.items() if name != "connect_timeout"}
    return (
        f"postgresql://{login}{'@' if login else ''}{server}/{quote(url.database or '', safe='')}"
        f"{'?' if query else ''}{urlencode(query, safe='/,:', quote_via=quote)}"
    )


def connect_seconds(url: URL) -> float:
    """Return how many seconds connecting to a PostgreSQL database may take."""
    return float(str(url.query.get("connect_timeout", CONNECT_SECONDS)))


def certificate_files(url: URL) -> list[Path]:
    """Return the TLS certificate and key files that a PostgreSQL URL names."""
    names = ("sslcert", "sslkey", "sslrootcert", "sslcrl")
    return [Path(str(url.query[name])) for name in names if url.query.get(name) not in (None, "", "system")]


def shown_address(url: URL) -> str:
    """Return a PostgreSQL URL to show to people: user, server and name; no password, no parameters."""
    host = url.host or str(url.query.get("host", ""))
    port = url.port or url.query.get("port", "")
    user = f"{quote(url.username, safe='')}@" if url.username else ""
    return f"postgresql://{user}{host}{f':{port}' if port else ''}/{url.database or ''}"


def _parse_postgresql(address: str) -> URL:
    try:
        parts = urlsplit(address)
        pairs = parse_qsl(
            parts.query, keep_blank_values=True, strict_parsing=bool(parts.query), errors="strict"
        )
        parameters = _parameters(pairs)
        login, _, servers = parts.netloc.rpartition("@")
        user, _, password = login.partition(":")
        hosts, ports = _hosts(servers)
        database = unquote(parts.path.removeprefix("/"), errors="strict")
    except (ValueError, UnicodeDecodeError):
        raise _problem("cannot be read; write special characters as %XX") from None
    if parts.fragment:
        raise _problem("contains a #; write it as %23")
    if (hosts and "host" in parameters) or (ports and "port" in parameters):
        raise _problem("names the server twice, before the path and as a parameter; leave one out")
    query = {
        name: parameters.pop(name) for name in list(parameters) if name in _PASSED_ON | {"connect_timeout"}
    }
    if len(hosts) > 1:
        query["host"] = ",".join(hosts)
        if any(ports):
            query["port"] = ",".join(port or "5432" for port in ports)
    return URL.create(
        "postgresql+asyncpg",
        username=parameters.pop("user", unquote(user)) or None,
        password=parameters.pop("password", unquote(password)) or None,
        host=hosts[0] if len(hosts) == 1 else None,
        port=int(ports[0]) if len(hosts) == 1 and ports[0] else None,
        database=parameters.pop("dbname", database) or None,
        query=query,
    )


def _hosts(servers: str) -> tuple[list[str], list[str]]:
    """Split the servers of a URL, separated by commas, into hosts and ports."""
    hosts, ports = [], []
    for server in filter(None, servers.split(",")):
        match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+(?:%25\w+)?)\]|([^\[\]:@/]*))(?::([0-9]{1,5}))?", server)
        if not match or int(match[3] or 1) > 65535:
            raise ValueError(servers)
        hosts.append(match[1] or unquote(match[2]))
        ports.append(match[3] or "")
    return hosts, ports


def _parameters(pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Return the checked parameters by libpq's names. Raises SettingsProblem for one that is not accepted."""
    parameters: dict[str, str] = {}
    for name, value in pairs:
        # asyncpg and SQLAlchemy have other names for these two.
        name = {"ssl": "sslmode", "database": "dbname"}.get(name, name)
        if name == "sslmode":
            value = {"true": "require", "false": "disable"}.get(value.casefold(), value)
        if name not in _ACCEPTED_PARAMETERS:
            raise _problem(
                f"unknown parameter '{_printable(name)}'; accepted are {', '.join(_ACCEPTED_PARAMETERS)}"
            )
        if name in parameters:
            raise _problem(f"names the parameter '{name}' twice; leave one out")
        parameters[name] = value
    _check(parameters)
    return {name: value for name, value in parameters.items() if name not in _FIXED}


def _check(parameters: Mapping[str, str]) -> None:
    if (mode := parameters.get("sslmode")) is not None and mode not in _SSL_MODES:
        raise _problem(f"sslmode={_printable(mode)} is not accepted; use one of {', '.join(_SSL_MODES)}")
    for name, values in _FIXED.items():
        if values and (value := parameters.get(name, values[0])).casefold() not in values:
            raise _problem(
                f"{name}={_printable(value)} is not supported; use {name}={values[0]} or leave it out"
            )
    if not re.fullmatch(r"[1-9][0-9]{0,3}", parameters.get("connect_timeout", "1")):
        raise _problem("connect_timeout is not accepted; give whole seconds from 1 to 9999")
    if not re.fullmatch(r"([0-9]{1,5}(,|$))*", parameters.get("port", "")):
        raise _problem("port is not accepted; give a whole number from 1 to 65535")


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text[:40])


def _problem(words: str) -> SettingsProblem:
    return SettingsProblem(f"url {words}")
