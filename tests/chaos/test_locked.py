"""Another program locks the database for long: one line says so, no mail is lost, and sending resumes by itself."""

import asyncio
import contextlib
from collections import deque
from pathlib import Path

import pytest

from tests.chaos.faults import Relay, installed, locked, until
from tests.chaos.killing import CONNECTIONS
from tests.chaos.test_disk import JOIN_FORM

pytestmark = pytest.mark.proof

MEMBERS = 120
HELD = "another program holds the database"
ADVICE = f"{HELD}: end it, or wait until it has finished"


@pytest.mark.short
@pytest.mark.parametrize("fault_at", [1, 20], ids=["at the first", "in the midst"])
async def test_a_database_locked_during_sending_stops_sending_until_it_is_released(
    tmp_path: Path, fault_at: int
) -> None:
    taken_before = 0
    with contextlib.ExitStack() as held:

        async def then() -> None:
            nonlocal taken_before
            await asyncio.to_thread(held.enter_context, locked(tmp_path / "faults.sqlite"))
            taken_before = len(relay.taken)

        async with (
            Relay(at=fault_at, then=then) as relay,
            installed(tmp_path, f"smtp://127.0.0.1:{relay.port}") as installation,
        ):
            await installation.join(MEMBERS)
            await installation.start()
            await installation.not_ready(HELD)
            assert (await installation.answer("/")).status_code == 200
            assert (await installation.answer("/join", JOIN_FORM)).status_code == 503
            code, out, _ = await installation.command("status")
            assert code == 1 and f"trouble:     {ADVICE}\n" in out
            assert len(relay.taken) <= taken_before + CONNECTIONS, (
                "a connection sent a message before its last one was settled"
            )
            assert installation.logged("settling-failed") == 1
            held.close()
            await installation.all_sent(MEMBERS)
            relay.verdict(MEMBERS)
            await installation.well()
            await installation.drain()


@pytest.mark.short
async def test_a_database_locked_before_a_claim_delays_the_claim(tmp_path: Path) -> None:
    async with Relay() as relay, installed(tmp_path, f"smtp://127.0.0.1:{relay.port}") as installation:
        # The relay refuses connections, so all mail goes back to the queue and is claimed again after a pause.
        refusals = relay.script["GREETING"] = deque(["421 4.3.2 busy"] * 100)
        await installation.join(MEMBERS)
        await installation.start()
        await until(lambda: installation.logged("relay-down"))
        await installation.all_are("queued", MEMBERS)
        with locked(tmp_path / "faults.sqlite"):
            refusals.clear()
            await until(lambda: installation.logged("sending-failed"))
            await installation.not_ready(HELD)
            assert not relay.taken
        await installation.all_sent(MEMBERS)
        relay.verdict(MEMBERS)
        await installation.well()
        await installation.drain()


@pytest.mark.short
async def test_a_database_locked_at_a_tick_is_reported_and_the_tick_follows(
    tmp_path: Path,
) -> None:
    async with Relay() as relay, installed(tmp_path, f"smtp://127.0.0.1:{relay.port}") as installation:
        await installation.start()
        await installation.join(MEMBERS)
        with locked(tmp_path / "faults.sqlite"):
            await installation.not_ready(HELD)
            code, _, err = await installation.command("members", "pause", "m1@example.org")
            assert (code, err) == (1, f"third-thursday: {ADVICE}; then try again\n")
        await installation.all_sent(MEMBERS)
        relay.verdict(MEMBERS)
        await installation.well()
        assert installation.logged("tick-works-again")
        await installation.drain()


@pytest.mark.short
async def test_on_a_locked_database_no_command_starts_and_a_line_says_why(tmp_path: Path) -> None:
    async with installed(tmp_path, "maildir:mail") as installation:
        await installation.join(1)
        with locked(tmp_path / "faults.sqlite"):
            code, _, err = await installation.command("serve")
            assert (code, err) == (1, f"third-thursday: {ADVICE}; then try again\n")
        await installation.start()
        await installation.all_sent(1)
        await installation.drain()


async def test_a_service_stopped_while_the_database_is_locked_ends_cleanly(tmp_path: Path) -> None:
    with contextlib.ExitStack() as held:

        async def then() -> None:
            await asyncio.to_thread(held.enter_context, locked(tmp_path / "faults.sqlite"))

        async with (
            Relay(at=20, then=then) as relay,
            installed(tmp_path, f"smtp://127.0.0.1:{relay.port}") as installation,
        ):
            await installation.join(MEMBERS)
            await installation.start()
            await installation.not_ready(HELD)
            await installation.drain()
            held.close()
            await installation.start()
            await installation.all_sent(MEMBERS)
            relay.verdict(MEMBERS, repeats=CONNECTIONS)
            await installation.drain()
