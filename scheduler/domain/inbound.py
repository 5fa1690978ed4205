"""Read an incoming message within limits, so that no message is expensive to read or can cause a failure."""

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
"""The number of octets of a message that are read; an answer or a bounce is much smaller."""

MOST_PARTS = 200
MOST_HEADER_LINES = 2_000
_LONGEST_HEADER = 8_192
_LONGEST_TEXT = 256 * 1024
# A part that contains others needs one of these words; each part needs a line that begins with two hyphens; each block
# of a delivery status needs an empty line. So the parser's work can be estimated before it begins.
_BOUNDS = (
    ("levels", re.compile(rb"boundary|message\s*/", re.IGNORECASE), 60),
    ("parts", re.compile(rb"(?:^|[\r\n])--"), 2_000),
    ("paragraphs", re.compile(rb"\n\r?\n|\r\r"), 20_000),
)
_HEAD = re.compile(rb"\n\r?\n")
# The library treats these parts as messages, and then does not decode their base64 or quoted-printable.
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
    """Cut headers that are longer than any real one: the time to parse parameters is quadratic in their length."""

    def header_source_parse(self, sourcelines: list[str]) -> tuple[str, str]:
        name, value = super().header_source_parse(sourcelines)
        return name[:200], value[:_LONGEST_HEADER]


def read_message(octets: bytes) -> Message:
    """Return the message; octets beyond the first LARGEST are not read.

    Delivery statuses and feedback reports become parts of STATUS_TYPE and COMPLAINT_TYPE, whose text can be decoded.
    Raises Refused for a message that would be too expensive to read or cannot be parsed.
    """
    octets = octets[:LARGEST]
    for unit, pattern, most in _BOUNDS:
        if sum(1 for _ in islice(pattern.finditer(octets), most + 1)) > most:
            raise Refused(f"it has more than {most} {unit}")
    if _HEAD.split(octets, 1)[0].count(b"\n") > MOST_HEADER_LINES:
        raise Refused(f"it has more than {MOST_HEADER_LINES} lines of headers")
    try:
        return BytesParser(policy=_Bounded()).parsebytes(_REPORT_PART.sub(rb"\1text/x-\2", octets))
    except (MessageError, ValueError, LookupError, RecursionError, AssertionError) as error:
        raise Refused(f"it cannot be read as a message ({type(error).__name__})") from None


def field(message: Message, *names: str) -> str:
    """Return the raw values of all headers with these names, in the order of the names, one on each line."""
    return "\n".join(str(value) for name in names for value in message.get_all(name, []))


def parts(message: Message) -> Iterator[Message]:
    """Return all parts, including enclosed messages and their parts, at most MOST_PARTS."""
    return islice(message.walk(), MOST_PARTS)


def own_parts(message: Message) -> list[Message]:
    """Return all parts except those of enclosed messages."""
    own: list[Message] = []
    unvisited = [message]
    while unvisited and len(own) < MOST_PARTS:
        part = unvisited.pop()
        own.append(part)
        if part is message or part.get_content_maintype() != "message":
            unvisited += reversed(inner_messages(part))
    return own


def inner_messages(part: Message) -> list[Message]:
    """Return the parts, messages or blocks of headers inside a part; none if it is a leaf."""
    payload = part.get_payload()
    return [inner for inner in payload if isinstance(inner, Message)] if isinstance(payload, list) else []


def octets_of(part: Message) -> bytes:
    """Return the content of a part, decoded as far as possible and cut at a length that no genuine one has."""
    try:
        payload = part.get_payload(decode=True)
    except (ValueError, LookupError, MessageError):
        return b""
    return payload[:_LONGEST_TEXT] if isinstance(payload, bytes) else b""


def text_of(part: Message) -> str:
    """Return the content of a part as text, in its own charset if that is known, otherwise in UTF-8."""
    octets = octets_of(part)
    charset = str(part.get_content_charset() or "utf-8")
    try:
        return octets.decode(charset, errors="replace")
    except (LookupError, ValueError):
        return octets.decode(errors="replace")


_HTML_BREAK = re.compile(r"<(?:br|/?(?:p|div|tr|li|h[1-6]|table|blockquote|pre|hr))\b[^<>]*>", re.IGNORECASE)
_HTML_TAG = re.compile(r"<[^<>]*>")


def shown_text(part: Message) -> str:
    """Return what a reader sees of a text part: HTML without tags, each block on its own lines."""
    text = text_of(part)
    if part.get_content_subtype() != "html":
        return text
    for tag in ("style", "script", "head"):
        text = _without_element(text, tag)
    return unescape(_HTML_TAG.sub("", _HTML_BREAK.sub("\n", text)))


def _without_element(text: str, tag: str) -> str:
    lower, pieces, position = text.lower(), [], 0
    while (begins := lower.find(f"<{tag}", position)) >= 0 and (ends := lower.find(f"</{tag}", begins)) >= 0:
        pieces.append(text[position:begins])
        position = ends
    return "".join([*pieces, text[position:]])


