"""What is long over moves out of the way, and nothing that asks for it misses it."""

from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from scheduler.domain.policy import Kind
from scheduler.store import erasures, members, notices
from scheduler.store.database import Database
from scheduler.store.ledger import archive as ledger_archive
from scheduler.store.ledger import fan_out, lifecycle, reports
from scheduler.store.ledger.claims import Settlement
from scheduler.store.schema import deliveries, occurrences, past_deliveries
from tests.store.test_ledger import MEETING, NOW, START, Ledger, make

OVER = START + timedelta(hours=2)


async def sent(ledger: Ledger) -> None:
    """Everything of the ledger's notice is sent, but for what fails."""
    await ledger.fan_out()
    claimed = await ledger.claim()
    await ledger.settle(
        Settlement(id=claimed[0].id, state="failed", reason="550 5.1.1 unknown"),
        *(Settlement(id=one.id, state="sent", sent_at=NOW) for one in claimed[1:]),
    )


async def close(ledger: Ledger) -> None:
    async with ledger.database.write() as connection:
        await lifecycle.expire(connection, OVER)
        await lifecycle.close_finished(connection, OVER)


async def archive(ledger: Ledger) -> int:
    async with ledger.database.write() as connection:
        return await ledger_archive.archive(connection, before=OVER, now=OVER)


async def rows(ledger: Ledger) -> tuple[int, int]:
    """How many deliveries are at hand, and how many in the archive."""
    async with ledger.database.read() as connection:
        found = [
            await connection.scalar(select(func.count()).select_from(table))
            for table in (deliveries, past_deliveries)
        ]
    return found[0] or 0, found[1] or 0


async def test_what_is_over_moves_in_bounds_and_is_told_of_as_before(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_archive, "BATCH", 2)
    ledger = await make(database, Kind.INVITATION, "ann", "bo", "cy", "di", "ed")
    await sent(ledger)
    assert await archive(ledger) == 0  # nothing is closed yet
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
        (held,) = (await erasures.rows_about(connection, ann.id))["past_deliveries"]
        assert (held["notice"], held["member"]) == (ledger.notice.id, ann.id)
        await erasures.erase(connection, ann, "hash", OVER)
    assert await rows(ledger) == (0, 4)
    async with database.write() as connection:
        forgotten = [
            await ledger_archive.forget(connection, before=START + timedelta(days=1)) for _ in range(3)
        ]
    assert forgotten == [2, 2, 0]
    assert await rows(ledger) == (0, 0)


async def test_a_meeting_that_is_to_come_keeps_its_deliveries_at_hand(database: Database) -> None:
    ledger = await make(database, Kind.INVITATION, "ann", "bo")
    await sent(ledger)
    await close(ledger)
    async with database.write() as connection:
        await connection.execute(update(occurrences).values(ends=OVER))
    assert await archive(ledger) == 0
    assert await rows(ledger) == (2, 0)
    async with database.write() as connection:
        await connection.execute(update(occurrences).values(ends=OVER - timedelta(microseconds=1)))
    assert await archive(ledger) == 2


async def test_who_was_invited_before_is_known_when_a_meeting_of_the_archive_is_moved_to_come(
    database: Database,
) -> None:
    ledger = await make(database, Kind.INVITATION, "ann", "bo")
    await sent(ledger)
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
            created_at=OVER,
            ready=True,
        )
        await notices.set_dues(connection, number, {"*": OVER})
        update_ = await notices.by_id(connection, number)
        assert update_
        await fan_out.fan_out(
            connection, update_, zone="Europe/London", due=OVER, now=OVER, audience={"all": []}
        )
    claimed = await ledger.claim(now=OVER)
    # The first one's invitation failed.
    assert [(one.requested, one.first) for one in claimed] == [(False, True), (True, False)]


async def test_service_mails_move_many_at_once(database: Database) -> None:
    ledger = await make(database, Kind.REMINDER, "ann", "bo")
    async with database.write() as connection:
        people = [one async for one in members.every(connection)]
        for person in people:
            number = await notices.add(
                connection,
                identity=f"sign-in-{person.id}",
                kind=Kind.SIGN_IN,
                member=person.id,
                expires=OVER,
                created_at=NOW,
                ready=True,
            )
            mail = await notices.by_id(connection, number)
            assert mail
            await fan_out.fan_out(connection, mail, zone="Europe/London", due=NOW, now=NOW)
    claimed = await ledger.claim()
    await ledger.settle(*(Settlement(id=one.id, state="sent", sent_at=NOW) for one in claimed))
    await close(ledger)
    async with database.write() as connection:
        later = OVER + timedelta(seconds=1)
        moved = [await ledger_archive.archive(connection, before=later, now=later) for _ in range(3)]
    assert moved == [2, 0, 0]
    assert await rows(ledger) == (0, 2)
