"""A rule in the words that pages show."""

from dataclasses import replace
from datetime import date, time, timedelta

import pytest

from scheduler.domain.localtime import format_rule
from scheduler.domain.recurrence import read_rule, rule_in_words
from tests.installation import SERIES

FIRST = date(2026, 2, 19)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("third Thursday of the month", "the third Thursday of every month"),
        ("last Monday of the month", "the last Monday of every month"),
        ("first and third Tuesday", "the first and third Tuesday of every month"),
        ("FREQ=MONTHLY;BYDAY=-1FR,1FR", "the first and last Friday of every month"),
        ("FREQ=MONTHLY;BYDAY=-2WE", "the second to last Wednesday of every month"),
        ("FREQ=MONTHLY;BYDAY=1MO,3WE", "the first Monday and the third Wednesday of every month"),
        ("FREQ=MONTHLY;BYDAY=TH;BYSETPOS=3", "the third Thursday of every month"),
        ("every Monday", "every Monday"),
        ("FREQ=WEEKLY", "every Thursday"),
        ("every other Monday", "every other Monday"),
        ("every 3 weeks on Tuesday", "every third Tuesday"),
        ("every 8 weeks on Tuesday", "every 8 weeks on Tuesday"),
        ("Tuesdays and Fridays", "every Tuesday and Friday"),
        ("FREQ=WEEKLY;BYDAY=FR,MO,WE", "every Monday, Wednesday and Friday"),
        ("FREQ=WEEKLY;INTERVAL=2;BYDAY=TU,TH", "every other week on Tuesday and Thursday"),
        ("every weekday", "every weekday, Monday to Friday"),
        ("daily", "every day"),
        ("every 2 days", "every other day"),
        ("monthly on the 15th", "the 15th of every month"),
        ("1st and 22nd of the month", "the 1st and 22nd of every month"),
        ("FREQ=MONTHLY;BYMONTHDAY=-1", "the last day of every month"),
        ("FREQ=MONTHLY;BYMONTHDAY=-3", ""),
        ("FREQ=MONTHLY", "the 19th of every month"),
        ("FREQ=MONTHLY;INTERVAL=3;BYDAY=3TH", "the third Thursday of February, May, August and November"),
        (
            "FREQ=MONTHLY;INTERVAL=2;BYDAY=1FR",
            "the first Friday of February, April, June, August, October and December",
        ),
        ("FREQ=MONTHLY;INTERVAL=5;BYDAY=1FR", "the first Friday of every fifth month"),
        ("FREQ=MONTHLY;INTERVAL=24;BYDAY=1FR", ""),
        ("FREQ=MONTHLY;BYMONTH=9,3;BYDAY=2TU", "the second Tuesday of March and September"),
        ("FREQ=YEARLY;BYMONTH=6;BYDAY=-1SU", "the last Sunday of June"),
        ("FREQ=YEARLY;BYMONTH=6;BYMONTHDAY=24", "the 24th of June"),
        ("FREQ=YEARLY;BYDAY=20MO", ""),
        ("FREQ=YEARLY;INTERVAL=2;BYMONTH=6;BYDAY=1SU", ""),
        ("FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=13", ""),
        ("FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1", ""),
        ("FREQ=DAILY;BYDAY=MO", ""),
        ("FREQ=MONTHLY;BYDAY=TH", "every Thursday"),
        ("FREQ=MONTHLY;BYDAY=TH;BYMONTH=6,6", "every Thursday of June"),
        ("FREQ=WEEKLY;BYDAY=TH,TH", "every Thursday"),
        ("FREQ=YEARLY;BYMONTH=3,9;BYDAY=TH;BYSETPOS=3", ""),
        ("FREQ=WEEKLY;BYDAY=TH;UNTIL=20271231", "every Thursday"),
        ("FREQ=WEEKLY;BYDAY=TH;COUNT=10;WKST=SU", "every Thursday"),
    ],
)
def test_a_rule_is_said_in_words_or_not_at_all(rule: str, words: str) -> None:
    assert rule_in_words(read_rule(rule, start=time(18), zone="Europe/London"), FIRST) == words


def test_the_words_of_a_series_name_its_hours_and_place() -> None:
    assert format_rule(SERIES, "h23") == "The third Thursday of every month, 18:00 to 19:00 in London"
    assert format_rule(replace(SERIES, rule="every Friday", zone="Asia/Kolkata"), "h12") == (
        "Every Friday, 6:00 pm to 7:00 pm in Kolkata"
    )
    odd = replace(SERIES, rule="FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=13", duration=timedelta(minutes=90))
    assert format_rule(odd, "h23") == "18:00 to 19:30 in London"
