"""A zone as calendar programs read it: the VTIMEZONE of a feed or an invitation (RFC 5545 section 3.6.5)."""

from calendar import monthrange
from collections.abc import Iterator
from datetime import UTC, datetime

from icalendar import Timezone, TimezoneDaylight, TimezoneStandard
from icalendar.prop import vRecur

from scheduler.domain.clock import require_aware
from scheduler.domain.zonefile import EPOCH, Onset, TimeType, Transition, YearlyDay, ZoneFile, zone_file

_WEEKDAYS = ("SU", "MO", "TU", "WE", "TH", "FR", "SA")

Observance = TimezoneStandard | TimezoneDaylight


class _YearlyRule(vRecur):
    # The order in which calendar programs write it themselves, and some of the older ones expect it.
    canonical_order = ("FREQ", "BYMONTH", "BYMONTHDAY", "BYDAY")  # type: ignore[assignment]


def vtimezone(zone: str, first: datetime, last: datetime) -> Timezone:
    """Return the VTIMEZONE of an IANA zone, right for every instant of the years of `first` to `last`.

    A zone that follows its yearly rule in all these years gets the rule, as two observances, each from the
    first onset since when it holds unbroken. Any other gets one observance for each transition, and a zone
    without transitions a single STANDARD. Both instants are aware and not before 1970.
    Raises ZoneInfoNotFoundError for an unknown zone.
    """
    first, last = require_aware(first, "first"), require_aware(last, "last")
    first = datetime(first.year, 1, 1, tzinfo=UTC)
    file = zone_file(zone)
    block = Timezone()
    block.add("TZID", zone)
    for observance in _yearly(file, first, last.year) or list(_each(file, first, last.year)):
        block.add_component(observance)
    return block


def _yearly(file: ZoneFile, first: datetime, last: int) -> list[Observance]:
    """The zone's rule as observances; none where it has none, or one that is broken or cannot be written."""
    transitions = set(file.transitions(last + 1))
    found: list[Observance] = []
    regular: set[Transition] = set()
    begun = EPOCH
    for onset in file.onsets:
        rule = yearly_rule(onset.day)
        since = last + 1
        while onset.transition(since - 1) in transitions:
            since -= 1
        if rule is None:
            return []
        regular.update(onset.transition(year) for year in range(since, last + 2))
        begun = max(begun, onset.transition(since).at)
        found.append(_observance(onset, since, rule))
    irregular = any(transition.at >= begun for transition in transitions - regular)
    return [] if begun > first or irregular else found


def yearly_rule(day: YearlyDay) -> vRecur | None:
    """The RRULE on whose dates `day` comes; None where no plain one says it, as when they span two months."""
    shift = day.time.days
    if fixed := day.month_and_day:
        month, number = fixed
        return None if shift else _YearlyRule(FREQ="YEARLY", BYMONTH=month, BYMONTHDAY=number)
    if not (weekly := day.month_week_weekday):
        return None
    month, week, weekday = weekly
    if not shift:
        nth = week if week < 5 else -1
        return _YearlyRule(FREQ="YEARLY", BYMONTH=month, BYDAY=f"{nth}{_WEEKDAYS[weekday]}")
    # `M3.4.4/50`, the fourth Thursday's hour 50, is 02:00 on the Saturday of 24 to 30 March: no nth weekday.
    if month == 2:
        return None
    length = monthrange(2001, month)[1]
    start = shift + (length - 6 if week == 5 else 7 * week - 6)
    if not 1 <= start <= length - 6:
        return None
    days = list(range(start, start + 7))
    return _YearlyRule(FREQ="YEARLY", BYMONTH=month, BYMONTHDAY=days, BYDAY=_WEEKDAYS[(weekday + shift) % 7])


def _each(file: ZoneFile, first: datetime, last: int) -> Iterator[Observance]:
    """One observance for what holds at `first`, and one for each later transition until the end of `last`."""
    transitions = file.transitions(last)
    past = [transition for transition in transitions if transition.at <= first]
    coming = [transition for transition in transitions if transition.at > first]
    held = past[-1] if past else Transition(EPOCH - file.initial.offset, file.initial, file.initial)
    for transition in (held, *coming):
        observance = _begun(transition.before, transition.after)
        wall = (transition.at + transition.before.offset).replace(tzinfo=None)
        observance.add("DTSTART", wall)
        if coming:
            # Some programs count DTSTART only, some RDATE only where there is one; none reads a list right.
            observance.add("RDATE", wall)
        yield observance


def _observance(onset: Onset, since: int, rule: vRecur) -> Observance:
    observance = _begun(onset.before, onset.after)
    observance.add("DTSTART", onset.wall(since))
    observance.add("RRULE", rule)
    return observance


def _begun(before: TimeType, after: TimeType) -> Observance:
    # The side with the greater offset is DAYLIGHT, also in Dublin, whose zone data calls winter so.
    daylight = after.offset > before.offset if after.daylight != before.daylight else after.daylight
    observance = TimezoneDaylight() if daylight else TimezoneStandard()
    observance.add("TZOFFSETFROM", before.offset)
    observance.add("TZOFFSETTO", after.offset)
    observance.add("TZNAME", after.name)
    return observance
