"""Find the members whose last mail showed a local time that new zone data has since changed."""

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
    """How many `members`, who now live in `lives_in`, were told the local start `told` of `zone`; `right` is the
    local start there according to the current zone data."""

    zone: str
    told: str
    right: str
    lives_in: str
    members: int


async def mark_outdated(
    connection: AsyncConnection, occurrence: Occurrence, former_start: datetime, now: datetime
) -> int:
    """Mark the local starts that mails showed when `occurrence` started at `former_start` and that are wrong according
    to the current zone data; return how many."""
    rows = await connection.execute(
        select(told.c.zone, told.c.local_start).where(
            told.c.occurrence == occurrence.key, told.c.starts == former_start, told.c.until.is_(None)
        )
    )
    outdated = [
        row
        for row in rows
        if is_known_zone(row.zone) and row.local_start != local_minute(occurrence.starts, row.zone)
    ]
    for zone, local_start in outdated:
        await connection.execute(
            update(told)
            .where(
                told.c.occurrence == occurrence.key,
                told.c.zone == zone,
                told.c.starts == former_start,
                told.c.local_start == local_start,
            )
            .values(until=now)
        )
    return len(outdated)


async def is_outdated(connection: AsyncConnection, occurrence: str) -> bool:
    """Return whether new zone data has changed any local start that mails showed for an occurrence. Cheap."""
    query = select(told.c.zone).where(told.c.occurrence == occurrence, told.c.until.is_not(None)).limit(1)
    return await connection.scalar(query) is not None


async def outdated_occurrences(connection: AsyncConnection) -> list[str]:
    """Return the keys of the occurrences for which new zone data has changed a local start that mails showed."""
    query = select(told.c.occurrence).where(told.c.until.is_not(None)).distinct()
    return sorted(await connection.scalars(query))


def _last_outdated(occurrence: str, *columns: Any, except_notice: int | None = None) -> Select[Any]:
    """Select from each member's last mail about an occurrence (not counting `except_notice`), if it showed a local
    start that new zone data has changed since."""
    later, later_notice = deliveries.alias("later"), notices.alias("later_notice")
    earlier_change = told.alias("earlier_change")
    arrived, arrived_later = (
        and_(
            or_(table.c.state == "sent", table.c.uncertain),
            table.c.notice != (except_notice or 0),
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
                later_notice.c.id == later.c.notice,
                later_notice.c.occurrence == occurrence,
                arrived_later,
            ),
            # If the local start changed twice, the first change after the mail counts.
            ~exists().where(
                earlier_change.c.occurrence == told.c.occurrence,
                earlier_change.c.zone == told.c.zone,
                earlier_change.c.starts == told.c.starts,
                earlier_change.c.until > deliveries.c.tried_at,
                earlier_change.c.until < told.c.until,
            ),
        )
    )


async def wrongly_told(connection: AsyncConnection, occurrence: Occurrence) -> list[WronglyTold]:
    """Count by zone the members whose last mail showed an outdated local start, and who can be mailed an update."""
    if not await is_outdated(connection, occurrence.key):
        return []
    columns = (deliveries.c.zone, told.c.local_start, members.c.zone)
    query = (
        _last_outdated(occurrence.key, *columns, func.count(members.c.id.distinct()))
        .where(
            members.c.status == "active",
            members.c.suppressed_at.is_(None),
            ~is_muted(members.c.id, Kind.UPDATE, None),
        )
        .group_by(*columns)
        .order_by(*columns)
    )
    return [
        WronglyTold(zone=zone, told=local_start, right=right, lives_in=home, members=count)
        for zone, local_start, home, count in await connection.execute(query)
        if is_known_zone(zone) and (right := local_minute(occurrence.starts, zone)) != local_start
    ]


async def outdated_local_starts(
    connection: AsyncConnection, occurrence: Occurrence, people: Collection[int], *, except_notice: int
) -> dict[int, tuple[str, str]]:
    """Return the zone and local start that the last mail to each of `people` showed, by member number, if new zone data
    has changed it. Mails of `except_notice` do not count."""
    query = _last_outdated(
        occurrence.key,
        deliveries.c.member,
        deliveries.c.zone,
        told.c.local_start,
        except_notice=except_notice,
    ).where(deliveries.c.member.in_(people))
    return {
        member: (zone, local_start)
        for member, zone, local_start in await connection.execute(query)
        if is_known_zone(zone) and local_minute(occurrence.starts, zone) != local_start
    }


async def last_local_starts(connection: AsyncConnection, occurrence: str, starts: datetime) -> dict[str, str]:
    """Return the local start that mails to each zone last showed while an occurrence started at `starts`."""
    rows = await connection.execute(
        select(told.c.zone, told.c.local_start)
        .where(told.c.occurrence == occurrence, told.c.starts == starts)
        .order_by(told.c.until.is_(None), told.c.until)
    )
    return {row.zone: row.local_start for row in rows}
