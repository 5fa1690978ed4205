"""Renderings: the finished messages of cohorts, and which of them a delivery was sent with."""

import json
from collections.abc import Collection, Mapping
from hashlib import sha256
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, and_, any_, bindparam, cast, func, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.store.database import insert_into
from scheduler.store.schema import deliveries, past_deliveries, renderings


class Wording(NamedTuple):
    """What is stored of a delivery that decides about its words. Few deliveries with the same wording get other words,
    such as those of members who knew of an earlier change. `revision` is -1 without an occurrence."""

    notice: int
    revision: int
    zone: str
    locale: str
    introduces: bool
    assumed: bool


async def keep(connection: AsyncConnection, wording: Wording, content: bytes) -> int | None:
    """Keep a rendering. Return None if it is the first of its wording, by whichever process, else its number."""
    insertion = insert_into(connection, renderings)
    values = {**wording._asdict(), "content": content}
    inserted = insertion.values(**values, variant="").on_conflict_do_nothing().returning(renderings.c.id)
    if await connection.scalar(inserted) is not None:
        return None
    same = and_(*(renderings.c[name] == value for name, value in wording._asdict().items()))
    first = await connection.scalar(select(renderings.c.content).where(same, renderings.c.variant == ""))
    if first == content:
        return None
    variant = sha256(content).hexdigest()
    await connection.execute(insertion.values(**values, variant=variant).on_conflict_do_nothing())
    number = await connection.scalar(select(renderings.c.id).where(same, renderings.c.variant == variant))
    return int(number or 0)


async def assign(connection: AsyncConnection, deliveries_of: Mapping[int, Collection[int]]) -> None:
    """Note that these deliveries are sent with other than the first renderings of their wording, by rendering."""
    for number, ids in deliveries_of.items():
        await connection.execute(
            update(deliveries).where(_is_one_of(connection, list(ids))).values(rendering=number)
        )


def _is_one_of(connection: AsyncConnection, ids: list[int]) -> ColumnElement[bool]:
    if connection.dialect.name == "sqlite":
        listed = func.json_each(json.dumps(ids)).table_valued("value")
        return deliveries.c.id.in_(select(listed.c.value))
    return deliveries.c.id == any_(cast(bindparam("ids", ids), ARRAY(deliveries.c.id.type)))


def rendering_of_delivery() -> ColumnElement[int | None]:
    """Return the number of the rendering that a row of `deliveries` was sent with; null if none was kept."""
    first = select(renderings.c.id).where(
        renderings.c.notice == deliveries.c.notice,
        renderings.c.zone == deliveries.c.zone,
        renderings.c.locale == deliveries.c.locale,
        renderings.c.revision == func.coalesce(deliveries.c.revision, -1),
        renderings.c.introduces == deliveries.c.introduces,
        renderings.c.assumed == deliveries.c.assumed,
        renderings.c.variant == "",
    )
    return func.coalesce(deliveries.c.rendering, first.scalar_subquery())


async def sent_with(connection: AsyncConnection, notice: int, member: int) -> bytes | None:
    """Return the rendering that a notice was sent to a member with; None if none was kept."""
    queries: tuple[Select[Any], ...] = (
        select(rendering_of_delivery()).where(deliveries.c.notice == notice, deliveries.c.member == member),
        select(past_deliveries.c.rendering).where(
            past_deliveries.c.notice == notice, past_deliveries.c.member == member
        ),
    )
    for query in queries:
        if number := await connection.scalar(query):
            content: bytes | None = await connection.scalar(
                select(renderings.c.content).where(renderings.c.id == number)
            )
            return content
    return None
