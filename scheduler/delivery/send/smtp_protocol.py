"""The SMTP protocol: reading replies, and the commands and content that offer a message to a relay."""

import asyncio
import math
import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from scheduler.delivery.send.transport import Envelope, Outcome, Verdict
from scheduler.domain.address import ascii_domain

MAX_REPLY_BYTES = 32_768
UNREADABLE = -1

_REPLY_LINE = re.compile(rb"([0-9]{3})(?:([ -])(.*))?")


class SmtpReply(NamedTuple):
    """A reply of the relay; `code` is `UNREADABLE` if it was not a valid reply."""

    code: int
    text: str


class ConnectionClosed(Exception):
    """The relay has closed the connection."""


class SmtpProtocol(asyncio.Protocol):
    """Reads replies from an open transport and writes to it. Replies that came before the relay closed the connection
    can still be read.

    `on_replies`, if set, is called first with the replies that came while `read_reply` waits. If it returns True, it
    has handled them all and `read_reply` goes on waiting; if it raises, `read_reply` raises the same error.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._replies: deque[SmtpReply] = deque()
        self._reply_lines: list[bytes] = []
        self._code = UNREADABLE
        self._partial_line = b""
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._is_lost = False
        self.on_replies: Callable[[Sequence[SmtpReply]], bool] | None = None
        transport.set_protocol(self)

    @property
    def is_open(self) -> bool:
        return not (self._is_lost or self._transport.is_closing())

    @property
    def has_unread_input(self) -> bool:
        """Whether something received has not been read. If not, what comes next replies to what we send next."""
        return bool(self._replies or self._partial_line or self._reply_lines)

    @property
    def has_waiter(self) -> bool:
        """Whether somebody waits in `read_reply` and has not been woken yet."""
        return self._waiter is not None and not self._waiter.done()

    def write(self, data: bytes) -> None:
        """Send `data`. Raises ConnectionClosed."""
        if not self.is_open:
            raise ConnectionClosed
        self._transport.write(data)

    def buffered_reply(self) -> SmtpReply | None:
        """Return the next reply if it has come already."""
        return self._replies.popleft() if self._replies else None

    async def read_reply(self, *, within: float) -> SmtpReply:
        """Return the next reply. Raises ConnectionClosed, and TimeoutError after `within` seconds."""
        if not self._replies:
            if not self.is_open:
                raise ConnectionClosed
            self._waiter = self._loop.create_future()
            self.set_deadline(within=within)
            await self._waiter
            if not self._replies:
                raise ConnectionClosed
        return self._replies.popleft()

    def set_deadline(self, *, within: float) -> None:
        """Let `read_reply` time out `within` seconds from now."""
        # One timer serves many waits: starting and stopping one for each costs as much as reading its reply.
        self._deadline = self._loop.time() + within
        if self._timer is None or self._timer.when() > self._deadline:
            self._set_timer()

    def clear_deadline(self) -> None:
        """Let `read_reply` wait without a limit: the relay has nothing to reply to at present."""
        self._deadline = math.inf

    def fail(self, error: Exception) -> None:
        """Let `read_reply` raise `error`, if somebody waits there."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)

    def abort(self) -> None:
        """Close at once. A normal close would first write what is buffered, perhaps a final dot."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        *lines, self._partial_line = (self._partial_line + data).split(b"\n")
        for line in lines:
            if not self._reply_lines and (reply := _single_line_reply(line)):
                self._replies.append(reply)
            else:
                self._parse_line(line.rstrip(b"\r"))
        if len(self._partial_line) + sum(map(len, self._reply_lines)) > MAX_REPLY_BYTES:
            self._reply_lines, self._partial_line = [], b""
            self._replies.append(SmtpReply(UNREADABLE, "Response too long"))
        if self._replies and self.has_waiter:
            try:
                if self.on_replies and self.on_replies(self._replies):
                    self._replies.clear()
                else:
                    self._wake()
            except Exception as error:  # noqa: BLE001 - whatever it is, a reply must not be taken for another one's
                self._replies.clear()
                self.fail(error)

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost = True
        self._wake()

    def _parse_line(self, line: bytes) -> None:
        match = _REPLY_LINE.fullmatch(line)
        if not match:
            self._reply_lines.clear()
            self._replies.append(
                SmtpReply(UNREADABLE, f"Malformed SMTP response line: {line.decode(errors='ignore')}")
            )
            return
        code = int(match[1])
        if self._reply_lines and code != self._code:
            # All lines of a reply have the same code (RFC 5321, section 4.2.1): a line is missing.
            code = UNREADABLE
        self._code = code
        self._reply_lines.append((match[3] or b"").strip())
        if match[2] != b"-":
            text = b"\n".join(self._reply_lines).decode(errors="replace")
            self._reply_lines.clear()
            self._replies.append(SmtpReply(code, text))

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._deadline, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if not self.has_waiter or self._deadline == math.inf:
            return
        if self._loop.time() < self._deadline:
            self._set_timer()
        else:
            self.fail(TimeoutError())


@lru_cache(maxsize=64)
def _single_line_reply(line: bytes) -> SmtpReply | None:
    """Return the reply if it is complete on `line`. Cached: a relay gives the same reply to most commands."""
    if line[3:4] == b" " and line[:3].isdigit():
        return SmtpReply(int(line[:3]), line[4:].strip().decode(errors="replace"))
    return None


_MAX_ENVID_LENGTH = 100  # RFC 3461, section 4.4
_NOT_XTEXT = re.compile(r"[^!-*,-<>-~]")


class Extensions:
    """The extensions from a relay's reply to EHLO that decide how messages are sent to it."""

    def __init__(self, keywords: Mapping[str, str]) -> None:
        """`keywords` are in lower case, each with its parameters."""
        self.pipelining = "pipelining" in keywords
        self.smtputf8 = "smtputf8" in keywords
        self.dsn = "dsn" in keywords
        self.size = "size" in keywords
        announced = keywords.get("size", "").strip()
        self.max_size = int(announced) if announced.isascii() and announced.isdigit() else 0
        """The largest message that the relay accepts, in bytes; 0 if it does not say."""


