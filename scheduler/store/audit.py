"""The audit log: who did what, when, from what to what. It never contains the text of a mail."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.act import Act
from scheduler.domain.actor import Actor
from scheduler.store.schema import audit_entries, members


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One act. `act` is a word such as "meeting-moved"; `subject` says what it was done to: an occurrence's key, a
    notice's number. `about` is the number of the member that it was done to, if it was a member, and `about_name`
    their name. `before` and `after` have only the values that changed."""

    id: int
    at: datetime
    channel: str
    actor: int | None
    actor_name: str
    act: str
    subject: str
    about: int | None
    about_name: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]


async def record(
    connection: AsyncConnection,
    by: Actor,
    act: Act,
    *,
    now: datetime,
    subject: str = "",
    about: int | None = None,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Record an act in the transaction that carries it out. Values must be ready for JSON; equal ones are left out."""
    before, after = before or {}, after or {}
    changed = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    await connection.execute(
        insert(audit_entries).values(
            at=now,
            channel=by.channel,
            actor=by.member,
            actor_name=by.name,
            act=act,
            subject=subject,
            about=about,
            before={name: before[name] for name in changed if name in before},
            after={name: after[name] for name in changed if name in after},
        )
    )


async def entries(
    connection: AsyncConnection,
    *,
    before_id: int | None = None,
    actor: int | None = None,
    act: str | None = None,
    subject: str | None = None,
    limit: int = 100,
) -> list[AuditEntry]:
    """Return the newest entries that match, the newest first; `before_id` continues an earlier list."""
    query = (
        select(audit_entries, func.coalesce(members.c.name, "").label("about_name"))
        .outerjoin(members, members.c.id == audit_entries.c.about)
        .order_by(audit_entries.c.id.desc())
        .limit(limit)
    )
    for column, value in (
        (audit_entries.c.actor, actor),
        (audit_entries.c.act, act),
        (audit_entries.c.subject, subject),
    ):
        if value is not None:
            query = query.where(column == value)
    if before_id is not None:
        query = query.where(audit_entries.c.id < before_id)
    return [AuditEntry(**row._mapping) for row in await connection.execute(query)]


async def acts(connection: AsyncConnection) -> list[str]:
    """Return each act that the log has, sorted."""
    return list(
        await connection.scalars(select(audit_entries.c.act).distinct().order_by(audit_entries.c.act))
    )


async def blank(connection: AsyncConnection, member: int) -> None:
    """Remove what entries say of a member who is erased; that something was done remains."""
    await connection.execute(
        update(audit_entries).where(audit_entries.c.about == member).values(before={}, after={}, about=None)
    )
    await connection.execute(
        update(audit_entries).where(audit_entries.c.actor == member).values(actor_name="(erased)", actor=None)
    )


async def forget(connection: AsyncConnection, *, before: datetime) -> int:
    """Delete the entries made before an instant, and return their number."""
    return (await connection.execute(delete(audit_entries).where(audit_entries.c.at < before))).rowcount
