"""Read the audit log, in words."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from scheduler.domain.act import Act
from scheduler.domain.errors import Refused
from scheduler.domain.locale import country_name, language_name
from scheduler.domain.localtime import format_date
from scheduler.domain.occurrence import OccurrenceKey, Series
from scheduler.domain.policy import kind_in_words
from scheduler.domain.zone import city
from scheduler.service.audience_words import audience_words
from scheduler.store import audit
from scheduler.store.audit import AuditEntry
from scheduler.store.database import Database

PAGE = 50

ACTS: Mapping[Act, str] = {
    "about-restored": "Showed an earlier version of the page about us",
    "about-saved": "Changed the page about us",
    "change-told": "Told members about a change",
    "convenor-hidden": "Removed a convenor from the page of people",
    "convenor-shown": "Showed a convenor on the page of people",
    "follow-up-sent": "Sent the recording and notes of a meeting",
    "mail-sent-again": "Sent an email to a member again",
    "meeting-added": "Added a meeting",
    "meeting-cancelled": "Cancelled a meeting",
    "meeting-changed": "Changed a meeting",
    "meeting-moved": "Moved a meeting",
    "meeting-removed": "Removed a meeting",
    "meeting-restored": "Let a meeting take place after all",
    "member-added": "Added a member",
    "member-changed": "Changed a member’s details",
    "member-erased": "Erased a member",
    "member-links-ended": "Ended a member’s old links",
    "member-paused": "Paused a member’s emails",
    "member-removed": "Removed a member from the list",
    "members-exported": "Exported the list of members",
    "members-imported": "Imported members",
    "members-told-apart": "Noted that two members are different people",
    "message-dropped": "Dropped a message to us",
    "message-settled": "Dealt with a message to us",
    "notice-dropped": "Dropped an email that was on hold",
    "notice-held": "Put an email on hold",
    "notice-released": "Released an email that was on hold",
    "notice-resent": "Sent a notice to those who missed it",
    "notice-sent": "Sent a notice",
    "notice-stopped": "Stopped a notice",
    "passkey-added": "Added a passkey",
    "passkey-removed": "Removed a passkey",
    "profile-refused": "Did not show a member on the page of people",
    "profile-released": "Showed a member on the page of people",
    "profile-removed": "Removed a member from the page of people",
    "request-accepted": "Accepted a request to join",
    "request-declined": "Declined a request to join",
    "request-taken": "Took a request to join",
    "role-changed": "Changed somebody’s role",
    "signed-in": "Signed in",
    "signed-out": "Signed out",
    "speaker-changed": "Changed a speaker",
    "speakers-merged": "Merged two speakers",
    "theme-added": "Added a theme",
    "theme-changed": "Changed a theme",
    "theme-removed": "Deleted a theme",
    "themes-merged": "Merged two themes",
}

FIELDS: Mapping[str, str] = {
    # of a meeting
    "start": "Time",
    "cancelled": "Cancelled",
    "topic": "Topic",
    "speakers": "Speakers",
    "description": "What it is about",
    "link": "Link of the room",
    "materials": "Recording, slides and notes",
    "reason": "Reason",
    "summary": "Summary",
    "insights": "Insights",
    "themes": "Themes",
    "links": "Pages of speakers",
    "kinds": "Kinds of materials",
    # of a speaker or theme
    "organisation": "Organisation",
    "speaker": "Speaker",
    "theme": "Theme",
    "words": "What it is about",
    "meetings": "Meetings",
    # of what was sent
    "to": "To",
    "members": "Members",
    "notice": "Notice",
    "kind": "What",
    # of a member
    "name": "Name",
    "address": "Email address",
    "country": "Country",
    "zone": "Time zone",
    "zone_source": "How we know the time zone",
    "locale": "Language",
    "status": "Status",
    "role": "Role",
    "paused_until": "Paused until",
    "uninvited_at": "Not invited to what was open at",
    "feed_alarm_minutes": "Minutes before a meeting at which their calendar reminds them",
    "feed_answers": "Answers in their calendar",
    "invitation_by": "Invitations by",
    "suppressed_at": "Emails to them stopped",
    "suppressed_for": "Why emails to them stopped",
    # of a message to us
    "settlement": "What it wanted",
    "meeting": "Meeting",
    # of a sign-in
    "passkey": "Passkey",
    "sessions": "Devices",
    # of the page about us
    "restored": "Shown again",
    # of an import
    "added": "Added",
    "filled": "Filled in",
    "repaired": "Names repaired",
    "unchanged": "Unchanged",
    "left": "Not added again because they had left",
    "erased": "Not added again because they had been erased",
    "invited": "Invited",
    "invited_known": "Invited because they now follow a series",
    "invitations": "Invitations",
    "unmailed": "Added without being mailed",
    "still_mailed": "Still mailed, although the file says not to",
}
"""What to call the values that an entry has."""

WITHOUT_WORDS = frozenset(
    {"id", "address_key", "created_at", "active_since", "generation", "feed_generation", "feed_changed_at"}
)
"""Values of members that only the service needs; they change together with others."""

_SETTLED: Mapping[str, str] = {
    "leave": "to leave the list",
    "suppress": "no more emails to their address",
    "lift": "emails to their address again",
    "coming": "to say that they are coming",
    "maybe": "to say that they may come",
    "declined": "to say that they are not coming",
}
_VALUES: Mapping[tuple[str, str], str] = {
    ("zone_source", "given"): "they or a convenor said so",
    ("zone_source", "assumed"): "guessed from the country",
    ("zone_source", "confirmed"): "they confirmed it",
    ("status", "pending"): "not confirmed",
    ("invitation_by", "feed"): "calendar",
    **{("settlement", name): words for name, words in _SETTLED.items()},
}
"""Words for values that are kept as other words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedChange:
    """A value that an act changed or set: its name as it is kept, in words, and from what to what; `before` is None if
    there is only one value, such as a number of members."""

    name: str
    words: str
    before: str | None
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """An entry of the audit log in words. `act` and `subject` are as they are kept, `words` and `subject_words` say
    them; `about` is the name of the member that it was done to, if known."""

    id: int
    at: datetime
    actor: str
    channel: str
    act: str
    words: str
    subject: str
    subject_words: str
    about: str
    changes: tuple[LoggedChange, ...]


