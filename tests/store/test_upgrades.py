"""Upgrades: an older database becomes the same as a new one, and keeps all its rows."""

from datetime import UTC, datetime
from pathlib import Path
from shutil import copyfile, copytree

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import CheckConstraint, Connection, inspect, text

from scheduler.domain.audience import Audience
from scheduler.store import archive_entries, follows, meeting_records, members, occurrences, upgrades
from scheduler.store.archive_entries import Filter
from scheduler.store.backups import make_backup, require_backup, restore_backup
from scheduler.store.database import Database
from scheduler.store.schema import metadata
from scheduler.store.upgrades import open_database

# Made by the nine migrations that 0009 replaces, with one row in most tables.
_REVISION_0009 = Path(__file__).parent / "revision_0009.sqlite"
_ROWS = (
    "INSERT INTO series (slug, fingerprint, adopted_at, derived_until) VALUES ('monthly', 'f', 0, 0)",
    "INSERT INTO occurrences (key, series, date, zone, wall, minutes, original, starts, ends, changed_at)"
    " VALUES ('monthly/2026-11-19', 'monthly', '2026-11-19', 'Europe/London', '2026-11-19T18:00', 60, 1, 1, 2, 0)",
    "INSERT INTO members (address, address_key, name, zone, zone_source, locale, status, created_at,"
    " active_since, changed)"
    " VALUES ('a@example.org', 'a@example.org', 'Ann', 'Europe/London', 'given', 'en-GB', 'active', 0, 0, 1)",
    "INSERT INTO notices (identity, kind, subject, body, created_at, expires)"
    " VALUES ('notice:1', 'notice', 'S', 'B', 0, 1)",
    "INSERT INTO deliveries (notice, member, zone, locale, chunk, state, due, next_try)"
    " VALUES (1, 1, 'Europe/London', 'en-GB', 1, 'queued', 0, 0)",
    "INSERT INTO dues (notice, zone, due) VALUES (1, '*', 0)",
    "INSERT INTO told (occurrence, zone, starts, local_start)"
    " VALUES ('monthly/2026-11-19', 'Europe/London', 1, '2026-11-19T18:00')",
)
_FILLED = ("series", "occurrences", "members", "notices", "deliveries", "dues", "told")


def is_ours(_: object, name: str | None, kind: str, *_rest: object) -> bool:
    # PgQueuer's tables are its own; databases report the condition of a partial index in their own words.
    # The index that searches the archive is not part of the metadata: each database has its own kind.
    is_index = kind == "index" or name == "vector" or str(name).startswith("archive_search")
    return not is_index and not (kind == "table" and str(name).startswith("pgqueuer"))


def schema_of(connection: Connection) -> dict[str, object]:
    """Return all that SQLite knows about each table, whatever the order of its columns."""
    inspector = inspect(connection)
    return {
        table: {
            "columns": sorted(
                # The chain of nine wrote one default as `true`, which SQLite reads as 1.
                (
                    column["name"],
                    str(column["type"]),
                    column["nullable"],
                    str(column["default"]).replace("true", "1"),
                )
                for column in inspector.get_columns(table)
            ),
            "primary key": inspector.get_pk_constraint(table),
            "foreign keys": sorted(map(repr, inspector.get_foreign_keys(table))),
            "unique": sorted(map(repr, inspector.get_unique_constraints(table))),
            "checks": sorted(
                (str(check["name"]), check["sqltext"]) for check in inspector.get_check_constraints(table)
            ),
            "indexes": sorted(
                " ".join(sql.split())
                for sql in connection.scalars(
                    text(
                        "SELECT sql FROM sqlite_master WHERE type = 'index' AND sql > '' AND tbl_name = :table"
                    ),
                    {"table": table},
                )
            ),
            "options": inspector.get_table_options(table),
            "numbered for ever": "AUTOINCREMENT"
            in str(connection.scalar(text(f"SELECT sql FROM sqlite_master WHERE name = '{table}'"))),
        }
        for table in inspector.get_table_names()
    }


async def counts_of(database: Database) -> dict[str, int]:
    async with database.read() as connection:
        return {
            table: await connection.scalar(text(f"SELECT count(*) FROM {table}")) or 0 for table in _FILLED
        }


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{tmp_path / 'old.sqlite'}"


async def test_an_old_database_keeps_its_rows_and_gets_all_constraints_of_a_new_one(url: str) -> None:
    database = Database(url)
    async with database.write() as connection:

        def upgrade_to_first(sync: Connection) -> None:
            config = upgrades._config()
            config.attributes["connection"] = sync
            command.upgrade(config, "0009")

        await connection.run_sync(upgrade_to_first)
        for statement in _ROWS:
            await connection.execute(text(statement))
    assert await open_database(database, upgrade=True)
    counts = await counts_of(database)
    async with database.read() as connection:
        checks = {}
        for table in metadata.sorted_tables:
            checks[table.name] = await connection.run_sync(
                lambda sync, name=table.name: {  # type: ignore[misc]
                    str(check["name"]) for check in inspect(sync).get_check_constraints(name)
                }
            )
        differences = await connection.run_sync(
            lambda sync: compare_metadata(
                MigrationContext.configure(sync, opts={"include_object": is_ours}), metadata
            )
        )
        enforced = await connection.scalar(text("PRAGMA foreign_keys")) if database.is_sqlite else 1
    await database.close()
    assert counts == dict.fromkeys(_FILLED, 1)
    assert enforced == 1
    assert [difference for difference in differences if "comment" not in repr(difference[0])] == []
    for table in metadata.sorted_tables:
        wanted = {
            str(constraint.name)
            for constraint in table.constraints
            if isinstance(constraint, CheckConstraint)
        }
        assert checks[table.name] == {
            f"ck_{table.name}_{name.removeprefix(f'ck_{table.name}_')}" for name in wanted
        }


