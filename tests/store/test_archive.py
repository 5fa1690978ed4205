"""Finished deliveries move to the archive, and every report still includes them."""

from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from scheduler.domain.audience import Audience
from scheduler.domain.policy import Kind
from scheduler.store import erasures, members, notices
from scheduler.store.database import Database
from scheduler.store.ledger import archive as ledger_archive
from scheduler.store.ledger import fan_out, lifecycle, reports
from scheduler.store.ledger.claims import Settlement
from scheduler.store.schema import deliveries, occurrences, past_deliveries
from tests.store.test_ledger import MEETING, NOW, START, Ledger, make

AFTER_END = START + timedelta(hours=2)


async def send_all(ledger: Ledger) -> None:
    """Send all deliveries of the ledger's notice; the first one fails."""
    await ledger.fan_out()
    claimed = await ledger.claim()
    await ledger.settle(
        Settlement(id=claimed[0].id, state="failed", reason="550 5.1.1 unknown"),
        *(Settlement(id=claim.id, state="sent", sent_at=NOW) for claim in claimed[1:]),
    )


async def close(ledger: Ledger) -> None:
    async with ledger.database.write() as connection:
        await lifecycle.expire(connection, AFTER_END)
        await lifecycle.close_finished(connection, AFTER_END)


async def archive(ledger: Ledger) -> int:
    async with ledger.database.write() as connection:
        return await ledger_archive.archive(connection, before=AFTER_END, now=AFTER_END)


async def rows(ledger: Ledger) -> tuple[int, int]:
    """Count the deliveries in the ledger and in the archive."""
    async with ledger.database.read() as connection:
        counts = [
            await connection.scalar(select(func.count()).select_from(table))
            for table in (deliveries, past_deliveries)
        ]
    return counts[0] or 0, counts[1] or 0


async def test_finished_deliveries_move_to_the_archive_in_batches_and_reports_stay_the_same(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_archive, "BATCH", 2)
    ledger = await make(database, Kind.INVITATION, "ann", "bo", "cy", "di", "ed")
    await send_all(ledger)
    assert await archive(ledger) == 0  # no notice is closed yet
    await close(ledger)
    async with database.read() as connection:
        before = {row async for row in reports.reports(connection)}
        revision = await reports.last_told_revision(connection, MEETING.key)
    moved: list[int] = []
    while not moved or moved[-1]:
        moved.append(await archive(ledger))
        async with database.read() as connection:
            assert {row async for row in reports.reports(connection, batch=2)} == before
            counted = {"failed": 1, "sent": 4}
            assert await reports.states_by_notice(connection) == {ledger.notice.id: counted}
            assert await reports.states(connection, ledger.notice.id) == counted
            assert await reports.last_told_revision(connection, MEETING.key) == revision
    assert moved == [2, 2, 1, 0]
    assert await rows(ledger) == (0, 5)

    async with database.write() as connection:
        ann = await members.by_key(connection, "ann@example.org")
        assert ann
        (archived,) = (await erasures.rows_about(connection, ann.id))["past_deliveries"]
        assert (archived["notice"], archived["member"]) == (ledger.notice.id, ann.id)
        await erasures.erase(connection, ann, "hash", AFTER_END)
    assert await rows(ledger) == (0, 4)
    async with database.write() as connection:
        deleted = [
            await ledger_archive.forget(connection, before=START + timedelta(days=1)) for _ in range(3)
        ]
    assert deleted == [2, 2, 0]
    assert await rows(ledger) == (0, 0)


async def test_deliveries_of_a_future_meeting_are_not_archived(database: Database) -> None:
    ledger = await make(database, Kind.INVITATION, "ann", "bo")
    await send_all(ledger)
    await close(ledger)
    async with database.write() as connection:
        await connection.execute(update(occurrences).values(ends=AFTER_END))
    assert await archive(ledger) == 0
    assert await rows(ledger) == (2, 0)
    async with database.write() as connection:
        await connection.execute(update(occurrences).values(ends=AFTER_END - timedelta(microseconds=1)))
    assert await archive(ledger) == 2


async def test_an_archived_invitation_still_counts_when_its_meeting_is_moved_into_the_future(
    database: Database,
) -> None:
    ledger = await make(database, Kind.INVITATION, "ann", "bo")
    await send_all(ledger)
    await close(ledger)
    assert await archive(ledger) == 2
    again = START + timedelta(days=90)
    async with database.write() as connection:
        await connection.execute(update(occurrences).values(starts=again, ends=again + timedelta(hours=1)))
        number = await notices.add(
            connection,
            identity=f"update:{MEETING.key}:2",
            kind=Kind.UPDATE,
            occurrence=MEETING.key,
            starts=again,
            expires=again,
            created_at=AFTER_END,
            ready=True,
        )
        await notices.set_dues(connection, number, {"*": AFTER_END})
        update_ = await notices.by_id(connection, number)
        assert update_
        await fan_out.fan_out(
            connection,
            update_,
            zone="Europe/London",
            due=AFTER_END,
            now=AFTER_END,
            audience=Audience(terms={"all": []}),
        )
    claimed = await ledger.claim(now=AFTER_END)
    # The invitation to the first member failed.
    assert [(claim.requested, claim.first) for claim in claimed] == [(False, True), (True, False)]


async def test_many_service_mails_are_archived_at_once(database: Database) -> None:
    ledger = await make(database, Kind.REMINDER, "ann", "bo")
    async with database.write() as connection:
        people = [member async for member in members.every(connection)]
        for person in people:
            number = await notices.add(
                connection,
                identity=f"sign-in-{person.id}",
                kind=Kind.SIGN_IN,
                member=person.id,
                expires=AFTER_END,
                created_at=NOW,
                ready=True,
            )
            mail = await notices.by_id(connection, number)
            assert mail
            await fan_out.fan_out(connection, mail, zone="Europe/London", due=NOW, now=NOW)
    claimed = await ledger.claim()
    await ledger.settle(*(Settlement(id=claim.id, state="sent", sent_at=NOW) for claim in claimed))
    await close(ledger)
    async with database.write() as connection:
        later = AFTER_END + timedelta(seconds=1)
        moved = [await ledger_archive.archive(connection, before=later, now=later) for _ in range(3)]
    assert moved == [2, 0, 0]
    assert await rows(ledger) == (0, 2)
