"""Leaving the list: at once, by the link that every mail carries, however often it is pressed."""

from datetime import datetime

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.token import Keys, Purpose
from scheduler.service.personal_links import LinkStatus, recognise
from scheduler.store import members
from scheduler.store.database import Database

log = structlog.get_logger()


async def look(database: Database, token: str, *, keys: Keys) -> LinkStatus:
    """What the link to leave is worth. Changes nothing."""
    async with database.read() as connection:
        return (await recognise(connection, token, Purpose.LEAVE, keys=keys))[0]


async def leave(database: Database, token: str, *, keys: Keys, now: datetime) -> LinkStatus:
    """Let the link's member leave, mail that is queued for them included; returns what the link was worth.

    GOOD means that they have left just now, LEFT that they had before; otherwise nothing was changed.
    """
    async with database.write() as connection:
        standing, member = await recognise(connection, token, Purpose.LEAVE, keys=keys)
        if member and standing is LinkStatus.GOOD:
            await take_off(connection, member.id, now)
            log.info("member-left", member=member.id)
    return standing


async def take_off(connection: AsyncConnection, number: int, now: datetime) -> None:
    """Let somebody on the list have left."""
    await members.change(
        connection, number, status="left", active_since=None, paused_until=None, feed_changed_at=now
    )
