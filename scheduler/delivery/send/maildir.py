"""The Maildir transport: it writes mail to a folder, for trying things out and for showing what was sent."""

import asyncio
import errno
import heapq
import itertools
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.errors import MessageError
from email.header import decode_header, make_header
from email.message import Message
from email.parser import BytesHeaderParser
from email.utils import parseaddr, parsedate_to_datetime
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from scheduler.delivery.send.transport import (
    ConnectProblem,
    Envelope,
    Outcome,
    SendPipeline,
    Verdict,
    one_line,
)
from scheduler.domain.errors import Problem
from scheduler.domain.inbound import readable
from scheduler.domain.text import Person, folded_prose

_MAX_NAME_LENGTH = 180
_MAX_HEADER_BYTES = 65_536
_count = itertools.count()


class MaildirTransport:
    """Stores each message in the Maildir at `path`, which is made with mode 0700 if it is missing.

    A stored message has LF line ends and begins with `Return-Path` and `Delivered-To`, as mail readers expect of a
    Maildir. Its file name is made from the envelope id, so that the second try of an uncertain message replaces the
    first.
    """

    def __init__(self, path: Path, *, connections: int = 2) -> None:
        self.connections = connections
        self._path = path

    async def connect(self) -> "MaildirConnection":
        """Make the folder and check that it is writable. Raises ConnectProblem."""
        try:
            await asyncio.to_thread(_prepare, self._path)
        except OSError as error:
            permanent = error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)
            raise ConnectProblem(_cannot_write(self._path, error), permanent=permanent) from error
        return MaildirConnection(self._path)


class MaildirConnection:
    """A connection to a folder that was writable when it was opened."""

    pipelined = None

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_closed = False

    @property
    def needs_reconnect(self) -> bool:
        return self._is_closed

    async def send(self, envelope: Envelope, *, pipeline: SendPipeline) -> Outcome:
        """See `Connection.send`. A message that counts as sent has reached the disk."""
        try:
            await pipeline.before_final_dot()
        except BaseException:
            self._is_closed = True
            raise
        try:
            name = await asyncio.to_thread(_store, self._path, envelope)
        except OSError as error:
            self._is_closed = True
            return Outcome(verdict=Verdict.TEMPORARY, reason=_cannot_write(self._path, error), relay=True)
        return Outcome(verdict=Verdict.SENT, reason=f"stored as {name}")

    async def close(self) -> None:
        self._is_closed = True


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredMessage:
    """The header fields of a stored message. `recipient` is the envelope's; `date` is aware, or None if missing."""

    name: str
    recipient: str
    to: str
    subject: str
    date: datetime | None


class NoSuchMessage(Problem):
    """The folder has no message with that name."""


def read_outbox(path: Path, *, newest: int) -> list[StoredMessage]:
    """Return the `newest` messages, last stored first. A missing folder has none; one removed meanwhile is left out."""
    stored = []
    for _, name, file in heapq.nlargest(newest, _files(path, "new", "cur")):
        with suppress(FileNotFoundError):
            stored.append(_described(name, _header_bytes(file)))
    return stored


def read_message(path: Path, name: str) -> bytes:
    """Return the message as stored; `name` comes from `read_outbox`. Raises NoSuchMessage for any other name."""
    if name and name.isprintable() and "/" not in name and not name.startswith("."):
        for folder in ("new", "cur"):
            with suppress(OSError), _opened(path / folder / name) as file:
                return file.read()
    raise NoSuchMessage(f"the mail folder has no message {one_line(name)!r}; reload the list")


