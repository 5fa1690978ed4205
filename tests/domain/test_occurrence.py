"""Series, their rules and their occurrences check themselves."""

from datetime import UTC, date, datetime, time, timedelta

import pytest

from scheduler.domain.errors import Refused
from scheduler.domain.occurrence import Occurrence, OccurrenceKey, Series, Status, in_gap, instant

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def series(**values: object) -> Series:
    usual: dict[str, object] = {
        "slug": "tea",
        "title": "Tea",
        "rule": "FREQ=MONTHLY;BYDAY=3TH",
        "start": time(18),
        "zone": "Europe/London",
        "duration": timedelta(hours=1),
        "first": date(2020, 7, 16),
    }
    return Series(**{**usual, **values})  # type: ignore[arg-type]


def test_the_third_thursday_is_between_the_15th_and_the_21st() -> None:
    days = series().dates(date(2026, 1, 1))
    for _ in range(240):
        day = next(days)
        assert day.weekday() == 3
        assert 15 <= day.day <= 21


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"rule": "FREQ=HOURLY"}, "FREQ must be"),
        ({"rule": "FREQ=MONTHLY;BYHOUR=3"}, "'BYHOUR' is not understood"),
        ({"rule": "every third Thursday"}, "has two meanings"),
        ({"rule": "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30"}, "never has a date"),
        ({"slug": "Not A Slug"}, "is not a slug"),
        ({"duration": timedelta(0)}, "duration"),
        ({"start": time(18, 0, 30)}, "HH:MM"),
    ],
)
def test_the_refusal_of_a_wrong_series_says_what_is_accepted(
    values: dict[str, object], complaint: str
) -> None:
    with pytest.raises(Refused, match=complaint):
        series(**values)


def test_the_status_follows_from_the_changes() -> None:
    occurrence = series().occurrence(date(2026, 11, 19), NOW)
    values = {name: getattr(occurrence, name) for name in occurrence.__dataclass_fields__}
    later = {"starts": occurrence.starts + timedelta(hours=1), "ends": occurrence.ends + timedelta(hours=1)}
    assert occurrence.status is Status.SCHEDULED
    assert Occurrence(**{**values, **later}).status is Status.MOVED
    assert Occurrence(**{**values, **later, "cancelled": True}).status is Status.CANCELLED


def test_a_naive_datetime_is_refused() -> None:
    occurrence = series().occurrence(date(2026, 11, 19), NOW)
    values = {name: getattr(occurrence, name) for name in occurrence.__dataclass_fields__}
    with pytest.raises(ValueError, match="naive"):
        Occurrence(**{**values, "starts": datetime(2026, 11, 19, 18)})


@pytest.mark.parametrize(
    "text", ["tea", "tea/2026-13-01", "tea/2026-11-19T2460", "Tea/2026-11-19", "tea/2026-11-19 "]
)
def test_text_that_is_not_a_key_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="is not an occurrence"):
        OccurrenceKey.parse(text)


def test_a_start_in_a_gap_has_the_offset_before_it() -> None:
    skipped = datetime(2027, 3, 28, 1, 30)
    assert in_gap(skipped, "Europe/London")
    assert not in_gap(skipped, "Asia/Kolkata")
    assert instant(skipped, "Europe/London") == datetime(2027, 3, 28, 1, 30, tzinfo=UTC)
