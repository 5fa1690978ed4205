"""Requests to join: what somebody said of themselves, and what became of it."""

from collections.abc import Sequence
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
    """One request. `state` is unconfirmed, waiting, taken, accepted or declined; `taken_by` the convenor's member
    number, where it is known; `message` what a convenor wrote to the person."""

    id: int
    member: int
    address: str
    member_status: str
    name: str
    country: str
    zone: str
    locale: str
    words: str
    state: str
    asked_at: datetime
    confirmed_at: datetime | None
    taken_by: int | None
    taken_at: datetime | None
    answered_at: datetime | None
    message: str


def _query() -> Select[Any]:
    own = [name for name in Request.__dataclass_fields__ if name not in ("address", "member_status")]
    return select(
        *(requests.c[name] for name in own), members.c.address, members.c.status.label("member_status")
    ).join(members, members.c.id == requests.c.member)


def _read(row: Row[Any]) -> Request:
    return Request(**row._mapping)


async def by_id(connection: AsyncConnection, number: int) -> Request | None:
    row = (await connection.execute(_query().where(requests.c.id == number))).first()
    return _read(row) if row else None


async def latest_of(connection: AsyncConnection, member: int) -> Request | None:
    """A member's last request."""
    query = _query().where(requests.c.member == member).order_by(requests.c.id.desc()).limit(1)
    row = (await connection.execute(query)).first()
    return _read(row) if row else None


async def waiting(connection: AsyncConnection) -> list[Request]:
    """The confirmed requests without an answer, the oldest first."""
    query = _query().where(requests.c.state.in_(OPEN)).order_by(requests.c.confirmed_at, requests.c.id)
    return [_read(row) for row in await connection.execute(query)]


async def every(connection: AsyncConnection) -> list[Request]:
    """All confirmed requests, the answered ones too."""
    query = _query().where(requests.c.state != "unconfirmed").order_by(requests.c.confirmed_at, requests.c.id)
    return [_read(row) for row in await connection.execute(query)]


async def add(connection: AsyncConnection, member: int, now: datetime, **said: str) -> None:
    """Keep what somebody said, in place of what they said before and never confirmed."""
    await connection.execute(
        delete(requests).where(requests.c.member == member, requests.c.state == "unconfirmed")
    )
    await connection.execute(
        insert(requests).values(member=member, asked_at=now, state="unconfirmed", **said)
    )


async def confirm(connection: AsyncConnection, number: int, now: datetime) -> bool:
    """Let an unconfirmed request wait for an answer; whether it was unconfirmed."""
    return await _move(
        connection, number, requests.c.state == "unconfirmed", state="waiting", confirmed_at=now
    )


async def take(
    connection: AsyncConnection, number: int, *, by: int | None, now: datetime, free_since: datetime
) -> bool:
    """Let one convenor see to a request that waits, or that was taken before `free_since`; whether it was to be had."""
    free = or_(
        requests.c.state == "waiting", and_(requests.c.state == "taken", requests.c.taken_at < free_since)
    )
    return await _move(connection, number, free, state="taken", taken_by=by, taken_at=now)


async def answer(
    connection: AsyncConnection, number: int, *, state: str, by: int | None, now: datetime, message: str
) -> bool:
    """Accept or decline an open request, unless another convenor took it; whether it was still to be answered."""
    mine = [or_(requests.c.taken_by.is_(None), requests.c.taken_by == by)] if by is not None else []
    return await _move(
        connection,
        number,
        and_(requests.c.state.in_(OPEN), *mine),
        state=state,
        answered_at=now,
        message=message,
        taken_by=func.coalesce(by, requests.c.taken_by),
    )


async def _move(
    connection: AsyncConnection, number: int, condition: ColumnElement[bool], **values: Any
) -> bool:
    done = await connection.execute(
        update(requests).where(requests.c.id == number, condition).values(**values)
    )
    return done.rowcount == 1


async def forget(
    connection: AsyncConnection, *, unconfirmed_before: datetime, declined_before: datetime
) -> Sequence[tuple[str, str, str]]:
    """Delete requests that nobody confirmed or that were declined long ago, and with them the people who are on the
    list for nothing else; returns those people's address, its key and name."""
    over = or_(
        and_(requests.c.state == "unconfirmed", requests.c.asked_at < unconfirmed_before),
        and_(requests.c.state == "declined", requests.c.answered_at < declined_before),
    )
    gone = delete(requests).where(over)
    if not (await connection.execute(gone)).rowcount:
        return []
    idle = and_(members.c.status == "pending", ~exists().where(requests.c.member == members.c.id))
    found = (
        await connection.execute(select(members.c.address, members.c.address_key, members.c.name).where(idle))
    ).all()
    await connection.execute(delete(members).where(idle))
    await service_state.note_change(connection)
    return [(row[0], row[1], row[2]) for row in found]
