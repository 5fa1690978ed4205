"""The first convenors come from the settings."""

from datetime import UTC, datetime

import pytest

from scheduler.domain.actor import SERVICE
from scheduler.domain.token import Keys
from scheduler.service.convenors import appoint_first
from scheduler.store import audit, erasures, members
from scheduler.store.database import Database
from tests.store.test_members import add, row

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
KEYS = Keys(b"k" * 32)


async def first(database: Database, *addresses: str) -> list[str]:
    appointed = await appoint_first(
        database, addresses, keys=KEYS, zone="Europe/London", locale="en-GB", now=NOW
    )
    return [member.address for member in appointed]


@pytest.mark.both_databases
async def test_while_there_is_no_convenor_those_of_the_settings_are_appointed(database: Database) -> None:
    await add(database, row("ann@example.org"), row("cy@example.org", status="left", active_since=None))
    assert await first(database, "Ann@example.org", "bo@example.org", "cy@example.org") == [
        "ann@example.org",
        "bo@example.org",
    ]
    assert await first(database, "dee@example.org") == []
    async with database.read() as connection:
        bo = await members.by_key(connection, "bo@example.org")
        assert bo and (bo.status, bo.zone, bo.role) == ("active", "Europe/London", "convenor")
        entries = await audit.entries(connection, act="role-changed")
    assert [(entry.act, entry.actor_name, entry.after) for entry in entries] == [
        ("role-changed", SERVICE.name, {"role": "convenor"})
    ] * 2


async def test_the_settings_do_not_bring_back_somebody_who_was_erased(database: Database) -> None:
    await add(database, row("ann@example.org"))
    async with database.write() as connection:
        ann = await members.by_key(connection, "ann@example.org")
        assert ann
        await erasures.erase(connection, ann, KEYS.name("erased", ann.address_key), NOW)
    assert await first(database, "ann@example.org") == []
