"""When a notice is due: lead or local time, gaps and folds."""

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.domain.errors import Refused
from scheduler.domain.occurrence import Occurrence
from scheduler.domain.policy import Kind, Policy, first_instant, wait_before, wanted
from scheduler.domain.zone import zone_tab_zones
from tests.installation import SERIES

START = datetime(2026, 11, 19, 18, tzinfo=UTC)
DAY_BEFORE = Policy(slug="day-before", kind=Kind.REMINDER, days_before=1, at=time(9))


def test_days_count_from_the_members_own_date_of_the_meeting() -> None:
    assert DAY_BEFORE.due(START, "Europe/London") == datetime(2026, 11, 18, 9, tzinfo=UTC)
    # Friday in Auckland, so Thursday there.
    assert DAY_BEFORE.due(START, "Pacific/Auckland") == datetime(2026, 11, 18, 20, tzinfo=UTC)


def test_a_due_time_at_or_after_the_start_is_one_hour_before_it() -> None:
    same_day = Policy(slug="same-day", kind=Kind.REMINDER, days_before=0, at=time(9))
    assert same_day.due(START, "Pacific/Auckland") == START - timedelta(hours=1)  # they meet at 07:00
    assert same_day.due(START, "Europe/London") == datetime(2026, 11, 19, 9, tzinfo=UTC)
    at_start = Policy(slug="at-start", kind=Kind.REMINDER, days_before=0, at=time(18))
    assert at_start.due(START, "Europe/London") == START - timedelta(hours=1)


def test_a_due_time_in_a_gap_is_the_first_instant_after_it_and_in_a_fold_the_first() -> None:
    assert first_instant(datetime(2027, 3, 28, 1, 30), "Europe/London") == datetime(
        2027, 3, 28, 1, tzinfo=UTC
    )
    assert first_instant(datetime(2026, 10, 25, 1, 30), "Europe/London") == datetime(
        2026, 10, 25, 0, 30, tzinfo=UTC
    )
    # Half an hour is skipped on Lord Howe; a whole day was on Samoa.
    assert first_instant(datetime(2026, 10, 4, 2, 15), "Australia/Lord_Howe") == datetime(
        2026, 10, 3, 15, 30, tzinfo=UTC
    )
    assert first_instant(datetime(2011, 12, 30, 9), "Pacific/Apia") == datetime(2011, 12, 30, 10, tzinfo=UTC)


@given(
    st.sampled_from(zone_tab_zones()),
    st.datetimes(datetime(2026, 1, 1), datetime(2046, 1, 1)).map(
        lambda wall: wall.replace(second=0, microsecond=0)
    ),
)
def test_the_first_instant_is_the_earliest_at_which_the_clocks_show_the_time_or_later(
    zone: str, wall: datetime
) -> None:
    instant = first_instant(wall, zone)
    tz = ZoneInfo(zone)
    assert instant.astimezone(tz).replace(tzinfo=None) >= wall
    assert (instant - timedelta(seconds=1)).astimezone(tz).replace(tzinfo=None) < wall


@given(
    zone=st.sampled_from(zone_tab_zones()),
    day=st.dates(date(2026, 1, 1), date(2046, 1, 1)),
    days=st.integers(0, 60),
    at=st.times().map(lambda moment: moment.replace(second=0, microsecond=0)),
)
def test_a_follow_up_is_due_after_the_end_and_at_the_members_own_hour_where_that_is_after_it(
    zone: str, day: date, days: int, at: time
) -> None:
    meeting = SERIES.occurrence(day, datetime(2026, 1, 1, tzinfo=UTC))
    policy = Policy(slug="after", kind=Kind.FOLLOW_UP, days_after=days, at=at)
    due, tz = policy.due_about(meeting, zone), ZoneInfo(zone)
    wall = datetime.combine(meeting.starts.astimezone(tz).date() + timedelta(days=days), at)
    assert due > meeting.ends
    assert due in (first_instant(wall, zone), meeting.ends + timedelta(hours=1))
    assert (due == first_instant(wall, zone)) or first_instant(wall, zone) <= meeting.ends
    want = wanted(
        replace(meeting, materials="Notes"),
        policy,
        zones=frozenset({zone, "UTC"}),
        adopted_at=due,
        invited_late={},
    )
    assert want and want.dues[zone] == due
    assert want.expires == max(due, policy.due_about(meeting, "UTC")) + timedelta(days=14)


