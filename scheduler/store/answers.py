"""What members answered to invitations."""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, exists, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.store import service_state
from scheduler.store.database import insert_into
from scheduler.store.schema import answers, members, occurrences

Order = tuple[int, datetime]
"""SEQUENCE and DTSTAMP of a calendar program's answer (RFC 5546 section 2.1.5): the highest holds."""


def has_declined(
    member: ColumnElement[int], occurrence: ColumnElement[str | None] | str | None
) -> ColumnElement[bool]:
    """Whether a member has declined an occurrence.

    To be used in a statement that itself names the tables of these columns; within another EXISTS use `declines`.
    """
    return exists().where(declines(member, occurrence))


def declines(
    member: ColumnElement[int], occurrence: ColumnElement[str | None] | str | None
) -> ColumnElement[bool]:
    """Whether a row of `answers` is a member's and declines an occurrence."""
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
    """Keep a member's answer to an occurrence; the last one holds. `order` is that of a calendar program's."""
    mark = await service_state.note_change(connection)
    values: dict[str, Any] = {"answer": answer, "answered_at": now, "stamped_at": order[1] if order else None}
    if order:
        values["sequence"] = order[0]
    given = insert_into(connection, answers).values(**values, member=number, occurrence=occurrence)
    await connection.execute(
        given.on_conflict_do_update(index_elements=["occurrence", "member"], set_=values)
    )
    await connection.execute(update(members).where(members.c.id == number).values(changed=mark))


async def answer_of(connection: AsyncConnection, number: int, occurrence: str) -> str:
    """What a member last answered to an occurrence; empty where nothing."""
    key = (answers.c.member == number) & (answers.c.occurrence == occurrence)
    return await connection.scalar(select(answers.c.answer).where(key)) or ""


async def order_of(connection: AsyncConnection, number: int, occurrence: str) -> Order | None:
    """By what a later answer of a calendar program is compared with the one that holds; None where there is none."""
    query = select(
        func.coalesce(answers.c.sequence, 0), func.coalesce(answers.c.stamped_at, answers.c.answered_at)
    ).where(answers.c.member == number, answers.c.occurrence == occurrence)
    row = (await connection.execute(query)).first()
    return (row[0], row[1]) if row else None


async def drop_answer(connection: AsyncConnection, number: int, occurrence: str, *, now: datetime) -> None:
    """Let a member have answered nothing to an occurrence; their own feed shows it."""
    mark = await service_state.note_change(connection)
    key = (answers.c.member == number) & (answers.c.occurrence == occurrence)
    await connection.execute(delete(answers).where(key))
    changed = update(members).where(members.c.id == number).values(changed=mark, feed_changed_at=now)
    await connection.execute(changed)


async def count_answers(connection: AsyncConnection, occurrence: str) -> dict[str, int]:
    """How many of those who get mail gave each answer to an occurrence."""
    query = (
        select(answers.c.answer, func.count())
        .join(members, members.c.id == answers.c.member)
        .where(answers.c.occurrence == occurrence, members.c.status.in_(("active", "paused")))
        .group_by(answers.c.answer)
    )
    return {row[0]: row[1] for row in await connection.execute(query)}


async def list_answers(connection: AsyncConnection, occurrence: str) -> list[tuple[str, str, str]]:
    """Answer, name and address of each who answered, by name."""
    query = (
        select(answers.c.answer, members.c.name, members.c.address)
        .join(members, members.c.id == answers.c.member)
        .where(answers.c.occurrence == occurrence, members.c.status.in_(("active", "paused")))
        .order_by(members.c.name, members.c.address)
    )
    return [(row[0], row[1], row[2]) for row in await connection.execute(query)]


async def answers_of(
    connection: AsyncConnection, number: int, *, since: datetime
) -> dict[str, tuple[str, datetime]]:
    """What a member answered to the occurrences that start at `since` or later, and when, by their keys."""
    query = (
        select(answers.c.occurrence, answers.c.answer, answers.c.answered_at)
        .join(occurrences, occurrences.c.key == answers.c.occurrence)
        .where(answers.c.member == number, occurrences.c.starts >= since)
    )
    return {row[0]: (row[1], row[2]) for row in await connection.execute(query)}
