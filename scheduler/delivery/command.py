"""What we say to a relay about one envelope: MAIL and RCPT with the parameters that it offers to take."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import idna

from scheduler.delivery.transport import Envelope, Outcome, Verdict

_LONGEST_ENVID = 100  # RFC 3461, section 4.4
_NOT_XTEXT = re.compile(r"[^!-*,-<>-~]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Commands:
    """The two lines that offer a message, without their line ends."""

    mail: bytes
    rcpt: bytes

    @property
    def at_once(self) -> bytes:
        """All up to DATA for a relay with PIPELINING, line ends included (RFC 2920, section 3.1)."""
        return b"%b\r\n%b\r\nDATA\r\n" % (self.mail, self.rcpt)


def commands(envelope: Envelope, extensions: Mapping[str, str]) -> Commands | Outcome:
    """The lines for `envelope`, or why a relay with these `extensions` cannot be given it at all.

    `extensions` are EHLO's keywords in lower case with their parameters. Domains go out in ASCII (IDNA 2008);
    SMTPUTF8 as in RFC 6531, SIZE as in RFC 1870, RET, ENVID, NOTIFY and ORCPT as in RFC 3461.
    """
    try:
        sender, recipient = _mailbox(envelope.sender), _mailbox(envelope.recipient)
    except UnicodeError:
        return _unfit("the domain of the address is not a name that the DNS can hold")
    if not recipient.isascii() and "smtputf8" not in extensions:
        return _unfit("the relay does not take non-ASCII addresses (SMTPUTF8)")
    size, limit = len(envelope.content), _size_limit(extensions.get("size", ""))
    if limit and size > limit:
        return _unfit(f"the message has {size} bytes and the relay takes {limit} (SIZE)")

    mail, rcpt = [b"MAIL FROM:<%b>" % sender], [b"RCPT TO:<%b>" % recipient]
    if "size" in extensions:
        mail.append(b"SIZE=%d" % size)
    if not (sender + recipient).isascii():
        mail.append(b"SMTPUTF8")
    if "dsn" in extensions:
        mail.append(b"RET=HDRS")
        if len(envid := _xtext(envelope.envelope_id)) <= _LONGEST_ENVID:
            mail.append(b"ENVID=%b" % envid)
        rcpt.append(b"NOTIFY=FAILURE")
        if recipient.isascii():
            rcpt.append(b"ORCPT=rfc822;%b" % _xtext(recipient.decode()))
    return Commands(mail=b" ".join(mail), rcpt=b" ".join(rcpt))


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


def _size_limit(announced: str) -> int:
    """The most bytes that the relay takes; 0 where it does not say."""
    announced = announced.strip()
    return int(announced) if announced.isascii() and announced.isdigit() else 0


def _xtext(text: str) -> bytes:
    """Printable ASCII but for `+` and `=`; all else as `+` and two hex digits (RFC 3461, section 4)."""
    return _NOT_XTEXT.sub(lambda found: "".join(f"+{byte:02X}" for byte in found[0].encode()), text).encode()
