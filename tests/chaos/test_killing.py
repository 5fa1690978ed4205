"""Killed at any moment, the service loses no mail, and repeats at most one message per open connection."""

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
    """Run an installation from an empty folder until all mails are sent, and kill it up to `kills` times. Return how
    often it was killed, and how many mails were repeated."""
    folder.mkdir()
    async with (
        relay(folder / "taken") as target,
        Installation(folder, f"sqlite:///{folder}/chaos.sqlite", target, choice) as installation,
    ):
        for _ in range(2):
            await installation.kill_at_random(await installation.start(), ["start"])
        await installation.join()
        moments = ["start", "plan"]
        while installation.kills.total() < kills and (left := await installation.left()):
            await installation.kill_at_random(await installation.start(), moments, left=left)
            moments = [*BY_RELAY, *BY_RELAY, "send", "start"]
        last = await installation.start()
        await installation.finish()
        await installation.drain(last)
        states = await installation.states()
        assert states == {"sent": MEMBERS}, states
        # A restart of the database server interrupts the connections of all four processes.
        repeats = installation.verdict(
            open_connections=CONNECTIONS * (installation.kills.total() + 3 * installation.kills["postgresql"])
        )
        print(f"{dict(installation.kills)}: {repeats} repeats")  # noqa: T201 - the figures of the test
        return installation.kills.total(), repeats


Survive = Callable[[Path, random.Random, int], Awaitable[tuple[int, int]]]


async def killed(folder: Path, total: int, scenario: Survive) -> None:
    """Kill `total` times, in as many runs as that takes."""
    choice = random.Random(SEED)
    print(f"THIRD_THURSDAY_TEST_SEED={SEED}")  # noqa: T201 - to repeat this run
    done = again = run = 0
    while done < total:
        kills, repeats = await scenario(folder / str(run), choice, min(20, total - done))
        done, again, run = done + kills, again + repeats, run + 1
    print(f"{done} kills in {run} runs: lost 0, repeated {again}")  # noqa: T201 - the figures of the test


@pytest.mark.short
async def test_a_service_killed_ten_times_loses_nothing(tmp_path: Path) -> None:
    await killed(tmp_path, 10, survive)


async def test_a_service_killed_two_hundred_times_loses_nothing(tmp_path: Path) -> None:
    await killed(tmp_path, 200, survive)


@pytest.fixture
def durable_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cluster, str]]:
    """A PostgreSQL server that keeps its commits when it is killed, and its URL."""
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
    """Like `survive`, with two `serve` and two `worker` on one PostgreSQL, which is restarted too."""
    folder.mkdir()
    async with relay(folder / "taken") as target, Installation(folder, url, target, choice) as installation:
        await installation.join()
        fleet = [(name, await installation.start(name)) for name in ("serve", "serve", "worker", "worker")]
        while installation.kills.total() < kills and (left := await installation.left()):
            if choice.random() < 0.15:
                await asyncio.sleep(choice.uniform(0, 1))
                await asyncio.to_thread(server.restart, choice.choice(["fast", "immediate"]))
                installation.kills["postgresql"] += 1
                continue
            fleet = [(name, await installation.restarted(name, process)) for name, process in fleet]
            name, victim = fleet.pop(choice.randrange(len(fleet)))
            await installation.kill_at_random(victim, [*BY_RELAY, *BY_RELAY, "start"], left=left, share=4)
            fleet.append((name, await installation.start(name)))
        while await installation.left():
            assert await installation.longest_silence() < 30, (
                "a lost sender's chunk is taken over within 30 seconds"
            )
            fleet = [(name, await installation.restarted(name, process)) for name, process in fleet]
            await asyncio.sleep(0.2)
        for name, process in fleet:
            await installation.drain(await installation.restarted(name, process))
        states = await installation.states()
        assert states == {"sent": MEMBERS}, states
        repeats = installation.verdict(open_connections=CONNECTIONS * installation.kills.total())
        print(f"{dict(installation.kills)}: {repeats} repeats")  # noqa: T201 - the figures of the test
        return installation.kills.total(), repeats


@pytest.mark.parametrize("kills", [pytest.param(6, marks=pytest.mark.short), 200])
async def test_a_cluster_whose_processes_are_killed_in_turn_loses_nothing(
    tmp_path: Path, durable_postgres: tuple[Cluster, str], kills: int
) -> None:
    server, url = durable_postgres

    async def scenario(folder: Path, choice: random.Random, most: int) -> tuple[int, int]:
        await execute(url, f"CREATE DATABASE run{folder.name}")
        return await survive_together(folder, choice, most, server, f"{url}/run{folder.name}")

    await killed(tmp_path, kills, scenario)


async def test_one_rate_applies_to_all_senders_together(tmp_path: Path, postgres_url: str) -> None:
    async with (
        relay(tmp_path / "taken") as target,
        Installation(tmp_path, postgres_url, target, random.Random(SEED), rate=40) as installation,
    ):
        await installation.join(200)
        fleet = [await installation.start(name) for name in ("worker", "worker", "serve")]
        async with asyncio.timeout(PATIENCE):
            while len(target.times()) < 200:
                await asyncio.sleep(0.2)
        times = target.times()
        # On a busy machine a message may be late and the next one on time.
        assert min(times[number + 50] - times[number] for number in range(150)) > 1
        for process in fleet:
            await installation.drain(process)
