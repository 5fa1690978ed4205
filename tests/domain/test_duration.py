from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.domain.clock import format_duration, parse_duration
from scheduler.domain.errors import Refused


@given(st.integers(0, 9999), st.integers(0, 99999), st.integers(0, 999999))
def test_days_hours_and_minutes_are_added(days: int, hours: int, minutes: int) -> None:
    length = timedelta(days=days, hours=hours, minutes=minutes)
    assert parse_duration(f"{days}d {hours}h {minutes}m") == length
    assert parse_duration(f"{days}d{hours}h{minutes}m") == length


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("90m", timedelta(minutes=90)),
        ("1h", timedelta(hours=1)),
        (" 14d ", timedelta(days=14)),
        ("1d 2h", timedelta(days=1, hours=2)),
        ("1d 30m", timedelta(days=1, minutes=30)),
    ],
)
def test_any_part_of_a_duration_may_be_left_out(text: str, length: timedelta) -> None:
    assert parse_duration(text) == length


@pytest.mark.parametrize(
    "text", ["", " ", "1", "h", "1.5h", "-1h", "2h 1d", "1h 1h", "1 h", "soon", "٣h", "1s", "99999d"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="is not a length of time; write it as 90m, 1h, 14d or 1d 2h"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("length", "words"),
    [
        (timedelta(), "0 s"),
        (timedelta(milliseconds=1), "1 s"),
        (timedelta(seconds=60), "1 min"),
        (timedelta(seconds=250), "4 min 10 s"),
        (timedelta(seconds=7_000), "1 h 57 min"),
        (timedelta(hours=50, minutes=1), "2 d 3 h"),
        (timedelta(days=400), "400 d"),
    ],
)
def test_a_length_of_time_is_written_in_its_two_largest_units(length: timedelta, words: str) -> None:
    assert format_duration(length) == words
