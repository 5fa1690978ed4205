"""What the tests of sending share: a message, and a connection to a relay that a test has made."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from scheduler.delivery.send.smtp import SmtpTransport
from scheduler.delivery.send.smtp_connection import Patience, SmtpConnection
from scheduler.delivery.send.transport import Connection, Envelope, Outcome, SmtpAddress
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


class Feed:
    """Sends one message, and behind it those of `more`, each once the test says that the one before is settled."""

    def __init__(
        self,
        following: Envelope | None = None,
        *,
        before_dot: Callable[[], Awaitable[None]] = settled,
        more: Sequence[Envelope] | None = None,
    ) -> None:
        self.before_dot = before_dot
        self._more = None if more is None else iter(more)
        self.following = following if self._more is None else next(self._more, None)
        self._settlements: asyncio.Queue[asyncio.Future[None]] = asyncio.Queue()

    def check(self) -> None:
        """The next one may go."""

    def taken(self) -> "asyncio.Future[None] | None":
        if self._more is None:
            return None
        self.following = next(self._more, None)
        settlement = asyncio.get_running_loop().create_future()
        self._settlements.put_nowait(settlement)
        return settlement

    async def one_taken(self) -> "asyncio.Future[None]":
        """Wait until one more was taken that another follows; the future of its settlement."""
        return await self._settlements.get()


def begin(connection: Connection, first: Envelope, *more: Envelope) -> "tuple[asyncio.Task[Outcome], Feed]":
    """One `send` of all these, which goes on as the test says that each is settled."""
    feed = Feed(more=more)
    return asyncio.create_task(connection.send(first, feed=feed)), feed


async def send(connection: Connection, sent: Envelope | None = None) -> Outcome:
    return await connection.send(sent or envelope(), feed=Feed())


@asynccontextmanager
async def connected(
    receiver: Receiver, *, patience: Patience = PATIENT, **options: Any
) -> AsyncIterator[SmtpConnection]:
    connection = await transport(receiver.port, patience=patience, **options).connect()
    try:
        yield connection
    finally:
        await connection.close()
