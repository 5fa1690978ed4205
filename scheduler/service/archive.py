"""The archive as everybody sees it: past meetings by year, theme and speaker, the search, and single meetings.

A meeting is in it when it is over, was not cancelled, and anything is recorded about it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain import search
from scheduler.domain.meeting_record import MeetingRecord, Speaker, Theme
from scheduler.domain.occurrence import Occurrence, Series
from scheduler.store import archive_entries, meeting_records, occurrences
from scheduler.store.archive_entries import Filter, Listed
from scheduler.store.database import Database

PAGE = 20
"""How many meetings a page of the archive lists."""

FEWEST_COUNTRIES = 3
"""From fewer, one could guess who was there."""

IN_FEED = 30
MOST_OF_SERIES = 60
"""How many meetings of a year the page of a series lists."""

_SHORTEST_BEGINNING = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class PastMeeting:
    """A meeting of the archive, with what is recorded about it. `themes` are those of the record.

    `excerpt` is the plain text of its summary and insights; `changed_at` is when any of this last changed.
    """

    occurrence: Occurrence
    record: MeetingRecord
    themes: Sequence[Theme]
    excerpt: str
    changed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivePage:
    """A page of the archive. `pages` is how many there are, `total` how many meetings they list.

    `year` is the year that is listed, if one is, and `years` are all years with meetings. `speaker` or `theme` is whose
    meetings they are. For a search, `terms` are the
    beginnings of words to mark, and `meant` are the words that were looked for instead of those typed.
    """

    meetings: Sequence[PastMeeting]
    page: int
    pages: int
    total: int
    year: int | None = None
    years: Sequence[int] = ()
    speaker: Speaker | None = None
    theme: Theme | None = None
    themes: Sequence[Theme] = ()
    terms: Sequence[str] = ()
    meant: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to list of the archive: a `year`, or a `theme` by its slug, or what was `typed` into the search."""

    year: int | None = None
    theme: str = ""
    typed: str = ""
    page: int = 1


async def read_archive(database: Database, asked: Request, *, now: datetime) -> ArchivePage | None:
    """Return a page of the archive; None if there is no such theme, year or page.

    Without theme or search it is of a year, the latest if none is given. A search covers all years.
    """
    wanted = Filter(over=now, theme=asked.theme)
    async with database.read() as connection:
        theme = await meeting_records.theme_of(connection, asked.theme) if asked.theme else None
        if asked.theme and theme is None:
            return None
        years, year = await archive_entries.years(connection, wanted), asked.year
        if year is not None and year not in years:
            return None
        terms: Sequence[str] = ()
        meant = ""
        skip = (asked.page - 1) * PAGE
        if asked.typed.strip():
            year = None
            listed, total, terms, meant = await _search(connection, asked.typed, wanted, skip=skip)
        else:
            if year is None and not asked.theme:
                year = next(iter(years), None)
            wanted = Filter(over=now, theme=asked.theme, year=year)
            total = sum(years.values()) if year is None else years[year]
            listed = await archive_entries.listed(connection, wanted, most=PAGE, skip=skip)
        pages = _pages(total)
        if not 1 <= asked.page <= pages:
            return None
        return ArchivePage(
            meetings=await _meetings(connection, listed),
            page=asked.page,
            pages=pages,
            total=total,
            year=year,
            years=list(years),
            theme=theme,
            themes=[] if theme else await meeting_records.themes_in_use(connection),
            terms=terms,
            meant=meant,
        )


async def _search(
    connection: AsyncConnection, typed: str, wanted: Filter, *, skip: int
) -> tuple[list[Listed], int, Sequence[str], str]:
    """Return what matches, how many do, the beginnings of words to mark, and what was meant if it was mistyped.

    Each word that was typed must occur, or begin a word. If nothing matches, words that differ by a letter count
    too.
    """
    words = search.query_words(typed)
    if not words:
        return [], 0, (), ""
    # Too many words begin with the same one or two letters: these are first searched for as whole words.
    groups = [[f"{word}*" if len(word) >= _SHORTEST_BEGINNING else word] for word in words]
    found, total = await archive_entries.search(connection, groups, wanted, most=PAGE, skip=skip)
    if total:
        return found, total, words, ""
    near = {
        word: search.nearest(word, await archive_entries.similar_words(connection, word)) for word in words
    }
    groups = [[f"{word}*", *near[word]] for word in words]
    found, total = await archive_entries.search(connection, groups, wanted, most=PAGE, skip=skip)
    meant = " ".join(near[word][0] if near[word] else word for word in words)
    terms = [term for word in words for term in (word, *near[word])]
    return found, total, terms, meant if total else ""


