"""Personal links: whose a link is, whether it still works, and whether it opens the meeting room now."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.errors import Problem
from scheduler.domain.locale import hour_cycle
from scheduler.domain.localtime import JOIN_OPENS, HourCycle, LocalTime, local_time
from scheduler.domain.occurrence import Occurrence, Series, Status, followed
from scheduler.domain.token import Keys, Purpose, token_expiry, token_subject
from scheduler.service.schedule import find_occurrence, unmoved, upcoming
from scheduler.store import follows, members
from scheduler.store.database import Database
from scheduler.store.members import Member

_OLD_GENERATIONS = 50
"""How many earlier generations of a member's links are still recognised as replaced."""


class LinkStatus(StrEnum):
    """Whether a personal link works: it does; its member has left; a newer link replaced it; it is past its time; or
    it was never made by us."""

    GOOD = "good"
    LEFT = "left"
    REPLACED = "replaced"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


LanguageOf = Callable[[Member], str]
"""Returns the language of the page that is shown to a member, whose link it is."""


def in_english(_: Member) -> str:
    """Show the page in English."""
    return "en"


class InvalidLink(Problem):
    """A personal link that opens nothing; `status` says why."""

    def __init__(self, status: LinkStatus) -> None:
        super().__init__(f"the link is {status}")
        self.status = status


async def resolve_link(
    connection: AsyncConnection, token: str, purpose: Purpose, *, keys: Keys, now: datetime | None = None
) -> tuple[LinkStatus, Member | None]:
    """Return the status of the link `token` and its member, if it was made for `purpose`.

    The member is None unless the link is GOOD or LEFT. `now` is needed for a purpose whose links expire.
    """
    status, member, _ = await resolve_bound_link(connection, token, purpose, [""], keys=keys, now=now)
    return status, member


async def resolve_bound_link(
    connection: AsyncConnection,
    token: str,
    purpose: Purpose,
    subjects: Sequence[str],
    *,
    keys: Keys,
    now: datetime | None = None,
) -> tuple[LinkStatus, Member | None, str]:
    """Do the same for a link that is bound to one of `subjects`, and return that subject too."""
    number = token_subject(token)
    member = await members.by_id(connection, number) if number is not None else None
    if member is None:
        return LinkStatus.UNKNOWN, None, ""
    current = member.feed_generation if purpose is Purpose.FEED else member.generation
    for subject in subjects:
        if keys.matches(token, purpose, generation=current, about=subject):
            if (expires := token_expiry(token)) and _has_expired(expires, now):
                return LinkStatus.EXPIRED, None, subject
            return (LinkStatus.LEFT if member.status == "left" else LinkStatus.GOOD), member, subject
    earlier = range(max(0, current - _OLD_GENERATIONS), current)
    replaced = any(
        keys.matches(token, purpose, generation=generation, about=subject)
        for generation in earlier
        for subject in subjects
    )
    return (LinkStatus.REPLACED if replaced else LinkStatus.UNKNOWN), None, ""


async def require_link(
    connection: AsyncConnection, token: str, purpose: Purpose, *, keys: Keys, now: datetime | None = None
) -> Member:
    """Return the member of a good link. Raises InvalidLink for any other."""
    status, member = await resolve_link(connection, token, purpose, keys=keys, now=now)
    if member is None or status is not LinkStatus.GOOD:
        raise InvalidLink(status)
    return member


def _has_expired(expires: datetime, now: datetime | None) -> bool:
    if now is None:
        raise ValueError("`now` is needed: this link expires")
    return expires <= now


ROOM_CLOSES_AFTER = timedelta(minutes=30)
"""How long after the end of the meeting a join link still leads to the room."""


class JoinStatus(StrEnum):
    """What a join link leads to."""

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
class JoinResult:
    """What somebody who opens a join link gets. `room` is set only while the room is open.

    `when` is the meeting's time in the member's own zone and hour cycle, `was` the time it was moved from, `next` the
    next meeting that takes place; None where they do not apply.
    """

    status: JoinStatus
    title: str = ""
    topic: str = ""
    room: str = ""
    has_room: bool = True
    when: LocalTime | None = None
    was: LocalTime | None = None
    next: LocalTime | None = None


_BY_LINK_STATUS = {
    LinkStatus.LEFT: JoinStatus.LEFT,
    LinkStatus.REPLACED: JoinStatus.REPLACED,
    LinkStatus.UNKNOWN: JoinStatus.UNKNOWN,
}


async def resolve_join_link(
    database: Database,
    series: Mapping[str, Series],
    token: str,
    key: str,
    *,
    keys: Keys,
    locale: str,
    language_of: LanguageOf = in_english,
    now: datetime,
) -> JoinResult:
    """Return what the join link `token` to the occurrence `key` leads to. Changes nothing.

    The room is open from 15 minutes before the start until 30 minutes after the end. `locale` is for members who have
    chosen none.
    """
    async with database.read() as connection:
        link_status, member = await resolve_link(connection, token, Purpose.JOIN, keys=keys)
        if member is None or link_status is not LinkStatus.GOOD:
            return JoinResult(status=_BY_LINK_STATUS[link_status])
        clock = _Clock(member.zone, hour_cycle(member.locale or locale), language_of(member))
        meeting = await find_occurrence(connection, series, key, now=now)
        slugs = followed(series.values(), await follows.choices_of(connection, member.id))
        following = await upcoming(connection, [series[slug] for slug in slugs], now=now)
    if meeting is None:
        return JoinResult(status=JoinStatus.NO_MEETING, next=_when(following, series, clock))
    meeting_series = series[meeting.series]
    room = meeting.link or meeting_series.link
    status = _join_status(meeting, room, now)
    other = following if following and following.key != meeting.key else None
    return JoinResult(
        status=status,
        title=meeting_series.in_language(clock.language).title,
        topic=meeting.topic,
        room=room if status is JoinStatus.OPEN else "",
        has_room=bool(room),
        when=_when(meeting, series, clock),
        was=_was(meeting, series, clock),
        next=_when(other, series, clock),
    )


def _join_status(meeting: Occurrence, room: str, now: datetime) -> JoinStatus:
    if meeting.cancelled:
        return JoinStatus.CANCELLED
    if now > meeting.ends + ROOM_CLOSES_AFTER:
        return JoinStatus.OVER
    if now < meeting.starts - JOIN_OPENS:
        return JoinStatus.EARLY
    return JoinStatus.OPEN if room else JoinStatus.ROOMLESS


@dataclass(frozen=True, slots=True)
class _Clock:
    """How a member is told times."""

    zone: str
    cycle: HourCycle
    language: str


def _when(meeting: Occurrence | None, series: Mapping[str, Series], clock: _Clock) -> LocalTime | None:
    if meeting is None:
        return None
    return local_time(
        meeting, series[meeting.series], zone=clock.zone, cycle=clock.cycle, language=clock.language
    )


def _was(meeting: Occurrence, series: Mapping[str, Series], clock: _Clock) -> LocalTime | None:
    if meeting.status is not Status.MOVED:
        return None
    return _when(unmoved(meeting), series, clock)
