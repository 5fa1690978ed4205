"""What the world sees of the meetings: those to come, the schedule by the clocks of any zones, the feed."""

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
from scheduler.domain.occurrence import Occurrence, OccurrenceKey, Series, following, preceding
from scheduler.service.settings_sync import settled
from scheduler.store import members, occurrences
from scheduler.store.database import Database
from scheduler.store.occurrences import AdoptedSeries

MOST_COMING = 60
_LONGEST_MEETING = timedelta(days=1)
_ANYWHERE_ELSE = timedelta(days=2)
"""More than a date can differ from that of UTC."""


@dataclass(frozen=True, slots=True)
class _SeriesTimeline:
    """The occurrences of one series: those kept, by start, and for starts after `after` those of the rule."""

    series: Series
    kept: Sequence[Occurrence]
    after: datetime
    adopted_at: datetime

    def since(self, instant: datetime) -> Iterator[Occurrence]:
        """Those with a start from `instant` on, in order; endless unless the rule ends."""
        kept = (one for one in self.kept if one.starts >= instant)
        return merge(kept, self._derived(instant), key=_order)

    def _derived(self, instant: datetime) -> Iterator[Occurrence]:
        keys = {one.key for one in self.kept}
        regular = _regular(self.kept)
        before: Occurrence | None = None
        for day in self.series.dates((max(instant, self.after) - timedelta(days=1)).date()):
            one = self.series.occurrence(day, self.adopted_at)
            if one.starts <= self.after:
                continue
            if one.key in keys:
                before = next(kept for kept in self.kept if kept.key == one.key)
                continue
            if before is None:
                last = _last_before(regular, one.date)
                found = following(one, last, self.series, derived_until=self.after)
            else:
                found = replace(one, previous=preceding(before))
            if one.starts >= instant:
                yield found
            before = one


def _regular(kept: Sequence[Occurrence]) -> list[Occurrence]:
    """The meetings of the rule among the `kept` ones, by date: what others are compared with."""
    found = (one for one in kept if not one.extra and not (one.orphaned and one.cancelled))
    return sorted(found, key=lambda one: one.date)


def _last_before(regular: Sequence[Occurrence], day: date) -> Occurrence | None:
    number = bisect_left(regular, day, key=lambda one: one.date)
    return regular[number - 1] if number else None


def _in_order(series: Series, kept: Sequence[Occurrence], *, after: datetime) -> list[Occurrence]:
    """The `kept` occurrences of a series, each with the one that precedes it; `after` is where they end."""
    regular = _regular(kept)
    return [following(one, _last_before(regular, one.date), series, derived_until=after) for one in kept]


@dataclass(frozen=True, slots=True)
class Timeline:
    """Every occurrence of some series as it stands, kept or yet to come of a rule."""

    _lines: Sequence[_SeriesTimeline]

    def since(self, instant: datetime) -> Iterator[Occurrence]:
        """The occurrences with a start from `instant` (aware) on, by start; endless unless every rule ends."""
        return merge(*(line.since(instant) for line in self._lines), key=_order)

    def unfinished(self, now: datetime) -> Iterator[Occurrence]:
        """The occurrences that end after `now` (aware), by start; cancelled ones too."""
        return (one for one in self.since(now - _LONGEST_MEETING) if one.ends > now)

    def from_date(self, day: date) -> Iterator[Occurrence]:
        """The occurrences held on the home date `day` or later, by start."""
        first = min((line.series.first for line in self._lines), default=day)
        instant = datetime.combine(max(day, first), time(), UTC) - _ANYWHERE_ELSE
        return (one for one in self.since(instant) if one.home_date >= day)

    def today(self, now: datetime) -> date:
        """The date at `now`, at home; the earliest where the series have several homes."""
        return min(
            (now.astimezone(ZoneInfo(line.series.zone)).date() for line in self._lines), default=now.date()
        )


def _order(occurrence: Occurrence) -> tuple[datetime, str]:
    return occurrence.starts, occurrence.key


