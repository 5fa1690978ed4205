"""Local times are right in every zone, compared with an oracle that is not Python."""

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.domain.localtime import (
    WEEKDAYS,
    format_clock,
    format_day,
    format_day_and_month,
    format_length,
    format_month,
    format_offset,
    local_time,
)
from scheduler.domain.occurrence import Occurrence, Series, preceding
from scheduler.domain.zone import zone_tab_zones
from tests.domain.oracle import shown

ADOPTED = datetime(2020, 1, 1, tzinfo=UTC)


def series(
    rule: str = "FREQ=MONTHLY;BYDAY=3TH", start: time = time(18), zone: str = "Europe/London"
) -> Series:
    return Series(
        slug="meeting",
        title="Meeting",
        rule=rule,
        start=start,
        zone=zone,
        duration=timedelta(hours=1),
        first=date(2020, 7, 16),
    )


def occurrences(meeting: Series, since: date, count: int) -> list[Occurrence]:
    days = meeting.dates(since)
    return [meeting.occurrence(next(days), ADOPTED) for _ in range(count)]


OURS = series()
TWENTY_YEARS = occurrences(OURS, date(2026, 1, 1), 240)


@pytest.mark.parametrize("zone", zone_tab_zones())
def test_twenty_years_of_meetings_are_at_the_oracles_minute_and_weekday(zone: str) -> None:
    for occurrence, line in zip(
        TWENTY_YEARS, shown(zone, [occurrence.starts for occurrence in TWENTY_YEARS]), strict=True
    ):
        local = local_time(occurrence, OURS, zone=zone)
        # No zone has an offset with seconds after 2026.
        assert f"{local.starts_at.isoformat(timespec='minutes')} {local.weekday}" == line


_WEEKDAYS = {
    "sv": "måndag tisdag onsdag torsdag fredag lördag söndag".split(),
    "ar": "الاثنين الثلاثاء الأربعاء الخميس الجمعة السبت الأحد".split(),
    "zh-Hant": "星期一 星期二 星期三 星期四 星期五 星期六 星期日".split(),
}


@pytest.mark.parametrize("language", _WEEKDAYS)
def test_a_meeting_is_at_the_oracles_minute_and_weekday_in_three_scripts(language: str) -> None:
    spring_and_autumn = TWENTY_YEARS[2:12:8]
    for zone in zone_tab_zones():
        lines = shown(zone, [occurrence.starts for occurrence in spring_and_autumn])
        for occurrence, line in zip(spring_and_autumn, lines, strict=True):
            local = local_time(occurrence, OURS, zone=zone, language=language)
            moment, _, weekday = line.partition(" ")
            assert local.starts == moment[11:16]
            assert local.weekday == _WEEKDAYS[language][WEEKDAYS.index(weekday)]
            assert (
                local.weekday in local.day and str(int(moment[8:10])) in local.day and local.day.isprintable()
            )
            assert local.starts in local.line and local.starts in local.span


@pytest.mark.parametrize(
    ("language", "day", "short", "month"),
    [
        ("en", "Thursday 14 January 2027", "Thursday 14 January", "January 2027"),
        ("en-US", "Thursday, January 14, 2027", "Thursday, January 14", "January 2027"),
        ("nb", "torsdag 14. januar 2027", "torsdag 14. januar", "januar 2027"),
        ("de", "Donnerstag, 14. Januar 2027", "Donnerstag, 14. Januar", "Januar 2027"),
        ("es", "jueves, 14 de enero de 2027", "jueves, 14 de enero", "enero de 2027"),
        ("lv", "ceturtdiena, 2027. gada 14. janvāris", "ceturtdiena, 14. janvāris", "2027. gada janvāris"),
        ("ar", "الخميس، 14 يناير 2027", "الخميس، 14 يناير", "يناير 2027"),
        ("zh-Hans", "2027年1月14日星期四", "1月14日星期四", "2027年1月"),
    ],
)
def test_dates_are_written_as_in_each_language(language: str, day: str, short: str, month: str) -> None:
    moment = date(2027, 1, 14)
    assert (
        format_day(moment, language),
        format_day_and_month(moment, language),
        format_month(moment, language),
    ) == (
        day,
        short,
        month,
    )


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", "6:05 pm"),
        ("en-US", "6:05 pm"),
        ("da", "6:05 PM"),
        ("ar", "6:05 م"),
        ("zh-Hant", "下午6:05"),
        ("fi", "6:05 ip."),
    ],
)
def test_a_twelve_hour_clock_has_latin_digits_and_a_colon_in_each_language(language: str, words: str) -> None:
    assert format_clock(datetime(2027, 1, 14, 18, 5), "h12", language) == words
    assert format_clock(datetime(2027, 1, 14, 18, 5), "h23", language) == "18:05"


