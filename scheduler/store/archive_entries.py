"""The archive: which meetings are in it, and the index by which they are searched."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Float,
    cast,
    column,
    delete,
    func,
    insert,
    literal,
    literal_column,
    select,
    table,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import TSQUERY, TSVECTOR
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.search import forms
from scheduler.store.database import batches, insert_into
from scheduler.store.schema import (
    archive_entries,
    archive_misspellings,
    archive_words,
    meeting_speakers,
    meeting_themes,
    speakers,
)

_TEXTS = ("topic", "names", "titles", "words")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A meeting in the archive. `topic`, `names`, `titles` and `words` are searched; `excerpt` is shown."""

    occurrence: str
    series: str
    starts: datetime
    ends: datetime
    year: int
    month_only: bool
    changed_at: datetime
    excerpt: str
    topic: str
    names: str
    titles: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A meeting in a list of the archive; `excerpt` is the text to show of it."""

    key: str
    changed_at: datetime
    excerpt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which meetings of the archive: those that ended by `over`, of one `series`, a `year`, a `theme`, a `speaker`."""

    over: datetime
    series: str = ""
    year: int | None = None
    theme: str = ""
    speaker: str = ""


async def put(connection: AsyncConnection, entry: Entry) -> None:
    """Insert or replace the entry of a meeting, and keep the words of the archive up to date."""
    entries = archive_entries
    before = await _words_of(connection, entry.occurrence)
    values = {name: getattr(entry, name) for name in Entry.__slots__}
    if before is None:
        await connection.execute(insert(entries).values(**values))
    else:
        await connection.execute(
            update(entries).where(entries.c.occurrence == entry.occurrence).values(**values)
        )
    after = _words(getattr(entry, name) for name in _TEXTS)
    await _count(connection, added=after - (before or set()), removed=(before or set()) - after)


async def remove(connection: AsyncConnection, key: str) -> None:
    """Delete the entry of a meeting, if it has one."""
    before = await _words_of(connection, key)
    if before is not None:
        await connection.execute(delete(archive_entries).where(archive_entries.c.occurrence == key))
        await _count(connection, added=set(), removed=before)


async def _words_of(connection: AsyncConnection, key: str) -> set[str] | None:
    columns = [archive_entries.c[name] for name in _TEXTS]
    row = (await connection.execute(select(*columns).where(archive_entries.c.occurrence == key))).first()
    return _words(row) if row else None


def _words(texts: Iterable[str]) -> set[str]:
    return {word for words in texts for word in words.split()}


async def _count(connection: AsyncConnection, *, added: set[str], removed: set[str]) -> None:
    vocabulary = archive_words
    # In one order, so that two transactions do not wait for each other.
    if added:
        await connection.execute(
            insert_into(connection, vocabulary).on_conflict_do_update(
                index_elements=[vocabulary.c.word], set_={"entries": vocabulary.c.entries + 1}
            ),
            [{"word": word, "entries": 1} for word in sorted(added)],
        )
        await connection.execute(
            insert_into(connection, archive_misspellings).on_conflict_do_nothing(),
            [{"form": form, "word": word} for word in sorted(added) for form in sorted(forms(word))],
        )
    for some in batches(sorted(removed)):
        is_one = vocabulary.c.word.in_(some)
        await connection.execute(update(vocabulary).where(is_one).values(entries=vocabulary.c.entries - 1))
        await connection.execute(delete(vocabulary).where(is_one, vocabulary.c.entries <= 0))


# Lists.


