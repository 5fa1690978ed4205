"""The message as it goes over the wire: headers and MIME parts, 7-bit, the same bytes for the same input."""

import re
from base64 import encodebytes
from collections.abc import Sequence
from dataclasses import dataclass
from email.header import Header
from email.message import Message, MIMEPart
from email.policy import SMTP
from typing import Literal

import idna

LONGEST_LINE = 998
"""Octets in a line without its CRLF (RFC 5322 section 2.1.1)."""

_FOLD = 78
_LONGEST_QUOTED = 60
_LONGEST_WORD = 200
# 76 is the most that quoted-printable and base64 allow (RFC 2045 sections 6.7 and 6.8).
_POLICY = SMTP.clone(max_line_length=76, cte_type="7bit")
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_ATOMS = re.compile(rf"{_ATOM}( {_ATOM})*")
_LOCAL_PART = re.compile(rf"{_ATOM}(\.{_ATOM})*")
_PRINTABLE = re.compile(r"[ -~]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class CalendarPart:
    """An iCalendar object and the method that it names (RFC 6047)."""

    content: bytes
    method: Literal["REQUEST", "CANCEL"]


def header(name: str, *words: str) -> bytes:
    """One header field, folded between `words` only, with its CRLF.

    Raises ValueError where a word is not printable ASCII or a line cannot be kept within LONGEST_LINE octets.
    """
    lines = [f"{name}:"]
    for position, word in enumerate(words):
        if not _PRINTABLE.fullmatch(word):
            raise ValueError(f"header {name}: a word is not printable ASCII")
        # A first line that is nothing but the name is legal, and misread.
        if position and len(lines[-1]) + 1 + len(word) > _FOLD:
            lines.append("")
        lines[-1] += f" {word}"
    if any(len(line) > LONGEST_LINE for line in lines):
        raise ValueError(f"header {name}: a line is longer than {LONGEST_LINE} octets")
    return "\r\n".join(lines).encode("ascii") + b"\r\n"


def text_words(text: str) -> list[str]:
    """The words of free text in a header such as Subject, as encoded words (RFC 2047) where needed."""
    words = text.split(" ")
    plain = _PRINTABLE.fullmatch(text) and all(words) and max(map(len, words)) <= _LONGEST_WORD
    return words if plain and "=?" not in text else _encoded(text)


def mailbox_words(name: str, address: str) -> list[str]:
    """The words of `name <address>` (RFC 5322 section 3.4), the domain in ASCII (IDNA 2008).

    An address that ASCII cannot hold becomes a group without members that shows it (RFC 6857 section 3.1.8): the
    envelope alone carries it. Raises ValueError where `address` would not stay one address.
    """
    address = ascii_domain(address)
    local = address.rpartition("@")[0]
    if not local.isascii():
        return [*_encoded(f"{name} {address}".strip()), ":;"]
    if not _LOCAL_PART.fullmatch(local):
        raise ValueError("an address has a local part that needs quoting")
    return [*_phrase(name), f"<{address}>"] if name else [address]


def list_id_words(name: str, domain: str) -> list[str]:
    """The words of a List-ID (RFC 2919) under `domain`."""
    return [*_phrase(name), f"<members.{ascii_domain(domain)}>"]


def ascii_domain(address: str) -> str:
    """`address` (or a domain) with its domain as the DNS holds it. Raises ValueError where it cannot."""
    local, at, domain = address.rpartition("@")
    if not domain.isascii():
        domain = idna.encode(domain, uts46=True).decode("ascii")
    if not re.fullmatch(r"[A-Za-z0-9._-]+", domain):
        raise ValueError("an address has no domain that the DNS can hold")
    return f"{local}{at}{domain}"


def mime(text: str, html: str, calendar: CalendarPart | None, *, boundary: str) -> bytes:
    """The MIME headers and the body: text and HTML as alternatives.

    With `calendar`, it is the last alternative and once more an attachment, as programs look for it in either
    place (RFC 6047 section 2.4). `boundary` is of letters and digits, at most 60.
    """
    alternatives = [_text(text, "plain"), _text(html, "html")]
    if calendar is None:
        return _bytes(_multipart("alternative", alternatives, f"=_{boundary}.0"))
    inline = _octets(calendar.content, f'text/calendar; charset="utf-8"; method={calendar.method}')
    attachment = _octets(calendar.content, 'application/ics; name="invite.ics"')
    attachment["Content-Disposition"] = 'attachment; filename="invite.ics"'
    body = _multipart("alternative", [*alternatives, inline], f"=_{boundary}.1")
    return _bytes(_multipart("mixed", [body, attachment], f"=_{boundary}.0"))


def _text(content: str, subtype: str) -> MIMEPart:
    part = MIMEPart(_POLICY)
    part.set_content(content, subtype=subtype, charset="utf-8", cte="quoted-printable")
    return part


def _octets(content: bytes, kind: str) -> Message:
    # MIMEPart would quote the method, which programs that read by pattern do not expect.
    part = Message()
    part["Content-Type"] = kind
    part["Content-Transfer-Encoding"] = "base64"
    part.set_payload(encodebytes(content).decode("ascii"))
    return part


def _multipart(subtype: str, parts: Sequence[Message], boundary: str) -> Message:
    # "=_" can stand in neither quoted-printable nor base64.
    whole = Message()
    whole["Content-Type"] = f'multipart/{subtype}; boundary="{boundary}"'
    for part in parts:
        whole.attach(part)
    return whole


def _bytes(whole: Message) -> bytes:
    return header("MIME-Version", "1.0") + whole.as_bytes(policy=_POLICY)


def _phrase(name: str) -> list[str]:
    if _ATOMS.fullmatch(name) and "=?" not in name and max(map(len, name.split(" "))) <= _LONGEST_WORD:
        return name.split(" ")
    if _PRINTABLE.fullmatch(name) and "=?" not in name and len(name) <= _LONGEST_QUOTED:
        return ['"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"']
    return _encoded(name)


def _encoded(text: str) -> list[str]:
    return Header(text, "utf-8", maxlinelen=75).encode(linesep="\n").split("\n ")
