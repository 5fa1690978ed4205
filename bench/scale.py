"""Measure the cost of a large list on SQLite: `python bench/scale.py [MEMBERS...] [--history ROWS] [--send]`.

Each step runs in a process of its own on the database that the steps before it left, so that seconds, CPU and peak
memory are those of that step alone. `--history` adds that many sent deliveries of past meetings; `--send` sends the
whole notice to the benchmarks' receiver.
"""

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog
import uvloop
from sqlalchemy import text

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.run import Sender, build, receiving
from scheduler.delivery.send.smtp import SmtpTransport
from scheduler.delivery.send.transport import SmtpAddress
from scheduler.service import health
from scheduler.service.forecast import forecast
from scheduler.store import service_state
from scheduler.store.ledger import archive as ledger_archive
from scheduler.store.ledger import claims
from tests.installation import POLICIES, RETENTION, SERIES, Installation, open_installation

ADOPTED = datetime(2026, 11, 1, tzinfo=UTC)
DUE = datetime(2026, 11, 5, 21, tzinfo=UTC)
END = datetime(2026, 12, 1, tzinfo=UTC)
Work = Callable[[Installation], Awaitable[object]]

_MEMBERS = """
WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < :count)
INSERT INTO members (address, address_key, name, country, zone, zone_source, locale, status, created_at, active_since,
  changed)
SELECT 'member.' || n || '@example.org', 'member.' || n || '@example.org', 'Member ' || n, 'GB',
  CASE n % 5 WHEN 0 THEN 'Europe/London' WHEN 1 THEN 'America/New_York' WHEN 2 THEN 'Asia/Kolkata'
    WHEN 3 THEN 'Pacific/Auckland' ELSE 'Europe/Stockholm' END,
  'given', 'en-GB', 'active', :at, :at, :change
FROM numbers
"""
_MEETING = """
INSERT INTO occurrences (key, series, date, zone, wall, minutes, original, starts, ends, extra, changed_at)
VALUES (:key, 'conversation-for-kindness', :date, 'Europe/London', :date || 'T18:00', 60, :starts, :starts, :ends, true,
  :starts)
"""
_NOTICE = """
INSERT INTO notices (identity, kind, policy, occurrence, starts, created_at, expires, ready, closed_at, tally)
VALUES (:key, 'invitation', 'invitation', :key, :starts, :due, :starts, true, :ends, :tally) RETURNING id
"""
_SENT = """
INSERT INTO deliveries
  (notice, member, zone, locale, chunk, state, attempts, due, next_try, revision, tried_at, sent_at)
SELECT :notice, id, zone, locale, :chunk + id / 500, 'sent', 1, :due, :due, 0, :due, :due FROM members WHERE id <= :most
"""


def microseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000)


