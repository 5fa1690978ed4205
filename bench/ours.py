"""This project's whole road, in a process of its own: prints one JSON line of what sending to N members took.

Before the clock runs templates are loaded, as when the service starts, and members and their deliveries are made, as an
hour ahead of the due instant; then claims, composing, SMTP and settlements, on SQLite with synchronous=FULL. The mail
is a convenor's notice in text and HTML, as long as smtp-source's; with `--invitation` it is one, calendar part and all.
"""

import argparse
import asyncio
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import structlog
import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from sqlalchemy import Connection, event, text

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.people import name
from scheduler.bootstrap.sending import calm_collector
from scheduler.delivery.signing import Signer
from scheduler.delivery.smtp import SmtpTransport
from scheduler.delivery.transport import SmtpAddress
from scheduler.service.notifying import send_notice
from tests.house import INVITATION, House, address_of, composer, open_house

T = TypeVar("T")
ZONES = ("Europe/London", "America/New_York", "Asia/Kolkata", "Pacific/Auckland", "Europe/Stockholm")
ADOPTED = datetime(2026, 11, 1, tzinfo=UTC)
DUE = datetime(2026, 11, 5, 21, tzinfo=UTC)
PARAGRAPH = 3 * (
    "We meet again, and there is much to talk about: what kindness asks of us on a long night shift, and what we may "
    "ask of each other. "
)
PARAGRAPHS = 7
"""So many make a mail of 12.8 KB."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("members", type=int)
    parser.add_argument("--connections", type=int, default=20)
    parser.add_argument("--commit-ms", type=float, default=0, help="each commit takes so much longer")
    parser.add_argument("--invitation", action="store_true", help="send an invitation, not a notice")
    parser.add_argument("--plain-names", action="store_true", help="call them Member 0, Member 1 and so on")
    parser.add_argument("--dkim", action="store_true", help="sign with Ed25519")
    return parser.parse_args()


def signer() -> Signer:
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Signer(domain="conversation.example.org", selector="bench", pem=pem)


async def rename(house: House, members: int) -> None:
    """Give the members names as people have them; they keep their addresses."""
    async with house.database.write() as connection:
        await connection.execute(
            text("UPDATE members SET name = :name WHERE address = :address"),
            [{"name": name(number), "address": address_of(f"Member {number}")} for number in range(members)],
        )


def slow_commits(house: House, milliseconds: float) -> None:
    """Let each commit of the ledger take longer, as on a slower disk."""

    def wait(_connection: object = None) -> None:
        time.sleep(milliseconds / 1000)

    for engine in (house.database._engine.sync_engine, house.database._at_once):
        event.listen(engine, "commit", wait)
    transact = house.database._transact

    def slowly(work: Callable[[Connection], T], *, bare: bool = False) -> T:
        done = transact(work, bare=bare)
        if bare:
            wait()
        return done

    house.database._transact = slowly  # type: ignore[method-assign, assignment]


async def main(asked: argparse.Namespace) -> None:
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    transport = SmtpTransport(
        SmtpAddress(host="127.0.0.1", port=asked.port), hostname="bench.example.org",
        connections=asked.connections,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as home:
        policies = (INVITATION,) if asked.invitation else ()
        async with open_house(Path(home), ADOPTED, policies=policies, transport=transport) as house:
            await house.planner.tick()
            await house.join(
                *((f"Member {number}", ZONES[number % len(ZONES)]) for number in range(asked.members))
            )
            if not asked.plain_names:
                await rename(house, asked.members)
            if asked.dkim:
                house.signer = signer()
                house.restart()
            begun = time.perf_counter()
            if asked.invitation:
                house.clock.pass_until(DUE)
                await house.planner.tick()
            else:
                await send_notice(
                    house.database, subject="Our next meeting", body="\n\n".join([PARAGRAPH] * PARAGRAPHS),
                    audience={"all": []}, audience_text="all", now=house.clock.now(),
                )  # fmt: skip
            planned = time.perf_counter() - begun
            if asked.commit_ms:
                slow_commits(house, asked.commit_ms)
            composer(house.community, house.signer).prepare()
            calm_collector()
            begun, spent = time.perf_counter(), time.process_time()
            sent = await house.dispatcher.send_due()
            took = {
                "sent": sent, "seconds": time.perf_counter() - begun, "cpu": time.process_time() - spent,
                "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "planning": planned,
            }  # fmt: skip
    print(json.dumps(took))


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(arguments()))
