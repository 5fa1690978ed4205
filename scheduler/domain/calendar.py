"""Calendars as bytes: the one module that builds the VEVENTs of feeds and invitations."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Literal
from urllib.parse import quote
from zoneinfo import ZoneInfo

from icalendar import Alarm, Calendar, Component, Event
from icalendar.prop import vCalAddress, vText, vUri

from scheduler.domain.clock import require_aware
from scheduler.domain.community import Community
from scheduler.domain.errors import Refused
from scheduler.domain.occurrence import Occurrence, OccurrenceKey, Series
from scheduler.domain.translation import N_, translator
from scheduler.domain.tzif import vtimezone
from scheduler.domain.zone import canonical_zone

LONGEST_UID = 100
"""Octets. Some programs cut a longer UID, and then take two meetings for one."""

MEMBER_HASH = 26
"""The number of characters of the keyed hash in the UID of an invitation."""

# The longest form: slug-20261119t1800.r99.<hash>@domain
_BESIDE_SLUG_AND_DOMAIN = len("-20261119t1800.r99.@") + MEMBER_HASH
_PRODID = "-//Third Thursday//Third Thursday//EN"
_CONFERENCE = {"VALUE": "URI", "FEATURE": "VIDEO"}
_MONTHS_BACK, _MONTHS_AHEAD = 12, 24
_UNWRITABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_UNWRITABLE_IN_PROSE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")

ANSWERS = {
    "coming": N_("you are coming"),
    "declined": N_("you are not coming"),
    "maybe": N_("you may come"),
}
"""What a member can answer, and the words for it in their own feed."""

Method = Literal["REQUEST", "CANCEL"]


@dataclass(frozen=True, slots=True)
class Answer:
    """A member's answer for an occurrence, one of ANSWERS, and when it was given."""

    word: str
    at: datetime


class _Text(vText):
    def to_ical(self) -> bytes:
        # The library's own method takes a backslash followed by an N in the text for a line break.
        return escaped_text(self).encode()


def escaped_text(text: str) -> str:
    """Return `text` escaped for a property of the type TEXT (RFC 5545 section 3.3.11)."""
    return text.replace("\\", "\\\\").replace(";", "\\;").replace(",", "\\,").replace("\n", "\\n")


def attendee_words(name: str, address: str) -> tuple[str, str]:
    """Return the CN and the address of a person in a form that a calendar can hold."""
    # No quoting of these two characters in a parameter works in every program.
    clean = _line(name).replace('"', "'").replace("\\", "/")
    # In a mailto address a percent sign or a question mark would mean something else (RFC 6068 section 2).
    return clean or address, quote(address, safe="@!$&'*+-/=^_`{|}~")


def require_uid_room(slug: str, domain: str) -> None:
    """Raise Refused if a UID of the series `slug` under `domain` could be longer than LONGEST_UID octets."""
    room = LONGEST_UID - _BESIDE_SLUG_AND_DOMAIN
    if (length := len(slug) + len(domain.encode())) > room:
        raise Refused(
            f"series slug '{slug}' and domain '{domain}' have {length} octets together; "
            f"at most {room} fit into a calendar UID: choose a shorter slug"
        )


def occurrence_uid(occurrence: Occurrence, domain: str) -> str:
    """Return the UID of an occurrence in every feed: unique, and unchanged whatever happens to the occurrence.

    Raises ValueError if it would be longer than LONGEST_UID octets.
    """
    return _uid(_stem(occurrence), domain)


def invitation_uid(occurrence: Occurrence, member_hash: str, domain: str) -> str:
    """Return the UID of one member's invitation; it is new each time that the occurrence is reinstated (RFC 5546).

    `member_hash` is a keyed hash of 26 characters: a reply that contains it proves that its sender received this UID.
    Raises ValueError if the hash has another length or the UID would be longer than LONGEST_UID octets.
    """
    if len(member_hash) != MEMBER_HASH:
        raise ValueError(f"the hash in a UID has {MEMBER_HASH} characters, not {len(member_hash)}")
    again = f".r{occurrence.reinstated}" if occurrence.reinstated else ""
    return _uid(f"{_stem(occurrence)}{again}.{member_hash}", domain)


