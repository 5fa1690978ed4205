"""Find members who may be the same person, by mailbox or by name and place; keep the pairs that are two people."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement, and_, exists, func, or_, select, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.store.database import insert_into
from scheduler.store.schema import different_people, members

_MOST_NAMESAKES = 5
"""A name that more members have says nothing about who they are."""


class Pair(NamedTuple):
    """Two members by number, the lower first. `same_mailbox`: their addresses lead to the same mailbox; else they have
    the same name, and the same country or time zone."""

    member: int
    other: int
    same_mailbox: bool


async def pairs(connection: AsyncConnection, *, most: int) -> list[Pair]:
    """Return up to `most` pairs of members on the list who may be the same person, those with the same mailbox first.

    Reads an index of all names, which takes a second with a million members.
    """
    one, other = members.alias("one"), members.alias("other")
    is_sqlite = connection.dialect.name == "sqlite"
    lower: ColumnElement[int] = (func.min if is_sqlite else func.least)(one.c.id, other.c.id)
    higher: ColumnElement[int] = (func.max if is_sqlite else func.greatest)(one.c.id, other.c.id)
    on_list = and_(one.c.status != "left", other.c.status != "left")
    untold = ~exists().where(different_people.c.member == lower, different_people.c.other == higher)
    numbers = select(lower.label("member"), higher.label("other"))
    same_mailbox = union_all(
        *(
            numbers.select_from(one)
            .join(other, condition)
            .where(one.c.mailbox_key.is_not(None), on_list, untold)
            for condition in (
                other.c.address_key == one.c.mailbox_key,
                and_(other.c.mailbox_key == one.c.mailbox_key, other.c.id > one.c.id),
            )
        )
    ).limit(most)
    found = [Pair(row.member, row.other, same_mailbox=True) for row in await connection.execute(same_mailbox)]
    shared = (
        select(members.c.name_key)
        .where(members.c.name_key != "", members.c.status != "left")
        .group_by(members.c.name_key)
        .having(func.count().between(2, _MOST_NAMESAKES))
        .subquery()
    )
    namesakes = (
        numbers.select_from(shared)
        .join(one, one.c.name_key == shared.c.name_key)
        .join(other, and_(other.c.name_key == one.c.name_key, other.c.id > one.c.id))
        .where(on_list, or_(one.c.country == other.c.country, one.c.zone == other.c.zone), untold)
        .limit(most)
    )
    known = {(pair.member, pair.other) for pair in found}
    found += [
        Pair(row.member, row.other, same_mailbox=False)
        for row in await connection.execute(namesakes)
        if tuple(row) not in known
    ]
    return found[:most]


async def set_different(connection: AsyncConnection, one: int, other: int) -> bool:
    """Remember that two members are different people; return whether that is new."""
    row = insert_into(connection, different_people).values(member=min(one, other), other=max(one, other))
    return bool((await connection.execute(row.on_conflict_do_nothing())).rowcount)


async def told_apart(connection: AsyncConnection, found: Sequence[Pair]) -> set[tuple[int, int]]:
    """Return those of the pairs that are different people."""
    numbers = {pair.member for pair in found}
    query = select(different_people).where(different_people.c.member.in_(numbers))
    return {(row.member, row.other) for row in await connection.execute(query)}
