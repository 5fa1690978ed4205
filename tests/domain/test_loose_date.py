"""Dates and months as they stand in sheets."""

from datetime import date, time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.domain.errors import Refused
from scheduler.domain.loose_date import read_when

DAY = date(2021, 5, 20)


@pytest.mark.parametrize(
    "typed",
    [
        "2021-05-20",
        "2021/5/20",
        "20.05.2021",
        "20/05/2021",
        "5/20/21",
        "20 May 2021",
        "May 20, 2021",
        "Thu 20th May 2021",
        "Thursday, May 20th 2021",
        "jueves 20 de mayo de 2021",
        "20. Mai 2021",
    ],
)
def test_a_day_is_understood(typed: str) -> None:
    assert read_when(typed).days == (DAY,)


@pytest.mark.parametrize(
    "typed", ["May 2021", "may-21", "May '21", "2021-05", "05/2021", "mai 2021", "MAY. 2021"]
)
def test_a_month_is_understood(typed: str) -> None:
    when = read_when(typed)
    assert (when.month, when.days) == ((2021, 5), ())


def test_a_time_a_year_from_above_and_the_first_of_a_month_are_understood() -> None:
    assert read_when("20 May 2021, 6:30 pm").start == time(18, 30)
    assert read_when("2021-05-20 00:00:00").start is None, "a day as spreadsheets show it"
    assert read_when("May", year=2021).month == (2021, 5)
    assert read_when("May-21", year=2021).days == (), "the year again, not a day"
    assert read_when("20 May", year=2021).days == (DAY,)
    assert read_when("2021-05-01", is_month=True).days == ()


def test_what_may_be_two_days_is_both_and_a_point_is_day_first() -> None:
    assert read_when("05/06/2021").days == (date(2021, 6, 5), date(2021, 5, 6))
    assert read_when("05.06.2021").days == (date(2021, 6, 5),)


@given(st.text(max_size=40))
def test_any_text_is_a_date_or_refused_in_one_line(typed: str) -> None:
    try:
        when = read_when(typed)
    except Refused as refusal:
        problem, month = str(refusal), (2000, 1)
    else:
        problem, month = "", when.month
    assert problem.isprintable()
    assert 1900 <= month[0] <= 2199 and 1 <= month[1] <= 12
