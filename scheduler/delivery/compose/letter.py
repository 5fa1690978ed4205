"""Compose the mail that passes a person's letter on to the convenors, with the letter enclosed as it came."""

import re
from base64 import encodebytes
from collections.abc import Sequence
from datetime import datetime
from email.errors import MessageError
from email.generator import BytesGenerator
from email.message import MIMEPart
from email.parser import BytesParser
from email.policy import SMTP, Compat32
from email.utils import format_datetime
from io import BytesIO

from scheduler.delivery.compose.dkim import DkimSigner
from scheduler.delivery.compose.mime import LONGEST_LINE, header, mailbox_words, text_words
from scheduler.domain.address import ascii_domain
from scheduler.domain.community import Community

_LINE_END = re.compile(rb"\r\n|\r|\n")
_LONGEST_SUBJECT = 150


def compose_letter(
    content: bytes,
    *,
    community: Community,
    name: str,
    subject: str,
    reply_to: str,
    text: str,
    date: datetime,
    signer: DkimSigner | None,
) -> bytes:
    """Return a mail to the convenors that encloses `content`, whatever it is, and begins with `text`.

    `name` is unique and cannot be guessed: the part of the Message-ID before the @. `reply_to` is the writer's address;
    it is left out if a header cannot contain it. The mail says that a program sent it, so that nothing answers it.
    """
    from_whom = header("From", *mailbox_words(community.name, community.address))
    to_whom = header("To", *mailbox_words("", community.reply_to))
    shown = subject if len(subject) <= _LONGEST_SUBJECT else subject[: _LONGEST_SUBJECT - 1] + "…"
    own = b"".join(
        [
            to_whom,
            _reply_to(reply_to),
            header("Subject", *text_words(" ".join(f"[{community.name}] {shown}".split()))),
            header("Date", format_datetime(date)),
            header("Message-ID", f"<{name}@{ascii_domain(community.domain)}>"),
        ]
    )
    boundary = f"=_{name}"
    common = b"".join(
        [
            from_whom,
            header("Auto-Submitted", "auto-generated"),
            header("X-Auto-Response-Suppress", "OOF,", "AutoReply"),
            header("X-Loop", ascii_domain(community.address)),
            header("MIME-Version", "1.0"),
            header("Content-Type", "multipart/mixed;", f'boundary="{boundary}"'),
        ]
    )
    body = _joined([_text_part(text), _enclosure(content)], boundary)
    signature = signer.for_cohort(common).sign(own, _canonical(body), date=date) if signer else b""
    return signature + own + common + b"\r\n" + body


def _reply_to(address: str) -> bytes:
    try:
        return header("Reply-To", *mailbox_words("", address)) if address else b""
    except ValueError:
        return b""


def _text_part(text: str) -> bytes:
    part = MIMEPart(policy=SMTP.clone(cte_type="7bit"))
    part.set_content(text, cte="quoted-printable")
    return part.as_bytes()


def _enclosure(content: bytes) -> bytes:
    """Return a letter as an enclosed message: itself if it is 7-bit, otherwise encoded again or, failing that, as a
    file."""
    content = _LINE_END.sub(b"\r\n", content)
    if not content.endswith(b"\r\n"):
        content += b"\r\n"
    if not _is_seven_bit(content):
        content = _encoded_again(content) or content
    disposition = header("Content-Disposition", 'attachment; filename="letter.eml"')
    if _is_seven_bit(content):
        # RFC 2046 section 5.2.1 allows no other encoding of a message.
        head = header("Content-Type", "message/rfc822") + header("Content-Transfer-Encoding", "7bit")
        return head + disposition + b"\r\n" + content
    head = header("Content-Type", "application/octet-stream") + header("Content-Transfer-Encoding", "base64")
    return head + disposition + b"\r\n" + encodebytes(content).replace(b"\n", b"\r\n")


def _is_seven_bit(content: bytes) -> bool:
    return (
        content.isascii() and b"\0" not in content and max(map(len, content.split(b"\r\n"))) <= LONGEST_LINE
    )


def _encoded_again(content: bytes) -> bytes:
    """Return a message with its 8-bit parts encoded; empty if the library cannot do it."""
    policy = Compat32(cte_type="7bit", linesep="\r\n")
    out = BytesIO()
    try:
        BytesGenerator(out, mangle_from_=False, policy=policy).flatten(
            BytesParser(policy=policy).parsebytes(content)
        )
    except (MessageError, ValueError, LookupError, TypeError, AttributeError, RecursionError, AssertionError):
        return b""
    again = _LINE_END.sub(b"\r\n", out.getvalue())
    return again if _is_seven_bit(again) else b""


def _joined(parts: Sequence[bytes], boundary: str) -> bytes:
    line = f"--{boundary}".encode()
    pieces = []
    for part in parts:
        pieces += [line, b"\r\n", part, b"\r\n"]
    return b"".join([*pieces, line, b"--\r\n"])


def _canonical(body: bytes) -> bytes:
    """Return the body in the relaxed canonical form (RFC 6376 section 3.4.4)."""
    body = re.sub(rb"[ \t]+", b" ", body)
    return re.sub(rb" \r\n", b"\r\n", body).rstrip(b"\r\n") + b"\r\n"
