"""What a large list costs on SQLite: `python bench/scale.py [MEMBERS]` prints seconds, megabytes, bytes a delivery."""

import asyncio
import resource
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import structlog

sys.path.insert(0, str(Path(__file__).parent.parent))

from scheduler.service import watching
from scheduler.service.forecasting import forecast
from scheduler.store.ledger import claims
from tests.house import INVITATION, SERIES, open_house

ZONES = ("Europe/London", "America/New_York", "Asia/Kolkata", "Pacific/Auckland", "Europe/Stockholm")
ADOPTED = datetime(2026, 11, 1, tzinfo=UTC)
DUE = datetime(2026, 11, 5, 21, tzinfo=UTC)
END = datetime(2026, 12, 1, tzinfo=UTC)
BATCH = 50_000


async def timed(name: str, work: Callable[[], Awaitable[object]]) -> None:
    begun = time.perf_counter()
    await work()
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{name}: {time.perf_counter() - begun:.2f} s, peak {megabytes:.0f} MB")


async def main(count: int) -> None:
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    with tempfile.TemporaryDirectory() as home:
        async with open_house(Path(home), ADOPTED, policies=(INVITATION,)) as house:
            database, clock = house.database, house.clock
            await house.planner.tick()
            for first in range(0, count, BATCH):
                numbers = range(first, min(first + BATCH, count))
                await house.join(*((f"Member {number}", ZONES[number % len(ZONES)]) for number in numbers))
            assert database.path
            await database.flush_log()
            before = database.path.stat().st_size
            clock.pass_until(DUE)
            print(f"{count} members")
            await timed("tick with the whole fan-out", house.planner.tick)
            await database.flush_log()
            print(f"{(database.path.stat().st_size - before) / count:.0f} bytes a delivery")
            await timed("next tick", house.planner.tick)
            await timed("status", lambda: watching.health(database, clock.now()))
            await timed(
                "plan",
                lambda: forecast(
                    database,
                    series=(SERIES,),
                    policies=(INVITATION,),
                    since=clock.now(),
                    until=END,
                    now=clock.now(),
                ),
            )
            async with database.read() as connection:
                await timed("open chunks", lambda: claims.open_chunks(connection, clock.now()))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if sys.argv[1:] else 1_000_000))
