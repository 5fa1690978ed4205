"""What has been kept long enough is forgotten by the daily sweep."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import select

from scheduler.domain.policy import Kind
from scheduler.service.amending import Change, amend
from scheduler.service.importing import import_members
from scheduler.service.mailing import mail_one
from scheduler.service.reading import read_members
from scheduler.store import facts, members
from scheduler.store.schema import deliveries, notices
from tests.house import DAY_BEFORE, HOUR_BEFORE, INVITATION, LONGEST_OUTAGE, House, address_of, open_house
from tests.service.test_erasing import found

NOW = datetime(2026, 11, 1, tzinfo=UTC)
NAME = "Zdenka Quarrendon"


async def names(house: House) -> set[str]:
    async with house.database.read() as connection:
        return {member.name async for member in members.every(connection)}


async def test_who_left_is_erased_after_the_time_set_and_no_import_brings_them_back(tmp_path: Path) -> None:
    async with open_house(tmp_path, NOW) as house:
        await house.join(("Ann", "Europe/London"), (NAME, "Europe/London"))
        await house.live(datetime(2026, 11, 6, tzinfo=UTC))
        left_at = house.clock.now()
        await house.change(NAME, status="left", active_since=None, feed_changed_at=left_at)
        house.clock.pass_until(left_at + timedelta(days=365))
        await house.tick()
        assert NAME in await names(house)
        house.clock.pass_until(left_at + timedelta(days=366, minutes=1))
        await house.tick()
        assert await names(house) == {"Ann"}
        assert not found(tmp_path, NAME, address_of(NAME))
        again = read_members(f"name,email,zone\n{NAME},{address_of(NAME)},Europe/London\n".encode())
        done = await import_members(
            house.database, again.rows, keys=house.keys, locale="en-GB", invitations=[], now=house.clock.now()
        )
        assert done.erased == 1
        assert await names(house) == {"Ann"}


async def at_hand(house: House) -> set[str | None]:
    """The meetings of whose deliveries some are not in the archive."""
    async with house.database.read() as connection:
        query = select(notices.c.occurrence).join(deliveries, deliveries.c.notice == notices.c.id)
        return set((await connection.scalars(query)).all())


async def test_what_lies_in_the_archive_is_never_made_or_sent_again(tmp_path: Path) -> None:
    async with open_house(tmp_path, NOW) as house:
        await house.join(("Ann", "Europe/London"), (NAME, "Asia/Kolkata"))
        await house.live(datetime(2026, 11, 20, tzinfo=UTC))
        november = "conversation-for-kindness/2026-11-19"
        before = await house.reports(occurrence=november)
        house.clock.pass_until(datetime(2027, 1, 18, tzinfo=UTC))
        await house.tick()
        assert november in await at_hand(house)
        await house.live(datetime(2027, 1, 20, tzinfo=UTC))
        for _ in range(3):
            await house.tick()  # each archives one notice at most
        assert november not in await at_hand(house)
        sent = len(house.mails())
        # Whoever is new, another policy, new names of policies, a look back at all there is: the notices stand, closed.
        await house.join(("Bo", "Europe/London"), active_since=NOW)
        house.policies = (INVITATION, replace(DAY_BEFORE, days_before=2), HOUR_BEFORE)
        house.restart()
        async with house.database.write() as connection:
            await facts.write(connection, facts.LAST_TICK, house.clock.now() - LONGEST_OUTAGE)
            await facts.write(connection, facts.WATERMARK, None)
        await house.tick()
        # An archived meeting that is moved to come is announced and reminded of anew; nobody is invited twice.
        await amend(
            house.database,
            house.by_slug,
            november,
            Change(move_to=datetime(2027, 2, 1, 18)),
            now=house.clock.now(),
        )
        await house.live(datetime(2027, 2, 2, tzinfo=UTC))
        invited = await house.reports(occurrence=november, kind="invitation")
        assert sorted(str(row) for row in invited if row.name != "Bo") == sorted(
            str(row) for row in before if row.kind == "invitation"
        )
        # Who joined since is invited to the meeting that is to come again.
        assert len([row for row in invited if row.name == "Bo"]) == 1
        again = [row for row in await house.reports(occurrence=november) if row not in before]
        assert {row.kind for row in again if row.name != "Bo"} == {"reminder"}
        assert len(house.mails()) > sent
        assert len(await house.reports(occurrence=november)) == len(before) + len(again)


async def test_old_deliveries_go_and_nobody_is_told_again(tmp_path: Path) -> None:
    async with open_house(tmp_path, NOW) as house:
        await house.join(("Ann", "Europe/London"))
        await house.live(datetime(2026, 11, 20, tzinfo=UTC))
        november = "conversation-for-kindness/2026-11-19"
        assert len(await house.reports(occurrence=november)) == 3
        async with house.database.write() as connection:
            ann = await members.by_key(connection, address_of("Ann"))
            assert ann
            await mail_one(connection, ann, Kind.SIGN_IN, now=house.clock.now())
        await house.tick()
        sent = len(house.mails())
        await house.live(datetime(2026, 12, 1, tzinfo=UTC))
        assert len(await house.reports(occurrence=november)) == 3
        house.clock.pass_until(datetime(2027, 12, 26, tzinfo=UTC))
        await house.tick()
        assert not await house.reports(occurrence=november)
        assert not await house.reports(kind="sign-in")
        after = [mail for mail in house.mails()[sent:] if "19 November 2026" in str(mail)]
        assert not after
