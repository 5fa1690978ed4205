"""The archive on both databases: what is in it, what a search finds, and what it never shows."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from scheduler.domain.errors import Refused
from scheduler.domain.meeting_record import Material, MaterialKind, Speaker
from scheduler.service import meeting_records
from scheduler.service.archive import ArchivePage, Request, read_archive, read_details, read_speaker
from scheduler.service.occurrences import Change, amend
from scheduler.service.retention import forget_old
from scheduler.store import audit, occurrences
from scheduler.store import meeting_records as store
from tests.installation import RETENTION, Installation, open_installation

NOW = datetime(2026, 11, 4, 12, tzinfo=UTC)
MAY, JUNE, JULY = (f"conversation-for-kindness/2021-{day}" for day in ("05-20", "06-17", "07-15"))
COMING = "conversation-for-kindness/2026-11-19"


@pytest.fixture
async def installation(tmp_path: Path, database_url: str) -> AsyncIterator[Installation]:
    """Three past meetings of 2021 about which something is recorded, and the next one."""
    async with open_installation(tmp_path, NOW, url=database_url) as installation:
        await installation.tick()
        for name in ("Language", "Listening"):
            await meeting_records.add_theme(installation.database, name, now=NOW)
        await change(
            installation,
            MAY,
            topic="Clean language",
            speakers="Žofie Nováková, psycholožka, Open University",
            themes=("Language",),
            summary="About *quiet* questions.\n\n- Ask less",
            material_rows=(
                Material(kind=MaterialKind.SLIDES, title="Metaphors", link="https://example.org/s"),
            ),
        )
        await change(installation, JUNE, topic="Silence", themes=("listening", "language"))
        await change(installation, JULY, speakers="Bo Ray")
        await change(installation, COMING, topic="Clean language again")
        yield installation


async def change(installation: Installation, key: str, **values: object) -> None:
    wanted = Change(**values)  # type: ignore[arg-type]
    now = installation.clock.now()
    await amend(installation.database, installation.by_slug, key, wanted, now=now)


async def look(installation: Installation, **asked: object) -> ArchivePage:
    page = await read_archive(
        installation.database,
        Request(**asked),  # type: ignore[arg-type]
        now=installation.clock.now(),
    )
    assert page
    return page


async def found(installation: Installation, typed: str) -> list[str]:
    page = await look(installation, typed=typed)
    return [past.occurrence.key[-10:] for past in page.meetings]


@pytest.mark.both_databases
async def test_a_search_finds_words_names_titles_and_themes_whatever_their_accents_and_typing(
    installation: Installation,
) -> None:
    for typed in (
        "clean language",
        "LANGUAGE clean",
        "clea lang",
        "zofie",
        "novakova open",
        "metaphor",
        "question",
        "ask quiet",
        "clen langage",
        "metaphrs",
    ):
        assert await found(installation, typed) == ["2021-05-20"], typed
    # What is yet to come is not in it.
    assert set(await found(installation, "language")) == {"2021-05-20", "2021-06-17"}
    assert await found(installation, "rays") == ["2021-07-15"], "mistyped"
    for typed in ("clean silence", "again", "zzzz", "&|!", "'; DROP TABLE members; --"):
        assert await found(installation, typed) == [], typed
    page = await look(installation, typed="clen langage")
    assert page.meant == "clean language" and "language" in page.terms
    assert [past.occurrence.key for past in (await look(installation, theme="listening")).meetings] == [JUNE]


@pytest.mark.both_databases
async def test_the_index_follows_every_change_in_the_same_transaction(installation: Installation) -> None:
    database = installation.database
    await change(installation, JULY, topic="Kindling")
    assert await found(installation, "kindling") == ["2021-07-15"]
    await meeting_records.change_theme(database, "language", name="Words", now=NOW)
    assert set(await found(installation, "words")) == {"2021-05-20", "2021-06-17"}
    await meeting_records.change_speaker(database, "bo-ray", values={"name": "Boaz Ray"}, now=NOW)
    assert await found(installation, "boaz") == ["2021-07-15"]
    async with database.read() as connection:
        stored = await occurrences.occurrence_by_key(connection, JULY)
    assert stored and stored.speakers == "Boaz Ray", "the text of mails and calendars, too"
    await change(installation, JULY, topic="", speakers="")
    assert await found(installation, "kindling") == [] and await found(installation, "boaz") == []
    async with database.write() as connection:
        # What nobody writes any more is no suggestion, nor in the index; nobody else named the speaker.
        words = await connection.execute(
            text("SELECT word FROM archive_words WHERE word IN ('kindling', 'boaz')")
        )
        assert words.all() == []
        assert [used.item.slug for used in await store.all_speakers(connection)] == ["zofie-novakova"]
        await occurrences.forget(connection, [JUNE])
    assert await found(installation, "silence") == [], "a trigger removes it with its meeting"
    await forget_old(database, RETENTION, keys=installation.keys, outbox=None, now=NOW)
    assert await found(installation, "clean") == ["2021-05-20"]


@pytest.mark.both_databases
async def test_speakers_and_themes_are_merged_and_removed_and_each_act_is_in_the_log(
    installation: Installation,
) -> None:
    database = installation.database
    await change(
        installation, MAY, speaker_rows=(Speaker(name="Bo Ray", role="poet"), Speaker(name="B. Ray"))
    )
    assert [used.meetings for used in await meeting_records.list_speakers(database)] == [2, 1]
    await meeting_records.merge_speakers(database, kept="Bo Ray", other="b-ray", now=NOW)
    (bo,) = await meeting_records.list_speakers(database)
    assert (bo.item.text, bo.meetings) == ("Bo Ray, poet", 2)
    theirs = await read_speaker(database, "bo-ray", page=1, now=NOW)
    assert theirs and [past.occurrence.key for past in theirs.meetings] == [JULY, MAY]
    with pytest.raises(Refused, match="is a theme of 2 meetings"):
        await meeting_records.remove_theme(database, "language", now=NOW)
    await meeting_records.merge_themes(database, kept="listening", other="Language", now=NOW)
    assert [(used.item.slug, used.meetings) for used in await meeting_records.list_themes(database)] == [
        ("listening", 2)
    ]
    await meeting_records.add_theme(database, "Rest", now=NOW)
    with pytest.raises(Refused, match="there is a theme 'Rest' already"):
        await meeting_records.add_theme(database, "rést", now=NOW)
    await meeting_records.remove_theme(database, "rest", now=NOW)
    with pytest.raises(Refused, match="there is no theme 'Listning'; did you mean 'Listening'"):
        await change(installation, JULY, themes=("Listning",))
    async with database.read() as connection:
        acts = {entry.act for entry in await audit.entries(connection)}
    assert acts >= {"speakers-merged", "themes-merged", "theme-added", "theme-removed", "meeting-changed"}


async def test_a_text_that_was_typed_stays_in_mails_until_the_record_changes(
    installation: Installation,
) -> None:
    await change(installation, COMING, speakers="Ann and Bo (tbc), our friends")
    async with installation.database.read() as connection:
        stored = await occurrences.occurrence_by_key(connection, COMING)
        assert stored and stored.speakers == "Ann and Bo (tbc), our friends"
    rows = (Speaker(name="Ann"), Speaker(name="Bo", role="poet"))
    await change(installation, COMING, speaker_rows=rows)
    async with installation.database.read() as connection:
        stored = await occurrences.occurrence_by_key(connection, COMING)
    assert stored and stored.speakers == "Ann; Bo, poet"
    # A summary is in no mail and no calendar.
    revision = stored.revision
    await change(installation, COMING, summary="Not yet")
    async with installation.database.read() as connection:
        stored = await occurrences.occurrence_by_key(connection, COMING)
    assert stored and stored.revision == revision


async def test_countries_are_counted_from_three_on_and_nobody_is_named(installation: Installation) -> None:
    await installation.join(("Ann", "Europe/London"), ("Bo", "Asia/Kolkata"), ("Cy", "Europe/Oslo"))
    for name, country in (("Ann", "GB"), ("Bo", "IN")):
        await installation.change(name, country=country)
        await installation.answer(name, MAY, "coming")
    await installation.change("Cy", country="NO")

    async def countries() -> int:
        async with installation.database.read() as connection:
            meeting = await occurrences.occurrence_by_key(connection, MAY)
        assert meeting
        return (await read_details(installation.database, meeting, now=NOW)).countries

    assert await countries() == 0
    await installation.answer("Cy", MAY, "maybe")
    assert await countries() == 0
    await installation.answer("Cy", MAY, "coming")
    assert await countries() == 3


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(typed=st.text(max_size=60) | st.from_regex(r"[\"'*()&|!:<>\\^~+-]{1,12}[a-z]{0,3}", fullmatch=True))
@pytest.mark.both_databases
async def test_whatever_is_typed_a_search_answers(installation: Installation, typed: str) -> None:
    page = await look(installation, typed=typed)
    assert page.total >= len(page.meetings)


async def test_pages_hold_twenty_and_there_is_none_after_the_last(installation: Installation) -> None:
    first = datetime(2022, 1, 20)
    dates = installation.series[0].dates(first.date())
    keys = [f"conversation-for-kindness/{day}" for day, _ in zip(dates, range(45), strict=False)]
    for key in keys:
        await change(installation, key, topic="Tea")
    assert [len((await look(installation, typed="tea", page=page)).meetings) for page in (1, 2, 3)] == [
        20,
        20,
        5,
    ]
    for asked in ({"typed": "tea", "page": 4}, {"year": 2019}, {"theme": "x"}, {"year": 2022, "page": 2}):
        page = await read_archive(
            installation.database,
            Request(**asked),
            now=NOW + timedelta(days=1),
        )
        assert page is None, asked


async def test_renaming_or_merging_themes_left_the_speakers_as_they_were_typed(
    installation: Installation,
) -> None:
    typed = "Ann and Bo"
    await change(installation, MAY, speakers=typed, themes=("language", "listening"))

    async def stored() -> tuple[str, int]:
        async with installation.database.read() as connection:
            meeting = await occurrences.occurrence_by_key(connection, MAY)
        assert meeting
        return meeting.speakers, meeting.revision

    before = await stored()
    assert before[0] == typed
    await meeting_records.change_theme(installation.database, "language", name="Tongues", now=NOW)
    await meeting_records.merge_themes(installation.database, kept="language", other="listening", now=NOW)
    assert await stored() == before
    assert "2021-05-20" in await found(installation, "tongues")
    assert await found(installation, "listening") == []