def _conditions(wanted: Filter, *, in_order: bool = False) -> list[ColumnElement[bool]]:
    """Return the conditions on entries; `in_order` if only the first ones by start are read.

    A theme may have thousands of meetings. With EXISTS, SQLite goes through the entries by start until a page is full;
    with IN, it reads all that the theme has, and sorts them.
    """
    entries = archive_entries
    conditions = [entries.c.ends <= wanted.over]
    if wanted.series:
        conditions.append(entries.c.series == wanted.series)
    if wanted.year is not None:
        conditions.append(entries.c.year == wanted.year)
    if wanted.theme and in_order:
        is_own = meeting_themes.c.occurrence == entries.c.occurrence
        conditions.append(
            select(meeting_themes.c.theme).where(is_own, meeting_themes.c.theme == wanted.theme).exists()
        )
    elif wanted.theme:
        with_theme = select(meeting_themes.c.occurrence).where(meeting_themes.c.theme == wanted.theme)
        conditions.append(entries.c.occurrence.in_(with_theme))
    if wanted.speaker:
        with_speaker = (
            select(meeting_speakers.c.occurrence)
            .join(speakers, speakers.c.id == meeting_speakers.c.speaker)
            .where(speakers.c.slug == wanted.speaker)
        )
        conditions.append(entries.c.occurrence.in_(with_speaker))
    return conditions


async def listed(connection: AsyncConnection, wanted: Filter, *, most: int, skip: int = 0) -> list[Listed]:
    """Return meetings of the archive, the newest first."""
    entries = archive_entries
    newest_first = (entries.c.starts.desc(), entries.c.occurrence)
    # Sorting texts takes longer than finding them: only the texts of this page are read.
    on_page = select(entries.c.occurrence).where(*_conditions(wanted, in_order=True)).order_by(*newest_first)
    query = select(entries.c.occurrence, entries.c.changed_at, entries.c.excerpt).where(
        entries.c.occurrence.in_(on_page.limit(most).offset(skip).correlate(None))
    )
    return [_listed(row) for row in await connection.execute(query.order_by(*newest_first))]


def _listed(row: Any) -> Listed:
    return Listed(key=row.occurrence, changed_at=row.changed_at, excerpt=row.excerpt)


async def keys(connection: AsyncConnection, wanted: Filter) -> list[tuple[str, datetime]]:
    """Return the keys of meetings of the archive, and when each last changed, the newest first."""
    entries = archive_entries
    query = select(entries.c.occurrence, entries.c.changed_at).where(*_conditions(wanted))
    rows = await connection.execute(query.order_by(entries.c.starts.desc(), entries.c.occurrence))
    return [(row.occurrence, row.changed_at) for row in rows]


async def speakers_of(connection: AsyncConnection, wanted: Filter) -> list[str]:
    """Return the slugs of those who spoke at meetings of the archive."""
    query = (
        select(speakers.c.slug)
        .join(meeting_speakers, meeting_speakers.c.speaker == speakers.c.id)
        .join(archive_entries, archive_entries.c.occurrence == meeting_speakers.c.occurrence)
        .where(*_conditions(wanted))
        .distinct()
        .order_by(speakers.c.slug)
    )
    return list(await connection.scalars(query))


async def count(connection: AsyncConnection, wanted: Filter) -> int:
    """Return how many meetings of the archive there are."""
    query = select(func.count()).select_from(archive_entries).where(*_conditions(wanted))
    return await connection.scalar(query) or 0


async def years(connection: AsyncConnection, wanted: Filter) -> dict[int, int]:
    """Return how many meetings of the archive were held in each year that has any, the latest first."""
    entries = archive_entries
    query = select(entries.c.year, func.count().label("meetings")).where(*_conditions(wanted))
    rows = await connection.execute(query.group_by(entries.c.year).order_by(entries.c.year.desc()))
    return {row.year: row.meetings for row in rows}


async def neighbours(
    connection: AsyncConnection, wanted: Filter, *, starts: datetime, key: str
) -> tuple[str | None, str | None]:
    """Return the keys of the meetings of the archive before and after one of that start and key."""
    entries = archive_entries
    same = entries.c.starts == starts
    earlier = (entries.c.starts < starts) | (same & (entries.c.occurrence < key))
    later = (entries.c.starts > starts) | (same & (entries.c.occurrence > key))
    # Without the second condition the databases do not begin in the index at that start.
    before = select(entries.c.occurrence).where(*_conditions(wanted), entries.c.starts <= starts, earlier)
    after = select(entries.c.occurrence).where(*_conditions(wanted), entries.c.starts >= starts, later)
    return (
        await connection.scalar(
            before.order_by(entries.c.starts.desc(), entries.c.occurrence.desc()).limit(1)
        ),
        await connection.scalar(after.order_by(entries.c.starts, entries.c.occurrence).limit(1)),
    )


