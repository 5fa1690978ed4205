"""What a message that came in says: read whole before anything is done, and by whom is not asked here."""

from collections.abc import Sequence
from dataclasses import dataclass
from email.message import Message
from email.utils import parseaddr
from hashlib import sha256

from flufl.bounce import all_failures

from scheduler.domain.bounce import Bounce, bounce, judge, read_bounce, said_codes
from scheduler.domain.bounce_text import around_codes, own_words, read_plain_bounce
from scheduler.domain.inbox import Token, Way, tokens_in
from scheduler.domain.incoming import (
    COMPLAINT_TYPE,
    enclosed_headers,
    field,
    has_empty_return_path,
    is_automatic,
    is_by_mail_system,
    parts,
    printable,
    read_message,
    subject,
    text_of,
)
from scheduler.domain.problem import Refused
from scheduler.domain.reply import Reply, read_replies

_RECIPIENTS = ("delivered-to", "x-original-to", "envelope-to", "x-envelope-to", "x-delivered-to", "to", "cc")
_SAME = ("message-id", "date", "from", "to", "subject")
_CALENDARS = ("text/calendar", "application/ics", "text/x-vcalendar")
_LONGEST_FOR_FLUFL = 200_000
_NOT_COMPLAINTS = ("not-spam", "auth-failure", "dmarc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Complaint:
    """That somebody pressed "spam" (RFC 5965): its kind, and all that may name one of our links."""

    kind: str
    text: str

    @property
    def is_one(self) -> bool:
        """Whether it is a complaint, and no other report in that form."""
        return self.kind not in _NOT_COMPLAINTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a message says. `digest` is the same for the same message, whatever was written above it on its way;
    `by_form` says that the bounce was recognised by its words alone, `returned` that a mail system sent it to
    an address of ours for bounces, so that it is no note of a person's absence."""

    digest: str
    tokens: Sequence[Token]
    author: str
    subject: str
    complaint: Complaint | None
    bounce: Bounce | None
    by_form: bool
    returned: bool
    replies: Sequence[Reply]
    automatic: bool


def understand(octets: bytes, *, recipient: str = "") -> Said:
    """Read a message; `recipient` is the envelope's, where it is known. Raises Refused where it cannot be read."""
    try:
        return _read(octets, recipient)
    except Refused:
        raise
    except (
        Exception
    ) as error:  # around one message, which is kept: the library trips over many that nobody foresaw
        raise Refused(f"it cannot be read ({type(error).__name__})") from error


def _read(octets: bytes, recipient: str) -> Said:
    message = read_message(octets)
    tokens = tokens_in(f"{recipient}\n{field(message, *_RECIPIENTS)}")
    found, by_form, returned = read_bounce(message), False, False
    if any(one.way is Way.BOUNCE for one in tokens):
        by_mail_system = is_by_mail_system(message)
        returned = by_mail_system or has_empty_return_path(message)
        if not found:
            found = _plain_bounce(message, octets, returned=returned, by_mail_system=by_mail_system)
            by_form = found is not None
    return Said(
        digest=_digest(message, octets), tokens=tokens, author=printable(parseaddr(field(message, "from"))[1]),
        subject=subject(message), complaint=_complaint(message), bounce=found, by_form=by_form, returned=returned,
        replies=[] if found and not by_form else _replies(message), automatic=is_automatic(message),
    )  # fmt: skip


def _complaint(message: Message) -> Complaint | None:
    for part in parts(message):
        if part.get_content_type() == COMPLAINT_TYPE:
            said = text_of(part)
            lines = [line for line in said.splitlines() if line.lower().startswith("feedback-type:")]
            kind = printable(lines[0].partition(":")[2].strip().lower())[:40] if lines else ""
            return Complaint(kind=kind, text=f"{said}\n{enclosed_headers(message)}")
    return None


def _plain_bounce(message: Message, octets: bytes, *, returned: bool, by_mail_system: bool) -> Bounce | None:
    """A bounce without a delivery status."""
    found = read_plain_bounce(message, by_mail_system=by_mail_system) if returned else None
    if found or len(octets) > _LONGEST_FOR_FLUFL:
        return found
    return _known_by_form(message)


def _known_by_form(message: Message) -> Bounce | None:
    """A bounce in a form that the library knows. It calls many things permanent; the code in its words says better what
    it is."""
    temporary, permanent = all_failures(message)
    addresses = tuple(printable(one.decode("ascii", "replace")) for one in (*permanent, *temporary))
    if not permanent:
        return Bounce(None, "delayed", "delayed", addresses) if temporary else None
    words = own_words(message)
    return bounce(*judge(said_codes(words), around_codes(words)), "", addresses)


def _replies(message: Message) -> list[Reply]:
    return [
        one
        for part in parts(message)
        if part.get_content_type() in _CALENDARS or (part.get_filename() or "").lower().endswith(".ics")
        for one in read_replies(text_of(part), method=str(part.get_param("method") or ""))
    ]


def _digest(message: Message, octets: bytes) -> str:
    text = "\n".join(field(message, name) for name in _SAME)
    body = octets.replace(b"\r\n", b"\n").partition(b"\n\n")[2]
    return sha256(text.encode(errors="replace") + b"\0" + body).hexdigest()
