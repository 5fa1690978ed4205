"""Limits on connections: how many there may be, how long a request may take to arrive, and how large it may be.

uvicorn has no limits of its own for these. A connection here watches what arrives with a second parser, keeps its
deadline, and hands everything on to uvicorn's own protocol, of which it uses the public interface only.
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
_CRLF = b"\r\n\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Sizes are in octets. `connections` is the most there may be, `of_one_network` the most of one network,
    `most_at_once` the most requests that may arrive in one piece: what is pipelined waits in memory."""

    connections: int = 1_000
    of_one_network: int = 100
    head_seconds: float = 10.0
    body_seconds: float = 30.0
    drain_seconds: float = 60.0
    largest_head: int = 32 * 1024
    largest_body: int = 256 * 1024
    most_at_once: int = 16


class Gate:
    """All connections to the web, the one that has gone longest without a whole request first.

    Where there are too many, that one makes room for the newcomer: so a visitor gets in however many connections are
    held open for nothing.
    """

    def __init__(self, limits: Limits, clock: Clock, *, trusted: Networks) -> None:
        self.limits, self.clock = limits, clock
        self._trusted = trusted
        self._all: OrderedDict[GuardedConnection, str] = OrderedDict()
        self._networks: dict[str, OrderedDict[GuardedConnection, None]] = {}
        self._closed = 0

    @property
    def protocol(self) -> type[asyncio.Protocol]:
        """What uvicorn takes as `http`: it calls it for each connection."""
        return cast(type[asyncio.Protocol], partial(GuardedConnection, gate=self))

    def enter(self, connection: "GuardedConnection", peer: str) -> None:
        """Note a connection, and make room for it where there is none."""
        # Proxies of ours, and this machine, speak for many visitors.
        network = "" if self._trusted.contain(peer, or_loopback=True) else network_of(peer)
        self._all[connection] = network
        if network:
            neighbours = self._networks.setdefault(network, OrderedDict())
            neighbours[connection] = None
            if len(neighbours) > self.limits.of_one_network:
                self._make_room(next(iter(neighbours)))
        if len(self._all) > self.limits.connections:
            self._make_room(next(iter(self._all)))

    def note_request(self, connection: "GuardedConnection") -> None:
        """Note that a whole request arrived: others make room first."""
        if connection in self._all:
            self._all.move_to_end(connection)
            if network := self._all[connection]:
                self._networks[network].move_to_end(connection)

    def leave(self, connection: "GuardedConnection") -> None:
        """Forget a connection that is closed."""
        if (network := self._all.pop(connection, "")) and (neighbours := self._networks.get(network)):
            neighbours.pop(connection, None)
            if not neighbours:
                del self._networks[network]

    async def keep_watch(self) -> None:
        """Close what is overdue, every second, for as long as it is let."""
        passes = 0
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now = self.clock.monotonic()
            for connection in list(self._all):
                if connection.end_if_overdue(now):
                    self._closed += 1
            passes += 1
            if passes % 60 == 0 and self._closed:
                log.info("connections-closed", count=self._closed)
                self._closed = 0

    def _make_room(self, connection: "GuardedConnection") -> None:
        self._closed += 1
        self.leave(connection)
        connection.abort()


class GuardedConnection(asyncio.Protocol):
    """A connection that has to bring each request whole within its time, and within its size."""

    def __init__(self, *, gate: Gate, config: Config, **options: Any) -> None:
        self._gate, self._limits = gate, gate.limits
        self._server = HttpToolsProtocol(config=config, **options)
        self._parser: httptools.HttpRequestParser | None = httptools.HttpRequestParser(self)
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._transport: asyncio.Transport | None = None
        self._deadline = float("inf")
        self._stalled: float | None = None
        self._in_head, self._in_body = True, False
        self._size, self._at_once = 0, 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's are no subclass of it.
        self._transport = cast(asyncio.Transport, transport)
        self._wait(self._limits.head_seconds)
        peer = transport.get_extra_info("peername")
        self._server.connection_made(self._transport)
        self._gate.enter(self, peer[0] if isinstance(peer, tuple) else "")

    def connection_lost(self, exc: Exception | None) -> None:
        self._gate.leave(self)
        self._server.connection_lost(exc)
        self._parser = None

    def data_received(self, data: bytes) -> None:
        if self._deadline == float("inf"):
            self._wait(self._limits.head_seconds)
        if self._in_head and self._size + len(data) > self._limits.largest_head:
            if data.find(_CRLF, 0, max(0, self._limits.largest_head - self._size)) < 0:
                self._refuse(b"431 Request Header Fields Too Large")
                return
        elif self._in_body and self._size + len(data) > self._limits.largest_body:
            self._refuse(b"413 Content Too Large")
            return
        self._size += len(data)
        self._at_once = 0
        self._observe(data)
        if self._at_once > self._limits.most_at_once:
            self._refuse(b"429 Too Many Requests")
            return
        self._server.data_received(data)

    def eof_received(self) -> None:
        self._server.eof_received()

    def pause_writing(self) -> None:
        self._server.pause_writing()

    def resume_writing(self) -> None:
        self._server.resume_writing()

    # What the parser calls while it observes.

    def on_message_begin(self) -> None:
        self._in_head, self._in_body = True, False
        self._at_once += 1

    def on_headers_complete(self) -> None:
        self._in_head, self._in_body, self._size = False, True, 0
        self._wait(self._limits.body_seconds)

    def on_message_complete(self) -> None:
        self._in_head, self._in_body, self._size = True, False, 0
        self._deadline = float("inf")  # it is now for the service to answer
        self._gate.note_request(self)

    def end_if_overdue(self, now: float) -> bool:
        """Close the connection if it is past its deadline, or has not taken what was sent for too long."""
        transport = self._transport
        if transport is None:
            return False
        if transport.get_write_buffer_size():
            self._stalled = now if self._stalled is None else self._stalled
            if now - self._stalled > self._limits.drain_seconds:
                transport.abort()
                return True
        else:
            self._stalled = None
        if now > self._deadline and not transport.is_closing():
            self._refuse(b"408 Request Timeout")
            return True
        return False

    def abort(self) -> None:
        """Close the connection at once."""
        if self._transport:
            self._transport.abort()

    def _observe(self, data: bytes) -> None:
        if self._parser is None:
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            # uvicorn answers, and this connection has no other request.
            self._parser = None
            self._wait(self._limits.head_seconds)

    def _wait(self, seconds: float) -> None:
        self._deadline = self._gate.clock.monotonic() + seconds

    def _refuse(self, status: bytes) -> None:
        assert self._transport
        if not self._transport.is_closing():
            self._transport.write(b"HTTP/1.1 %s\r\nConnection: close\r\nContent-Length: 0\r\n\r\n" % status)
            self._transport.close()
