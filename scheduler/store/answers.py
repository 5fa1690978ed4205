"""Members' answers to invitations."""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, exists, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.store import service_state
from scheduler.store.database import insert_into
from scheduler.store.schema import answers, members, occurrences

Order = tuple[int, datetime]
"""SEQUENCE and DTSTAMP of a calendar program's answer (RFC 5546 section 2.1.5): the highest one wins."""


def has_declined(
    member: ColumnElement[int], occurrence: ColumnElement[str | None] | str | None
) -> ColumnElement[bool]:
    """Return the condition that a member has declined an occurrence.

    For a statement that selects from the tables of these columns itself; inside another EXISTS use `declines`.
    """
    return exists().where(declines(member, occurrence))


def declines(
    member: ColumnElement[int], occurrence: ColumnElement[str | None] | str | None
) -> ColumnElement[bool]:
    """Return the condition that a row of `answers` belongs to a member and declines an occurrence."""
    return and_(
        answers.c.member == member, answers.c.occurrence == occurrence, answers.c.answer == "declined"
    )


async def set_answer(
    connection: AsyncConnection,
    number: int,
    occurrence: str,
    *,
    answer: str,
    now: datetime,
    order: Order | None = None,
) -> None:
    """Set a member's answer to an occurrence, replacing an earlier one. `order` is given for a calendar program's."""
    change_mark = await service_state.note_change(connection)
    values: dict[str, Any] = {"answer": answer, "answered_at": now, "stamped_at": order[1] if order else None}
    if order:
        values["sequence"] = order[0]
    row = insert_into(connection, answers).values(**values, member=number, occurrence=occurrence)
    await connection.execute(row.on_conflict_do_update(index_elements=["occurrence", "member"], set_=values))
    await connection.execute(update(members).where(members.c.id == number).values(changed=change_mark))


async def answer_of(connection: AsyncConnection, number: int, occurrence: str) -> str:
    """Return a member's answer to an occurrence; empty if there is none."""
    key = (answers.c.member == number) & (answers.c.occurrence == occurrence)
    return await connection.scalar(select(answers.c.answer).where(key)) or ""


async def order_of(connection: AsyncConnection, number: int, occurrence: str) -> Order | None:
    """Return what a calendar program's later answer is compared with; None if the member has not answered yet."""
    query = select(
        func.coalesce(answers.c.sequence, 0), func.coalesce(answers.c.stamped_at, answers.c.answered_at)
    ).where(answers.c.member == number, answers.c.occurrence == occurrence)
    row = (await connection.execute(query)).first()
    return (row[0], row[1]) if row else None


async def delete_answer(connection: AsyncConnection, number: int, occurrence: str, *, now: datetime) -> None:
    """Delete a member's answer to an occurrence; their own feed shows the change."""
    change_mark = await service_state.note_change(connection)
    key = (answers.c.member == number) & (answers.c.occurrence == occurrence)
    await connection.execute(delete(answers).where(key))
    changed = {"changed": change_mark, "feed_changed_at": now}
    await connection.execute(update(members).where(members.c.id == number).values(changed))


async def count_answers(connection: AsyncConnection, occurrence: str) -> dict[str, int]:
    """Count each answer to an occurrence among active and paused members."""
    query = (
        select(answers.c.answer, func.count())
        .join(members, members.c.id == answers.c.member)
        .where(answers.c.occurrence == occurrence, members.c.status.in_(("active", "paused")))
        .group_by(answers.c.answer)
    )
    return {row[0]: row[1] for row in await connection.execute(query)}


async def list_answers(connection: AsyncConnection, occurrence: str) -> list[tuple[str, str, str, str]]:
    """Return the answer, name, address and country (empty if unknown) of each active or paused member who answered,
    sorted by name."""
    country = func.coalesce(members.c.country, "")
    query = (
        select(answers.c.answer, members.c.name, members.c.address, country)
        .join(members, members.c.id == answers.c.member)
        .where(answers.c.occurrence == occurrence, members.c.status.in_(("active", "paused")))
        .order_by(members.c.name, members.c.address)
    )
    return [(row[0], row[1], row[2], row[3]) for row in await connection.execute(query)]


async def answers_of(
    connection: AsyncConnection, number: int, *, since: datetime
) -> dict[str, tuple[str, datetime]]:
    """Return what a member answered, and when, by the keys of the occurrences that start at `since` or later."""
    query = (
        select(answers.c.occurrence, answers.c.answer, answers.c.answered_at)
        .join(occurrences, occurrences.c.key == answers.c.occurrence)
        .where(answers.c.member == number, occurrences.c.starts >= since)
    )
    return {row[0]: (row[1], row[2]) for row in await connection.execute(query)}
