"""Notices, when each is due in each zone, and the local times that mails showed."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.policy import TO_CONVENORS, Kind, Wanted
from scheduler.store.database import insert_into
from scheduler.store.schema import deliveries, dues, notices, told


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A notice as stored. `starts` is the start of its occurrence that it announces; `unwanted` says why the plan no
    longer includes it, and `held_at` since when a convenor holds it.

    A service mail is for one `member`, and goes to their own address unless it has an `address`. So is what a convenor
    sends `again`: that is the number of the notice that they were sent before. An ad-hoc notice may have placeholders
    for values of the meeting that it `mentions`.
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
    held_at: datetime | None = None
    details: Mapping[str, Any] | None = None
    mentions: str | None = None
    again: int | None = None


@dataclass(frozen=True, slots=True)
class Due:
    zone: str
    due: datetime
    fanned_at: datetime | None


_COLUMNS = [notices.c[name] for name in Notice.__dataclass_fields__]
TEST_AUDIENCE = "test to "
"""How the audience of a test begins; the address follows."""

OPEN: ColumnElement[bool] = notices.c.closed_at.is_(None)


def open_notice_ids(*conditions: ColumnElement[bool]) -> Select[tuple[int]]:
    """Return a query for the numbers of open notices that meet all `conditions`."""
    return select(notices.c.id).where(OPEN, *conditions)


# Each tick runs these several times, and building a query takes longer than running it.
_open_notices = select(*_COLUMNS).where(OPEN).order_by(notices.c.id)
_dues_of_open = select(dues).join(notices, notices.c.id == dues.c.notice).where(OPEN)
_by_identity = select(*_COLUMNS).where(notices.c.identity == bindparam("identity"))
_next_due = (
    select(func.min(dues.c.due))
    .join(notices, notices.c.id == dues.c.notice)
    .where(OPEN, dues.c.due > bindparam("after"))
)


def _read(row: Row[Any]) -> Notice:
    values = dict(row._mapping)
    return Notice(**{**values, "kind": Kind(values["kind"])})


async def open_notices(connection: AsyncConnection) -> list[Notice]:
    """Return the notices that are not closed: something may still have to be done for them."""
    return [_read(row) for row in await connection.execute(_open_notices)]


async def on_hold(connection: AsyncConnection, now: datetime) -> list[Notice]:
    """Return the notices that convenors hold and that may still be of use, the first to expire first."""
    query = select(*_COLUMNS).where(
        OPEN, notices.c.held_at.is_not(None), notices.c.unwanted.is_(None), notices.c.expires > now
    )
    return [_read(row) for row in await connection.execute(query.order_by(notices.c.expires, notices.c.id))]


async def every(connection: AsyncConnection) -> list[Notice]:
    """Return all notices except service mails."""
    query = select(*_COLUMNS).where(notices.c.member.is_(None)).order_by(notices.c.id)
    return [_read(row) for row in await connection.execute(query)]


async def latest(connection: AsyncConnection, *, most: int) -> list[Notice]:
    """Return the latest notices to members except service mails, the newest first."""
    query = select(*_COLUMNS).where(notices.c.member.is_(None), notices.c.kind.not_in(TO_CONVENORS))
    query = query.order_by(notices.c.id.desc()).limit(most)
    return [_read(row) for row in await connection.execute(query)]


async def latest_with_words(
    connection: AsyncConnection, subject: str, body: str, *, since: datetime, other_than: str
) -> Notice | None:
    """Return the last ad-hoc notice with this subject and body that was created after `since` and went or goes to
    members; not the one with the identity `other_than`, nor a test."""
    is_for_anybody = exists().where(
        deliveries.c.notice == notices.c.id, deliveries.c.state.in_(("queued", "sending", "sent"))
    )
    query = select(*_COLUMNS).where(
        notices.c.kind == Kind.NOTICE,
        notices.c.subject == subject,
        notices.c.body == body,
        notices.c.created_at > since,
        notices.c.ready,
        notices.c.identity != other_than,
        notices.c.audience.not_like(f"{TEST_AUDIENCE}%"),
        is_for_anybody,
    )
    row = (await connection.execute(query.order_by(notices.c.id.desc()).limit(1))).first()
    return _read(row) if row else None


async def count_to(
    connection: AsyncConnection, member: int, kinds: Collection[Kind], *, since: datetime
) -> int:
    """Count the service mails of these kinds that were created for a member after `since`."""
    query = select(func.count()).where(
        notices.c.member == member, notices.c.kind.in_(kinds), notices.c.created_at > since
    )
    return int(await connection.scalar(query) or 0)


async def count_repeats(connection: AsyncConnection, number: int, member: int) -> int:
    """Count how often a notice was sent to a member again."""
    # Only with the first condition is the index of what was sent again used.
    query = select(func.count()).where(
        notices.c.again.is_not(None), notices.c.again == number, notices.c.member == member
    )
    return int(await connection.scalar(query) or 0)


async def last_address(connection: AsyncConnection, member: int, kind: Kind) -> str | None:
    """Return where a member's last service mail of a kind went; None if to their own address, or if there is none."""
    query = select(notices.c.address).where(notices.c.member == member, notices.c.kind == kind)
    address: str | None = await connection.scalar(query.order_by(notices.c.id.desc()).limit(1))
    return address


async def by_id(connection: AsyncConnection, number: int) -> Notice | None:
    row = (await connection.execute(select(*_COLUMNS).where(notices.c.id == number))).first()
    return _read(row) if row else None


