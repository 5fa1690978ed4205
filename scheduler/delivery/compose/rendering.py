"""The rendering of a cohort: its finished message with marks in place of a member's own values, kept to show a mail as
it was sent."""

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage

from markupsafe import escape

from scheduler.delivery.compose.composer import CohortMessage, RecipientValues
from scheduler.delivery.compose.mime import nameless

_NAME = "Recipient0c5f1e8d4b7a49f2"
_ADDRESS = "recipient0c5f1e8d4b7a49f2@example.org"
_SECRET = "hidden0c5f1e8d4b7a49f2"  # noqa: S105 - a mark in place of a token
# Equal messages must have equal bytes in every process, whenever they are sent.
_DATE = datetime(1970, 1, 1, tzinfo=UTC)

HIDDEN = "…"
"""What is shown in place of a member's secret token."""

_TOKENS = re.compile(rf"{_SECRET}[0-9A-Za-z]*")
_LANGUAGE = re.compile(r'<html lang="([\w-]+)"')
_SECRET_LINK = re.compile(rf'\shref="[^"]*{_SECRET}[^"]*"')


def render(message: CohortMessage, personal: RecipientValues) -> bytes:
    """Return the message as members like this one get it, compressed, without any value of their own."""
    marked = personal._replace(
        member=0,
        name=_NAME,
        address=_ADDRESS,
        message=b"0" * len(personal.message),
        tokens=tuple((_SECRET * len(token))[: len(token)].encode() for token in personal.tokens),
        invited=b"",
        uid=b"0" * len(personal.uid),
    )
    # The signature, in the first piece, is that of the marks.
    return zlib.compress(b"".join(message.pieces(marked, date=_DATE)[1:]), 9)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownMail:
    """A mail as it was sent, to show it to somebody else: without the member's tokens.

    `html` has no links with a token. `calendar` is the iCalendar object, or empty.
    """

    sender: str
    subject: str
    text: str
    html: str
    calendar: str


def show(rendering: bytes, *, name: str, address: str) -> ShownMail:
    """Return the mail of a rendering, with a member's name and address."""
    message = message_from_bytes(zlib.decompress(rendering), _class=EmailMessage, policy=policy.default)
    parts = {
        part.get_content_type(): _text(part)
        for part in message.walk()
        if not part.is_multipart() and not part.is_attachment()
    }
    html = _SECRET_LINK.sub("", parts.get("text/html", ""))
    language = _LANGUAGE.search(html)
    plain = {_NAME: name or nameless(language[1] if language else "en"), _ADDRESS: address}
    return ShownMail(
        sender=str(message["From"] or ""),
        subject=_filled(str(message["Subject"] or ""), plain),
        text=_filled(parts.get("text/plain", ""), plain),
        html=_filled(html, {mark: str(escape(value)) for mark, value in plain.items()}),
        calendar=_TOKENS.sub(HIDDEN, parts.get("text/calendar", "")),
    )


def _text(part: EmailMessage) -> str:
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload.decode().replace("\r\n", "\n")


def _filled(text: str, values: Mapping[str, str]) -> str:
    for mark, value in values.items():
        text = text.replace(mark, value)
    return _TOKENS.sub(HIDDEN, text)
