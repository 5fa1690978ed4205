"""When a kind of notice is due, and until when it is of use."""

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from scheduler.domain.clock import require_aware
from scheduler.domain.occurrence import require_slug
from scheduler.domain.problem import Refused

EVERY_ZONE = "*"
"""Stands for the zone where one due instant serves all zones."""


class Kind(StrEnum):
    INVITATION = "invitation"
    REMINDER = "reminder"
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


PLANNED = (Kind.INVITATION, Kind.REMINDER)
"""The kinds that policies ask for; the others are made by a convenor's press of a button."""
MEETING = (*PLANNED, Kind.UPDATE, Kind.CANCELLATION)
"""What speaks of one meeting."""
REPLIES = (
    Kind.CONFIRMATION, Kind.ALREADY_MEMBER, Kind.DECLINE, Kind.SIGN_IN, Kind.ADDRESS_CHANGE, Kind.ADDRESS_CHANGED,
)  # fmt: skip
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
    """Either a `lead` before the start, or a local time `days_before` the member's own date of the meeting.

    `series` names the one series it holds for; None means all.
    """

    slug: str
    kind: Kind
    lead: timedelta | None = None
    days_before: int | None = None
    at: time | None = None
    series: str | None = None

    def __post_init__(self) -> None:
        require_slug(self.slug, "policy slug")
        if self.kind not in PLANNED:
            raise Refused(
                f"policy {self.slug}: kind '{self.kind}' is not planned; accepted: {', '.join(PLANNED)}"
            )
        local = self.days_before is not None and self.at is not None
        if (self.lead is None) == (not local) or (self.days_before is None) != (self.at is None):
            raise Refused(
                f"policy {self.slug}: give either lead, or days_before and at; not both, not neither"
            )
        if self.lead is not None and not timedelta(minutes=1) <= self.lead <= timedelta(days=60):
            raise Refused(f"policy {self.slug}: lead must be between a minute and 60 days")
        if self.days_before is not None and not 0 <= self.days_before <= 60:
            raise Refused(f"policy {self.slug}: days_before must be between 0 and 60")

    @property
    def longest_lead(self) -> timedelta:
        """A bound on how long before the start anything of this policy is due."""
        return self.lead if self.lead is not None else timedelta(days=(self.days_before or 0) + 2)

    @property
    def definition(self) -> str:
        """What, when it changes, makes the policy a new one for the past: its timing."""
        return f"{self.kind};{self.lead};{self.days_before};{self.at}"

    def zones(self, zones: frozenset[str]) -> frozenset[str]:
        """The zones that need a due instant of their own, out of those that members live in."""
        return frozenset({EVERY_ZONE}) if self.lead is not None else zones

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