class Commands(NamedTuple):
    """The MAIL and RCPT commands of a message, without line ends."""

    mail: bytes
    rcpt: bytes

    @property
    def pipelined(self) -> bytes:
        """MAIL, RCPT and DATA with line ends, for a relay with PIPELINING (RFC 2920, section 3.1)."""
        return b"%b\r\n%b\r\nDATA\r\n" % self


def commands(envelope: Envelope, extensions: Extensions) -> Commands | Outcome:
    """Return the commands for `envelope`, or a permanent outcome if a relay with these `extensions` cannot accept it.

    Domains are sent in ASCII (IDNA 2008); SMTPUTF8 as in RFC 6531, SIZE as in RFC 1870, RET, ENVID, NOTIFY and ORCPT as
    in RFC 3461.
    """
    try:
        sender, recipient = _mailbox(envelope.sender), _mailbox(envelope.recipient)
    except UnicodeError:
        return _undeliverable("the domain of the address is not a valid domain name")
    if not (extensions.smtputf8 or recipient.isascii()):
        return _undeliverable("the relay does not accept non-ASCII addresses (SMTPUTF8)")
    mail, rcpt = b"MAIL FROM:<%b>" % sender, b"RCPT TO:<%b>" % recipient
    if extensions.size:
        size, limit = envelope.size, extensions.max_size
        if limit and size > limit:
            return _undeliverable(f"the message has {size} bytes, but the relay accepts only {limit} (SIZE)")
        mail += b" SIZE=%d" % size
    if not (recipient.isascii() and sender.isascii()):
        mail += b" SMTPUTF8"
    if extensions.dsn:
        mail += b" RET=HDRS"
        if len(envid := _xtext(envelope.envelope_id)) <= _MAX_ENVID_LENGTH:
            mail += b" ENVID=%b" % envid
        rcpt += b" NOTIFY=FAILURE"
        if recipient.isascii():
            rcpt += b" ORCPT=rfc822;%b" % _xtext(recipient.decode())
    return Commands(mail, rcpt)


def dot_stuffed(content: bytes) -> bytes:
    """Return `content`, whose lines end with CRLF, as it is sent after DATA, with the final dot (RFC 5321, 4.5.2)."""
    stuffed = b"." + content if content.startswith(b".") else content
    return stuffed.replace(b"\r\n.", b"\r\n..") + b".\r\n"


def _undeliverable(reason: str) -> Outcome:
    return Outcome(verdict=Verdict.PERMANENT, reason=reason)


def _mailbox(address: str) -> bytes:
    """Return `address` with its domain in ASCII and its local part unchanged. Raises UnicodeError."""
    return ascii_domain(address).encode()


def _xtext(text: str) -> bytes:
    """Encode all but printable ASCII, and `+` and `=`, as `+` and two hex digits (RFC 3461, section 4)."""
    return _NOT_XTEXT.sub(lambda match: "".join(f"+{byte:02X}" for byte in match[0].encode()), text).encode()
