"""Killed at any moment, the service loses nothing, and repeats no more than what was on its open connections."""

import asyncio
import os
import random
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from tests.chaos.killing import BY_RELAY, CONNECTIONS, MEMBERS, PATIENCE, Installation, relay
from tests.postgres import Cluster, execute, postgres_programs

pytestmark = pytest.mark.proof

SEED = int(os.environ.get("THIRD_THURSDAY_TEST_SEED", random.randrange(10**6)))


async def survive(folder: Path, choice: random.Random, kills: int) -> tuple[int, int]:
    """One installation from an empty folder to all mails sent, killed up to `kills` times on the way; returns how
    often it was, and how many mails came again."""
    folder.mkdir()
    async with (
        relay(folder / "taken") as target,
        Installation(folder, f"sqlite:///{folder}/chaos.sqlite", target, choice) as here,
    ):
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
        # Whoever restarts the server cuts off the connections of all four.
        repeats = here.verdict(
            open_connections=CONNECTIONS * (here.kills.total() + 3 * here.kills["postgresql"])
        )
        print(f"{dict(here.kills)}: {repeats} repeats")  # noqa: T201 - the figures of the proof
        return here.kills.total(), repeats


Survive = Callable[[Path, random.Random, int], Awaitable[tuple[int, int]]]


async def killed(folder: Path, total: int, way: Survive) -> None:
    """Kill `total` times, over as many runs as that takes."""
    choice = random.Random(SEED)
    print(f"THIRD_THURSDAY_TEST_SEED={SEED}")  # noqa: T201 - so that it can be had again
    done = again = run = 0
    while done < total:
        kills, repeats = await way(folder / str(run), choice, min(20, total - done))
        done, again, run = done + kills, again + repeats, run + 1
    print(f"{done} kills in {run} runs: lost 0, repeated {again}")  # noqa: T201 - the figures of the proof


@pytest.mark.short
async def test_killed_twenty_times_it_loses_nothing(tmp_path: Path) -> None:
    await killed(tmp_path, 20, survive)


async def test_killed_two_hundred_times_it_loses_nothing(tmp_path: Path) -> None:
    await killed(tmp_path, 200, survive)


@pytest.fixture
def durable_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cluster, str]]:
    """A server that keeps its commits when it is killed, and the URL of its database."""
    programs = postgres_programs()
    if not programs:
        pytest.skip("needs PostgreSQL (Debian's package postgresql)")
    with tempfile.TemporaryDirectory(prefix="third-thursday-", ignore_cleanup_errors=True) as folder:
        cluster = Cluster(programs, Path(folder), durable=True)
        yield cluster, f"postgresql://postgres@127.0.0.1:{cluster.start()}"
        cluster.stop()


async def survive_together(
    folder: Path, choice: random.Random, kills: int, server: Cluster, url: str
) -> tuple[int, int]:
    """As `survive`, with two `serve` and two `worker` on one PostgreSQL: any of them is killed, and the server too."""
    folder.mkdir()
    async with relay(folder / "taken") as target, Installation(folder, url, target, choice) as here:
        await here.join()
        fleet = [(name, await here.start(name)) for name in ("serve", "serve", "worker", "worker")]
        while here.kills.total() < kills and (left := await here.left()):
            if choice.random() < 0.15:
                await asyncio.sleep(choice.uniform(0, 1))
                await asyncio.to_thread(server.restart, choice.choice(["fast", "immediate"]))
                here.kills["postgresql"] += 1
                continue
            fleet = [(name, await here.standing(name, one)) for name, one in fleet]
            name, victim = fleet.pop(choice.randrange(len(fleet)))
            await here.kill_at_random(victim, [*BY_RELAY, *BY_RELAY, "start"], left=left, share=4)
            fleet.append((name, await here.start(name)))
        while await here.left():
            assert await here.longest_silence() < 30, "a lost sender's chunk is taken over within 30 seconds"
            fleet = [(name, await here.standing(name, one)) for name, one in fleet]
            await asyncio.sleep(0.2)
        for name, one in fleet:
            await here.drain(await here.standing(name, one))
        states = await here.states()
        assert states == {"sent": MEMBERS}, states
        repeats = here.verdict(open_connections=CONNECTIONS * here.kills.total())
        print(f"{dict(here.kills)}: {repeats} repeats")  # noqa: T201 - the figures of the proof
        return here.kills.total(), repeats


@pytest.mark.parametrize("kills", [pytest.param(6, marks=pytest.mark.short), 200])
async def test_a_cluster_killed_part_by_part_loses_nothing(
    tmp_path: Path, durable_postgres: tuple[Cluster, str], kills: int
) -> None:
    server, url = durable_postgres

    async def way(folder: Path, choice: random.Random, most: int) -> tuple[int, int]:
        await execute(url, f"CREATE DATABASE run{folder.name}")
        return await survive_together(folder, choice, most, server, f"{url}/run{folder.name}")

    await killed(tmp_path, kills, way)


@pytest.mark.short
async def test_one_rate_holds_over_all_senders(tmp_path: Path, postgres_url: str) -> None:
    async with (
        relay(tmp_path / "taken") as target,
        Installation(tmp_path, postgres_url, target, random.Random(SEED), rate=40) as here,
    ):
        await here.join(200)
        fleet = [await here.start(name) for name in ("worker", "worker", "serve")]
        async with asyncio.timeout(PATIENCE):
            while len(target.times()) < 200:
                await asyncio.sleep(0.2)
        times = target.times()
        # A message may be late on a busy machine, and the next one in its time.
        assert min(times[number + 50] - times[number] for number in range(150)) > 1
        for one in fleet:
            await here.drain(one)