def event(
    occurrence: Occurrence,
    series: Series,
    *,
    community: Community,
    uid: str,
    join_url: str = "",
    answer: Answer | None = None,
    alarm: timedelta | None = None,
    language: str = "en",
) -> Event:
    """Return the VEVENT of `occurrence` (RFC 5545 section 3.6.1), without organizer and attendee.

    DTSTAMP and LAST-MODIFIED are the time of the last real change, so that the same state gives the same bytes.
    Times are wall times of the occurrence's zone. Only a time that the clocks show twice is in UTC: by RFC 5545 section
    3.3.5 it means the first instant, but several programs use the second.
    The event shows `join_url` unless it is cancelled; without it, its page is the only link. While the meeting has no
    link yet, the event says that it will follow.
    `answer` is the reader's own, and counts as a change of the event; `alarm` is the time before the start.
    """
    link_follows = bool(join_url) and not (occurrence.link or series.link)
    if occurrence.cancelled:
        join_url, link_follows, answer, alarm = "", False, None, None
    elif link_follows:
        join_url = ""
    changed_at = max(occurrence.changed_at, answer.at) if answer else occurrence.changed_at
    page = f"{community.base_url}/meetings/{occurrence.key}"
    vevent = Event()
    vevent.add("UID", _Text(uid))
    vevent.add("SEQUENCE", occurrence.sequence)
    vevent.add("DTSTAMP", changed_at)
    vevent.add("LAST-MODIFIED", changed_at)
    _add_moment(vevent, "DTSTART", occurrence.starts, zone=occurrence.zone)
    _add_moment(vevent, "DTEND", occurrence.ends, zone=occurrence.zone)
    summary = _Text(_summary(occurrence, series, language))
    say = translator(language).gettext
    answer_text = say(ANSWERS[answer.word]) if answer else ""
    vevent.add("SUMMARY", summary)
    vevent.add(
        "DESCRIPTION",
        _Text(
            _description(
                occurrence,
                series,
                page=page,
                join_url=join_url,
                link_follows=link_follows,
                answer=answer_text,
                language=language,
            )
        ),
    )
    vevent.add("STATUS", "CANCELLED" if occurrence.cancelled else "CONFIRMED")
    vevent.add("TRANSP", "TRANSPARENT" if occurrence.cancelled else "OPAQUE")
    vevent.add("URL", vUri(page))
    if join_url:
        vevent.add("LOCATION", _Text(join_url))
        vevent.add("CONFERENCE", vUri(join_url, params=_CONFERENCE | {"LABEL": say("Join the meeting")}))
    if alarm is not None:
        valarm = Alarm()
        valarm.add("ACTION", "DISPLAY")
        valarm.add("DESCRIPTION", summary)
        valarm.add("TRIGGER", -alarm)
        vevent.add_component(valarm)
    return vevent


def feed_window(now: datetime) -> tuple[datetime, datetime]:
    """Return the period of a feed in UTC: from the first instant until before the second one.

    It covers at least 12 months back and 24 ahead. Both ends are the first of a month, so that the feed does not
    change within a month merely because time passes.
    """
    now = require_aware(now, "now")
    month = 12 * now.year + now.month - 1

    def first(number: int) -> datetime:
        return datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC)

    return first(month - _MONTHS_BACK), first(month + _MONTHS_AHEAD + 1)


def feed(
    occurrences: Sequence[Occurrence],
    series: Mapping[str, Series],
    community: Community,
    *,
    name: str,
    join: Callable[[Occurrence], str] | None = None,
    answers: Mapping[str, Answer] | None = None,
    alarm: timedelta | None = None,
    source: str | None = None,
    language: str | None = None,
) -> bytes:
    """Return a calendar to subscribe to (RFC 5545, RFC 7986): the same bytes for the same occurrences in any order.

    `series` has the series of each occurrence by its slug. A private feed has `join`, which returns a member's own link
    to a meeting, their `answers` by the key of the occurrence, and their `alarm`. `source` is the URL of a public feed.
    A feed without a `language` is in the community's.
    """
    ordered = sorted(occurrences, key=lambda occurrence: (occurrence.starts, occurrence.key))
    calendar = _feed_calendar(ordered, series, community, name=name, source=source)
    language = language or community.own_language
    for occurrence in ordered:
        calendar.add_component(
            event(
                occurrence,
                series[occurrence.series],
                community=community,
                language=language,
                uid=occurrence_uid(occurrence, community.domain),
                join_url=join(occurrence) if join else "",
                answer=(answers or {}).get(occurrence.key),
                alarm=alarm,
            )
        )
    return _octets(calendar)


