"""Record what was said at meetings: speakers, materials, a summary, insights and themes, and keep speakers and themes.

The records are the truth. The texts of speakers and materials that mails and calendars show are made from them, and the
archive's index is kept in the same transaction.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from difflib import get_close_matches
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.delivery.compose.markdown import as_words
from scheduler.domain import search
from scheduler.domain.actor import SERVICE, Actor
from scheduler.domain.errors import Refused
from scheduler.domain.meeting_record import (
    Material,
    MeetingRecord,
    Speaker,
    Theme,
    materials_text,
    read_materials,
    read_speakers,
    speakers_text,
    without_repeats,
)
from scheduler.domain.occurrence import Occurrence, next_change
from scheduler.domain.text import counted, folded
from scheduler.store import archive_entries, audit, meeting_records, occurrences, service_state
from scheduler.store.archive_entries import Entry
from scheduler.store.database import Database
from scheduler.store.meeting_records import Used

_LONGEST_LOGGED = 200
"""How many characters of a summary the audit log has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordChange:
    """A change to what is recorded about a meeting; None leaves a value as it is.

    `speakers` are whole: empty parts are removed. `speakers_text` and `materials_text` are texts as the command line
    and tables have them; what a text does not say about a known speaker stays. With `fills_blanks`, it also does not
    change what is known about them. `themes` are slugs or names of themes.
    """

    speakers: tuple[Speaker, ...] | None = None
    materials: tuple[Material, ...] | None = None
    speakers_text: str | None = None
    materials_text: str | None = None
    summary: str | None = None
    insights: str | None = None
    themes: tuple[str, ...] | None = None
    month_only: bool | None = None
    fills_blanks: bool = False

    def __post_init__(self) -> None:
        if self.speakers_text is not None:
            read_speakers(self.speakers_text)
        if self.materials_text is not None:
            read_materials(self.materials_text)
        MeetingRecord(summary=self.summary or "", insights=self.insights or "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What a change makes of the record of a meeting, and of the texts made from it."""

    before: MeetingRecord
    after: MeetingRecord
    speakers: str
    materials: str

    @property
    def changed(self) -> bool:
        return self.before != self.after


async def resolve(connection: AsyncConnection, occurrence: Occurrence, change: RecordChange) -> Recorded:
    """Return what a change makes of the record of a meeting; nothing is stored. New speakers have no slug yet.

    Raises Refused for a theme that does not exist.
    """
    before = await meeting_records.record_of(connection, occurrence.key)
    values: dict[str, Any] = {
        name: value
        for name in ("materials", "month_only", "summary", "insights")
        if (value := getattr(change, name)) is not None
    }
    # A text stays as it was typed, or as it was before there were records, until the record changes in another way.
    texts = {"speakers": occurrence.speakers, "materials": occurrence.materials}
    if change.speakers is not None:
        values["speakers"] = await _known(connection, change.speakers, is_whole=True)
    elif change.speakers_text is not None and change.speakers_text != occurrence.speakers:
        said = read_speakers(change.speakers_text)
        values["speakers"] = await _known(connection, said, fills_blanks=change.fills_blanks)
        texts["speakers"] = change.speakers_text
    if change.materials_text is not None and change.materials_text != occurrence.materials:
        values["materials"] = read_materials(change.materials_text)
        texts["materials"] = change.materials_text
    if change.themes is not None:
        values["themes"] = tuple(sorted([await _theme_slug(connection, name) for name in change.themes]))
    after = replace(before, **values)
    if after != before:
        after = replace(after, revision=before.revision + 1)
    if change.speakers is not None and after.speakers != before.speakers:
        texts["speakers"] = speakers_text(after.speakers)
    if change.materials is not None and after.materials != before.materials:
        texts["materials"] = materials_text(after.materials)
    return Recorded(before=before, after=after, **texts)


async def _known(
    connection: AsyncConnection,
    said: Iterable[Speaker],
    *,
    is_whole: bool = False,
    fills_blanks: bool = False,
) -> tuple[Speaker, ...]:
    """Return speakers with their slugs, if they are known, and with what is known about them."""
    speakers = without_repeats(said)
    known = await meeting_records.speakers_by_key(connection, [speaker.key for speaker in speakers])
    found = []
    for speaker in speakers:
        stored = known.get(speaker.key)
        if stored is None:
            found.append(replace(speaker, slug=""))
            continue
        details = {}
        for name in ("role", "organisation", "link"):
            new, old = getattr(speaker, name), getattr(stored, name)
            details[name] = new if is_whole else (old or new if fills_blanks else new or old)
        found.append(replace(stored, name=speaker.name if is_whole else stored.name, **details))
    return tuple(found)


async def _theme_slug(connection: AsyncConnection, name: str) -> str:
    theme = await _find_theme(connection, name)
    if theme is None:
        names = [used.item.name for used in await meeting_records.all_themes(connection)]
        near = get_close_matches(name, names, n=1)
        hint = f"did you mean '{near[0]}'?" if near else "`themes add` adds one"
        raise Refused(f"there is no theme '{name[:60]}'", command=hint)
    return theme.slug


async def _find_theme(connection: AsyncConnection, name: str) -> Theme | None:
    found = await meeting_records.theme_of(connection, name)
    return found or await meeting_records.theme_by_key(connection, folded(name))


async def store(
    connection: AsyncConnection, recorded: Recorded, occurrence: Occurrence, now: datetime
) -> None:
    """Store the record of a meeting, and what it says about speakers that other meetings have too.

    The occurrence is stored already, with the texts of `recorded`.
    """
    speakers, changed = [], []
    keys = [speaker.key for speaker in recorded.after.speakers]
    known = await meeting_records.speakers_by_key(connection, keys)
    for speaker in recorded.after.speakers:
        if not speaker.slug:
            speaker = await meeting_records.add_speaker(connection, speaker)
        elif speaker != known[speaker.key]:
            await meeting_records.change_speaker(connection, speaker)
            changed.append(speaker.slug)
        speakers.append(speaker)
    after = replace(recorded.after, speakers=tuple(speakers))
    await meeting_records.save(connection, occurrence.key, after, before=recorded.before)
    await enter(connection, occurrence, after, now)
    for slug in changed:
        keys = await meeting_records.keys_with_speaker(connection, slug)
        await _speakers_changed(connection, [key for key in keys if key != occurrence.key], now)


async def _speakers_changed(connection: AsyncConnection, keys: Iterable[str], now: datetime) -> None:
    """Make the texts of the speakers of meetings from their records, and enter the meetings into the archive anew.

    What is known about speakers is part of the records, so each has a new revision.
    """
    for key in keys:
        before, occurrence = await _stored(connection, key)
        record = replace(before, revision=before.revision + 1)
        await meeting_records.save(connection, key, record, before=before)
        words = speakers_text(record.speakers)
        if words != occurrence.speakers:
            occurrence = replace(
                occurrence,
                speakers=words,
                revision=occurrence.revision + 1,
                changed_at=next_change(occurrence, now),
            )
            await occurrences.amend(connection, occurrence)
        await enter(connection, occurrence, record, now)


async def _themes_changed(connection: AsyncConnection, keys: Iterable[str], now: datetime) -> None:
    """Enter meetings into the archive anew: themes are in no text of a meeting."""
    for key in keys:
        record, occurrence = await _stored(connection, key)
        await enter(connection, occurrence, record, now)


async def _stored(connection: AsyncConnection, key: str) -> tuple[MeetingRecord, Occurrence]:
    occurrence = await occurrences.occurrence_by_key(connection, key)
    assert occurrence
    return await meeting_records.record_of(connection, key), occurrence


async def enter(
    connection: AsyncConnection, occurrence: Occurrence, record: MeetingRecord, now: datetime
) -> None:
    """Enter a meeting into the archive, or remove it if it is cancelled or nothing is recorded about it.

    The archive shows only those that are over.
    """
    texts = (occurrence.topic, occurrence.speakers, occurrence.description, occurrence.materials)
    has_record = bool(
        record.summary or record.insights or record.themes or record.speakers or record.materials
    )
    if occurrence.cancelled or not (any(texts) or has_record):
        await archive_entries.remove(connection, occurrence.key)
        return
    excerpt = "\n".join(filter(None, (as_words(record.summary), as_words(record.insights))))
    themes = await meeting_records.themes_by_slug(connection, record.themes)
    names = [
        *(speaker.text for speaker in record.speakers),
        *(() if record.speakers else (occurrence.speakers,)),
        *(theme.name for theme in themes.values()),
    ]
    await archive_entries.put(
        connection,
        Entry(
            occurrence=occurrence.key,
            series=occurrence.series,
            starts=occurrence.starts,
            ends=occurrence.ends,
            year=occurrence.home_date.year,
            month_only=record.month_only,
            changed_at=now.replace(microsecond=0),
            excerpt=excerpt,
            topic=_searched(occurrence.topic),
            names=_searched("\n".join(names)),
            titles=_searched("\n".join(material.title for material in record.materials)),
            words=_searched(f"{excerpt}\n{occurrence.description}"),
        ),
    )


def _searched(text: str) -> str:
    return search.as_text(search.search_words(text))


def for_log(record: MeetingRecord) -> dict[str, Any]:
    """Return what the audit log has of a record; speakers and titles of materials are in the texts made from it."""
    return {
        "summary": record.summary[:_LONGEST_LOGGED],
        "insights": record.insights[:_LONGEST_LOGGED],
        "themes": list(record.themes),
        "links": [speaker.link for speaker in record.speakers if speaker.link],
        "kinds": [material.kind.value for material in record.materials],
    }


# Themes.


async def list_themes(database: Database) -> list[Used[Theme]]:
    """Return the themes by name, each with the number of its meetings."""
    async with database.read() as connection:
        return await meeting_records.all_themes(connection)


async def add_theme(
    database: Database, name: str, *, words: str = "", now: datetime, by: Actor = SERVICE
) -> Theme:
    """Add a theme. Raises Refused if there is one of that name."""
    async with database.write() as connection:
        return await add_theme_in(connection, name, words=words, now=now, by=by)


async def add_theme_in(
    connection: AsyncConnection, name: str, *, words: str = "", now: datetime, by: Actor
) -> Theme:
    """Add a theme, within a transaction."""
    theme = Theme(slug="", name=name, words=words)
    await _require_new_name(connection, theme)
    theme = await meeting_records.add_theme(connection, theme)
    await audit.record(connection, by, "theme-added", subject=theme.slug, after={"name": theme.name}, now=now)
    await service_state.note_change(connection)
    return theme


async def require_theme(connection: AsyncConnection, name: str) -> Theme:
    """Return the theme with a slug or name. Raises Refused if there is none."""
    theme = await meeting_records.theme_of(connection, await _theme_slug(connection, name))
    assert theme
    return theme


async def change_theme(
    database: Database,
    theme: str,
    *,
    name: str | None = None,
    words: str | None = None,
    fingerprint: str | None = None,
    now: datetime,
    by: Actor = SERVICE,
) -> Theme:
    """Rename or describe a theme, given by slug or name. Its address stays.

    Raises Refused, also if it was changed since it had the `fingerprint`.
    """
    async with database.write() as connection:
        before = await require_theme(connection, theme)
        _require_unchanged(before, fingerprint)
        after = replace(
            before,
            name=before.name if name is None else name,
            words=before.words if words is None else words,
        )
        if after == before:
            return before
        await _require_new_name(connection, after)
        await meeting_records.change_theme(connection, after)
        if after.name != before.name:
            keys = await meeting_records.keys_with_theme(connection, after.slug)
            await _themes_changed(connection, keys, now)
        await audit.record(
            connection,
            by,
            "theme-changed",
            subject=after.slug,
            before={"name": before.name, "words": before.words[:_LONGEST_LOGGED]},
            after={"name": after.name, "words": after.words[:_LONGEST_LOGGED]},
            now=now,
        )
        await service_state.note_change(connection)
        return after


def _require_unchanged(before: Theme | Speaker, fingerprint: str | None) -> None:
    if fingerprint not in (None, before.fingerprint):
        raise Refused("this was changed by somebody else meanwhile; look at it again")


async def _require_new_name(connection: AsyncConnection, theme: Theme) -> None:
    other = await meeting_records.theme_by_key(connection, theme.key)
    if other and other.slug != theme.slug:
        raise Refused(f"there is a theme '{other.name}' already")


async def merge_themes(
    database: Database, *, kept: str, other: str, now: datetime, by: Actor = SERVICE
) -> Theme:
    """Give the meetings of one theme to another, and delete the former. Raises Refused."""
    async with database.write() as connection:
        into, gone = await require_theme(connection, kept), await require_theme(connection, other)
        if into.slug == gone.slug:
            raise Refused(f"'{into.name}' cannot be merged with itself; choose another theme")
        keys = await meeting_records.keys_with_theme(connection, gone.slug)
        await meeting_records.merge_themes(connection, kept=into.slug, other=gone.slug)
        await _themes_changed(connection, keys, now)
        await audit.record(
            connection,
            by,
            "themes-merged",
            subject=into.slug,
            before={"theme": gone.name, "words": gone.words[:_LONGEST_LOGGED]},
            after={"theme": into.name, "meetings": len(keys)},
            now=now,
        )
        await service_state.note_change(connection)
        return into


async def remove_theme(database: Database, theme: str, *, now: datetime, by: Actor = SERVICE) -> Theme:
    """Delete a theme that no meeting has. Raises Refused for others."""
    async with database.write() as connection:
        found = await require_theme(connection, theme)
        if keys := await meeting_records.keys_with_theme(connection, found.slug):
            meetings = counted(len(keys), "meeting")
            raise Refused(f"'{found.name}' is a theme of {meetings}; merge it with another theme instead")
        await meeting_records.delete_theme(connection, found.slug)
        await audit.record(
            connection, by, "theme-removed", subject=found.slug, before={"name": found.name}, now=now
        )
        await service_state.note_change(connection)
        return found


# Speakers.


async def list_speakers(database: Database) -> list[Used[Speaker]]:
    """Return the speakers by name, each with the number of their meetings."""
    async with database.read() as connection:
        return await meeting_records.all_speakers(connection)


async def require_speaker(connection: AsyncConnection, name: str) -> Speaker:
    """Return the speaker with a slug or name. Raises Refused if there is none."""
    by_key = await meeting_records.speakers_by_key(connection, [folded(name)])
    found = await meeting_records.speaker_of(connection, name) or by_key.get(folded(name))
    if found is None:
        raise Refused(f"there is no speaker '{name[:60]}'", command="`speakers list` lists them")
    return found


async def change_speaker(
    database: Database,
    speaker: str,
    *,
    values: Mapping[str, str],
    fingerprint: str | None = None,
    now: datetime,
    by: Actor = SERVICE,
) -> Speaker:
    """Change the name, role, organisation or link of a speaker, given by slug or name, at all their meetings.

    Nobody is told. Raises Refused if somebody else has that name, or if they were changed since they had the
    `fingerprint`.
    """
    async with database.write() as connection:
        before = await require_speaker(connection, speaker)
        _require_unchanged(before, fingerprint)
        after = replace(before, **values)
        if after == before:
            return before
        other = (await meeting_records.speakers_by_key(connection, [after.key])).get(after.key)
        if other and other.slug != after.slug:
            raise Refused(f"there is a speaker '{other.name}' already; merge them if they are one person")
        await meeting_records.change_speaker(connection, after)
        keys = await meeting_records.keys_with_speaker(connection, after.slug)
        await _speakers_changed(connection, keys, now)
        await audit.record(
            connection,
            by,
            "speaker-changed",
            subject=after.slug,
            before=_speaker_for_log(before),
            after=_speaker_for_log(after),
            now=now,
        )
        await service_state.note_change(connection)
        return after


async def merge_speakers(
    database: Database, *, kept: str, other: str, now: datetime, by: Actor = SERVICE
) -> Speaker:
    """Make two speakers one person; what is blank about the one who is kept is taken from the other. Raises Refused."""
    async with database.write() as connection:
        into, gone = await require_speaker(connection, kept), await require_speaker(connection, other)
        if into.slug == gone.slug:
            raise Refused(f"{into.name} cannot be merged with themselves; choose another speaker")
        filled = replace(
            into,
            role=into.role or gone.role,
            organisation=into.organisation or gone.organisation,
            link=into.link or gone.link,
        )
        keys = await meeting_records.keys_with_speaker(connection, gone.slug)
        if filled != into:
            keys = sorted({*keys, *await meeting_records.keys_with_speaker(connection, into.slug)})
        await meeting_records.merge_speakers(connection, kept=into.slug, other=gone.slug)
        await meeting_records.change_speaker(connection, filled)
        await _speakers_changed(connection, keys, now)
        await audit.record(
            connection,
            by,
            "speakers-merged",
            subject=into.slug,
            before={"speaker": gone.name},
            after={"speaker": into.name},
            now=now,
        )
        await service_state.note_change(connection)
        return filled


def _speaker_for_log(speaker: Speaker) -> dict[str, str]:
    return {name: getattr(speaker, name) for name in ("name", "role", "organisation", "link")}


def likely_duplicates(used: Sequence[Used[Speaker]]) -> list[tuple[Speaker, Speaker]]:
    """Return pairs of speakers whose names have nearly the same words, such as with a title or a middle name."""
    words = [(one.item, set(search.search_words(one.item.name))) for one in used]
    by_word: dict[str, list[int]] = {}
    pairs: dict[tuple[int, int], None] = {}
    for index, (_, own) in enumerate(words):
        for word in own:
            for other in by_word.get(word, ()):
                smaller, larger = sorted((own, words[other][1]), key=len)
                if len(smaller) > 1 and smaller <= larger:
                    pairs[other, index] = None
            by_word.setdefault(word, []).append(index)
    return [(words[one][0], words[other][0]) for one, other in pairs]
