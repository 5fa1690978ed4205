"""What members read about the clock after the settings of a series were changed."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import pytest

from scheduler.domain.errors import Refused
from scheduler.domain.localtime import local_time
from scheduler.service.occurrences import Change, amend, preview
from scheduler.service.schedule import read_meeting, schedule
from tests.conftest import CopyDatabase
from tests.installation import SERIES, Installation, open_installation

ZONES = ("Europe/London", "Africa/Nairobi")
KEY = f"{SERIES.slug}/2027-01-21"


NOW = datetime(2026, 12, 10, tzinfo=UTC)


async def fill(url: str, folder: Path) -> None:
    async with open_installation(folder, datetime(2026, 12, 1, 12, tzinfo=UTC), url=url) as installation:
        await installation.tick()
        await installation.join(("Ann", "Europe/London"), ("Nia", "Africa/Nairobi"))
        await installation.live(NOW)


@pytest.fixture
async def installation(tmp_path: Path, copy_sqlite: CopyDatabase) -> AsyncIterator[Installation]:
    """Members were told of the meeting in December, but not yet of the one in January."""
    async with open_installation(tmp_path, NOW, url=await copy_sqlite(fill)) as installation:
        yield installation


def settle(installation: Installation, **changed: object) -> None:
    """Restart the service with other settings of the series."""
    installation.series = [replace(SERIES, **changed)]  # type: ignore[arg-type]
    installation.restart()


async def notes(installation: Installation, count: int = 3) -> list[list[tuple[int, str]]]:
    rows = await schedule(
        installation.database,
        installation.series,
        now=installation.clock.now(),
        since=date(2026, 12, 1),
        count=count,
        zones=ZONES,
    )
    return [[(row.local[zone].shift_minutes, row.local[zone].note) for zone in ZONES] for row in rows]


EXPECTED = [
    [(0, ""), (0, "")],
    [
        (60, "19:00 this month, an hour later than last time: the meeting now begins at 19:00."),
        (60, "22:00 this month, an hour later than last time: the meeting now begins at 19:00 in London."),
    ],
    [(0, ""), (0, "")],
]


async def test_the_schedule_does_not_blame_a_changed_start_on_the_clocks_before_or_after_its_adoption(
    installation: Installation,
) -> None:
    settle(installation, start=time(19))
    assert await notes(installation) == EXPECTED
    await installation.tick()
    assert await notes(installation) == EXPECTED


async def test_pages_and_mails_explain_a_changed_start(installation: Installation) -> None:
    settle(installation, start=time(19))
    await installation.live(datetime(2027, 1, 12, tzinfo=UTC))
    meeting = await read_meeting(
        installation.database, installation.by_slug, KEY, now=installation.clock.now()
    )
    assert meeting
    page = local_time(meeting, installation.series[0], zone="Africa/Nairobi", cycle="h12").clock_note
    assert page == (
        "10:00 pm this month, an hour later than last time: the meeting now begins at 7:00 pm in London."
    )
    (mail,) = [
        mail
        for mail in installation.mails()
        if "Nia" in str(mail["To"]) and "21 January" in str(mail["Subject"])
    ]
    body = mail.get_body(("plain",))
    assert body
    text = body.get_content()
    assert "the meeting now begins at" in text and "clocks" not in text


async def test_a_meeting_that_members_were_told_of_keeps_its_time_and_explains_nothing(
    installation: Installation,
) -> None:
    settle(installation, start=time(19))
    await installation.live(datetime(2026, 12, 17, 8, tzinfo=UTC))
    for mail in installation.mails():
        body = mail.get_body(("plain",))
        assert body
        assert "last time" not in body.get_content()


async def test_a_meeting_that_was_amended_far_ahead_is_compared_with_the_one_before_it(
    installation: Installation,
) -> None:
    await amend(
        installation.database,
        installation.by_slug,
        f"{SERIES.slug}/2027-07-15",
        Change(topic="Hope"),
        now=installation.clock.now(),
    )
    rows = await schedule(
        installation.database,
        installation.series,
        now=installation.clock.now(),
        since=date(2027, 7, 1),
        count=2,
        zones=["Asia/Kolkata"],
    )
    assert [row.local["Asia/Kolkata"].note for row in rows] == ["", ""]


@pytest.mark.parametrize("changed", [{"rule": "FREQ=MONTHLY;BYDAY=2TU"}, {"duration": timedelta(minutes=90)}])
async def test_another_day_or_length_at_the_same_time_does_not_mention_clocks(
    installation: Installation, changed: dict[str, object]
) -> None:
    settle(installation, **changed)
    await installation.tick()
    assert {pair for row in await notes(installation) for pair in row} == {(0, "")}


async def test_after_a_moved_meeting_the_schedule_does_not_mention_last_time(
    installation: Installation,
) -> None:
    await amend(
        installation.database,
        installation.by_slug,
        f"{SERIES.slug}/2027-03-18",
        Change(move_to=datetime(2027, 3, 18, 20)),
        now=installation.clock.now(),
    )
    rows = await schedule(
        installation.database,
        installation.series,
        now=installation.clock.now(),
        since=date(2027, 3, 1),
        count=2,
        zones=["Asia/Kolkata"],
    )
    assert [row.local["Asia/Kolkata"].note for row in rows] == [
        "Friday for you.",
        "22:30 this month, an hour earlier than usual: the UK's clocks have changed and yours have not.",
    ]


async def test_after_a_change_of_rule_a_past_date_that_only_the_new_rule_gives_cannot_be_amended(
    installation: Installation,
) -> None:
    settle(installation, rule="FREQ=MONTHLY;BYDAY=-1MO")
    await installation.tick()
    past = f"{SERIES.slug}/2026-09-28"
    for act in (preview, amend):
        with pytest.raises(Refused, match="no meeting on that date"):
            await act(
                installation.database,
                installation.by_slug,
                past,
                Change(topic="Hope"),
                now=installation.clock.now(),
            )
    assert (
        await read_meeting(installation.database, installation.by_slug, past, now=installation.clock.now())
        is None
    ), "no ghost"


@pytest.mark.parametrize("adopted", [False, True])
async def test_a_coming_date_of_a_changed_rule_is_shown_and_amended_before_and_after_its_adoption(
    installation: Installation,
    adopted: bool,
) -> None:
    settle(installation, rule="FREQ=MONTHLY;BYDAY=-1MO")
    if adopted:
        await installation.tick()
    coming, now = f"{SERIES.slug}/2026-12-28", installation.clock.now()
    assert await read_meeting(installation.database, installation.by_slug, coming, now=now)
    amended = await amend(installation.database, installation.by_slug, coming, Change(topic="Hope"), now=now)
    assert amended.changed
