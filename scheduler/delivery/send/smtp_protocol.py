"""The SMTP protocol: commands for an envelope, and the bytes of the conversation."""

import asyncio
import math
import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from scheduler.delivery.send.transport import Envelope, Outcome, Verdict
from scheduler.domain.address import ascii_domain

LONGEST_REPLY = 32_768
UNREADABLE = -1

_REPLY = re.compile(rb"([0-9]{3})(?:([ -])(.*))?")


class SmtpReply(NamedTuple):
    """What the relay said; `code` is `UNREADABLE` where it was no reply at all."""

    code: int
    text: str


@lru_cache(maxsize=64)
def _whole(line: bytes) -> SmtpReply | None:
    """The reply that is all on `line`, as most are; a relay says the same to most commands."""
    if line[3:4] == b" " and line[:3].isdigit():
        return SmtpReply(int(line[:3]), line[4:].strip().decode(errors="replace"))
    return None


class HungUp(Exception):
    """The other side has closed the connection."""


class SmtpProtocol(asyncio.Protocol):
    """Takes an open transport over. Everything that the other side said before it hung up can still be heard.

    `listener`, where there is one, is first shown the replies that have come for whoever waits in `reply`: whether it
    took them all, and the wait goes on. What it raises, the wait raises.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._replies: deque[SmtpReply] = deque()
        self._lines: list[bytes] = []
        self._code = UNREADABLE
        self._rest = b""
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._is_gone = False
        self.listener: Callable[[Sequence[SmtpReply]], bool] | None = None
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

    def reply_heard(self) -> SmtpReply | None:
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

    async def reply(self, *, within: float) -> SmtpReply:
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
            self._replies.append(SmtpReply(UNREADABLE, "Response too long"))
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
                SmtpReply(UNREADABLE, f"Malformed SMTP response line: {line.decode(errors='ignore')}")
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
            self._replies.append(SmtpReply(code, text))

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_gone = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


_LONGEST_ENVID = 100  # RFC 3461, section 4.4
_NOT_XTEXT = re.compile(r"[^!-*,-<>-~]")


class Extensions:
    """What of a relay's answer to EHLO decides how messages are offered to it, read once for them all."""

    def __init__(self, keywords: Mapping[str, str]) -> None:
        """`keywords` are in lower case, with their parameters."""
        self.pipelining = "pipelining" in keywords
        self.smtputf8 = "smtputf8" in keywords
        self.dsn = "dsn" in keywords
        self.size = "size" in keywords
        announced = keywords.get("size", "").strip()
        self.largest = int(announced) if announced.isascii() and announced.isdigit() else 0
        """The most bytes that the relay takes; 0 where it does not say."""


class Commands(NamedTuple):
    """The two lines that offer a message, without their line ends."""

    mail: bytes
    rcpt: bytes

    @property
    def at_once(self) -> bytes:
        """All up to DATA for a relay with PIPELINING, line ends included (RFC 2920, section 3.1)."""
        return b"%b\r\n%b\r\nDATA\r\n" % self


def commands(envelope: Envelope, extensions: Extensions) -> Commands | Outcome:
    """The lines for `envelope`, or why a relay with these `extensions` cannot be given it at all.

    Domains go out in ASCII (IDNA 2008); SMTPUTF8 as in RFC 6531, SIZE as in RFC 1870, RET, ENVID, NOTIFY and ORCPT
    as in RFC 3461.
    """
    try:
        sender, recipient = _mailbox(envelope.sender), _mailbox(envelope.recipient)
    except UnicodeError:
        return _unfit("the domain of the address is not a name that the DNS can hold")
    if not (extensions.smtputf8 or recipient.isascii()):
        return _unfit("the relay does not take non-ASCII addresses (SMTPUTF8)")
    mail, rcpt = b"MAIL FROM:<%b>" % sender, b"RCPT TO:<%b>" % recipient
    if extensions.size:
        size, limit = envelope.size, extensions.largest
        if limit and size > limit:
            return _unfit(f"the message has {size} bytes and the relay takes {limit} (SIZE)")
        mail += b" SIZE=%d" % size
    if not (recipient.isascii() and sender.isascii()):
        mail += b" SMTPUTF8"
    if extensions.dsn:
        mail += b" RET=HDRS"
        if len(envid := _xtext(envelope.envelope_id)) <= _LONGEST_ENVID:
            mail += b" ENVID=%b" % envid
        rcpt += b" NOTIFY=FAILURE"
        if recipient.isascii():
            rcpt += b" ORCPT=rfc822;%b" % _xtext(recipient.decode())
    return Commands(mail, rcpt)


def dot_stuffed(content: bytes) -> bytes:
    """`content`, its lines ended by CRLF, as it follows DATA, final dot included (RFC 5321, 4.5.2)."""
    stuffed = b"." + content if content.startswith(b".") else content
    return stuffed.replace(b"\r\n.", b"\r\n..") + b".\r\n"


def _unfit(reason: str) -> Outcome:
    return Outcome(verdict=Verdict.PERMANENT, reason=reason)


def _mailbox(address: str) -> bytes:
    """`address` with its domain in ASCII and its local part as it is. Raises UnicodeError."""
    return (address if address.isascii() else ascii_domain(address)).encode()


def _xtext(text: str) -> bytes:
    """Printable ASCII but for `+` and `=`; all else as `+` and two hex digits (RFC 3461, section 4)."""
    return _NOT_XTEXT.sub(lambda found: "".join(f"+{byte:02X}" for byte in found[0].encode()), text).encode()
