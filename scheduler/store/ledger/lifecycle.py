"""Deliveries that wait follow their members and due instants: set-based, and idempotent."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, and_, exists, func, or_, select, true, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.policy import EVERY_ZONE, PERSONAL, REPLIES, Kind
from scheduler.store.answers import declines
from scheduler.store.ledger.reports import count_states, due_or_begun
from scheduler.store.members import mute_fits
from scheduler.store.notices import open_notice_ids
from scheduler.store.schema import deliveries, dues, members, notices, occurrences, revisions

never_tried = deliveries.c.attempts == 0
member_status = select(members.c.status).where(members.c.id == deliveries.c.member).scalar_subquery()
is_suppressed = exists().where(members.c.id == deliveries.c.member, members.c.suppressed_at.is_not(None))
member_zone = select(members.c.zone).where(members.c.id == deliveries.c.member).scalar_subquery()
member_locale = select(members.c.locale).where(members.c.id == deliveries.c.member).scalar_subquery()


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
            queued,
            touched,
            member_status != "active",
            deliveries.c.notice.in_(open_notice_ids(notices.c.kind.not_in(REPLIES))),
        )
        .values(state="withdrawn", reason=member_status)
    )
    await connection.execute(
        update(deliveries)
        .where(
            # Whatever the first cause was: a notice that is usable has none of its own any more.
            deliveries.c.state == "withdrawn",
            never_tried,
            touched,
            deliveries.c.notice.in_(open_notice_ids(usable(now))),
            member_status == "active",
        )
        .values(state="queued", reason="")
    )
    by_feed = exists().where(members.c.id == deliveries.c.member, members.c.invitation_by == "feed")
    invited = and_(
        ~deliveries.c.uncertain, deliveries.c.notice.in_(open_notice_ids(notices.c.kind == Kind.INVITATION))
    )
    causes = (
        ("declined", deliveries.c.notice.in_(open_notice_ids(notices.c.kind == Kind.REMINDER)), declined),
        ("feed only", invited, by_feed),
        ("unwanted", deliveries.c.notice.in_(open_notice_ids()), is_unwanted()),
        (
            "suppressed",
            deliveries.c.notice.in_(open_notice_ids(notices.c.kind.not_in(REPLIES))),
            is_suppressed,
        ),
    )
    # All come back before any is skipped: when one cause is gone another may be left.
    for reason, _, cause in causes:
        await connection.execute(
            update(deliveries)
            .where(
                deliveries.c.state == "skipped",
                deliveries.c.reason == reason,
                never_tried,
                touched,
                deliveries.c.notice.in_(open_notice_ids(usable(now))),
                ~cause,
            )
            .values(state="queued", reason="")
        )
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
        .where(queued, touched, ~deliveries.c.uncertain, deliveries.c.notice.in_(open_notice_ids()), moved)
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
        deliveries.c.notice == number,
        deliveries.c.state.in_(("queued", "withdrawn", "skipped")),
        ~deliveries.c.uncertain,
        deliveries.c.due != due,
    )
    await connection.execute(update(deliveries).where(waiting, deliveries.c.attempts > 0).values(due=due))
    await connection.execute(update(deliveries).where(waiting, never_tried).values(due=due, next_try=due))


async def begin_at(
    connection: AsyncConnection, number: int, zone: str, start: datetime, now: datetime
) -> None:
    """Let what waits of a notice in `zone` (`*` for all), and may not be sent yet, be sent from `start` on."""
    waiting = and_(
        deliveries.c.notice == number,
        deliveries.c.state == "queued",
        never_tried,
        deliveries.c.next_try > now,
        deliveries.c.next_try != start,
        *([deliveries.c.zone == zone] if zone != EVERY_ZONE else []),
    )
    await connection.execute(update(deliveries).where(waiting).values(next_try=start))


MEMBERS_CAUSES = ("declined", "feed only", "unwanted", "suppressed")
"""Why a delivery is skipped for as long as its member has that cause."""


async def withdraw(connection: AsyncConnection, number: int, *, reason: str) -> int:
    """Take the queued deliveries of a notice out of the queue; returns how many.

    One whose try stays uncertain may have arrived: it is settled as sent (uncertain) where the occurrence has
    changed, and what changed follows as its own notice.
    """
    queued = and_(deliveries.c.notice == number, deliveries.c.state == "queued")
    await connection.execute(
        update(deliveries)
        .where(queued, deliveries.c.uncertain)
        .values(state="sent", reason="uncertain", sent_at=deliveries.c.tried_at)
    )
    done = await connection.execute(update(deliveries).where(queued).values(state="withdrawn", reason=reason))
    return done.rowcount


async def requeue(connection: AsyncConnection, number: int) -> int:
    """Return to the queue the deliveries of a notice, usable again, that were withdrawn, or skipped for a cause that is
    gone, and never tried; returns how many."""
    declined = exists().where(
        notices.c.id == number,
        notices.c.kind == Kind.REMINDER,
        declines(deliveries.c.member, notices.c.occurrence),
    )
    by_feed = and_(
        exists().where(notices.c.id == number, notices.c.kind == Kind.INVITATION),
        exists().where(members.c.id == deliveries.c.member, members.c.invitation_by == "feed"),
    )
    done = await connection.execute(
        update(deliveries)
        .where(
            deliveries.c.notice == number,
            never_tried,
            member_status == "active",
            or_(
                deliveries.c.state == "withdrawn",
                and_(deliveries.c.state == "skipped", deliveries.c.reason.in_(MEMBERS_CAUSES)),
            ),
            ~declined,
            ~by_feed,
            ~is_unwanted(),
            ~is_suppressed,
        )
        .values(state="queued", reason="", zone=member_zone, locale=member_locale)
    )
    return done.rowcount


async def retry_failed(connection: AsyncConnection, number: int, now: datetime) -> int:
    """Return failed deliveries to the queue, as only a convenor may; returns how many."""
    done = await connection.execute(
        update(deliveries)
        .where(
            deliveries.c.notice == number,
            deliveries.c.state == "failed",
            member_status == "active",
            ~is_suppressed,
        )
        .values(state="queued", reason="", next_try=now, uncertain=False)
    )
    return done.rowcount


async def settle_changed(connection: AsyncConnection) -> int:
    """Settle as sent (uncertain) what was tried without an answer before its occurrence changed start or status:
    it cannot be sent again with the same text, and the change is told by its own notice."""
    changed = (
        select(deliveries.c.id)
        .join(notices, notices.c.id == deliveries.c.notice)
        .join(occurrences, occurrences.c.key == notices.c.occurrence)
        .join(
            revisions,
            and_(revisions.c.occurrence == occurrences.c.key, revisions.c.revision == deliveries.c.revision),
        )
        .where(
            deliveries.c.state == "queued",
            deliveries.c.uncertain,
            or_(revisions.c.starts != occurrences.c.starts, revisions.c.cancelled != occurrences.c.cancelled),
        )
    )
    done = await connection.execute(
        update(deliveries)
        .where(deliveries.c.id.in_(changed))
        .values(state="sent", reason="uncertain", sent_at=deliveries.c.tried_at)
    )
    return done.rowcount


async def expire(connection: AsyncConnection, now: datetime) -> int:
    """End what is of no more use; returns how many."""
    over = open_notice_ids(notices.c.expires <= now)
    waiting = and_(deliveries.c.state == "queued", deliveries.c.notice.in_(over))
    await connection.execute(
        update(deliveries)
        .where(waiting, deliveries.c.uncertain)
        .values(state="sent", reason="uncertain", sent_at=deliveries.c.tried_at)
    )
    tried = await connection.execute(
        update(deliveries)
        .where(waiting, ~never_tried)
        .values(state="expired", reason="late: " + deliveries.c.reason)
    )
    late = await connection.execute(update(deliveries).where(waiting).values(state="expired", reason="late"))
    return tried.rowcount + late.rowcount


async def requeue_given_up(connection: AsyncConnection, now: datetime) -> int:
    """Queue again what a clock ahead of `now` gave up or put off, of notices that are still of use; returns how many
    came back. A reminder that it skipped for a later one comes back too, for the next tick to decide anew."""
    await connection.execute(
        update(notices)
        .where(notices.c.expires > now, notices.c.closed_at > now)
        .values(closed_at=None, tally=None)
    )
    its = deliveries.c.notice.in_(open_notice_ids(usable(now)))
    given_up = or_(
        and_(deliveries.c.state == "expired", deliveries.c.reason.startswith("late")),
        and_(deliveries.c.state == "skipped", deliveries.c.reason == "superseded", never_tried),
    )
    done = await connection.execute(
        update(deliveries).where(given_up, its).values(state="queued", reason="", next_try=deliveries.c.due)
    )
    put_off = and_(deliveries.c.state == "queued", ~never_tried, deliveries.c.next_try > now)
    await connection.execute(update(deliveries).where(put_off).values(next_try=now))
    return done.rowcount


async def end_due_before(connection: AsyncConnection, moment: datetime, *, reason: str) -> int:
    """End, for `reason`, what waits or is being sent though it was due, or begun, before `moment`; returns how many."""
    done = await connection.execute(
        update(deliveries)
        .where(
            deliveries.c.state.in_(("queued", "sending")),
            due_or_begun(moment),
            deliveries.c.notice.in_(open_notice_ids()),
        )
        .values(state="expired", reason=reason, run=None)
    )
    return done.rowcount


def later_reminder(now: datetime | ColumnElement[datetime]) -> ColumnElement[bool]:
    """Whether the member has a later-due reminder of the same start, due or begun by `now`, that is not done with: a
    condition on `deliveries` and their `notices`."""
    other, other_notice = deliveries.alias("other"), notices.alias("other_notice")
    return exists().where(
        other.c.member == deliveries.c.member,
        other.c.notice == other_notice.c.id,
        or_(other.c.due <= now, other.c.next_try <= now, other.c.attempts > 0),
        other_notice.c.kind == Kind.REMINDER,
        other_notice.c.occurrence == notices.c.occurrence,
        other_notice.c.starts == notices.c.starts,
        other.c.state.in_(("queued", "sending", "sent")),
        or_(
            other.c.due > deliveries.c.due,
            and_(other.c.due == deliveries.c.due, other.c.id > deliveries.c.id),
        ),
    )


async def supersede(connection: AsyncConnection, now: datetime, *, among: Sequence[int]) -> int:
    """Skip what of the reminders `among` is due and unsent where its member has a later-due one of the same start;
    returns how many were skipped."""
    stale = (
        select(deliveries.c.id)
        .join(notices, notices.c.id == deliveries.c.notice)
        .where(
            deliveries.c.notice.in_(among),
            notices.c.kind == Kind.REMINDER,
            deliveries.c.state == "queued",
            ~deliveries.c.uncertain,
            deliveries.c.due <= now,
            later_reminder(now),
        )
    )
    done = await connection.execute(
        update(deliveries).where(deliveries.c.id.in_(stale)).values(state="skipped", reason="superseded")
    )
    return done.rowcount


async def close_finished(connection: AsyncConnection, now: datetime) -> int:
    """Close the notices that have expired with nothing left queued or being sent, and service mails as soon as theirs
    is not; returns how many. One that was for many keeps the tally of its deliveries, which do not change any more."""
    left = exists().where(deliveries.c.notice == notices.c.id, deliveries.c.state.in_(("queued", "sending")))
    withdrawn = exists().where(deliveries.c.notice == notices.c.id, deliveries.c.state == "withdrawn")
    done_with = or_(notices.c.expires <= now, and_(notices.c.kind.in_(PERSONAL), ~withdrawn))
    unfanned = and_(
        exists().where(dues.c.notice == notices.c.id, dues.c.fanned_at.is_(None), dues.c.due <= now),
        # What is stopped or unwanted is never fanned out.
        notices.c.stopped_at.is_(None),
        notices.c.unwanted.is_(None),
    )
    done = await connection.execute(
        update(notices)
        .where(notices.c.closed_at.is_(None), done_with, ~left, ~(unfanned & ~notices.c.frozen))
        .values(closed_at=now)
    )
    if done.rowcount:
        closed = select(notices.c.id).where(notices.c.closed_at == now, notices.c.member.is_(None))
        for number, tally in (await count_states(connection, closed)).items():
            await connection.execute(update(notices).where(notices.c.id == number).values(tally=tally))
    return done.rowcount
