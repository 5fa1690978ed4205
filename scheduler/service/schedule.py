"""List meetings as everybody sees them: the coming and past ones, one by its key, the schedule, the public feed."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from heapq import merge
from itertools import islice, takewhile
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain import calendar
from scheduler.domain.community import Community
from scheduler.domain.errors import Refused
from scheduler.domain.localtime import LocalTime, local_time
from scheduler.domain.occurrence import Occurrence, OccurrenceKey, Series, followed, following, preceding
from scheduler.service.settings_sync import apply_rule
from scheduler.store import follows, meeting_records, members, occurrences
from scheduler.store.database import Database
from scheduler.store.occurrences import AdoptedSeries

MOST_COMING = 60
MOST_COMING_EACH = 3
"""How many coming meetings of each series are listed together with those of others."""

NEIGHBOURHOOD = timedelta(days=400)
"""How far apart two meetings may be to lead to each other: a rule may give only one each year."""

_LONGEST_MEETING = timedelta(days=1)
_ANYWHERE_ELSE = timedelta(days=2)
"""More than a local date can differ from the date in UTC."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """Every occurrence of some series: the stored ones, and the later ones that the rules give."""

    _lines: Sequence["_SeriesTimeline"]

    def of(self, slug: str) -> "Timeline":
        """Return the timeline of one of the series."""
        return Timeline([line for line in self._lines if line.series.slug == slug])

    def since(self, instant: datetime) -> Iterator[Occurrence]:
        """Return the occurrences with a start from `instant` (aware) on, by start; endless unless every rule ends."""
        return merge(*(line.since(instant) for line in self._lines), key=_order)

    def unfinished(self, now: datetime) -> Iterator[Occurrence]:
        """Return the occurrences that end after `now` (aware), by start; cancelled ones too."""
        recent = self.since(now - _LONGEST_MEETING)
        return (occurrence for occurrence in recent if occurrence.ends > now)

    def from_date(self, day: date) -> Iterator[Occurrence]:
        """Return the occurrences held on the home date `day` or later, by start."""
        first = min((line.series.first for line in self._lines), default=day)
        instant = datetime.combine(max(day, first), time(), UTC) - _ANYWHERE_ELSE
        return (occurrence for occurrence in self.since(instant) if occurrence.home_date >= day)

    def today(self, now: datetime) -> date:
        """Return the home date at `now`; the earliest one if the series have several home zones."""
        return min(
            (now.astimezone(ZoneInfo(line.series.zone)).date() for line in self._lines), default=now.date()
        )


async def timeline(
    connection: AsyncConnection,
    all_series: Sequence[Series],
    *,
    now: datetime,
    since: datetime | None = None,
    undated: bool = False,
) -> Timeline:
    """Read the stored occurrences of some series; the later ones are derived from the rules on demand.

    With `since`, those that ended before are left out: a community may have met for decades.

    A rule that was changed in the settings applies at once, even before a `serve` adopts it. Past meetings of
    which only the month is known are left out, because the day on which they are stored was made up; with `undated`
    they are there too.
    """
    adopted = await occurrences.adopted_series(connection)
    slugs = [series.slug for series in all_series]
    stored = (
        await occurrences.recent_occurrences(connection, slugs, since=since)
        if since
        else await occurrences.all_occurrences(connection)
    )
    if not undated:
        left_out = await _undated(connection, stored)
        stored = [occurrence for occurrence in stored if occurrence.key not in left_out]
    changed = any(
        series.slug in adopted and adopted[series.slug].fingerprint != series.fingerprint
        for series in all_series
    )
    kept_occurrences = await occurrences.kept_occurrences(connection) if changed else set[str]()
    return Timeline(
        [
            _series_timeline(
                series, adopted.get(series.slug), stored, kept_occurrences=kept_occurrences, now=now
            )
            for series in all_series
        ]
    )


async def _undated(connection: AsyncConnection, stored: Sequence[Occurrence]) -> set[str]:
    """Return the keys of those of which only the month is known; all of them were added for the past."""
    keys = [occurrence.key for occurrence in stored if occurrence.added_when_over]
    return await meeting_records.with_month_only(connection, keys)


@dataclass(frozen=True, slots=True)
class _SeriesTimeline:
    """The occurrences of one series: the stored ones, by start, and those of the rule with a start after `after`."""

    series: Series
    stored: Sequence[Occurrence]
    after: datetime
    adopted_at: datetime

    def since(self, instant: datetime) -> Iterator[Occurrence]:
        """Return the occurrences with a start from `instant` on, in order; endless unless the rule ends."""
        stored = (occurrence for occurrence in self.stored if occurrence.starts >= instant)
        return merge(stored, self._derived(instant), key=_order)

    def _derived(self, instant: datetime) -> Iterator[Occurrence]:
        stored_by_key = {occurrence.key: occurrence for occurrence in self.stored}
        regular = _regular(self.stored)
        before: Occurrence | None = None
        for day in self.series.dates((max(instant, self.after) - timedelta(days=1)).date()):
            occurrence = self.series.occurrence(day, self.adopted_at)
            if occurrence.starts <= self.after:
                continue
            if occurrence.key in stored_by_key:
                before = stored_by_key[occurrence.key]
                continue
            if occurrence.starts >= instant:
                if before is None:
                    last = _last_before(regular, occurrence.date)
                    yield following(occurrence, last, self.series, derived_until=self.after)
                else:
                    yield replace(occurrence, previous=preceding(before))
            before = occurrence


def _series_timeline(
    series: Series,
    adopted: AdoptedSeries | None,
    stored: Sequence[Occurrence],
    *,
    kept_occurrences: set[str],
    now: datetime,
) -> _SeriesTimeline:
    own = [occurrence for occurrence in stored if occurrence.series == series.slug]
    after = _derived_after(series, adopted, now)
    if adopted and adopted.fingerprint != series.fingerprint:
        own, _ = apply_rule(series, own, kept_occurrences=kept_occurrences, now=now)
    return _SeriesTimeline(series, _with_previous(series, own, after=after), after, _since(series, adopted))


def _with_previous(series: Series, stored: Sequence[Occurrence], *, after: datetime) -> list[Occurrence]:
    """Return the stored occurrences of a series, each with the one before it; `after` is where they end."""
    regular = _regular(stored)
    return [
        following(occurrence, _last_before(regular, occurrence.date), series, derived_until=after)
        for occurrence in stored
    ]


def _regular(stored: Sequence[Occurrence]) -> list[Occurrence]:
    """Return the stored meetings of the rule, by date: those that others are compared with."""
    regular = (
        occurrence
        for occurrence in stored
        if not occurrence.extra and not (occurrence.orphaned and occurrence.cancelled)
    )
    return sorted(regular, key=lambda occurrence: occurrence.date)


def _last_before(regular: Sequence[Occurrence], day: date) -> Occurrence | None:
    index = bisect_left(regular, day, key=lambda occurrence: occurrence.date)
    return regular[index - 1] if index else None


def _derived_after(series: Series, adopted: AdoptedSeries | None, now: datetime) -> datetime:
    """Return the instant up to which every occurrence is in the store; only later ones follow from the rule."""
    if adopted is None:
        return series.starts_on(series.first) - timedelta(days=1)
    # A changed rule that no tick has adopted yet applies from now on.
    return adopted.derived_until if adopted.fingerprint == series.fingerprint else now


def _since(series: Series, adopted: AdoptedSeries | None) -> datetime:
    # Not "now" before adoption: a feed would have other bytes on each request.
    return adopted.adopted_at if adopted else series.starts_on(series.first)


def _order(occurrence: Occurrence) -> tuple[datetime, str]:
    return occurrence.starts, occurrence.key


async def find_occurrence(
    connection: AsyncConnection, all_series: Mapping[str, Series], key: str, *, now: datetime
) -> Occurrence | None:
    """Return the occurrence with that key, stored or yet to come of its series' rule; None if there is none.

    This is the only place that decides whether an occurrence exists. Once a rule has been adopted, its past
    occurrences are in the store: a past date that only a later rule gives was never a meeting.
    """
    try:
        parsed = OccurrenceKey.parse(key)
    except Refused:
        return None
    series = all_series.get(parsed.series)
    if series is None:
        return None
    stored = await occurrences.occurrence_by_key(connection, key)
    if stored:
        return await occurrences.with_preceding(connection, stored, series)
    if parsed.time is not None or not series.gives(parsed.date):
        return None
    adopted = (await occurrences.adopted_series(connection)).get(series.slug)
    derived = series.occurrence(parsed.date, _since(series, adopted))
    if derived.starts <= _derived_after(series, adopted, now):
        return None
    return await occurrences.with_preceding(connection, derived, series)


async def read_meeting(
    database: Database, all_series: Mapping[str, Series], key: str, *, now: datetime
) -> Occurrence | None:
    """Return the same as `find_occurrence`, in a transaction of its own."""
    async with database.read() as connection:
        return await find_occurrence(connection, all_series, key, now=now)


async def read_dated_meeting(
    database: Database, all_series: Mapping[str, Series], key: str, *, now: datetime
) -> Occurrence | None:
    """Return the same as `read_meeting`, but None for a meeting of which only the month is known."""
    async with database.read() as connection:
        found = await find_occurrence(connection, all_series, key, now=now)
        return None if found is None or await _undated(connection, [found]) else found


@dataclass(frozen=True, slots=True)
class Row:
    """An occurrence and its local times, by zone name as it was asked for."""

    occurrence: Occurrence
    local: Mapping[str, LocalTime]

    def document(self) -> dict[str, Any]:
        """Return the row as `schedule --json` prints it."""
        occurrence = self.occurrence
        return {
            "key": occurrence.key,
            "series": occurrence.series,
            "starts_utc": occurrence.starts.isoformat(),
            "ends_utc": occurrence.ends.isoformat(),
            "status": occurrence.status.value,
            "topic": occurrence.topic,
            "local": {
                zone: {
                    "starts": local.starts_iso,
                    "ends": local.ends_iso,
                    "weekday": local.weekday,
                    "day_shift": local.day_shift,
                    "shift_minutes": local.shift_minutes,
                    "note": local.note,
                }
                for zone, local in self.local.items()
            },
        }


async def schedule(
    database: Database,
    series: Sequence[Series],
    *,
    now: datetime,
    since: date | None,
    count: int,
    zones: Sequence[str] = (),
) -> list[Row]:
    """Return the next `count` occurrences of `series` held on the home date `since` (None: today) or later, by start.

    Local times are those of `zones`; without any, of each occurrence's home zone.
    """
    async with database.read() as connection:
        line = await timeline(connection, series, now=now)
    by_slug = {each_series.slug: each_series for each_series in series}
    return [
        Row(
            occurrence,
            {
                zone: local_time(occurrence, by_slug[occurrence.series], zone=zone)
                for zone in zones or [occurrence.zone]
            },
        )
        for occurrence in islice(line.from_date(since or line.today(now)), count)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """The coming meetings and the size of the community. `next` is the first that is held, even if it has begun."""

    next: Occurrence | None
    coming: Sequence[Occurrence]
    members: int
    countries: int


async def outlook(database: Database, series: Sequence[Series], *, now: datetime, until: datetime) -> Outlook:
    """Return the occurrences that are not over and start before `until`, cancelled ones too, at most MOST_COMING, and
    the size of the community. With several series, return at most MOST_COMING_EACH of each, series by series."""
    async with database.read() as connection:
        line = await timeline(connection, series, now=now, since=now - _LONGEST_MEETING)
        if len(series) > 1:
            coming = [
                occurrence
                for each_series in series
                for occurrence in _coming(line.of(each_series.slug), MOST_COMING_EACH, now=now, until=until)
            ]
        else:
            coming = _coming(line, MOST_COMING, now=now, until=until)
        return Outlook(
            next=_next(line, now),
            coming=coming,
            members=(await members.counts(connection)).get("active", 0),
            countries=await members.countries(connection),
        )


def _coming(line: Timeline, most: int, *, now: datetime, until: datetime) -> list[Occurrence]:
    return list(islice(takewhile(lambda occurrence: occurrence.starts < until, line.unfinished(now)), most))


async def neighbours(
    database: Database, series: Series, occurrence: Occurrence, *, now: datetime
) -> tuple[Occurrence | None, Occurrence | None]:
    """Return the meetings of a series that are held next before and after one of its own; None if none is near."""
    async with database.read() as connection:
        since = occurrence.starts - NEIGHBOURHOOD - _LONGEST_MEETING
        line = await timeline(connection, [series], now=now, since=since)
    before: Occurrence | None = None
    for other in line.since(occurrence.starts - NEIGHBOURHOOD):
        if other.starts - occurrence.starts > NEIGHBOURHOOD:
            break
        if other.key == occurrence.key or not other.is_held:
            continue
        if _order(other) > _order(occurrence):
            return before, other
        before = other
    return before, None


async def coming_meetings(
    database: Database, series: Series, *, now: datetime, until: datetime, most: int
) -> list[Occurrence]:
    """Return the occurrences of one series that are not over and start before `until`, cancelled ones too."""
    async with database.read() as connection:
        line = await timeline(connection, [series], now=now, since=now - _LONGEST_MEETING)
        return _coming(line, most, now=now, until=until)


async def stored_past(database: Database, *, now: datetime, most: int) -> list[Occurrence]:
    """Return the latest stored occurrences that are over and whose day is known, cancelled ones too, the newest
    first."""
    async with database.read() as connection:
        return await occurrences.over(connection, now, most=most, undated=False)


async def all_stored_past(
    database: Database, *, now: datetime, most: int
) -> tuple[list[Occurrence], set[str]]:
    """Return the same with those of which only the month is known, and the keys of these."""
    async with database.read() as connection:
        found = await occurrences.over(connection, now, most=most, undated=True)
        return found, await _undated(connection, found)


async def next_meeting(database: Database, series: Sequence[Series], *, now: datetime) -> Occurrence | None:
    """Return the first occurrence that is held and not over, or None if no rule gives another."""
    async with database.read() as connection:
        return await upcoming(connection, series, now=now)


async def upcoming(
    connection: AsyncConnection, series: Sequence[Series], *, now: datetime
) -> Occurrence | None:
    """Return the same as `next_meeting`, within a transaction."""
    return _next(await timeline(connection, series, now=now, since=now - _LONGEST_MEETING), now)


async def upcoming_of_each(
    connection: AsyncConnection, series: Sequence[Series], *, now: datetime
) -> list[Occurrence | None]:
    """Return the first occurrence of each series that is held and not over."""
    line = await timeline(connection, series, now=now, since=now - _LONGEST_MEETING)
    return [_next(line.of(each_series.slug), now) for each_series in series]


async def next_meetings_of(
    connection: AsyncConnection, member: int, all_series: Sequence[Series], *, now: datetime
) -> dict[str, Occurrence | None]:
    """Return the next meeting of each series that a member follows, by slug; None where there is none."""
    slugs = followed(all_series, await follows.choices_of(connection, member))
    series = [each_series for each_series in all_series if each_series.slug in slugs]
    meetings = await upcoming_of_each(connection, series, now=now) if series else []
    return dict(zip(slugs, meetings, strict=True))


def _next(line: Timeline, now: datetime) -> Occurrence | None:
    # Give up after 400 meetings that are all cancelled.
    return next(
        (
            occurrence
            for occurrence in islice(line.unfinished(now), 400)
            if not occurrence.cancelled and not occurrence.orphaned
        ),
        None,
    )


async def without_room(
    database: Database, series: Sequence[Series], *, now: datetime, within: timedelta
) -> list[Occurrence]:
    """Return the meetings that begin within a time from now and have no room link, by start."""
    links = {each_series.slug: each_series.link for each_series in series}
    async with database.read() as connection:
        line = await timeline(connection, series, now=now, since=now - _LONGEST_MEETING)
        coming = takewhile(lambda occurrence: occurrence.starts <= now + within, line.unfinished(now))
        return [
            occurrence
            for occurrence in coming
            if not (
                occurrence.cancelled or occurrence.orphaned or occurrence.link or links[occurrence.series]
            )
        ]


def unmoved(occurrence: Occurrence) -> Occurrence:
    """Return the occurrence at its original time."""
    length = occurrence.ends - occurrence.starts
    return replace(occurrence, starts=occurrence.original, ends=occurrence.original + length)


@dataclass(frozen=True, slots=True)
class CalendarFile:
    """A calendar's bytes and the second (UTC) at which they last changed."""

    content: bytes
    changed_at: datetime


