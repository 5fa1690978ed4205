"""Rules in English words or in the form of RFC 5545 are understood, or refused at once."""

from datetime import date, time, timedelta
from itertools import islice

import pytest

from scheduler.domain.errors import Refused
from scheduler.domain.occurrence import Series


def series(rule: str, *, zone: str = "Europe/London", start: time = time(18)) -> Series:
    return Series(
        slug="tea",
        title="Tea",
        rule=rule,
        start=start,
        zone=zone,
        duration=timedelta(hours=1),
        first=date(2026, 1, 1),
    )


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        ("third Thursday", "FREQ=MONTHLY;BYDAY=3TH"),
        ("last Monday", "FREQ=MONTHLY;BYDAY=-1MO"),
        ("first and third Tuesday", "FREQ=MONTHLY;BYDAY=1TU,3TU"),
        ("The 1st and 3rd Tuesdays of each month.", "FREQ=MONTHLY;BYDAY=1TU,3TU"),
        ("first Monday, third Wednesday", "FREQ=MONTHLY;BYDAY=1MO,3WE"),
        ("last Friday of the month", "FREQ=MONTHLY;BYDAY=-1FR"),
        ("every last Friday", "FREQ=MONTHLY;BYDAY=-1FR"),
        ("every second Wednesday of the month", "FREQ=MONTHLY;BYDAY=2WE"),
        ("second-to-last Friday", "FREQ=MONTHLY;BYDAY=-2FR"),
        ("every 2 months on the third Thursday", "FREQ=MONTHLY;INTERVAL=2;BYDAY=3TH"),
        ("monthly on the 15th", "FREQ=MONTHLY;BYMONTHDAY=15"),
        ("the 1st and 15th", "FREQ=MONTHLY;BYMONTHDAY=1,15"),
        ("last day of the month", "FREQ=MONTHLY;BYMONTHDAY=-1"),
        ("every Monday", "FREQ=WEEKLY;BYDAY=MO"),
        ("Thursdays", "FREQ=WEEKLY;BYDAY=TH"),
        ("weekly on Mondays and Thursdays", "FREQ=WEEKLY;BYDAY=MO,TH"),
        ("every other Tuesday", "FREQ=WEEKLY;INTERVAL=2;BYDAY=TU"),
        ("every two weeks on Monday", "FREQ=WEEKLY;INTERVAL=2;BYDAY=MO"),
        ("fortnightly on Fri", "FREQ=WEEKLY;INTERVAL=2;BYDAY=FR"),
        ("every weekday", "FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR"),
        ("daily", "FREQ=DAILY"),
        ("RRULE:FREQ=MONTHLY;BYDAY=3TH", "FREQ=MONTHLY;BYDAY=3TH"),
        ("rrule: freq=monthly; byday=3th;", "FREQ=MONTHLY;BYDAY=3TH"),
    ],
)
def test_a_rule_may_be_written_in_words_or_as_calendars_export_it(words: str, rule: str) -> None:
    assert series(words).rule == rule


@pytest.mark.parametrize(
    "words", ["every second Wednesday", "every third Thursday", "every 2nd Monday", "every fourth Friday"]
)
def test_words_with_two_meanings_are_refused_with_both_meanings(words: str) -> None:
    with pytest.raises(Refused, match=r"has two meanings; write '.* of the month' or 'every \d weeks on"):
        series(words)


@pytest.mark.parametrize(
    "words",
    [
        "",
        "every",
        "monthly",
        "now and then",
        "third Thursday at 18:00",
        "third Thursday of January",
        "biweekly",
        "sixth Monday",
        "0th Monday",
        "the 32nd",
        "first Thursday and Friday",
        "every month on Monday",
        "weekly on the third Thursday",
        "jeden Dienstag",
    ],
)
def test_other_words_are_refused_with_an_example(words: str) -> None:
    with pytest.raises(Refused, match="is not understood; write it as") as caught:
        series(words)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("until", "last"),
    [
        ("20261217T180000Z", date(2026, 12, 17)),
        ("20261217T175959Z", date(2026, 11, 19)),
        ("20261217T180000", date(2026, 12, 17)),
        ("20261217", date(2026, 12, 17)),
        ("2026-12-17", date(2026, 12, 17)),
        ("20261217T120000Z", date(2026, 11, 19)),
    ],
)
def test_an_end_in_utc_is_compared_with_the_instant_of_the_meeting(until: str, last: date) -> None:
    assert list(series(f"FREQ=MONTHLY;BYDAY=3TH;UNTIL={until}").dates(date(2026, 10, 1)))[-1] == last


