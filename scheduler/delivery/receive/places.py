"""Where mail comes in: the settings for a mailbox and for LMTP, read without loading what they need."""

from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from scheduler.domain.address import is_loopback
from scheduler.domain.errors import SettingsProblem


@dataclass(frozen=True, slots=True, kw_only=True)
class ImapAddress:
    """A folder of a mailbox on a server. Neither `repr` nor `str` shows the password."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    tls: bool
    folder: str

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'imaps' if self.tls else 'imap'}://{host}:{self.port}/{self.folder}"


def parse_imap(text: str) -> ImapAddress:
    """Read `imaps://USER:PASSWORD@HOST[:PORT]/FOLDER`, or `imap://…`, which encrypts too except on this machine.

    User, password and folder are percent-decoded. Raises SettingsProblem; its message repeats no part of `text`.
    """
    try:
        parts = urlsplit(text.strip())
        port = parts.port
        user, password = (unquote(part or "", errors="strict") for part in (parts.username, parts.password))
        folder = unquote(parts.path.removeprefix("/"), errors="strict") or "INBOX"
    except ValueError:
        raise _invalid("the user, the password or the port cannot be read") from None
    if parts.scheme not in ("imap", "imaps"):
        raise _invalid("the scheme is not known")
    if not parts.hostname or not user:
        raise _invalid("the user or the host is missing")
    if parts.query or parts.fragment:
        raise _invalid("a ?, # or / in the password must be percent-encoded")
    if not (user + password + folder).isprintable():
        raise _invalid("it contains a control character")
    tls = parts.scheme == "imaps"
    return ImapAddress(
        host=parts.hostname,
        port=port or (993 if tls else 143),
        user=user,
        password=password,
        tls=tls,
        folder=folder,
    )


def _invalid(reason: str) -> SettingsProblem:
    return SettingsProblem(f"inbox.imap: {reason}; accepted is imaps://USER:PASSWORD@HOST/INBOX")


def require_lmtp(text: str) -> str:
    """Check `HOST:PORT` or `unix:PATH`. Raises SettingsProblem."""
    if text.startswith("unix:"):
        if not text.removeprefix("unix:") or not text.isprintable():
            raise SettingsProblem("inbox.lmtp: the path of the socket is missing")
        return text
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise SettingsProblem("inbox.lmtp: is neither HOST:PORT nor unix:PATH")
    return text


def is_local(text: str) -> bool:
    """Return whether only programs on this machine can reach that address."""
    return text.startswith("unix:") or is_loopback(text.rpartition(":")[0].strip("[]"))
