"""Measure how soon mail is sent once it is due: `python bench/latency.py [--members 1400] [--rounds 5]`.

One running `serve` (SQLite, the default number of connections) and one relay on loopback, each in a process of its own.
A meeting in an hour has a reminder for each round, each due at another whole minute, so a round takes a minute. The
relay logs when it accepts each mail.
"""

import argparse
import asyncio
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.chaos.killing import Relay, join, relay
from tests.postgres import free_loopback_port

HOME = "Europe/London"
HEAD_START = timedelta(seconds=15)
LONGEST = 30
TARGET_FIRST, TARGET_LAST = 1.0, 3.0

_SERIES = """
[[series]]
slug = "daily"
title = "A meeting a day"
rule = "FREQ=DAILY"
start = "{start:%H:%M}"
zone = "{zone}"
minutes = 60
first = {start:%Y-%m-%d}
"""
_POLICY = """
[[policies]]
slug = "reminder-{number}"
kind = "reminder"
lead = "{minutes}m"
"""


def instants(rounds: int) -> list[datetime]:
    """Return the due instants: whole minutes, the first of them at least HEAD_START from now."""
    first = (datetime.now(UTC) + HEAD_START).replace(second=0, microsecond=0) + timedelta(minutes=1)
    return [first + timedelta(minutes=number) for number in range(rounds)]


def settings(dues: Sequence[datetime]) -> str:
    """Return settings with a meeting an hour after the first due instant, and a reminder for each of them."""
    start = (dues[0] + timedelta(hours=1)).astimezone(ZoneInfo(HOME))
    policies = (_POLICY.format(number=number, minutes=60 - number) for number in range(len(dues)))
    return _SERIES.format(start=start, zone=HOME) + "".join(policies)


async def start(folder: Path, url: str, port: int) -> asyncio.subprocess.Process:
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path.cwd()),
        "THIRD_THURSDAY_DATABASE__URL": url,
        "THIRD_THURSDAY_MAIL__TRANSPORT": f"smtp://127.0.0.1:{port}",
        "THIRD_THURSDAY_SECURITY__KEY": "5a" * 32,
        "THIRD_THURSDAY_WEB__PORT": str(free_loopback_port()),
        "THIRD_THURSDAY_WEB__BASE_URL": "https://meet.example.org",
    }
    with (folder / "log").open("wb") as log:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "scheduler",
            "--config",
            "latency.toml",
            "serve",
            cwd=folder,
            env=environment,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=log,
        )


async def measure(target: Relay, due: datetime, *, before: int, members: int) -> tuple[float, float]:
    """Return the seconds from the due instant to the first and to the last accepted mail."""
    begun = time.monotonic() + (due - datetime.now(UTC)).total_seconds()
    await asyncio.sleep(begun - time.monotonic())
    while len(target.times()) < before + members:
        if time.monotonic() > begun + LONGEST:
            raise SystemExit(f"{len(target.times()) - before} of {members} mails arrived in {LONGEST} s")
        await asyncio.sleep(0.25)
    times = target.times()[before:]
    return min(times) - begun, max(times) - begun


async def main(members: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        url = f"sqlite:///{folder}/latency.sqlite"
        async with relay(folder / "taken") as target:
            await join(url, members)
            dues = instants(rounds)
            (folder / "latency.toml").write_text(settings(dues))
            process = await start(folder, url, target.port)
            try:
                print("| due | load | first mail accepted after | last |\n|---|---|---|---|")
                results = []
                for number, due in enumerate(dues):
                    first, last = await measure(target, due, before=number * members, members=members)
                    results.append((first, last))
                    print(
                        f"| {due:%H:%M:%S} | {os.getloadavg()[0]:.1f} | {first:.2f} s | {last:.2f} s |",
                        flush=True,
                    )
            finally:
                process.send_signal(signal.SIGTERM)
                await process.wait()
    first, last = (statistics.median(seconds) for seconds in zip(*results, strict=True))
    print(f"| median | | {first:.2f} s | {last:.2f} s |\n")
    print(
        f"{members} members; the targets are {TARGET_FIRST:.0f} s for the first and {TARGET_LAST:.0f} s for the last"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--members", type=int, default=1_400)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.members, arguments.rounds))