@pytest.mark.parametrize(
    ("rule", "start", "home"),
    [
        ("FREQ=MONTHLY;BYDAY=-1MO", time(9, 30), "Europe/London"),
        ("FREQ=WEEKLY;INTERVAL=2;BYDAY=TU", time(20), "America/New_York"),
        ("FREQ=MONTHLY;BYDAY=3TH", time(18), "Australia/Sydney"),
        ("FREQ=MONTHLY;BYDAY=1SU", time(2, 30), "America/Santiago"),
        ("FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU", time(1, 30), "Europe/London"),  # in the gap, every year
        ("FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU", time(1, 30), "Europe/London"),  # in the fold, every year
        ("FREQ=WEEKLY;BYDAY=FR", time(23, 45), "Pacific/Auckland"),
    ],
)
def test_any_rule_starts_at_its_wall_time_by_the_oracles_home_clocks(
    rule: str, start: time, home: str
) -> None:
    held = occurrences(series(rule, start, home), date(2026, 1, 1), 60)
    for occurrence, line in zip(held, shown(home, [occurrence.starts for occurrence in held]), strict=True):
        wall = datetime.combine(occurrence.date, start)
        in_gap = home == "Europe/London" and occurrence.date.month == 3 and start == time(1, 30)
        # RFC 5545 section 3.3.5: a time that the clocks skip uses the offset before the gap.
        expected = wall + timedelta(hours=1) if in_gap else wall
        assert line.startswith(f"{expected:%Y-%m-%dT%H:%M}")


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        ("Europe/London", ["18:00", "18:00", "18:00", "18:00", "18:00"]),
        ("America/New_York", ["13:00", "14:00", "13:00", "13:00", "13:00"]),
        ("America/Vancouver", ["11:00", "11:00", "10:00", "10:00", "10:00"]),
        ("America/Santiago", ["15:00", "15:00", "13:00", "13:00", "14:00"]),
        ("Africa/Cairo", ["20:00", "20:00", "19:00", "20:00", "20:00"]),
        ("Africa/Casablanca", ["18:00", "18:00", "17:00", "17:00", "17:00"]),
        ("Asia/Kolkata", ["23:30", "23:30", "22:30", "22:30", "22:30"]),
        ("Australia/Sydney", ["F05:00", "F05:00", "F03:00", "F03:00", "F04:00"]),
        ("Australia/Lord_Howe", ["F05:00", "F05:00", "F03:30", "F03:30", "F04:00"]),
        ("Pacific/Auckland", ["F07:00", "F07:00", "F05:00", "F05:00", "F06:00"]),
        ("Pacific/Kiritimati", ["F08:00", "F08:00", "F07:00", "F07:00", "F07:00"]),
    ],
)
def test_well_known_meetings_have_the_times_that_we_know(zone: str, expected: list[str]) -> None:
    days = [date(2026, 11, 19), date(2027, 3, 18), date(2027, 4, 15), date(2027, 7, 15), date(2027, 10, 21)]
    local_starts = []
    for day in days:
        local = local_time(OURS.occurrence(day, ADOPTED), None, zone=zone)
        local_starts.append(("F" if local.weekday == "Friday" else "") + local.starts)
    assert local_starts == expected


@given(st.sampled_from(zone_tab_zones()), st.integers(0, 239))
def test_the_shift_is_the_difference_of_what_two_wall_clocks_show(zone: str, number: int) -> None:
    occurrence = TWENTY_YEARS[number]
    before = OURS.date_before(occurrence.date)
    assert before
    local_zone = ZoneInfo(zone)
    wall, last = (
        moment.astimezone(local_zone).replace(tzinfo=None)
        for moment in (occurrence.starts, OURS.starts_on(before))
    )
    apart = timedelta(days=(occurrence.date - before).days)
    local = local_time(occurrence, OURS, zone=zone)
    assert timedelta(minutes=local.shift_minutes) == wall - last - apart
    assert bool(local.clock_note) == bool(local.shift_minutes)
    assert bool(local.day_note) == bool(local.day_shift)


def test_dhaka_moves_an_hour_across_midnight() -> None:
    local = local_time(OURS.occurrence(date(2027, 4, 15), ADOPTED), OURS, zone="Asia/Dhaka")
    assert (local.shift_minutes, local.starts, local.day_shift) == (-60, "23:00", 0)


