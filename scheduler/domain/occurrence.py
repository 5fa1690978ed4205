"""The recurring meeting and its occurrences: turn the rule and wall time of a series into instants."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from datetime import date as Date  # noqa: N812 - `date` is the field of an occurrence
from enum import StrEnum
from zoneinfo import ZoneInfo

from scheduler.domain.clock import require_aware
from scheduler.domain.errors import Refused
from scheduler.domain.recurrence import RuleDates, read_rule, rule_dates

_SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_KEY = re.compile(r"(?P<series>[a-z0-9-]+)/(?P<date>\d{4}-\d\d-\d\d)(T(?P<time>\d{4}))?")

LONGEST_SLUG = 40
"""Keeps a UID (slug, date, keyed hash and domain) within 100 octets."""


ANSWERS = ("coming", "maybe", "declined")
"""What a member can answer to an occurrence."""


def require_slug(value: str, what: str) -> str:
    """Return `value`, a slug of lower-case letters, digits and single hyphens. Raises Refused, naming `what`."""
    if not _SLUG.fullmatch(value) or len(value) > LONGEST_SLUG:
        raise Refused(
            f"{what}: '{value}' is not a slug; use lower-case letters, digits and hyphens, at most {LONGEST_SLUG}"
        )
    return value


def instant(wall: datetime, zone: str) -> datetime:
    """Return the UTC instant of a naive wall time in `zone`.

    In a gap, use the offset before the gap; in a fold, the first instant (RFC 5545 section 3.3.5). Calendar programs
    do the same.
    """
    return wall.replace(tzinfo=ZoneInfo(zone), fold=0).astimezone(UTC)


def in_gap(wall: datetime, zone: str) -> bool:
    """Return whether the clocks of `zone` never show the naive wall time `wall`."""
    return instant(wall, zone).astimezone(ZoneInfo(zone)).replace(tzinfo=None) != wall


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A recurring meeting: a rule on home dates, a wall-clock start in an IANA zone, a duration.

    `rule` may be in English words; it is stored in the form of RFC 5545. Each member follows the series until they say
    no, or with `by_choice` only after they say yes. `titles` are pairs of a language and the title in it.
    """

    slug: str
    title: str
    rule: str
    start: time
    zone: str
    duration: timedelta
    first: Date
    description: str = ""
    link: str = ""
    by_choice: bool = False
    titles: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        require_slug(self.slug, "series slug")
        if self.start.tzinfo is not None or self.start.second or self.start.microsecond:
            raise Refused(
                f"series {self.slug}: start must be a wall-clock time HH:MM, without zone or seconds"
            )
        if not timedelta(0) < self.duration <= timedelta(days=1):
            raise Refused(f"series {self.slug}: the duration must be between a minute and a day")
        rule = read_rule(self.rule, start=self.start, zone=self.zone)
        object.__setattr__(self, "rule", rule)
        rule_dates(rule, self.first)

    @property
    def _dates(self) -> RuleDates:
        return rule_dates(self.rule, self.first)

    @property
    def fingerprint(self) -> str:
        """A text that changes whenever the rule of the stored occurrences is changed."""
        return f"{self.rule};{self.start:%H:%M};{self.zone};{self.duration.total_seconds():.0f};{self.first}"

    def in_language(self, language: str) -> "Series":
        """Return the series with its title in a language, if it has one in it."""
        title = dict(self.titles).get(language)
        return replace(self, title=title) if title else self

    def gives(self, day: Date) -> bool:
        """Return whether the rule has a meeting on the home date `day`."""
        return next(self._dates.since(day), None) == day

    def dates(self, since: Date) -> Iterator[Date]:
        """Return the home dates of the rule from `since` on, in order; endless unless the rule ends."""
        return self._dates.since(since)

    def date_before(self, day: Date) -> Date | None:
        """Return the last home date of the rule before `day`, or None if there is none."""
        return self._dates.before(day)

    def starts_on(self, day: Date) -> datetime:
        """Return the instant, in UTC, at which the rule's meeting on the home date `day` starts."""
        return instant(datetime.combine(day, self.start), self.zone)

    def occurrence(self, day: Date, adopted_at: datetime) -> "Occurrence":
        """Return the unamended occurrence of the rule on `day`; `adopted_at` is when the series was adopted."""
        starts = self.starts_on(day)
        return Occurrence(
            key=f"{self.slug}/{day}",
            series=self.slug,
            date=day,
            zone=self.zone,
            original=starts,
            starts=starts,
            ends=starts + self.duration,
            changed_at=adopted_at,
        )