# Searching.


_INDEX = table("archive_search", column("rowid"))
"""The full-text index on SQLite."""


def _matches(connection: AsyncConnection, groups: Sequence[Sequence[str]]) -> Any:
    """Return the query for the number and rank, the best first, of the texts that have a word of each group."""
    if connection.dialect.name == "sqlite":
        query = " AND ".join(
            "(" + " OR ".join(f'"{word.rstrip("*")}"{"*" * word.endswith("*")}' for word in group) + ")"
            for group in groups
        )
        best_first: ColumnElement[float] = literal_column("bm25(archive_search, 8.0, 6.0, 4.0, 1.0)", Float)
        matching = text("archive_search MATCH :query").bindparams(query=query)
        found = select(_INDEX.c.rowid.label("number"), best_first.label("rank")).where(matching)
        # Else SQLite may search the index once for each entry.
        return found.cte("matches").prefix_with("MATERIALIZED")
    query = " & ".join(
        "(" + " | ".join(f"'{word.rstrip('*')}'{':*' * word.endswith('*')}" for word in group) + ")"
        for group in groups
    )
    vector, wanted = literal_column("archive_entries.vector", TSVECTOR), cast(literal(query), TSQUERY)
    best_first = -func.ts_rank(vector, wanted)
    found = select(archive_entries.c.number, best_first.label("rank")).where(vector.op("@@")(wanted))
    return found.cte("matches")


async def search(
    connection: AsyncConnection,
    groups: Sequence[Sequence[str]],
    wanted: Filter,
    *,
    most: int,
    skip: int = 0,
) -> tuple[list[Listed], int]:
    """Return the meetings of the archive that have a word of each group, the best first, and how many there are.

    A word that ends with * means all words that begin with it. Words have only letters and digits.
    """
    entries, matches = archive_entries, _matches(connection, groups)
    # Sorting texts takes longer than finding them: only keys are sorted.
    query = (
        select(entries.c.occurrence, func.count().over().label("total"))
        .join(matches, matches.c.number == entries.c.number)
        .where(*_conditions(wanted))
        .order_by(matches.c.rank, entries.c.starts.desc(), entries.c.occurrence)
    )
    rows = (await connection.execute(query.limit(most).offset(skip))).all()
    if not rows and skip:
        # The page does not exist, but there may be others.
        rows = (await connection.execute(query.limit(1))).all()
        return [], rows[0].total if rows else 0
    keys = [row.occurrence for row in rows]
    texts = select(entries.c.occurrence, entries.c.changed_at, entries.c.excerpt)
    found = {
        row.occurrence: _listed(row)
        for row in await connection.execute(texts.where(entries.c.occurrence.in_(keys)))
    }
    return [found[key] for key in keys], rows[0].total if rows else 0


async def similar_words(connection: AsyncConnection, word: str) -> list[tuple[str, int]]:
    """Return the words of the archive that have a form in common with `word` (see `forms`), and how often each
    occurs."""
    alike = select(archive_misspellings.c.word).where(archive_misspellings.c.form.in_(sorted(forms(word))))
    query = select(archive_words.c.word, archive_words.c.entries).where(archive_words.c.word.in_(alike))
    return [(row.word, row.entries) for row in await connection.execute(query)]


async def forget_deleted_words(connection: AsyncConnection) -> None:
    """Make SQLite's index forget what was deleted from it; PostgreSQL does so itself."""
    if connection.dialect.name == "sqlite":
        await connection.execute(text("INSERT INTO archive_search (archive_search) VALUES ('optimize')"))