def test_utc_is_named_only_once() -> None:
    local = local_time(OURS.occurrence(date(2026, 11, 19), ADOPTED), OURS, zone="UTC")
    assert local.clock == "18:00 in UTC"
    assert local.span == "Thursday 19 November 2026, 18:00 to 19:00 in UTC"
    assert local.line == "Thursday 19 November, 18:00 UTC"


def test_the_note_says_whose_clocks_have_changed() -> None:
    def note(day: date, zone: str) -> str:
        return local_time(OURS.occurrence(day, ADOPTED), OURS, zone=zone).note

    assert note(date(2027, 3, 18), "America/New_York") == (
        "14:00 this month, an hour later than last time: your clocks have changed and the UK's have not."
    )
    assert note(date(2027, 4, 15), "Asia/Kolkata") == (
        "22:30 this month, an hour earlier than last time: the UK's clocks have changed and yours have not."
    )
    assert note(date(2027, 4, 15), "Australia/Sydney") == (
        "Friday for you; 03:00 this month, two hours earlier than last time: "
        "your clocks and the UK's have changed differently."
    )
    assert note(date(2026, 12, 17), "Europe/Paris") == ""


def test_first_moved_and_extra_meetings_have_no_shift() -> None:
    first = OURS.occurrence(date(2020, 7, 16), ADOPTED)
    assert local_time(first, OURS, zone="Asia/Kolkata").shift_minutes == 0
    spring = OURS.occurrence(date(2027, 3, 18), ADOPTED)
    for changed in ({"starts": spring.starts + timedelta(minutes=30)}, {"extra": True}):
        moved = Occurrence(
            **{**{name: getattr(spring, name) for name in spring.__dataclass_fields__}, **changed}
        )
        assert local_time(moved, OURS, zone="America/New_York").shift_minutes == 0


def held(day: date, start: time = time(18), zone: str = "Europe/London", **changed: Any) -> Occurrence:
    """Return a meeting as the settings of that time defined it."""
    return replace(series(start=start, zone=zone).occurrence(day, ADOPTED), **changed)


def note_after(before: Occurrence, now: Occurrence, zone: str, settings: Series) -> tuple[int, str]:
    local = local_time(replace(now, previous=preceding(before)), settings, zone=zone)
    return local.shift_minutes, local.clock_note


NOV, DEC, MAR = date(2026, 11, 19), date(2026, 12, 17), date(2027, 3, 18)


@pytest.mark.parametrize(
    ("start", "zone", "shift", "note"),
    [
        (
            time(19),
            "Africa/Nairobi",
            60,
            "22:00 this month, an hour later than last time: the meeting now begins at 19:00 in London.",
        ),
        (
            time(17, 30),
            "Asia/Kathmandu",
            -30,
            "23:15 this month, half an hour earlier than last time: the meeting now begins at 17:30 in London.",
        ),
        (
            time(19),
            "Europe/London",
            60,
            "19:00 this month, an hour later than last time: the meeting now begins at 19:00.",
        ),
        (time(18), "Africa/Nairobi", 0, ""),
    ],
)
def test_a_changed_start_is_explained_without_blaming_the_clocks(
    start: time, zone: str, shift: int, note: str
) -> None:
    shift_and_note = note_after(held(NOV), held(DEC, start), zone, series(start=start))
    assert shift_and_note == (shift, note)


def test_a_changed_start_and_changed_clocks_are_both_explained_unless_they_cancel_out() -> None:
    feb = date(2027, 2, 18)
    assert note_after(held(feb), held(MAR, time(19)), "America/New_York", series(start=time(19))) == (
        120,
        "15:00 this month, two hours later than last time: the meeting now begins at 19:00 in London, "
        "and your clocks have changed and the UK's have not.",
    )
    assert note_after(held(feb), held(MAR, time(17)), "America/New_York", series(start=time(17))) == (0, "")


@pytest.mark.parametrize(
    ("zone", "shift", "note"),
    [
        (
            "Europe/Paris",
            -60,
            "18:00 this month, an hour earlier than last time: the meeting now begins at 18:00.",
        ),
        (
            "Asia/Kolkata",
            -60,
            "22:30 this month, an hour earlier than last time: the meeting now begins at 18:00 in Paris.",
        ),
    ],
)
def test_a_changed_home_is_explained_by_the_time_there(zone: str, shift: int, note: str) -> None:
    settings = series(zone="Europe/Paris")
    assert note_after(held(NOV), held(DEC, zone="Europe/Paris"), zone, settings) == (shift, note)