async def timeline(connection: AsyncConnection, series: Sequence[Series], *, now: datetime) -> Timeline:
    """Read what is kept of `series`; what their rules give beyond it is derived as it is asked for.

    A rule that was changed in the settings holds already, even where no `serve` has adopted it yet.
    """
    adopted = await occurrences.adopted_series(connection)
    kept = await occurrences.all_occurrences(connection)
    changed = any(one.slug in adopted and adopted[one.slug].fingerprint != one.fingerprint for one in series)
    told = await occurrences.told_keys(connection) if changed else set[str]()
    return Timeline([_line(one, adopted.get(one.slug), kept, told=told, now=now) for one in series])


def _line(
    series: Series,
    adopted: AdoptedSeries | None,
    kept: Sequence[Occurrence],
    *,
    told: set[str],
    now: datetime,
) -> _SeriesTimeline:
    mine = [one for one in kept if one.series == series.slug]
    adopted_at = _since(series, adopted)
    after = adopted.derived_until if adopted else series.starts_on(series.first) - timedelta(days=1)
    if adopted and adopted.fingerprint != series.fingerprint:
        mine, _ = settled(series, mine, told=told, now=now)
        after = now
    return _SeriesTimeline(series, _in_order(series, mine, after=after), after, adopted_at)


def _since(series: Series, adopted: AdoptedSeries | None) -> datetime:
    # Never "now" where nothing was adopted yet, or a feed would have other bytes each time.
    return adopted.adopted_at if adopted else series.starts_on(series.first)