async def _meetings(connection: AsyncConnection, listed: Sequence[Listed]) -> list[PastMeeting]:
    keys = [one.key for one in listed]
    stored = await occurrences.occurrences_by_key(connection, keys)
    records = await meeting_records.records_of(connection, keys)
    slugs = {slug for record in records.values() for slug in record.themes}
    themes = await meeting_records.themes_by_slug(connection, slugs)
    return [
        PastMeeting(
            occurrence=stored[one.key],
            record=records[one.key],
            themes=[themes[slug] for slug in records[one.key].themes],
            excerpt=one.excerpt,
            changed_at=one.changed_at,
        )
        for one in listed
    ]


async def read_speaker(database: Database, slug: str, *, page: int, now: datetime) -> ArchivePage | None:
    """Return a speaker with their past meetings; None if none of them is in the archive, or there is no such page."""
    async with database.read() as connection:
        speaker = await meeting_records.speaker_of(connection, slug)
        if speaker is None:
            return None
        wanted = Filter(over=now, speaker=slug)
        found = await _page_of(connection, wanted, page, speaker=speaker)
        return found if found and found.meetings else None


async def read_theme(database: Database, slug: str, *, page: int, now: datetime) -> ArchivePage | None:
    """Return a theme with its past meetings; None if there is no such theme or page."""
    async with database.read() as connection:
        theme = await meeting_records.theme_of(connection, slug)
        if theme is None:
            return None
        return await _page_of(connection, Filter(over=now, theme=slug), page, theme=theme)


async def _page_of(
    connection: AsyncConnection,
    wanted: Filter,
    page: int,
    *,
    speaker: Speaker | None = None,
    theme: Theme | None = None,
) -> ArchivePage | None:
    total = await archive_entries.count(connection, wanted)
    pages = _pages(total)
    if not 1 <= page <= pages:
        return None
    listed = await archive_entries.listed(connection, wanted, most=PAGE, skip=(page - 1) * PAGE)
    return ArchivePage(
        meetings=await _meetings(connection, listed),
        page=page,
        pages=pages,
        total=total,
        speaker=speaker,
        theme=theme,
    )


def _pages(total: int) -> int:
    return max(1, -(-total // PAGE))


@dataclass(frozen=True, slots=True, kw_only=True)
class MeetingDetails:
    """What is recorded about one meeting, past or to come. `countries` is in how many countries members were coming, 0
    if they are too few to tell. `earlier` and `later` are its neighbours in the archive, if it is over."""

    record: MeetingRecord
    themes: Sequence[Theme] = ()
    countries: int = 0
    earlier: Occurrence | None = None
    later: Occurrence | None = None


async def read_details(database: Database, occurrence: Occurrence, *, now: datetime) -> MeetingDetails:
    """Return what is recorded about a meeting, and for one that is over the numbers and neighbours."""
    async with database.read() as connection:
        record = await meeting_records.record_of(connection, occurrence.key)
        themes = await meeting_records.themes_by_slug(connection, record.themes)
        of_meeting = [themes[slug] for slug in record.themes]
        if occurrence.ends > now:
            return MeetingDetails(record=record, themes=of_meeting)
        countries = await meeting_records.count_countries(connection, occurrence.key)
        near = await archive_entries.neighbours(
            connection, Filter(over=now), starts=occurrence.starts, key=occurrence.key
        )
        stored = await occurrences.occurrences_by_key(connection, [key for key in near if key])
    return MeetingDetails(
        record=record,
        themes=of_meeting,
        countries=countries if countries >= FEWEST_COUNTRIES and not occurrence.cancelled else 0,
        earlier=stored.get(near[0] or ""),
        later=stored.get(near[1] or ""),
    )


async def series_archive(
    database: Database, series: Series, *, year: int | None, now: datetime
) -> tuple[list[int], list[PastMeeting]] | None:
    """Return the years in which a series has meetings in the archive, and those of a year, at most MOST_OF_SERIES;
    None if there is none in that year."""
    async with database.read() as connection:
        years = await archive_entries.years(connection, Filter(over=now, series=series.slug))
        if year is not None and year not in years:
            return None
        shown = year if year is not None else next(iter(years), None)
        wanted = Filter(over=now, series=series.slug, year=shown)
        listed = await archive_entries.listed(connection, wanted, most=MOST_OF_SERIES) if years else []
        return list(years), await _meetings(connection, listed)


async def latest(database: Database, *, now: datetime, most: int = IN_FEED) -> list[PastMeeting]:
    """Return the latest meetings of the archive, the newest first."""
    async with database.read() as connection:
        listed = await archive_entries.listed(connection, Filter(over=now), most=most)
        return await _meetings(connection, listed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What the archive has: the keys of its meetings with when they last changed, the newest first, and the slugs of
    their speakers and themes."""

    meetings: Sequence[tuple[str, datetime]]
    speakers: Sequence[str]
    themes: Sequence[str]


async def contents(database: Database, *, now: datetime) -> Contents:
    """Return everything that the archive has."""
    async with database.read() as connection:
        return Contents(
            meetings=await archive_entries.keys(connection, Filter(over=now)),
            speakers=await archive_entries.speakers_of(connection, Filter(over=now)),
            themes=[theme.slug for theme in await meeting_records.themes_in_use(connection)],
        )
