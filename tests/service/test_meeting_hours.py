"""What the hour of a meeting means for its members: who meets at night, and who has a public holiday."""

import threading
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from scheduler.domain.occurrence import Occurrence
from scheduler.domain.public_holidays import PublicHoliday
from scheduler.service import meeting_hours
from scheduler.service.meeting_hours import CountryHoliday, CountryNight, what_hours_mean
from tests.installation import SERIES

# 18:00 in London on the day before Good Friday, which is 07:00 on Good Friday in Auckland.
MEETING = Occurrence(
    key=f"{SERIES.slug}/2027-03-25",
    series=SERIES.slug,
    date=date(2027, 3, 25),
    zone=SERIES.zone,
    original=datetime(2027, 3, 25, 18, tzinfo=UTC),
    starts=datetime(2027, 3, 25, 18, tzinfo=UTC),
    ends=datetime(2027, 3, 25, 19, tzinfo=UTC),
    changed_at=datetime(2027, 1, 1, tzinfo=UTC),
)


async def test_a_holiday_counts_on_each_country_s_own_date_of_the_meeting() -> None:
    places = {
        ("GB-ENG", "Europe/London"): 5,
        ("NZ", "Pacific/Auckland"): 3,
        ("NZ", "Europe/London"): 1,  # whose date is still Thursday
        ("DK", "Europe/Copenhagen"): 2,  # Maundy Thursday is a holiday there
        ("", "Pacific/Auckland"): 7,
    }
    hours = await what_hours_mean(places, SERIES, MEETING, MEETING)
    assert list(hours.holidays) == [
        CountryHoliday(
            country="NZ", day=date(2027, 3, 26), count=3, holidays=(PublicHoliday("Good Friday"),)
        ),
        CountryHoliday(
            country="DK", day=date(2027, 3, 25), count=2, holidays=(PublicHoliday("Maundy Thursday"),)
        ),
    ]


async def test_members_who_meet_at_night_are_counted_by_country() -> None:
    places = {
        ("US", "America/New_York"): 4,
        ("CN", "Asia/Shanghai"): 2,  # 02:00 on the next day
        ("AU", "Australia/Perth"): 3,  # 02:00
        ("AU", "Australia/Sydney"): 1,  # 05:00
        ("AU", "Antarctica/Macquarie"): 1,
        ("NZ", "Pacific/Auckland"): 1,  # 07:00
    }
    hours = await what_hours_mean(places, SERIES, MEETING, MEETING)
    assert (hours.count, hours.at_night) == (12, 7)
    assert list(hours.nights) == [
        CountryNight(country="AU", at_night=5, count=5),
        CountryNight(country="CN", at_night=2, count=2),
    ]


@pytest.mark.parametrize(
    ("hour", "minute", "minutes", "at_night"),
    [
        (6, 0, 60, False),
        (5, 59, 1, True),
        (22, 0, 60, False),
        (22, 30, 60, True),
        (23, 0, 60, True),
        (0, 30, 30, True),
        (12, 0, 1440, True),
    ],
)
async def test_a_meeting_is_at_night_if_a_part_of_it_is_between_23_and_6(
    hour: int, minute: int, minutes: int, at_night: bool
) -> None:
    starts = datetime(2027, 3, 25, hour, minute, tzinfo=UTC)
    meeting = replace(MEETING, starts=starts, ends=starts + timedelta(minutes=minutes))
    hours = await what_hours_mean({("GB", "Europe/London"): 1}, SERIES, meeting, meeting)
    assert bool(hours.at_night) is at_night


async def test_only_holidays_are_looked_up_in_another_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The dates of a series are shared by all that needs them, and not safe for several threads."""
    used: dict[str, set[int]] = {"local_time": set(), "public_holidays": set()}
    for name, threads in used.items():
        real = getattr(meeting_hours, name)

        def noted(*arguments: object, real=real, threads=threads, **options: object) -> object:  # type: ignore[no-untyped-def]
            threads.add(threading.get_ident())
            return real(*arguments, **options)

        monkeypatch.setattr(meeting_hours, name, noted)
    await what_hours_mean({("GB", "Europe/London"): 1}, SERIES, MEETING, MEETING)
    assert used["local_time"] == {threading.get_ident()}
    assert used["public_holidays"].isdisjoint(used["local_time"])
