"""What visitors ask for is carried out at moments that tell nothing of whom we know."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, event

from scheduler.service import asking, holding
from scheduler.store import asks, facts
from tests.clock import FakeClock
from tests.house import House, address_of
from tests.web.test_joining import SURE

PATHS = ("/me", "/join")


@contextmanager
def statements() -> Iterator[list[str]]:
    """Collects every statement that any database executes meanwhile."""
    said: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        said.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    yield said
    event.remove(Engine, "before_cursor_execute", note)


async def waiting(house: House) -> int:
    async with house.database.read() as connection:
        return len(await asks.left(connection, until=house.clock.now()))


async def rounds(house: House, count: int) -> list[float]:
    """Let so many rounds pass; returns the pauses before them."""
    pauses: list[float] = []

    class Counting(FakeClock):
        async def sleep(self, seconds: float) -> None:
            if len(pauses) == count:
                raise asyncio.CancelledError
            pauses.append(seconds)
            house.clock.pass_(timedelta(seconds=seconds))
            await super().sleep(seconds)

    with suppress(asyncio.CancelledError):
        await asking.keep_carrying_out(house.database, Counting(house.clock.now()))
    return pauses


@pytest.mark.parametrize("path", PATHS)
async def test_a_request_and_the_next_one_do_the_same_work_for_a_member_and_a_stranger(
    house: House, visitor: httpx.AsyncClient, path: str
) -> None:
    await house.join(("Dan", "Europe/London"), status="left", active_since=None)
    done = []
    for email in (address_of("Ann"), "nobody@example.org", address_of("Dan")):
        with statements() as said:
            assert (await visitor.post(path, data={**SURE, "email": email})).status_code == 200
            await visitor.get("/")
        done.append([one.split("WHERE")[0] for one in said if not one.startswith(("BEGIN", "PRAGMA"))])
    assert done[0] == done[1] == done[2]
    assert any("INSERT INTO asks" in one for one in done[0])
    assert not any("INSERT" in one and "asks" not in one and "form_counts" not in one for one in done[0])
    assert await waiting(house) == 3


@pytest.mark.parametrize("path", PATHS)
async def test_what_was_asked_is_carried_out_within_seconds_by_a_round_that_does_not_depend_on_it(
    house: House, visitor: httpx.AsyncClient, path: str
) -> None:
    await visitor.post(path, data={**SURE, "email": address_of("Ann")})
    pauses = await rounds(house, 1)
    assert await waiting(house) == 0
    assert asking.PAUSE_SECONDS[0] <= pauses[0] <= asking.PAUSE_SECONDS[1]
    await house.tick()
    assert len([mail for mail in house.mails() if address_of("Ann") in str(mail["To"])]) == 1


async def test_the_rounds_come_at_random_moments(house: House) -> None:
    pauses = await rounds(house, 40)
    assert len(set(pauses)) == 40
    assert min(pauses) < 4 and max(pauses) > 6


async def test_a_request_just_before_a_round_waits_for_the_next(
    house: House, visitor: httpx.AsyncClient
) -> None:
    await visitor.post("/me", data={"email": address_of("Ann")})
    now = house.clock.now()
    await asking.carry_out_left(house.database, now=now, asked_until=now - timedelta(seconds=1))
    assert await waiting(house) == 1
    await rounds(house, 1)
    assert await waiting(house) == 0


async def test_a_tick_follows_for_a_stranger_too(house: House, visitor: httpx.AsyncClient) -> None:
    marks = []
    for email in (address_of("Ann"), "nobody@example.org"):
        await visitor.post("/me", data={"email": email})
        before = await change_mark(house)
        await rounds(house, 1)
        marks.append(await change_mark(house) > before)
    assert marks == [True, True]


async def change_mark(house: House) -> int:
    async with house.database.read() as connection:
        return await facts.current(connection, "change")


async def test_nothing_is_carried_out_while_sending_is_on_hold(
    house: House, visitor: httpx.AsyncClient
) -> None:
    await visitor.post("/me", data={"email": address_of("Ann")})
    async with house.database.write() as connection:
        await holding.hold(connection, "restored", house.clock.now())
    await rounds(house, 3)
    assert await waiting(house) == 1
    async with house.database.write() as connection:
        await holding.release(connection)
    await rounds(house, 1)
    assert await waiting(house) == 0
