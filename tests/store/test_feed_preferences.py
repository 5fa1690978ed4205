"""A database of before is brought to this version's shape without losing anybody."""

from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text

from scheduler.store import schema, upgrades
from scheduler.store.database import Database

FIRST_SHAPE = "0001"


def first_shape(connection: Connection) -> None:
    config = upgrades._config()
    config.attributes["connection"] = connection
    command.upgrade(config, FIRST_SHAPE)


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'old.sqlite'}"
    return str(request.getfixturevalue("postgres_url"))


async def test_members_and_their_deliveries_outlive_the_upgrade(empty_url: str) -> None:
    database = Database(empty_url)
    async with database.write() as connection:
        await connection.run_sync(first_shape)
        for statement in (
            "INSERT INTO members (id, address, address_key, name, zone, zone_source, locale, status, convenor, "
            "created_at, active_since, changed) VALUES (1, 'a@example.org', 'a@example.org', 'Ann', 'UTC', 'given', "
            "'en-GB', 'active', false, 0, 0, 1)",
            "INSERT INTO notices (id, identity, kind, created_at, expires) VALUES (1, 'n', 'notice', 0, 9)",
            "INSERT INTO deliveries (notice, member, zone, locale, chunk, state, due, next_try) "
            "VALUES (1, 1, 'UTC', 'en-GB', 1, 'queued', 0, 0)",
        ):
            await connection.execute(text(statement))
    assert await upgrades.open_database(database, upgrade=True)
    async with database.read() as connection:
        found = (await connection.execute(text("SELECT invitation_by, feed_answers FROM members"))).one()
        assert (found[0], bool(found[1])) == ("mail", True)
        assert await connection.scalar(text("SELECT count(*) FROM deliveries")) == 1
        differences = await connection.run_sync(
            lambda sync: compare_metadata(
                MigrationContext.configure(
                    sync, opts={"include_object": lambda _o, _n, kind, *_: kind != "index"}
                ),
                schema.metadata,
            )
        )
        assert [one for one in differences if "'members'" in repr(one) and "comment" not in repr(one)] == []
    await database.close()
