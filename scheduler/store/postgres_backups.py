"""Backups of a PostgreSQL database with its own programs `pg_dump` and `pg_restore`, and scratch databases to try them.

The programs get the same connection parameters as this service. The password is never on a command line.
"""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy.engine import URL

from scheduler.domain.errors import Problem
from scheduler.store import age_files
from scheduler.store.backups import COUNTS, explain_failures
from scheduler.store.database import Database, connect_seconds, driver_address

_NO_RIGHT = "42501"
"""The SQLSTATE of insufficient_privilege."""


def missing_program(name: str) -> str:
    """Return what to do if one of PostgreSQL's programs is missing, or an empty string."""
    if shutil.which(name):
        return ""
    return f"the program {name} is missing; install PostgreSQL's client programs (Debian: postgresql-client)"


async def dump_database(database: Database, file: Path, *, recipient: Any) -> dict[str, int]:
    """Write a dump of the database into an existing empty file, encrypted if `recipient` is given.

    Returns the result of COUNTS for the same snapshot. Raises Problem.
    """
    connection = await _connect(database)
    try:
        with _failures_explained(database):
            transaction = connection.transaction(isolation="repeatable_read", readonly=True)
            await transaction.start()
            snapshot = await connection.fetchval("SELECT pg_export_snapshot()")
            counts = dict(await connection.fetch(COUNTS))
        arguments = ["--format=custom", "--no-password", f"--snapshot={snapshot}"]
        with explain_failures(file), file.open("wb") as target:
            if recipient is None:
                await _run("pg_dump", *arguments, url=database.url, stdout=target.fileno())
            else:
                await _dump_encrypted(arguments, database.url, target, recipient)
        return counts
    finally:
        connection.terminate()


@contextmanager
def _failures_explained(database: Database) -> Iterator[None]:
    """Turn what asyncpg raises into a Problem."""
    import asyncpg

    try:
        yield
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        if getattr(error, "sqlstate", "") == _NO_RIGHT:
            raise Problem(
                f"the user of {database.shown} may not do this: {error}; grant it (for a scratch database: ALTER ROLE "
                "… CREATEDB), or name an empty database in [backup] scratch_url"
            ) from None
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise Problem(
            f"{database.shown} cannot be used: {reason}; try again when the server answers"
        ) from None


async def _connect(database: Database) -> Any:
    with _failures_explained(database):
        return await database.connect_driver()


@asynccontextmanager
async def _connected(database: Database) -> AsyncIterator[Any]:
    connection = await _connect(database)
    try:
        yield connection
    finally:
        connection.terminate()


async def _dump_encrypted(arguments: list[str], url: URL, target: Any, recipient: Any) -> None:
    """Encrypt the output of pg_dump on its way, so that the plain dump is never on the disk."""
    reading, writing = os.pipe()

    def encrypt() -> None:
        # Closing the pipe ends pg_dump if the encryption fails, as on a full disk.
        with os.fdopen(reading, "rb") as source:
            age_files.encrypt(source, target, recipient)

    encrypting = asyncio.create_task(asyncio.to_thread(encrypt))
    failure: Problem | None = None
    try:
        await _run("pg_dump", *arguments, url=url, stdout=writing)
    except Problem as problem:
        failure = problem
    finally:
        # The end of the pipe ends the encryption.
        os.close(writing)
        await asyncio.wait([encrypting])
    encrypting.result()
    if failure:
        raise failure


async def check_dump(file: Path) -> None:
    """Check that `pg_restore` can read the contents of a dump. Raises Problem."""
    await _run("pg_restore", "--list", str(file), url=None, stdout=asyncio.subprocess.DEVNULL)


async def count_rows(database: Database) -> dict[str, int]:
    """Return the result of COUNTS. Raises Problem."""
    async with _connected(database) as connection:
        with _failures_explained(database):
            return dict(await connection.fetch(COUNTS))


async def restore_dump(file: Path, scratch: Database) -> None:
    """Restore a dump into an empty database. Raises Problem."""
    arguments = ["--no-owner", "--no-privileges", "--exit-on-error", "--no-password"]
    await _run("pg_restore", *arguments, url=scratch.url, stdout=asyncio.subprocess.DEVNULL, file=file)


