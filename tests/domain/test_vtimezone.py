"""A VTIMEZONE agrees with the zone data, for every zone, in parsers that know nothing else."""

import io
from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from itertools import pairwise
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pytest
from dateutil.rrule import rrulestr
from dateutil.tz import tzical
from hypothesis import given
from hypothesis import strategies as st

from scheduler.domain.tzif import YearlyDay, vtimezone, yearly_rule

FIRST, LAST = datetime(2025, 1, 1, tzinfo=UTC), datetime(2031, 12, 31, tzinfo=UTC)
ZONES = sorted(
    line.split("\t")[2]
    for line in files("tzdata").joinpath("zoneinfo", "zone.tab").read_text().splitlines()
    if not line.startswith("#")
)


def block(zone: str, first: datetime = FIRST, last: datetime = LAST) -> list[str]:
    octets: bytes = vtimezone(zone, first, last).to_ical()
    return octets.decode().split("\r\n")[:-1]


def observances(lines: list[str]) -> Iterator[dict[str, str]]:
    """Return the properties of each observance in a block; no property occurs twice in one."""
    properties: dict[str, str] = {}
    for line in lines[2:-1]:
        name, _, value = line.partition(":")
        if name == "BEGIN":
            properties = {"KIND": value}
        elif name == "END":
            yield properties
        else:
            assert name not in properties
            properties[name] = value


def span(text: str) -> timedelta:
    return (-1 if text[0] == "-" else 1) * timedelta(
        hours=int(text[1:3]), minutes=int(text[3:5]), seconds=int(text[5:] or 0)
    )


def onsets(lines: list[str]) -> list[tuple[datetime, timedelta]]:
    """Evaluate a block by RFC 5545 section 3.6.5, independently of the code: return UTC onsets and their offsets."""
    changes = []
    for observance in observances(lines):
        before, after = span(observance["TZOFFSETFROM"]), span(observance["TZOFFSETTO"])
        start = datetime.strptime(observance["DTSTART"], "%Y%m%dT%H%M%S")  # noqa: DTZ007
        walls = [start]
        if rule := observance.get("RRULE"):
            walls = rrulestr(rule, dtstart=start).between(start, LAST.replace(tzinfo=None), inc=True)
            assert walls[0] == start, "DTSTART is not a date of its own rule"
        changes += [((wall - before).replace(tzinfo=UTC), after) for wall in walls]
    return sorted(changes)


def tell_tale_instants(zone: ZoneInfo) -> list[datetime]:
    """Every third day, and both sides of every change of the offset."""
    days = [FIRST + timedelta(days=day) for day in range(0, (LAST - FIRST).days, 3)]
    instants = list(days)
    for start, end in pairwise(days):
        low, high = start, end
        if low.astimezone(zone).utcoffset() != high.astimezone(zone).utcoffset():
            while high - low > timedelta(seconds=1):
                middle = low + (high - low) // 2
                is_before_change = middle.astimezone(zone).utcoffset() == start.astimezone(zone).utcoffset()
                low, high = (middle, high) if is_before_change else (low, middle)
            instants += [low - timedelta(seconds=1), high]
    return instants


def test_every_zone_has_the_offsets_of_the_zone_data_over_seven_years() -> None:
    for name in ZONES:
        zone, changes = ZoneInfo(name), onsets(block(name))
        starts = [at for at, _ in changes]
        for moment in tell_tale_instants(zone):
            expected = moment.astimezone(zone).utcoffset()
            assert changes[bisect_right(starts, moment) - 1][1] == expected, f"{name} at {moment}"


