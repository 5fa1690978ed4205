"""Members' own calendar feeds: their addresses, their content, and the members' choices about them."""

from collections.abc import Collection, Mapping, Sequence
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
from scheduler.domain.translation import N_, is_english, translator
from scheduler.service.follows import followed_by
from scheduler.service.personal_links import LinkStatus, resolve_link
from scheduler.service.schedule import CalendarFile, in_feed
from scheduler.store import answers, members
from scheduler.store.database import Database
from scheduler.store.members import Member

log = structlog.get_logger()

NOTICE_DAYS = 30
"""How long a feed whose address has ended says so; after that the address answers 410."""

LONGEST_ALARM = 7 * 24 * 60
"""In minutes before the start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscriber:
    """The member's own part of a private feed; `status` says whether the feed's address works.

    `series` are the slugs of the series that they follow; the feed has no others.
    `changed_at` is when the member last changed the feed, or when its address ended.
    """

    status: LinkStatus
    language: str = "en"
    series: Collection[str] = ()
    join_token: str = ""
    answers: Mapping[str, Answer] = field(default_factory=dict)
    alarm: timedelta | None = None
    changed_at: datetime | None = None


def feed_url(keys: Keys, community: Community, member: Member) -> str:
    """Return the address of a member's own feed."""
    token = keys.token(Purpose.FEED, member.id, generation=member.feed_generation)
    return f"{community.base_url}/cal/{token}.ics"


def subscribe_url(keys: Keys, community: Community, member: Member) -> str:
    """Return the address of a member's own page for subscribing."""
    token = keys.token(Purpose.SUBSCRIBE, member.id, generation=member.generation)
    return f"{community.base_url}/subscribe/{token}"


async def find_subscriber(
    database: Database,
    token: str,
    *,
    all_series: Sequence[Series],
    community: Community,
    keys: Keys,
    now: datetime,
) -> Subscriber:
    """Return the subscriber whose private feed has the token `token` in its address. Changes nothing."""
    async with database.read() as connection:
        status, member = await resolve_link(connection, token, Purpose.FEED, keys=keys)
        if status is LinkStatus.GOOD and member and member.status != "pending":
            return await _subscriber(
                connection, member, all_series=all_series, community=community, keys=keys, now=now
            )
        if status is LinkStatus.REPLACED:
            member = await members.by_id(connection, token_subject(token) or 0)
    if member is None or member.status == "pending":
        return Subscriber(status=LinkStatus.UNKNOWN)
    return Subscriber(
        status=status, language=_language_of(member, community), changed_at=member.feed_changed_at
    )


def _language_of(member: Member, community: Community) -> str:
    language = community.language_for(member.locale)
    # A feed has no dates in words, so Americans share that of the others.
    return "en" if is_english(language) else language


async def _subscriber(
    connection: AsyncConnection,
    member: Member,
    *,
    all_series: Sequence[Series],
    community: Community,
    keys: Keys,
    now: datetime,
) -> Subscriber:
    own_answers = {}
    if member.feed_answers:
        rows = await answers.answers_of(connection, member.id, since=feed_window(now)[0])
        own_answers = {key: Answer(word, at) for key, (word, at) in rows.items()}
    minutes = member.feed_alarm_minutes
    return Subscriber(
        status=LinkStatus.GOOD,
        language=_language_of(member, community),
        series=await followed_by(connection, member, all_series),
        answers=own_answers,
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
    language: str,
    now: datetime,
) -> PrivateFeed:
    """Return what the feeds of all members with that alarm and language have in common.

    `personal_feed` fills in the rest.
    """
    occurrences, changed_at = await in_feed(database, series, now=now)
    return PrivateFeed(
        occurrences,
        {each.slug: each.in_language(language) for each in series},
        community,
        join_url=community.join_url,
        alarm=alarm,
        changed_at=changed_at,
        language=language,
    )


def personal_feed(common: PrivateFeed, subscriber: Subscriber) -> CalendarFile:
    """Return the feed of a subscriber whose address works."""
    changes = [answer.at for answer in subscriber.answers.values()]
    if subscriber.changed_at:
        changes.append(subscriber.changed_at)
    content = common.of_series(subscriber.series).fill(subscriber.join_token, subscriber.answers)
    return CalendarFile(content, max([common.changed_at, *changes]))