async def prepare(installation: Installation, members: int, history: int) -> None:
    """Add the members, and the deliveries of one meeting a month, the latest first."""
    await installation.planner.tick()
    async with installation.database.write() as connection:
        change = await service_state.note_change(connection)
        values = {"count": members, "at": microseconds(ADOPTED), "change": change}
        await connection.execute(text(_MEMBERS), values)
    for number in range(-(-history // members)):
        starts = ADOPTED - timedelta(days=17 + 30 * number)
        times = {"starts": microseconds(starts), "ends": microseconds(starts + timedelta(hours=1))}
        due = microseconds(starts - timedelta(days=14))
        key = {"key": f"conversation-for-kindness/{starts:%Y-%m-%dT0000}", "date": f"{starts:%Y-%m-%d}"}
        async with installation.database.write() as connection:
            await connection.execute(text(_MEETING), key | times)
            most = min(members, history - number * members)
            values = {"key": key["key"], "due": due, "tally": json.dumps({"sent": most})}
            notice = await connection.scalar(text(_NOTICE), values | times)
            chunk = await service_state.advance(connection, "chunk", by=members // 500 + 1) - members // 500
            await connection.execute(
                text(_SENT), {"notice": notice, "chunk": chunk, "due": due, "most": most}
            )
    await installation.database.checkpoint()


async def claim(installation: Installation) -> None:
    async with installation.database.write() as connection:
        chunk = (await claims.open_chunks(connection, installation.clock.now()))[0]
        assert await connection.run_sync(
            claims.claim, chunk, run="bench", now=installation.clock.now(), limit=500
        )
        await connection.rollback()


async def plan(installation: Installation) -> None:
    assert await forecast(
        installation.database,
        series=(SERIES,),
        policies=POLICIES,
        since=installation.clock.now(),
        until=END,
        now=installation.clock.now(),
    )


async def archive(installation: Installation) -> None:
    """Archive everything at once; the service archives one batch of 20,000 in each tick."""
    now, longest = installation.clock.now(), 0.0
    moved = -1
    while moved:
        begun = time.perf_counter()
        async with installation.database.write() as connection:
            moved = await ledger_archive.archive(connection, before=now - RETENTION.archive, now=now)
        longest = max(longest, time.perf_counter() - begun)
    print(f"longest batch: {longest:.2f} s", file=sys.stderr)


STEPS: dict[str, Work] = {
    "tick with the whole fan-out": lambda installation: installation.planner.tick(),
    "next tick": lambda installation: installation.planner.tick(),
    "status": lambda installation: health.health(installation.database, installation.clock.now()),
    "plan": plan,
    "open chunks and a claim of 500": claim,
    "sending all": lambda installation: installation.dispatcher.send_due(),
    "archiving": archive,
    "tick of the next day": lambda installation: installation.planner.tick(),
}


async def step(name: str, folder: Path, members: int, history: int, port: int) -> None:
    """Run one step on the database in `folder`, and print the time and resources taken as one JSON line."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    transport = SmtpTransport(
        SmtpAddress(host="127.0.0.1", port=port), hostname="bench.example.org", connections=20
    )
    now = ADOPTED if name == "prepare" else DUE + timedelta(days=name == "tick of the next day")
    async with open_installation(folder, now, policies=POLICIES, transport=transport) as installation:
        begun, cpu_before = time.perf_counter(), time.process_time()
        if name == "prepare":
            await prepare(installation, members, history)
        else:
            # Archiving is a step of its own.
            installation.planner._archive_after = timedelta(days=3650)
            await STEPS[name](installation)
        result = {"seconds": time.perf_counter() - begun, "cpu": time.process_time() - cpu_before}
        await installation.database.checkpoint()
    print(json.dumps(result | {"megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


def run(name: str, folder: Path, members: int, history: int, port: int = 25) -> dict[str, float]:
    command = [sys.executable, __file__, str(members), "--history", str(history), "--step", name]
    command += ["--folder", str(folder), "--port", str(port)]
    process = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    result: dict[str, float] = json.loads(process.stdout)
    print(
        f"{name}: {result['seconds']:.2f} s, CPU {result['cpu']:.2f} s, peak {result['megabytes']:.0f} MB",
        flush=True,
    )
    return result


def measure(members: int, history: int, *, send: bool) -> None:
    print(f"{members:,} members, {history:,} deliveries of history", flush=True)
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        file = folder / "test.sqlite"
        run("prepare", folder, members, history)
        for name in STEPS:
            before = file.stat().st_size
            if name != "sending all":
                run(name, folder, members, history)
            elif send:
                with receiving(build(folder), folder, Sender("ours", lambda *_: (), members)) as (port, log):
                    result = run(name, folder, members, history, port)
                    time.sleep(0.6)  # the receiver writes its log when it is idle
                print(f"{members / result['seconds']:.0f} messages a second")
                assert each_once(log, members), "not every member got the mail exactly once"
                log.unlink()
            if name.startswith("tick with"):
                print(f"{(file.stat().st_size - before) / members:.0f} bytes a delivery")


def each_once(log: Path, members: int) -> bool:
    """Return whether every member got one mail."""
    # The memory of this process would count as the peak of the next step, so use little.
    seen = bytearray(members)
    with log.open("rb") as lines:
        for line in lines:
            seen[int(line[len("member.") : line.index(b"@")])] += 1
    return seen.count(1) == members


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("members", type=int, nargs="*", default=[10_000, 1_000_000])
    parser.add_argument("--history", type=int, default=0)
    parser.add_argument("--send", action="store_true")
    for hidden in ("--step", "--folder"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, default=25, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse_arguments()
    if arguments.step:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(
                step(
                    arguments.step,
                    Path(arguments.folder),
                    arguments.members[0],
                    arguments.history,
                    arguments.port,
                )
            )
    else:
        for members in arguments.members:
            measure(members, arguments.history, send=arguments.send)