def test_a_home_that_is_renamed_or_has_the_same_clocks_changes_nothing() -> None:
    settings = series(zone="Europe/Guernsey")
    assert note_after(held(NOV), held(DEC, zone="Europe/Guernsey"), "Asia/Kolkata", settings) == (0, "")
    spring = date(2027, 4, 15)
    shift, note = note_after(held(MAR), held(spring, zone="Europe/Guernsey"), "Asia/Kolkata", settings)
    assert (shift, note.partition(": ")[2]) == (-60, "the UK's clocks have changed and yours have not.")


def test_a_meeting_that_keeps_its_time_when_the_start_changes_shows_no_shift() -> None:
    assert note_after(held(NOV), held(DEC), "Africa/Nairobi", series(start=time(19))) == (0, "")


@pytest.mark.parametrize(
    "changed", [{"starts": held(date(2027, 2, 18)).starts + timedelta(minutes=30)}, {"cancelled": True}]
)
def test_after_a_moved_or_cancelled_meeting_the_clock_is_compared_with_the_usual_hour(
    changed: dict[str, Any],
) -> None:
    before = held(date(2027, 2, 18), **changed)
    shift, note = note_after(before, held(MAR), "America/New_York", OURS)
    assert (shift, note) == (
        60,
        "14:00 this month, an hour later than usual: your clocks have changed and the UK's have not.",
    )


def test_a_time_that_the_home_clocks_skip_blames_neither_the_rule_nor_other_clocks() -> None:
    sundays = series("FREQ=WEEKLY;BYDAY=SU", time(1, 30))
    notes = [
        local_time(sundays.occurrence(date(2027, month, day), ADOPTED), sundays, zone=zone).clock_note
        for zone, month, day in (
            ("Europe/London", 3, 28),
            ("Europe/London", 4, 4),
            ("Asia/Kolkata", 3, 28),
            ("Asia/Kolkata", 4, 4),
        )
    ]
    assert notes == [
        "02:30 this time, an hour later than last time: the UK's clocks skip 01:30 that day.",
        "01:30 this time, an hour earlier than last time: last time the UK's clocks skipped 01:30.",
        "",
        "06:00 this time, an hour earlier than last time: last time the UK's clocks skipped 01:30.",
    ]


@given(
    st.sampled_from(zone_tab_zones()),
    st.sampled_from(["Europe/London", "America/Vancouver", "Asia/Kolkata"]),
    st.integers(1, 239),
    st.integers(0, 47),
    st.integers(0, 47),
)
def test_clocks_are_blamed_only_where_an_offset_changed(
    zone: str, home: str, number: int, former: int, start: int
) -> None:
    now, last = TWENTY_YEARS[number].date, TWENTY_YEARS[number - 1].date
    old = series(start=time(former // 2, former % 2 * 30), zone=home)
    new = series(start=time(start // 2, start % 2 * 30), zone=home)
    before, occurrence = old.occurrence(last, ADOPTED), new.occurrence(now, ADOPTED)
    shift, note = note_after(before, occurrence, zone, new)
    for place, blamed in ((zone, "your clocks have changed"), (home, "s clocks have changed and yours")):
        if blamed in note:
            offsets = {
                moment.astimezone(ZoneInfo(place)).utcoffset()
                for moment in (before.starts, old.starts_on(now))
            }
            assert len(offsets) == 2
    assert ("the meeting now begins" in note) <= (former != start)
    assert bool(note) == bool(shift)


@pytest.mark.parametrize(
    ("minutes", "words"),
    [
        (60, "an hour"),
        (-120, "two hours"),
        (30, "half an hour"),
        (90, "an hour and a half"),
        (45, "45 minutes"),
    ],
)
def test_lengths_are_written_in_everyday_words(minutes: int, words: str) -> None:
    assert format_length(minutes) == words


def test_clock_times_and_offsets_are_written_as_people_write_them() -> None:
    evening = datetime(2026, 11, 19, 18, tzinfo=UTC)
    assert format_clock(evening, "h12") == "6:00 pm"
    assert format_clock(evening.replace(hour=0), "h12") == "12:00 am"
    assert format_offset(evening) == "UTC"
    assert format_offset(evening.astimezone(ZoneInfo("Asia/Kolkata"))) == "UTC+5:30"
    assert format_offset(evening.astimezone(ZoneInfo("America/St_Johns"))) == "UTC-3:30"
