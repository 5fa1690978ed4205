"""Requests to join: what people wrote about themselves, and the answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, and_, delete, exists, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.store import service_state
from scheduler.store.schema import members, requests

OPEN = ("waiting", "taken")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request to join. `state` is unconfirmed, waiting, taken, accepted or declined; `taken_by` is the convenor's
    member number, if known; `message` is what a convenor wrote to the person. `follows` is the choice of series by
    slug, or None if they were not asked."""

    id: int
    member: int
    address: str
    member_status: str
    name: str
    country: str
    zone: str
    locale: str
    words: str
    follows: Mapping[str, bool] | None
    state: str
    asked_at: datetime
    confirmed_at: datetime | None
    taken_by: int | None
    taken_at: datetime | None
    answered_at: datetime | None
    message: str


def _query() -> Select[Any]:
    columns = [name for name in Request.__dataclass_fields__ if name not in ("address", "member_status")]
    return select(
        *(requests.c[name] for name in columns), members.c.address, members.c.status.label("member_status")
    ).join(members, members.c.id == requests.c.member)


def _read(row: Row[Any]) -> Request:
    return Request(**row._mapping)


async def by_id(connection: AsyncConnection, number: int) -> Request | None:
    row = (await connection.execute(_query().where(requests.c.id == number))).first()
    return _read(row) if row else None


async def latest_of(connection: AsyncConnection, member: int) -> Request | None:
    """Return a member's last request."""
    query = _query().where(requests.c.member == member).order_by(requests.c.id.desc()).limit(1)
    row = (await connection.execute(query)).first()
    return _read(row) if row else None


async def waiting(connection: AsyncConnection) -> list[Request]:
    """Return the confirmed requests without an answer, the oldest first."""
    query = _query().where(requests.c.state.in_(OPEN)).order_by(requests.c.confirmed_at, requests.c.id)
    return [_read(row) for row in await connection.execute(query)]


async def every(connection: AsyncConnection) -> list[Request]:
    """Return all confirmed requests, including the answered ones, the oldest first."""
    query = _query().where(requests.c.state != "unconfirmed").order_by(requests.c.confirmed_at, requests.c.id)
    return [_read(row) for row in await connection.execute(query)]


async def add(connection: AsyncConnection, member: int, now: datetime, **fields: Any) -> None:
    """Insert a request; it replaces the member's earlier one if that was never confirmed."""
    await connection.execute(
        delete(requests).where(requests.c.member == member, requests.c.state == "unconfirmed")
    )
    await connection.execute(
        insert(requests).values(member=member, asked_at=now, state="unconfirmed", **fields)
    )


async def confirm(connection: AsyncConnection, number: int, now: datetime) -> bool:
    """Confirm a request; return False if it was not unconfirmed."""
    return await _update_if(
        connection, number, requests.c.state == "unconfirmed", state="waiting", confirmed_at=now
    )


async def take(
    connection: AsyncConnection, number: int, *, by: int | None, now: datetime, free_since: datetime
) -> bool:
    """Assign a request to a convenor if it waits, or was taken before `free_since`; return whether it was free."""
    free = or_(
        requests.c.state == "waiting", and_(requests.c.state == "taken", requests.c.taken_at < free_since)
    )
    return await _update_if(connection, number, free, state="taken", taken_by=by, taken_at=now)


async def answer(
    connection: AsyncConnection,
    number: int,
    *,
    state: str,
    by: int | None,
    now: datetime,
    message: str,
    free_since: datetime,
) -> bool:
    """Accept or decline an open request; return False if it is no longer open or another convenor has taken it since
    `free_since`."""
    is_free = or_(requests.c.taken_by.is_(None), requests.c.taken_by == by, requests.c.taken_at < free_since)
    is_own = [is_free] if by is not None else []
    return await _update_if(
        connection,
        number,
        and_(requests.c.state.in_(OPEN), *is_own),
        state=state,
        answered_at=now,
        message=message,
        taken_by=func.coalesce(by, requests.c.taken_by),
    )


async def _update_if(
    connection: AsyncConnection, number: int, condition: ColumnElement[bool], **values: Any
) -> bool:
    done = await connection.execute(
        update(requests).where(requests.c.id == number, condition).values(**values)
    )
    return done.rowcount == 1


async def forget(
    connection: AsyncConnection, *, unconfirmed_before: datetime, declined_before: datetime
) -> Sequence[tuple[str, str, str]]:
    """Delete requests that were never confirmed or were declined long ago, and the pending members left without any.

    Return the address, address key and name of each member deleted.
    """
    outdated = or_(
        and_(requests.c.state == "unconfirmed", requests.c.asked_at < unconfirmed_before),
        and_(requests.c.state == "declined", requests.c.answered_at < declined_before),
    )
    if not (await connection.execute(delete(requests).where(outdated))).rowcount:
        return []
    without_request = and_(members.c.status == "pending", ~exists().where(requests.c.member == members.c.id))
    people = select(members.c.address, members.c.address_key, members.c.name).where(without_request)
    rows = (await connection.execute(people)).all()
    await connection.execute(delete(members).where(without_request))
    await service_state.note_change(connection)
    return [(row[0], row[1], row[2]) for row in rows]
