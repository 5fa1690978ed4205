"""The page about the community: written by convenors in Markdown, with all its versions."""

from collections.abc import Sequence
from datetime import datetime

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.delivery.compose.markdown import as_section
from scheduler.domain.act import Act
from scheduler.domain.actor import Actor
from scheduler.domain.errors import Refused
from scheduler.domain.text import require_prose
from scheduler.store import about, audit
from scheduler.store.about import AboutVersion
from scheduler.store.database import Database

log = structlog.get_logger()

LONGEST_ABOUT = 20_000


async def read_about(database: Database) -> AboutVersion | None:
    """Return the version that is shown; None if nobody has written the page."""
    async with database.read() as connection:
        return await about.newest(connection)


async def about_versions(database: Database) -> list[AboutVersion]:
    """Return all versions, the newest first."""
    async with database.read() as connection:
        return await about.every(connection)


async def about_version(database: Database, number: int) -> AboutVersion | None:
    async with database.read() as connection:
        return await about.by_id(connection, number)


def about_html(body: str) -> str:
    """Return the text as clean HTML, with headings below the heading of the page."""
    return as_section(body, level=2)


async def save_about(
    database: Database, body: str, *, made_from: int | None = None, by: Actor, now: datetime
) -> bool:
    """Save a new version, which is shown from now on; return whether it differs from the one before.

    `made_from` is the number of the version that the writer saw, 0 if there was none. Raises Refused if it is no longer
    the newest, and for a text that is empty, too long, or has characters that are not allowed.
    """
    body = require_prose(body, "the text", longest=LONGEST_ABOUT).rstrip()
    if not body:
        raise Refused("the text is empty")
    async with database.write() as connection:
        await about.lock(connection)
        newest = await about.newest(connection)
        if made_from not in (None, newest.id if newest else 0):
            raise Refused("somebody else changed it meanwhile; look at it again")
        if newest and newest.body == body:
            return False
        await _add(connection, body, "about-saved", by=by, now=now)
        return True


async def restore_about(
    database: Database, number: int, *, made_from: int | None = None, by: Actor, now: datetime
) -> bool:
    """Show an old version again, as a new one; return whether it differs from the newest. Raises Refused as
    `save_about`, and for a number that no version has."""
    async with database.write() as connection:
        await about.lock(connection)
        newest, version = await about.newest(connection), await about.by_id(connection, number)
        if newest is None or version is None:
            raise Refused(f"there is no version {number}", command="`about versions` shows them")
        if made_from not in (None, newest.id):
            raise Refused("somebody else changed it meanwhile; look at it again")
        if newest.body == version.body:
            return False
        await _add(connection, version.body, "about-restored", by=by, now=now, restored=number)
        return True


async def _add(
    connection: AsyncConnection, body: str, act: Act, *, by: Actor, now: datetime, restored: int | None = None
) -> None:
    number = await about.add(connection, body, by=by, now=now)
    after = {"restored": f"version {restored}"} if restored else None
    await audit.record(connection, by, act, subject=f"version {number}", after=after, now=now)
    log.info(act, version=number)


def first_draft(name: str, description: str, links: Sequence[tuple[str, str]]) -> str:
    """Return a text to begin with, for convenors to change: what such a page should say."""
    listed = "\n".join(f"- [{label}]({url})" for label, url in links) or "- …"
    return f"""{description or "We meet online, and everybody is welcome."}

## Why we meet

Say in two or three sentences what brings you together, and what somebody takes home from a meeting.

## How it began

Say who began {name}, when and where, and what has become of it.

## How we work together

- Everybody is welcome, whatever they know already.
- What is shared in a meeting may be used by everybody; what is personal stays in the room.
- We listen first, and speak as we would like to be spoken to.

## Where else to find us

{listed}
"""