@asynccontextmanager
async def scratch_database(live: Database, url: str) -> AsyncIterator[Database]:
    """Yield an empty database, which is emptied or dropped at the end: the one that `url` names, or, if that is empty,
    a new one on the server of `live`. What a killed rehearsal left there is deleted first. Raises Problem."""
    if url:
        scratch = Database(url)
        try:
            async with _named_scratch(scratch):
                yield scratch
        finally:
            await scratch.close()
        return
    if live.is_sqlite:
        raise Problem("a PostgreSQL dump needs a scratch database; name an empty one in [backup] scratch_url")
    # The advisory lock on the name of its database says that a rehearsal is running.
    async with _connected(live) as connection:
        with _failures_explained(live):
            prefix = f"{_REHEARSAL}_{await connection.fetchval(_OWN_OID)}_"
            for row in await connection.fetch(_DATABASES_OF_USER, prefix):
                if await connection.fetchval(_TRY_LOCK, row["datname"]):
                    await connection.execute(f'DROP DATABASE IF EXISTS "{row["datname"]}" WITH (FORCE)')
            name = f"{prefix}{uuid4().hex[:12]}"
            await connection.fetchval(_TRY_LOCK, name)
            await connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        scratch = Database(
            live.url.set(drivername="postgresql", database=name).render_as_string(hide_password=False)
        )
        try:
            yield scratch
        finally:
            await scratch.close()
            await _execute(live, f"DROP DATABASE {name} WITH (FORCE)")


_REHEARSAL = "third_thursday_rehearsal"
_OWN_OID = "SELECT oid FROM pg_database WHERE datname = current_database()"
_DATABASES_OF_USER = """
SELECT datname FROM pg_database WHERE starts_with(datname::text, $1) AND pg_get_userbyid(datdba) = current_user
"""
_TRY_LOCK = "SELECT pg_try_advisory_lock(hashtextextended($1, 0))"
# One string is one transaction.
_EMPTY = f"DROP SCHEMA public CASCADE; CREATE SCHEMA public; DROP SCHEMA {_REHEARSAL}"


@asynccontextmanager
async def _named_scratch(scratch: Database) -> AsyncIterator[None]:
    """Use an empty database as a scratch database, and empty it at the end.

    Meanwhile it has an empty schema of its own: if the rehearsal is killed, the next one sees by it that what it finds
    may be deleted. Raises Problem.
    """
    if scratch.is_sqlite:
        raise Problem("[backup] scratch_url must name a PostgreSQL database")
    async with _connected(scratch) as connection:
        with _failures_explained(scratch):
            if not await connection.fetchval(_TRY_LOCK, _REHEARSAL):
                raise Problem(f"another rehearsal uses {scratch.shown}; try again when it has ended")
            if await connection.fetchval("SELECT count(*) FROM pg_namespace WHERE nspname = $1", _REHEARSAL):
                await _execute(scratch, _EMPTY)
            tables = await connection.fetchval(
                "SELECT count(*) FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace "
                "WHERE nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema'"
            )
            if tables:
                raise Problem(
                    f"the scratch database {scratch.shown} is not empty, and a rehearsal would delete what it "
                    "contains; name an empty one in [backup] scratch_url"
                )
            await connection.execute(f"CREATE SCHEMA {_REHEARSAL}")
        try:
            yield
        finally:
            await _execute(scratch, _EMPTY)


async def _execute(database: Database, *statements: str) -> None:
    async with _connected(database) as connection:
        with _failures_explained(database):
            for statement in statements:
                await connection.execute(statement)


async def _run(program: str, *arguments: str, url: URL | None, stdout: int, file: Path | None = None) -> None:
    """Run one of PostgreSQL's programs. Raises Problem with the last line of its error output."""
    if problem := missing_program(program):
        raise Problem(problem)
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    connection = []
    if url is not None:
        connection = [f"--dbname={_address_without_password(url)}"]
        environment["PGCONNECT_TIMEOUT"] = str(int(connect_seconds(url)))
        if url.password:
            environment["PGPASSWORD"] = str(url.password)
    process = await asyncio.create_subprocess_exec(
        program,
        *arguments,
        *connection,
        *([str(file)] if file else []),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=stdout,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
    )
    try:
        _, output = await process.communicate()
    finally:
        with suppress(ProcessLookupError):
            process.kill()
    if process.returncode:
        lines = output.decode(errors="replace").strip().splitlines()
        raise Problem(f"{program} failed: {_most_telling(lines) or f'exit code {process.returncode}'}")


def _most_telling(lines: list[str]) -> str:
    errors = [line for line in lines if "error:" in line]
    return next(iter(errors or lines), "")


def _address_without_password(url: URL) -> str:
    """Return the URL for a command line, which everybody on the machine can read. Raises Problem."""
    if url.query.get("sslpassword"):
        raise Problem(
            "the URL of the database has sslpassword, which pg_dump could only be told where others can read it; use "
            "a key without a password"
        )
    return driver_address(
        URL.create(
            url.drivername,
            username=url.username,
            host=url.host,
            port=url.port,
            database=url.database,
            query=url.query,
        )
    )