def test_an_end_in_utc_is_a_home_date_elsewhere() -> None:
    """08:00 in Auckland on the 18th is 19:00 UTC on the 17th."""
    in_auckland = series("FREQ=DAILY;UNTIL=20261217T190000Z", zone="Pacific/Auckland", start=time(8))
    assert list(in_auckland.dates(date(2026, 12, 1)))[-1] == date(2026, 12, 18)


@pytest.mark.parametrize(
    ("rule", "complaint"),
    [
        ("FREQ=WEEKLY;INTERVAL=0", "INTERVAL must be"),
        ("FREQ=WEEKLY;INTERVAL=-1", "INTERVAL must be"),
        ("FREQ=WEEKLY;INTERVAL=99999999999999", "INTERVAL must be"),
        ("FREQ=WEEKLY;INTERVAL=", "INTERVAL must be"),
        ("FREQ=WEEKLY;COUNT=0", "COUNT must be"),
        ("FREQ=WEEKLY;COUNT=-3", "COUNT must be"),
        ("FREQ=SECONDLY", "FREQ must be"),
        ("FREQ=MINUTELY;INTERVAL=5", "FREQ must be"),
        ("BYDAY=MO", "FREQ must be"),
        ("FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30", "never has a date"),
        ("FREQ=WEEKLY;BYMONTH=4;BYMONTHDAY=31", "never has a date"),
        ("FREQ=MONTHLY;BYDAY=MO;BYSETPOS=9", "never has a date"),
        ("FREQ=YEARLY;BYWEEKNO=53;BYMONTH=6", "never has a date"),
        ("FREQ=MONTHLY;INTERVAL=12;BYMONTH=5", "never has a date"),
        ("FREQ=MONTHLY;BYDAY=1MO;UNTIL=20250101", "never has a date"),
        ("FREQ=MONTHLY;BYDAY=6TH", "up to 5"),
        ("FREQ=WEEKLY;BYDAY=3TH", "within a month"),
        ("FREQ=MONTHLY;BYDAY=0TH", "up to 5"),
        ("FREQ=MONTHLY;BYDAY=XX", "not 'XX'"),
        ("FREQ=MONTHLY;BYMONTH=13", "BYMONTH"),
        ("FREQ=MONTHLY;BYMONTHDAY=0", "BYMONTHDAY"),
        ("FREQ=MONTHLY;BYMONTHDAY=32", "BYMONTHDAY"),
        ("FREQ=MONTHLY;BYDAY=MO;BYSETPOS=0", "BYSETPOS"),
        ("FREQ=MONTHLY;UNTIL=tomorrow", "UNTIL"),
        ("FREQ=MONTHLY;UNTIL=20261301", "UNTIL"),
        ("FREQ=WEEKLY;FREQ=DAILY", "twice"),
        ("FREQ=WEEKLY;COUNT=3;UNTIL=20270101", "not both"),
        ("DTSTART:20260101T180000Z\nRRULE:FREQ=DAILY", "without DTSTART"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused_at_once(rule: str, complaint: str) -> None:
    with pytest.raises(Refused, match=complaint) as caught:
        series(rule)
    assert str(caught.value).isprintable()


def test_the_rarest_dates_are_found() -> None:
    """29 February on a Monday: 2044, 2072, and 2112 across the year 2100, which is not a leap year."""
    rare = series("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29;BYDAY=MO")
    assert [day.year for day in islice(rare.dates(date(2030, 1, 1)), 3)] == [2044, 2072, 2112]


def test_a_rule_that_ends_is_walked_twice_at_the_same_time() -> None:
    """dateutil's own cache waits forever here before its version 4."""
    meetings = series("FREQ=MONTHLY;BYDAY=3TH;COUNT=15")
    walked = [(day, meetings.date_before(date(2028, 1, 1))) for day in meetings.dates(date(2026, 1, 1))]
    assert walked[0] == (date(2026, 1, 15), date(2027, 3, 18)) and walked[-1][0] == date(2027, 3, 18)
    assert meetings.gives(date(2027, 3, 18)) and not meetings.gives(date(2027, 4, 15))
    assert meetings.date_before(date(2026, 1, 15)) is None
