"""What members choose themselves: their name, zone and language, which notices they get, their feed, and pauses.

They may also leave, at once, by the link in every mail.
"""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.errors import Refused
from scheduler.domain.locale import hour_cycle
from scheduler.domain.localtime import LocalTime, local_time
from scheduler.domain.occurrence import Series
from scheduler.domain.policy import Kind, Policy, first_instant
from scheduler.domain.token import Keys, Purpose
from scheduler.domain.translation import N_
from scheduler.domain.zone import known_zone
from scheduler.service.feeds import feed_language, feed_preferences
from scheduler.service.follows import followed_by
from scheduler.service.members import status_values, update_member
from scheduler.service.personal_links import LanguageOf, LinkStatus, in_english, require_link, resolve_link
from scheduler.service.schedule import upcoming, upcoming_of_each
from scheduler.store import members
from scheduler.store.database import Database
from scheduler.store.members import Member, Mute

log = structlog.get_logger()

LONGEST_PAUSE_DAYS = 366


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A kind of notice that a member may switch off, and whether they have."""

    mute: Mute
    policy: Policy | None
    muted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesChoice:
    """A series, whether the member follows it, and its next meeting by their clocks, if there is one."""

    series: Series
    followed: bool
    next: LocalTime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Preferences:
    """What a member sees on their own page."""

    member: Member
    choices: Sequence[Choice]
    series: Sequence[SeriesChoice]


async def read_preferences(
    database: Database,
    token: str,
    *,
    series: Sequence[Series],
    policies: Sequence[Policy],
    keys: Keys,
    locale: str,
    language_of: LanguageOf = in_english,
    now: datetime,
) -> Preferences:
    """Return the preferences of the link's member. Changes nothing. Raises InvalidLink."""
    async with database.read() as connection:
        member = await require_link(connection, token, Purpose.PREFERENCES, keys=keys)
        muted = await members.mutes_of(connection, member.id)
        followed = await followed_by(connection, member, series)
        meetings = await upcoming_of_each(connection, series, now=now)
    cycle, language = hour_cycle(member.locale or locale), language_of(member)
    return Preferences(
        member=member,
        choices=choices(policies, muted),
        series=[
            SeriesChoice(
                series=each,
                followed=each.slug in followed,
                next=local_time(meeting, each, zone=member.zone, cycle=cycle, language=language)
                if meeting
                else None,
            )
            for each, meeting in zip(series, meetings, strict=True)
        ],
    )


def choices(policies: Sequence[Policy], muted: Collection[Mute]) -> list[Choice]:
    """Return what a member may switch off, in the order in which it arrives: each reminder, the follow-up, and the
    convenors' own notices.

    Updates and cancellations are not offered: without them a member might come to a meeting that was moved.
    """
    reminders = [policy for policy in policies if policy.kind is Kind.REMINDER]
    offered: list[tuple[Mute, Policy | None]] = [
        ((Kind.REMINDER, policy.slug), policy) for policy in reminders
    ]
    if any(policy.kind is Kind.FOLLOW_UP for policy in policies):
        offered.append(((Kind.FOLLOW_UP, ""), None))
    offered.append(((Kind.NOTICE, ""), None))
    return [Choice(mute=mute, policy=policy, muted=mute in muted) for mute, policy in offered]


async def compare_zones(
    database: Database,
    series: Sequence[Series],
    zones: Sequence[str],
    *,
    locale: str,
    language: str = "en",
    now: datetime,
) -> tuple[Series | None, list[LocalTime]]:
    """Return the series of the next meeting, and that meeting by the clocks of each zone; nothing where no meeting is
    planned."""
    async with database.read() as connection:
        meeting = await upcoming(connection, series, now=now)
    if meeting is None:
        return None, []
    meeting_series, cycle = {each.slug: each for each in series}[meeting.series], hour_cycle(locale)
    return meeting_series, [
        local_time(meeting, meeting_series, zone=zone, cycle=cycle, language=language) for zone in zones
    ]


