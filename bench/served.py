"""Send to N members with the running service, `serve`, and print the time and resources taken as one JSON line.

`serve` runs with its web pages, ticks, metrics and log. A notice is sent with a hold, so that its deliveries are made
before it is due. Measured is the time from that instant to the last delivery that is recorded as sent.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import structlog
from sqlalchemy import func, select, text

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.ours import PARAGRAPH, PARAGRAPHS
from bench.pages import serving, settings
from bench.people import name
from scheduler.bootstrap.wiring import SystemClock
from scheduler.domain.audience import Audience
from scheduler.service.notices import send_notice
from scheduler.store.database import Database
from scheduler.store.schema import deliveries
from tests.chaos.killing import join
from tests.postgres import free_loopback_port

LONGEST = 120


async def rename(database: Database, members: int) -> None:
    async with database.write() as connection:
        await connection.execute(
            text("UPDATE members SET name = :name WHERE address = :address"),
            [{"name": name(number), "address": f"m{number}@example.org"} for number in range(members)],
        )


def resources(process: asyncio.subprocess.Process) -> tuple[float, float]:
    """Return CPU seconds and peak megabytes of a process so far."""
    fields: Sequence[str] = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    status = Path(f"/proc/{process.pid}/status").read_text()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    ticks = int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK"), int(peak.split()[1]) / 1024


async def main(arguments: argparse.Namespace) -> None:
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    with tempfile.TemporaryDirectory() as home:
        folder, clock = Path(home), SystemClock()
        environment = {
            **settings(folder, arguments.port, free_loopback_port()),
            "THIRD_THURSDAY_MAIL__CONNECTIONS": str(arguments.connections),
        }
        url = environment["THIRD_THURSDAY_DATABASE__URL"]
        await join(url, arguments.members)
        database = Database(url)
        await rename(database, arguments.members)
        async with serving(folder, environment) as process:
            hold = timedelta(seconds=3 + arguments.members / 5_000)
            due = clock.now() + hold
            await send_notice(
                database,
                subject="Our next meeting",
                body="\n\n".join([PARAGRAPH] * PARAGRAPHS),
                audience=Audience(terms={"all": []}),
                audience_text="all",
                now=due - hold,
                hold=hold,
            )
            await asyncio.sleep((due - clock.now()).total_seconds() - 0.1)
            cpu_before, _ = resources(process)
            begun, sent, last = time.monotonic(), 0, due
            while sent < arguments.members and time.monotonic() < begun + LONGEST:
                await asyncio.sleep(0.5)
                async with database.read() as connection:
                    query = select(func.count(), func.max(deliveries.c.sent_at)).where(
                        deliveries.c.state == "sent"
                    )
                    sent, last = (await connection.execute(query)).one()
            cpu, megabytes = resources(process)
        await database.close()
    result = {
        "sent": sent,
        "seconds": (last - due).total_seconds(),
        "cpu": cpu - cpu_before,
        "megabytes": megabytes,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("members", type=int)
    parser.add_argument("--connections", type=int, default=100)
    asyncio.run(main(parser.parse_args()))
