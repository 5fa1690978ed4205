"""Compare a list with 12 series, 6 of them followed by choice, with an earlier version's list with one series:
`python bench/follows.py BASE [--members N] [--rounds N] [--url URL --server PID]`, where BASE is a checkout of commit
96ddbd3.

Both have the same number of members, and invite to 4 meetings per member in one tick: the earlier version to 4 meetings
of its series; the present one to 2 meetings of everybody, and to one of each of the series that 5 to 50 percent follow.
Each step runs in a process of its own, one version right after the other. Steps are compared by CPU time, since others
may use the machine.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

# A step imports the modules of the version that it measures.
ROOT = sys.argv[sys.argv.index("--root") + 1] if "--root" in sys.argv else str(Path(__file__).parent.parent)
sys.path[0] = ROOT
sys.path.append(str(Path(__file__).parent))

import structlog  # noqa: E402
from people import _KINDS  # noqa: E402
from sqlalchemy import text  # noqa: E402

from scheduler.domain.occurrence import Series  # noqa: E402
from scheduler.service.forecast import forecast  # noqa: E402
from scheduler.store import service_state  # noqa: E402
from scheduler.store.ledger import claims  # noqa: E402
from tests.installation import POLICIES, SERIES, open_installation  # noqa: E402

if TYPE_CHECKING:
    from tests.installation import Installation

JOINED = datetime(2026, 10, 1, tzinfo=UTC)
ADOPTED = datetime(2026, 10, 28, tzinfo=UTC)
DUE = datetime(2026, 11, 12, 22, tzinfo=UTC)
MEETING_OVER = datetime(2026, 11, 21, 18, 1, tzinfo=UTC)
END = datetime(2026, 12, 5, tzinfo=UTC)
PERCENT = {"choice-1": 5, "choice-2": 45, "choice-3": 50, "choice-4": 20, "choice-5": 30, "choice-6": 50}
"""How many follow each of the series by choice; together as many as two series of everybody have."""

Work = Callable[["Installation"], Awaitable[object]]


def all_series(version: str) -> tuple[Series, ...]:
    """Both versions have the same number of mails for each day: four series of everybody only begin next year."""
    if version == "base":
        return (replace(SERIES, rule="FREQ=MONTHLY;BYMONTHDAY=20,21,22,23"),)
    everybody = [
        replace(SERIES, slug="all-1", rule="FREQ=MONTHLY;BYMONTHDAY=20"),
        replace(SERIES, slug="all-2", rule="FREQ=MONTHLY;BYMONTHDAY=21"),
        *(replace(SERIES, slug=f"all-{number}", first=date(2027, 1, number)) for number in range(3, 7)),
    ]
    chosen = [
        replace(SERIES, slug=slug, rule=f"FREQ=MONTHLY;BYMONTHDAY={day}", by_choice=True)
        for slug, day in zip(PERCENT, (22, 22, 22, 23, 23, 23), strict=True)
    ]
    return (*everybody, *chosen)


def _names() -> str:
    choices = [f"WHEN {number} THEN '{kind}'" for number, kind in enumerate(_KINDS)]
    return f"CASE n % {len(choices)} {' '.join(choices)} END"


_MEMBERS = f"""
INSERT INTO members (address, address_key, name, country, zone, zone_source, locale, status, created_at, active_since,
  changed)
WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < :count)
SELECT 'member.' || n || '@example.org', 'member.' || n || '@example.org', {_names()} || ' ' || n, 'GB',
  CASE n % 5 WHEN 0 THEN 'Europe/London' WHEN 1 THEN 'America/New_York' WHEN 2 THEN 'Asia/Kolkata'
    WHEN 3 THEN 'Pacific/Auckland' ELSE 'Europe/Stockholm' END,
  'given', 'en-GB', 'active', :at, :at, :change