def printable(text: str) -> str:
    """Return `text` on one line, with spaces for characters that cannot be shown or stored in a database."""
    return "".join(char if char.isprintable() else " " for char in text)


def subject(message: Message) -> str:
    """Return the decoded subject on one line."""
    return printable(decoded(field(message, "subject")[:500])).strip()


def decoded(value: str) -> str:
    """Return a header with its encoded words decoded (RFC 2047)."""
    with suppress(MessageError, ValueError, LookupError):
        return str(make_header(decode_header(value)))
    return value


_DEEPEST = 3
_MOST_PARTS_SEARCHED = 2_000


def senders(octets: bytes) -> str:
    """Return the decoded names and addresses that a message names as its sender."""
    try:
        message = read_message(octets)
    except Refused:
        return ""
    return decoded(field(message, "from", "sender", "reply-to", "return-path")[:_LONGEST_HEADER])


def readable(octets: bytes, *, depth: int = 0) -> str:
    """Return everything in a message, for searching: headers and texts fully decoded, and its raw octets."""
    texts = [octets.decode(errors="replace")]
    try:
        message = read_message(octets)
    except Refused:
        return texts[0]
    for part in islice(message.walk(), _MOST_PARTS_SEARCHED):
        for value in part.values():
            plain = decoded(str(value))
            texts += [plain, unquote(plain)] if "%" in plain else [plain]
        inner = inner_messages(part)
        encoding = field(part, "content-transfer-encoding").strip().lower()
        if not inner:
            text = text_of(part)
            texts.append(text)
            if part.get_content_subtype() == "html":
                texts.append(shown_text(part))
            if "%" in text:
                texts.append(unquote(text))
        elif encoding in ("base64", "quoted-printable") and depth < _DEEPEST:
            # The library parses the encoded text as if it were the enclosed message.
            decode = a2b_base64 if encoding == "base64" else a2b_qp
            with suppress(ValueError):
                texts += [readable(decode(message.as_bytes()), depth=depth + 1) for message in inner]
    return "\n".join(texts)


def is_automatic(message: Message) -> bool:
    """Return whether a program wrote it: an absence note, a receipt, mail of another list (RFC 3834 section 5)."""
    submitted = field(message, "auto-submitted").strip().lower()
    if submitted and not submitted.startswith("no"):
        return True
    if field(message, "precedence").strip().lower() in _IMPERSONAL:
        return True
    return any(name in message for name in _AUTOMATIC) or is_read_receipt(message)


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
    """Return whether a mail system wrote it: a report, or mail from a mailer-daemon or postmaster."""
    name, address = parseaddr(field(message, "from"))
    return (
        message.get_content_type() == "multipart/report"
        or "x-failed-recipients" in message
        or "x-ms-exchange-message-is-ndr" in message
        or bool(_DAEMON.fullmatch(address.partition("@")[0]) or _DAEMON_NAME.search(name or address))
    )


def has_empty_return_path(message: Message) -> bool:
    """Return whether the envelope has an empty sender, like that of a bounce (RFC 5321 section 4.5.5).

    The mail server wrote the sender above the message when it delivered it.
    """
    senders = [str(value).strip().lower() for name in _SENDERS for value in message.get_all(name, [])[:1]]
    mailbox_line = str(message.get_unixfrom() or "").split()[1:2]
    return any(sender in _NOBODY for sender in [*senders, *(word.lower() for word in mailbox_line)])


MOST_HOPS = 50
"""A message that was relayed more often goes round in a circle (RFC 5321 section 6.3)."""


def is_from_person(message: Message) -> bool:
    """Return whether a person seems to have written a message, to us alone: no program, no list, no marked spam."""
    return not (
        is_automatic(message)
        or is_by_mail_system(message)
        or has_empty_return_path(message)
        or any(name in message for name in ("list-id", "list-unsubscribe", "x-loop", "feedback-id"))
        or field(message, "x-spam-flag").strip().lower().startswith("yes")
        or len(message.get_all("received", [])) > MOST_HOPS
    )


def is_read_receipt(message: Message) -> bool:
    """Return whether it says that somebody has opened or deleted a message (RFC 8098)."""
    return message.get_content_type() == "multipart/report" and _report_type(message).startswith(
        "disposition"
    )


def _report_type(message: Message) -> str:
    return str(message.get_param("report-type", "")).lower()


def enclosed_headers(message: Message) -> str:
    """Return as text all headers of the messages that this one encloses completely or as headers only."""
    headers: list[str] = []
    for part in parts(message):
        if part.get_content_type() in _ENCLOSED:
            inner = inner_messages(part)
            headers += [f"{name}: {value}" for enclosed in inner for name, value in enclosed.items()] or [
                text_of(part)
            ]
    # A header may continue on the next line, in the middle of a token.
    return re.sub(r"\r?\n[ \t]+", "", "\n".join(headers))[:_LONGEST_TEXT]
