"""What a template is told: finished words about one meeting, for one zone and one hour cycle."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from scheduler.domain.localtime import (
    MONTHS,
    WEEKDAYS,
    HourCycle,
    local_minute,
    local_time,
    say_clock,
    say_date,
    say_day,
    say_length,
    say_offset,
)
from scheduler.domain.occurrence import Occurrence, Series

DOORS_OPEN = timedelta(minutes=15)
"""How long before the start the join link leads to the room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class When:
    """A meeting's time by the clocks of one zone, beside those of its home.

    Clock times are in the hour cycle asked for: `05:00` or `5:00 am`; one on another day than the start names its
    weekday. `opens` is when the join link does, `opens_before` how long that is before the start. `line` is the
    short form for a subject, `…_iso` are for `<time datetime>`. The `home_…` words are empty where the zone is the
    home zone; the notes are empty or a sentence.
    """

    weekday: str
    date: str
    day: str
    starts: str
    ends: str
    opens: str
    opens_before: str
    city: str
    zone: str
    offset: str
    line: str
    starts_iso: str
    ends_iso: str
    home_day: str = ""
    home_starts: str = ""
    home_ends: str = ""
    home_city: str = ""
    home_offset: str = ""
    home_iso: str = ""
    day_note: str = ""
    clock_note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One detail of a meeting, and what members were told of it before, where that was something else."""

    label: str
    text: str
    before: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Meeting:
    """One occurrence as a mail speaks of it.

    `facts` are what is known of it, `materials` what there is to see or read after it.
    In an update whose members were told otherwise before, `was` is the old time,
    or None and `same_time` true; `new_room` says that the link leads elsewhere, `reinstated` that it was off.
    Without `has_room` there is nothing to join yet.
    `correction` says which hour these members were told before new zone data changed it.
    """

    title: str
    when: When
    facts: tuple[Fact, ...]
    has_room: bool = True
    materials: str = ""
    was: When | None = None
    same_time: bool = False
    new_room: bool = False
    reinstated: bool = False
    correction: str = ""


def as_told(occurrence: Occurrence, before: Occurrence | None) -> Occurrence:
    """A cancelled `occurrence` as members know it: at the time of `before`, as they were told, and under its UID."""
    if before is None:
        return occurrence
    return replace(occurrence, starts=before.starts, ends=before.ends, reinstated=before.reinstated)


def describe_when(occurrence: Occurrence, series: Series, *, zone: str, cycle: HourCycle) -> When:
    """Return when `occurrence` is for people in `zone`."""
    time = local_time(occurrence, zone, series=series, cycle=cycle)

    def clock(moment: datetime, beside: datetime) -> str:
        words = say_clock(moment, cycle)
        return words if moment.date() == beside.date() else f"{words} on {WEEKDAYS[moment.weekday()]}"

    day, opens = time.starts.date(), (occurrence.starts - DOORS_OPEN).astimezone(time.starts.tzinfo)
    when = When(
        weekday=time.weekday,
        date=say_date(day),
        day=time.day,
        starts=say_clock(time.starts, cycle),
        ends=clock(time.ends, time.starts),
        opens=clock(opens, time.starts),
        opens_before=say_length(DOORS_OPEN // timedelta(minutes=1)),
        city=time.city,
        zone=zone,
        offset=time.offset,
        line=f"{time.weekday} {day.day} {MONTHS[day.month - 1]}, {say_clock(time.starts, cycle)} "
        f"{time.city} ({time.offset})",
        starts_iso=time.starts.isoformat(),
        ends_iso=time.ends.isoformat(),
        day_note=time.day_note,
        clock_note=time.clock_note,
    )
    if zone == occurrence.zone:
        return when
    return replace(
        when,
        home_day=say_day(time.home_starts.date()),
        home_starts=say_clock(time.home_starts, cycle),
        home_ends=clock(time.home_ends, time.home_starts),
        home_city=time.home_city,
        home_offset=say_offset(time.home_starts),
        home_iso=time.home_starts.isoformat(),
    )


def describe_meeting(
    occurrence: Occurrence,
    series: Series,
    *,
    before: Occurrence | None,
    zone: str,
    cycle: HourCycle,
    told: datetime | None = None,
    shown: datetime | None = None,
) -> Meeting:
    """Return `occurrence` in words; with `before`, as members were last told, what has changed since.

    A cancelled occurrence stands at the time that members were told. `told` is the wall time that these members were
    told before new zone data changed it; `shown` the one that mails showed for `before`, which the present zone data
    may not.
    """
    if occurrence.cancelled:
        occurrence, before = as_told(occurrence, before), None
    meeting = Meeting(
        title=series.title,
        when=describe_when(occurrence, series, zone=zone, cycle=cycle),
        facts=tuple(_facts(occurrence, before)),
        materials=occurrence.materials,
        has_room=bool(occurrence.link or series.link),
    )
    if occurrence.cancelled:
        # Whose clocks have changed matters to nobody who need not look at them.
        return replace(meeting, when=replace(meeting.when, clock_note=""))
    if told:
        meeting = replace(meeting, correction=_correction(occurrence, told, zone=zone, cycle=cycle))
    if before is None:
        return meeting
    retimed = (before.starts, before.ends) != (occurrence.starts, occurrence.ends)
    same_hour = shown is not None and f"{shown:%Y-%m-%dT%H:%M}" == local_minute(occurrence.starts, zone)
    if told or (same_hour and before.ends - before.starts == occurrence.ends - occurrence.starts):
        retimed = False
    return replace(
        meeting,
        was=describe_when(before, series, zone=zone, cycle=cycle) if retimed else None,
        same_time=not retimed and not told,
        new_room=(occurrence.link or series.link) not in ("", before.link or series.link),
        reinstated=before.cancelled,
    )


def _correction(occurrence: Occurrence, told: datetime, *, zone: str, cycle: HourCycle) -> str:
    day = local_minute(occurrence.starts, zone).partition("T")[0]
    words = say_clock(told, cycle)
    if told.date().isoformat() != day:
        words = f"{say_day(told.date())}, {words}"
    return f"We previously told you {words}. The rules for clocks have changed since then."


def _facts(occurrence: Occurrence, before: Occurrence | None) -> Iterator[Fact]:
    for label, now, old in (
        ("Topic", occurrence.topic, before.topic if before else ""),
        ("With", occurrence.speakers, before.speakers if before else ""),
    ):
        if now or old:
            yield Fact(label=label, text=now or "not yet known", before=old if old != now else "")
