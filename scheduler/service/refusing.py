"""Addresses that relays refuse when a mail is handed over: counted as soft bounces are, until they count as dead."""

from datetime import datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.bounce import HARD
from scheduler.store import returns
from scheduler.store.database import Database

SOFT_BOUNCES, SOFT_WITHIN, SOFT_SPAN = 5, timedelta(days=90), timedelta(days=21)
"""So many soft bounces within that time, the last so long after the first, and the address counts as dead."""

LOOK_BACK = timedelta(days=3)
"""Done daily, this misses none, should a day have been missed; each refusal counts once."""

log = structlog.get_logger()


async def count_refusals(database: Database, *, now: datetime) -> int:
    """Count what relays refused for good since the last look, and suppress whose addresses are worn out by it; returns
    how many.

    One refusal suppresses nobody, unlike a hard bounce: a relay that has lost its list of users says the same of all.
    """
    async with database.write() as connection:
        refused = await returns.keep_refusals(connection, HARD, since=now - LOOK_BACK)
        worn = await worn_out(connection, now=now) if refused else []
        if worn:
            await returns.suppress(connection, worn, now)
    if refused:
        log.info("refusals-counted", refused=refused, suppressed=len(worn))
    return len(worn)


async def worn_out(connection: AsyncConnection, *, now: datetime, member: int | None = None) -> list[int]:
    """The members, or the one, from whose addresses so much came back that they count as dead."""
    return await returns.worn_out(
        connection, bounces=SOFT_BOUNCES, since=now - SOFT_WITHIN, span=SOFT_SPAN, member=member
    )
