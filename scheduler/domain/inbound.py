"""A message that comes in, read within bounds: whoever wrote it, it costs little and breaks nothing."""

import re
from binascii import a2b_base64, a2b_qp
from collections.abc import Iterator
from contextlib import suppress
from email.errors import MessageError
from email.header import decode_header, make_header
from email.message import Message
from email.parser import BytesParser
from email.policy import Compat32
from email.utils import parseaddr
from html import unescape
from itertools import islice
from urllib.parse import unquote

from scheduler.domain.errors import Refused

LARGEST = 2 * 1024 * 1024
"""Octets of a message that are read; an answer or a bounce is much smaller."""

MOST_PARTS = 200
MOST_HEADER_LINES = 2_000
_LONGEST_HEADER = 8_192
_LONGEST_TEXT = 256 * 1024
# Each part that holds others needs one of these words; each part a line that begins with two hyphens; each block of
# a delivery status an empty line. So what the parser would have to do is known before it begins.
_BOUNDS = (
    ("levels", re.compile(rb"boundary|message\s*/", re.IGNORECASE), 60),
    ("parts", re.compile(rb"(?:^|[\r\n])--"), 2_000),
    ("paragraphs", re.compile(rb"\n\r?\n|\r\r"), 20_000),
)
_HEAD = re.compile(rb"\n\r?\n")
# The library takes these parts for messages, and then leaves their base64 or quoted-printable as it is.
_REPORT_PART = re.compile(
    rb"^(content-type:\s*)message/(?:global-)?(delivery-status|feedback-report)", re.IGNORECASE | re.MULTILINE
)
STATUS_TYPE = "text/x-delivery-status"
COMPLAINT_TYPE = "text/x-feedback-report"
_AUTOMATIC = (
    "x-autoreply",
    "x-autorespond",
    "x-autoreply-from",
    "x-auto-reply",
    "x-mail-autoreply",
    "x-vacation",
)
_IMPERSONAL = ("bulk", "junk", "list", "auto_reply")
_ENCLOSED = ("message/rfc822", "message/global", "text/rfc822-headers", "message/global-headers")


class _Bounded(Compat32):
    """Headers are cut where no real one is as long: reading their parameters takes the square of their length."""

    def header_source_parse(self, sourcelines: list[str]) -> tuple[str, str]:
        name, value = super().header_source_parse(sourcelines)
        return name[:200], value[:_LONGEST_HEADER]


def read_message(octets: bytes) -> Message:
    """The message, of which at most LARGEST octets are read. Raises Refused where it is built to be dear to read.

    Delivery statuses and feedback reports become parts of STATUS_TYPE and COMPLAINT_TYPE, whose text can be decoded.
    """
    octets = octets[:LARGEST]
    for what, pattern, most in _BOUNDS:
        if sum(1 for _ in islice(pattern.finditer(octets), most + 1)) > most:
            raise Refused(f"it has more than {most} {what}")
    if _HEAD.split(octets, 1)[0].count(b"\n") > MOST_HEADER_LINES:
        raise Refused(f"it has more than {MOST_HEADER_LINES} lines of headers")
    try:
        return BytesParser(policy=_Bounded()).parsebytes(_REPORT_PART.sub(rb"\1text/x-\2", octets))
    except (MessageError, ValueError, LookupError, RecursionError, AssertionError) as error:
        raise Refused(f"it cannot be read as a message ({type(error).__name__})") from None


def field(message: Message, *names: str) -> str:
    """The values of all headers of these names, as they are written, in the order of the names."""
    return "\n".join(str(value) for name in names for value in message.get_all(name, []))


def parts(message: Message) -> Iterator[Message]:
    """All parts, enclosed messages and theirs too, at most MOST_PARTS of them."""
    return islice(message.walk(), MOST_PARTS)


def own_parts(message: Message) -> list[Message]:
    """All parts but those of the messages that this one encloses."""
    found: list[Message] = []
    open_parts = [message]
    while open_parts and len(found) < MOST_PARTS:
        part = open_parts.pop()
        found.append(part)
        if part is message or part.get_content_maintype() != "message":
            open_parts += reversed(inner_messages(part))
    return found


def inner_messages(part: Message) -> list[Message]:
    """The messages or blocks of headers that a part holds; none where it is a leaf."""
    found = part.get_payload()
    return [one for one in found if isinstance(one, Message)] if isinstance(found, list) else []


def octets_of(part: Message) -> bytes:
    """What a part holds, its transfer encoding undone as far as it can be, cut at a length that no honest one has."""
    try:
        found = part.get_payload(decode=True)
    except (ValueError, LookupError, MessageError):
        return b""
    return found[:_LONGEST_TEXT] if isinstance(found, bytes) else b""


def text_of(part: Message) -> str:
    """The same as text, by the part's own charset where it names one that is known, otherwise as UTF-8."""
    octets = octets_of(part)
    charset = str(part.get_content_charset() or "utf-8")
    try:
        return octets.decode(charset, errors="replace")
    except (LookupError, ValueError):
        return octets.decode(errors="replace")


_HTML_BREAK = re.compile(r"<(?:br|/?(?:p|div|tr|li|h[1-6]|table|blockquote|pre|hr))\b[^<>]*>", re.IGNORECASE)
_HTML_TAG = re.compile(r"<[^<>]*>")


