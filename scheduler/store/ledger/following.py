"""Deliveries that wait follow their members and due instants: set-based, and idempotent."""

from datetime import datetime

from sqlalchemy import ColumnElement, Select, and_, exists, func, or_, select, true, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.policy import EVERY_ZONE, REPLIES, Kind
from scheduler.store.answers import declines
from scheduler.store.mutes import mute_fits
from scheduler.store.schema import deliveries, dues, members, notices

never_tried = deliveries.c.attempts == 0
member_status = select(members.c.status).where(members.c.id == deliveries.c.member).scalar_subquery()
is_suppressed = exists().where(members.c.id == deliveries.c.member, members.c.suppressed_at.is_not(None))
member_zone = select(members.c.zone).where(members.c.id == deliveries.c.member).scalar_subquery()
member_locale = select(members.c.locale).where(members.c.id == deliveries.c.member).scalar_subquery()


def of_open(*conditions: ColumnElement[bool]) -> Select[tuple[int]]:
    return select(notices.c.id).where(notices.c.closed_at.is_(None), *conditions)


def usable(now: datetime) -> ColumnElement[bool]:
    """Whether a notice is still of use, and neither stopped nor unwanted."""
    return and_(notices.c.expires > now, notices.c.stopped_at.is_(None), notices.c.unwanted.is_(None))


def _touched(changed_since: int | None) -> ColumnElement[bool]:
    if changed_since is None:
        return true()
    return deliveries.c.member.in_(select(members.c.id).where(members.c.changed > changed_since))


def is_unwanted() -> ColumnElement[bool]:
    """Whether the member of a delivery does not want such notices."""
    return exists().where(
        notices.c.id == deliveries.c.notice, mute_fits(deliveries.c.member, notices.c.kind, notices.c.policy)
    )


async def follow_members(connection: AsyncConnection, now: datetime, *, changed_since: int | None) -> None:
    """Let queued deliveries follow their members: withdrawn with who left or paused, skipped for who declined, has the
    meeting in their feed, does not want them or has an address that takes no mail, back in the queue when that is over,
    and re-timed for who moved."""
    touched = _touched(changed_since)
    queued = deliveries.c.state == "queued"
    declined = exists().where(
        notices.c.id == deliveries.c.notice, declines(deliveries.c.member, notices.c.occurrence)
    )

    await connection.execute(
        update(deliveries)
        .where(
            queued, touched, member_status != "active",
            deliveries.c.notice.in_(of_open(notices.c.kind.not_in(REPLIES))),
        )
        .values(state="withdrawn", reason=member_status)
    )  # fmt: skip
    await connection.execute(
        update(deliveries)
        .where(
            # Whatever the first cause was: a notice that is usable has none of its own any more.
            deliveries.c.state == "withdrawn", never_tried, touched,
            deliveries.c.notice.in_(of_open(usable(now))), member_status == "active",
        )
        .values(state="queued", reason="")
    )  # fmt: skip
    by_feed = exists().where(members.c.id == deliveries.c.member, members.c.invitation_by == "feed")
    invited = and_(
        ~deliveries.c.uncertain, deliveries.c.notice.in_(of_open(notices.c.kind == Kind.INVITATION))
    )
    causes = (
        ("declined", deliveries.c.notice.in_(of_open(notices.c.kind == Kind.REMINDER)), declined),
        ("feed only", invited, by_feed),
        ("unwanted", deliveries.c.notice.in_(of_open()), is_unwanted()),
        ("suppressed", deliveries.c.notice.in_(of_open(notices.c.kind.not_in(REPLIES))), is_suppressed),
    )
    # All come back before any is skipped: when one cause is gone another may be left.
    for reason, _, cause in causes:
        await connection.execute(
            update(deliveries)
            .where(
                deliveries.c.state == "skipped", deliveries.c.reason == reason, never_tried, touched,
                deliveries.c.notice.in_(of_open(usable(now))), ~cause,
            )
            .values(state="queued", reason="")
        )  # fmt: skip
    for reason, among, cause in causes:
        await connection.execute(
            update(deliveries).where(queued, touched, among, cause).values(state="skipped", reason=reason)
        )
    moved = exists().where(
        members.c.id == deliveries.c.member,
        or_(members.c.zone != deliveries.c.zone, members.c.locale != deliveries.c.locale),
    )
    await connection.execute(
        update(deliveries)
        .where(queued, touched, ~deliveries.c.uncertain, deliveries.c.notice.in_(of_open()), moved)
        .values(zone=member_zone, locale=member_locale)
    )


async def follow_dues(connection: AsyncConnection, number: int) -> None:
    """Give the waiting deliveries of a notice the due instant that their zone now has."""
    due = (
        select(func.max(dues.c.due))
        .where(dues.c.notice == number, or_(dues.c.zone == deliveries.c.zone, dues.c.zone == "*"))
        .scalar_subquery()
    )
    waiting = and_(
        deliveries.c.notice == number, deliveries.c.state.in_(("queued", "withdrawn", "skipped")),
        ~deliveries.c.uncertain, deliveries.c.due != due,
    )  # fmt: skip
    await connection.execute(update(deliveries).where(waiting, deliveries.c.attempts > 0).values(due=due))
    await connection.execute(update(deliveries).where(waiting, never_tried).values(due=due, next_try=due))


async def begin_at(
    connection: AsyncConnection, number: int, zone: str, start: datetime, now: datetime
) -> None:
    """Let what waits of a notice in `zone` (`*` for all), and may not be sent yet, be sent from `start` on."""
    waiting = and_(
        deliveries.c.notice == number, deliveries.c.state == "queued", never_tried,
        deliveries.c.next_try > now, deliveries.c.next_try != start,
        *([deliveries.c.zone == zone] if zone != EVERY_ZONE else []),
    )  # fmt: skip
    await connection.execute(update(deliveries).where(waiting).values(next_try=start))
