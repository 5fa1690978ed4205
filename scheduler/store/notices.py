"""Things to tell, and when they are due in each zone."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, and_, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.policy import Kind
from scheduler.store.database import insert_into
from scheduler.store.schema import dues, notices, told


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something to tell. `starts` is the start it speaks of; `unwanted` why the plan no longer wants it.

    A service mail is for one `member`, and goes to their own address unless another `address` is named.
    """

    id: int
    identity: str
    kind: Kind
    policy: str | None
    occurrence: str | None
    starts: datetime | None
    before_revision: int | None
    subject: str
    body: str
    audience: str
    member: int | None
    address: str | None
    at: str | None
    created_at: datetime
    expires: datetime
    frozen: bool
    ready: bool
    stopped_at: datetime | None
    unwanted: str | None
    closed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Due:
    zone: str
    due: datetime
    fanned_at: datetime | None


_COLUMNS = [notices.c[name] for name in Notice.__dataclass_fields__]
OPEN: ColumnElement[bool] = notices.c.closed_at.is_(None)


def open_notice_ids(*conditions: ColumnElement[bool]) -> Select[tuple[int]]:
    """Return a query for the numbers of open notices that meet all `conditions`."""
    return select(notices.c.id).where(OPEN, *conditions)


def _read(row: Row[Any]) -> Notice:
    values = dict(row._mapping)
    return Notice(**{**values, "kind": Kind(values["kind"])})


async def open_notices(connection: AsyncConnection) -> list[Notice]:
    """The notices with which something may still be to do."""
    rows = await connection.execute(select(*_COLUMNS).where(OPEN).order_by(notices.c.id))
    return [_read(row) for row in rows]


async def every(connection: AsyncConnection) -> list[Notice]:
    """All but the service mails."""
    query = select(*_COLUMNS).where(notices.c.member.is_(None)).order_by(notices.c.id)
    return [_read(row) for row in await connection.execute(query)]


async def count_to(
    connection: AsyncConnection, member: int, kinds: Collection[Kind], *, since: datetime
) -> int:
    """How many service mails of these kinds were made for a member since an instant."""
    query = select(func.count()).where(
        notices.c.member == member, notices.c.kind.in_(kinds), notices.c.created_at > since
    )
    return int(await connection.scalar(query) or 0)


async def last_address(connection: AsyncConnection, member: int, kind: Kind) -> str | None:
    """Where the last service mail of a kind for a member went, if not to their own address."""
    query = select(notices.c.address).where(notices.c.member == member, notices.c.kind == kind)
    found: str | None = await connection.scalar(query.order_by(notices.c.id.desc()).limit(1))
    return found


async def by_id(connection: AsyncConnection, number: int) -> Notice | None:
    row = (await connection.execute(select(*_COLUMNS).where(notices.c.id == number))).first()
    return _read(row) if row else None


async def by_identity(connection: AsyncConnection, identity: str) -> Notice | None:
    row = (await connection.execute(select(*_COLUMNS).where(notices.c.identity == identity))).first()
    return _read(row) if row else None


async def about(connection: AsyncConnection, occurrence: str) -> list[Notice]:
    rows = await connection.execute(
        select(*_COLUMNS).where(notices.c.occurrence == occurrence).order_by(notices.c.id)
    )
    return [_read(row) for row in rows]


async def add(connection: AsyncConnection, **values: Any) -> int:
    """Insert a notice and return its number. Its identity is unique: a second one raises IntegrityError."""
    return int(await connection.scalar(insert(notices).values(**values).returning(notices.c.id)) or 0)


async def change(connection: AsyncConnection, number: int, **values: Any) -> None:
    await connection.execute(update(notices).where(notices.c.id == number).values(**values))


async def dues_of(connection: AsyncConnection, number: int) -> dict[str, Due]:
    rows = await connection.execute(select(dues).where(dues.c.notice == number))
    return {row.zone: Due(row.zone, row.due, row.fanned_at) for row in rows}


async def dues_of_open(connection: AsyncConnection) -> dict[int, dict[str, Due]]:
    """The dues of all open notices, by notice and zone."""
    found: dict[int, dict[str, Due]] = {}
    rows = await connection.execute(select(dues).join(notices, notices.c.id == dues.c.notice).where(OPEN))
    for row in rows:
        found.setdefault(row.notice, {})[row.zone] = Due(row.zone, row.due, row.fanned_at)
    return found


async def due_spans(
    connection: AsyncConnection, number: int | None = None
) -> dict[int, tuple[datetime, datetime]]:
    """The first and the last due instant of each notice that has one, or of one notice."""
    query = select(dues.c.notice, func.min(dues.c.due), func.max(dues.c.due)).group_by(dues.c.notice)
    if number is not None:
        query = query.where(dues.c.notice == number)
    return {row[0]: (row[1], row[2]) for row in await connection.execute(query)}


async def set_dues(connection: AsyncConnection, number: int, wanted: Mapping[str, datetime]) -> None:
    """Keep the due instants of a notice; those that are kept already are re-timed."""
    kept = await dues_of(connection, number)
    for zone, due in wanted.items():
        key = and_(dues.c.notice == number, dues.c.zone == zone)
        if zone not in kept:
            await connection.execute(insert(dues).values(notice=number, zone=zone, due=due))
        elif kept[zone].due != due:
            await connection.execute(update(dues).where(key).values(due=due))


async def drop_dues(connection: AsyncConnection, number: int, zones: list[str]) -> None:
    await connection.execute(delete(dues).where(dues.c.notice == number, dues.c.zone.in_(zones)))


async def mark_fanned(connection: AsyncConnection, number: int, zone: str, now: datetime) -> None:
    await connection.execute(
        update(dues).where(dues.c.notice == number, dues.c.zone == zone).values(fanned_at=now)
    )


async def fan_out_again(connection: AsyncConnection, number: int) -> None:
    """Let the next tick look at every member for a notice, as it did when the notice first came due."""
    await connection.execute(update(dues).where(dues.c.notice == number).values(fanned_at=None))


async def next_due(connection: AsyncConnection, after: datetime) -> datetime | None:
    """The earliest due instant of an open notice after `after`."""
    query = select(func.min(dues.c.due)).join(notices, notices.c.id == dues.c.notice)
    found: datetime | None = await connection.scalar(query.where(OPEN, dues.c.due > after))
    return found


async def note_local_start(
    connection: AsyncConnection, occurrence: str, zone: str, *, starts: datetime, local_start: str
) -> None:
    """Note which local hour the mails to a zone showed."""
    values = {"occurrence": occurrence, "zone": zone, "starts": starts, "local_start": local_start}
    row = insert_into(connection, told).values(values)
    # Zone data may go back to what it was: then that hour is right again.
    await connection.execute(
        row.on_conflict_do_update(
            index_elements=["occurrence", "zone", "starts", "local_start"], set_={"until": None}
        )
    )


async def told_local_starts(connection: AsyncConnection, occurrence: str) -> list[tuple[str, datetime, str]]:
    """(zone, instant, local start) as mails about an occurrence have shown them, where no new zone data was found to
    have changed them."""
    rows = await connection.execute(
        select(told).where(told.c.occurrence == occurrence, told.c.until.is_(None))
    )
    return [(row.zone, row.starts, row.local_start) for row in rows]
