"""A calendar program's answer to an invitation (RFC 5546 section 3.2.3), read as leniently as they are written."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from itertools import islice
from urllib.parse import unquote
from zoneinfo import ZoneInfo

from icalendar.parser import Contentline

from scheduler.domain.address import address_key
from scheduler.domain.inbound import printable
from scheduler.domain.zone import find_zone

LONGEST_LINE = 10_000
MOST_LINES = 2_000
MOST_EVENTS = 20
MOST_ATTENDEES = 100

_ANSWERS = {"ACCEPTED": "coming", "DECLINED": "declined", "TENTATIVE": "maybe"}
_FOLD = re.compile(r"\r?\n[ \t]")
_STAMP = re.compile(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z?", re.ASCII)
_UID = re.compile(
    r"(?P<series>[a-z0-9-]{1,60})-(?P<date>\d{8})(?:t(?P<time>\d{4}))?(?:\.r\d{1,4})?\.(?P<hash>[a-z2-7]{26})@(?P<domain>\S+)",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Attendee:
    """A person whom a reply names, by one address or more; `answer` is coming, declined, maybe, or empty."""

    addresses: tuple[str, ...]
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CalendarReply:
    """An answer to one invitation.

    `sequence` is None where it names none, `stamped` is when it was given, and `starts` the start that it speaks of,
    each None where it does not say; `starts` is naive where its time zone is not known.
    """

    uid: str
    attendees: tuple[Attendee, ...]
    sequence: int | None = None
    stamped: datetime | None = None
    starts: datetime | None = None

    def answer_of(self, address: str) -> str | None:
        """Return the answer in the line of a member's own address, or in the only line; None where others alone are
        named, and "" where nothing, or more than one thing, was answered."""
        key = address_key(address)
        lines = [one for one in self.attendees if key in map(address_key, one.addresses)]
        if not lines and len({one.addresses for one in self.attendees}) == 1:
            lines = list(self.attendees)
        if not lines:
            return None
        answers = {one.answer for one in lines if one.answer}
        return answers.pop() if len(answers) == 1 else ""

    def sequence_for(self, sequence: int, starts: datetime, zone: str) -> int:
        """Return the SEQUENCE of a meeting that is at `sequence` and `starts` (home zone `zone`) to which this answers.

        A missing one is 0 (RFC 5545 section 3.8.7.4), unless the reply itself names the present start.
        """
        if self.sequence is not None:
            return self.sequence
        if self.starts is None:
            return 0
        there = self.starts if self.starts.tzinfo else self.starts.replace(tzinfo=ZoneInfo(zone))
        return sequence if there == starts else 0


@dataclass(slots=True)
class _Event:
    uid: str = ""
    sequence: int | None = None
    stamped: datetime | None = None
    starts: datetime | None = None
    people: list[Attendee] = field(default_factory=list)


def read_replies(text: str, *, method: str = "") -> list[CalendarReply]:
    """The answers in an iCalendar object with METHOD:REPLY; none in any other. `method` is that of its MIME part, which
    holds where the object names none.

    Only the lines that matter are read: bad ones, a missing ORGANIZER, zones by Windows' names and whatever else stands
    between them are passed over.
    """
    events: list[_Event] = []
    method, within = method.strip().upper(), ""
    for name, parameters, value in _lines(text):
        match name, value.strip().upper():
            case "METHOD", word:
                method = word
            case "BEGIN", "VEVENT" if len(events) < MOST_EVENTS:
                events.append(_Event())
                within = "VEVENT"
            case "BEGIN", "VALARM" if within:
                within = "VALARM"
            case "END", "VALARM" if within:
                within = "VEVENT"
            case "BEGIN" | "END", "VEVENT":
                within = ""
            case _ if within == "VEVENT":
                _note(events[-1], name, parameters, value.strip())
    if method != "REPLY":
        return []
    return [
        CalendarReply(
            uid=one.uid,
            attendees=tuple(one.people),
            sequence=one.sequence,
            stamped=one.stamped,
            starts=one.starts,
        )
        for one in events
        if one.people
    ]


_NAME = re.compile(r"\s*([A-Za-z-]+)\s*(?=[;:])")
_MAILBOX_AT_END = re.compile(r"mailto:\s*([^\s\"<>;,]+@[^\s\"<>;,:]+)\s*$", re.IGNORECASE)
_PARAMETER = re.compile(r';\s*(PARTSTAT|EMAIL)\s*=\s*"?([^";:,]*)', re.IGNORECASE)


def _lines(text: str) -> Iterator[tuple[str, dict[str, str], str]]:
    for line in islice(_FOLD.sub("", text.lstrip("\ufeff")).splitlines(), MOST_LINES):
        line = line[:LONGEST_LINE]
        try:
            name, parameters, value = Contentline(line).parts()  # type: ignore[no-untyped-call]
        except ValueError:
            if found := _NAME.match(line):
                yield found[1].upper(), _broken_parameters(line), line.rpartition(":")[2]
            continue
        given = {key.upper(): str(one) for key, one in parameters.items()}
        if name.upper() == "ATTENDEE" and (mailbox := _MAILBOX_AT_END.search(line)) and value != mailbox[0]:
            # A colon or a quotation mark in the name, as in CN=Bo: Li, ends the parameters too early.
            given, value = _broken_parameters(line) | given, mailbox[0]
        yield name.upper(), given, value


def _broken_parameters(line: str) -> dict[str, str]:
    """The parameters that matter in a line whose quotation marks or colons do not fit together."""
    return {key.upper(): value.strip() for key, value in _PARAMETER.findall(line)}


def _note(event: _Event, name: str, parameters: dict[str, str], value: str) -> None:
    match name:
        case "UID":
            event.uid = value[:200]
        case "SEQUENCE" if value.isascii() and value.isdecimal():
            # As large as a database holds it.
            event.sequence = min(int(value[:10]), 2**31 - 1)
        case "DTSTAMP":
            event.stamped = _stamp(value)
        case "DTSTART":
            event.starts = _start(value, parameters.get("TZID", ""))
        case "ATTENDEE" if len(event.people) < MOST_ATTENDEES:
            answer = _ANSWERS.get(parameters.get("PARTSTAT", "").strip().upper(), "")
            named = (_mailbox(value), _mailbox(parameters.get("EMAIL", "")))
            event.people.append(Attendee(tuple(dict.fromkeys(filter(None, named))), answer))


def _start(text: str, zone: str) -> datetime | None:
    found = _stamp(text)
    if found is None or text.endswith("Z"):
        return found
    known = find_zone(zone.strip('"/')) if zone else None
    return found.replace(tzinfo=ZoneInfo(known) if known else None)


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


def newest(replies: Sequence[CalendarReply], now: datetime) -> list[CalendarReply]:
    """Replies in the order in which they hold, the last one above all: by SEQUENCE, then DTSTAMP."""
    return sorted(replies, key=lambda one: order_of(one, now))


def order_of(reply: CalendarReply, now: datetime) -> tuple[int, datetime]:
    """By what replies to one invitation are compared. A clock that goes ahead does not shut out later answers."""
    return reply.sequence or 0, min(reply.stamped or now, now)