# Translators: these four are in a calendar that somebody subscribed to, after its address ended.
_ENDED = N_("%(community)s: this calendar has ended")
_LEFT = N_("You have left %(community)s, so no more meetings are shown here. You can remove this calendar.")
_REPLACED = N_(
    "This calendar has a new address, so no more meetings are shown here. Use the link in our latest mail to "
    "subscribe to the new one, then remove this calendar."
)
_PUBLIC = N_("Everyone can subscribe to the public calendar: %(url)s")


def ended_member_feed(subscriber: Subscriber, community: Community, *, now: datetime) -> CalendarFile | None:
    """Return the feed shown at an address that has ended, because it was replaced or its member left; None once it
    ended more than NOTICE_DAYS ago."""
    ended_at = subscriber.changed_at or now.replace(hour=0, minute=0, second=0, microsecond=0)
    if now >= ended_at + timedelta(days=NOTICE_DAYS):
        return None
    say = translator(subscriber.language).gettext
    values = {"community": community.name, "url": f"{community.base_url}/subscribe"}
    words = (_LEFT if subscriber.status is LinkStatus.LEFT else _REPLACED, _PUBLIC)
    content = ended_feed(
        community,
        ended_at=ended_at,
        days=NOTICE_DAYS,
        heading=say(_ENDED) % values,
        words="\n\n".join(say(message) % values for message in words),
    )
    return CalendarFile(content, ended_at)


async def members_feed(
    database: Database,
    series: Sequence[Series],
    community: Community,
    member: Member,
    *,
    keys: Keys,
    now: datetime,
) -> CalendarFile:
    """Return the content of a member's own feed. Raises Refused for somebody who is not on the list."""
    if member.status not in ("active", "paused"):
        raise Refused(f"{member.address} is not on the list ({member.status}) and has no calendar")
    async with database.read() as connection:
        subscriber = await _subscriber(
            connection, member, all_series=series, community=community, keys=keys, now=now
        )
    common = await private_feed(
        database, series, community, alarm=subscriber.alarm, language=subscriber.language, now=now
    )
    return personal_feed(common, subscriber)


async def check_subscribe_link(
    database: Database, token: str, *, keys: Keys
) -> tuple[LinkStatus, Member | None]:
    """Return whether a member's own link for subscribing works, and its member if so. Changes nothing."""
    async with database.read() as connection:
        status, member = await resolve_link(connection, token, Purpose.SUBSCRIBE, keys=keys)
    return status, member if status is LinkStatus.GOOD else None


async def choose_invitations(
    database: Database, token: str, *, by: str, keys: Keys
) -> tuple[LinkStatus, Member | None]:
    """Send the member's invitations by `mail`, or by `feed` alone. Return what `check_subscribe_link` does."""
    async with database.write() as connection:
        status, member = await resolve_link(connection, token, Purpose.SUBSCRIBE, keys=keys)
        if status is not LinkStatus.GOOD or member is None:
            return status, None
        if member.invitation_by != by:
            await members.change(connection, member.id, invitation_by=by)
            log.info("invitations-chosen", member=member.id, by=by)
        return status, await members.by_id(connection, member.id)


def feed_preferences(
    member: Member, *, alarm_minutes: int | None, answers: bool, now: datetime
) -> dict[str, Any]:
    """Return the columns that set the alarm of a member's own feed, `alarm_minutes` before each start (None: no alarm),
    and whether it shows their answers. Raises Refused for an alarm that is out of range."""
    if alarm_minutes is not None and not 0 <= alarm_minutes <= LONGEST_ALARM:
        raise Refused(
            f"an alarm {alarm_minutes} minutes before the start is not accepted; give 0 to {LONGEST_ALARM}"
        )
    values = {"feed_alarm_minutes": alarm_minutes, "feed_answers": answers}
    if all(getattr(member, name) == value for name, value in values.items()):
        return {}
    return {**values, "feed_changed_at": now}


def feed_language(member: Member, locale: str, *, now: datetime) -> dict[str, Any]:
    """Return the columns that say that a member's own feed changes with their new locale: it is in their language.

    The feed of somebody who left last changed when they did.
    """
    return {"feed_changed_at": now} if locale != member.locale and member.status != "left" else {}
