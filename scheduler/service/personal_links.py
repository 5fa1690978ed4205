"""Personal links: whose a link is, whether it still works, and whether it opens the meeting room now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.locale import hour_cycle
from scheduler.domain.localtime import JOIN_OPENS, LocalTime, local_time
from scheduler.domain.occurrence import Occurrence, Series, Status
from scheduler.domain.token import Keys, Purpose, token_expiry, token_subject
from scheduler.service.schedule import find_meeting, unmoved, upcoming
from scheduler.store import members
from scheduler.store.database import Database
from scheduler.store.members import Member

_OLD_LINKS_KNOWN = 50


class LinkStatus(StrEnum):
    """What a personal link is worth: its member's and good, theirs but they have left, replaced by a newer one of
    theirs, past its time, or nobody's."""

    GOOD = "good"
    LEFT = "left"
    REPLACED = "replaced"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


async def recognise(
    connection: AsyncConnection, token: str, purpose: Purpose, *, keys: Keys, now: datetime | None = None
) -> tuple[LinkStatus, Member | None]:
    """Whose personal link `token` is, if it was made for `purpose`; the member only where it is good or they left.

    `now` is needed for a purpose whose links expire.
    """
    standing, member, _ = await recognise_among(connection, token, purpose, [""], keys=keys, now=now)
    return standing, member


async def recognise_among(
    connection: AsyncConnection,
    token: str,
    purpose: Purpose,
    things: Sequence[str],
    *,
    keys: Keys,
    now: datetime | None = None,
) -> tuple[LinkStatus, Member | None, str]:
    """The same for a link that is bound to one of `things`, and which of them it is."""
    number = token_subject(token)
    member = await members.by_id(connection, number) if number is not None else None
    if member is None:
        return LinkStatus.UNKNOWN, None, ""
    current = member.feed_generation if purpose is Purpose.FEED else member.generation
    for about in things:
        if keys.matches(token, purpose, generation=current, about=about):
            if (expires := token_expiry(token)) and _is_over(expires, now):
                return LinkStatus.EXPIRED, None, about
            return (LinkStatus.LEFT if member.status == "left" else LinkStatus.GOOD), member, about
    older = range(max(0, current - _OLD_LINKS_KNOWN), current)
    replaced = any(
        keys.matches(token, purpose, generation=one, about=about) for one in older for about in things
    )
    return (LinkStatus.REPLACED if replaced else LinkStatus.UNKNOWN), None, ""


def _is_over(expires: datetime, now: datetime | None) -> bool:
    if now is None:
        raise ValueError("a link that expires was taken for one that does not")
    return expires <= now


DOORS_CLOSE = timedelta(minutes=30)
"""How long after the end the join link still leads to the room."""


class JoinStatus(StrEnum):
    """What is found behind a join link."""

    OPEN = "open"
    EARLY = "early"
    OVER = "over"
    CANCELLED = "cancelled"
    ROOMLESS = "roomless"
    NO_MEETING = "no-meeting"
    LEFT = "left"
    REPLACED = "replaced"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """The answer to somebody at the door. `room` is set where it is open.

    `when` is the meeting's time in the member's own zone and hour cycle, `was` the one it was moved from, `next` the
    next meeting that is held; None where they do not apply.
    """

    door: JoinStatus
    title: str = ""
    topic: str = ""
    room: str = ""
    has_room: bool = True
    when: LocalTime | None = None
    was: LocalTime | None = None
    next: LocalTime | None = None


_BY_STANDING = {
    LinkStatus.LEFT: JoinStatus.LEFT,
    LinkStatus.REPLACED: JoinStatus.REPLACED,
    LinkStatus.UNKNOWN: JoinStatus.UNKNOWN,
}


async def enter(
    database: Database,
    series: Mapping[str, Series],
    token: str,
    key: str,
    *,
    keys: Keys,
    locale: str,
    now: datetime,
) -> Entry:
    """Answer the join link `token` to the occurrence `key`. Changes nothing.

    The door opens 15 minutes before the start and closes 30 minutes after the end. `locale` is that of members who
    have named none.
    """
    async with database.read() as connection:
        standing, member = await recognise(connection, token, Purpose.JOIN, keys=keys)
        if member is None or standing is not LinkStatus.GOOD:
            return Entry(door=_BY_STANDING[standing])
        one = await find_meeting(connection, series, key)
        following = await upcoming(connection, list(series.values()), now=now)
    if one is None:
        return Entry(door=JoinStatus.NO_MEETING, next=_when(following, series, member, locale))
    its = series[one.series]
    room = one.link or its.link
    door = _door(one, room, now)
    elsewhere = following if following and following.key != one.key else None
    return Entry(
        door=door,
        title=its.title,
        topic=one.topic,
        room=room if door is JoinStatus.OPEN else "",
        has_room=bool(room),
        when=_when(one, series, member, locale),
        was=_was(one, series, member, locale),
        next=_when(elsewhere, series, member, locale),
    )


def _door(one: Occurrence, room: str, now: datetime) -> JoinStatus:
    if one.cancelled:
        return JoinStatus.CANCELLED
    if now > one.ends + DOORS_CLOSE:
        return JoinStatus.OVER
    if now < one.starts - JOIN_OPENS:
        return JoinStatus.EARLY
    return JoinStatus.OPEN if room else JoinStatus.ROOMLESS


def _when(
    one: Occurrence | None, series: Mapping[str, Series], member: Member, locale: str
) -> LocalTime | None:
    if one is None:
        return None
    return local_time(one, series[one.series], zone=member.zone, cycle=hour_cycle(member.locale or locale))


def _was(one: Occurrence, series: Mapping[str, Series], member: Member, locale: str) -> LocalTime | None:
    if one.status is not Status.MOVED:
        return None
    return _when(unmoved(one), series, member, locale)
