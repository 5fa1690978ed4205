"""What we say to a relay about one envelope: MAIL and RCPT with the parameters that it offers to take."""

import re
from collections.abc import Mapping
from typing import NamedTuple

import idna

from scheduler.delivery.transport import Envelope, Outcome, Verdict

_LONGEST_ENVID = 100  # RFC 3461, section 4.4
_NOT_XTEXT = re.compile(r"[^!-*,-<>-~]")


class Extensions:
    """What of a relay's answer to EHLO decides how messages are offered to it, read once for them all."""

    def __init__(self, keywords: Mapping[str, str]) -> None:
        """`keywords` are in lower case, with their parameters."""
        self.pipelining = "pipelining" in keywords
        self.smtputf8 = "smtputf8" in keywords
        self.dsn = "dsn" in keywords
        self.size = "size" in keywords
        announced = keywords.get("size", "").strip()
        self.largest = int(announced) if announced.isascii() and announced.isdigit() else 0
        """The most bytes that the relay takes; 0 where it does not say."""


class Commands(NamedTuple):
    """The two lines that offer a message, without their line ends."""

    mail: bytes
    rcpt: bytes

    @property
    def at_once(self) -> bytes:
        """All up to DATA for a relay with PIPELINING, line ends included (RFC 2920, section 3.1)."""
        return b"%b\r\n%b\r\nDATA\r\n" % self


def commands(envelope: Envelope, extensions: Extensions) -> Commands | Outcome:
    """The lines for `envelope`, or why a relay with these `extensions` cannot be given it at all.

    Domains go out in ASCII (IDNA 2008); SMTPUTF8 as in RFC 6531, SIZE as in RFC 1870, RET, ENVID, NOTIFY and ORCPT
    as in RFC 3461.
    """
    try:
        sender, recipient = _mailbox(envelope.sender), _mailbox(envelope.recipient)
    except UnicodeError:
        return _unfit("the domain of the address is not a name that the DNS can hold")
    if not (extensions.smtputf8 or recipient.isascii()):
        return _unfit("the relay does not take non-ASCII addresses (SMTPUTF8)")
    mail, rcpt = b"MAIL FROM:<%b>" % sender, b"RCPT TO:<%b>" % recipient
    if extensions.size:
        size, limit = envelope.size, extensions.largest
        if limit and size > limit:
            return _unfit(f"the message has {size} bytes and the relay takes {limit} (SIZE)")
        mail += b" SIZE=%d" % size
    if not (recipient.isascii() and sender.isascii()):
        mail += b" SMTPUTF8"
    if extensions.dsn:
        mail += b" RET=HDRS"
        if len(envid := _xtext(envelope.envelope_id)) <= _LONGEST_ENVID:
            mail += b" ENVID=%b" % envid
        rcpt += b" NOTIFY=FAILURE"
        if recipient.isascii():
            rcpt += b" ORCPT=rfc822;%b" % _xtext(recipient.decode())
    return Commands(mail, rcpt)


def dot_stuffed(content: bytes) -> bytes:
    """`content`, its lines ended by CRLF, as it follows DATA, final dot included (RFC 5321, 4.5.2)."""
    stuffed = b"." + content if content.startswith(b".") else content
    return stuffed.replace(b"\r\n.", b"\r\n..") + b".\r\n"


def _unfit(reason: str) -> Outcome:
    return Outcome(verdict=Verdict.PERMANENT, reason=reason)


def _mailbox(address: str) -> bytes:
    """`address` with its domain in ASCII and its local part as it is. Raises UnicodeError."""
    if address.isascii():
        return address.encode()
    local, at, domain = address.rpartition("@")
    plain = domain if domain.isascii() else idna.encode(domain, uts46=True).decode()
    return (local + at + plain).encode()


def _xtext(text: str) -> bytes:
    """Printable ASCII but for `+` and `=`; all else as `+` and two hex digits (RFC 3461, section 4)."""
    return _NOT_XTEXT.sub(lambda found: "".join(f"+{byte:02X}" for byte in found[0].encode()), text).encode()
