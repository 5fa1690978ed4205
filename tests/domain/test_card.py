"""The card of a meeting says what somebody who only sees its picture needs to know."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

from scheduler.domain.card import elsewhere, meeting_card
from tests.installation import COMMUNITY, SERIES

NOW = datetime(2026, 11, 4, tzinfo=UTC)
MEETING = SERIES.occurrence(date(2026, 11, 19), NOW)
MOVED = replace(MEETING, starts=MEETING.starts + timedelta(hours=1), ends=MEETING.ends + timedelta(hours=1))


def test_a_card_says_that_a_meeting_was_moved_until_it_is_over_and_that_it_was_cancelled_always() -> None:
    for meeting, now, mark in (
        (MOVED, NOW, "New time"),
        (MOVED, MOVED.ends, ""),
        (replace(MOVED, cancelled=True), NOW, "Cancelled"),
        (replace(MOVED, cancelled=True), MOVED.ends, "Cancelled"),
    ):
        card = meeting_card(meeting, SERIES, COMMUNITY, cycle="h23", now=now)
        assert card.mark == mark
        assert bool(card.elsewhere) == (mark == "New time")


def test_the_hour_elsewhere_is_never_the_home_hour_and_names_the_day_where_it_is_another() -> None:
    assert elsewhere(MEETING, SERIES, cycle="h12") == (
        "1:00 pm New York",
        "7:00 pm Berlin",
        "11:30 pm Kolkata",
        "Fri 7:00 am Auckland",
    )
    kolkata = replace(MEETING, zone="Asia/Kolkata")
    assert [words.rpartition(" ")[2] for words in elsewhere(kolkata, SERIES, cycle="h23")] == [
        "Angeles",
        "York",
        "Berlin",
        "Auckland",
    ]