def feed_without_events(
    occurrences: Sequence[Occurrence], series: Mapping[str, Series], community: Community, *, name: str
) -> bytes:
    """Return the `feed` of `occurrences` without their events: its properties and time zones only."""
    ordered = sorted(occurrences, key=lambda occurrence: (occurrence.starts, occurrence.key))
    return _octets(_feed_calendar(ordered, series, community, name=name))


def ended_feed(community: Community, *, ended_at: datetime, days: int, heading: str, words: str) -> bytes:
    """Return the content of a private feed whose URL has ended: one event of this many `days`, and no meeting."""
    day = ended_at.astimezone(UTC).date()
    vevent = Event()
    vevent.add("UID", _Text(_uid("feed-ended", community.domain)))
    vevent.add("DTSTAMP", ended_at)
    vevent.add("LAST-MODIFIED", ended_at)
    vevent.add("DTSTART", day)
    vevent.add("DTEND", day + timedelta(days=days))
    vevent.add("SUMMARY", _Text(_line(heading)))
    vevent.add("DESCRIPTION", _Text(_prose(words)))
    vevent.add("STATUS", "CONFIRMED")
    vevent.add("TRANSP", "TRANSPARENT")
    vevent.add("URL", vUri(f"{community.base_url}/subscribe"))
    calendar = _calendar()
    _add(calendar, ("NAME", "X-WR-CALNAME"), _line(community.name))
    calendar.add_component(vevent)
    return _octets(calendar)


