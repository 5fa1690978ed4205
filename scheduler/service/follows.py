"""Which series members follow, as they choose themselves or as a convenor sets it for them."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from difflib import get_close_matches

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.errors import Refused
from scheduler.domain.occurrence import Series, followed, slugs_by_choice
from scheduler.domain.text import quoted
from scheduler.domain.token import Keys, Purpose
from scheduler.service.personal_links import LinkStatus, require_link, resolve_link
from scheduler.store import follows
from scheduler.store.database import Database
from scheduler.store.members import Member

log = structlog.get_logger()


def require_series(slugs: Collection[str], all_series: Sequence[Series], where: str) -> None:
    """Raise Refused for the first slug that no series has, naming `where` it is, with a similar one."""
    known = [series.slug for series in all_series]
    for slug in slugs:
        if slug not in known:
            near = get_close_matches(slug, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"accepted: {', '.join(known)}"
            raise Refused(f"{where} {quoted(slug)}: there is no such series; {hint}")


async def followed_by(connection: AsyncConnection, member: Member, all_series: Sequence[Series]) -> list[str]:
    """Return the slugs of the series that a member follows, in the order of the settings."""
    return followed(all_series, await follows.choices_of(connection, member.id))


async def follow(
    connection: AsyncConnection,
    member: Member,
    choices: Mapping[str, bool],
    *,
    all_series: Sequence[Series],
    now: datetime,
) -> dict[str, bool]:
    """Store a member's explicit choices by series, and return those that change what they follow.

    This takes effect on mail that is queued, and on their own feed.
    """
    changed = await follows.choose(
        connection, member.id, choices, by_choice=slugs_by_choice(all_series), now=now
    )
    if changed:
        log.info("series-chosen", member=member.id, choices=changed)
    return changed


async def choose_series(
    database: Database,
    token: str,
    *,
    wanted: Collection[str],
    all_series: Sequence[Series],
    keys: Keys,
    now: datetime,
) -> None:
    """Let the member of a link to their own page follow the series `wanted` and no other. Raises InvalidLink."""
    choices = {series.slug: series.slug in wanted for series in all_series}
    async with database.write() as connection:
        member = await require_link(connection, token, Purpose.PREFERENCES, keys=keys)
        await follow(connection, member, choices, all_series=all_series, now=now)


async def followed_by_link(
    database: Database, token: str, *, all_series: Sequence[Series], keys: Keys
) -> list[str]:
    """Return the slugs of the series that the member of a link to leave follows; none if it does not work."""
    async with database.read() as connection:
        status, member = await resolve_link(connection, token, Purpose.LEAVE, keys=keys)
        if member is None or status is not LinkStatus.GOOD:
            return []
        return await followed_by(connection, member, all_series)


async def stop_following(
    database: Database,
    token: str,
    slug: str,
    *,
    all_series: Sequence[Series],
    keys: Keys,
    now: datetime,
) -> LinkStatus:
    """Let the member of a link to leave stop following one series; return the link's status.

    They stay on the list. Raises Refused if there is no such series.
    """
    require_series([slug], all_series, "series")
    async with database.write() as connection:
        status, member = await resolve_link(connection, token, Purpose.LEAVE, keys=keys)
        if member and status is LinkStatus.GOOD:
            await follow(connection, member, {slug: False}, all_series=all_series, now=now)
    return status
