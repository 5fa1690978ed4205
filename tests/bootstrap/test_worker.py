"""How the senders of a cluster share work."""

import asyncio
import contextlib
import os
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection
from structlog.testing import capture_logs

from scheduler.bootstrap import worker
from scheduler.bootstrap.settings import Settings, load_settings
from scheduler.bootstrap.wiring import open_parts
from scheduler.bootstrap.worker import consume_jobs, make_dispatcher, make_job_consumer
from scheduler.delivery.send.maildir import read_outbox
from scheduler.domain.audience import Audience
from scheduler.domain.policy import Kind
from scheduler.service.members import new_member_row
from scheduler.service.notices import mail_one, send_notice
from scheduler.store import members
from scheduler.store.ledger import jobs
from tests.languages import catalogues_in


def test_a_broken_catalogue_is_named_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "fi" / "LC_MESSAGES" / "messages.mo"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"broken")
    with catalogues_in(tmp_path), capture_logs() as lines:
        worker.name_broken_catalogues()
    (line,) = lines
    assert line["event"] == "catalogue-not-read" and line["problem"].startswith(f"fi: {path} cannot be read")


def cluster(postgres_url: str, folder: Path, **more: str) -> Settings:
    return load_settings(
        None,
        {
            "THIRD_THURSDAY_DATABASE__URL": postgres_url,
            "THIRD_THURSDAY_SECURITY__KEY": os.urandom(32).hex(),
            "THIRD_THURSDAY_MAIL__TRANSPORT": f"maildir:{folder / 'mail'}",
            **more,
        },
    )


async def someone(connection: AsyncConnection, now: datetime) -> None:
    maya = new_member_row(
        address="maya@example.org",
        name="Maya",
        country="NZ",
        zone="Pacific/Auckland",
        zone_source="confirmed",
        locale="en-NZ",
        status="active",
        now=now,
    )
    await members.add(connection, [maya])


async def test_a_database_outage_while_a_slot_of_the_rate_is_reserved_loses_no_mail(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries, book = [], jobs.reserve_slots

    async def away_at_first(connection: AsyncConnection, slots: int, *, rate: float) -> float:
        tries.append(slots)
        if len(tries) <= 5:
            raise OperationalError("", {}, Exception("the connection is closed"))
        return await book(connection, slots, rate=rate)

    monkeypatch.setattr(jobs, "reserve_slots", away_at_first)
    monkeypatch.setattr("scheduler.store.outage.AGAIN_SECONDS", 0.01)
    settings = cluster(postgres_url, tmp_path, THIRD_THURSDAY_MAIL__RATE="100")
    async with open_parts(settings, upgrade=True) as parts:
        now = parts.clock.now()
        async with parts.database.write() as connection:
            await someone(connection, now)
        await send_notice(
            parts.database,
            subject="Hello",
            body="All.",
            audience=Audience(terms={"all": []}),
            audience_text="all",
            now=now,
        )
        async with asyncio.timeout(20):
            assert await make_dispatcher(parts).send_due() == 1
        assert len(read_outbox(tmp_path / "mail", newest=5)) == 1
        assert not parts.database.outages.current


async def test_a_task_that_ignores_its_cancellation_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    released = asyncio.Event()

    async def stubborn() -> None:
        while not released.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await released.wait()

    monkeypatch.setattr(worker, "CANCEL_SECONDS", 0.01)
    task = asyncio.create_task(stubborn())
    await worker.finish_or_cancel(task, within=0)
    assert not task.done()
    released.set()
    await task


async def test_mail_that_waits_for_a_welcome_follows_it_without_waiting_for_a_tick(
    postgres_url: str, tmp_path: Path
) -> None:
    async with open_parts(cluster(postgres_url, tmp_path), upgrade=True) as parts:
        now = parts.clock.now()
        async with parts.database.write() as connection:
            await someone(connection, now)
        # Its job is the first in the queue, and finds nothing that may go yet.
        await send_notice(
            parts.database,
            subject="Hello",
            body="All.",
            audience=Audience(terms={"all": []}),
            audience_text="all",
            now=now,
        )
        async with parts.database.write() as connection:
            member = await members.by_key(connection, "maya@example.org")
            assert member
            await mail_one(connection, member, Kind.WELCOME, now=parts.clock.now())
        dispatcher = make_dispatcher(parts)
        consumer = make_job_consumer(parts, dispatcher)
        sharing = asyncio.create_task(consume_jobs(dispatcher, consumer))
        async with asyncio.timeout(20):
            while not (tmp_path / "mail").exists() or len(read_outbox(tmp_path / "mail", newest=5)) < 2:
                await asyncio.sleep(0.05)
        consumer.stop()
        dispatcher.drain()
        await sharing
