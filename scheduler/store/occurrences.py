"""Series and policies as adopted from the settings, and occurrences with all their revisions."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Row, delete, func, insert, select, union_all, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.occurrence import Occurrence, Series, following, instant
from scheduler.domain.policy import Policy
from scheduler.store import schema
from scheduler.store.database import batches
from scheduler.store.schema import answers, deliveries, meeting_records, notices, occurrences, revisions


@dataclass(frozen=True, slots=True)
class AdoptedSeries:
    fingerprint: str
    adopted_at: datetime
    derived_until: datetime


@dataclass(frozen=True, slots=True)
class AdoptedPolicy:
    kind: str
    definition: str
    adopted_at: datetime
    first: bool


async def adopted_series(connection: AsyncConnection) -> dict[str, AdoptedSeries]:
    rows = await connection.execute(select(schema.series))
    return {row.slug: AdoptedSeries(row.fingerprint, row.adopted_at, row.derived_until) for row in rows}


async def adopted_policies(connection: AsyncConnection) -> dict[tuple[str, str], AdoptedPolicy]:
    """Return the adopted policies by series slug and policy slug."""
    rows = await connection.execute(select(schema.policies))
    return {
        (row.series, row.slug): AdoptedPolicy(row.kind, row.definition, row.adopted_at, row.first)
        for row in rows
    }


async def adopt_series(connection: AsyncConnection, series: Series, now: datetime) -> None:
    await connection.execute(
        insert(schema.series).values(
            slug=series.slug,
            fingerprint=series.fingerprint,
            adopted_at=now,
            derived_until=series.starts_on(series.first) - timedelta(microseconds=1),
        )
    )


async def readopt_series(connection: AsyncConnection, series: Series, derived_until: datetime) -> None:
    """Store that the series now has this rule, which applies to starts after `derived_until`."""
    await connection.execute(
        update(schema.series)
        .where(schema.series.c.slug == series.slug)
        .values(fingerprint=series.fingerprint, derived_until=derived_until)
    )


async def adopt_policy(connection: AsyncConnection, series: str, policy: Policy, now: datetime) -> None:
    """Store a policy that is new, or whose timing has changed, as adopted at `now`."""
    table = schema.policies
    key = (table.c.series == series) & (table.c.slug == policy.slug)
    same_kind = await connection.scalar(
        select(table.c.slug).where(table.c.series == series, table.c.kind == policy.kind).limit(1)
    )
    values = {"kind": policy.kind.value, "definition": policy.definition, "adopted_at": now}
    result = await connection.execute(update(table).where(key).values(**values, first=False))
    if not result.rowcount:
        await connection.execute(
            insert(table).values(**values, series=series, slug=policy.slug, first=same_kind is None)
        )


async def drop_policies(connection: AsyncConnection, series: str, kept: Collection[str]) -> None:
    """Delete the policies that are not in `kept`, the slugs in the settings: one that returns is adopted as new.

    Invitation policies stay, so that a later one is not taken for the first of its kind in the series.
    """
    table = schema.policies
    await connection.execute(
        delete(table).where(table.c.series == series, table.c.slug.not_in(kept), table.c.kind != "invitation")
    )


def _wall_time(moment: datetime, zone: str) -> str:
    return f"{moment.astimezone(ZoneInfo(zone)):%Y-%m-%dT%H:%M}"


def _read(row: Row[Any]) -> Occurrence:
    return Occurrence(
        key=row.key,
        series=row.series,
        date=date.fromisoformat(row.date),
        zone=row.zone,
        original=row.original,
        starts=row.starts,
        ends=row.ends,
        changed_at=row.changed_at,
        cancelled=row.cancelled,
        extra=row.extra,
        added_when_over=row.added_when_over,
        orphaned=row.orphaned,
        topic=row.topic,
        speakers=row.speakers,
        description=row.description,
        link=row.link,
        materials=row.materials,
        revision=row.revision,
        sequence=row.sequence,
        reinstated=row.reinstated,
    )


def _values(occurrence: Occurrence) -> dict[str, Any]:
    """Return the columns of an occurrence, except its wall times."""
    return {
        name: getattr(occurrence, name)
        for name in (
            "key",
            "series",
            "zone",
            "original",
            "starts",
            "ends",
            "changed_at",
            "cancelled",
            "extra",
            "added_when_over",
            "orphaned",
            "topic",
            "speakers",
            "description",
            "link",
            "materials",
            "revision",
            "sequence",
            "reinstated",
        )
    } | {"date": occurrence.date.isoformat()}


def _snapshot(occurrence: Occurrence) -> dict[str, Any]:
    values = _values(occurrence)
    return {
        "occurrence": occurrence.key,
        "revision": occurrence.revision,
        "starts": occurrence.starts,
        "cancelled": occurrence.cancelled,
        "state": json.loads(json.dumps(values, default=datetime.isoformat)),
    }


def _restore(state: Mapping[str, Any]) -> Occurrence:
    values = dict(state)
    values["date"] = date.fromisoformat(values["date"])
    for name in ("original", "starts", "ends", "changed_at"):
        values[name] = datetime.fromisoformat(values[name])
    return Occurrence(**values)


async def all_occurrences(
    connection: AsyncConnection, *, since: datetime | None = None, series: str | None = None
) -> list[Occurrence]:
    """Return the stored occurrences, of one `series` or all, that end after `since`, by start."""
    query = select(occurrences).order_by(occurrences.c.starts, occurrences.c.key)
    if since:
        query = query.where(occurrences.c.ends > since)
    if series:
        query = query.where(occurrences.c.series == series)
    return [_read(row) for row in await connection.execute(query)]


async def recent_occurrences(
    connection: AsyncConnection, series: Collection[str], *, since: datetime
) -> list[Occurrence]:
    """Return the stored occurrences of some series that end after `since`, by start, and of each series the last ones
    of the rule before that: later ones are compared with them."""
    found = [row for row in await all_occurrences(connection, since=since) if row.series in series]
    before = [
        select(occurrences)
        .where(
            occurrences.c.series == slug,
            occurrences.c.ends <= since,
            ~occurrences.c.extra,
            ~(occurrences.c.orphaned & occurrences.c.cancelled),
        )
        .order_by(occurrences.c.starts.desc())
        .limit(_COMPARED)
        .subquery()
        for slug in series
    ]
    if before:
        rows = await connection.execute(union_all(*(select(latest) for latest in before)))
        found += [_read(row) for row in rows]
    return sorted(found, key=lambda occurrence: (occurrence.starts, occurrence.key))


_COMPARED = 5
"""A meeting is compared with the one before it by date. If meetings were moved, that need not be the last one."""


async def over(connection: AsyncConnection, now: datetime, *, most: int, undated: bool) -> list[Occurrence]:
    """Return the latest occurrences that are over, the newest first; with `undated` also those of which only the month
    is known."""
    query = select(occurrences).where(occurrences.c.ends <= now)
    if not undated:
        record = meeting_records
        has_month_only = record.c.month_only & (record.c.occurrence == occurrences.c.key)
        query = query.where(~select(record.c.occurrence).where(has_month_only).exists())
    query = query.order_by(occurrences.c.starts.desc(), occurrences.c.key).limit(most)
    return [_read(row) for row in await connection.execute(query)]


async def occurrence_by_key(connection: AsyncConnection, key: str) -> Occurrence | None:
    row = (await connection.execute(select(occurrences).where(occurrences.c.key == key))).first()
    return _read(row) if row else None


async def occurrences_by_key(connection: AsyncConnection, keys: Sequence[str]) -> dict[str, Occurrence]:
    """Return the stored occurrences with some keys, by key."""
    found = {}
    for some in batches(keys):
        query = select(occurrences).where(occurrences.c.key.in_(some))
        found.update({row.key: _read(row) for row in await connection.execute(query)})
    return found


async def occurrence_at(connection: AsyncConnection, series: str, starts: datetime) -> Occurrence | None:
    """Return a stored occurrence of a series that starts at an instant."""
    query = select(occurrences).where(occurrences.c.series == series, occurrences.c.starts == starts)
    row = (await connection.execute(query.limit(1))).first()
    return _read(row) if row else None


async def at_revision(connection: AsyncConnection, key: str, revision: int) -> Occurrence | None:
    """Return the occurrence as it was at a revision."""
    state = await connection.scalar(
        select(revisions.c.state).where(revisions.c.occurrence == key, revisions.c.revision == revision)
    )
    return _restore(state) if state else None


async def with_preceding(connection: AsyncConnection, occurrence: Occurrence, series: Series) -> Occurrence:
    """Return `occurrence` with the data of the meeting before it, which local times are compared with."""
    table = occurrences
    query = (
        select(table)
        .where(
            table.c.series == occurrence.series,
            table.c.date < occurrence.date.isoformat(),
            ~table.c.extra,
            ~(table.c.orphaned & table.c.cancelled),
        )
        .order_by(table.c.date.desc())
        .limit(1)
    )
    preceding = (await connection.execute(query)).first()
    derived_until = await connection.scalar(
        select(schema.series.c.derived_until).where(schema.series.c.slug == occurrence.series)
    )
    if preceding is None or derived_until is None:
        return occurrence
    return following(occurrence, _read(preceding), series, derived_until=derived_until)


async def add(connection: AsyncConnection, *new: Occurrence) -> None:
    """Insert occurrences; one that exists already stays as it is."""
    if not new:
        return
    query = select(occurrences.c.key).where(occurrences.c.key.in_([occurrence.key for occurrence in new]))
    existing = set(await connection.scalars(query))
    if not (missing := [occurrence for occurrence in new if occurrence.key not in existing]):
        return
    rows = [
        {
            **_values(occurrence),
            "wall": _wall_time(occurrence.original, occurrence.zone),
            "moved_to": None,
            "minutes": round((occurrence.ends - occurrence.starts).total_seconds() / 60),
        }
        for occurrence in missing
    ]
    await connection.execute(insert(occurrences), rows)
    await connection.execute(insert(revisions), [_snapshot(occurrence) for occurrence in missing])


async def amend(connection: AsyncConnection, changed: Occurrence) -> None:
    """Update an occurrence and add its new revision; `changed.revision` is one more than the stored one.

    If it is in the archive, it moves there, too.
    """
    await connection.execute(
        update(occurrences)
        .where(occurrences.c.key == changed.key, occurrences.c.revision == changed.revision - 1)
        .values(
            **_values(changed),
            moved_to=_wall_time(changed.starts, changed.zone) if changed.starts != changed.original else None,
        )
    )
    await connection.execute(insert(revisions).values(_snapshot(changed)))
    entries = schema.archive_entries
    await connection.execute(
        update(entries)
        .where(entries.c.occurrence == changed.key)
        .values(starts=changed.starts, ends=changed.ends, year=changed.home_date.year)
    )


async def mark_orphaned(connection: AsyncConnection, key: str, orphaned: bool) -> None:  # noqa: FBT001
    await connection.execute(update(occurrences).where(occurrences.c.key == key).values(orphaned=orphaned))


async def forget(connection: AsyncConnection, keys: Collection[str]) -> None:
    """Delete occurrences about which nobody was ever mailed, with the notices planned for them."""
    await connection.execute(delete(occurrences).where(occurrences.c.key.in_(keys)))


async def kept_occurrences(connection: AsyncConnection) -> set[str]:
    """Return the keys of the occurrences that a changed rule does not replace: those about which at least one mail was
    tried, or anything is recorded."""
    key = func.coalesce(notices.c.occurrence, notices.c.mentions)
    query = (
        select(key.label("key"))
        .where(
            key.is_not(None),
            select(deliveries.c.id)
            .where(deliveries.c.notice == notices.c.id, deliveries.c.attempts > 0)
            .exists(),
        )
        .union(select(meeting_records.c.occurrence))
    )
    return {row.key for row in await connection.execute(query)}


async def retime(connection: AsyncConnection, now: datetime) -> list[str]:
    """Recalculate the instants of future occurrences from their wall times with the current zone data.

    Return the keys of those that changed, which only happens after an update of the zone data.
    """
    changed = []
    for row in (await connection.execute(select(occurrences).where(occurrences.c.starts > now))).all():
        original = instant(datetime.fromisoformat(row.wall), row.zone)
        starts = instant(datetime.fromisoformat(row.moved_to), row.zone) if row.moved_to else original
        if (original, starts) != (row.original, row.starts):
            occurrence = _read(row)
            length = timedelta(minutes=row.minutes)
            await amend(
                connection,
                replace(
                    occurrence,
                    original=original,
                    starts=starts,
                    ends=starts + length,
                    changed_at=now,
                    revision=occurrence.revision + 1,
                    sequence=occurrence.sequence + 1,
                ),
            )
            changed.append(row.key)
    return changed


async def reset_answers(connection: AsyncConnection, key: str) -> None:
    await connection.execute(delete(answers).where(answers.c.occurrence == key))