async def change_details(
    database: Database, token: str, *, name: str, zone: str, locale: str, keys: Keys, now: datetime
) -> None:
    """Change a member's name, zone and locale. The zone counts as confirmed by the member. Raises InvalidLink."""
    async with _linked_member(database, token, keys) as (connection, member):
        values = {"name": name, "zone": zone, "zone_source": "confirmed", "locale": locale}
        await _update(connection, member, values | feed_language(member, locale, now=now))


async def choose_notices(
    database: Database,
    token: str,
    *,
    invitation_by: str,
    muted: Collection[Mute],
    policies: Sequence[Policy],
    keys: Keys,
) -> None:
    """Send a member's invitations by `mail`, or by their `feed` alone, and mail them everything except what is in
    `muted`. Raises InvalidLink."""
    known = {choice.mute for choice in choices(policies, ())}
    async with _linked_member(database, token, keys) as (connection, member):
        await _update(connection, member, {"invitation_by": invitation_by})
        if await members.mutes_of(connection, member.id) != (wanted := known & set(muted)):
            await members.set_mutes(connection, member.id, wanted)
            log.info("notices-chosen", member=member.id, muted=len(wanted))


async def choose_feed(
    database: Database, token: str, *, alarm_minutes: int | None, answers: bool, keys: Keys, now: datetime
) -> None:
    """Set the alarm of a member's own feed (None: no alarm), and whether it shows their answers. Raises InvalidLink."""
    async with _linked_member(database, token, keys) as (connection, member):
        values = feed_preferences(member, alarm_minutes=alarm_minutes, answers=answers, now=now)
        await _update(connection, member, values)


async def pause(
    database: Database,
    token: str,
    *,
    until: date,
    keys: Keys,
    now: datetime,
    purpose: Purpose = Purpose.PREFERENCES,
) -> Member:
    """Send a member nothing until the given day begins by their own clocks; return them as they were before.

    A link to leave may do this too: it could do more. Raises InvalidLink, and Refused for a day that has begun or is
    over a year away.
    """
    async with database.write() as connection:
        member = await require_link(connection, token, purpose, keys=keys)
        ends = first_instant(datetime.combine(until, time()), known_zone(member.zone, "UTC"))
        if ends <= now:
            raise Refused(N_("You need to choose a day in the future: that day has already begun."))
        if (ends - now).days > LONGEST_PAUSE_DAYS:
            raise Refused(N_("You need to choose an earlier day: that one is more than a year away."))
        await _update(connection, member, status_values(member, "paused", now=now, until=ends))
    return member


async def end_pause(database: Database, token: str, *, keys: Keys, now: datetime) -> None:
    """Mail a paused member again from now on. Raises InvalidLink."""
    async with _linked_member(database, token, keys) as (connection, member):
        if member.status == "paused":
            await _update(connection, member, status_values(member, "active", now=now))


async def rotate_feed(database: Database, token: str, *, keys: Keys, now: datetime) -> None:
    """Give a member's own feed a new address; the old one shows no meetings any more. Raises InvalidLink."""
    async with _linked_member(database, token, keys) as (connection, member):
        values = {"feed_generation": member.feed_generation + 1, "feed_changed_at": now}
        await _update(connection, member, values)


@asynccontextmanager
async def _linked_member(
    database: Database, token: str, keys: Keys
) -> AsyncIterator[tuple[AsyncConnection, Member]]:
    async with database.write() as connection:
        yield connection, await require_link(connection, token, Purpose.PREFERENCES, keys=keys)


async def _update(connection: AsyncConnection, member: Member, values: Mapping[str, Any]) -> None:
    change = await update_member(connection, member, values)
    if change.columns:
        log.info("member-changed-own", member=member.id, changed=sorted(change.columns))


async def check_leave_link(database: Database, token: str, *, keys: Keys) -> LinkStatus:
    """Return whether a link to leave works. Changes nothing."""
    async with database.read() as connection:
        return (await resolve_link(connection, token, Purpose.LEAVE, keys=keys))[0]


async def leaving_member(database: Database, token: str, *, keys: Keys) -> Member | None:
    """Return the member of a link to leave, even if they have left. Changes nothing."""
    async with database.read() as connection:
        return (await resolve_link(connection, token, Purpose.LEAVE, keys=keys))[1]


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