async def read_log(
    database: Database,
    *,
    all_series: Mapping[str, Series],
    before: int | None = None,
    actor: int | None = None,
    act: str = "",
    subject: str = "",
    limit: int = PAGE,
) -> list[LogLine]:
    """Return up to `limit` entries that match, the newest first; `before` is the number of the last entry seen."""
    async with database.read() as connection:
        found = await audit.entries(
            connection, before_id=before, actor=actor, act=act or None, subject=subject or None, limit=limit
        )
    return [_line(entry, all_series) for entry in found]


async def known_acts(database: Database) -> list[tuple[str, str]]:
    """Return the acts that the log has, each with its words, sorted by these."""
    async with database.read() as connection:
        known = await audit.acts(connection)
    return sorted(((act, act_in_words(act)) for act in known), key=lambda pair: pair[1])


def act_in_words(act: str) -> str:
    """Return `Moved a meeting` for `meeting-moved`."""
    return cast(Mapping[str, str], ACTS).get(act, act)


def subject_in_words(subject: str, all_series: Mapping[str, Series]) -> str:
    """Return `the meeting of 19 November 2026` for the key of a meeting, and any other subject unchanged."""
    try:
        key = OccurrenceKey.parse(subject)
    except Refused:
        return subject
    words = f"the meeting of {format_date(key.date)}"
    series = all_series.get(key.series)
    return f"{words} ({series.title})" if series and len(all_series) > 1 else words


def _line(entry: AuditEntry, all_series: Mapping[str, Series]) -> LogLine:
    names = [name for name in {**entry.before, **entry.after} if name not in WITHOUT_WORDS]
    return LogLine(
        id=entry.id,
        at=entry.at,
        actor=entry.actor_name,
        channel=entry.channel,
        act=entry.act,
        words=act_in_words(entry.act),
        subject=entry.subject,
        subject_words=subject_in_words(entry.subject, all_series),
        about=entry.about_name,
        changes=tuple(
            LoggedChange(
                name=name,
                words=_field(name, all_series),
                before=_value(name, entry.before[name], all_series) if name in entry.before else None,
                after=_value(name, entry.after.get(name), all_series),
            )
            for name in names
        ),
    )


def _field(name: str, all_series: Mapping[str, Series]) -> str:
    """Return what to call a value; the slug of a series says whether a member follows it."""
    if name in all_series:
        return f"Follows {all_series[name].title}"
    return FIELDS.get(name, name)


def _value(name: str, value: Any, all_series: Mapping[str, Series]) -> str:
    if value is None or value == "":
        return "nothing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    text = str(value)
    try:
        match name:
            case "country":
                return country_name(text)
            case "locale":
                return language_name(text)
            case "zone":
                return f"{city(text)} ({text})"
            case "to":
                return audience_words(text, all_series)
            case "meeting":
                return subject_in_words(text, all_series)
            case "notice":
                # It is kept as `12, day-before`, with the slug of its policy.
                return text.partition(",")[0]
            case "kind":
                return kind_in_words(text)
            case "start":
                day, clock, zone = text.split(" ")
                return f"{format_date(datetime.fromisoformat(day))}, {clock} in {city(zone)}"
            case "paused_until" | "suppressed_at" | "uninvited_at":
                moment = datetime.fromisoformat(text)
                return f"{format_date(moment)}, {moment:%H:%M} UTC"
    except ValueError:
        return text
    return _VALUES.get((name, text), text)
