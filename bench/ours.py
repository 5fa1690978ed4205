"""This project's whole road, run by itself: prints seconds, CPU seconds and peak megabytes of sending to N members.

ours.py PORT MEMBERS CONNECTIONS COMMIT_MS FOLDER: members and their deliveries are made before the clock runs, as the
service makes them an hour ahead; then claims, composing, SMTP and settlements, all on SQLite with synchronous=FULL.
"""

import asyncio
import json
import resource
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import structlog
import uvloop
from sqlalchemy import event

sys.path.insert(0, str(Path(__file__).parent.parent))

from scheduler.delivery.smtp import SmtpTransport
from scheduler.delivery.transport import SmtpAddress
from tests.house import INVITATION, House, open_house

ZONES = ("Europe/London", "America/New_York", "Asia/Kolkata", "Pacific/Auckland", "Europe/Stockholm")
ADOPTED = datetime(2026, 11, 1, tzinfo=UTC)
DUE = datetime(2026, 11, 5, 21, tzinfo=UTC)


def slow_commits(house: House, milliseconds: int) -> None:
    """Let each commit of the ledger take longer, as on a slower disk."""
    if milliseconds:
        engine = house.database._at_once
        event.listen(engine, "commit", lambda _connection: time.sleep(milliseconds / 1000))


async def main(port: int, members: int, connections: int, commit_ms: int, folder: str) -> None:
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    transport = SmtpTransport(
        SmtpAddress(host="127.0.0.1", port=port), hostname="bench.example.org", connections=connections,
        recycle_messages=10_000,
    )  # fmt: skip
    with tempfile.TemporaryDirectory(dir=folder or None) as home:
        async with open_house(Path(home), ADOPTED, policies=(INVITATION,), transport=transport) as house:
            await house.planner.tick()
            people = ((f"Member {number}", ZONES[number % len(ZONES)]) for number in range(members))
            await house.join(*people)
            house.clock.pass_until(DUE)
            begun = time.perf_counter()
            await house.planner.tick()
            fanned = time.perf_counter() - begun
            slow_commits(house, commit_ms)
            begun, spent = time.perf_counter(), time.process_time()
            sent = await house.dispatcher.send_due()
            took = {
                "seconds": time.perf_counter() - begun, "cpu": time.process_time() - spent, "sent": sent,
                "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "planning": fanned,
                "bytes": house.database.path.stat().st_size if house.database.path else 0,
            }  # fmt: skip
            print(json.dumps(took))


if __name__ == "__main__":
    port, members, connections, commit_ms, folder = sys.argv[1:]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(int(port), int(members), int(connections), int(commit_ms), folder))
