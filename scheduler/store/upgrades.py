"""Which shape the database has: made when empty, upgraded only when asked, refused when newer."""

import sqlite3
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.store.database import Database, DatabaseProblem


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config


def _state(connection: Connection) -> tuple[str | None, str, bool]:
    """The database's revision, the newest that this version knows, and whether it knows the database's."""
    script = ScriptDirectory.from_config(_config())
    current = MigrationContext.configure(connection).get_current_revision()
    head = script.get_current_head()
    assert head
    return current, head, current is None or knows(current)


def knows(revision: str) -> bool:
    """Whether this version knows a schema."""
    return any(one.revision == revision for one in ScriptDirectory.from_config(_config()).walk_revisions())


def _upgrade(connection: Connection) -> None:
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


async def _lock(connection: AsyncConnection, database: Database) -> None:
    # SQLite's writer has the whole file already; on PostgreSQL a second upgrade waits here for the first.
    if not database.is_sqlite:
        await connection.execute(text("SELECT pg_advisory_xact_lock(7437001)"))


async def open_database(database: Database, *, upgrade: bool) -> bool:
    """Make sure that `database` has this version's shape; return whether anything had to be done.

    An empty database is created. An older one is upgraded where `upgrade` says so. Raises DatabaseProblem for an
    older one otherwise, for a newer one, and for one that cannot be opened.
    """
    if database.path:
        try:
            # It holds people's addresses: nobody else on the machine is to read it.
            database.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            database.path.touch(mode=0o600, exist_ok=True)
            # The driver of the pool tells a failure from a thread of its own, which may outlive the loop by a moment.
            sqlite3.connect(database.path).close()
        except (OSError, sqlite3.Error) as error:
            cause = error.strerror if isinstance(error, OSError) else error
            raise DatabaseProblem(f"the database {database.path} cannot be opened: {cause}") from None
    try:
        async with database.read() as connection:
            current, head, known = await connection.run_sync(_state)
            names = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
        if current == head:
            return False
        if current is None and names:
            raise DatabaseProblem(
                f"{database.shown} holds something else; name an empty database in [database] url"
            )
        if not known:
            raise DatabaseProblem(
                f"{database.shown} was made by a newer version (its schema is {current}); "
                "install that version or restore an older backup"
            )
        if current is not None and not upgrade:
            raise DatabaseProblem(
                f"{database.shown} has an older schema ({current}); run `third-thursday migrate` or start `serve`"
            )
        async with database.change_schema() as connection:
            await _lock(connection, database)
            await connection.run_sync(_upgrade)
        return True
    except (DBAPIError, OSError) as error:
        cause = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise DatabaseProblem(f"the database {database.shown} cannot be opened: {cause}") from None
