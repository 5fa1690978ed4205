"""Limits on connections: how many there may be, how long a request may take to arrive, and how large it may be.

uvicorn has no limits of its own for these. A LimitedConnection parses what arrives with a second parser, keeps the
deadline, and passes everything on to uvicorn's own protocol, of which it uses the public interface only.
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import httptools
import structlog
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from scheduler.domain.clock import Clock
from scheduler.domain.visitor import Networks, network_of

log = structlog.get_logger()

SWEEP_SECONDS = 1.0
_SWEEPS_PER_LOG_LINE = 60
_END_OF_HEAD = b"\r\n\r\n"
_NO_DEADLINE = float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits on connections. Sizes are in bytes.

    `connections` is the largest number of open connections, `of_one_network` the largest number from one network.
    `most_waiting` is the largest number of pipelined requests of a connection that may wait for their answers, since
    they wait in memory. Only the paths in `uploads`, and those below `upload_folders` (which end with a slash), may
    receive bodies of up to `largest_upload`.
    """

    connections: int = 1_000
    of_one_network: int = 100
    head_seconds: float = 10.0
    body_seconds: float = 30.0
    drain_seconds: float = 60.0
    largest_head: int = 32 * 1024
    largest_body: int = 256 * 1024
    most_waiting: int = 16
    largest_upload: int = 5 * 1024 * 1024
    uploads: frozenset[bytes] = frozenset()
    upload_folders: tuple[bytes, ...] = ()


class ConnectionLimiter:
    """Keep the open connections in the order of their last complete request, and close the first if there are too many.

    The connection that has gone longest without a complete request is closed for a new one. So a visitor can always
    connect, however many connections are held open and unused.
    """

    def __init__(self, limits: Limits, clock: Clock, *, trusted: Networks) -> None:
        self.limits, self.clock = limits, clock
        self._trusted = trusted
        self._network_of: OrderedDict[LimitedConnection, str] = OrderedDict()
        self._by_network: dict[str, OrderedDict[LimitedConnection, None]] = {}
        self._closed = 0

    @property
    def protocol(self) -> type[asyncio.Protocol]:
        """The protocol to pass to uvicorn as `http`; uvicorn calls it for each connection."""
        return cast(type[asyncio.Protocol], partial(LimitedConnection, limiter=self))

    def add(self, connection: "LimitedConnection", peer: str) -> None:
        """Add a new connection, and close the longest unused one if there are too many."""
        # Trusted proxies and this machine connect for many visitors, so they have no limit of their own.
        network = "" if self._trusted.contain(peer, or_loopback=True) else network_of(peer)
        self._network_of[connection] = network
        if network:
            of_this_network = self._by_network.setdefault(network, OrderedDict())
            of_this_network[connection] = None
            if len(of_this_network) > self.limits.of_one_network:
                self._evict(next(iter(of_this_network)))
        if len(self._network_of) > self.limits.connections:
            self._evict(next(iter(self._network_of)))

    def note_request(self, connection: "LimitedConnection") -> None:
        """Note that a complete request arrived: the other connections are closed before this one."""
        if connection in self._network_of:
            self._network_of.move_to_end(connection)
            if network := self._network_of[connection]:
                self._by_network[network].move_to_end(connection)

    def remove(self, connection: "LimitedConnection") -> None:
        """Remove a connection that is closed."""
        network = self._network_of.pop(connection, "")
        if network and (of_this_network := self._by_network.get(network)):
            of_this_network.pop(connection, None)
            if not of_this_network:
                del self._by_network[network]

    async def close_overdue(self) -> None:
        """Close overdue connections every second, until cancelled; log once a minute how many were closed."""
        sweeps = 0
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now = self.clock.monotonic()
            for connection in list(self._network_of):
                if connection.close_if_overdue(now):
                    self._closed += 1
            sweeps += 1
            if sweeps % _SWEEPS_PER_LOG_LINE == 0 and self._closed:
                log.info("connections-closed", count=self._closed)
                self._closed = 0

    def _evict(self, connection: "LimitedConnection") -> None:
        self._closed += 1
        self.remove(connection)
        connection.abort()


