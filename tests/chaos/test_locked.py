"""Another program holds the database for long: said in one line, nothing lost, and gone on with by itself."""

import asyncio
import contextlib
from collections import deque
from pathlib import Path

import pytest

from tests.chaos.faults import Relay, installed, locked, until
from tests.chaos.killing import CONNECTIONS
from tests.chaos.test_disk import ASKS

pytestmark = pytest.mark.proof

MEMBERS = 120
HELD = "another program holds the database"
ADVICE = f"{HELD}: end it, or wait until it has finished"


@pytest.mark.short
@pytest.mark.parametrize("midst", [1, 20], ids=["at the first", "in the midst"])
async def test_a_database_held_by_another_while_mail_goes_out_stops_all_until_it_is_let_go(
    tmp_path: Path, midst: int
) -> None:
    begun = 0
    with contextlib.ExitStack() as held:

        async def then() -> None:
            nonlocal begun
            await asyncio.to_thread(held.enter_context, locked(tmp_path / "faults.sqlite"))
            begun = len(relay.taken)

        async with (
            Relay(at=midst, then=then) as relay,
            installed(tmp_path, f"smtp://127.0.0.1:{relay.port}") as here,
        ):
            await here.join(MEMBERS)
            await here.start()
            await here.not_ready(HELD)
            assert (await here.answer("/")).status_code == 200
            assert (await here.answer("/join", ASKS)).status_code == 503
            code, out, _ = await here.command("status")
            assert code == 1 and f"trouble:     {ADVICE}\n" in out
            assert len(relay.taken) <= begun + CONNECTIONS, (
                "a connection went on before its last was written down"
            )
            assert here.logged("settling-failed") == 1
            held.close()
            await here.all_sent(MEMBERS)
            relay.verdict(MEMBERS)
            await here.well()
            await here.drain()


@pytest.mark.short
async def test_a_database_held_by_another_when_mail_is_to_be_claimed_lets_it_wait(tmp_path: Path) -> None:
    async with Relay() as relay, installed(tmp_path, f"smtp://127.0.0.1:{relay.port}") as here:
        # Turned away at the door, all goes back to the queue, and is claimed again after a pause.
        away = relay.script["GREETING"] = deque(["421 4.3.2 busy"] * 100)
        await here.join(MEMBERS)
        await here.start()
        await until(lambda: here.logged("relay-down"))
        await here.all_are("queued", MEMBERS)
        with locked(tmp_path / "faults.sqlite"):
            away.clear()
            await until(lambda: here.logged("sending-failed"))
            await here.not_ready(HELD)
            assert not relay.taken
        await here.all_sent(MEMBERS)
        relay.verdict(MEMBERS)
        await here.well()
        await here.drain()


@pytest.mark.short
async def test_a_database_held_by_another_when_it_is_time_to_tick_is_told_and_the_tick_comes_after(
    tmp_path: Path,
) -> None:
    async with Relay() as relay, installed(tmp_path, f"smtp://127.0.0.1:{relay.port}") as here:
        await here.start()
        await here.join(MEMBERS)
        with locked(tmp_path / "faults.sqlite"):
            await here.not_ready(HELD)
            code, _, err = await here.command("members", "pause", "m1@example.org")
            assert (code, err) == (1, f"third-thursday: {ADVICE}; then try again\n")
        await here.all_sent(MEMBERS)
        relay.verdict(MEMBERS)
        await here.well()
        assert here.logged("tick-works-again")
        await here.drain()


@pytest.mark.short
async def test_where_another_holds_the_database_nothing_starts_and_a_line_says_why(tmp_path: Path) -> None:
    async with installed(tmp_path, "maildir:mail") as here:
        await here.join(1)
        with locked(tmp_path / "faults.sqlite"):
            code, _, err = await here.command("serve")
            assert (code, err) == (1, f"third-thursday: {ADVICE}; then try again\n")
        await here.start()
        await here.all_sent(1)
        await here.drain()


async def test_a_service_told_to_stop_while_another_holds_the_database_ends_well(tmp_path: Path) -> None:
    with contextlib.ExitStack() as held:

        async def then() -> None:
            await asyncio.to_thread(held.enter_context, locked(tmp_path / "faults.sqlite"))

        async with (
            Relay(at=20, then=then) as relay,
            installed(tmp_path, f"smtp://127.0.0.1:{relay.port}") as here,
        ):
            await here.join(MEMBERS)
            await here.start()
            await here.not_ready(HELD)
            await here.drain()
            held.close()
            await here.start()
            await here.all_sent(MEMBERS)
            relay.verdict(MEMBERS, repeats=CONNECTIONS)
            await here.drain()
