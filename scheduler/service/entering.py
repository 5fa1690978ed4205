"""Joining a meeting: whether a member's own link leads into the room now, and when it will if it does not."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from scheduler.delivery.wording import DOORS_OPEN, When, describe_when
from scheduler.domain.locale_tag import hour_cycle
from scheduler.domain.occurrence import Occurrence, Series, Status
from scheduler.domain.token import Keys, Purpose
from scheduler.service.publishing import find_meeting, unmoved, upcoming
from scheduler.service.recognising import Standing, recognise
from scheduler.store.database import Database
from scheduler.store.members import Member

DOORS_CLOSE = timedelta(minutes=30)
"""How long after the end the join link still leads to the room."""


class Door(StrEnum):
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

    door: Door
    title: str = ""
    topic: str = ""
    room: str = ""
    has_room: bool = True
    when: When | None = None
    was: When | None = None
    next: When | None = None


_BY_STANDING = {
    Standing.LEFT: Door.LEFT, Standing.REPLACED: Door.REPLACED, Standing.UNKNOWN: Door.UNKNOWN,
}  # fmt: skip


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
        if member is None or standing is not Standing.GOOD:
            return Entry(door=_BY_STANDING[standing])
        one = await find_meeting(connection, series, key)
        following = await upcoming(connection, list(series.values()), now=now)
    if one is None:
        return Entry(door=Door.NO_MEETING, next=_when(following, series, member, locale))
    its = series[one.series]
    room = one.link or its.link
    door = _door(one, room, now)
    elsewhere = following if following and following.key != one.key else None
    return Entry(
        door=door, title=its.title, topic=one.topic, room=room if door is Door.OPEN else "", has_room=bool(room),
        when=_when(one, series, member, locale), was=_was(one, series, member, locale),
        next=_when(elsewhere, series, member, locale),
    )  # fmt: skip


def _door(one: Occurrence, room: str, now: datetime) -> Door:
    if one.cancelled:
        return Door.CANCELLED
    if now > one.ends + DOORS_CLOSE:
        return Door.OVER
    if now < one.starts - DOORS_OPEN:
        return Door.EARLY
    return Door.OPEN if room else Door.ROOMLESS


def _when(one: Occurrence | None, series: Mapping[str, Series], member: Member, locale: str) -> When | None:
    if one is None:
        return None
    return describe_when(one, series[one.series], zone=member.zone, cycle=hour_cycle(member.locale or locale))


def _was(one: Occurrence, series: Mapping[str, Series], member: Member, locale: str) -> When | None:
    if one.status is not Status.MOVED:
        return None
    return _when(unmoved(one), series, member, locale)
