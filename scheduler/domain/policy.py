"""Kinds of notices, and policies: when one is due, how long it is useful, and which ones an occurrence should have."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum
from typing import cast
from zoneinfo import ZoneInfo

from scheduler.domain.clock import require_aware
from scheduler.domain.errors import Refused
from scheduler.domain.occurrence import Occurrence, OccurrenceKey, require_slug

LONGEST_LEAD = timedelta(days=60)
FOLLOW_UP_LASTS = timedelta(days=14)
"""How long a follow-up is useful after it is due."""
FOLLOW_UP_REACH = LONGEST_LEAD + FOLLOW_UP_LASTS + timedelta(days=2)
"""The longest time after the end of a meeting at which a follow-up may still need work."""

EVERY_ZONE = "*"
"""The key of a due instant that is the same in all zones."""


class Kind(StrEnum):
    INVITATION = "invitation"
    REMINDER = "reminder"
    FOLLOW_UP = "follow-up"
    UPDATE = "update"
    CANCELLATION = "cancellation"
    NOTICE = "notice"
    PREFLIGHT = "preflight"
    ROOM_MISSING = "room-missing"
    WEEKLY = "weekly"
    CONFIRMATION = "confirmation"
    ALREADY_MEMBER = "already-member"
    WELCOME = "welcome"
    DECLINE = "decline"
    SIGN_IN = "sign-in"
    CONSOLE_SIGN_IN = "console-sign-in"
    ADDRESS_CHANGE = "address-change"
    ADDRESS_CHANGED = "address-changed"
    CONTACT = "contact"


PLANNED = (Kind.INVITATION, Kind.REMINDER, Kind.FOLLOW_UP)
"""The kinds that come from policies. A person or an event causes each of the others."""
ONCE = (Kind.INVITATION, Kind.FOLLOW_UP)
"""Each meeting has at most one of each of these kinds, whichever policy it comes from."""
CHANGES = (Kind.UPDATE, Kind.CANCELLATION)
"""The kinds that announce a convenor's change to a meeting."""
MEETING = (*PLANNED, *CHANGES)
"""The kinds that are about one meeting."""
IN_ADVANCE = (Kind.PREFLIGHT, Kind.ROOM_MISSING)
"""The kinds that tell convenors what they need to know before a notice or a meeting."""
TO_CONVENORS = (*IN_ADVANCE, Kind.WEEKLY)
"""The kinds that go to all convenors, and say what was stored when they were planned."""
REPLIES = (
    Kind.CONFIRMATION,
    Kind.ALREADY_MEMBER,
    Kind.DECLINE,
    Kind.SIGN_IN,
    Kind.CONSOLE_SIGN_IN,
    Kind.ADDRESS_CHANGE,
    Kind.ADDRESS_CHANGED,
    Kind.CONTACT,
)
"""The kinds that answer one person who asked for something, whether a member or not, or take their words to the
convenors."""
PERSONAL = (*REPLIES, Kind.WELCOME)
"""The service mails, each to one person."""
SERVICE_MAIL_USEFUL_FOR = {
    Kind.CONFIRMATION: timedelta(days=2),
    Kind.ALREADY_MEMBER: timedelta(days=2),
    Kind.WELCOME: timedelta(days=7),
    Kind.DECLINE: timedelta(days=7),
    Kind.SIGN_IN: timedelta(hours=1),
    Kind.CONSOLE_SIGN_IN: timedelta(minutes=15),
    Kind.ADDRESS_CHANGE: timedelta(days=2),
    Kind.ADDRESS_CHANGED: timedelta(days=7),
    Kind.CONTACT: timedelta(days=7),
}
"""How long each service mail is useful; those of its links that expire are valid as long."""

KIND_NAMES: Mapping[Kind, str] = {
    Kind.INVITATION: "Invitation",
    Kind.REMINDER: "Reminder",
    Kind.FOLLOW_UP: "Follow-up",
    Kind.UPDATE: "Update",
    Kind.CANCELLATION: "Cancellation",
    Kind.NOTICE: "Notice",
    Kind.PREFLIGHT: "Notice to convenors before an email goes out",
    Kind.ROOM_MISSING: "Notice to convenors that the link to the room is missing",
    Kind.WEEKLY: "Weekly report to convenors",
    Kind.CONFIRMATION: "Request to confirm an address",
    Kind.ALREADY_MEMBER: "Answer that they are a member already",
    Kind.WELCOME: "Welcome",
    Kind.DECLINE: "Answer that a request to join was declined",
    Kind.SIGN_IN: "Link to their own page",
    Kind.CONSOLE_SIGN_IN: "Link to sign in as a convenor",
    Kind.ADDRESS_CHANGE: "Request to confirm a new address",
    Kind.ADDRESS_CHANGED: "Notice that their address was changed",
    Kind.CONTACT: "Message from the contact page",
}
"""What convenors call each kind."""


def kind_in_words(kind: str) -> str:
    """Return what to call a kind, such as `Follow-up`; another word with a capital letter."""
    return cast(Mapping[str, str], KIND_NAMES).get(kind, kind.capitalize())