def slugs_by_choice(all_series: Iterable[Series]) -> frozenset[str]:
    """Return the slugs of the series that only those members follow who say so."""
    return frozenset(series.slug for series in all_series if series.by_choice)


def offers_choice(all_series: Sequence[Series]) -> bool:
    """Return whether there is anything to choose: more than one series, or one that only those follow who say so."""
    return len(all_series) > 1 or bool(slugs_by_choice(all_series))


def followed(all_series: Iterable[Series], choices: Mapping[str, bool]) -> list[str]:
    """Return the slugs of the series that a member follows, in the order of the settings.

    `choices` are the member's explicit choices by slug; for every other series its default counts.
    """
    return [series.slug for series in all_series if choices.get(series.slug, not series.by_choice)]


class Status(StrEnum):
    SCHEDULED = "scheduled"
    MOVED = "moved"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Preceding:
    """The rule's meeting before an occurrence: `original` is its start in UTC, `zone` its home zone.

    `as_planned` is false if it was moved or cancelled.
    """

    original: datetime
    zone: str
    as_planned: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Occurrence:
    """One meeting of a series, in its present state. All instants are in UTC.

    `original` is the start that came from the rule, or with which an extra was added; `date` is its home date.
    `revision` counts every change, `sequence` only those of start, end or status (RFC 5545 section 3.8.7.4);
    `reinstated` counts how often it was restored after a cancellation. An extra that was `added_when_over`, for the
    archive, is never mailed about. `previous` is the stored meeting before it;
    None if that is unknown or is what the rule gives.
    """

    key: str
    series: str
    date: Date
    zone: str
    original: datetime
    starts: datetime
    ends: datetime
    changed_at: datetime
    cancelled: bool = False
    extra: bool = False
    added_when_over: bool = False
    orphaned: bool = False
    topic: str = ""
    speakers: str = ""
    description: str = ""
    link: str = ""
    materials: str = ""
    revision: int = 0
    sequence: int = 0
    reinstated: int = 0
    previous: Preceding | None = None

    def __post_init__(self) -> None:
        for name in ("original", "starts", "ends", "changed_at"):
            object.__setattr__(self, name, require_aware(getattr(self, name), f"{self.key} {name}"))
        if self.ends <= self.starts:
            raise ValueError(f"{self.key} ends before it starts")

    @property
    def status(self) -> Status:
        if self.cancelled:
            return Status.CANCELLED
        return Status.MOVED if self.starts != self.original else Status.SCHEDULED

    @property
    def is_held(self) -> bool:
        """Whether it takes place: it is neither cancelled nor orphaned."""
        return not self.cancelled and not self.orphaned

    @property
    def home_date(self) -> Date:
        """The date in the home zone on which it is now held."""
        return self.starts.astimezone(ZoneInfo(self.zone)).date()


def next_change(occurrence: Occurrence, now: datetime) -> datetime:
    """Return when a change made `now` is said to have been made: calendars need a later second for each change."""
    return max(now.replace(microsecond=0), occurrence.changed_at + timedelta(seconds=1))


def following(
    occurrence: Occurrence, before: Occurrence | None, series: Series, *, derived_until: datetime
) -> Occurrence:
    """Return `occurrence` with the meeting that precedes it.

    `before` is the last stored one of an earlier date. All meetings of the rule up to `derived_until` are stored, and
    a changed rule does not change the past: only after that, and between `before` and `occurrence`, can the present
    rule have one that is not stored yet.
    """
    if before is None or occurrence.extra:
        return occurrence
    if occurrence.original > derived_until:
        day = series.date_before(occurrence.date)
        if day and day > before.date and series.starts_on(day) > derived_until:
            return occurrence
    return replace(occurrence, previous=preceding(before))


def preceding(before: Occurrence) -> Preceding:
    """Return what the meeting after `before` needs to know about it."""
    return Preceding(original=before.original, zone=before.zone, as_planned=before.status is Status.SCHEDULED)


@dataclass(frozen=True, slots=True)
class OccurrenceKey:
    """A key `<series>/<date>`, or for an extra `<series>/<date>T<HHMM>`."""

    series: str
    date: Date
    time: time | None

    @classmethod
    def parse(cls, text: str) -> "OccurrenceKey":
        """Parse a key. Raises Refused if `text` is not one."""
        match = _KEY.fullmatch(text)
        try:
            if not match:
                raise ValueError
            clock = match["time"]
            return cls(
                match["series"],
                Date.fromisoformat(match["date"]),
                time(int(clock[:2]), int(clock[2:])) if clock else None,
            )
        except ValueError:
            raise Refused(
                f"'{text}' is not an occurrence; write SERIES/YYYY-MM-DD, as `schedule` shows it"
            ) from None