def test_a_lag_counts_from_the_end_and_is_the_same_instant_for_all() -> None:
    meeting = SERIES.occurrence(date(2026, 11, 19), datetime(2026, 1, 1, tzinfo=UTC))
    policy = Policy(slug="after", kind=Kind.FOLLOW_UP, lag=timedelta(hours=2))
    assert policy.due_about(meeting, "Pacific/Auckland") == meeting.ends + timedelta(hours=2)
    assert policy.zones(frozenset({"Pacific/Auckland"})) == {"*"}


@pytest.mark.parametrize(
    "timing",
    [
        {},
        {"lead": timedelta(hours=1)},
        {"lag": timedelta(hours=1), "lead": timedelta(hours=1)},
        {"days_after": 1},
        {"lag": timedelta(days=61)},
        {"days_after": 61, "at": time(9)},
        {"days_before": 1, "at": time(9)},
    ],
)
def test_a_follow_up_has_either_a_lag_or_a_local_time_after_the_meeting(timing: dict[str, object]) -> None:
    with pytest.raises(Refused, match="policy odd"):
        Policy(slug="odd", kind=Kind.FOLLOW_UP, **timing)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "timing",
    [
        {},
        {"lead": timedelta(hours=1), "days_before": 1, "at": time(9)},
        {"days_before": 1},
        {"at": time(9)},
        {"lead": timedelta(0)},
        {"lead": timedelta(days=61)},
        {"days_before": 61, "at": time(9)},
    ],
)
def test_a_policy_has_either_a_lead_or_a_local_time_within_bounds(timing: dict[str, object]) -> None:
    with pytest.raises(Refused, match="policy odd"):
        Policy(slug="odd", kind=Kind.REMINDER, **timing)  # type: ignore[arg-type]


def meeting(day: int, series: str = "rounds", **changes: object) -> Occurrence:
    starts = datetime(2026, 11, day, 18, tzinfo=UTC)
    made = Occurrence(
        key=f"{series}/2026-11-{day:02}",
        series=series,
        date=starts.date(),
        zone="Europe/London",
        original=starts,
        starts=starts,
        ends=starts + timedelta(hours=1),
        changed_at=datetime(2026, 10, 1, tzinfo=UTC),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


CHANGED = datetime(2026, 11, 9, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("others", "wait"),
    [
        ([], None),
        ([meeting(5), meeting(12)], (12, datetime(2026, 11, 12, 19, tzinfo=UTC))),
        ([meeting(26), meeting(17, "journal")], None),
        ([meeting(5), meeting(12, orphaned=True)], (5, datetime(2026, 11, 5, 19, tzinfo=UTC))),
        ([meeting(5), meeting(12, cancelled=True, revision=1, changed_at=CHANGED)], (5, CHANGED)),
        ([meeting(12, cancelled=True, revision=1, changed_at=CHANGED)], (9, CHANGED)),
        ([meeting(12, revision=1, changed_at=CHANGED)], (12, datetime(2026, 11, 12, 19, tzinfo=UTC))),
    ],
)
def test_latecomers_wait_for_the_meeting_before_until_it_is_over_or_none_is_left_to_wait_for(
    others: list[Occurrence], wait: tuple[int, datetime] | None
) -> None:
    found = wait_before([*others, meeting(19)], meeting(19))
    assert (found and (found.starts.day, found.over)) == wait
