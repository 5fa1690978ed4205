"""Measure how many mails a second several processes send together: `python bench/cluster.py [MEMBERS] [ROUNDS]`.

`serve` runs alone on SQLite, then on PostgreSQL with 0, 1, 2 and 4 `worker`, in turn and with the same receiver. Prints
medians, and ratios to the first. The processes are the real commands; the time runs from the first to the last accepted
mail. PostgreSQL is a temporary server with its usual durability.
"""

import asyncio
import os
import random
import shutil
import signal
import socket
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.chaos.killing import Installation
from tests.postgres import Cluster, execute, postgres_programs

CONNECTIONS = 10
FLEETS = {
    "SQLite, serve": -1,
    "PostgreSQL, serve": 0,
    "and 1 worker": 1,
    "and 2 workers": 2,
    "and 4 workers": 4,
}


@dataclass
class Target:
    """The port and the log of the receiver."""

    port: int
    log: Path

    def count(self) -> int:
        return self.log.read_bytes().count(b"\n") if self.log.exists() else 0


async def measure(workers: int, members: int, folder: Path, url: str, receiver: Path) -> float:
    """Start the receiver and return how many mails a second were sent."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        target = Target(probe.getsockname()[1], folder / "taken")
    relay = await asyncio.create_subprocess_exec(
        receiver, str(target.port), target.log, "1", "0", stdout=asyncio.subprocess.DEVNULL
    )
    fake: Any = target
    async with Installation(folder, url, fake, random.Random(1), CONNECTIONS) as installation:
        try:
            return await send(installation, target, workers, members)
        finally:
            relay.kill()
            await relay.wait()


async def send(installation: Installation, target: Target, workers: int, members: int) -> float:
    await installation.join(members)
    fleet = [await installation.start(name) for name in ["worker"] * max(workers, 0)]
    for process in fleet:
        await installation.logs(process, "started")
    fleet.append(await installation.start("serve"))
    begun = accepted = 0.0
    while accepted < members:
        await asyncio.sleep(0.02)
        now = target.count()
        if now and not begun:
            begun, accepted = time.perf_counter(), now
            first = now
        accepted = now
    rate = (members - first) / (time.perf_counter() - begun)
    for process in fleet:
        process.send_signal(signal.SIGTERM)
        await process.wait()
    return rate


async def main(members: int = 20_000, rounds: int = 3) -> None:
    programs, compiler = postgres_programs(), shutil.which("cc") or shutil.which("gcc")
    if not programs or not compiler:
        sys.exit("needs PostgreSQL and a C compiler")
    rates: dict[str, list[float]] = {name: [] for name in FLEETS}
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        folder.chmod(0o755)
        receiver = folder / "receiver"
        source = Path(__file__).parent / "receiver.c"
        compiling = await asyncio.create_subprocess_exec(compiler, "-O2", "-o", receiver, source)
        await compiling.wait()
        (folder / "postgresql").mkdir()
        server = Cluster(programs, folder / "postgresql", durable=True)
        url = f"postgresql://postgres@127.0.0.1:{server.start()}"
        print(
            f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {members} members, {CONNECTIONS} connections each"
        )
        try:
            for turn in range(rounds):
                for number, (name, workers) in enumerate(FLEETS.items()):
                    place = folder / f"{turn}-{number}"
                    place.mkdir()
                    database = f"sqlite:///{place}/bench.sqlite"
                    if workers >= 0:
                        await execute(url, f"CREATE DATABASE bench_{turn}_{number}")
                        database = f"{url}/bench_{turn}_{number}"
                    rates[name].append(await measure(workers, members, place, database, receiver))
                    print(f"round {turn + 1}: {name}: {rates[name][-1]:.0f} a second", flush=True)
        finally:
            server.stop()
    base = rates["SQLite, serve"]
    for name, measured in rates.items():
        ratio = statistics.median(rate / base_rate for rate, base_rate in zip(measured, base, strict=True))
        print(f"{name:<20} {statistics.median(measured):>6.0f} a second  {ratio:.2f} x")


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:])))
