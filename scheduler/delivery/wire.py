"""The bytes of an SMTP conversation that is ready for mail: lines go out, replies come in, in their order."""

import asyncio
import math
import re
from collections import deque
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

LONGEST_REPLY = 32_768
UNREADABLE = -1

_REPLY = re.compile(rb"([0-9]{3})(?:([ -])(.*))?")


class Reply(NamedTuple):
    """What the relay said; `code` is `UNREADABLE` where it was no reply at all."""

    code: int
    text: str


@lru_cache(maxsize=64)
def _whole(line: bytes) -> Reply | None:
    """The reply that is all on `line`, as most are; a relay says the same to most commands."""
    if line[3:4] == b" " and line[:3].isdigit():
        return Reply(int(line[:3]), line[4:].strip().decode(errors="replace"))
    return None


class HungUp(Exception):
    """The other side has closed the connection."""


class Wire(asyncio.Protocol):
    """Takes an open transport over. Everything that the other side said before it hung up can still be heard.

    `listener`, where there is one, is first shown the replies that have come for whoever waits in `reply`: whether it
    took them all, and the wait goes on. What it raises, the wait raises.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._replies: deque[Reply] = deque()
        self._lines: list[bytes] = []
        self._code = UNREADABLE
        self._rest = b""
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._is_gone = False
        self.listener: Callable[[Sequence[Reply]], bool] | None = None
        transport.set_protocol(self)

    @property
    def is_open(self) -> bool:
        return not (self._is_gone or self._transport.is_closing())

    @property
    def is_silent(self) -> bool:
        """Whether all that was said has been heard: what comes next answers what we say next."""
        return not (self._replies or self._rest or self._lines)

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits in `reply`, and has not been woken yet."""
        return self._waiter is not None and not self._waiter.done()

    def write(self, octets: bytes) -> None:
        """Raises HungUp."""
        if not self.is_open:
            raise HungUp
        self._transport.write(octets)

    def reply_heard(self) -> Reply | None:
        """The next reply, where it has come."""
        return self._replies.popleft() if self._replies else None

    def expect(self, *, within: float) -> None:
        """Let the wait in `reply` end so many seconds from now. One timer serves wait after wait: to start and stop one
        for each would cost as much as to hear its reply."""
        self._deadline = self._loop.time() + within
        if self._timer is None or self._timer.when() > self._deadline:
            self._set_timer()

    def expect_nothing(self) -> None:
        """Let the wait in `reply` go on: it is not the other side's turn."""
        self._deadline = math.inf

    def fail(self, error: Exception) -> None:
        """Let the wait in `reply` raise `error`."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)

    async def reply(self, *, within: float) -> Reply:
        """The next reply. Raises HungUp, and TimeoutError after `within` seconds."""
        if not self._replies:
            if not self.is_open:
                raise HungUp
            self._waiter = self._loop.create_future()
            self.expect(within=within)
            await self._waiter
            if not self._replies:
                raise HungUp
        return self._replies.popleft()

    def abort(self) -> None:
        """Close at once. A mere close first writes out what is held back, perhaps a final dot, to a deaf peer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._transport.abort()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._deadline, self._look_at_the_clock)

    def _look_at_the_clock(self) -> None:
        self._timer = None
        if not self.is_awaited or self._deadline == math.inf:
            return
        if self._loop.time() < self._deadline:
            self._set_timer()
        else:
            self.fail(TimeoutError())

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if not self._lines and (whole := _whole(line)):
                self._replies.append(whole)
            else:
                self._read(line.rstrip(b"\r"))
        if len(self._rest) + sum(map(len, self._lines)) > LONGEST_REPLY:
            self._lines, self._rest = [], b""
            self._replies.append(Reply(UNREADABLE, "Response too long"))
        if self._replies and self.is_awaited:
            try:
                if self.listener and self.listener(self._replies):
                    self._replies.clear()
                else:
                    self._wake()
            except Exception as error:  # noqa: BLE001 - whatever it is, a reply must not be taken for another one's
                self._replies.clear()
                self.fail(error)

    def _read(self, line: bytes) -> None:
        found = _REPLY.fullmatch(line)
        if not found:
            self._lines.clear()
            self._replies.append(
                Reply(UNREADABLE, f"Malformed SMTP response line: {line.decode(errors='ignore')}")
            )
            return
        code = int(found[1])
        if self._lines and code != self._code:
            # Of one reply each line has the same code (RFC 5321, section 4.2.1): some line is missing.
            code = UNREADABLE
        self._code = code
        self._lines.append((found[3] or b"").strip())
        if found[2] != b"-":
            text = b"\n".join(self._lines).decode(errors="replace")
            self._lines.clear()
            self._replies.append(Reply(code, text))

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_gone = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
