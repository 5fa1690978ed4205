"""A member's own calendar feed: whose an address is, what is theirs in it, and what they want of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.calendar import Answer, ended_feed, feed_window
from scheduler.domain.community import Community
from scheduler.domain.errors import Refused
from scheduler.domain.feed_template import PrivateFeed
from scheduler.domain.occurrence import Series
from scheduler.domain.token import Keys, Purpose, token_subject
from scheduler.service.personal_links import LinkStatus, recognise
from scheduler.service.schedule import Published, in_feed
from scheduler.store import answers, members
from scheduler.store.database import Database
from scheduler.store.members import Member

log = structlog.get_logger()

NOTICE_DAYS = 30
"""How long a feed whose address has ended says so, before it is gone."""

LONGEST_ALARM = 7 * 24 * 60
"""Minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscriber:
    """Whose an address of a private feed is, and what is theirs in it; `standing` says what it is worth.

    `changed_at` is when the member last changed it, or when it ended.
    """

    standing: LinkStatus
    join_token: str = ""
    answers: Mapping[str, Answer] = field(default_factory=dict)
    alarm: timedelta | None = None
    changed_at: datetime | None = None


def feed_url(keys: Keys, community: Community, member: Member) -> str:
    """The address of a member's own feed."""
    token = keys.token(Purpose.FEED, member.id, generation=member.feed_generation)
    return f"{community.base_url}/cal/{token}.ics"


def subscribe_url(keys: Keys, community: Community, member: Member) -> str:
    """The address of a member's own page for subscribing."""
    token = keys.token(Purpose.SUBSCRIBE, member.id, generation=member.generation)
    return f"{community.base_url}/subscribe/{token}"


async def subscriber(database: Database, token: str, *, keys: Keys, now: datetime) -> Subscriber:
    """Whose private feed has the address `token`. Changes nothing."""
    async with database.read() as connection:
        standing, member = await recognise(connection, token, Purpose.FEED, keys=keys)
        if standing is LinkStatus.GOOD and member and member.status != "pending":
            return await _subscriber(connection, member, keys=keys, now=now)
        if standing is LinkStatus.REPLACED:
            member = await members.by_id(connection, token_subject(token) or 0)
    if member is None or member.status == "pending":
        return Subscriber(standing=LinkStatus.UNKNOWN)
    return Subscriber(standing=standing, changed_at=member.feed_changed_at)


async def _subscriber(
    connection: AsyncConnection, member: Member, *, keys: Keys, now: datetime
) -> Subscriber:
    given = {}
    if member.feed_answers:
        kept = await answers.answers_of(connection, member.id, since=feed_window(now)[0])
        given = {key: Answer(word, at) for key, (word, at) in kept.items()}
    minutes = member.feed_alarm_minutes
    return Subscriber(
        standing=LinkStatus.GOOD,
        answers=given,
        changed_at=member.feed_changed_at,
        join_token=keys.token(Purpose.JOIN, member.id, generation=member.generation),
        alarm=timedelta(minutes=minutes) if minutes is not None else None,
    )


async def private_feed(
    database: Database,
    series: Sequence[Series],
    community: Community,
    *,
    alarm: timedelta | None,
    now: datetime,
) -> PrivateFeed:
    """What the feeds of all members with that alarm have in common; each one's own is filled in."""
    inside, changed_at = await in_feed(database, series, now=now)
    return PrivateFeed(
        inside,
        {one.slug: one for one in series},
        community,
        way_in=community.way_in,
        alarm=alarm,
        changed_at=changed_at,
    )


def filled(common: PrivateFeed, one: Subscriber) -> Published:
    """The feed of one subscriber whose address is good."""
    changes = [answer.at for answer in one.answers.values()]
    if one.changed_at:
        changes.append(one.changed_at)
    return Published(common.fill(one.join_token, one.answers), max([common.changed_at, *changes]))


def farewell(one: Subscriber, community: Community, *, now: datetime) -> Published | None:
    """What stands in a feed whose address has ended (replaced, or its member left); None when that is long ago."""
    ended_at = one.changed_at or now.replace(hour=0, minute=0, second=0, microsecond=0)
    if now >= ended_at + timedelta(days=NOTICE_DAYS):
        return None
    if one.standing is LinkStatus.LEFT:
        words = f"You have left {community.name}, so no more meetings are shown here. You can remove this calendar."
    else:
        words = (
            "This calendar has a new address, and no more meetings are shown at this one. The latest mail from us "
            "leads to the new one; then remove this calendar."
        )
    words += f"\n\nEveryone can subscribe to the public calendar: {community.base_url}/subscribe"
    heading = f"{community.name}: this calendar has ended"
    content = ended_feed(community, ended_at=ended_at, days=NOTICE_DAYS, heading=heading, words=words)
    return Published(content, ended_at)


async def members_feed(
    database: Database,
    series: Sequence[Series],
    community: Community,
    member: Member,
    *,
    keys: Keys,
    now: datetime,
) -> Published:
    """The same as a member's own address gives. Raises Refused for one who is not on the list."""
    if member.status not in ("active", "paused"):
        raise Refused(f"{member.address} is not on the list ({member.status}) and has no calendar")
    async with database.read() as connection:
        one = await _subscriber(connection, member, keys=keys, now=now)
    return filled(await private_feed(database, series, community, alarm=one.alarm, now=now), one)


async def look(database: Database, token: str, *, keys: Keys) -> tuple[LinkStatus, Member | None]:
    """What a member's own link for subscribing is worth, and whose it is where it is good. Changes nothing."""
    async with database.read() as connection:
        standing, member = await recognise(connection, token, Purpose.SUBSCRIBE, keys=keys)
    return standing, member if standing is LinkStatus.GOOD else None


async def choose_invitations(
    database: Database, token: str, *, by: str, keys: Keys
) -> tuple[LinkStatus, Member | None]:
    """Let the link's member be invited by `mail`, or by `feed` alone: as `look`, and done where it is good."""
    async with database.write() as connection:
        standing, member = await recognise(connection, token, Purpose.SUBSCRIBE, keys=keys)
        if standing is not LinkStatus.GOOD or member is None:
            return standing, None
        if member.invitation_by != by:
            await members.change(connection, member.id, invitation_by=by)
            log.info("invitations-chosen", member=member.id, by=by)
        return standing, await members.by_id(connection, member.id)


def feed_preferences(
    member: Member, *, alarm_minutes: int | None, answers: bool, now: datetime
) -> dict[str, Any]:
    """The columns that let a member's own feed ring `alarm_minutes` before each start (None: never), and show their
    answers or not. Raises Refused for an alarm that is not accepted."""
    if alarm_minutes is not None and not 0 <= alarm_minutes <= LONGEST_ALARM:
        raise Refused(f"an alarm {alarm_minutes} minutes before is not accepted; give 0 to {LONGEST_ALARM}")
    values = {"feed_alarm_minutes": alarm_minutes, "feed_answers": answers}
    if all(getattr(member, name) == value for name, value in values.items()):
        return {}
    return {**values, "feed_changed_at": now}
