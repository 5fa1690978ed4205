"""What members do not want to be mailed."""

from collections.abc import Collection

from sqlalchemy import ColumnElement, and_, delete, exists, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.store import facts
from scheduler.store.database import insert_into
from scheduler.store.schema import members, mutes

Mute = tuple[str, str]
"""A kind of notice, and for a reminder its policy's slug, that a member does not want to be mailed."""


def is_muted(
    member: ColumnElement[int], kind: ColumnElement[str] | str, policy: ColumnElement[str | None] | str | None
) -> ColumnElement[bool]:
    """Whether a member does not want notices of a kind (and policy, for a reminder).

    To be used in a statement that itself names the tables of these columns; within another EXISTS use `mute_fits`.
    """
    return exists().where(mute_fits(member, kind, policy))


def mute_fits(
    member: ColumnElement[int], kind: ColumnElement[str] | str, policy: ColumnElement[str | None] | str | None
) -> ColumnElement[bool]:
    """Whether a row of `mutes` is a member's and about such notices."""
    return and_(
        mutes.c.member == member, mutes.c.kind == kind,
        or_(mutes.c.kind != "reminder", mutes.c.policy == func.coalesce(policy, "")),
    )  # fmt: skip


async def mutes_of(connection: AsyncConnection, number: int) -> frozenset[Mute]:
    rows = await connection.execute(select(mutes.c.kind, mutes.c.policy).where(mutes.c.member == number))
    return frozenset((row[0], row[1]) for row in rows)


async def set_mutes(connection: AsyncConnection, number: int, wanted: Collection[Mute]) -> None:
    """Let these be all that a member does not want to be mailed."""
    await connection.execute(delete(mutes).where(mutes.c.member == number))
    if wanted:
        rows = [{"member": number, "kind": kind, "policy": policy} for kind, policy in sorted(wanted)]
        await connection.execute(insert_into(connection, mutes).values(rows).on_conflict_do_nothing())
    mark = await facts.note_change(connection)
    await connection.execute(update(members).where(members.c.id == number).values(changed=mark))
