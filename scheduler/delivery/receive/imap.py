"""Read a mailbox over IMAP: list and fetch new messages within bounds, and move each to a folder once it is dealt with.

All functions block, so call them in a thread. imap-tools does the protocol; we move messages ourselves, because without
MOVE it expunges whatever somebody else has marked as deleted in the same folder, too.
"""

import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from imaplib import IMAP4
from typing import Any, NamedTuple

from imap_tools import BaseMailBox, ImapToolsError, MailBox, MailBoxStartTls, MailBoxUnencrypted
from imap_tools.errors import MailboxFolderSelectError, MailboxLoginError

from scheduler.delivery.receive.places import ImapAddress
from scheduler.domain.address import is_loopback
from scheduler.domain.errors import Problem

TIMEOUT_SECONDS = 30
WAIT_SECONDS = 120
"""How long to wait for news until the next look at the folder, which may have been renamed."""
IDLE_SECONDS = 15
"""How long one IDLE lasts. imap-tools overlooks news that comes together with the answer to IDLE; it is seen when
IDLE ends."""
PIECE = 256 * 1024
"""How many octets of a message one command asks for."""
_SMALL = 64 * 1024
_TOGETHER = 1024 * 1024
"""Messages up to `_SMALL` octets are fetched together, up to `_TOGETHER` octets in one command."""
PARENT, DONE, REVIEW = "Third Thursday", "done", "review"


class MailboxProblem(Problem):
    """The mailbox cannot be read; the message contains nothing that the server said but a response code.

    `lasting` says that somebody has to change a setting first, so that another try soon would not help.
    """

    def __init__(self, message: str, *, lasting: bool = False) -> None:
        super().__init__(message)
        self.lasting = lasting


class NewMessage(NamedTuple):
    """A message as it was fetched, perhaps only its beginning."""

    uid: str
    content: bytes


