"""What is recorded about meetings: their speakers, materials and themes, a summary and insights."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Row, delete, exists, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.meeting_record import (
    EMPTY,
    Material,
    MaterialKind,
    MeetingRecord,
    Speaker,
    Theme,
    slug_for,
)
from scheduler.store.database import batches
from scheduler.store.schema import (
    answers,
    meeting_materials,
    meeting_records,
    meeting_speakers,
    meeting_themes,
    members,
    speakers,
    themes,
)

T = TypeVar("T", Speaker, Theme)


@dataclass(frozen=True, slots=True)
class Used(Generic[T]):
    """A speaker or theme, and the number of their meetings."""

    item: T
    meetings: int


async def record_of(connection: AsyncConnection, key: str) -> MeetingRecord:
    """Return what is recorded about a meeting; EMPTY if nothing is."""
    return (await records_of(connection, [key]))[key]


async def records_of(connection: AsyncConnection, keys: Sequence[str]) -> dict[str, MeetingRecord]:
    """Return what is recorded about each of some meetings."""
    found: dict[str, MeetingRecord] = dict.fromkeys(keys, EMPTY)
    for some in batches(keys):
        people: defaultdict[str, list[Speaker]] = defaultdict(list)
        query = (
            select(meeting_speakers.c.occurrence, speakers)
            .join(speakers, speakers.c.id == meeting_speakers.c.speaker)
            .where(meeting_speakers.c.occurrence.in_(some))
            .order_by(meeting_speakers.c.occurrence, meeting_speakers.c.position)
        )
        for row in await connection.execute(query):
            people[row.occurrence].append(_speaker(row))
        materials: defaultdict[str, list[Material]] = defaultdict(list)
        query = (
            select(meeting_materials)
            .where(meeting_materials.c.occurrence.in_(some))
            .order_by(meeting_materials.c.occurrence, meeting_materials.c.position)
        )
        for row in await connection.execute(query):
            kind = MaterialKind(row.kind)
            materials[row.occurrence].append(Material(kind=kind, title=row.title, link=row.link))
        subjects: defaultdict[str, list[str]] = defaultdict(list)
        query = (
            select(meeting_themes)
            .where(meeting_themes.c.occurrence.in_(some))
            .order_by(meeting_themes.c.occurrence, meeting_themes.c.theme)
        )
        for row in await connection.execute(query):
            subjects[row.occurrence].append(row.theme)
        texts = select(meeting_records).where(meeting_records.c.occurrence.in_(some))
        rows = {row.occurrence: row for row in await connection.execute(texts)}
        for key in some:
            own = rows.get(key)
            found[key] = MeetingRecord(
                speakers=tuple(people[key]),
                materials=tuple(materials[key]),
                themes=tuple(subjects[key]),
                summary=own.summary if own else "",
                insights=own.insights if own else "",
                month_only=own.month_only if own else False,
                revision=own.revision if own else 0,
            )
    return found


async def with_month_only(connection: AsyncConnection, keys: Sequence[str]) -> set[str]:
    """Return those of the meetings of which only the month is known, not the day."""
    found: set[str] = set()
    for some in batches(keys):
        query = select(meeting_records.c.occurrence).where(
            meeting_records.c.occurrence.in_(some), meeting_records.c.month_only
        )
        found.update(await connection.scalars(query))
    return found


async def save(
    connection: AsyncConnection, key: str, record: MeetingRecord, *, before: MeetingRecord
) -> None:
    """Store what is now recorded about a meeting instead of `before`. Its speakers and themes are stored already."""
    table = meeting_records
    values = {
        "summary": record.summary,
        "insights": record.insights,
        "month_only": record.month_only,
        "revision": record.revision,
    }
    changed = await connection.execute(update(table).where(table.c.occurrence == key).values(**values))
    if not changed.rowcount:
        await connection.execute(insert(table).values(occurrence=key, **values))
    if _slugs(record) != _slugs(before):
        await connection.execute(delete(meeting_speakers).where(meeting_speakers.c.occurrence == key))
        numbers = await _numbers(connection, _slugs(record))
        if numbers:
            await connection.execute(
                insert(meeting_speakers),
                [
                    {"occurrence": key, "speaker": numbers[slug], "position": position}
                    for position, slug in enumerate(_slugs(record))
                ],
            )
    if record.materials != before.materials:
        await connection.execute(delete(meeting_materials).where(meeting_materials.c.occurrence == key))
        if record.materials:
            await connection.execute(
                insert(meeting_materials),
                [
                    {
                        "occurrence": key,
                        "position": position,
                        "kind": material.kind.value,
                        "title": material.title,
                        "link": material.link,
                    }
                    for position, material in enumerate(record.materials)
                ],
            )
    if record.themes != before.themes:
        await connection.execute(delete(meeting_themes).where(meeting_themes.c.occurrence == key))
        if record.themes:
            await connection.execute(
                insert(meeting_themes), [{"occurrence": key, "theme": theme} for theme in record.themes]
            )
    if _slugs(record) != _slugs(before):
        await delete_unused_speakers(connection)


def _slugs(record: MeetingRecord) -> list[str]:
    return [speaker.slug for speaker in record.speakers]


async def count_countries(connection: AsyncConnection, key: str) -> int:
    """Return in how many countries members answered that they are coming to a meeting."""
    query = (
        select(func.count(members.c.country.distinct()))
        .select_from(answers)
        .join(members, members.c.id == answers.c.member)
        .where(answers.c.occurrence == key, answers.c.answer == "coming")
    )
    return await connection.scalar(query) or 0


# Speakers.


def _speaker(row: Row[Any]) -> Speaker:
    return Speaker(name=row.name, role=row.role, organisation=row.organisation, link=row.link, slug=row.slug)


async def all_speakers(connection: AsyncConnection) -> list[Used[Speaker]]:
    """Return the speakers by name, each with the number of their meetings."""
    query = (
        select(speakers, func.count(meeting_speakers.c.occurrence).label("meetings"))
        .outerjoin(meeting_speakers, meeting_speakers.c.speaker == speakers.c.id)
        .group_by(speakers.c.id)
        .order_by(speakers.c.name_key, speakers.c.slug)
    )
    return [Used(_speaker(row), row.meetings) for row in await connection.execute(query)]


async def speaker_of(connection: AsyncConnection, slug: str) -> Speaker | None:
    """Return the speaker with a slug."""
    row = (await connection.execute(select(speakers).where(speakers.c.slug == slug))).first()
    return _speaker(row) if row else None


async def speakers_by_key(connection: AsyncConnection, keys: Iterable[str]) -> dict[str, Speaker]:
    """Return the speakers with some keys of names (see `Speaker.key`), by key."""
    found: dict[str, Speaker] = {}
    for some in batches(list(keys)):
        for row in await connection.execute(select(speakers).where(speakers.c.name_key.in_(some))):
            found[row.name_key] = _speaker(row)
    return found


async def add_speaker(connection: AsyncConnection, speaker: Speaker) -> Speaker:
    """Insert a speaker, and return them with their slug."""
    stem = slug_for(speaker.name, taken=(), otherwise="speaker").removesuffix("-1")
    taken = set(
        await connection.scalars(
            select(speakers.c.slug).where(speakers.c.slug.startswith(stem, autoescape=True))
        )
    )
    stored = replace(speaker, slug=slug_for(speaker.name, taken=taken, otherwise="speaker"))
    await connection.execute(insert(speakers).values(slug=stored.slug, **_columns(stored)))
    return stored


async def change_speaker(connection: AsyncConnection, speaker: Speaker) -> None:
    """Update a speaker by their slug."""
    await connection.execute(
        update(speakers).where(speakers.c.slug == speaker.slug).values(**_columns(speaker))
    )


def _columns(speaker: Speaker) -> dict[str, str]:
    return {
        "name": speaker.name,
        "name_key": speaker.key,
        "role": speaker.role,
        "organisation": speaker.organisation,
        "link": speaker.link,
    }


async def merge_speakers(connection: AsyncConnection, *, kept: str, other: str) -> None:
    """Give the meetings of one speaker to another, and delete the former."""
    numbers = await _numbers(connection, [kept, other])
    table = meeting_speakers
    both = select(table.c.occurrence).where(table.c.speaker == numbers[kept])
    await connection.execute(
        delete(table).where(table.c.speaker == numbers[other], table.c.occurrence.in_(both))
    )
    await connection.execute(
        update(table).where(table.c.speaker == numbers[other]).values(speaker=numbers[kept])
    )
    await connection.execute(delete(speakers).where(speakers.c.slug == other))


async def delete_unused_speakers(connection: AsyncConnection) -> None:
    """Delete the speakers whom no meeting names any more."""
    used = exists().where(meeting_speakers.c.speaker == speakers.c.id)
    await connection.execute(delete(speakers).where(~used))


async def keys_with_speaker(connection: AsyncConnection, slug: str) -> list[str]:
    """Return the keys of the meetings that a speaker is named at."""
    query = (
        select(meeting_speakers.c.occurrence)
        .join(speakers, speakers.c.id == meeting_speakers.c.speaker)
        .where(speakers.c.slug == slug)
    )
    return sorted(await connection.scalars(query))


async def _numbers(connection: AsyncConnection, slugs: Collection[str]) -> Mapping[str, int]:
    query = select(speakers.c.slug, speakers.c.id).where(speakers.c.slug.in_(slugs))
    return {row.slug: row.id for row in await connection.execute(query)} if slugs else {}


# Themes.


def _theme(row: Row[Any]) -> Theme:
    return Theme(slug=row.slug, name=row.name, words=row.words)


async def all_themes(connection: AsyncConnection) -> list[Used[Theme]]:
    """Return the themes by name, each with the number of its meetings, coming ones too."""
    query = (
        select(themes, func.count(meeting_themes.c.occurrence).label("meetings"))
        .outerjoin(meeting_themes, meeting_themes.c.theme == themes.c.slug)
        .group_by(themes.c.slug)
        .order_by(themes.c.name_key, themes.c.slug)
    )
    return [Used(_theme(row), row.meetings) for row in await connection.execute(query)]


async def themes_by_slug(connection: AsyncConnection, slugs: Collection[str]) -> dict[str, Theme]:
    """Return some themes by slug."""
    if not slugs:
        return {}
    query = select(themes).where(themes.c.slug.in_(sorted(slugs)))
    return {row.slug: _theme(row) for row in await connection.execute(query)}


async def themes_in_use(connection: AsyncConnection) -> list[Theme]:
    """Return the themes that any meeting has, by name."""
    is_used = exists().where(meeting_themes.c.theme == themes.c.slug)
    query = select(themes).where(is_used).order_by(themes.c.name_key, themes.c.slug)
    return [_theme(row) for row in await connection.execute(query)]


async def theme_of(connection: AsyncConnection, slug: str) -> Theme | None:
    """Return the theme with a slug."""
    return await _one_theme(connection, themes.c.slug == slug)


async def theme_by_key(connection: AsyncConnection, key: str) -> Theme | None:
    """Return the theme with a key of its name (see `Theme.key`)."""
    return await _one_theme(connection, themes.c.name_key == key)


async def _one_theme(connection: AsyncConnection, condition: ColumnElement[bool]) -> Theme | None:
    row = (await connection.execute(select(themes).where(condition))).first()
    return _theme(row) if row else None


async def add_theme(connection: AsyncConnection, theme: Theme) -> Theme:
    """Insert a theme, and return it with its slug."""
    taken = set(await connection.scalars(select(themes.c.slug)))
    stored = replace(theme, slug=slug_for(theme.name, taken=taken, otherwise="theme"))
    await connection.execute(
        insert(themes).values(slug=stored.slug, name=stored.name, name_key=stored.key, words=stored.words)
    )
    return stored


async def change_theme(connection: AsyncConnection, theme: Theme) -> None:
    """Update a theme by its slug."""
    await connection.execute(
        update(themes)
        .where(themes.c.slug == theme.slug)
        .values(name=theme.name, name_key=theme.key, words=theme.words)
    )


async def merge_themes(connection: AsyncConnection, *, kept: str, other: str) -> None:
    """Give the meetings of one theme to another, and delete the former."""
    table = meeting_themes
    both = select(table.c.occurrence).where(table.c.theme == kept)
    await connection.execute(delete(table).where(table.c.theme == other, table.c.occurrence.in_(both)))
    await connection.execute(update(table).where(table.c.theme == other).values(theme=kept))
    await delete_theme(connection, other)


async def delete_theme(connection: AsyncConnection, slug: str) -> None:
    await connection.execute(delete(themes).where(themes.c.slug == slug))


async def keys_with_theme(connection: AsyncConnection, slug: str) -> list[str]:
    """Return the keys of the meetings that have a theme."""
    return sorted(
        await connection.scalars(select(meeting_themes.c.occurrence).where(meeting_themes.c.theme == slug))
    )
