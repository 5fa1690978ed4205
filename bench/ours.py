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
from scheduler.bootstrap.worker import tune_garbage_collector
from scheduler.delivery.compose.dkim import DkimSigner
from scheduler.delivery.send.smtp import SmtpTransport
from scheduler.delivery.send.transport import SmtpAddress
from scheduler.service.notices import send_notice
from tests.installation import INVITATION, Installation, address_of, composer, open_installation

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


def signer() -> DkimSigner:
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return DkimSigner(domain="conversation.example.org", selector="bench", pem=pem)


async def rename(installation: Installation, members: int) -> None:
    """Give the members names as people have them; they keep their addresses."""
    async with installation.database.write() as connection:
        await connection.execute(
            text("UPDATE members SET name = :name WHERE address = :address"),
            [{"name": name(number), "address": address_of(f"Member {number}")} for number in range(members)],
        )


def slow_commits(installation: Installation, milliseconds: float) -> None:
    """Let each commit of the ledger take longer, as on a slower disk."""

    def wait(_connection: object = None) -> None:
        time.sleep(milliseconds / 1000)

    for engine in (installation.database._engine.sync_engine, installation.database._at_once):
        event.listen(engine, "commit", wait)
    transact = installation.database._transact

    def slowly(work: Callable[[Connection], T], *, bare: bool = False) -> T:
        done = transact(work, bare=bare)
        if bare:
            wait()
        return done

    installation.database._transact = slowly  # type: ignore[method-assign, assignment]


async def main(asked: argparse.Namespace) -> None:
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    transport = SmtpTransport(
        SmtpAddress(host="127.0.0.1", port=asked.port),
        hostname="bench.example.org",
        connections=asked.connections,
    )
    with tempfile.TemporaryDirectory() as home:
        policies = (INVITATION,) if asked.invitation else ()
        async with open_installation(
            Path(home), ADOPTED, policies=policies, transport=transport
        ) as installation:
            await installation.planner.tick()
            await installation.join(
                *((f"Member {number}", ZONES[number % len(ZONES)]) for number in range(asked.members))
            )
            if not asked.plain_names:
                await rename(installation, asked.members)
            if asked.dkim:
                installation.signer = signer()
                installation.restart()
            begun = time.perf_counter()
            if asked.invitation:
                installation.clock.pass_until(DUE)
                await installation.planner.tick()
            else:
                await send_notice(
                    installation.database,
                    subject="Our next meeting",
                    body="\n\n".join([PARAGRAPH] * PARAGRAPHS),
                    audience={"all": []},
                    audience_text="all",
                    now=installation.clock.now(),
                )
            planned = time.perf_counter() - begun
            if asked.commit_ms:
                slow_commits(installation, asked.commit_ms)
            composer(installation.community, installation.signer).prepare()
            tune_garbage_collector()
            begun, spent = time.perf_counter(), time.process_time()
            sent = await installation.dispatcher.send_due()
            took = {
                "sent": sent,
                "seconds": time.perf_counter() - begun,
                "cpu": time.process_time() - spent,
                "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                "planning": planned,
            }
    print(json.dumps(took))


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(arguments()))
