"""The port between what is to be said and the wire: an envelope goes in, its outcome comes back."""

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

LONGEST_REASON = 300

# An address that breaks these would end its own place in a command or a header and begin another.
_BREAKS_AN_ADDRESS = re.compile("[\x00-\x20\x7f-\x9f<>\u2028\u2029\ud800-\udfff]")


@dataclass(slots=True, kw_only=True)
class Envelope:
    """One message for one recipient, ready for the wire; to be left as it is made. (Frozen it would cost twice as much,
    for each message.)

    `pieces` joined are the whole message: 7-bit, CRLF line ends only, the last line ended (RFC 5321, section 2.3.8).
    Joined only when they leave, they take next to no memory of their own, and that is written and read at once.
    `envelope_id` is the same on every try; a relay that offers DSN gets it as ENVID (RFC 3461, section 4.4).
    `composed`: the content is all this by the way it was made, and none of its lines begins with a dot.
    Raises ValueError where a part could break out of its place.
    """

    sender: str
    recipient: str
    pieces: Sequence[bytes]
    envelope_id: str
    composed: bool = False

    def __post_init__(self) -> None:
        if _BREAKS_AN_ADDRESS.search(self.sender + self.recipient):
            raise ValueError("an envelope address holds a space, an angle bracket or a control character")
        if not self.envelope_id:
            raise ValueError("the envelope has no id")
        if self.composed:
            return
        content = self.content
        ends = content.count(b"\r\n")
        if content.count(b"\n") != ends or content.count(b"\r") != ends:
            raise ValueError("the message has a line end that is not CRLF")
        if not content.isascii() or not content.endswith(b"\r\n"):
            raise ValueError("the message is not 7-bit, or its last line is not ended")

    @property
    def content(self) -> bytes:
        """The whole message."""
        return b"".join(self.pieces)

    @property
    def size(self) -> int:
        """Of the whole message, in octets."""
        return sum(map(len, self.pieces))


class Verdict(StrEnum):
    """What became of a try: sent, worth trying again, or not."""

    SENT = "sent"
    TEMPORARY = "temporary"
    PERMANENT = "permanent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one try to send.

    `reason` is made one printable line of at most 300 characters: reply code, enhanced code and text, or what
    failed. `uncertain`: the message may have been accepted although no answer came. `relay`: the whole relay,
    not this recipient, is the cause; with a permanent verdict, it may be. `doubted`: it was refused for good, which is
    not believed yet. `code` is the reply code where there was one.
    """

    verdict: Verdict
    reason: str
    uncertain: bool = False
    relay: bool = False
    doubted: bool = False
    code: int | None = None

    def __post_init__(self) -> None:
        if self.uncertain and self.verdict is not Verdict.TEMPORARY:
            raise ValueError("only a temporary outcome can be uncertain")
        object.__setattr__(self, "reason", one_line(self.reason))


def one_line(text: str) -> str:
    """`text` from the other side as one printable line of at most 300 characters, for a table or a log."""
    if not text.isprintable():
        text = "".join(char if char.isprintable() else " " for char in text)
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_REASON else line[: LONGEST_REASON - 1] + "…"


TAKEN = Outcome(verdict=Verdict.SENT, reason="")
"""What becomes of nearly all."""


class ConnectProblem(Problem):
    """No connection could be made.

    `permanent`: it will not be before a person has changed a setting or the relay; trying again does no
    harm, but somebody should be told at once. `brief` is why, in words for anybody who asks, or empty.
    """

    def __init__(self, message: str, *, permanent: bool, brief: str = "") -> None:
        super().__init__(one_line(message))
        self.permanent = permanent
        self.brief = brief


class SendPipeline(Protocol):
    """What a connection is told of the messages before and behind the one that it sends."""

    @property
    def following(self) -> Envelope | None:
        """What goes over the connection next: it may be offered already, but for its content."""
        ...

    def before_dot(self) -> Awaitable[None]:
        """Awaited once the recipient is accepted, and before any of the content goes. Raises where the message may not
        go any more."""
        ...

    def check(self) -> None:
        """Raises where the present message, which waited for what `taken` returned, may not go any more."""
        ...

    def taken(self) -> "asyncio.Future[None] | None":
        """Note that the present message was sent and that the following one, which was offered, is the present one now:
        it goes as soon as what is returned is done. None: nothing is noted, and `send` is to return."""
        ...


class Connection(Protocol):
    """An open way out, for one `send` at a time."""

    async def send(self, envelope: Envelope, *, feed: SendPipeline) -> Outcome:
        """Try to send, and say what became of it; what the other side does is an outcome, never an exception.

        Where it was sent and `feed` has more, that may be sent as well: the outcome is that of the message which is
        `feed`'s present one at the end. If `feed` raises, that one was not sent, the connection is closed, and the
        exception goes on to the caller.
        When the task is cancelled the connection is broken; after `before_dot` the message then counts as uncertain.
        """
        ...

    async def close(self) -> None:
        """Say goodbye, briefly. Never raises."""
        ...

    @property
    def offered(self) -> Envelope | None:
        """What was offered behind the last message, but for its content: it is to be sent next."""
        ...

    @property
    def spent(self) -> bool:
        """Whether the next message needs another connection: broken, or old enough to be renewed."""
        ...


class Transport(Protocol):
    """Where connections come from. `connections` is how many may be open at once."""

    connections: int

    async def connect(self) -> Connection:
        """Raises ConnectProblem."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MaildirAddress:
    """A folder on this machine."""

    path: Path

    def __str__(self) -> str:
        return f"maildir:{self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpAddress:
    """A relay. Neither `repr` nor `str` shows who logs in or the password. Raises SettingsProblem."""

    host: str
    port: int
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    tls: bool = False

    def __post_init__(self) -> None:
        if not _is_host(self.host):
            raise _wrong("the host is neither a name nor an address")
        if not 1 <= self.port <= 65535:
            raise _wrong("the port is not between 1 and 65535")
        if bool(self.user) != bool(self.password):
            raise _wrong("a user needs a password, and a password a user")
        if not ((self.user or "") + (self.password or "")).isprintable():
            raise _wrong("the user or the password holds a control character")

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'smtps' if self.tls else 'smtp'}://{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether the relay is this machine: 127.0.0.0/8, ::1 or localhost."""
        return is_loopback(self.host)