async def feed(
    database: Database,
    series: Sequence[Series],
    community: Community,
    *,
    now: datetime,
    only: str | None = None,
) -> CalendarFile:
    """Return the public feed of all series, or of the one with the slug `only` (one of `series`).

    The bytes are the same for the same state within a month (UTC); the feed's window moves with the month.
    """
    chosen = [each_series for each_series in series if only in (None, each_series.slug)]
    inside, changed_at = await in_feed(database, chosen, now=now)
    content = calendar.feed(
        inside,
        {each_series.slug: each_series for each_series in chosen},
        community,
        name=chosen[0].title if only else community.name,
        source=community.series_feed_url(only) if only else community.feed_url,
    )
    return CalendarFile(content, changed_at)


async def in_feed(
    database: Database, series: Sequence[Series], *, now: datetime
) -> tuple[list[Occurrence], datetime]:
    """Return the occurrences of `series` in this month's feeds, by start, and when any of them last changed."""
    start, end = calendar.feed_window(now)
    async with database.read() as connection:
        line = await timeline(connection, series, now=now, since=start - _LONGEST_MEETING)
    inside = list(takewhile(lambda occurrence: occurrence.starts < end, line.since(start)))
    month = datetime(now.year, now.month, 1, tzinfo=UTC)
    return inside, max([month, *(occurrence.changed_at for occurrence in inside)])


def meeting_calendar(occurrence: Occurrence, series: Series, community: Community) -> CalendarFile:
    """Return a calendar of one occurrence only, to be added once."""
    content = calendar.feed([occurrence], {series.slug: series}, community, name=series.title)
    return CalendarFile(content, occurrence.changed_at)