class ImapMailbox:
    """An open mailbox. `access_token` is for XOAUTH2, instead of the password."""

    def __init__(self, address: ImapAddress, *, access_token: str = "") -> None:
        """Connect, log in and select the folder. Raises MailboxProblem."""
        self._address = address
        self._mailbox: BaseMailBox | None = None
        self._closed = False
        try:
            with _reported(address):
                self._open(access_token)
        except MailboxProblem:
            self.close()
            raise

    def _open(self, access_token: str) -> None:
        address = self._address
        place: dict[str, Any] = {
            "host": address.host,
            "port": address.port,
            "timeout": TIMEOUT_SECONDS,
        }
        if address.tls:
            self._mailbox = MailBox(**place, ssl_context=ssl.create_default_context())
        elif is_loopback(address.host):
            self._mailbox = MailBoxUnencrypted(**place)
        else:
            self._mailbox = MailBoxStartTls(**place, ssl_context=ssl.create_default_context())
        self.client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._log_in(access_token)
        # The server may offer more after the login.
        _, offered = self.client.capability()
        words = offered[-1].decode("ascii", "replace").upper().split() if offered and offered[-1] else []
        self._capabilities = frozenset(words)
        self._separator, self._prefix = self._layout()
        self.select()

    @property
    def client(self) -> IMAP4:
        assert self._mailbox
        return self._mailbox.client

    def _log_in(self, access_token: str) -> None:
        assert self._mailbox
        user, password = self._address.user, self._address.password
        try:
            if access_token:
                self._mailbox.xoauth2(user, access_token, initial_folder=None)
            elif (user + password).isascii():
                self._mailbox.login(user, password, initial_folder=None)
            else:
                self._mailbox.login_utf8(user, password, initial_folder=None)
        except (IMAP4.abort, OSError):
            raise
        except (IMAP4.error, MailboxLoginError) as error:
            code = _response_code(error)
            # A server that is out of order says so by a code (RFC 5530); all other refusals are about the login.
            lasting = code not in ("UNAVAILABLE", "INUSE", "SERVERBUG", "LIMIT")
            raise MailboxProblem(
                f"{self._address.host} refused the login{_in_brackets(code)}; check the user and the password in "
                "[inbox] imap, or the oauth settings",
                lasting=lasting,
            ) from None

    def _layout(self) -> tuple[str, str]:
        """Return the separator of folder names, and the prefix of personal folders (RFC 2342)."""
        if "NAMESPACE" in self._capabilities:
            _, data = self.client.namespace()
            answer = data[0] if data and isinstance(data[0], bytes) else b""
            if match := re.match(rb'\(\("([^"]*)" (?:"(.+?)"|NIL)', answer):
                separator = (match[2] or b"").removeprefix(b"\\").decode("ascii", "replace")
                return separator, match[1].decode("ascii", "replace")
        assert self._mailbox
        listed = self._mailbox.folder.list("", "")
        separator = listed[0].delim if listed else "/"
        return ("" if separator == "NIL" else separator), ""

    def select(self) -> None:
        """Select the folder, and note its UIDVALIDITY. Raises MailboxProblem."""
        assert self._mailbox
        with _reported(self._address):
            try:
                self._mailbox.folder.set(self._address.folder)
            except MailboxFolderSelectError:
                raise MailboxProblem(
                    f"{self._address.host} has no folder '{self._address.folder}' that can be read; name another "
                    "after the host in [inbox] imap",
                    lasting=True,
                ) from None
            self._was_told_of_news()
            _, validity = self.client.response("UIDVALIDITY")
            self.uid_validity = validity[-1].decode("ascii", "replace") if validity and validity[-1] else "0"

    def new_messages(self) -> list[str]:
        """Return the UIDs of all messages that are not marked as deleted, the oldest first."""
        with _reported(self._address):
            data = _checked(self.client.uid("SEARCH", "UNDELETED"), "SEARCH")
            return sorted(
                b" ".join(part for part in data if part).decode("ascii", "replace").split(), key=int
            )

    def fetch(self, uids: Sequence[str], *, most: int) -> Iterator[list[NewMessage]]:
        """Yield the messages that are still there, some at a time, each with at most its first `most` octets."""
        with _reported(self._address):
            sizes = self._sizes(uids) if uids else {}
            small: list[str] = []
            for uid in uids:
                size = sizes.get(uid)
                if size is None:
                    continue
                if size > _SMALL:
                    if content := self._fetch_in_pieces(uid, most):
                        yield [NewMessage(uid, content)]
                    continue
                if sum(sizes[other] for other in small) + size > _TOGETHER:
                    yield self._fetch_together(small)
                    small = []
                small.append(uid)
            if small:
                yield self._fetch_together(small)

    def _sizes(self, uids: Sequence[str]) -> Mapping[str, int]:
        data = _checked(self.client.uid("FETCH", ",".join(uids), "(UID RFC822.SIZE)"), "FETCH")
        sizes = {}
        for line in data:
            text = line if isinstance(line, bytes) else b""
            uid, size = re.search(rb"UID (\d+)", text), re.search(rb"RFC822\.SIZE (\d+)", text)
            if uid and size:
                sizes[uid[1].decode()] = int(size[1])
        return sizes

    def _fetch_together(self, uids: Sequence[str]) -> list[NewMessage]:
        # A server may be wrong about a size: never more than a piece of each.
        items = f"(UID BODY.PEEK[]<0.{PIECE}>)"
        data = _checked(self.client.uid("FETCH", ",".join(uids), items), "FETCH")
        contents: dict[str, bytes] = {}
        for head, content, tail in _literals(data):
            if uid := re.search(rb"UID (\d+)", head + b" " + tail):
                contents[uid[1].decode()] = content
        return [NewMessage(uid, contents[uid]) for uid in uids if uid in contents]

    def _fetch_in_pieces(self, uid: str, most: int) -> bytes:
        pieces: list[bytes] = []
        got = 0
        while got < most:
            step = min(PIECE, most - got)
            data = _checked(self.client.uid("FETCH", uid, f"(UID BODY.PEEK[]<{got}.{step}>)"), "FETCH")
            piece = next((content for _, content, _ in _literals(data)), b"")[:step]
            pieces.append(piece)
            got += len(piece)
            if len(piece) < step:
                break
        return b"".join(pieces)

    def file_away(self, uids: Sequence[str], *, for_review: bool) -> None:
        """Move messages to the folder of those that are dealt with, or of those that a convenor has to read.

        Without MOVE (RFC 6851) they are copied and marked as deleted, and without UIDPLUS they stay so marked.
        """
        if not uids:
            return
        with _reported(self._address):
            folder = self._folder(REVIEW if for_review else DONE)
            chosen = ",".join(uids)
            command = "MOVE" if "MOVE" in self._capabilities else "COPY"
            if self.client.uid(command, chosen, folder)[0] != "OK":
                # It is not there, or somebody has renamed it.
                self._create(folder)
                status, data = self.client.uid(command, chosen, folder)
                if status != "OK":
                    code = _in_brackets(_response_code(str(data)))
                    raise MailboxProblem(
                        f"{self._address.host} does not let messages be moved to the folder {folder}{code}; check "
                        "its rights and how full the mailbox is"
                    )
            if command == "COPY":
                _checked(self.client.uid("STORE", chosen, "+FLAGS.SILENT", r"(\Deleted)"), "STORE")
                if "UIDPLUS" in self._capabilities:
                    _checked(self.client.uid("EXPUNGE", chosen), "EXPUNGE")

    def _folder(self, name: str) -> str:
        path = f"{PARENT}{self._separator}{name}" if self._separator else f"{PARENT} {name}"
        return f'"{self._prefix}{path}"'

    def _create(self, folder: str) -> None:
        parent = f'"{self._prefix}{PARENT}"'
        for name in [parent, folder] if self._separator else [folder]:
            # One of them may exist; whether the message can be moved then tells.
            if self.client.create(name)[0] == "OK":
                self.client.subscribe(name)

    def wait(self, stop: threading.Event, *, seconds: float = WAIT_SECONDS) -> None:
        """Wait until the folder may have new messages, `seconds` are over, or `stop` is set."""
        if "IDLE" not in self._capabilities:
            stop.wait(seconds)
            return
        ends = time.monotonic() + seconds
        # What came while other commands ran is reported as soon as IDLE begins, where imap-tools may not see it.
        cycle = 1.0
        with _reported(self._address):
            while not self._was_told_of_news() and not stop.is_set() and time.monotonic() < ends:
                if self._idle(stop, until=min(ends, time.monotonic() + cycle)):
                    return
                cycle = IDLE_SECONDS

    def _idle(self, stop: threading.Event, *, until: float) -> bool:
        """Wait in IDLE; return whether the server said anything."""
        assert self._mailbox
        told = False
        self._mailbox.idle.start()  # type: ignore[no-untyped-call]
        while not told and not stop.is_set() and (left := until - time.monotonic()) > 0:
            began = time.monotonic()
            told = bool(self._mailbox.idle.poll(timeout=min(1.0, left)))
            # imap-tools returns early and empty where the connection has ended; leaving IDLE then fails.
            if time.monotonic() - began < min(0.5, left / 2):
                break
        self._mailbox.idle.stop()  # type: ignore[no-untyped-call]
        return told

    def _was_told_of_news(self) -> bool:
        """Return whether the server has reported a new message since this was asked last."""
        _, data = self.client.response("EXISTS")
        return bool(data and data[0])

    def close(self) -> None:
        """Log out if that is quick, and close the connection. Never raises."""
        if self._mailbox is None or self._closed:
            return
        self._closed = True
        with suppress(Exception):
            self.client.sock.settimeout(2)
            self._mailbox.logout()
        self.abort()

    def abort(self) -> None:
        """Close the connection at once; a call that waits in another thread then fails."""
        with suppress(Exception):
            self.client.sock.shutdown(socket.SHUT_RDWR)
        with suppress(Exception):
            self.client.shutdown()