def erase_messages(path: Path, *, recipient: str) -> int:
    """Delete all messages delivered to `recipient`, whatever the case, partly written ones too, the messages that they
    wrote to the convenors, and the letters forwarded to the convenors that contain their address; return how many."""
    recipient_key, person = recipient.casefold(), Person([recipient], "")
    deleted = 0
    for _, _, file in list(_files(path, "new", "cur", "tmp")):
        with suppress(FileNotFoundError):
            head = _header_bytes(file)
            if (
                recipient_key in (_delivered_to(head).casefold(), _written_by(head).casefold())
                # Only forwarded letters have this header.
                or (b"\nX-Loop:" in head and person.is_addressed_in(_searchable(file)))
            ):
                Path(file).unlink()
                deleted += 1
    return deleted


def _prepare(path: Path) -> None:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    for folder in ("tmp", "new", "cur"):
        (path / folder).mkdir(mode=0o700, exist_ok=True)
    _sync_folder(path)
    probe = _temporary(path, "probe")
    os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    probe.unlink()


def _store(path: Path, envelope: Envelope) -> str:
    """Write, sync, move into place, sync the move: after this the message survives a power cut."""
    name = _file_name(envelope.envelope_id)
    head = f"Return-Path: <{envelope.sender}>\nDelivered-To: {envelope.recipient}\n"
    draft = _temporary(path, name)
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(head.encode() + envelope.content.replace(b"\r\n", b"\n"))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path / "new" / name)
    except OSError:
        with suppress(OSError):
            draft.unlink()
        raise
    _sync_folder(path / "new")
    return name


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _temporary(path: Path, name: str) -> Path:
    return path / "tmp" / f"{name}.{os.getpid()}.{next(_count)}"


def _file_name(envelope_id: str) -> str:
    # No "/", no ":" (which begins the flags of a Maildir), no leading dot.
    name = "m" + quote(envelope_id, safe="@+=")
    return name if len(name) <= _MAX_NAME_LENGTH else "m" + sha256(envelope_id.encode()).hexdigest()


def _cannot_write(path: Path, error: OSError) -> str:
    return f"mail folder {path}: cannot be written: {error.strerror or error}"


def _files(path: Path, *folders: str) -> Iterator[tuple[int, str, str]]:
    """Yield modification time, name and path of each message."""
    for folder in folders:
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(path / folder) as entries:
            for entry in entries:
                if entry.is_file(follow_symlinks=False) and not entry.name.startswith("."):
                    with suppress(FileNotFoundError):
                        yield entry.stat(follow_symlinks=False).st_mtime_ns, entry.name, entry.path


def _header_bytes(path: str) -> bytes:
    with _opened(path) as file:
        return file.read(_MAX_HEADER_BYTES).partition(b"\n\n")[0]


def _searchable(path: str) -> str:
    with _opened(path) as file:
        return folded_prose(readable(file.read()))


def _opened(path: str | Path) -> BinaryIO:
    return open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW))


def _described(name: str, head: bytes) -> StoredMessage:
    message = BytesHeaderParser().parsebytes(head)
    return StoredMessage(
        name=name,
        recipient=_delivered_to(head),
        to=_header(message, "To"),
        subject=_header(message, "Subject"),
        date=_date(message),
    )


def _delivered_to(head: bytes) -> str:
    """Return the recipient of the envelope: our Delivered-To is the first, and not encoded (RFC 6532)."""
    for line in head.splitlines():
        if line.lower().startswith(b"delivered-to:"):
            return line.partition(b":")[2].decode("utf-8", "replace").strip()
    return ""


def _written_by(head: bytes) -> str:
    """Return the address of the visitor who wrote to the convenors, if the message is one of these."""
    if b"\nFeedback-ID: contact:" not in head:
        return ""
    return parseaddr(str(BytesHeaderParser().parsebytes(head).get("Reply-To", "")))[1]


def _header(message: Message, name: str) -> str:
    raw = str(message.get(name, ""))
    try:
        return one_line(str(make_header(decode_header(raw))))
    except (MessageError, LookupError, ValueError):
        return one_line(raw)


def _date(message: Message) -> datetime | None:
    try:
        date = parsedate_to_datetime(str(message.get("Date", "")))
    except ValueError:
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
