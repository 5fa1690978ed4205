"""A calendar ready to be sent: whole, packed, or not at all where the program has it (RFC 9110 section 13)."""

import gzip
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from hashlib import sha256

from starlette.datastructures import MutableHeaders
from starlette.types import Scope, Send

from scheduler.web.guarding import harden

PUBLIC = {"Cache-Control": "public, max-age=300", "Cross-Origin-Resource-Policy": "cross-origin"}

_NONE_OF_IT = re.compile(r"0(\.0*)?")
_DECISIONS_KEPT = 256


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, ready to be sent."""

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    content: bytes


@dataclass(frozen=True, slots=True)
class Validators:
    """By what a program tells whether it has the calendar already; `changed_at` is to the second."""

    digest: str
    changed_at: datetime

    @classmethod
    def of(cls, content: bytes, changed_at: datetime) -> "Validators":
        return cls(sha256(content).hexdigest()[:32], changed_at.astimezone(UTC).replace(microsecond=0))

    def tag(self, coding: str) -> str:
        return f'"{self.digest}-gzip"' if coding == "gzip" else f'"{self.digest}"'

    def know(self, none_match: str, modified_since: str) -> bool:
        """Whether these conditions say that the program has it (section 13.2.2)."""
        if none_match:
            given = {tag.strip().removeprefix("W/") for tag in none_match.split(",")}
            return "*" in given or not given.isdisjoint((self.tag("identity"), self.tag("gzip")))
        try:
            since = parsedate_to_datetime(modified_since)
            return self.changed_at <= (since if since.tzinfo else since.replace(tzinfo=UTC))
        except (ValueError, TypeError):
            return False

    def headers(self, coding: str) -> dict[str, str]:
        return {
            "ETag": self.tag(coding), "Last-Modified": format_datetime(self.changed_at, usegmt=True),
            "Vary": "Accept-Encoding",
        }  # fmt: skip


def conditions(raw: Iterable[tuple[bytes, bytes]]) -> tuple[bytes, bytes, bytes]:
    """If-None-Match, If-Modified-Since and Accept-Encoding of a request's headers."""
    none_match = modified_since = encoding = b""
    for name, value in raw:
        if name == b"if-none-match":
            none_match = none_match + b"," + value if none_match else value
        elif name == b"accept-encoding":
            encoding = encoding + b"," + value if encoding else value
        elif name == b"if-modified-since":
            modified_since = value
    return none_match, modified_since, encoding


def takes_gzip(accept_encoding: str) -> bool:
    for offer in accept_encoding.split(","):
        coding, _, quality = offer.replace(" ", "").lower().partition(";q=")
        if coding in ("gzip", "x-gzip"):
            return not _NONE_OF_IT.fullmatch(quality)
    return False


class Ready:
    """A calendar in each form in which it may be sent, made once and given out many times.

    `route` is the pattern under which it is counted. `headers` are those that it has beside its own; the rest comes
    from the hardening of every answer.
    """

    def __init__(
        self, content: bytes, validators: Validators, *,
        route: str, filename: str, headers: Mapping[str, str], https: bool,
    ) -> None:  # fmt: skip
        self.route = route
        self.validators = validators
        packed = gzip.compress(content, mtime=0)  # no time inside: the same calendar has the same bytes
        self._replies: dict[tuple[int, str], Reply] = {}
        for coding, octets in (("identity", content), ("gzip", packed)):
            common = {**validators.headers(coding), **headers}
            self._replies[304, coding] = _reply(304, common, b"", https=https)
            whole = {
                **common,
                "Content-Type": "text/calendar; charset=utf-8",
                "Content-Disposition": f'inline; filename="{filename}"',
                "Content-Length": str(len(octets)),
            }
            if coding == "gzip":
                whole["Content-Encoding"] = "gzip"
            self._replies[200, coding] = _reply(200, whole, octets, https=https)
        self._decided: dict[tuple[bytes, bytes, bytes], Reply] = {}

    def reply(self, raw: Iterable[tuple[bytes, bytes]]) -> Reply:
        """The answer to a request with these headers; what was decided once for the same is not decided again."""
        asked = conditions(raw)
        if (found := self._decided.get(asked)) is None:
            none_match, modified_since, encoding = (value.decode("latin-1") for value in asked)
            status = 304 if self.validators.know(none_match, modified_since) else 200
            found = self._replies[status, "gzip" if takes_gzip(encoding) else "identity"]
            if len(self._decided) >= _DECISIONS_KEPT:
                self._decided.clear()
            self._decided[asked] = found
        return found


def _reply(status: int, headers: Mapping[str, str], content: bytes, *, https: bool) -> Reply:
    found = MutableHeaders(headers)
    harden(found, https=https)
    return Reply(status, tuple(found.raw), content)


async def send_reply(
    scope: Scope, send: Send, status: int, headers: Sequence[tuple[bytes, bytes]], content: bytes
) -> None:
    """Send an answer that is ready; to HEAD without its content."""
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": content if scope["method"] == "GET" else b""})
