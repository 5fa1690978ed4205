"""Leaving the list: at once, by the link in every mail, however often it is pressed."""

from datetime import datetime

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.token import Keys, Purpose
from scheduler.service.members import status_values
from scheduler.service.personal_links import LinkStatus, resolve_link
from scheduler.store import members
from scheduler.store.database import Database
from scheduler.store.members import Member

log = structlog.get_logger()


async def check_leave_link(database: Database, token: str, *, keys: Keys) -> LinkStatus:
    """Return whether a link to leave works. Changes nothing."""
    async with database.read() as connection:
        return (await resolve_link(connection, token, Purpose.LEAVE, keys=keys))[0]


async def leave(database: Database, token: str, *, keys: Keys, now: datetime) -> LinkStatus:
    """Let the link's member leave, and withdraw mail that is queued for them; return the link's status before.

    GOOD means that they have left just now, LEFT that they had left before; anything else, that nothing changed.
    """
    async with database.write() as connection:
        status, member = await resolve_link(connection, token, Purpose.LEAVE, keys=keys)
        if member and status is LinkStatus.GOOD:
            await mark_left(connection, member, now=now)
            log.info("member-left", member=member.id)
    return status


async def mark_left(connection: AsyncConnection, member: Member, *, now: datetime) -> None:
    """Set a member's status to `left`."""
    await members.change(connection, member.id, **status_values(member, "left", now=now))