FROM numbers
"""  # noqa: S608
# 37 has no factor in common with 100, so that followers are spread over the zones.
_FOLLOWS = """
INSERT INTO follows (member, series, follows, since)
SELECT id, :series, :says, :at FROM members WHERE (id * 37 + :shift) % 100 < :percent
"""


def server_cpu(postmaster: int) -> float:
    """Return the CPU seconds that a PostgreSQL server has used until now, with its processes that have ended."""
    ticks = 0
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, _, rest = file.read_text().partition(" (")
        except OSError:  # it has ended
            continue
        fields = rest.rpartition(") ")[2].split()
        if int(pid) == postmaster:
            ticks += sum(map(int, fields[11:15]))
        elif int(fields[1]) == postmaster:
            ticks += sum(map(int, fields[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def microseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000)


async def prepare(installation: "Installation", members: int, version: str) -> None:
    await installation.planner.tick()
    async with installation.database.write() as connection:
        change = await service_state.note_change(connection)
        values = {"count": members, "at": microseconds(JOINED), "change": change}
        await connection.execute(text(_MEMBERS), values)
        if version == "present":
            choices = [(slug, True, percent) for slug, percent in PERCENT.items()]
            choices += [(f"all-{number}", False, 1) for number in range(1, 7)]
            for shift, (series, says, percent) in enumerate(choices):
                values = {
                    "series": series,
                    "says": says,
                    "at": microseconds(JOINED),
                    "percent": percent,
                    "shift": 13 * shift,
                }
                await connection.execute(text(_FOLLOWS), values)
        if not installation.database.is_sqlite:
            await connection.execute(text("ANALYZE"))
    # The first look at the members.
    await installation.planner.tick()


async def tick(installation: "Installation") -> None:
    await installation.planner.tick()


async def tick_after_change(installation: "Installation") -> None:
    async with installation.database.write() as connection:
        change = await service_state.note_change(connection)
        statement = text("UPDATE members SET zone = 'Asia/Kolkata', changed = :change WHERE id % 1000 = 1")
        await connection.execute(statement, {"change": change})
    await installation.planner.tick()


async def sweep(installation: "Installation") -> None:
    async with installation.database.write() as connection:
        await service_state.write(connection, service_state.SWEPT, None)
    await installation.planner.tick()


async def plan(installation: "Installation") -> None:
    assert await forecast(
        installation.database,
        series=installation.series,
        policies=POLICIES,
        since=installation.clock.now(),
        until=END,
        now=installation.clock.now(),
    )


async def claim(installation: "Installation") -> None:
    async with installation.database.write() as connection:
        chunks = await claims.open_chunks(connection, installation.clock.now())
        for chunk in chunks[:: max(1, len(chunks) // 100)]:
            assert await connection.run_sync(
                claims.claim, chunk, run="bench", now=installation.clock.now(), limit=500
            )
        await connection.rollback()


STEPS: dict[str, tuple[datetime, Work]] = {
    "fan-out": (DUE, tick),
    "next tick": (DUE, tick),
    "tick after 1 of 1,000 members changed": (DUE, tick_after_change),
    "daily look at all members": (DUE, sweep),
    "plan": (DUE, plan),
    "100 claims of 500": (DUE, claim),
    "tick when meetings are over": (MEETING_OVER, tick),
}


async def step(name: str, folder: Path, version: str, members: int, url: str) -> dict[str, float]:
    """Run one step on the database in `folder`."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    now, work = STEPS.get(name, (ADOPTED, None))
    series = all_series(version)
    async with open_installation(folder, now, series=series, policies=POLICIES, url=url) as installation:
        installation.planner._archive_after = timedelta(days=3650)
        before, begun = time.process_time(), time.perf_counter()
        if work:
            await work(installation)
        else:
            await prepare(installation, members, version)
        result = {"cpu": time.process_time() - before, "seconds": time.perf_counter() - begun}
        async with installation.database.read() as connection:
            count = await connection.scalar(text("SELECT max(id) FROM deliveries"))
        return result | {"deliveries": int(count or 0)}


def run(name: str, folder: Path, version: str, root: str, options: argparse.Namespace) -> dict[str, float]:
    folder.mkdir(exist_ok=True)
    url = options.url.replace("VERSION", version)
    command = [sys.executable, __file__, root, "--members", str(options.members), "--root", root]
    command += ["--step", name, "--folder", str(folder), "--version", version, "--url", url]
    before = server_cpu(options.server) if options.server else 0
    process = subprocess.run(command, stdout=subprocess.PIPE, check=True, cwd=root)
    result: dict[str, float] = json.loads(process.stdout)
    if options.server:
        result["cpu"] += server_cpu(options.server) - before
    return result


def measure(options: argparse.Namespace) -> None:
    roots = {"base": options.base, "present": ROOT}
    results: dict[str, list[tuple[dict[str, float], dict[str, float]]]] = {name: [] for name in STEPS}
    for number in range(options.rounds):
        with tempfile.TemporaryDirectory() as home:
            for name in ("prepare", *STEPS):
                # In turn the one or the other first.
                order: Sequence[Any] = sorted(roots.items(), reverse=bool(number % 2))
                row = {
                    version: run(name, Path(home) / version, version, root, options)
                    for version, root in order
                }
                if name in results:
                    results[name].append((row["base"], row["present"]))
                print(name, row, file=sys.stderr, flush=True)
    measured = "seconds" if options.url and not options.server else "cpu"
    print(f"| step | base, {measured} | present, {measured} | ratio |\n|---|---|---|---|")
    for name, rows in results.items():
        pairs = []
        for base, present in rows:
            per_mail = base["deliveries"] / present["deliveries"] if name == "fan-out" else 1.0
            pairs.append((base[measured], present[measured] * per_mail))
        base_median, present_median = (statistics.median(values) for values in zip(*pairs, strict=True))
        ratio = statistics.median(present / base for base, present in pairs)
        print(f"| {name} | {base_median:.2f} | {present_median:.2f} | {ratio:.2f} |")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("base", help="a checkout of the earlier version")
    parser.add_argument("--members", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument(
        "--url", default="", help="of two PostgreSQL databases; VERSION becomes base or present"
    )
    parser.add_argument(
        "--server",
        type=int,
        default=0,
        help="the process id of the PostgreSQL server, to count its CPU time in (Linux)",
    )
    for hidden in ("--root", "--step", "--folder", "--version"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse_arguments()
    if arguments.step:
        done = asyncio.run(
            step(
                arguments.step,
                Path(arguments.folder),
                arguments.version,
                arguments.members,
                arguments.url,
            )
        )
        print(json.dumps(done))
    else:
        measure(arguments)
