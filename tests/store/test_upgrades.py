"""Upgrades: an older database becomes what a new one is, and keeps all that was in it."""

from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import CheckConstraint, inspect, text

from scheduler.store import upgrades
from scheduler.store.database import Database
from scheduler.store.schema import metadata
from scheduler.store.upgrades import open_database

_ROWS = (
    "INSERT INTO members (address, address_key, name, zone, zone_source, locale, status, created_at,"
    " active_since, changed)"
    " VALUES ('a@example.org', 'a@example.org', 'Ann', 'Europe/London', 'given', 'en-GB', 'active', 0, 0, 1)",
    "INSERT INTO notices (identity, kind, subject, body, created_at, expires)"
    " VALUES ('notice:1', 'notice', 'S', 'B', 0, 1)",
    "INSERT INTO deliveries (notice, member, zone, locale, chunk, state, due, next_try)"
    " VALUES (1, 1, 'Europe/London', 'en-GB', 1, 'queued', 0, 0)",
    "INSERT INTO dues (notice, zone, due) VALUES (1, '*', 0)",
)


def is_ours(_: object, name: str | None, kind: str, *_rest: object) -> bool:
    # PgQueuer's tables are its own; how a database tells of partial indexes is not how we write them.
    return kind != "index" and not (kind == "table" and str(name).startswith("pgqueuer"))


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{tmp_path / 'old.sqlite'}"


async def test_an_old_database_keeps_its_rows_and_gets_every_constraint_of_a_new_one(url: str) -> None:
    database = Database(url)
    async with database.write() as connection:

        def first(sync: object) -> None:
            config = upgrades._config()
            config.attributes["connection"] = sync
            command.upgrade(config, "0001")

        await connection.run_sync(first)
        for statement in _ROWS:
            await connection.execute(text(statement))
    assert await open_database(database, upgrade=True)
    async with database.read() as connection:
        counts = [
            await connection.scalar(text(f"SELECT count(*) FROM {table}"))
            for table in ("members", "notices", "deliveries", "dues")
        ]
        shape = {}
        for table in metadata.sorted_tables:
            shape[table.name] = await connection.run_sync(
                lambda sync, name=table.name: {  # type: ignore[misc]
                    str(one["name"]) for one in inspect(sync).get_check_constraints(name)
                }
            )
        differences = await connection.run_sync(
            lambda sync: compare_metadata(
                MigrationContext.configure(sync, opts={"include_object": is_ours}), metadata
            )
        )
        enforced = await connection.scalar(text("PRAGMA foreign_keys")) if database.is_sqlite else 1
    await database.close()
    assert counts == [1, 1, 1, 1]
    assert enforced == 1
    assert [one for one in differences if "comment" not in repr(one[0])] == []
    for table in metadata.sorted_tables:
        wanted = {str(one.name) for one in table.constraints if isinstance(one, CheckConstraint)}
        assert shape[table.name] == {
            f"ck_{table.name}_{name.removeprefix(f'ck_{table.name}_')}" for name in wanted
        }
