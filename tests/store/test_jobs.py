"""Chunks as jobs on PostgreSQL: each is one sender's, until that one is lost."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from scheduler.domain.policy import Kind
from scheduler.service.notices import mail_one, send_notice
from scheduler.store import members, service_state
from scheduler.store.database import Database
from scheduler.store.ledger import jobs
from scheduler.store.ledger.jobs import JobConsumer, JobsLost, Run
from scheduler.store.upgrades import open_database
from tests.installation import Installation, address_of, open_installation

NOW = datetime(2026, 11, 10, 12, tzinfo=UTC)  # the invitation to the nineteenth has been due since the fifth


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[Database]:
    database = Database(postgres_url)
    await open_database(database, upgrade=True)
    yield database
    await database.close()


@pytest.fixture
async def installation(postgres_url: str, tmp_path: Path) -> AsyncIterator[Installation]:
    async with open_installation(tmp_path, NOW, url=postgres_url) as installation:
        await installation.join(("Ann", "Europe/London"), ("Bo", "Pacific/Auckland"), ("Cy", "Europe/Paris"))
        yield installation


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "DEQUEUE_TIMEOUT", timedelta(seconds=0.1))


async def enqueue(database: Database, *chunks: int) -> None:
    async with database.write() as connection:
        await jobs.enqueue(connection, chunks)


async def waiting(database: Database) -> dict[str, str]:
    async with database.read() as connection:
        rows = await connection.execute(text("SELECT dedupe_key, status::text FROM pgqueuer ORDER BY id"))
        return {row[0]: row[1] for row in rows}


def hands(database: Database, run: Run, lost: asyncio.Event | None = None) -> JobConsumer:
    return JobConsumer(database, run, lost=(lost or asyncio.Event()).set)


async def test_a_chunk_is_handed_out_once_however_often_it_is_enqueued(database: Database) -> None:
    await enqueue(database, 7, 8)
    await enqueue(database, 8, 9, 9)
    taken: list[int] = []

    async def run(chunk: int) -> None:
        taken.append(chunk)
        await enqueue(database, chunk)  # at work: left as it is
        if len(taken) == 3:
            one.stop()
            other.stop()

    one, other = hands(database, run), hands(database, run)
    async with asyncio.timeout(20):
        await asyncio.gather(one.work(), other.work())
    assert sorted(taken) == [7, 8, 9]
    assert await waiting(database) == {}


async def test_what_a_single_person_waits_for_is_taken_before_all_else(installation: Installation) -> None:
    await installation.planner.tick()
    async with installation.database.write() as connection:
        ann = await members.by_key(connection, address_of("Ann"))
        assert ann
        await mail_one(connection, ann, Kind.SIGN_IN, now=NOW)
    async with installation.database.read() as connection:
        rows = await connection.execute(text("SELECT priority FROM pgqueuer ORDER BY id"))
        *before, last = rows.scalars()
    assert before and set(before) == {0} and last == 1


async def test_what_a_lost_sender_had_is_taken_over(database: Database) -> None:
    await enqueue(database, 7)
    async with database.write() as connection:
        lost = "UPDATE pgqueuer SET status = 'picked', heartbeat = now() - interval '16 seconds'"
        await connection.execute(text(lost))

    async def run(chunk: int) -> None:
        assert chunk == 7
        one.stop()

    one = hands(database, run)
    async with asyncio.timeout(20):
        await one.work()


async def test_a_chunk_that_is_cut_off_goes_back_and_its_sender_begins_anew(database: Database) -> None:
    await enqueue(database, 7)
    told = asyncio.Event()

    async def run(chunk: int) -> None:
        raise OperationalError("gone", None, OSError())

    with pytest.raises(JobsLost):
        async with asyncio.timeout(20):
            await hands(database, run, told).work()
    assert told.is_set()
    assert await waiting(database) == {"7": "queued"}


async def test_a_sender_whose_database_goes_away_is_told_at_once(database: Database) -> None:
    told, begun = asyncio.Event(), asyncio.Event()
    await enqueue(database, 7)

    async def run(chunk: int) -> None:
        begun.set()
        await told.wait()

    working = asyncio.create_task(hands(database, run, told).work())
    async with asyncio.timeout(20):
        await begun.wait()
        async with database.write() as connection:
            others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
            await connection.execute(text(f"{others} AND datname = current_database()"))
        with pytest.raises(JobsLost):
            await working


async def test_the_slots_of_a_rate_are_reserved_one_after_the_other_among_all(database: Database) -> None:
    async def book(slots: int) -> float:
        async with database.write() as connection:
            return await jobs.reserve_slots(connection, slots, rate=10)

    waits = sorted(await asyncio.gather(*(book(50) for _ in range(4))))
    assert [round(wait) for wait in waits] == [0, 5, 10, 15]
    assert waits[0] == 0


async def test_chunks_are_enqueued_with_their_deliveries_and_again_by_the_tick(
    installation: Installation,
) -> None:
    await installation.planner.tick()
    assert set((await waiting(installation.database)).values()) == {"queued"}
    async with installation.database.write() as connection:
        await connection.execute(text("DELETE FROM pgqueuer"))
        await connection.execute(
            text("UPDATE deliveries SET state = 'sending', run = 'lost' WHERE member = 1")
        )
    async with installation.database.write() as connection:
        await jobs.enqueue_open(connection, [])
        chunk = await connection.scalar(text("SELECT chunk FROM deliveries WHERE member = 1"))
    assert await waiting(installation.database) == {str(chunk): "queued"}


async def test_two_planners_at_once_make_each_delivery_once(installation: Installation) -> None:
    await send_notice(
        installation.database,
        subject="Hello",
        body="All.",
        audience={"all": []},
        audience_text="all",
        now=NOW,
    )
    one = installation.planner
    installation.restart()
    for _ in range(4):
        await asyncio.gather(one.tick(), installation.planner.tick(), one.tick(), installation.planner.tick())
        installation.clock.pass_(timedelta(days=3))
        await installation.change("Ann", locale="en-US")
    kept = await installation.reports()
    assert len({(row.notice, row.member) for row in kept}) == len(kept)
    assert len([row for row in kept if row.kind == "notice"]) == 3
    assert len({row.notice for row in kept if row.kind == "invitation"}) == 1


async def test_a_tick_that_waited_for_another_does_not_take_its_own_clock_for_wrong(
    installation: Installation,
) -> None:
    await installation.planner.tick()
    async with installation.database.tick() as connection:
        waiting = asyncio.create_task(installation.planner.tick())
        await asyncio.sleep(0)
        installation.clock.pass_(timedelta(minutes=1))
        await service_state.write(connection, service_state.LAST_TICK, installation.clock.now())
    assert not (await waiting).held
