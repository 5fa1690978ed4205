"""The interface between the dispatcher and a mail transport: an envelope goes in, its outcome comes back."""

import asyncio
import ipaddress
import re
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote

from scheduler.domain.address import ascii_domain, is_loopback
from scheduler.domain.errors import Problem, SettingsProblem

MAX_REASON_LENGTH = 300

# An address with one of these could end its command or header field and begin another.
_UNSAFE_IN_ADDRESS = re.compile("[\x00-\x20\x7f-\x9f<>\u2028\u2029\ud800-\udfff]")


@dataclass(slots=True, kw_only=True)
class Envelope:
    """One message for one recipient, ready to send. Do not change it. (A frozen class takes twice as long to make.)

    `pieces` joined are the whole message: 7-bit, with CRLF line ends only and one at the end (RFC 5321, section 2.3.8).
    Most pieces are shared by a cohort, so keep them apart until the message is sent: that saves memory and time.
    `envelope_id` is the same on every try; a relay that offers DSN gets it as ENVID (RFC 3461, section 4.4).
    `composed` says that the composer guarantees all this, and that no line begins with a dot: nothing is checked.
    Raises ValueError if an address or the content could break out of its command.
    """

    sender: str
    recipient: str
    pieces: Sequence[bytes]
    envelope_id: str
    composed: bool = False

    def __post_init__(self) -> None:
        if _UNSAFE_IN_ADDRESS.search(self.sender + self.recipient):
            raise ValueError("an envelope address contains a space, an angle bracket or a control character")
        if not self.envelope_id:
            raise ValueError("the envelope id is missing")
        if self.composed:
            return
        content = self.content
        line_ends = content.count(b"\r\n")
        if content.count(b"\n") != line_ends or content.count(b"\r") != line_ends:
            raise ValueError("the message has a line end that is not CRLF")
        if not content.isascii() or not content.endswith(b"\r\n"):
            raise ValueError("the message is not 7-bit, or it does not end with CRLF")

    @property
    def content(self) -> bytes:
        """The whole message, joined."""
        return b"".join(self.pieces)

    @property
    def size(self) -> int:
        """The size of the whole message in octets."""
        return sum(map(len, self.pieces))


class Verdict(StrEnum):
    """The result of a try: sent, failed but worth trying again, or failed permanently."""

    SENT = "sent"
    TEMPORARY = "temporary"
    PERMANENT = "permanent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The outcome of one try to send.

    `reason` is cut to one printable line of at most 300 characters: reply code, enhanced code and text, or what failed.
    `uncertain`: the relay may have accepted the message, although no reply came.
    `relay`: the cause is the relay as a whole and not this recipient; with a permanent verdict, it may be.
    `unconfirmed`: the message was refused permanently, and another try has to confirm that.
    `code` is the reply code where there was one.
    """

    verdict: Verdict
    reason: str
    uncertain: bool = False
    relay: bool = False
    unconfirmed: bool = False
    code: int | None = None

    def __post_init__(self) -> None:
        if self.uncertain and self.verdict is not Verdict.TEMPORARY:
            raise ValueError("only a temporary outcome can be uncertain")
        object.__setattr__(self, "reason", one_line(self.reason))


def one_line(text: str) -> str:
    """Return untrusted `text` as one printable line of at most 300 characters, for a table or a log."""
    if not text.isprintable():
        text = "".join(char if char.isprintable() else " " for char in text)
    line = " ".join(text.split())
    return line if len(line) <= MAX_REASON_LENGTH else line[: MAX_REASON_LENGTH - 1] + "…"


ACCEPTED = Outcome(verdict=Verdict.SENT, reason="")
"""The outcome of nearly all messages."""


class ConnectProblem(Problem):
    """No connection could be made.

    `permanent`: somebody has to change a setting or the relay first. Trying again does no harm, but they should hear
    of it at once. `brief` is a short reason that anybody may see, or empty.
    """

    def __init__(self, message: str, *, permanent: bool, brief: str = "") -> None:
        super().__init__(one_line(message))
        self.permanent = permanent
        self.brief = brief


class SendPipeline(Protocol):
    """The messages before and behind the current one of a connection, as the connection needs to know them."""

    @property
    def next_envelope(self) -> Envelope | None:
        """The message that follows over this connection. Its commands may be sent already, but not its content."""
        ...

    def before_final_dot(self) -> Awaitable[None]:
        """Wait until the message before the current one is settled. Await it once the recipient is accepted, before any
        content is sent. Raises if the current message may no longer be sent."""
        ...

    def check_deadline(self) -> None:
        """Raise if the current message, which has waited for the future of `advance`, may no longer be sent."""
        ...

    def advance(self) -> "asyncio.Future[None] | None":
        """Record that the current message was accepted, and make `next_envelope`, whose commands were accepted too, the
        current one. Its content may be sent once the returned future is done. None means that nothing was recorded and
        `send` has to return."""
        ...


class Connection(Protocol):
    """An open connection, for one `send` at a time."""

    async def send(self, envelope: Envelope, *, pipeline: SendPipeline) -> Outcome:
        """Try to send a message and return the outcome. What the other side does is an outcome, never an exception.

        After a message was accepted, the next ones of `pipeline` may be sent in the same call: the outcome is that of
        the message which is the current one at the end. If `pipeline` raises, that message was not sent, the connection
        is closed, and the exception is passed on. If the task is cancelled, the connection is closed; when that happens
        after `before_final_dot`, the message counts as uncertain.
        """
        ...

    async def close(self) -> None:
        """Close the connection politely but quickly. Never raises."""
        ...

    @property
    def pipelined(self) -> Envelope | None:
        """The message whose commands were already sent behind the last one: it has to be sent next."""
        ...

    @property
    def needs_reconnect(self) -> bool:
        """Whether the next message needs another connection: this one is closed, or has reached its limits."""
        ...


class Transport(Protocol):
    """Opens connections. `connections` is how many may be open at once."""

    connections: int

    async def connect(self) -> Connection:
        """Open a connection. Raises ConnectProblem."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MaildirAddress:
    """A Maildir on this machine."""

    path: Path

    def __str__(self) -> str:
        return f"maildir:{self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpAddress:
    """An SMTP relay. Neither `repr` nor `str` shows user or password. Raises SettingsProblem for invalid values."""

    host: str
    port: int
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    tls: bool = False

    def __post_init__(self) -> None:
        if not _is_host(self.host):
            raise _invalid("the host is neither a name nor an address")
        if not 1 <= self.port <= 65535:
            raise _invalid("the port is not between 1 and 65535")
        if bool(self.user) != bool(self.password):
            raise _invalid("user and password must both be given, or neither")
        if not ((self.user or "") + (self.password or "")).isprintable():
            raise _invalid("the user or the password contains a control character")

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'smtps' if self.tls else 'smtp'}://{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether the relay is this machine: 127.0.0.0/8, ::1 or localhost."""
        return is_loopback(self.host)


