"""Counts of members, answers and deliveries over time. They read whole indexes: count in the background."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    and_,
    case,
    exists,
    func,
    literal_column,
    or_,
    select,
    type_coerce,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.store.ledger.fan_out import LATE_ON_HOLD
from scheduler.store.ledger.reports import FAILURE_CAUSE, states_by_notice
from scheduler.store.schema import answers, deliveries, dues, members, notices, past_deliveries

_SLICE = timedelta(minutes=15)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NOT_SENT = ("failed", "expired", "withdrawn", "skipped")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of `count` deliveries of a kind of notice that was first due at `due`. `reason` is given by `causes`
    only; for a failure it is one of those that `reports.failures` counts."""

    kind: str
    due: datetime
    state: str
    count: int
    reason: str = ""


async def members_by_place(connection: AsyncConnection) -> dict[tuple[str, str], int]:
    """Count the active and paused members by country (empty if unknown) and zone."""
    key = (func.coalesce(members.c.country, ""), members.c.zone)
    on_list = members.c.status.in_(("active", "paused"))
    rows = await connection.execute(select(*key, func.count()).where(on_list).group_by(*key))
    return {(row[0], row[1]): row[2] for row in rows}


async def joined(connection: AsyncConnection, *, since: datetime) -> dict[datetime, int]:
    """Count the members who were added since then, by quarter of an hour, without those who have not confirmed."""
    confirmed = members.c.status != "pending"
    return await _by_slice(connection, members.c.created_at, since, confirmed)


async def left(connection: AsyncConnection, *, since: datetime) -> dict[datetime, int]:
    """Count the members who left since then, by quarter of an hour: their own feed last changed when they left."""
    moment = func.coalesce(members.c.feed_changed_at, members.c.created_at)
    return await _by_slice(connection, moment, since, members.c.status == "left")


async def _by_slice(
    connection: AsyncConnection, moment: ColumnElement[Any], since: datetime, condition: ColumnElement[bool]
) -> dict[datetime, int]:
    # Every zone's midnight is at the start of such a slice, so that any zone's months can be added up of them.
    number = _slice(moment)
    query = select(number, func.count()).where(condition, moment >= since).group_by(number)
    return {_start(row[0]): row[1] for row in await connection.execute(query)}


def _slice(moment: ColumnElement[Any]) -> ColumnElement[int]:
    """Return the number of the slice that an instant is in. It is grouped by, so it has no parameters."""
    length = literal_column(str(_SLICE // timedelta(microseconds=1)), BigInteger)
    return (type_coerce(moment, BigInteger) // length).label("slice")


def _start(number: int) -> datetime:
    return _EPOCH + number * _SLICE


async def answers_by_meeting(connection: AsyncConnection, keys: Collection[str]) -> dict[str, dict[str, int]]:
    """Count the answers to each of these occurrences among active and paused members."""
    key = (answers.c.occurrence, answers.c.answer)
    query = (
        select(*key, func.count())
        .join(members, members.c.id == answers.c.member)
        .where(answers.c.occurrence.in_(keys), members.c.status.in_(("active", "paused")))
        .group_by(*key)
    )
    counted: dict[str, dict[str, int]] = {}
    for occurrence, answer, count in await connection.execute(query):
        counted.setdefault(occurrence, {})[answer] = count
    return counted


async def unanswered(connection: AsyncConnection, keys: Collection[str]) -> dict[str, int]:
    """Count for each of these occurrences the members who were sent its invitation and have not answered."""
    invitations = (
        await connection.execute(
            select(notices.c.id, notices.c.occurrence).where(
                notices.c.kind == "invitation", notices.c.member.is_(None), notices.c.occurrence.in_(keys)
            )
        )
    ).all()
    states = await states_by_notice(connection) if invitations else {}
    silent = Counter({row.occurrence: states.get(row.id, {}).get("sent", 0) for row in invitations})
    # Begins with the answers, of which there are far fewer than deliveries.
    was_sent = or_(
        *(
            exists().where(
                table.c.notice == notices.c.id, table.c.member == answers.c.member, table.c.state == "sent"
            )
            for table in (deliveries, past_deliveries)
        )
    )
    query = (
        select(answers.c.occurrence, func.count())
        .join(notices, notices.c.occurrence == answers.c.occurrence)
        .where(notices.c.id.in_([row.id for row in invitations]), was_sent)
        .group_by(answers.c.occurrence)
    )
    silent.subtract({row[0]: row[1] for row in await connection.execute(query)})
    return {key: max(count, 0) for key, count in silent.items()}


async def outcomes(connection: AsyncConnection, *, since: datetime) -> list[Outcome]:
    """Count the deliveries of notices that were first due since then, by state. Notices that are over have stored
    counts, so that few deliveries are read."""
    due_by_notice = await _first_dues(connection, since)
    counted = [
        Outcome(kind, due, state, count)
        for notice, states in (await states_by_notice(connection)).items()
        if notice in due_by_notice
        for kind, due in (due_by_notice[notice],)
        for state, count in states.items()
    ]
    number = _slice(notices.c.created_at)
    for table in (deliveries, past_deliveries):
        key = (notices.c.kind, number, table.c.state)
        query = (
            select(*key, func.count())
            .join(notices, (notices.c.id == table.c.notice) & (notices.c.member == table.c.member))
            .where(notices.c.member.is_not(None), notices.c.created_at >= since)
            .group_by(*key)
        )
        rows = await connection.execute(query)
        counted += [Outcome(row[0], _start(row[1]), row[2], row[3]) for row in rows]
    return counted


async def causes(connection: AsyncConnection, *, since: datetime) -> list[Outcome]:
    """Count the deliveries, of notices first due since then, that were not sent and are not in the archive yet, by
    state and reason."""
    due_by_notice = await _first_dues(connection, since)
    reason = case(
        (deliveries.c.state == "failed", FAILURE_CAUSE),
        (
            and_(deliveries.c.reason.like("late%"), deliveries.c.reason != LATE_ON_HOLD),
            literal_column("'late'"),
        ),
        else_=deliveries.c.reason,
    ).label("cause")
    unarchived = select(notices.c.id).where(notices.c.archived_at.is_(None))
    key = (deliveries.c.notice, deliveries.c.state, reason)
    query = (
        select(*key, notices.c.kind, notices.c.created_at, func.count())
        .join(notices, notices.c.id == deliveries.c.notice)
        .where(deliveries.c.notice.in_(unarchived), deliveries.c.state.in_(_NOT_SENT))
        .group_by(*key, notices.c.kind, notices.c.created_at)
    )
    counted = []
    for notice, state, cause, kind, created_at, count in await connection.execute(query):
        _, due = due_by_notice.get(notice, (kind, created_at))
        if due >= since:
            counted.append(Outcome(kind, due, state, count, cause))
    return counted


async def _first_dues(connection: AsyncConnection, since: datetime) -> Mapping[int, tuple[str, datetime]]:
    """Return the kind and first due instant of each notice to several members that was first due since then."""
    due = func.coalesce(func.min(dues.c.due), notices.c.created_at)
    query = (
        select(notices.c.id, notices.c.kind, due)
        .outerjoin(dues, dues.c.notice == notices.c.id)
        .where(notices.c.member.is_(None), notices.c.expires >= since)
        .group_by(notices.c.id, notices.c.kind, notices.c.created_at)
        .having(due >= since)
    )
    rows: Iterable[Any] = await connection.execute(query)
    return {row[0]: (row[1], row[2]) for row in rows}