def shown_text(part: Message) -> str:
    """What a reader sees of a text part: HTML without its tags, each block on lines of its own."""
    text = text_of(part)
    if part.get_content_subtype() != "html":
        return text
    for tag in ("style", "script", "head"):
        text = _without_element(text, tag)
    return unescape(_HTML_TAG.sub("", _HTML_BREAK.sub("\n", text)))


def _without_element(text: str, tag: str) -> str:
    lower, kept, at = text.lower(), [], 0
    while (begins := lower.find(f"<{tag}", at)) >= 0 and (ends := lower.find(f"</{tag}", begins)) >= 0:
        kept.append(text[at:begins])
        at = ends
    return "".join([*kept, text[at:]])


def printable(text: str) -> str:
    """`text` on one line, with a space for what cannot be shown, or kept in a database."""
    return "".join(char if char.isprintable() else " " for char in text)


def subject(message: Message) -> str:
    """The subject as a person reads it, on one line."""
    return printable(_decoded(field(message, "subject")[:500])).strip()


def _decoded(value: str) -> str:
    """A header with its encoded words undone (RFC 2047)."""
    with suppress(MessageError, ValueError, LookupError):
        return str(make_header(decode_header(value)))
    return value


_DEEPEST = 3
_MOST_PARTS_SEARCHED = 2_000


def senders(octets: bytes) -> str:
    """Who a message says that it is from, names and addresses, as a person reads them."""
    try:
        message = read_message(octets)
    except Refused:
        return ""
    return _decoded(field(message, "from", "sender", "reply-to", "return-path")[:_LONGEST_HEADER])


def readable(octets: bytes, *, depth: int = 0) -> str:
    """All that a message says, to be searched: headers and texts with every encoding undone, and its own octets."""
    found = [octets.decode(errors="replace")]
    try:
        message = read_message(octets)
    except Refused:
        return found[0]
    for part in islice(message.walk(), _MOST_PARTS_SEARCHED):
        for value in part.values():
            plain = _decoded(str(value))
            found += [plain, unquote(plain)] if "%" in plain else [plain]
        inner = inner_messages(part)
        encoding = field(part, "content-transfer-encoding").strip().lower()
        if not inner:
            text = text_of(part)
            found.append(text)
            if part.get_content_subtype() == "html":
                found.append(shown_text(part))
            if "%" in text:
                found.append(unquote(text))
        elif encoding in ("base64", "quoted-printable") and depth < _DEEPEST:
            # The library takes what is encoded for the enclosed message itself.
            undo = a2b_base64 if encoding == "base64" else a2b_qp
            with suppress(ValueError):
                found += [readable(undo(one.as_bytes()), depth=depth + 1) for one in inner]
    return "\n".join(found)


def is_automatic(message: Message) -> bool:
    """Whether no person wrote it: an absence note, a receipt, another list's mail (RFC 3834 section 5)."""
    submitted = field(message, "auto-submitted").strip().lower()
    if submitted and not submitted.startswith("no"):
        return True
    if field(message, "precedence").strip().lower() in _IMPERSONAL:
        return True
    if any(name in message for name in _AUTOMATIC):
        return True
    return message.get_content_type() == "multipart/report" and _report_type(message).startswith(
        "disposition"
    )


_DAEMON = re.compile(
    r"(?:mailer|mail)[-_.]?daemon|post-?master|mdaemon|mail[-_.]?admin(?:istrator)?|mail[-_.]?delivery(?:[-_.]?system)?"
    r"|system[-_.]?administrator|bounces?|double-bounce|microsoftexchange[\da-f]+",
    re.IGNORECASE,
)
_DAEMON_NAME = re.compile(
    r"mail delivery (?:sub)?system|mailer[- ]daemon|post-?master|(?:system|mail) administrator", re.IGNORECASE
)
_SENDERS = ("return-path", "x-envelope-from", "envelope-from")
_NOBODY = ("<>", "<mailer-daemon>", "mailer-daemon")


def is_by_mail_system(message: Message) -> bool:
    """Whether a mail system wrote it of a mail that it had: a report, or mail from a mailer-daemon or postmaster."""
    name, address = parseaddr(field(message, "from"))
    return (
        message.get_content_type() == "multipart/report"
        or "x-failed-recipients" in message
        or "x-ms-exchange-message-is-ndr" in message
        or bool(_DAEMON.fullmatch(address.partition("@")[0]) or _DAEMON_NAME.search(name or address))
    )


def has_empty_return_path(message: Message) -> bool:
    """Whether the envelope names no sender, as that of bounces does (RFC 5321 section 4.5.5), by what was written above
    the message when it was delivered."""
    senders = [str(value).strip().lower() for name in _SENDERS for value in message.get_all(name, [])[:1]]
    mailbox_line = str(message.get_unixfrom() or "").split()[1:2]
    return any(one in _NOBODY for one in [*senders, *(one.lower() for one in mailbox_line)])


def _report_type(message: Message) -> str:
    return str(message.get_param("report-type", "")).lower()


def enclosed_headers(message: Message) -> str:
    """All headers of the messages that this one encloses, whole or by their headers alone, as text."""
    found: list[str] = []
    for part in parts(message):
        if part.get_content_type() in _ENCLOSED:
            inner = inner_messages(part)
            found += [f"{name}: {value}" for one in inner for name, value in one.items()] or [text_of(part)]
    # A header may go on in the next line, and a token with it.
    return re.sub(r"\r?\n[ \t]+", "", "\n".join(found))[:_LONGEST_TEXT]