TransportAddress = MaildirAddress | SmtpAddress

_HOST_AND_PORT = re.compile(
    r"(?:\[(?P<ipv6>[^\[\]@]+)\]|(?P<name>[^\s:/?#@\[\]]+))(?::(?P<port>[0-9]{1,5}))?/?"
)
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")


def parse_transport(text: str) -> TransportAddress:
    """Read `maildir:PATH`, `smtp://[user:password@]host[:port]` (port 25) or `smtps://…` (port 465).

    User and password are percent-decoded: a `%` in either and a `:` in the user are written `%25` and
    `%3A`. An IPv6 address is written in brackets. Raises SettingsProblem; its message never repeats any part of `text`.
    """
    scheme, _, rest = text.strip().partition(":")
    match scheme.lower():
        case "maildir":
            return _parse_maildir(rest)
        case "smtp" if rest.startswith("//"):
            return _parse_smtp(rest[2:], tls=False)
        case "smtps" if rest.startswith("//"):
            return _parse_smtp(rest[2:], tls=True)
    raise _invalid("the scheme is not known")


def _parse_maildir(folder: str) -> MaildirAddress:
    if not folder or not folder.isprintable():
        raise _invalid("the folder is missing or contains a control character")
    if folder.startswith("//") and not folder.startswith("///"):
        raise _invalid("write the folder after maildir: without //")
    return MaildirAddress(path=Path(folder))


def _parse_smtp(authority: str, *, tls: bool) -> SmtpAddress:
    credentials, at, host_and_port = authority.rpartition("@")
    match = _HOST_AND_PORT.fullmatch(host_and_port)
    if not match:
        raise _invalid("the host and port cannot be read (write an IPv6 address in [brackets])")
    user, _, password = credentials.partition(":")
    if at and not (user and password):
        raise _invalid("the part before the @ must be user:password")
    port = int(match["port"]) if match["port"] else (465 if tls else 25)
    try:
        name = unquote(user, errors="strict") or None
        secret = unquote(password, errors="strict") or None
    except UnicodeDecodeError:
        raise _invalid("the user or the password is not UTF-8 once percent-decoded") from None
    return SmtpAddress(host=_host(match), port=port, user=name, password=secret, tls=tls)


def _host(match: re.Match[str]) -> str:
    if match["ipv6"]:
        try:
            return str(ipaddress.IPv6Address(match["ipv6"]))
        except ValueError:
            raise _invalid("the text in brackets is not an IPv6 address") from None
    name: str = match["name"]
    try:
        return name if name.isascii() else ascii_domain(name)
    except UnicodeError:
        raise _invalid("the host is not a valid domain name") from None


def _is_host(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        name = host.removesuffix(".")
        return len(name) <= 253 and all(_LABEL.fullmatch(label) for label in name.split("."))
    return True


def _invalid(reason: str) -> SettingsProblem:
    return SettingsProblem(
        f"mail.transport: {reason}; accepted are maildir:PATH, smtp://[user:password@]host[:port] and smtps://…"
    )
