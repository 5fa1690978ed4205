"""A calendar program's answer to an invitation (RFC 5546 section 3.2.3), read as leniently as they are written."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from itertools import islice
from urllib.parse import unquote

from icalendar.parser import Contentline

from scheduler.domain.incoming import printable

LONGEST_LINE = 10_000
MOST_LINES = 2_000
MOST_EVENTS = 20

_ANSWERS = {"ACCEPTED": "coming", "DECLINED": "declined", "TENTATIVE": "maybe"}
_FOLD = re.compile(r"\r?\n[ \t]")
_STAMP = re.compile(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z?", re.ASCII)
_UID = re.compile(
    r"(?P<series>[a-z0-9-]{1,60})-(?P<date>\d{8})(?:t(?P<time>\d{4}))?(?:\.r\d{1,4})?\.(?P<hash>[a-z2-7]{26})@(?P<domain>\S+)",
    re.ASCII,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One person's answer to one invitation: `answer` is coming, declined, maybe, or empty for none of these.

    `stamped` is when it was given, None where it does not say.
    """

    uid: str
    address: str
    answer: str
    sequence: int = 0
    stamped: datetime | None = None


@dataclass(slots=True)
class _Event:
    uid: str = ""
    sequence: int = 0
    stamped: datetime | None = None
    people: list[tuple[str, str]] = field(default_factory=list)


def read_replies(text: str) -> list[Reply]:
    """The answers in an iCalendar object with METHOD:REPLY; none in any other.

    Only the lines that matter are read: bad ones, a missing ORGANIZER, zones by Windows' names and whatever else stands
    between them are passed over.
    """
    events: list[_Event] = []
    method, within = "", False
    for name, parameters, value in _lines(text):
        match name, value.strip().upper():
            case "METHOD", word:
                method = word
            case "BEGIN", "VEVENT" if len(events) < MOST_EVENTS:
                events.append(_Event())
                within = True
            case "BEGIN" | "END", "VEVENT":
                within = False
            case _ if within:
                _note(events[-1], name, parameters, value.strip())
    if method != "REPLY":
        return []
    return [
        Reply(uid=one.uid, address=address, answer=answer, sequence=one.sequence, stamped=one.stamped)
        for one in events
        for address, answer in one.people
    ]


def _lines(text: str) -> Iterator[tuple[str, dict[str, str], str]]:
    for line in islice(_FOLD.sub("", text).splitlines(), MOST_LINES):
        try:
            name, parameters, value = Contentline(line[:LONGEST_LINE]).parts()  # type: ignore[no-untyped-call]
        except ValueError:
            continue
        yield name.upper(), {key.upper(): str(one) for key, one in parameters.items()}, value


def _note(event: _Event, name: str, parameters: dict[str, str], value: str) -> None:
    match name:
        case "UID":
            event.uid = value[:200]
        case "SEQUENCE" if value.isascii() and value.isdecimal():
            # As large as a database holds it.
            event.sequence = min(int(value[:10]), 2**31 - 1)
        case "DTSTAMP":
            event.stamped = _stamp(value)
        case "ATTENDEE":
            answer = _ANSWERS.get(parameters.get("PARTSTAT", "").upper(), "")
            event.people.append((_mailbox(value) or _mailbox(parameters.get("EMAIL", "")), answer))


def _stamp(text: str) -> datetime | None:
    found = _STAMP.fullmatch(text)
    try:
        return datetime(*map(int, found.groups()), tzinfo=UTC) if found else None  # type: ignore[arg-type, misc]
    except ValueError:
        return None


def _mailbox(text: str) -> str:
    """The address of `mailto:ann@example.org`; empty where there is none."""
    if text[:7].lower() == "mailto:":
        text = unquote(text[7:].partition("?")[0])
    return printable(text.strip().strip("<>"))[:320] if "@" in text else ""


def read_uid(uid: str, domain: str) -> tuple[str, str] | None:
    """The key of the occurrence and the member's keyed hash in a UID of `calendar.invitation_uid`; None in another.

    That of an invitation that has been taken back and made anew since names the same occurrence.
    """
    found = _UID.fullmatch(uid.strip().lower())
    if not found or found["domain"] != domain.lower():
        return None
    try:
        day = date.fromisoformat(found["date"])
        at = time(int(found["time"][:2]), int(found["time"][2:])) if found["time"] else None
    except ValueError:
        return None
    return f"{found['series']}/{day}" + (f"T{at:%H%M}" if at else ""), found["hash"]


def newest(replies: Sequence[Reply], now: datetime) -> list[Reply]:
    """Replies in the order in which they hold, the last one above all: by SEQUENCE, then DTSTAMP."""
    return sorted(replies, key=lambda one: order_of(one, now))


def order_of(reply: Reply, now: datetime) -> tuple[int, datetime]:
    """By what replies to one invitation are compared. A clock that goes ahead does not shut out later answers."""
    return reply.sequence, min(reply.stamped or now, now)
