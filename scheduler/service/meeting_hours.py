"""What the hour of a meeting means for its members: who meets at night, and who has a public holiday."""

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time

from scheduler.domain.audience import Audience
from scheduler.domain.localtime import LocalTime, format_day, local_time
from scheduler.domain.occurrence import Occurrence, Series
from scheduler.domain.public_holidays import PublicHoliday, public_holidays
from scheduler.domain.zone import known_zone
from scheduler.store import members
from scheduler.store.database import Database

_NIGHT_BEGINS, _NIGHT_ENDS = time(23), time(6)

Places = Mapping[tuple[str, str], int]
"""How many members there are by country (empty if unknown) and zone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceEffect:
    """What a time means for the followers in one zone of a country: how many there are, the local time, what it would
    become (None if nothing moves), and whether a part of it is at night, between 23:00 and 06:00."""

    country: str
    count: int
    now: LocalTime
    then: LocalTime | None
    at_night: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CountryNight:
    """How many of a country's followers meet at night."""

    country: str
    at_night: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CountryHoliday:
    """The public holidays of a country on the local date at which a meeting starts, for `count` of its followers."""

    country: str
    day: date
    count: int
    holidays: Sequence[PublicHoliday]

    @property
    def day_words(self) -> str:
        return format_day(self.day)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeetingHours:
    """What the hour of a meeting means for `count` followers; each list has most members first."""

    count: int
    at_night: int
    places: Sequence[PlaceEffect]
    nights: Sequence[CountryNight]
    holidays: Sequence[CountryHoliday]


async def count_places(database: Database, series: Series, *, by_choice: Collection[str]) -> Places:
    """Count the followers of a series by country and zone."""
    followers = Audience(terms={"series": [series.slug]}, by_choice=by_choice)
    async with database.read() as connection:
        return await members.count_by_place(connection, followers)


async def what_hours_mean(
    places: Places, series: Series, before: Occurrence, after: Occurrence
) -> MeetingHours:
    """Return what it means for the followers of a series that a meeting is held as `after` and not as `before`; the
    same occurrence for both says what its hour means."""
    effects = []
    total, at_night, by_day = Counter[str](), Counter[str](), Counter[tuple[str, date]]()
    for (country, zone), count in places.items():
        known = known_zone(zone, series.zone)
        then = local_time(after, series, zone=known)
        starts = then.starts_at.replace(tzinfo=None)
        is_night = _is_at_night(starts, starts + (after.ends - after.starts))
        effects.append(
            PlaceEffect(
                country=country,
                count=count,
                now=local_time(before, series, zone=known),
                then=then if after.starts != before.starts else None,
                at_night=is_night,
            )
        )
        total[country] += count
        at_night[country] += count if is_night else 0
        by_day[country, starts.date()] += count
    # The first public holiday takes 0.4 s; other requests are answered meanwhile.
    holidays = await asyncio.to_thread(_holidays, by_day)
    return MeetingHours(
        count=total.total(),
        at_night=at_night.total(),
        places=sorted(effects, key=lambda effect: (-effect.count, effect.country, effect.now.zone)),
        nights=[
            CountryNight(country=country, at_night=count, count=total[country])
            for country, count in sorted((+at_night).items(), key=_most_first)
        ],
        holidays=holidays,
    )


def _holidays(by_day: Mapping[tuple[str, date], int]) -> list[CountryHoliday]:
    """Return the holidays of the countries on the days on which so many of their members meet."""
    return [
        CountryHoliday(country=country, day=day, count=count, holidays=holidays)
        for (country, day), count in sorted(by_day.items(), key=_most_first)
        if (holidays := public_holidays(country, day))
    ]


def _most_first(counted: tuple[object, int]) -> tuple[int, object]:
    key, count = counted
    return (-count, key)


def _is_at_night(starts: datetime, ends: datetime) -> bool:
    """Return whether a part of a time by somebody's clock is between 23:00 and 06:00."""
    return starts.time() < _NIGHT_ENDS or ends > datetime.combine(starts.date(), _NIGHT_BEGINS)
