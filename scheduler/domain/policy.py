"""When a kind of notice is due, until when it is useful, and which notices the policies want for an occurrence."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from scheduler.domain.clock import require_aware
from scheduler.domain.errors import Refused
from scheduler.domain.occurrence import Occurrence, require_slug

LONGEST_LEAD = timedelta(days=60)
FOLLOW_UP_LASTS = timedelta(days=14)
"""How long a follow-up is of use once it is due."""
FOLLOW_UP_REACH = LONGEST_LEAD + FOLLOW_UP_LASTS + timedelta(days=2)
"""A bound on how long after the end anything is to be done about a follow-up."""

EVERY_ZONE = "*"
"""Stands for the zone where one due instant serves all zones."""


class Kind(StrEnum):
    INVITATION = "invitation"
    REMINDER = "reminder"
    FOLLOW_UP = "follow-up"
    UPDATE = "update"
    CANCELLATION = "cancellation"
    NOTICE = "notice"
    CONFIRMATION = "confirmation"
    ALREADY_MEMBER = "already-member"
    WELCOME = "welcome"
    DECLINE = "decline"
    SIGN_IN = "sign-in"
    ADDRESS_CHANGE = "address-change"
    ADDRESS_CHANGED = "address-changed"


PLANNED = (Kind.INVITATION, Kind.REMINDER, Kind.FOLLOW_UP)
"""The kinds that policies ask for; the others are made by a convenor's press of a button."""
ONCE = (Kind.INVITATION, Kind.FOLLOW_UP)
"""Of these each meeting has at most one, whatever policy asks for it."""
CHANGES = (Kind.UPDATE, Kind.CANCELLATION)
"""What tells of a convenor's change to a meeting."""
MEETING = (*PLANNED, *CHANGES)
"""What speaks of one meeting."""
REPLIES = (
    Kind.CONFIRMATION,
    Kind.ALREADY_MEMBER,
    Kind.DECLINE,
    Kind.SIGN_IN,
    Kind.ADDRESS_CHANGE,
    Kind.ADDRESS_CHANGED,
)
"""What answers one person who asked for something, on the list or not."""
PERSONAL = (*REPLIES, Kind.WELCOME)
"""The service mails: each is to one person."""


def first_instant(wall: datetime, zone: str) -> datetime:
    """Return, in UTC, the naive `wall` time in `zone`: in a gap the first instant after it, in a fold the first."""
    there = ZoneInfo(zone)
    early = wall.replace(tzinfo=there, fold=0)
    if early.astimezone(UTC).astimezone(there).replace(tzinfo=None) == wall:
        return early.astimezone(UTC)
    # In a gap the two folds lie on either side of the change: find it between them.
    low, high = sorted((early.astimezone(UTC), wall.replace(tzinfo=there, fold=1).astimezone(UTC)))
    offset_before = low.astimezone(there).utcoffset()
    while high - low > timedelta(seconds=1):
        middle = low + (high - low) // 2
        if middle.astimezone(there).utcoffset() == offset_before:
            low = middle
        else:
            high = middle
    return high.replace(microsecond=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Either a `lead` before the start, or a local time `days_before` the member's own date of the meeting; for a
    follow-up a `lag` after the end, or a local time `days_after` that date.

    `series` names the one series it holds for; None means all.
    """

    slug: str
    kind: Kind
    lead: timedelta | None = None
    lag: timedelta | None = None
    days_before: int | None = None
    days_after: int | None = None
    at: time | None = None
    series: str | None = None

    def __post_init__(self) -> None:
        require_slug(self.slug, "policy slug")
        if self.kind not in PLANNED:
            raise Refused(
                f"policy {self.slug}: kind '{self.kind}' is not planned; accepted: {', '.join(PLANNED)}"
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
            raise Refused(f"policy {self.slug}: give either {span}, or {days} and at; not both, not neither")
        if self.span is not None and not timedelta(minutes=1) <= self.span <= LONGEST_LEAD:
            raise Refused(f"policy {self.slug}: {span} must be between a minute and 60 days")
        if self.days is not None and not 0 <= self.days <= 60:
            raise Refused(f"policy {self.slug}: {days} must be between 0 and 60")

    @property
    def span(self) -> timedelta | None:
        """The lead, or a follow-up's lag."""
        return self.lag if self.kind is Kind.FOLLOW_UP else self.lead

    @property
    def days(self) -> int | None:
        """The days before, or a follow-up's days after."""
        return self.days_after if self.kind is Kind.FOLLOW_UP else self.days_before

    @property
    def longest_lead(self) -> timedelta:
        """A bound on how long before the start anything of this policy is due."""
        if self.kind is Kind.FOLLOW_UP:
            return timedelta()
        return self.lead if self.lead is not None else timedelta(days=(self.days_before or 0) + 2)

    @property
    def definition(self) -> str:
        """What, when it changes, makes the policy a new one for the past: its timing."""
        return f"{self.kind};{self.span};{self.days};{self.at}"

    def zones(self, zones: frozenset[str]) -> frozenset[str]:
        """The zones that need a due instant of their own, out of those that members live in."""
        return frozenset({EVERY_ZONE}) if self.span is not None else zones

    def due_about(self, occurrence: Occurrence, zone: str) -> datetime:
        """Return the due instant in UTC, for members in `zone`, of what this policy tells about `occurrence`.

        A follow-up's local time counts on from the member's own date of the meeting; where it would fall at or before
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

        A local time counts back from the member's own date of the meeting; where it would fall at or after the
        start, it is one hour before the start.
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
    """A notice that a policy wants. `dues` holds the due instant (UTC) by zone, `*` for all zones at once; it is
    empty where every due instant lies before the policy was adopted."""

    kind: Kind
    policy: str
    occurrence: str
    identity: str
    starts: datetime
    expires: datetime
    dues: Mapping[str, datetime]


def identity(kind: Kind, occurrence: Occurrence, policy: str) -> str:
    """What makes two notices one. A reminder's holds the start, so that a moved meeting reminds anew."""
    if kind is Kind.REMINDER:
        return f"{kind}:{occurrence.key}:{policy}:{occurrence.starts.astimezone(UTC):%Y%m%dT%H%MZ}"
    return f"{kind}:{occurrence.key}"


def wanted(
    occurrence: Occurrence, policy: Policy, *, zones: frozenset[str], adopted_at: datetime, invite_now: bool
) -> Wanted | None:
    """Return what `policy` wants told about `occurrence` to members in `zones`, or None where nothing.

    A due instant before `adopted_at` creates nothing, but for an invitation where `invite_now` says that this is
    the next occurrence of a series new to invitations. A follow-up is wanted of a meeting that has materials, if they
    were there while it would have been of use.
    """
    if occurrence.cancelled or occurrence.orphaned:
        return None
    at_once = invite_now and policy.kind is Kind.INVITATION
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
        dues={zone: due for zone, due in dues.items() if at_once or due >= adopted_at},
    )


def next_occurrence(occurrences: Iterable[Occurrence], after: datetime) -> Occurrence | None:
    """The first of `occurrences` that is held and starts after `after`."""
    held = (one for one in occurrences if not one.cancelled and not one.orphaned and one.starts > after)
    return min(held, key=lambda one: (one.starts, one.key), default=None)


def due_in(dues: Mapping[str, datetime], zone: str) -> datetime | None:
    """The due instant for a member in `zone`, or None where there is none."""
    return dues.get(zone, dues.get(EVERY_ZONE))
