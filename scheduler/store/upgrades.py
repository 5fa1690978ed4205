"""The database's schema version: create an empty database, upgrade an older one on request, refuse a newer one."""

import sqlite3
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.store.database import Database, DatabaseProblem
from scheduler.store.outage import DatabaseUnavailable


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config


def _state(connection: Connection) -> tuple[str | None, str, bool]:
    """Return the database's revision, the newest one of this version, and whether this version knows the former."""
    current = MigrationContext.configure(connection).get_current_revision()
    head, known = _revisions(_config().get_main_option("script_location") or "")
    return current, head, current is None or current in known


def is_known(revision: str) -> bool:
    """Return whether this version can read, and upgrade from, a schema revision."""
    return revision in _revisions(_config().get_main_option("script_location") or "")[1]


@cache
def _revisions(folder: str) -> tuple[str, frozenset[str]]:
    """Return the newest schema revision, and all that this version knows.

    They are read once: reading them takes longer than opening a database, and the files of a running service may be
    replaced by those of the next version.
    """
    script = ScriptDirectory(folder)
    head = script.get_current_head()
    assert head
    return head, frozenset(each.revision for each in script.walk_revisions())


async def revision_of(connection: AsyncConnection) -> str:
    """Return the schema revision of a database, or an empty string if it has none."""
    return (await connection.run_sync(_state))[0] or ""


async def schema_change(database: Database) -> str:
    """Return that another version has changed the schema since the database was opened, or an empty string."""
    async with database.read() as connection:
        current, head, _ = await connection.run_sync(_state)
    if current in (None, head):
        return ""
    return (
        f"{database.shown} now has the schema of another version of Third Thursday ({current}, not {head}); install "
        "the same version everywhere, and start again"
    )


def _upgrade(connection: Connection) -> None:
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


async def _lock(connection: AsyncConnection, database: Database) -> None:
    # On SQLite a write transaction locks the whole file anyway; on PostgreSQL a second upgrade waits here.
    if not database.is_sqlite:
        await connection.execute(text("SELECT pg_advisory_xact_lock(7437001)"))


async def open_database(
    database: Database, *, upgrade: bool, before_upgrade: Callable[[], Awaitable[object]] | None = None
) -> bool:
    """Make sure that `database` has this version's schema; return whether it had to be created or upgraded.

    An empty database gets its tables. An older one is upgraded if `upgrade` is true, in one transaction, after
    `before_upgrade` has run (which may read the database, but not write to it: nobody can meanwhile on SQLite). Raises
    DatabaseProblem for an older one otherwise and for a newer one, and DatabaseUnavailable for one that cannot be
    opened.
    """
    if database.path:
        try:
            # It contains people's addresses: no other user of the machine may read it.
            database.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            database.path.touch(mode=0o600, exist_ok=True)
            # The pool's driver would report a failure from its own thread, which may outlive the event loop.
            sqlite3.connect(database.path).close()
        except (OSError, sqlite3.Error) as error:
            cause = error.strerror if isinstance(error, OSError) else error
            raise DatabaseUnavailable(f"the database {database.path} cannot be opened: {cause}") from None
    try:
        async with database.read() as connection:
            current, head, is_known = await connection.run_sync(_state)
            tables = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
        if current == head:
            return False
        if current is None and tables:
            raise DatabaseProblem(
                f"{database.shown} contains another program's tables; name an empty database in [database] url"
            )
        if not is_known:
            raise DatabaseProblem(
                f"{database.shown} was made by a newer version of Third Thursday (its schema is {current}); "
                "install that version or restore an older backup"
            )
        if current is not None and not upgrade:
            raise DatabaseProblem(
                f"{database.shown} has an older schema ({current}); run `third-thursday migrate` or start `serve`"
            )
        async with database.change_schema() as connection:
            await _lock(connection, database)
            # Another process may have upgraded it meanwhile.
            current, head, _ = await connection.run_sync(_state)
            if before_upgrade and current not in (None, head):
                await before_upgrade()
            await connection.run_sync(_upgrade)
        return True
    except (DBAPIError, OSError) as error:
        cause = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise DatabaseUnavailable(f"the database {database.shown} cannot be opened: {cause}") from None
