"""Who was told an hour that new zone data has since changed."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, and_, exists, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.localtime import local_minute
from scheduler.domain.occurrence import Occurrence
from scheduler.domain.policy import Kind
from scheduler.domain.zone import is_known_zone
from scheduler.store.members import is_muted
from scheduler.store.schema import deliveries, members, notices, revisions, told


@dataclass(frozen=True, slots=True, kw_only=True)
class WronglyTold:
    """How many members who live in `lives_in` were told the hour `told` of `zone`, which is now `right` there."""

    zone: str
    told: str
    right: str
    lives_in: str
    members: int


async def outdate(connection: AsyncConnection, one: Occurrence, former: datetime, now: datetime) -> int:
    """Mark the hours that were told of an occurrence, when it started at `former`, and that are others by the zone
    data now in use; returns how many."""
    rows = await connection.execute(
        select(told.c.zone, told.c.local_start).where(
            told.c.occurrence == one.key, told.c.starts == former, told.c.until.is_(None)
        )
    )
    stale = [
        row
        for row in rows
        if is_known_zone(row.zone) and row.local_start != local_minute(one.starts, row.zone)
    ]
    for zone, local in stale:
        await connection.execute(
            update(told)
            .where(
                told.c.occurrence == one.key,
                told.c.zone == zone,
                told.c.starts == former,
                told.c.local_start == local,
            )
            .values(until=now)
        )
    return len(stale)


async def is_outdated(connection: AsyncConnection, occurrence: str) -> bool:
    """Whether any hour that was told of an occurrence has been changed by new zone data. Reads next to nothing."""
    query = select(told.c.zone).where(told.c.occurrence == occurrence, told.c.until.is_not(None)).limit(1)
    return await connection.scalar(query) is not None


async def outdated_occurrences(connection: AsyncConnection) -> list[str]:
    """The occurrences of which an hour that was told has been changed by new zone data."""
    query = select(told.c.occurrence).where(told.c.until.is_not(None)).distinct()
    return sorted(await connection.scalars(query))


def _last_told(occurrence: str, *columns: Any, but: int | None = None) -> Select[Any]:
    """Of each member the last mail about an occurrence (but for the notice `but`), where it showed an hour that new
    zone data has changed since."""
    later, its, before = deliveries.alias("later"), notices.alias("its"), told.alias("before")
    arrived, arrived_later = (
        and_(
            or_(table.c.state == "sent", table.c.uncertain),
            table.c.notice != (but or 0),
        )
        for table in (deliveries, later)
    )
    return (
        select(*columns)
        .select_from(deliveries)
        .join(notices, notices.c.id == deliveries.c.notice)
        .join(members, members.c.id == deliveries.c.member)
        .join(
            revisions,
            and_(
                revisions.c.occurrence == notices.c.occurrence, revisions.c.revision == deliveries.c.revision
            ),
        )
        .join(
            told,
            and_(
                told.c.occurrence == notices.c.occurrence,
                told.c.zone == deliveries.c.zone,
                told.c.starts == revisions.c.starts,
                told.c.until > deliveries.c.tried_at,
            ),
        )
        .where(
            notices.c.occurrence == occurrence,
            arrived,
            ~exists().where(
                later.c.member == deliveries.c.member,
                later.c.tried_at > deliveries.c.tried_at,
                its.c.id == later.c.notice,
                its.c.occurrence == occurrence,
                arrived_later,
            ),
            # Where the hour was changed twice, it is the first change after the mail that counts.
            ~exists().where(
                before.c.occurrence == told.c.occurrence,
                before.c.zone == told.c.zone,
                before.c.starts == told.c.starts,
                before.c.until > deliveries.c.tried_at,
                before.c.until < told.c.until,
            ),
        )
    )


async def wrongly_told(connection: AsyncConnection, one: Occurrence) -> list[WronglyTold]:
    """Whom new zone data proves to have been told a wrong hour, by zone; active members who can be told better."""
    if not await is_outdated(connection, one.key):
        return []
    columns = (deliveries.c.zone, told.c.local_start, members.c.zone)
    query = (
        _last_told(one.key, *columns, func.count(members.c.id.distinct()))
        .where(
            members.c.status == "active",
            members.c.suppressed_at.is_(None),
            ~is_muted(members.c.id, Kind.UPDATE, None),
        )
        .group_by(*columns)
        .order_by(*columns)
    )
    return [
        WronglyTold(zone=zone, told=local, right=right, lives_in=home, members=count)
        for zone, local, home, count in await connection.execute(query)
        if is_known_zone(zone) and (right := local_minute(one.starts, zone)) != local
    ]


async def told_before(
    connection: AsyncConnection, one: Occurrence, who: Collection[int], *, but: int
) -> dict[int, tuple[str, str]]:
    """The zone and the local hour that members `who` were last told of an occurrence by other notices than `but`,
    where new zone data has changed it."""
    query = _last_told(one.key, deliveries.c.member, deliveries.c.zone, told.c.local_start, but=but)
    return {
        member: (zone, local)
        for member, zone, local in await connection.execute(query.where(deliveries.c.member.in_(who)))
        if is_known_zone(zone) and local_minute(one.starts, zone) != local
    }


async def hours_told(connection: AsyncConnection, occurrence: str, starts: datetime) -> dict[str, str]:
    """The local hour that the mails to each zone last showed while an occurrence started at `starts`."""
    rows = await connection.execute(
        select(told.c.zone, told.c.local_start)
        .where(told.c.occurrence == occurrence, told.c.starts == starts)
        .order_by(told.c.until.is_(None), told.c.until)
    )
    return {row.zone: row.local_start for row in rows}
