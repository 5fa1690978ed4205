"""What the tests of sending share: a message, and a connection to a relay that a test has made."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from scheduler.delivery.session import Patience, SmtpConnection
from scheduler.delivery.smtp import SmtpTransport
from scheduler.delivery.transport import Connection, Envelope, Outcome, SmtpAddress
from tests.delivery.receiver import Receiver

CONTENT = b"Subject: Third Thursday\r\n\r\n.dots\r\n..at the start\r\n.\r\nand the end\r\n"
QUICK = Patience(connect=0.2, command=0.2, data=0.2, quit=0.2)
PATIENT = Patience(connect=20, command=20, data=20, quit=20)
EVERYTHING = ["PIPELINING", "SIZE 10000000", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES"]


def envelope(
    recipient: str = "ada@example.org", *, content: bytes = CONTENT, identity: str = "d1"
) -> Envelope:
    return Envelope(sender="b+1@example.org", recipient=recipient, pieces=[content], envelope_id=identity)


def transport(port: int, *, patience: Patience = PATIENT, **options: Any) -> SmtpTransport:
    address = SmtpAddress(host="127.0.0.1", port=port)
    return SmtpTransport(address, hostname="list.example.org", patience=patience, **options)


async def settled() -> None:
    """The previous message needs no settling."""


async def send(connection: Connection, sent: Envelope | None = None) -> Outcome:
    return await connection.send(sent or envelope(), before_dot=settled)


@asynccontextmanager
async def connected(
    receiver: Receiver, *, patience: Patience = PATIENT, **options: Any
) -> AsyncIterator[SmtpConnection]:
    connection = await transport(receiver.port, patience=patience, **options).connect()
    try:
        yield connection
    finally:
        await connection.close()
