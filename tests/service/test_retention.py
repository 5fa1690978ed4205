"""Old data is deleted by the daily sweep."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import select

from scheduler.domain.actor import SERVICE
from scheduler.domain.policy import Kind
from scheduler.service.drafts import Words, add_draft, find_draft
from scheduler.service.member_csv import read_members
from scheduler.service.member_files import import_members
from scheduler.service.notices import mail_one
from scheduler.service.occurrences import Change, amend
from scheduler.store import members, service_state
from scheduler.store.schema import deliveries, notices
from tests.installation import (
    DAY_BEFORE,
    HOUR_BEFORE,
    INVITATION,
    LONGEST_OUTAGE,
    Installation,
    address_of,
    open_installation,
)
from tests.service.test_erasure import found

NOW = datetime(2026, 11, 1, tzinfo=UTC)
NAME = "Zdenka Quarrendon"


async def names(installation: Installation) -> set[str]:
    async with installation.database.read() as connection:
        return {member.name async for member in members.every(connection)}


async def test_a_member_who_left_is_erased_after_the_set_time_and_no_import_adds_them_again(
    tmp_path: Path,
) -> None:
    async with open_installation(tmp_path, NOW) as installation:
        await installation.join(("Ann", "Europe/London"), (NAME, "Europe/London"))
        await installation.live(datetime(2026, 11, 6, tzinfo=UTC))
        left_at = installation.clock.now()
        await installation.change(NAME, status="left", active_since=None, feed_changed_at=left_at)
        installation.clock.pass_until(left_at + timedelta(days=365))
        await installation.tick()
        assert NAME in await names(installation)
        installation.clock.pass_until(left_at + timedelta(days=366, minutes=1))
        await installation.tick()
        assert await names(installation) == {"Ann"}
        assert not found(tmp_path, NAME, address_of(NAME))
        again = read_members(f"name,email,zone\n{NAME},{address_of(NAME)},Europe/London\n".encode())
        done = await import_members(
            installation.database,
            again.rows,
            keys=installation.keys,
            locale="en-GB",
            invitations=[],
            all_series=installation.series,
            now=installation.clock.now(),
        )
        assert done.erased == 1
        assert await names(installation) == {"Ann"}


async def at_hand(installation: Installation) -> set[str | None]:
    """Return the meetings that still have deliveries outside the archive."""
    async with installation.database.read() as connection:
        query = select(notices.c.occurrence).join(deliveries, deliveries.c.notice == notices.c.id)
        return set((await connection.scalars(query)).all())


async def test_archived_deliveries_are_never_created_or_sent_again(tmp_path: Path) -> None:
    async with open_installation(tmp_path, NOW) as installation:
        await installation.join(("Ann", "Europe/London"), (NAME, "Asia/Kolkata"))
        await installation.live(datetime(2026, 11, 20, tzinfo=UTC))
        november = "conversation-for-kindness/2026-11-19"
        before = await installation.reports(occurrence=november)
        installation.clock.pass_until(datetime(2027, 1, 18, tzinfo=UTC))
        await installation.tick()
        assert november in await at_hand(installation)
        await installation.live(datetime(2027, 1, 20, tzinfo=UTC))
        for _ in range(3):
            await installation.tick()  # each archives one notice at most
        assert november not in await at_hand(installation)
        sent = len(installation.mails())
        # Whoever is new, another policy, new names of policies, a look back at all there is: the notices stand, closed.
        await installation.join(("Bo", "Europe/London"), active_since=NOW)
        installation.policies = (INVITATION, replace(DAY_BEFORE, days_before=2), HOUR_BEFORE)
        installation.restart()
        async with installation.database.write() as connection:
            await service_state.write(
                connection, service_state.LAST_TICK, installation.clock.now() - LONGEST_OUTAGE
            )
            await service_state.write(connection, service_state.WATERMARK, None)
        await installation.tick()
        # An archived meeting that is moved to come is announced and reminded of anew; nobody is invited twice.
        await amend(
            installation.database,
            installation.by_slug,
            november,
            Change(move_to=datetime(2027, 2, 1, 18)),
            now=installation.clock.now(),
        )
        await installation.live(datetime(2027, 2, 2, tzinfo=UTC))
        invited = await installation.reports(occurrence=november, kind="invitation")
        assert sorted(str(row) for row in invited if row.name != "Bo") == sorted(
            str(row) for row in before if row.kind == "invitation"
        )
        # Who joined since is invited to the meeting that is to come again.
        assert len([row for row in invited if row.name == "Bo"]) == 1
        again = [row for row in await installation.reports(occurrence=november) if row not in before]
        assert {row.kind for row in again if row.name != "Bo"} == {"reminder"}
        assert len(installation.mails()) > sent
        assert len(await installation.reports(occurrence=november)) == len(before) + len(again)


async def test_old_deliveries_are_deleted_and_nobody_is_mailed_again(tmp_path: Path) -> None:
    async with open_installation(tmp_path, NOW) as installation:
        await installation.join(("Ann", "Europe/London"))
        await installation.live(datetime(2026, 11, 20, tzinfo=UTC))
        november = "conversation-for-kindness/2026-11-19"
        assert len(await installation.reports(occurrence=november)) == 3
        async with installation.database.write() as connection:
            ann = await members.by_key(connection, address_of("Ann"))
            assert ann
            await mail_one(connection, ann, Kind.SIGN_IN, now=installation.clock.now())
        await installation.tick()
        sent = len(installation.mails())
        await installation.live(datetime(2026, 12, 1, tzinfo=UTC))
        assert len(await installation.reports(occurrence=november)) == 3
        installation.clock.pass_until(datetime(2027, 12, 26, tzinfo=UTC))
        await installation.tick()
        assert not await installation.reports(occurrence=november)
        assert not await installation.reports(kind="sign-in")
        after = [mail for mail in installation.mails()[sent:] if "19 November 2026" in str(mail)]
        assert not after


async def test_a_draft_that_nobody_has_changed_for_half_a_year_is_deleted(tmp_path: Path) -> None:
    async with open_installation(tmp_path, NOW) as installation:
        await installation.tick()
        words = Words(subject="Tea", body="Bring tea", audience="all")
        old = await add_draft(installation.database, words, by=SERVICE, now=NOW)
        installation.clock.pass_(timedelta(days=20))
        await installation.tick()
        new = await add_draft(installation.database, words, by=SERVICE, now=installation.clock.now())
        installation.clock.pass_(timedelta(days=161))
        await installation.tick()
        assert await find_draft(installation.database, old) is None
        assert await find_draft(installation.database, new)
