"""Killed at any moment, the service loses nothing, and repeats no more than what was on its open connections."""

import os
import random
from pathlib import Path

import pytest

from tests.chaos.killing import BY_RELAY, MEMBERS, Installation, relay

pytestmark = pytest.mark.proof

SEED = int(os.environ.get("THIRD_THURSDAY_TEST_SEED", random.randrange(10**6)))


async def survive(folder: Path, choice: random.Random, kills: int) -> tuple[int, int]:
    """One installation from an empty folder to all mails sent, killed up to `kills` times on the way; returns how
    often it was, and how many mails came again."""
    folder.mkdir()
    async with relay(folder / "taken") as target:
        here = Installation(folder, f"sqlite:///{folder}/chaos.sqlite", target, choice)
        for _ in range(2):
            await here.kill_at_random(await here.start(), ["start"])
        await here.join()
        moments = ["start", "plan"]
        while here.kills.total() < kills and (left := await here.left()):
            await here.kill_at_random(await here.start(), moments, left=left)
            moments = [*BY_RELAY, *BY_RELAY, "send", "start"]
        last = await here.start()
        await here.finish()
        await here.drain(last)
        states = await here.states()
        assert states == {"sent": MEMBERS}, states
        repeats = here.verdict()
        print(f"{dict(here.kills)}: {repeats} repeats")  # noqa: T201 - the figures of the proof
        return here.kills.total(), repeats


async def killed(folder: Path, total: int) -> None:
    choice = random.Random(SEED)
    print(f"THIRD_THURSDAY_TEST_SEED={SEED}")  # noqa: T201 - so that it can be had again
    done = again = run = 0
    while done < total:
        kills, repeats = await survive(folder / str(run), choice, min(20, total - done))
        done, again, run = done + kills, again + repeats, run + 1
    print(f"{done} kills in {run} runs: lost 0, repeated {again}")  # noqa: T201 - the figures of the proof


@pytest.mark.short
async def test_killed_twenty_times_it_loses_nothing(tmp_path: Path) -> None:
    await killed(tmp_path, 20)


async def test_killed_two_hundred_times_it_loses_nothing(tmp_path: Path) -> None:
    await killed(tmp_path, 200)
