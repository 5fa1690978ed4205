"""Zone files and their footers are parsed as in RFC 8536."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pytest

from scheduler.domain.tzif import YearlyDay, parse_footer, parse_zone_file, zone_file


@pytest.mark.parametrize(
    ("text", "year", "expected"),
    [
        ("M3.5.0/1", 2026, "2026-03-29 01:00"),
        ("M3.2.0", 2026, "2026-03-08 02:00"),
        ("M11.1.0/2", 2026, "2026-11-01 02:00"),
        ("M10.5.4/24", 2026, "2026-10-30 00:00"),
        ("M10.5.4/24", 2024, "2024-11-01 00:00"),
        ("M3.4.4/50", 2026, "2026-03-28 02:00"),
        ("M3.5.0/-1", 2029, "2029-03-24 23:00"),
        ("M2.5.0/2:30", 2032, "2032-02-29 02:30"),
        ("J59/0", 2028, "2028-02-28 00:00"),
        ("J60/0", 2028, "2028-03-01 00:00"),
        ("J60/0", 2027, "2027-03-01 00:00"),
        ("59/0", 2028, "2028-02-29 00:00"),
        ("59/0", 2027, "2027-03-01 00:00"),
    ],
)
def test_a_day_of_a_posix_rule_comes_when_the_standard_says(text: str, year: int, expected: str) -> None:
    assert YearlyDay.parse(text).on(year) == datetime.fromisoformat(expected)


def test_dublin_goes_back_an_hour_for_its_daylight_time() -> None:
    winter, summer = parse_footer("IST-1GMT0,M10.5.0,M3.5.0/1")
    assert (winter.after.name, winter.after.offset, winter.after.daylight) == ("GMT", timedelta(0), True)
    assert (summer.after.name, summer.after.offset) == ("IST", timedelta(hours=1))
    assert winter.transition(2026).at == summer.transition(2026).at.replace(month=10, day=25)


def test_a_footer_may_leave_out_the_offset_of_its_daylight_time() -> None:
    summer, winter = parse_footer("<+1030>-10:30<+11>-11,M10.1.0,M4.1.0")
    assert summer.before.offset == timedelta(hours=10, minutes=30)
    assert winter.before.offset == timedelta(hours=11)
    assert parse_footer("EST5EDT,M3.2.0,M11.1.0")[0].after.offset == timedelta(hours=-4)
    assert parse_footer("<-03>3") == parse_footer("") == ()


@pytest.mark.parametrize("text", ["EST", "EST5EDT", "EST5EDT,M3.2.0", "12", "EST5EDT,M3.2.0,M11.1.0;"])
def test_text_that_is_not_a_footer_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="POSIX"):
        parse_footer(text)


@pytest.mark.parametrize("data", [b"", b"TZif", b"TZif\0" + bytes(39), b"PK\3\4" + bytes(60)])
def test_data_that_is_not_a_zone_file_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="TZif"):
        parse_zone_file(data)


@pytest.mark.parametrize("name", ["Europe/Atlantis", "../../etc/passwd"])
def test_a_zone_that_is_not_in_the_data_is_refused(name: str) -> None:
    with pytest.raises((ZoneInfoNotFoundError, ValueError)):
        zone_file(name)


@pytest.mark.parametrize(
    "name", ["Europe/London", "America/Havana", "Africa/Casablanca", "Africa/Monrovia", "UTC"]
)
def test_the_transitions_are_those_of_the_standard_library(name: str) -> None:
    zone = ZoneInfo(name)
    transitions = zone_file(name).transitions(2060)
    for transition in transitions:
        for moment, expected in (
            (transition.at - timedelta(seconds=1), transition.before),
            (transition.at, transition.after),
        ):
            local = moment.astimezone(zone)
            assert (local.utcoffset(), local.tzname()) == (expected.offset, expected.name)
    for earlier, later in pairwise(
        [datetime(1970, 1, 1, tzinfo=UTC), *(transition.at for transition in transitions)]
    ):
        middle = earlier + (later - earlier) / 2
        assert middle.astimezone(zone).utcoffset() == earlier.astimezone(zone).utcoffset()
