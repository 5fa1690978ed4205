"""The sheet that a community kept: each row finds its meeting, or makes one that nobody is ever mailed about."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from scheduler.domain.meeting_record import MaterialKind
from scheduler.domain.policy import Kind, Policy
from scheduler.service.occurrence_import import Imported, import_sheet, read_sheet
from scheduler.service.occurrences import Change, amend
from scheduler.service.schedule import feed
from scheduler.store import audit, meeting_records, occurrences
from tests.installation import COMMUNITY, POLICIES, SERIES, Installation, open_installation

NOW = datetime(2026, 11, 4, 12, tzinfo=UTC)
SLUG = SERIES.slug


@pytest.fixture
async def installation(tmp_path: Path) -> AsyncIterator[Installation]:
    """A series since July 2020, with reminders, invitations and an automatic follow-up, and two members."""
    follow_up = Policy(slug="follow-up", kind=Kind.FOLLOW_UP, lag=timedelta(hours=1))
    since = NOW - timedelta(days=3)
    async with open_installation(tmp_path, since, policies=(*POLICIES, follow_up)) as installation:
        await installation.tick()
        await installation.join(("Ann", "Europe/London"), ("Bo", "Asia/Kolkata"))
        await installation.live(NOW)
        yield installation


async def load(installation: Installation, sheet: str, *, dry_run: bool = False) -> Imported:
    read = read_sheet(sheet.encode(), series=installation.series)
    return await import_sheet(
        installation.database, installation.series, read, now=installation.clock.now(), dry_run=dry_run
    )


def outcomes(imported: Imported) -> list[str]:
    return [f"{row.line} {row.outcome} {row.key.removeprefix(f'{SLUG}/')}".strip() for row in imported.rows]


MESSY = """Month;Title of the session;Who led;Link to summary;Recording (YouTube);Slides;Comments
2019;;;;;;
June;Before we began;Ann Lee;;;;
2021;;;;;;
May;Clean language;Amara Okafor and Bo Ray;https://docs.example.org/clean;https://youtu.be/clean;www.example.org/clean.pdf;nice
;A second one in May;"Cy Fox, poet, Example Org";;n/a;-;
17 June 2021;Listening;Dr Di Moss;What we learnt about listening to each other in pairs.;;;
3rd of July 2021;On another day;Ed;;;;
August 2021;;;;;;
20.08.2021;Wrong link;Ann Lee;;soon;;
05/06/2020;Two readings;;;;;
Smarch 2021;No month;;;;;
January 2027;Not yet;;;;;
"""


async def test_each_row_says_what_became_of_it_and_a_second_time_nothing_does(
    installation: Installation,
) -> None:
    wanted = [
        "3 added 2019-06-20T1800",
        "5 changed 2021-05-20",
        "6 added 2021-05-27T1800",
        "7 changed 2021-06-17",
        "8 added 2021-07-03T1800",
        "9 same 2021-08-19",
        "10 refused",
        "11 refused",
        "12 refused",
        "13 changed 2027-01-21",
    ]
    foreseen = await load(installation, MESSY, dry_run=True)
    assert outcomes(foreseen) == wanted
    imported = await load(installation, MESSY)
    assert outcomes(imported) == wanted and imported.ignored == ["Comments"]
    problems = {row.line: (row.column, row.problem) for row in imported.rows if row.problem}
    assert problems == {
        10: (
            "Recording (YouTube)",
            "'soon' is not a link; write it in full, such as https://example.org/x",
        ),
        11: (
            "Month",
            "it may be 5 June 2020 or 6 May 2020; write it as 2020-06-05",
        ),
        12: (
            "Month",
            "'Smarch 2021' is not a date or a month; write it as 2021-05-20 or May 2021",
        ),
    }
    again = await load(installation, MESSY)
    assert again.changes == 0 and again.count("refused") == 3
    async with installation.database.read() as connection:
        entries = await audit.entries(connection)
        clean = await meeting_records.record_of(connection, f"{SLUG}/2021-05-20")
        second = await meeting_records.record_of(connection, f"{SLUG}/2021-05-27T1800")
        text = await meeting_records.record_of(connection, f"{SLUG}/2021-06-17")
        cy = await occurrences.occurrence_by_key(connection, f"{SLUG}/2021-05-27T1800")
    assert [speaker.name for speaker in clean.speakers] == ["Amara Okafor", "Bo Ray"]
    assert [(one.kind, one.link) for one in clean.materials] == [
        (MaterialKind.SUMMARY, "https://docs.example.org/clean"),
        (MaterialKind.RECORDING, "https://youtu.be/clean"),
        (MaterialKind.SLIDES, "https://www.example.org/clean.pdf"),
    ]
    assert not clean.month_only and second.month_only
    assert cy and cy.speakers == "Cy Fox, poet, Example Org"
    assert text.summary.startswith("What we learnt")
    # Each meeting that was added, and each that changed: the import is not an act of its own.
    acts = [entry.act for entry in entries]
    assert (acts.count("meeting-added"), acts.count("meeting-changed")) == (3, 6)


async def test_a_convenors_correction_outlives_the_next_import(installation: Installation) -> None:
    sheet = "Month,Title,Led by,Recording\nMay 2021,Cleen language,Ann Lee,https://youtu.be/x\n"
    await load(installation, sheet)
    now = installation.clock.now()
    key = f"{SLUG}/2021-05-20"
    change = Change(speakers="Ann Lee, coach, Example Org")
    await amend(installation.database, installation.by_slug, key, change, now=now)
    assert outcomes(await load(installation, sheet)) == ["2 same 2021-05-20"]
    # A corrected sheet corrects the meeting, in place of making another one.
    assert outcomes(await load(installation, sheet.replace("Cleen", "Clean"))) == ["2 changed 2021-05-20"]


async def test_nobody_is_mailed_about_what_was_added_for_the_past_nor_counted_by_the_plan(
    installation: Installation,
) -> None:
    before = len(installation.mails())
    # Yesterday, within reach of the follow-up and of the last tick; and long ago.
    sheet = "date,title,recording\n2026-11-03,Yesterday,https://youtu.be/y\n2016-02-01,Long ago,https://youtu.be/l\n"
    imported = await load(installation, sheet)
    assert outcomes(imported) == ["2 added 2026-11-03T1800", "3 added 2016-02-01T1800"]
    await installation.live(NOW + timedelta(days=12))
    kinds = {report.kind for report in await installation.reports()}
    assert kinds == {"invitation"}, "the one of November, which was due anyway"
    assert {report.occurrence for report in await installation.reports()} == {f"{SLUG}/2026-11-19"}
    assert len(installation.mails()) - before == 2
    after = (await feed(installation.database, installation.series, COMMUNITY, now=NOW)).content
    assert b"Long ago" not in after and b"Yesterday" in after


async def test_with_several_series_each_row_says_which(tmp_path: Path) -> None:
    other = replace(SERIES, slug="committee", title="The Committee", rule="FREQ=MONTHLY;BYDAY=1TU")
    async with open_installation(tmp_path, NOW, series=(SERIES, other)) as installation:
        await installation.tick()
        rows = ("committee,May 2021,Budget", "The Committee,June 2021,Rooms", ",May 2021,a", "x,May 2021,b")
        sheet = "\n".join(("series,month,topic", *rows))
        assert [row.outcome for row in (await load(installation, sheet)).rows] == [
            "changed",
            "changed",
            "refused",
            "refused",
        ]


async def test_a_row_that_changed_other_meetings_did_not_stop_the_rows_about_them(
    installation: Installation,
) -> None:
    await load(installation, "Month;Title;Who led\nMay 2021;One;Ann Lee\nJune 2021;Two;Ann Lee\n")
    # The first row says more about the speaker, which makes a new revision of the second meeting.
    sheet = "Month;Title;Speakers;Slides\nMay 2021;One;Ann Lee, poet;\nJune 2021;Two;;https://example.org/s\n"
    assert outcomes(await load(installation, sheet)) == ["2 changed 2021-05-20", "3 changed 2021-06-17"]
    async with installation.database.read() as connection:
        second = await occurrences.occurrence_by_key(connection, f"{SLUG}/2021-06-17")
    assert second and (second.speakers, second.materials) == ("Ann Lee, poet", "https://example.org/s")


async def test_a_row_by_key_and_one_by_date_about_one_meeting_both_count(installation: Installation) -> None:
    sheet = f"Occurrence;Date;Title;Slides\n{SLUG}/2021-05-20;;One;\n;2021-05-20;;https://example.org/s\n"
    assert outcomes(await load(installation, sheet)) == ["2 changed 2021-05-20", "3 changed 2021-05-20"]
    async with installation.database.read() as connection:
        meeting = await occurrences.occurrence_by_key(connection, f"{SLUG}/2021-05-20")
    assert meeting and (meeting.topic, meeting.materials) == ("One", "https://example.org/s")
