"""Prints how this project's road to the wire compares with the idiomatic one, over the same receiver in one run.

Machines are noisy, so only ratios count: both sides run in turn, several rounds, and the median of the paired ratios is
printed. Yardstick: Jinja text and HTML for every member, EmailMessage, aiosmtplib's send_message, no record kept.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path

import aiosmtplib
import structlog
from jinja2 import Environment

sys.path.insert(0, str(Path(__file__).parent.parent))

from scheduler.delivery.smtp import SmtpTransport
from scheduler.delivery.transport import SmtpAddress
from tests.delivery.receiver import Receiver
from tests.house import INVITATION, open_house

MEMBERS = 1_000
ROUNDS = 3
CONNECTIONS = 4
ZONES = ("Europe/London", "America/New_York", "Asia/Kolkata", "Pacific/Auckland", "Europe/Stockholm")


async def ours(port: int) -> float:
    """Seconds for the whole road: plan, ledger on SQLite, compose, send, settle."""
    with tempfile.TemporaryDirectory() as folder:
        address = SmtpAddress(host="127.0.0.1", port=port)
        transport = SmtpTransport(address, hostname="bench.example.org", connections=CONNECTIONS)
        now = datetime(2026, 11, 10, tzinfo=UTC)
        async with open_house(Path(folder), now, policies=(INVITATION,), transport=transport) as house:
            await house.join(*((f"Member {number}", ZONES[number % len(ZONES)]) for number in range(MEMBERS)))
            begun = time.perf_counter()
            await house.tick()
            return time.perf_counter() - begun


async def idiomatic(port: int) -> float:
    """Seconds for the same number of messages of the same shape, without any record."""
    render = Environment(autoescape=True).from_string(
        "<p>Dear {{ name }},</p>" + "<p>See you on Thursday.</p>" * 150
    )
    plain = Environment().from_string("Dear {{ name }},\n" + "See you on Thursday.\n" * 60)  # noqa: S701 - plain text

    async def lane(numbers: range) -> None:
        async with aiosmtplib.SMTP(hostname="127.0.0.1", port=port, start_tls=False) as client:
            for number in numbers:
                message = EmailMessage()
                message["From"], message["To"] = "meetings@example.org", f"member.{number}@example.org"
                message["Subject"] = "Conversation for Kindness"
                message.set_content(plain.render(name=f"Member {number}"))
                message.add_alternative(render.render(name=f"Member {number}"), subtype="html")
                await client.send_message(message)

    begun = time.perf_counter()
    await asyncio.gather(*(lane(range(first, MEMBERS, CONNECTIONS)) for first in range(CONNECTIONS)))
    return time.perf_counter() - begun


async def main() -> None:
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    ratios = []
    for turn in range(ROUNDS):
        async with Receiver() as receiver:
            yardstick = await idiomatic(receiver.port)
        async with Receiver() as receiver:
            mine = await ours(receiver.port)
        ratios.append(yardstick / mine)
        print(f"round {turn + 1}: ours {MEMBERS / mine:.0f}/s, yardstick {MEMBERS / yardstick:.0f}/s")
    print(f"median: {statistics.median(ratios):.2f} x the idiomatic sender, which keeps no record")


if __name__ == "__main__":
    asyncio.run(main())