@contextmanager
def _reported(address: ImapAddress) -> Iterator[None]:
    """Raise what goes wrong as a MailboxProblem in our own words: the server's may repeat the login or an address."""
    try:
        yield
    except MailboxProblem:
        raise
    except ssl.SSLCertVerificationError as error:
        raise MailboxProblem(
            f"the certificate of {address.host} is not accepted: {error.verify_message}; name the host as its "
            "certificate does",
            lasting=True,
        ) from None
    except socket.gaierror:
        raise MailboxProblem(f"{address.host} is not known to the DNS; check [inbox] imap") from None
    except TimeoutError:
        raise MailboxProblem(f"{address.host} port {address.port} does not answer") from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise MailboxProblem(f"{address.host} port {address.port} cannot be reached: {reason}") from None
    except IMAP4.abort:
        raise MailboxProblem(f"{address.host} has closed the connection") from None
    except (IMAP4.error, ImapToolsError, ValueError, AttributeError, IndexError, TypeError) as error:
        # imaplib fails in all these ways on answers that make no sense.
        code = _in_brackets(_response_code(error))
        raise MailboxProblem(f"{address.host} gave an answer that was not expected{code}") from None


def _response_code(error: Exception | str) -> str:
    """Return the response code in a server's refusal, such as AUTHENTICATIONFAILED (RFC 5530)."""
    match = re.search(r"\[([A-Z][A-Z-]{2,30})\]", str(error))
    return match[1] if match else ""


def _in_brackets(code: str) -> str:
    return f" [{code}]" if code else ""


def _checked(result: tuple[str, Any], command: str) -> list[Any]:
    status, data = result
    if status != "OK":
        raise IMAP4.error(f"{command} was refused")
    return list(data)


def _literals(data: Sequence[Any]) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Yield each literal of an answer with the text before and after it."""
    for number, item in enumerate(data):
        if isinstance(item, tuple) and len(item) >= 2:
            following = data[number + 1] if number + 1 < len(data) else b""
            yield item[0], item[1], following if isinstance(following, bytes) else b""