def test_every_zone_reads_the_same_to_dateutil() -> None:
    for name in ZONES:
        calendar = "\r\n".join(["BEGIN:VCALENDAR", *block(name), "END:VCALENDAR", ""])
        read, zone = tzical(io.StringIO(calendar)).get(), ZoneInfo(name)
        for month in range(7 * 12):
            wall = datetime(2025 + month // 12, month % 12 + 1, 15, 18)
            offset, expected = (wall.replace(tzinfo=tz).utcoffset() for tz in (read, zone))
            assert offset == expected, f"{name} at {wall}"


def test_london_has_the_two_rules_that_every_program_reads_right() -> None:
    expected = """\
BEGIN:VTIMEZONE
TZID:Europe/London
BEGIN:DAYLIGHT
DTSTART:19810329T010000
RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU
TZNAME:BST
TZOFFSETFROM:+0000
TZOFFSETTO:+0100
END:DAYLIGHT
BEGIN:STANDARD
DTSTART:19961027T020000
RRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU
TZNAME:GMT
TZOFFSETFROM:+0100
TZOFFSETTO:+0000
END:STANDARD
END:VTIMEZONE"""
    assert block("Europe/London") == expected.splitlines()


def test_dublin_is_on_standard_time_in_winter_whatever_its_zone_data_call_it() -> None:
    names = {
        (observance["TZNAME"], observance["KIND"], observance["TZOFFSETTO"])
        for observance in observances(block("Europe/Dublin"))
    }
    assert names == {("GMT", "STANDARD", "+0000"), ("IST", "DAYLIGHT", "+0100")}


@pytest.mark.parametrize(
    ("zone", "rules"),
    [
        ("America/New_York", {"FREQ=YEARLY;BYMONTH=3;BYDAY=2SU", "FREQ=YEARLY;BYMONTH=11;BYDAY=1SU"}),
        ("Australia/Lord_Howe", {"FREQ=YEARLY;BYMONTH=10;BYDAY=1SU", "FREQ=YEARLY;BYMONTH=4;BYDAY=1SU"}),
        (
            "America/Santiago",
            {
                "FREQ=YEARLY;BYMONTH=9;BYMONTHDAY=2,3,4,5,6,7,8;BYDAY=SU",
                "FREQ=YEARLY;BYMONTH=4;BYMONTHDAY=2,3,4,5,6,7,8;BYDAY=SU",
            },
        ),
        (
            "Asia/Jerusalem",
            {
                "FREQ=YEARLY;BYMONTH=3;BYMONTHDAY=23,24,25,26,27,28,29;BYDAY=FR",
                "FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU",
            },
        ),
        (
            "America/Nuuk",
            {
                "FREQ=YEARLY;BYMONTH=3;BYMONTHDAY=24,25,26,27,28,29,30;BYDAY=SA",
                "FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU",
            },
        ),
    ],
)
def test_a_zone_that_follows_its_rule_gets_the_rule(zone: str, rules: set[str]) -> None:
    assert {observance["RRULE"] for observance in observances(block(zone))} == rules


@pytest.mark.parametrize(
    "zone", ["Africa/Casablanca", "America/Vancouver", "America/Havana", "Asia/Gaza", "Africa/Cairo"]
)
def test_a_zone_that_leaves_its_rule_gets_each_transition_by_itself(zone: str) -> None:
    """Some programs use only the first RDATE, others only DTSTART: both are the same here."""
    block_observances = list(observances(block(zone)))
    assert len(block_observances) > 2
    assert all("RRULE" not in observance for observance in block_observances)
    assert all(observance["RDATE"] == observance["DTSTART"] for observance in block_observances)


def test_vancouver_stays_on_its_summer_offset_after_2026() -> None:
    *_, last = observances(block("America/Vancouver"))
    assert last["DTSTART"] == "20261101T020000"
    assert last["TZOFFSETFROM"] == last["TZOFFSETTO"] == "-0700"


def test_a_zone_without_daylight_time_has_one_observance() -> None:
    assert list(observances(block("Asia/Kolkata"))) == [
        {
            "KIND": "STANDARD",
            "DTSTART": "19700101T000000",
            "TZNAME": "IST",
            "TZOFFSETFROM": "+0530",
            "TZOFFSETTO": "+0530",
        }
    ]


def test_a_rule_is_not_used_for_years_before_it_held() -> None:
    first, last = datetime(1994, 6, 1, tzinfo=UTC), datetime(1997, 6, 1, tzinfo=UTC)
    block_observances = list(observances(block("Europe/London", first, last)))
    assert "19951022T020000" in {observance["DTSTART"] for observance in block_observances}
    assert all("RRULE" not in observance for observance in block_observances)


def test_a_block_contains_nothing_that_programs_misread() -> None:
    allowed = {"BEGIN", "END", "TZID", "DTSTART", "RDATE", "RRULE", "TZNAME", "TZOFFSETFROM", "TZOFFSETTO"}
    for name in ZONES:
        lines = block(name)
        assert {line.partition(":")[0] for line in lines} <= allowed
        assert not any("," in line for line in lines if line.startswith("RDATE"))


def test_an_unknown_zone_or_a_naive_instant_is_refused() -> None:
    with pytest.raises(ZoneInfoNotFoundError):
        vtimezone("Europe/Atlantis", FIRST, LAST)
    with pytest.raises(ValueError, match="naive"):
        vtimezone("Europe/London", FIRST.replace(tzinfo=None), LAST)


weekly = st.builds(
    "M{}.{}.{}/{}".format, st.integers(1, 12), st.integers(1, 5), st.integers(0, 6), st.integers(-167, 167)
)
numbered = st.builds("J{}/{}".format, st.integers(1, 365), st.integers(-167, 167))


@given(weekly | numbered)
def test_a_recurrence_rule_gives_the_days_of_its_posix_rule(text: str) -> None:
    day = YearlyDay.parse(text)
    rule = yearly_rule(day)
    if rule is not None:
        start, octets = day.on(2001), rule.to_ical()  # type: ignore[no-untyped-call]
        assert rrulestr(octets.decode(), dtstart=start)[:40] == [day.on(year) for year in range(2001, 2041)]


@given(weekly | numbered)
def test_a_posix_rule_within_the_day_always_has_a_recurrence_rule(text: str) -> None:
    day = YearlyDay.parse(text.partition("/")[0])
    assert yearly_rule(day) is not None