async def by_identity(connection: AsyncConnection, identity: str) -> Notice | None:
    row = (await connection.execute(_by_identity, {"identity": identity})).first()
    return _read(row) if row else None


async def about(connection: AsyncConnection, occurrence: str) -> list[Notice]:
    rows = await connection.execute(
        select(*_COLUMNS).where(notices.c.occurrence == occurrence).order_by(notices.c.id)
    )
    return [_read(row) for row in rows]


async def add(connection: AsyncConnection, **values: Any) -> int:
    """Insert a notice and return its number. Raises IntegrityError if its identity exists already."""
    return int(await connection.scalar(insert(notices).values(**values).returning(notices.c.id)) or 0)


async def add_wanted(
    connection: AsyncConnection,
    want: Wanted,
    now: datetime,
    *,
    held_at: datetime | None = None,
    stopped_at: datetime | None = None,
) -> int:
    """Insert a notice that a policy wants, with its dues, and return its number.

    Raises IntegrityError if its identity exists already.
    """
    number = await add(
        connection,
        identity=want.identity,
        kind=want.kind,
        policy=want.policy,
        occurrence=want.occurrence,
        starts=want.starts,
        expires=want.expires,
        created_at=now,
        ready=True,
        held_at=held_at,
        stopped_at=stopped_at,
    )
    await set_dues(connection, number, want.dues)
    return number


async def make_ready(connection: AsyncConnection, number: int) -> bool:
    """Let a notice be sent; return whether it was not ready before."""
    ready = update(notices).where(notices.c.id == number, ~notices.c.ready).values(ready=True)
    return bool((await connection.execute(ready)).rowcount)


async def change(connection: AsyncConnection, number: int, **values: Any) -> None:
    await connection.execute(update(notices).where(notices.c.id == number).values(**values))


async def dues_of(connection: AsyncConnection, number: int) -> dict[str, Due]:
    rows = await connection.execute(select(dues).where(dues.c.notice == number))
    return {row.zone: Due(row.zone, row.due, row.fanned_at) for row in rows}


async def dues_of_open(connection: AsyncConnection) -> dict[int, dict[str, Due]]:
    """Return the dues of all open notices, by notice and zone."""
    by_notice: dict[int, dict[str, Due]] = {}
    for row in await connection.execute(_dues_of_open):
        by_notice.setdefault(row.notice, {})[row.zone] = Due(row.zone, row.due, row.fanned_at)
    return by_notice


async def due_spans(
    connection: AsyncConnection, number: int | None = None
) -> dict[int, tuple[datetime, datetime]]:
    """Return the first and last due instant of each notice that has one, or only of the notice `number`."""
    query = select(dues.c.notice, func.min(dues.c.due), func.max(dues.c.due)).group_by(dues.c.notice)
    if number is not None:
        query = query.where(dues.c.notice == number)
    return {row[0]: (row[1], row[2]) for row in await connection.execute(query)}


async def set_dues(connection: AsyncConnection, number: int, wanted: Mapping[str, datetime]) -> None:
    """Insert or change the due instants of a notice, by zone; zones that are not in `wanted` stay as they are."""
    existing = await dues_of(connection, number)
    for zone, due in wanted.items():
        key = and_(dues.c.notice == number, dues.c.zone == zone)
        if zone not in existing:
            await connection.execute(insert(dues).values(notice=number, zone=zone, due=due))
        elif existing[zone].due != due:
            await connection.execute(update(dues).where(key).values(due=due))


async def drop_dues(connection: AsyncConnection, number: int, zones: list[str]) -> None:
    await connection.execute(delete(dues).where(dues.c.notice == number, dues.c.zone.in_(zones)))


async def mark_fanned(connection: AsyncConnection, number: int, zone: str, now: datetime) -> None:
    await connection.execute(
        update(dues).where(dues.c.notice == number, dues.c.zone == zone).values(fanned_at=now)
    )


async def fan_out_again(connection: AsyncConnection, number: int) -> None:
    """Make the next tick consider every member for a notice again, as when it first came due."""
    await connection.execute(update(dues).where(dues.c.notice == number).values(fanned_at=None))


async def next_due(connection: AsyncConnection, after: datetime) -> datetime | None:
    """Return the earliest due instant of an open notice after `after`."""
    due: datetime | None = await connection.scalar(_next_due, {"after": after})
    return due


async def note_local_start(
    connection: AsyncConnection, occurrence: str, zone: str, *, starts: datetime, local_start: str
) -> None:
    """Record the local start that mails to a zone showed for an occurrence that starts at `starts`."""
    values = {"occurrence": occurrence, "zone": zone, "starts": starts, "local_start": local_start}
    row = insert_into(connection, told).values(values)
    # New zone data may undo an earlier change: then this local start is right again.
    await connection.execute(
        row.on_conflict_do_update(
            index_elements=["occurrence", "zone", "starts", "local_start"], set_={"until": None}
        )
    )


async def told_local_starts(connection: AsyncConnection, occurrence: str) -> list[tuple[str, datetime, str]]:
    """Return (zone, instant, local start) as mails about an occurrence showed them, without those that are known to be
    outdated by new zone data."""
    rows = await connection.execute(
        select(told).where(told.c.occurrence == occurrence, told.c.until.is_(None))
    )
    return [(row.zone, row.starts, row.local_start) for row in rows]
