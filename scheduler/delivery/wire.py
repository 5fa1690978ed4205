"""The bytes of an SMTP conversation that is ready for mail: lines go out, replies come in, in their order."""

import asyncio
import re
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

LONGEST_REPLY = 32_768
UNREADABLE = -1

_REPLY = re.compile(rb"([0-9]{3})(?:([ -])(.*))?")


class Reply(NamedTuple):
    """What the relay said; `code` is `UNREADABLE` where it was no reply at all."""

    code: int
    text: str


class HungUp(Exception):
    """The other side has closed the connection."""


class Wire(asyncio.Protocol):
    """Takes an open transport over. Everything that the other side said before it hung up can still be heard."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._replies: deque[Reply] = deque()
        self._lines: list[bytes] = []
        self._rest = b""
        self._waiter: asyncio.Future[None] | None = None
        self._is_gone = False
        transport.set_protocol(self)

    @property
    def is_open(self) -> bool:
        return not (self._is_gone or self._transport.is_closing())

    @property
    def is_silent(self) -> bool:
        """Whether all that was said has been heard: what comes next answers what we say next."""
        return not (self._replies or self._rest or self._lines)

    def write(self, pieces: Iterable[bytes]) -> None:
        """Raises HungUp."""
        if not self.is_open:
            raise HungUp
        self._transport.writelines(pieces)

    async def reply(self, *, within: float) -> Reply:
        """The next reply. Raises HungUp, and TimeoutError after `within` seconds."""
        if not self._replies:
            if not self.is_open:
                raise HungUp
            self._waiter = asyncio.get_running_loop().create_future()
            async with asyncio.timeout(within):
                await self._waiter
            if not self._replies:
                raise HungUp
        return self._replies.popleft()

    def abort(self) -> None:
        """Close at once. A mere close first writes out what is held back, perhaps a final dot, to a deaf peer."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._read(line.rstrip(b"\r"))
        if len(self._rest) + sum(map(len, self._lines)) > LONGEST_REPLY:
            self._lines, self._rest = [], b""
            self._replies.append(Reply(UNREADABLE, "Response too long"))
        if self._replies:
            self._wake()

    def _read(self, line: bytes) -> None:
        found = _REPLY.fullmatch(line)
        if not found:
            self._lines.clear()
            self._replies.append(
                Reply(UNREADABLE, f"Malformed SMTP response line: {line.decode(errors='ignore')}")
            )
            return
        self._lines.append((found[3] or b"").strip())
        if found[2] != b"-":
            text = b"\n".join(self._lines).decode(errors="replace")
            self._lines.clear()
            self._replies.append(Reply(int(found[1]), text))

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_gone = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
