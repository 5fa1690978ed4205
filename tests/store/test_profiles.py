"""Profiles of people, versions of the page about the community, and messages to the convenors."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.exc import IntegrityError

from scheduler.domain.actor import SERVICE, Actor
from scheduler.domain.contact import ContactMessage
from scheduler.domain.photo import Photo
from scheduler.domain.policy import Kind
from scheduler.service.notices import mail_one
from scheduler.store import about, contact_messages, erasures, members, profiles
from scheduler.store.database import Database
from scheduler.store.members import Member
from scheduler.store.profiles import ProfileKind
from tests.store.test_members import row

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CONVENOR, WALL = ProfileKind.CONVENOR, ProfileKind.WALL
SMALL, LARGE = Photo(192, "avif", b"small"), Photo(480, "avif", b"large")


async def add(database: Database, *names: str, **values: object) -> list[Member]:
    async with database.write() as connection:
        rows = [row(f"{name}@example.org", **values) for name in names]
        await members.add(connection, rows)
        found = [await members.by_key(connection, one["address_key"]) for one in rows]
    return [member for member in found if member]


async def show(database: Database, member: Member, kind: ProfileKind, *, at: datetime = NOW) -> None:
    async with database.write() as connection:
        await profiles.save(
            connection,
            member.id,
            kind,
            state="released",
            name=member.address.partition("@")[0],
            role="listens",
            photo=f"{kind}-{member.id}",
            photo_format="avif",
            changed_at=at,
            released_at=at,
        )
        await profiles.store_photo(connection, member.id, kind, [SMALL, LARGE])


async def shown(database: Database, kind: ProfileKind) -> list[str]:
    async with database.read() as connection:
        found = [profile.name for profile in await profiles.shown(connection, kind)]
        assert len(found) == await profiles.count_shown(connection, kind)
        return found


async def test_the_wall_begins_with_the_newest_and_a_photo_is_there_while_its_profile_is(
    database: Database,
) -> None:
    ida, bo = await add(database, "ida", "bo")
    await show(database, ida, WALL)
    await show(database, bo, WALL, at=NOW + timedelta(days=1))
    assert await shown(database, WALL) == ["bo", "ida"]
    async with database.write() as connection:
        assert await profiles.shown(connection, WALL, after=1, most=1) != []
        assert await profiles.shown_photo(connection, f"wall-{bo.id}", 480, "avif") == b"large"
        assert await profiles.shown_photo(connection, f"wall-{bo.id}", 480, "jpeg") is None
        assert await profiles.remove(connection, bo.id, WALL) == 1
        assert await profiles.shown_photo(connection, f"wall-{bo.id}", 480, "avif") is None
    assert await shown(database, WALL) == ["ida"]


async def test_nobody_is_shown_who_leaves_and_no_convenor_who_is_no_longer_one(database: Database) -> None:
    (ida,) = await add(database, "ida", role="convenor")
    await show(database, ida, CONVENOR)
    await show(database, ida, WALL)
    assert await shown(database, CONVENOR) == await shown(database, WALL) == ["ida"]
    async with database.write() as connection:
        await members.change(connection, ida.id, role="helper")
    assert (await shown(database, CONVENOR), await shown(database, WALL)) == ([], ["ida"])
    async with database.write() as connection:
        await members.change(connection, ida.id, status="paused", active_since=None)
    assert await shown(database, WALL) == ["ida"]
    async with database.write() as connection:
        await members.change(connection, ida.id, status="left")
        assert await profiles.of_member(connection, ida.id, WALL) is None


async def test_what_waits_comes_in_order_and_is_forgotten_when_it_is_old(database: Database) -> None:
    ida, bo, cy = await add(database, "ida", "bo", "cy")
    for member, days in ((ida, 2), (bo, 1)):
        await show(database, member, WALL)
        async with database.write() as connection:
            await profiles.save(
                connection,
                member.id,
                WALL,
                state="waiting",
                released_at=None,
                changed_at=NOW + timedelta(days=days),
            )
    await show(database, cy, WALL)
    async with database.write() as connection:
        assert [profile.name for profile in await profiles.waiting(connection)] == ["bo", "ida"]
        assert await profiles.count_waiting(connection) == 2
        assert await profiles.forget(connection, before=NOW + timedelta(days=2)) == 1
        assert [profile.name for profile in await profiles.waiting(connection)] == ["ida"]
    assert await shown(database, WALL) == ["cy"]


async def test_a_released_profile_has_its_instant(database: Database) -> None:
    (ida,) = await add(database, "ida")
    with pytest.raises(IntegrityError):
        async with database.write() as connection:
            await profiles.save(
                connection, ida.id, WALL, state="released", name="I", role="r", changed_at=NOW
            )


async def test_old_versions_of_the_page_are_forgotten_but_not_the_one_that_is_shown(
    database: Database,
) -> None:
    (ida,) = await add(database, "ida")
    by_ida = Actor(channel="console", name="Ida", member=ida.id)
    async with database.write() as connection:
        for body, by in (("one", SERVICE), ("two", by_ida), ("three", by_ida)):
            await about.add(connection, body, by=by, now=NOW)
        assert [version.body for version in await about.every(connection)] == ["three", "two", "one"]
        await about.forget(connection, before=NOW + timedelta(days=1))
        newest = await about.newest(connection)
        assert newest and (newest.body, newest.author_name) == ("three", "Ida")
        assert await about.every(connection) == [newest]
        await erasures.erase(connection, ida, "hash", NOW)
        newest = await about.by_id(connection, newest.id)
        assert newest and (newest.body, newest.author_name, newest.author) == ("three", "(erased)", None)


async def test_a_message_to_the_convenors_goes_with_its_mail(database: Database) -> None:
    (ida,) = await add(database, "ida", role="convenor")
    for day in (0, 1):
        message = ContactMessage(name="Vi", address="Vi@example.org", words=f"day {day}")
        now = NOW + timedelta(days=day)
        async with database.write() as connection:
            number = await mail_one(connection, ida, Kind.CONTACT, address="team@example.org", now=now)
            await contact_messages.add(connection, number, message, address_key="vi@example.org", now=now)
            assert await contact_messages.of_notice(connection, number) == message
    async with database.write() as connection:
        assert await contact_messages.forget(connection, before=NOW + timedelta(days=1)) == 1
        assert await contact_messages.has_any_of(connection, "vi@example.org")
        assert await contact_messages.remove_of(connection, ["vi@example.org"]) == 1
        assert not await contact_messages.has_any_of(connection, "vi@example.org")
        rows = await erasures.rows_about(connection, ida.id)
        assert rows["notices"] == rows["deliveries"] == []