@dataclass(frozen=True, slots=True)
class Row:
    """An occurrence and its local time by the names of zones, as they were asked for."""

    occurrence: Occurrence
    local: Mapping[str, LocalTime]

    def document(self) -> dict[str, Any]:
        """The row as `schedule --json` prints it."""
        one = self.occurrence
        return {
            "key": one.key,
            "series": one.series,
            "starts_utc": one.starts.isoformat(),
            "ends_utc": one.ends.isoformat(),
            "status": one.status.value,
            "topic": one.topic,
            "local": {
                zone: {
                    "starts": there.starts_iso,
                    "ends": there.ends_iso,
                    "weekday": there.weekday,
                    "day_shift": there.day_shift,
                    "shift_minutes": there.shift_minutes,
                    "note": there.note,
                }
                for zone, there in self.local.items()
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
    """The next `count` occurrences of `series` held on the home date `since` (None: today) or later, by start.

    Local times are those of `zones`, or where there are none of each occurrence's home.
    """
    async with database.read() as connection:
        line = await timeline(connection, series, now=now)
    by_slug = {one.slug: one for one in series}
    return [
        Row(one, {zone: local_time(one, by_slug[one.series], zone=zone) for zone in zones or [one.zone]})
        for one in islice(line.from_date(since or line.today(now)), count)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What is to come, and for how many. `next` is the first that is held, even where it has begun already."""

    next: Occurrence | None
    coming: Sequence[Occurrence]
    members: int
    countries: int


async def outlook(database: Database, series: Sequence[Series], *, now: datetime, until: datetime) -> Outlook:
    """The occurrences that are not over and start before `until`, cancelled ones too but no more than a page holds, and
    the size of the community."""
    async with database.read() as connection:
        line = await timeline(connection, series, now=now)
        return Outlook(
            next=_next(line, now),
            coming=list(islice(takewhile(lambda one: one.starts < until, line.unfinished(now)), MOST_COMING)),
            members=(await members.counts(connection)).get("active", 0),
            countries=await members.countries(connection),
        )


async def past_meetings(
    database: Database, series: Sequence[Series], *, now: datetime
) -> dict[int, list[Occurrence]]:
    """What was held and is over, by the year of its home date; years and meetings with the newest first."""
    known = {one.slug for one in series}
    async with database.read() as connection:
        kept = await occurrences.all_occurrences(connection)
    found: dict[int, list[Occurrence]] = {}
    for one in reversed(kept):
        if one.ends <= now and not one.cancelled and one.series in known:
            found.setdefault(one.home_date.year, []).append(one)
    return found


async def next_meeting(database: Database, series: Sequence[Series], *, now: datetime) -> Occurrence | None:
    """The first occurrence that is held and not over, or None where no rule gives another."""
    async with database.read() as connection:
        return await upcoming(connection, series, now=now)


async def upcoming(
    connection: AsyncConnection, series: Sequence[Series], *, now: datetime
) -> Occurrence | None:
    """The same as `next_meeting`, within a transaction."""
    return _next(await timeline(connection, series, now=now), now)


def _next(line: Timeline, now: datetime) -> Occurrence | None:
    # Years of nothing but cancelled meetings are the end of them, as far as anybody can say.
    return next(
        (one for one in islice(line.unfinished(now), 400) if not one.cancelled and not one.orphaned), None
    )


async def without_room(
    database: Database, series: Sequence[Series], *, now: datetime, within: timedelta
) -> list[Occurrence]:
    """The meetings that begin within a time from now and for which no room is set, by start."""
    links = {one.slug: one.link for one in series}
    async with database.read() as connection:
        coming = takewhile(
            lambda one: one.starts <= now + within,
            (await timeline(connection, series, now=now)).unfinished(now),
        )
        return [
            one for one in coming if not (one.cancelled or one.orphaned or one.link or links.get(one.series))
        ]


def unmoved(occurrence: Occurrence) -> Occurrence:
    """The occurrence at the time that it was first set for."""
    length = occurrence.ends - occurrence.starts
    return replace(occurrence, starts=occurrence.original, ends=occurrence.original + length)


async def find_meeting(
    connection: AsyncConnection, series: Mapping[str, Series], key: str
) -> Occurrence | None:
    """The occurrence of that key as it stands, kept or of the rule; None where there is none."""
    try:
        parsed = OccurrenceKey.parse(key)
    except Refused:
        return None
    its = series.get(parsed.series)
    if its is None:
        return None
    kept = await occurrences.one_occurrence(connection, key)
    if kept:
        return await occurrences.with_preceding(connection, kept, its)
    if parsed.time is not None or not its.gives(parsed.date):
        return None
    adopted = (await occurrences.adopted_series(connection)).get(its.slug)
    one = its.occurrence(parsed.date, _since(its, adopted))
    # What the rule gave so far is kept; it was never held on what only a later rule gives.
    if adopted and one.starts <= adopted.derived_until:
        return None
    return await occurrences.with_preceding(connection, one, its)


async def read_meeting(database: Database, series: Mapping[str, Series], key: str) -> Occurrence | None:
    """The same as `find_meeting`, in a transaction of its own."""
    async with database.read() as connection:
        return await find_meeting(connection, series, key)


@dataclass(frozen=True, slots=True)
class Published:
    """A calendar's bytes and when they last changed, to the second, in UTC."""

    content: bytes
    changed_at: datetime


async def feed(
    database: Database,
    series: Sequence[Series],
    community: Community,
    *,
    now: datetime,
    only: str | None = None,
) -> Published:
    """The public feed of all series, or of the one with the slug `only` (one of `series`).

    The same bytes for the same state, within a month of UTC: with the month the feed moves on.
    """
    chosen = [one for one in series if only in (None, one.slug)]
    inside, changed_at = await in_feed(database, chosen, now=now)
    content = calendar.feed(
        inside,
        {one.slug: one for one in chosen},
        community,
        name=chosen[0].title if only else community.name,
        source=f"{community.base_url}/calendar/{only}.ics" if only else community.feed_url,
    )
    return Published(content, changed_at)


async def in_feed(
    database: Database, series: Sequence[Series], *, now: datetime
) -> tuple[list[Occurrence], datetime]:
    """The occurrences of `series` in the feeds of this month, by start, and when any of that last changed."""
    start, end = calendar.feed_window(now)
    async with database.read() as connection:
        line = await timeline(connection, series, now=now)
    inside = list(takewhile(lambda one: one.starts < end, line.since(start)))
    month = datetime(now.year, now.month, 1, tzinfo=UTC)
    return inside, max([month, *(one.changed_at for one in inside)])


def meeting_calendar(occurrence: Occurrence, series: Series, community: Community) -> Published:
    """The calendar of one occurrence alone, to be added once."""
    content = calendar.feed([occurrence], {series.slug: series}, community, name=series.title)
    return Published(content, occurrence.changed_at)