def first_instant(wall: datetime, zone: str) -> datetime:
    """Return the UTC instant of the naive `wall` time in `zone`; in a gap, the first after it; in a fold, the first."""
    tz = ZoneInfo(zone)
    early = wall.replace(tzinfo=tz, fold=0)
    if early.astimezone(UTC).astimezone(tz).replace(tzinfo=None) == wall:
        return early.astimezone(UTC)
    # In a gap the two folds are on either side of the change; find it by bisection.
    low, high = sorted((early.astimezone(UTC), wall.replace(tzinfo=tz, fold=1).astimezone(UTC)))
    offset_before = low.astimezone(tz).utcoffset()
    while high - low > timedelta(seconds=1):
        middle = low + (high - low) // 2
        if middle.astimezone(tz).utcoffset() == offset_before:
            low = middle
        else:
            high = middle
    return high.replace(microsecond=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """When one kind of notice is due.

    It has either a `lead` before the start, or a local time `at` on the day that is `days_before` the member's own
    date of the meeting. A follow-up has either a `lag` after the end, or a local time `days_after` that date.
    `series` are the slugs of the only series for which it applies; None means all.
    """

    slug: str
    kind: Kind
    lead: timedelta | None = None
    lag: timedelta | None = None
    days_before: int | None = None
    days_after: int | None = None
    at: time | None = None
    series: frozenset[str] | None = None

    def __post_init__(self) -> None:
        require_slug(self.slug, "policy slug")
        if self.kind not in PLANNED:
            raise Refused(
                f"policy {self.slug}: kind '{self.kind}' cannot be planned; accepted: {', '.join(PLANNED)}"
            )
        follows = self.kind is Kind.FOLLOW_UP
        span, days = ("lag", "days_after") if follows else ("lead", "days_before")
        others = (self.lead, self.days_before) if follows else (self.lag, self.days_after)
        local = self.days is not None and self.at is not None
        if (
            (self.span is None) == (not local)
            or (self.days is None) != (self.at is None)
            or others != (None, None)
        ):
            raise Refused(f"policy {self.slug}: give either {span}, or {days} and at, but not both")
        if self.span is not None and not timedelta(minutes=1) <= self.span <= LONGEST_LEAD:
            raise Refused(f"policy {self.slug}: {span} must be between a minute and 60 days")
        if self.days is not None and not 0 <= self.days <= 60:
            raise Refused(f"policy {self.slug}: {days} must be between 0 and 60")

    @property
    def span(self) -> timedelta | None:
        """The lead, or the lag of a follow-up."""
        return self.lag if self.kind is Kind.FOLLOW_UP else self.lead

    @property
    def days(self) -> int | None:
        """The days before, or the days after of a follow-up."""
        return self.days_after if self.kind is Kind.FOLLOW_UP else self.days_before

    @property
    def longest_lead(self) -> timedelta:
        """The longest time before the start at which a notice of this policy may be due."""
        if self.kind is Kind.FOLLOW_UP:
            return timedelta()
        return self.lead if self.lead is not None else timedelta(days=(self.days_before or 0) + 2)

    @property
    def definition(self) -> str:
        """The timing as a text. If it changes, the policy counts as newly adopted."""
        return f"{self.kind};{self.span};{self.days};{self.at}"

    def zones(self, zones: frozenset[str]) -> frozenset[str]:
        """Return which of the members' `zones` need a due instant of their own."""
        return frozenset({EVERY_ZONE}) if self.span is not None else zones

    def due_about(self, occurrence: Occurrence, zone: str) -> datetime:
        """Return the due instant in UTC, for members in `zone`, of this policy's notice about `occurrence`.

        A follow-up's local time counts forwards from the member's own date of the meeting. If it would be at or before
        the end, it is one hour after the end.
        """
        if self.kind is not Kind.FOLLOW_UP:
            return self.due(occurrence.starts, zone)
        if self.lag is not None:
            return occurrence.ends + self.lag
        assert self.days_after is not None and self.at is not None
        day = occurrence.starts.astimezone(ZoneInfo(zone)).date() + timedelta(days=self.days_after)
        due = first_instant(datetime.combine(day, self.at), zone)
        return due if due > occurrence.ends else occurrence.ends + timedelta(hours=1)

    def due(self, starts: datetime, zone: str) -> datetime:
        """Return the due instant in UTC for members in `zone` of a meeting at `starts` (aware).

        A local time counts back from the member's own date of the meeting. If it would be at or after the start, it is
        one hour before the start.
        """
        starts = require_aware(starts, "start")
        if self.lead is not None:
            return starts - self.lead
        assert self.days_before is not None and self.at is not None
        day = starts.astimezone(ZoneInfo(zone)).date() - timedelta(days=self.days_before)
        due = first_instant(datetime.combine(day, self.at), zone)
        return due if due < starts else starts - timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A notice that should exist because of a policy.

    `dues` has the due instant (UTC) by zone, or under `*` for all zones; it is empty if all due instants are before the
    policy was adopted.
    """

    kind: Kind
    policy: str
    occurrence: str
    identity: str
    starts: datetime
    expires: datetime
    dues: Mapping[str, datetime]

    @property
    def series(self) -> str:
        """The slug of the series that the notice is about."""
        return OccurrenceKey.parse(self.occurrence).series


def identity(kind: Kind, occurrence: Occurrence, policy: str) -> str:
    """Return the identity of a notice. A reminder's includes the start, so that a moved meeting gets a new reminder."""
    if kind is Kind.REMINDER:
        return f"{kind}:{occurrence.key}:{policy}:{occurrence.starts.astimezone(UTC):%Y%m%dT%H%MZ}"
    return f"{kind}:{occurrence.key}"


def wanted(
    occurrence: Occurrence,
    policy: Policy,
    *,
    zones: frozenset[str],
    adopted_at: datetime,
    invited_late: Mapping[str, datetime],
) -> Wanted | None:
    """Return the notice about `occurrence` that `policy` gives to members in `zones`, or None if there is none.

    A due instant before `adopted_at` creates nothing, except for an invitation to an occurrence in `invited_late`, the
    result of `late_invitations`: it is due at the instant given there, if that is later. A follow-up needs materials
    that were added while it was still useful.
    """
    if not occurrence.is_held or occurrence.added_when_over:
        return None
    late = invited_late.get(occurrence.key) if policy.kind is Kind.INVITATION else None
    dues = {zone: policy.due_about(occurrence, zone) for zone in policy.zones(zones)}
    expires = occurrence.starts
    if policy.kind is Kind.FOLLOW_UP:
        expires = max(dues.values(), default=occurrence.ends) + FOLLOW_UP_LASTS
        if not occurrence.materials or occurrence.changed_at >= expires:
            return None
    return Wanted(
        kind=policy.kind,
        policy=policy.slug,
        occurrence=occurrence.key,
        identity=identity(policy.kind, occurrence, policy.slug),
        starts=occurrence.starts,
        expires=expires,
        dues={
            zone: due if due >= adopted_at or late is None else max(due, late)
            for zone, due in dues.items()
            if due >= adopted_at or late is not None
        },
    )


_AT_ONCE = datetime.min.replace(tzinfo=UTC)


def late_invitations(
    occurrences: Iterable[Occurrence], adopted_at: datetime, *, is_first: bool
) -> dict[str, datetime]:
    """Return, by key, from when (UTC) an invitation is sent that was already open when its policy was adopted.

    `occurrences` are those of one series. With `is_first`, which says that the series has just begun to send
    invitations, the one to the occurrence that was next is sent at once. The one to a later occurrence is sent when the
    occurrence before it is over. That does not change when they are over.
    """
    late = {}
    over = _AT_ONCE if is_first else None
    for occurrence in sorted(occurrences, key=lambda occurrence: (occurrence.starts, occurrence.key)):
        if occurrence.is_held and not occurrence.added_when_over and occurrence.starts > adopted_at:
            if over:
                late[occurrence.key] = over
            over = max(over or occurrence.ends, occurrence.ends)
    return late


def occurrence_before(occurrences: Iterable[Occurrence], occurrence: Occurrence) -> Occurrence | None:
    """Return the last of `occurrences` that is held in the same series and starts before `occurrence`."""
    earlier = (
        other
        for other in occurrences
        if other.series == occurrence.series and other.is_held and other.starts < occurrence.starts
    )
    return max(earlier, key=lambda other: (other.starts, other.key), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """The start and end (UTC) of the meeting before the one that an invitation is about.

    Who came after the invitation was due, and before that start, is invited at that end. If a meeting of the series was
    cancelled or moved later than that, `over` is the instant of this change: nobody has to wait for it any more.
    """

    starts: datetime
    over: datetime


def wait_before(occurrences: Iterable[Occurrence], occurrence: Occurrence) -> Wait | None:
    """Return what latecomers to the invitation to `occurrence` wait for, or None if they never had to wait."""
    others = [
        other
        for other in occurrences
        if other.series == occurrence.series and other.key != occurrence.key and not other.added_when_over
    ]
    before = occurrence_before(others, occurrence)
    changes = [other.changed_at for other in others if other.revision]
    over = max([*changes, *([before.ends] if before else [])], default=None)
    return Wait(starts=before.starts if before else over, over=over) if over else None


def next_occurrence(occurrences: Iterable[Occurrence], after: datetime) -> Occurrence | None:
    """Return the first of `occurrences` that is neither cancelled nor orphaned and starts after `after`."""
    upcoming = (occurrence for occurrence in occurrences if occurrence.is_held and occurrence.starts > after)
    return min(upcoming, key=lambda occurrence: (occurrence.starts, occurrence.key), default=None)


def due_in(dues: Mapping[str, datetime], zone: str) -> datetime | None:
    """Return the due instant for a member in `zone`, or None if there is none."""
    return dues.get(zone, dues.get(EVERY_ZONE))
