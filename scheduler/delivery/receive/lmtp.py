"""Accept mail over LMTP (RFC 2033), within limits, from a mail server on this machine.

aiosmtpd gives one reply to a whole message, where LMTP wants one for each recipient. So a transaction has one
recipient, and a mail server sends the others in transactions of their own.
"""

import asyncio
import errno
import os
import socket
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

import structlog
from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import SMTP, Envelope, Session

from scheduler.domain.errors import Problem

LARGEST_ACCEPTED = 10 * 1024 * 1024
"""How many octets of a message are accepted; Postfix sends no larger ones unless it is told to."""
MOST_CONNECTIONS = 8
TIMEOUT_SECONDS = 60
"""How long a connection may be silent."""
LONGEST_CONNECTION = 15 * 60
MOST_COMMANDS = 5_000
_BACKLOG = 32

Accept = Callable[[bytes, str], Awaitable[bool]]
"""Acts on a message, given its envelope's recipient; returns False if the mail server should keep it and try again."""

log = structlog.get_logger()


def listen_lmtp(text: str) -> socket.socket:
    """Return a socket that listens at `HOST:PORT` or `unix:PATH`. Raises Problem."""
    try:
        if text.startswith("unix:"):
            return _listen_unix(Path(text.removeprefix("unix:")))
        host, _, port = text.rpartition(":")
        family, *_, address = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
        return socket.create_server(address, family=family, backlog=_BACKLOG)
    except OSError as error:
        raise Problem(
            f"[inbox] lmtp {text} cannot be listened on: {error.strerror}; stop the program that uses it, or name "
            "another"
        ) from None


def _listen_unix(path: Path) -> socket.socket:
    """Listen at a path. A socket that an earlier process left there is removed, unless a process listens on it."""
    if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            if probe.connect_ex(str(path)) == 0:
                raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # The mail server's user may have to share our group.
    before = os.umask(0o117)
    try:
        listener.bind(str(path))
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(before)
    listener.listen(_BACKLOG)
    return listener


class _Handler:
    """What aiosmtpd calls for each step."""

    def __init__(self, accept: Accept) -> None:
        self._accept = accept

    async def handle_RCPT(  # noqa: N802 - aiosmtpd names it
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if envelope.rcpt_tos:
            return "452 4.5.3 One recipient at a time"
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        # aiosmtpd writes the empty sender of a bounce as "<>".
        recipient, sender = envelope.rcpt_tos[0], (envelope.mail_from or "").strip("<>")
        # A mail server's own delivery agent writes them above the message (RFC 5321 section 4.4).
        above = f"Return-Path: <{sender}>\r\nDelivered-To: {recipient}\r\n"
        content = above.encode(errors="replace") + bytes(envelope.original_content or b"")
        if await self._accept(content, recipient):
            return "250 2.0.0 OK"
        return "451 4.3.0 Not now; try again later"

    async def handle_exception(self, error: Exception) -> str:
        log.error("lmtp-failed", error=type(error).__name__)
        return "451 4.3.0 Not now; try again later"


class _Connection(LMTP):
    """One connection, of limited length."""

    def __init__(self, owner: "LmtpServer", handler: _Handler, hostname: str) -> None:
        super().__init__(
            handler,
            data_size_limit=LARGEST_ACCEPTED,
            enable_SMTPUTF8=True,
            hostname=hostname,
            ident="Third Thursday",
            timeout=TIMEOUT_SECONDS,
            command_call_limit=MOST_COMMANDS,
            loop=asyncio.get_running_loop(),
        )
        self._owner = owner
        self._ends: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not of asyncio's class.
        transport = cast(asyncio.Transport, transport)
        if len(self._owner.open) >= MOST_CONNECTIONS:
            transport.write(b"421 4.3.2 Too many connections; try again later\r\n")
            transport.close()
            return
        self._owner.open.add(self)
        self._ends = asyncio.get_running_loop().call_later(LONGEST_CONNECTION, transport.close)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        if self._ends is None:
            return
        self._ends.cancel()
        self._owner.open.discard(self)
        super().connection_lost(error)


class LmtpServer:
    """Accepts mail at `listener` and lets `accept` act on each message before it is acknowledged."""

    def __init__(self, listener: socket.socket, accept: Accept, *, hostname: str) -> None:
        self.open: set[_Connection] = set()
        self._listener = listener
        self._handler = _Handler(accept)
        self._hostname = hostname

    async def run(self) -> None:
        """Serve until cancelled, then close the listener and all connections."""
        loop = asyncio.get_running_loop()

        def connect() -> _Connection:
            return _Connection(self, self._handler, self._hostname)

        if self._listener.family == socket.AF_UNIX:
            server = await loop.create_unix_server(connect, sock=self._listener)
        else:
            server = await loop.create_server(connect, sock=self._listener)
        try:
            await loop.create_future()
        finally:
            server.close()
            for connection in list(self.open):
                if connection.transport:
                    connection.transport.close()
