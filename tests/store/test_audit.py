"""The audit log says who did what, and nothing about people who were erased."""

from datetime import UTC, datetime, timedelta

from scheduler.domain.actor import SERVICE, Actor
from scheduler.store import audit, erasures, members
from scheduler.store.database import Database
from tests.store.test_members import row

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


async def test_an_entry_keeps_only_the_values_that_changed_and_is_found_by_who_and_what(
    database: Database,
) -> None:
    helper = Actor(channel="command line", name="root")
    async with database.write() as connection:
        await audit.record(connection, SERVICE, "members-exported", now=NOW)
        await audit.record(
            connection,
            helper,
            "meeting-changed",
            subject="a/2026-03-19",
            before={"topic": "", "link": "x"},
            after={"topic": "Kindness", "link": "x"},
            now=NOW,
        )
    async with database.read() as connection:
        newest, oldest = await audit.entries(connection)
        assert (newest.before, newest.after) == ({"topic": ""}, {"topic": "Kindness"})
        assert (newest.channel, newest.actor_name, oldest.actor_name) == (
            "command line",
            "root",
            "Third Thursday",
        )
        assert await audit.entries(connection, subject="a/2026-03-19") == [newest]
        assert await audit.entries(connection, before_id=newest.id) == [oldest]
        assert await audit.entries(connection, act="meeting-moved") == []


async def test_what_is_said_of_a_member_goes_with_them_and_old_entries_are_forgotten(
    database: Database,
) -> None:
    async with database.write() as connection:
        rows = [row("ida@example.org"), row("bo@example.org")]
        await members.add(connection, rows)
        ida, bo = [await members.by_key(connection, one["address_key"]) for one in rows]
        assert ida and bo
        by_ida = Actor(channel="console", name=ida.name, member=ida.id)
        await audit.record(
            connection,
            by_ida,
            "member-changed",
            about=bo.id,
            before={"name": "B"},
            after={"name": "Bo"},
            now=NOW,
        )
        await erasures.erase(connection, bo, "hash-of-bo", NOW)
        await erasures.erase(connection, ida, "hash-of-ida", NOW)
        (entry,) = await audit.entries(connection)
        assert (entry.before, entry.after, entry.about, entry.actor) == ({}, {}, None, None)
        assert entry.actor_name == "(erased)"
        assert await audit.forget(connection, before=NOW) == 0
        assert await audit.forget(connection, before=NOW + timedelta(seconds=1)) == 1