def invitation(
    occurrence: Occurrence,
    series: Series,
    community: Community,
    *,
    method: Method,
    uid: str,
    attendee_name: str,
    attendee_address: str,
    join_url: str,
    rsvp: bool = False,
    language: str = "en",
) -> bytes:
    """Return one member's invitation, or its cancellation (RFC 5546 sections 3.2.2 and 3.2.5).

    `uid` is from `invitation_uid`; `attendee_address` is an address without a name. A changed invitation needs nothing
    else: the sequence of the occurrence shows the change. CANCEL also withdraws an old UID of a meeting that was
    reinstated under a new one. The attendee, whose length varies, comes last.
    Raises ValueError for a REQUEST to a cancelled meeting.
    """
    if method == "REQUEST" and occurrence.cancelled:
        raise ValueError(f"{occurrence.key} is cancelled: nobody can be invited to it")
    if method == "CANCEL":
        occurrence = replace(occurrence, cancelled=True)
    vevent = event(occurrence, series, community=community, uid=uid, join_url=join_url, language=language)
    vevent.add("ORGANIZER", _person(community.name, community.address))
    vevent.add(
        "ATTENDEE",
        _person(
            attendee_name,
            attendee_address,
            CUTYPE="INDIVIDUAL",
            ROLE="REQ-PARTICIPANT",
            PARTSTAT="NEEDS-ACTION",
            RSVP="TRUE" if rsvp else "FALSE",
        ),
    )
    calendar = _calendar()
    calendar.add("METHOD", method)
    _add_zones(calendar, _zones([occurrence]))
    calendar.add_component(vevent)
    return _octets(calendar, in_order=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class CalendarEntry:
    """What a calendar program reads from an invitation or its cancellation."""

    cancels: bool
    title: str
    starts: datetime
    ends: datetime


def read_entry(text: str) -> CalendarEntry:
    """Return the entry of an iCalendar object that `invitation` made."""
    calendar = Calendar.from_ical(text)
    vevent = calendar.events[0]
    starts, ends = vevent.start, vevent.end
    assert isinstance(starts, datetime) and isinstance(ends, datetime)
    return CalendarEntry(
        cancels=str(calendar.get("METHOD", "")) == "CANCEL",
        title=str(vevent.get("SUMMARY", "")),
        starts=starts,
        ends=ends,
    )


def _feed_calendar(
    ordered: Sequence[Occurrence],
    series: Mapping[str, Series],
    community: Community,
    *,
    name: str,
    source: str | None = None,
) -> Calendar:
    # A calendar without any component would be invalid.
    zones = _zones(ordered) or [
        (canonical_zone(item.zone), item.starts_on(item.first)) for item in series.values()
    ]
    calendar = _calendar()
    _add(calendar, ("NAME", "X-WR-CALNAME"), _line(name))
    _add(calendar, ("DESCRIPTION", "X-WR-CALDESC"), _prose(community.description))
    _add(calendar, ("X-WR-TIMEZONE",), zones[-1][0] if zones else "")
    _add(calendar, ("X-PUBLISHED-TTL",), "PT1H")
    _add(calendar, ("COLOR",), _line(community.color))
    calendar.add("REFRESH-INTERVAL", timedelta(hours=1), {"VALUE": "DURATION"})
    if source:
        calendar.add("SOURCE", vUri(source, params={"VALUE": "URI"}))
    _add_zones(calendar, zones)
    return calendar


def _calendar() -> Calendar:
    calendar = Calendar()
    calendar.add("VERSION", "2.0")
    calendar.add("PRODID", _PRODID)
    calendar.add("CALSCALE", "GREGORIAN")
    return calendar


def _octets(calendar: Calendar, *, in_order: bool = False) -> bytes:
    """Return the calendar as bytes, with its properties in the order of adding or in the library's own order."""
    octets: bytes = calendar.to_ical(sorted=not in_order)
    return octets


def _add(component: Component, names: Iterable[str], text: str) -> None:
    for name in names if text else ():
        component.add(name, _Text(text))


def _zones(occurrences: Iterable[Occurrence]) -> list[tuple[str, datetime]]:
    return [
        (canonical_zone(occurrence.zone), moment)
        for occurrence in occurrences
        for moment in (occurrence.starts, occurrence.ends)
    ]


def _add_zones(calendar: Calendar, moments: Iterable[tuple[str, datetime]]) -> None:
    by_zone: dict[str, list[datetime]] = {}
    for zone, moment in moments:
        by_zone.setdefault(zone, []).append(moment)
    for zone in sorted(by_zone.keys() - {"UTC"}):
        calendar.add_component(vtimezone(zone, min(by_zone[zone]), max(by_zone[zone])))


def _add_moment(component: Component, name: str, moment: datetime, *, zone: str) -> None:
    # With an old name (America/Godthab), KDE's parser is an hour early on the days on which clocks change.
    zone = canonical_zone(zone)
    local = moment.astimezone(ZoneInfo(zone))
    twice = local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset()
    if zone == "UTC" or twice:
        component.add(name, moment)
    else:
        # Naive, with an explicit TZID: the library would write Reykjavik and Abidjan as UTC.
        component.add(name, local.replace(tzinfo=None), {"TZID": zone})


def _stem(occurrence: Occurrence) -> str:
    return _stem_of(occurrence.key)


@lru_cache(maxsize=256)
def _stem_of(text: str) -> str:
    key = OccurrenceKey.parse(text)
    return f"{key.series}-{key.date:%Y%m%d}" + (f"t{key.time:%H%M}" if key.time else "")


def _uid(name: str, domain: str) -> str:
    uid = f"{name}@{domain}"
    if len(uid.encode()) > LONGEST_UID:
        raise ValueError(f"UID '{uid}' is longer than {LONGEST_UID} octets: shorten the slug or the domain")
    return uid


def _summary(occurrence: Occurrence, series: Series, language: str) -> str:
    title = ": ".join(filter(None, (_line(series.title), _line(occurrence.topic))))
    # In a feed, Outlook shows only the title of a cancelled meeting.
    say = translator(language).gettext
    return say("CANCELLED: %(title)s") % {"title": title} if occurrence.cancelled else title


def _description(
    occurrence: Occurrence,
    series: Series,
    *,
    page: str,
    join_url: str,
    link_follows: bool,
    answer: str,
    language: str,
) -> str:
    say = translator(language).gettext
    join = say("Join: %(url)s") % {"url": join_url} if join_url else ""
    facts = (
        say("Join: the link follows") if link_follows else join,
        say("Your answer: %(text)s") % {"text": answer} if answer else "",
        say("Topic: %(text)s") % {"text": occurrence.topic} if occurrence.topic else "",
        say("Speakers: %(text)s") % {"text": occurrence.speakers} if occurrence.speakers else "",
        say("Materials: %(text)s") % {"text": occurrence.materials} if occurrence.materials else "",
    )
    paragraphs = (
        say("This meeting is cancelled.") if occurrence.cancelled else "",
        "\n".join(filter(None, facts)),
        occurrence.description,
        series.description,
        say("About this meeting: %(url)s") % {"url": page},
    )
    return _prose("\n\n".join(filter(None, paragraphs)))


def _person(name: str, address: str, **parameters: str) -> vCalAddress:
    words, path = attendee_words(name, address)
    return vCalAddress(f"mailto:{path}", params={"CN": words, **parameters})


def _line(text: str) -> str:
    return _UNWRITABLE.sub(" ", text).strip()


def _prose(text: str) -> str:
    return _UNWRITABLE_IN_PROSE.sub(" ", text.replace("\r\n", "\n").replace("\r", "\n"))
