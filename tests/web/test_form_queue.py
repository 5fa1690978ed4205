"""Requests are handled at random moments, so that timing does not tell who is a member."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, event

from scheduler.service import form_queue, sending_pause
from scheduler.store import forms as form_queue_store
from scheduler.store import service_state
from tests.clock import FakeClock
from tests.installation import Installation, address_of
from tests.web.test_join import SURE

PATHS = ("/me", "/join")


@contextmanager
def statements() -> Iterator[list[str]]:
    """Collects every statement that any database executes meanwhile."""
    executed: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        executed.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    yield executed
    event.remove(Engine, "before_cursor_execute", note)


async def waiting(installation: Installation) -> int:
    async with installation.database.read() as connection:
        return len(await form_queue_store.pending(connection, until=installation.clock.now()))


async def rounds(installation: Installation, count: int) -> list[float]:
    """Let so many rounds pass; returns the pauses before them."""
    pauses: list[float] = []

    class Counting(FakeClock):
        async def sleep(self, seconds: float) -> None:
            if len(pauses) == count:
                raise asyncio.CancelledError
            pauses.append(seconds)
            installation.clock.pass_(timedelta(seconds=seconds))
            await super().sleep(seconds)

    with suppress(asyncio.CancelledError):
        await form_queue.run_form_queue(installation.database, Counting(installation.clock.now()))
    return pauses


@pytest.mark.parametrize("path", PATHS)
async def test_a_request_and_the_next_one_do_the_same_work_for_a_member_and_a_stranger(
    installation: Installation, visitor: httpx.AsyncClient, path: str
) -> None:
    await installation.join(("Dan", "Europe/London"), status="left", active_since=None)
    await visitor.get("/")  # counts the countries of members, once a day
    done = []
    for email in (address_of("Ann"), "nobody@example.org", address_of("Dan")):
        with statements() as executed:
            assert (await visitor.post(path, data={**SURE, "email": email})).status_code == 200
            await visitor.get("/")
        done.append(
            [
                statement.split("WHERE")[0]
                for statement in executed
                if not statement.startswith(("BEGIN", "PRAGMA"))
            ]
        )
    assert done[0] == done[1] == done[2]
    assert any("INSERT INTO asks" in one for one in done[0])
    assert not any("INSERT" in one and "asks" not in one and "form_counts" not in one for one in done[0])
    assert await waiting(installation) == 3


@pytest.mark.parametrize("path", PATHS)
async def test_what_was_asked_is_carried_out_within_seconds_by_a_round_that_does_not_depend_on_it(
    installation: Installation, visitor: httpx.AsyncClient, path: str
) -> None:
    await visitor.post(path, data={**SURE, "email": address_of("Ann")})
    pauses = await rounds(installation, 1)
    assert await waiting(installation) == 0
    assert form_queue.PAUSE_SECONDS[0] <= pauses[0] <= form_queue.PAUSE_SECONDS[1]
    await installation.tick()
    assert len([mail for mail in installation.mails() if address_of("Ann") in str(mail["To"])]) == 1


async def test_the_rounds_come_at_random_moments(installation: Installation) -> None:
    pauses = await rounds(installation, 40)
    assert len(set(pauses)) == 40
    assert min(pauses) < 4 and max(pauses) > 6


async def test_a_request_just_before_a_round_waits_for_the_next(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    await visitor.post("/me", data={"email": address_of("Ann")})
    now = installation.clock.now()
    await form_queue.process_forms(installation.database, now=now, asked_until=now - timedelta(seconds=1))
    assert await waiting(installation) == 1
    await rounds(installation, 1)
    assert await waiting(installation) == 0


async def test_a_tick_follows_for_a_stranger_too(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    marks = []
    for email in (address_of("Ann"), "nobody@example.org"):
        await visitor.post("/me", data={"email": email})
        before = await change_mark(installation)
        await rounds(installation, 1)
        marks.append(await change_mark(installation) > before)
    assert marks == [True, True]


async def change_mark(installation: Installation) -> int:
    async with installation.database.read() as connection:
        return await service_state.current(connection, "change")


async def test_nothing_is_carried_out_while_sending_is_on_hold(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    await visitor.post("/me", data={"email": address_of("Ann")})
    async with installation.database.write() as connection:
        await sending_pause.pause_sending(connection, "restored", installation.clock.now())
    await rounds(installation, 3)
    assert await waiting(installation) == 1
    async with installation.database.write() as connection:
        await sending_pause.end_sending_pause(connection)
    await rounds(installation, 1)
    assert await waiting(installation) == 0
