"""Public holidays by country and date, in the fixed year 2027."""

import subprocess
import sys
from datetime import date

import pytest

from scheduler.domain.public_holidays import PublicHoliday, public_holidays

GOOD_FRIDAY = date(2027, 3, 26)
EID = date(2027, 3, 10)


@pytest.mark.parametrize(
    ("country", "day", "name"),
    [
        ("NZ", GOOD_FRIDAY, "Good Friday"),
        ("DE", date(2027, 10, 3), "German Unity Day"),
        ("GB-SCT", date(2027, 11, 30), "Saint Andrew's Day"),
        ("GB-NIR", date(2027, 3, 17), "Saint Patrick's Day"),
        ("GB-ENG", date(2027, 3, 29), "Easter Monday"),
    ],
)
def test_a_holiday_has_its_english_name(country: str, day: date, name: str) -> None:
    assert public_holidays(country, day) == (PublicHoliday(name),)


@pytest.mark.parametrize(
    ("country", "day"),
    [
        ("GB-ENG", date(2027, 11, 30)),
        ("GB", date(2027, 3, 29)),  # not in Scotland
        ("DE", date(2027, 1, 6)),  # in some of its states only
        ("NZ", date(2027, 3, 25)),
        ("XX", GOOD_FRIDAY),
        ("", GOOD_FRIDAY),
    ],
)
def test_a_holiday_of_a_region_or_of_another_country_is_left_out(country: str, day: date) -> None:
    assert public_holidays(country, day) == ()


def test_a_date_that_depends_on_the_moon_is_marked_as_estimated() -> None:
    assert public_holidays("EG", EID) == (PublicHoliday("Eid al-Fitr", is_estimated=True),)


def test_the_data_is_not_loaded_until_somebody_asks() -> None:
    code = "import sys, scheduler.bootstrap.serve, scheduler.web.app; print('holidays' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