class LimitedConnection(asyncio.Protocol):
    """A connection on which each request must arrive completely within its time and size limits."""

    def __init__(self, *, limiter: ConnectionLimiter, config: Config, **options: Any) -> None:
        self._limiter, self._limits = limiter, limiter.limits
        self._server = HttpToolsProtocol(config=config, **options)
        self._parser: httptools.HttpRequestParser | None = httptools.HttpRequestParser(self)
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._transport: asyncio.Transport | None = None
        self._deadline = _NO_DEADLINE
        self._stalled_since: float | None = None
        self._in_head, self._in_body = True, False
        self._size, self._waiting = 0, 0
        self._url, self._largest_body = b"", self._limits.largest_body

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not subclasses of asyncio.Transport.
        self._transport = cast(asyncio.Transport, transport)
        # A client that does not read its answers holds no more than one of them in memory.
        self._transport.set_write_buffer_limits(high=0)
        self._set_deadline(self._limits.head_seconds)
        peer = transport.get_extra_info("peername")
        self._server.connection_made(cast(asyncio.Transport, _QuietTransport(self._transport)))
        self._limiter.add(self, peer[0] if isinstance(peer, tuple) else "")

    def connection_lost(self, exc: Exception | None) -> None:
        self._limiter.remove(self)
        self._server.connection_lost(exc)
        self._parser = None

    def data_received(self, data: bytes) -> None:
        if self._deadline == _NO_DEADLINE:
            self._set_deadline(self._limits.head_seconds)
        if self._in_head and self._size + len(data) > self._limits.largest_head:
            if data.find(_END_OF_HEAD, 0, max(0, self._limits.largest_head - self._size)) < 0:
                self._refuse(b"431 Request Header Fields Too Large")
                return
        elif self._in_body and self._size + len(data) > self._largest_body:
            self._refuse(b"413 Content Too Large")
            return
        self._size += len(data)
        self._waiting = len(self._server.pipeline)
        self._parse(data)
        if self._waiting > self._limits.most_waiting:
            self._refuse(b"429 Too Many Requests")
            return
        self._server.data_received(data)

    def eof_received(self) -> None:
        self._server.eof_received()

    def pause_writing(self) -> None:
        self._server.pause_writing()

    def resume_writing(self) -> None:
        self._server.resume_writing()

    # Callbacks of the parser.

    def on_message_begin(self) -> None:
        self._in_head, self._in_body = True, False
        self._url = b""
        self._waiting += 1
        if self._waiting > self._limits.most_waiting:
            raise _TooManyWaiting

    def on_url(self, url: bytes) -> None:
        self._url += url  # It may come in pieces; the limit on the head counts them.

    def on_headers_complete(self) -> None:
        is_upload = self._is_for_uploads(self._url.partition(b"?")[0])
        self._largest_body = self._limits.largest_upload if is_upload else self._limits.largest_body
        self._in_head, self._in_body, self._size = False, True, 0
        self._set_deadline(self._limits.body_seconds)

    def _is_for_uploads(self, path: bytes) -> bool:
        return path in self._limits.uploads or path.startswith(self._limits.upload_folders)

    def on_message_complete(self) -> None:
        self._in_head, self._in_body, self._size = True, False, 0
        self._deadline = _NO_DEADLINE  # The request is complete; answering it is up to the application.
        self._limiter.note_request(self)

    def close_if_overdue(self, now: float) -> bool:
        """Close the connection if it is past its deadline or the client has not read its answer for too long.

        Return whether it was closed. `now` is monotonic time in seconds.
        """
        transport = self._transport
        if transport is None:
            return False
        if transport.get_write_buffer_size():
            self._stalled_since = now if self._stalled_since is None else self._stalled_since
            if now - self._stalled_since > self._limits.drain_seconds:
                self.abort()
                return True
        else:
            self._stalled_since = None
        if now > self._deadline and not transport.is_closing():
            self._refuse(b"408 Request Timeout")
            return True
        return False

    def abort(self) -> None:
        """Close the connection at once."""
        if self._transport:
            self._transport.abort()

    def _parse(self, data: bytes) -> None:
        if self._parser is None:
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            # uvicorn answers what cannot be parsed, and closes the connection.
            self._parser = None
            self._set_deadline(self._limits.head_seconds)

    def _set_deadline(self, seconds: float) -> None:
        self._deadline = self._limiter.clock.monotonic() + seconds

    def _refuse(self, status: bytes) -> None:
        assert self._transport
        if not self._transport.is_closing():
            self._transport.write(b"HTTP/1.1 %s\r\nConnection: close\r\nContent-Length: 0\r\n\r\n" % status)
            self._transport.close()


class _QuietTransport:
    """A transport that drops what is written after it was closed, as asyncio's own do; uvloop's raises an error.

    uvicorn goes on answering the requests that were pipelined before the connection was closed.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)


class _TooManyWaiting(Exception):
    """Raised in a callback to stop the parser: reading the rest of a flood would hold up the other visitors."""
