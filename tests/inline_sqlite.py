"""SQLite for tests, without aiosqlite's thread for each connection.

Handing a statement to a thread and its result back takes four to ten times as long as the statement itself. So most
tests run statements in the event loop's own thread, through the part of aiosqlite's interface that SQLAlchemy and
`scheduler/store` use. The file, the locks and the transactions are SQLite's own. `tests/store/test_database.py`, and
all processes that tests start, use aiosqlite.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Generator, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


class InlineConnection:
    """A connection with the interface of `aiosqlite.Connection`."""

    def __init__(self, path: str, *, timeout: float = 5, **options: Any) -> None:
        # SQLAlchemy looks at this name to see whether the connection is open.
        # Waiting for a lock inside SQLite would stop the event loop, and with it whoever holds the lock.
        self._connection: sqlite3.Connection = sqlite3.connect(path, timeout=0, **options)
        self._timeout = timeout

    def new_cursor(self) -> sqlite3.Cursor:
        return self._connection.cursor()

    async def run(self, work: Callable[..., T], *arguments: Any) -> T:
        """Call `work`; while the database is locked, again every 2 ms, as long as the connection's timeout allows."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout
        while True:
            # Others may run here, as they may while a thread works.
            await asyncio.sleep(0)
            try:
                return work(*arguments)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or loop.time() > deadline:
                    raise
            await asyncio.sleep(0.002)

    def cursor(self) -> "_Cursor":
        return _Cursor(self)

    def execute(self, statement: str, parameters: Any = ()) -> "_Cursor":
        return _Cursor(self, lambda cursor: cursor.execute(statement, parameters))

    async def commit(self) -> None:
        await self.run(self._connection.commit)

    async def rollback(self) -> None:
        await self.run(self._connection.rollback)

    async def create_function(self, *arguments: Any, **options: Any) -> None:
        self._connection.create_function(*arguments, **options)

    async def close(self) -> None:
        self._connection.close()

    def stop(self) -> None:
        self._connection.close()


class _Cursor:
    """A cursor with the interface of `aiosqlite.Cursor`; `first` runs when it is awaited or entered."""

    def __init__(
        self, connection: InlineConnection, first: Callable[["_Cursor"], Awaitable[object]] | None = None
    ) -> None:
        self._connection, self._first = connection, first
        self._cursor = connection.new_cursor()
        self.arraysize = self._cursor.arraysize

    def __await__(self) -> Generator[Any, None, "_Cursor"]:
        return self.__aenter__().__await__()

    async def __aenter__(self) -> "_Cursor":
        if self._first:
            await self._first(self)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def execute(self, statement: str, parameters: Any = ()) -> "_Cursor":
        await self._connection.run(self._cursor.execute, statement, parameters)
        return self

    async def executemany(self, statement: str, parameters: Iterable[Any]) -> "_Cursor":
        await self._connection.run(self._cursor.executemany, statement, parameters)
        return self

    async def fetchone(self) -> Any:
        return self._cursor.fetchone()

    async def fetchmany(self, size: int | None = None) -> list[Any]:
        return self._cursor.fetchmany(size or self.arraysize)

    async def fetchall(self) -> list[Any]:
        return self._cursor.fetchall()

    async def close(self) -> None:
        self._cursor.close()

    @property
    def description(self) -> Any:
        return self._cursor.description

    @property
    def rowcount(self) -> int:
        return self._cursor.rowcount

    @property
    def lastrowid(self) -> int | None:
        return self._cursor.lastrowid
