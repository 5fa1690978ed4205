"""Helpers for the tests of sending: a message, a pipeline, and a connection to a test's relay."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from scheduler.delivery.send.smtp import SmtpTransport
from scheduler.delivery.send.smtp_connection import SmtpConnection, Timeouts
from scheduler.delivery.send.transport import Connection, Envelope, Outcome, SmtpAddress
from tests.delivery.receiver import Receiver

CONTENT = b"Subject: Third Thursday\r\n\r\n.dots\r\n..at the start\r\n.\r\nand the end\r\n"
SHORT = Timeouts(connect=0.2, command=0.2, data=0.2, quit=0.2)
LONG = Timeouts(connect=20, command=20, data=20, quit=20)
EVERYTHING = ["PIPELINING", "SIZE 10000000", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES"]


def envelope(
    recipient: str = "ada@example.org", *, content: bytes = CONTENT, identity: str = "d1"
) -> Envelope:
    return Envelope(sender="b+1@example.org", recipient=recipient, pieces=[content], envelope_id=identity)


def transport(port: int, *, timeouts: Timeouts = LONG, **options: Any) -> SmtpTransport:
    address = SmtpAddress(host="127.0.0.1", port=port)
    return SmtpTransport(address, hostname="list.example.org", timeouts=timeouts, **options)


async def settled() -> None:
    """The message before is settled already."""


class FakePipeline:
    """Offers the messages of `more` behind the current one; the test says when each message is settled."""

    def __init__(
        self,
        next_envelope: Envelope | None = None,
        *,
        before_final_dot: Callable[[], Awaitable[None]] = settled,
        more: Sequence[Envelope] | None = None,
    ) -> None:
        self.before_final_dot = before_final_dot
        self._more = None if more is None else iter(more)
        self.next_envelope = next_envelope if self._more is None else next(self._more, None)
        self._settlements: asyncio.Queue[asyncio.Future[None]] = asyncio.Queue()

    def check_deadline(self) -> None:
        """No message is too late."""

    def advance(self) -> "asyncio.Future[None] | None":
        if self._more is None:
            return None
        self.next_envelope = next(self._more, None)
        settlement = asyncio.get_running_loop().create_future()
        self._settlements.put_nowait(settlement)
        return settlement

    async def next_settlement(self) -> "asyncio.Future[None]":
        """Wait until a message was accepted that another follows, and return the future of its settlement."""
        return await self._settlements.get()


def begin(
    connection: Connection, first: Envelope, *more: Envelope
) -> "tuple[asyncio.Task[Outcome], FakePipeline]":
    """Start one `send` for all these messages; it goes on as the test settles each of them."""
    pipeline = FakePipeline(more=more)
    return asyncio.create_task(connection.send(first, pipeline=pipeline)), pipeline


async def send(connection: Connection, message: Envelope | None = None) -> Outcome:
    """Send one message."""
    return await connection.send(message or envelope(), pipeline=FakePipeline())


@asynccontextmanager
async def connected(
    receiver: Receiver, *, timeouts: Timeouts = LONG, **options: Any
) -> AsyncIterator[SmtpConnection]:
    connection = await transport(receiver.port, timeouts=timeouts, **options).connect()
    try:
        yield connection
    finally:
        await connection.close()
