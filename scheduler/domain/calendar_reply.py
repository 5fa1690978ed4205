"""Parse a calendar program's reply to an invitation (RFC 5546 section 3.2.3), leniently."""

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
    """A person named in a reply by one or more addresses; `answer` is coming, declined, maybe, or empty."""

    addresses: tuple[str, ...]
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CalendarReply:
    """A reply to one invitation.

    `sequence`, `stamped` (when the answer was given) and `starts` (the start of the meeting that it answers) are None
    if the reply does not contain them. `starts` is naive if its time zone is unknown.
    """

    uid: str
    attendees: tuple[Attendee, ...]
    sequence: int | None = None
    stamped: datetime | None = None
    starts: datetime | None = None

    def answer_of(self, address: str) -> str | None:
        """Return the answer in the line with the member's address, or else in the only line.

        Return None if only other people are named, and "" if there is no answer or more than one.
        """
        key = address_key(address)
        matches = [attendee for attendee in self.attendees if key in map(address_key, attendee.addresses)]
        if not matches and len({attendee.addresses for attendee in self.attendees}) == 1:
            matches = list(self.attendees)
        if not matches:
            return None
        answers = {attendee.answer for attendee in matches if attendee.answer}
        return answers.pop() if len(answers) == 1 else ""

    def sequence_for(self, sequence: int, starts: datetime, zone: str) -> int:
        """Return the SEQUENCE to which this replies; the meeting now has `sequence` and `starts` (home zone `zone`).

        A missing SEQUENCE is 0 (RFC 5545 section 3.8.7.4), unless the reply contains the present start.
        """
        if self.sequence is not None:
            return self.sequence
        if self.starts is None:
            return 0
        replied_start = self.starts if self.starts.tzinfo else self.starts.replace(tzinfo=ZoneInfo(zone))
        return sequence if replied_start == starts else 0


@dataclass(slots=True)
class _Event:
    uid: str = ""
    sequence: int | None = None
    stamped: datetime | None = None
    starts: datetime | None = None
    attendees: list[Attendee] = field(default_factory=list)


def read_replies(text: str, *, method: str = "") -> list[CalendarReply]:
    """Return the answers in an iCalendar object with METHOD:REPLY; none for any other method.

    `method` is that of its MIME part, and counts if the object has none. Only the relevant lines are read; invalid
    lines, a missing ORGANIZER and everything else are ignored.
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
                _read_property(events[-1], name, parameters, value.strip())
    if method != "REPLY":
        return []
    return [
        CalendarReply(
            uid=event.uid,
            attendees=tuple(event.attendees),
            sequence=event.sequence,
            stamped=event.stamped,
            starts=event.starts,
        )
        for event in events
        if event.attendees
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
            if match := _NAME.match(line):
                yield match[1].upper(), _broken_parameters(line), line.rpartition(":")[2]
            continue
        values = {key.upper(): str(text) for key, text in parameters.items()}
        if name.upper() == "ATTENDEE" and (mailbox := _MAILBOX_AT_END.search(line)) and value != mailbox[0]:
            # A colon or a quotation mark in the name, as in CN=Bo: Li, ends the parameters too early.
            values, value = _broken_parameters(line) | values, mailbox[0]
        yield name.upper(), values, value


def _broken_parameters(line: str) -> dict[str, str]:
    """Return the relevant parameters of a line whose quotation marks or colons do not match."""
    return {key.upper(): value.strip() for key, value in _PARAMETER.findall(line)}


def _read_property(event: _Event, name: str, parameters: dict[str, str], value: str) -> None:
    match name:
        case "UID":
            event.uid = value[:200]
        case "SEQUENCE" if value.isascii() and value.isdecimal():
            # The largest integer of the database.
            event.sequence = min(int(value[:10]), 2**31 - 1)
        case "DTSTAMP":
            event.stamped = _stamp(value)
        case "DTSTART":
            event.starts = _start(value, parameters.get("TZID", ""))
        case "ATTENDEE" if len(event.attendees) < MOST_ATTENDEES:
            answer = _ANSWERS.get(parameters.get("PARTSTAT", "").strip().upper(), "")
            addresses = (_mailbox(value), _mailbox(parameters.get("EMAIL", "")))
            event.attendees.append(Attendee(tuple(dict.fromkeys(filter(None, addresses))), answer))


def _start(text: str, zone: str) -> datetime | None:
    moment = _stamp(text)
    if moment is None or text.endswith("Z"):
        return moment
    known_zone = find_zone(zone.strip('"/')) if zone else None
    return moment.replace(tzinfo=ZoneInfo(known_zone) if known_zone else None)


def _stamp(text: str) -> datetime | None:
    match = _STAMP.fullmatch(text)
    try:
        return datetime(*map(int, match.groups()), tzinfo=UTC) if match else None  # type: ignore[arg-type, misc]
    except ValueError:
        return None


def _mailbox(text: str) -> str:
    """Return the address of `mailto:ann@example.org`; empty if there is none."""
    if text[:7].lower() == "mailto:":
        text = unquote(text[7:].partition("?")[0])
    return printable(text.strip().strip("<>"))[:320] if "@" in text else ""


def read_uid(uid: str, domain: str) -> tuple[str, str] | None:
    """Return the occurrence's key and the member's keyed hash in a UID of `calendar.invitation_uid`, or None.

    The UID of an invitation that has since been replaced by a new one has the same key.
    """
    match = _UID.fullmatch(uid.strip().lower())
    if not match or match["domain"] != domain.lower():
        return None
    try:
        day = date.fromisoformat(match["date"])
        at = time(int(match["time"][:2]), int(match["time"][2:])) if match["time"] else None
    except ValueError:
        return None
    return f"{match['series']}/{day}" + (f"T{at:%H%M}" if at else ""), match["hash"]


def newest(replies: Sequence[CalendarReply], now: datetime) -> list[CalendarReply]:
    """Return replies in the order by SEQUENCE, then DTSTAMP; the last one is the valid one."""
    return sorted(replies, key=lambda reply: order_of(reply, now))


def order_of(reply: CalendarReply, now: datetime) -> tuple[int, datetime]:
    """Return the sort key of replies to one invitation. A DTSTAMP in the future does not block later answers."""
    return reply.sequence or 0, min(reply.stamped or now, now)