async def test_after_an_upgrade_from_revision_0010_everybody_follows_what_they_did(
    url: str,
) -> None:
    database = Database(url)
    async with database.write() as connection:

        def upgrade_to_former(sync: Connection) -> None:
            config = upgrades._config()
            config.attributes["connection"] = sync
            command.upgrade(config, "0010")

        await connection.run_sync(upgrade_to_former)
        for statement in _ROWS:
            await connection.execute(text(statement))
    assert await open_database(database, upgrade=True)
    async with database.read() as connection:
        choices = await follows.choices_of(connection, 1)
        sizes = [
            await members.count_audience(
                connection, Audience(terms={"series": [slug]}, by_choice=("committee",))
            )
            for slug in ("monthly", "committee")
        ]
        notice = await connection.scalar(text("SELECT state FROM deliveries"))
    await database.close()
    assert choices == {}
    assert sizes == [1, 0]
    assert notice == "queued"


async def test_the_texts_of_meetings_are_recorded_and_found_and_stay_as_they_were(url: str) -> None:
    database = Database(url)
    texts = "Ann Lee and Bo Ray", "Slides: https://example.org/s\nNotes will follow"
    async with database.write() as connection:

        def upgrade_to_former(sync: Connection) -> None:
            config = upgrades._config()
            config.attributes["connection"] = sync
            command.upgrade(config, "0020")

        await connection.run_sync(upgrade_to_former)
        for statement in _ROWS:
            await connection.execute(text(statement))
        await connection.execute(
            text("UPDATE occurrences SET topic = 'Clean language', speakers = :who, materials = :what"),
            {"who": texts[0], "what": texts[1]},
        )
    assert await open_database(database, upgrade=True)
    async with database.read() as connection:
        (meeting,) = await occurrences.all_occurrences(connection)
        record = await meeting_records.record_of(connection, meeting.key)
        over = Filter(over=meeting.ends, series=meeting.series)
        found = await archive_entries.search(connection, [["clean*"], ["ray*"]], over, most=5)
        similar = await archive_entries.similar_words(connection, "langage")
    await database.close()
    assert (meeting.speakers, meeting.materials) == texts
    assert [speaker.slug for speaker in record.speakers] == ["ann-lee", "bo-ray"]
    assert [material.text for material in record.materials] == texts[1].split("\n")
    assert ([one.key for one in found[0]], found[1], similar) == ([meeting.key], 1, [("language", 1)])


async def test_a_running_process_keeps_to_its_own_schema_when_its_files_are_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "migrations"
    copytree(Path(upgrades.__file__).parent / "migrations", folder)
    monkeypatch.setattr(upgrades, "_config", lambda: _config_of(folder))
    database = Database(f"sqlite:///{tmp_path / 'test.sqlite'}")
    await open_database(database, upgrade=True)
    async with database.read() as connection:
        revision = await upgrades.revision_of(connection)
    (folder / "versions" / "9000_later.py").write_text(
        f"revision = '9000'\ndown_revision = {revision!r}\n\n\ndef upgrade() -> None:\n    pass\n"
    )
    async with database.change_schema() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9000'"))
    assert "(9000, not" in await upgrades.schema_change(database)
    await database.close()


def _config_of(folder: Path) -> Config:
    config = Config()
    config.set_main_option("script_location", str(folder))
    return config


async def test_a_database_made_by_the_nine_former_migrations_gets_the_schema_of_a_new_one(
    tmp_path: Path,
) -> None:
    copyfile(_REVISION_0009, tmp_path / "old.sqlite")
    old, new = (Database(f"sqlite:///{tmp_path / name}.sqlite") for name in ("old", "new"))
    schemas = []
    for database in (old, new):
        assert await open_database(database, upgrade=True)
        async with database.read() as connection:
            schemas.append(await connection.run_sync(schema_of))
    counts = await counts_of(old)
    async with old.read() as connection:
        damaged = (await connection.execute(text("PRAGMA foreign_key_check"))).all()
    for database in (old, new):
        await database.close()
    assert schemas[0] == schemas[1]
    assert set(metadata.tables) < set(schemas[0])
    assert counts == dict.fromkeys(_FILLED, 1)
    assert damaged == []


async def test_a_backup_made_at_revision_0009_can_be_restored_and_upgraded(tmp_path: Path) -> None:
    now = datetime(2026, 11, 28, tzinfo=UTC)
    copyfile(_REVISION_0009, tmp_path / "old.sqlite")
    make_backup(tmp_path / "old.sqlite", tmp_path / "backup", key=b"key", now=now)
    assert require_backup(tmp_path / "backup") == b"key"
    restore_backup(tmp_path / "backup", tmp_path / "new.sqlite", facts={"restored": True}, now=now)
    database = Database(f"sqlite:///{tmp_path / 'new.sqlite'}")
    assert await open_database(database, upgrade=True)
    counts = await counts_of(database)
    await database.close()
    assert counts == dict.fromkeys(_FILLED, 1)
