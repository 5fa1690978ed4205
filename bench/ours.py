"""Send to N members in a process of its own, and print the time and resources taken as one JSON line.

Measured are claims, composing, SMTP and settlements, on SQLite with synchronous=FULL. Templates are loaded before, as
when the service starts, and so are members and deliveries made, as an hour before the due instant. The mail is a
convenor's notice with text and HTML, as long as that of smtp-source, or with `--invitation` an invitation with its
calendar part.
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
from scheduler.domain.audience import Audience
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
"""This many paragraphs make a mail of 12.8 KB."""


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("members", type=int)
    parser.add_argument("--connections", type=int, default=20)
    parser.add_argument("--commit-ms", type=float, default=0, help="milliseconds to add to each commit")
    parser.add_argument("--invitation", action="store_true", help="send an invitation, not a notice")
    parser.add_argument(
        "--plain-names", action="store_true", help="name the members Member 0, Member 1 and so on"
    )
    parser.add_argument("--dkim", action="store_true", help="sign with Ed25519")
    return parser.parse_args()


def signer() -> DkimSigner:
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return DkimSigner(domain="conversation.example.org", selector="bench", pem=pem)


async def rename(installation: Installation, members: int) -> None:
    """Give the members realistic names; they keep their addresses."""
    async with installation.database.write() as connection:
        await connection.execute(
            text("UPDATE members SET name = :name WHERE address = :address"),
            [{"name": name(number), "address": address_of(f"Member {number}")} for number in range(members)],
        )


def slow_commits(installation: Installation, milliseconds: float) -> None:
    """Make each commit take longer, as on a slower disk."""

    def wait(_connection: object = None) -> None:
        time.sleep(milliseconds / 1000)

    for engine in (installation.database._engine.sync_engine, installation.database._sync_writer):
        event.listen(engine, "commit", wait)
    transact = installation.database._transact

    def slow_transact(work: Callable[[Connection], T], *, bare: bool = False) -> T:
        result = transact(work, bare=bare)
        if bare:
            wait()
        return result

    installation.database._transact = slow_transact  # type: ignore[method-assign, assignment]


async def main(arguments: argparse.Namespace) -> None:
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    transport = SmtpTransport(
        SmtpAddress(host="127.0.0.1", port=arguments.port),
        hostname="bench.example.org",
        connections=arguments.connections,
    )
    with tempfile.TemporaryDirectory() as home:
        policies = (INVITATION,) if arguments.invitation else ()
        async with open_installation(
            Path(home), ADOPTED, policies=policies, transport=transport
        ) as installation:
            await installation.planner.tick()
            await installation.join(
                *((f"Member {number}", ZONES[number % len(ZONES)]) for number in range(arguments.members))
            )
            if not arguments.plain_names:
                await rename(installation, arguments.members)
            if arguments.dkim:
                installation.signer = signer()
                installation.restart()
            begun = time.perf_counter()
            if arguments.invitation:
                installation.clock.pass_until(DUE)
                await installation.planner.tick()
            else:
                await send_notice(
                    installation.database,
                    subject="Our next meeting",
                    body="\n\n".join([PARAGRAPH] * PARAGRAPHS),
                    audience=Audience(terms={"all": []}),
                    audience_text="all",
                    now=installation.clock.now(),
                )
            planned = time.perf_counter() - begun
            if arguments.commit_ms:
                slow_commits(installation, arguments.commit_ms)
            composer(installation.community, installation.signer).prepare()
            tune_garbage_collector()
            begun, cpu_before = time.perf_counter(), time.process_time()
            sent = await installation.dispatcher.send_due()
            result = {
                "sent": sent,
                "seconds": time.perf_counter() - begun,
                "cpu": time.process_time() - cpu_before,
                "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                "planning": planned,
            }
    print(json.dumps(result))


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(parse_arguments()))
