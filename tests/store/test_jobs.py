"""Chunks as jobs on PostgreSQL: each belongs to one sender until that sender is lost."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from scheduler.domain.audience import Audience
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
def short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "DEQUEUE_TIMEOUT", timedelta(seconds=0.1))


async def enqueue(database: Database, *chunks: int) -> None:
    async with database.write() as connection:
        await jobs.enqueue(connection, chunks)


async def waiting(database: Database) -> dict[str, str]:
    async with database.read() as connection:
        rows = await connection.execute(text("SELECT dedupe_key, status::text FROM pgqueuer ORDER BY id"))
        return {row[0]: row[1] for row in rows}


def consumer(database: Database, run: Run, lost: asyncio.Event | None = None) -> JobConsumer:
    return JobConsumer(database, run, lost=(lost or asyncio.Event()).set)


async def test_a_chunk_is_taken_once_however_often_it_is_enqueued(database: Database) -> None:
    await enqueue(database, 7, 8)
    await enqueue(database, 8, 9, 9)
    taken: list[int] = []

    async def run(chunk: int) -> None:
        taken.append(chunk)
        await enqueue(database, chunk)  # it is being sent, so it stays as it is
        if len(taken) == 3:
            first.stop()
            second.stop()

    first, second = consumer(database, run), consumer(database, run)
    async with asyncio.timeout(20):
        await asyncio.gather(first.work(), second.work())
    assert sorted(taken) == [7, 8, 9]
    assert await waiting(database) == {}


async def test_a_mail_that_one_person_waits_for_has_priority(installation: Installation) -> None:
    await installation.planner.tick()
    async with installation.database.write() as connection:
        ann = await members.by_key(connection, address_of("Ann"))
        assert ann
        await mail_one(connection, ann, Kind.SIGN_IN, now=NOW)
    async with installation.database.read() as connection:
        rows = await connection.execute(text("SELECT priority FROM pgqueuer ORDER BY id"))
        *before, last = rows.scalars()
    assert before and set(before) == {0} and last == 1


async def test_the_jobs_of_a_lost_sender_are_taken_over(database: Database) -> None:
    await enqueue(database, 7)
    async with database.write() as connection:
        lost = "UPDATE pgqueuer SET status = 'picked', heartbeat = now() - interval '16 seconds'"
        await connection.execute(text(lost))

    async def run(chunk: int) -> None:
        assert chunk == 7
        sender.stop()

    sender = consumer(database, run)
    async with asyncio.timeout(20):
        await sender.work()


async def test_an_interrupted_chunk_is_queued_again_and_its_sender_starts_again(database: Database) -> None:
    await enqueue(database, 7)
    lost = asyncio.Event()

    async def run(chunk: int) -> None:
        raise OperationalError("gone", None, OSError())

    with pytest.raises(JobsLost):
        async with asyncio.timeout(20):
            await consumer(database, run, lost).work()
    assert lost.is_set()
    assert await waiting(database) == {"7": "queued"}


async def test_a_sender_is_told_at_once_when_the_database_connection_is_lost(database: Database) -> None:
    lost, begun = asyncio.Event(), asyncio.Event()
    await enqueue(database, 7)

    async def run(chunk: int) -> None:
        begun.set()
        await lost.wait()

    working = asyncio.create_task(consumer(database, run, lost).work())
    async with asyncio.timeout(20):
        await begun.wait()
        async with database.write() as connection:
            others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
            await connection.execute(text(f"{others} AND datname = current_database()"))
        with pytest.raises(JobsLost):
            await working


async def test_senders_reserve_consecutive_slots_of_a_shared_rate(database: Database) -> None:
    async def reserve(slots: int) -> float:
        async with database.write() as connection:
            return await jobs.reserve_slots(connection, slots, rate=10)

    waits = sorted(await asyncio.gather(*(reserve(50) for _ in range(4))))
    assert [round(wait) for wait in waits] == [0, 5, 10, 15]
    assert waits[0] == 0


async def test_chunks_are_enqueued_with_their_deliveries_and_again_by_a_tick(
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


async def test_two_planners_at_once_create_each_delivery_once(installation: Installation) -> None:
    await send_notice(
        installation.database,
        subject="Hello",
        body="All.",
        audience=Audience(terms={"all": []}),
        audience_text="all",
        now=NOW,
    )
    first_planner = installation.planner
    installation.restart()
    for _ in range(4):
        await asyncio.gather(
            first_planner.tick(),
            installation.planner.tick(),
            first_planner.tick(),
            installation.planner.tick(),
        )
        installation.clock.pass_(timedelta(days=3))
        await installation.change("Ann", locale="en-US")
    rows = await installation.reports()
    assert len({(row.notice, row.member) for row in rows}) == len(rows)
    assert len([row for row in rows if row.kind == "notice"]) == 3
    assert len({row.notice for row in rows if row.kind == "invitation"}) == 1


async def test_a_tick_that_waited_for_another_does_not_consider_the_clock_wrong(
    installation: Installation,
) -> None:
    await installation.planner.tick()
    async with installation.database.tick() as connection:
        waiting = asyncio.create_task(installation.planner.tick())
        await asyncio.sleep(0)
        installation.clock.pass_(timedelta(minutes=1))
        await service_state.write(connection, service_state.LAST_TICK, installation.clock.now())
    assert not (await waiting).stopped
