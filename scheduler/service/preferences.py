"""A member's own hand on their membership: who and where they are, what they are mailed, and when not."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.errors import Problem, Refused
from scheduler.domain.locale import hour_cycle
from scheduler.domain.localtime import LocalTime, local_time
from scheduler.domain.occurrence import Series
from scheduler.domain.policy import Kind, Policy, first_instant
from scheduler.domain.token import Keys, Purpose
from scheduler.service.feeds import feed_preferences
from scheduler.service.personal_links import LinkStatus, recognise
from scheduler.service.schedule import upcoming
from scheduler.store import members
from scheduler.store.database import Database
from scheduler.store.members import Member, Mute

log = structlog.get_logger()

LONGEST_PAUSE_DAYS = 366


class NotOpen(Problem):
    """A link that does not open its member's preferences: they left, or it is worth nothing; `standing` says which."""

    def __init__(self, standing: LinkStatus) -> None:
        super().__init__(f"the link is {standing}")
        self.standing = standing


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A kind of notice that a member may do without, and whether they do."""

    mute: Mute
    policy: Policy | None
    muted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Preferences:
    """A member as they see themselves. `next` is the next meeting by their clocks, where there is one."""

    member: Member
    choices: Sequence[Choice]
    title: str = ""
    next: LocalTime | None = None


async def read_preferences(
    database: Database,
    token: str,
    *,
    series: Sequence[Series],
    policies: Sequence[Policy],
    keys: Keys,
    locale: str,
    now: datetime,
) -> Preferences:
    """What the link's member chose. Changes nothing; raises NotOpen where it opens nothing."""
    async with database.read() as connection:
        member = await open_by(connection, token, keys=keys)
        muted = await members.mutes_of(connection, member.id)
        title, when = await _next(
            connection, series, zone=member.zone, locale=member.locale or locale, now=now
        )
    return Preferences(member=member, choices=choices(policies, muted), title=title, next=when)


def choices(policies: Sequence[Policy], muted: Collection[Mute]) -> list[Choice]:
    """What a member may do without, in the order in which it comes: each reminder, what follows a meeting, and
    convenors' own notices.

    Updates and cancellations are not among it: who does not get them stands before a closed door.
    """
    reminders = [policy for policy in policies if policy.kind is Kind.REMINDER]
    wants: list[tuple[Mute, Policy | None]] = [((Kind.REMINDER, policy.slug), policy) for policy in reminders]
    if any(policy.kind is Kind.FOLLOW_UP for policy in policies):
        wants.append(((Kind.FOLLOW_UP, ""), None))
    wants.append(((Kind.NOTICE, ""), None))
    return [Choice(mute=mute, policy=policy, muted=mute in muted) for mute, policy in wants]


async def open_by(connection: AsyncConnection, token: str, *, keys: Keys) -> Member:
    """The member whose preferences the link opens. Raises NotOpen where it opens none."""
    standing, member = await recognise(connection, token, Purpose.PREFERENCES, keys=keys)
    if member is None or standing is not LinkStatus.GOOD:
        raise NotOpen(standing)
    return member


@asynccontextmanager
async def _opened(
    database: Database, token: str, keys: Keys
) -> AsyncIterator[tuple[AsyncConnection, Member]]:
    async with database.write() as connection:
        yield connection, await open_by(connection, token, keys=keys)


async def _next(
    connection: AsyncConnection, series: Sequence[Series], *, zone: str, locale: str, now: datetime
) -> tuple[str, LocalTime | None]:
    one = await upcoming(connection, series, now=now)
    if one is None:
        return "", None
    its = {each.slug: each for each in series}[one.series]
    return its.title, local_time(one, its, zone=zone, cycle=hour_cycle(locale))


async def compare_zones(
    database: Database, series: Sequence[Series], zones: Sequence[str], *, locale: str, now: datetime
) -> list[LocalTime]:
    """The next meeting by the clocks of each zone; nothing where no meeting is planned."""
    async with database.read() as connection:
        found = [(await _next(connection, series, zone=zone, locale=locale, now=now))[1] for zone in zones]
    return [when for when in found if when]


async def change_details(
    database: Database, token: str, *, name: str, zone: str, locale: str, keys: Keys
) -> None:
    """Let a member be called so, live there, and read in that way. A zone that they saved themselves is theirs."""
    async with _opened(database, token, keys) as (connection, member):
        await _change(
            connection, member, {"name": name, "zone": zone, "zone_source": "confirmed", "locale": locale}
        )


async def choose_notices(
    database: Database,
    token: str,
    *,
    invitation_by: str,
    muted: Collection[Mute],
    policies: Sequence[Policy],
    keys: Keys,
) -> None:
    """Invite a member by `mail`, or by their `feed` alone, and mail them all else but what is in `muted`."""
    known = {choice.mute for choice in choices(policies, ())}
    async with _opened(database, token, keys) as (connection, member):
        await _change(connection, member, {"invitation_by": invitation_by})
        if await members.mutes_of(connection, member.id) != (wanted := known & set(muted)):
            await members.set_mutes(connection, member.id, wanted)
            log.info("notices-chosen", member=member.id, muted=len(wanted))


async def choose_feed(
    database: Database, token: str, *, alarm_minutes: int | None, answers: bool, keys: Keys, now: datetime
) -> None:
    """Let a member's own feed ring so long before each start, and show their answers or not."""
    async with _opened(database, token, keys) as (connection, member):
        await _change(
            connection,
            member,
            feed_preferences(member, alarm_minutes=alarm_minutes, answers=answers, now=now),
        )


async def pause(
    database: Database,
    token: str,
    *,
    until: date,
    keys: Keys,
    now: datetime,
    purpose: Purpose = Purpose.PREFERENCES,
) -> Member:
    """Send a member nothing until the beginning of a day by their own clocks; returns them as they were.

    The link to leave may do it too: it could do more. Raises Refused for a day that has begun or is over a year
    away.
    """
    async with database.write() as connection:
        standing, member = await recognise(connection, token, purpose, keys=keys)
        if member is None or standing is not LinkStatus.GOOD:
            raise NotOpen(standing)
        back = first_instant(datetime.combine(until, time()), member.zone)
        if back <= now:
            raise Refused("You need to choose a day to come: that one has begun already.")
        if (back - now).days > LONGEST_PAUSE_DAYS:
            raise Refused("You need to choose an earlier day: that one is more than a year away.")
        await _change(connection, member, {"status": "paused", "active_since": None, "paused_until": back})
    return member


async def end_pause(database: Database, token: str, *, keys: Keys, now: datetime) -> None:
    """Mail a paused member again from now on."""
    async with _opened(database, token, keys) as (connection, member):
        if member.status == "paused":
            await _change(connection, member, {"status": "active", "active_since": now, "paused_until": None})


async def rotate_feed(database: Database, token: str, *, keys: Keys, now: datetime) -> None:
    """Give a member's own feed a new address; the old one shows no meeting any more."""
    async with _opened(database, token, keys) as (connection, member):
        await _change(
            connection, member, {"feed_generation": member.feed_generation + 1, "feed_changed_at": now}
        )


async def _change(connection: AsyncConnection, member: Member, values: Mapping[str, Any]) -> None:
    different = {name: value for name, value in values.items() if value != getattr(member, name)}
    if different:
        await members.change(connection, member.id, **different)
        log.info("member-changed-own", member=member.id, changed=sorted(different))