TransportAddress = MaildirAddress | SmtpAddress

_PLACE = re.compile(r"(?:\[(?P<six>[^\[\]@]+)\]|(?P<name>[^\s:/?#@\[\]]+))(?::(?P<port>[0-9]{1,5}))?/?")
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")


def parse_transport(text: str) -> TransportAddress:
    """Read `maildir:PATH`, `smtp://[user:password@]host[:port]` (port 25) or `smtps://…` (port 465).

    User and password are percent-decoded: a `%` in either and a `:` in the user are written `%25` and
    `%3A`. An IPv6 address stands in brackets. Raises SettingsProblem, which never repeats any part of
    `text`.
    """
    scheme, _, rest = text.strip().partition(":")
    match scheme.lower():
        case "maildir":
            return _parse_maildir(rest)
        case "smtp" if rest.startswith("//"):
            return _parse_smtp(rest[2:], tls=False)
        case "smtps" if rest.startswith("//"):
            return _parse_smtp(rest[2:], tls=True)
    raise _wrong("it begins with none of the accepted words")


def _parse_maildir(rest: str) -> MaildirAddress:
    if not rest or not rest.isprintable():
        raise _wrong("the folder is missing or holds a control character")
    if rest.startswith("//") and not rest.startswith("///"):
        raise _wrong("a folder follows maildir: without //")
    return MaildirAddress(path=Path(rest))


def _parse_smtp(rest: str, *, tls: bool) -> SmtpAddress:
    credentials, at, place = rest.rpartition("@")
    found = _PLACE.fullmatch(place)
    if not found:
        raise _wrong("the host and port cannot be read (an IPv6 address stands in [brackets])")
    user, _, password = credentials.partition(":")
    if at and not (user and password):
        raise _wrong("before the @ both a user and a password must stand")
    port = int(found["port"]) if found["port"] else (465 if tls else 25)
    try:
        name = unquote(user, errors="strict") or None
        secret = unquote(password, errors="strict") or None
    except UnicodeDecodeError:
        raise _wrong("the user or the password is not UTF-8 once percent-decoded") from None
    return SmtpAddress(host=_host(found), port=port, user=name, password=secret, tls=tls)


def _host(found: re.Match[str]) -> str:
    if found["six"]:
        try:
            return str(ipaddress.IPv6Address(found["six"]))
        except ValueError:
            raise _wrong("only an IPv6 address stands in brackets") from None
    name: str = found["name"]
    try:
        return name if name.isascii() else ascii_domain(name)
    except UnicodeError:
        raise _wrong("the host is not a name that the DNS can hold") from None


def _is_host(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        name = host.removesuffix(".")
        return len(name) <= 253 and all(_LABEL.fullmatch(label) for label in name.split("."))
    return True


def _wrong(why: str) -> SettingsProblem:
    return SettingsProblem(
        f"mail.transport: {why}; accepted are maildir:PATH, smtp://[user:password@]host[:port] and smtps://…"
    )
