"""What ends unsent, for which reason, and what comes back to the queue when that is gone."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, and_, exists, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.policy import PERSONAL, Kind
from scheduler.store.answers import declines
from scheduler.store.ledger.following import (
    is_suppressed,
    is_unwanted,
    member_locale,
    member_status,
    member_zone,
    never_tried,
    of_open,
    usable,
)
from scheduler.store.ledger.reports import count_states, due_or_begun
from scheduler.store.schema import deliveries, dues, members, notices, occurrences, revisions

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


async def give_back(connection: AsyncConnection, number: int) -> int:
    """Return to the queue the deliveries of a notice, usable again, that were withdrawn, or skipped for a cause that is
    gone, and never tried; returns how many."""
    declined = exists().where(
        notices.c.id == number, notices.c.kind == Kind.REMINDER,
        declines(deliveries.c.member, notices.c.occurrence),
    )  # fmt: skip
    by_feed = and_(
        exists().where(notices.c.id == number, notices.c.kind == Kind.INVITATION),
        exists().where(members.c.id == deliveries.c.member, members.c.invitation_by == "feed"),
    )
    done = await connection.execute(
        update(deliveries)
        .where(
            deliveries.c.notice == number, never_tried, member_status == "active",
            or_(
                deliveries.c.state == "withdrawn",
                and_(deliveries.c.state == "skipped", deliveries.c.reason.in_(MEMBERS_CAUSES)),
            ),
            ~declined, ~by_feed, ~is_unwanted(), ~is_suppressed,
        )
        .values(state="queued", reason="", zone=member_zone, locale=member_locale)
    )  # fmt: skip
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
            deliveries.c.state == "queued", deliveries.c.uncertain,
            or_(revisions.c.starts != occurrences.c.starts, revisions.c.cancelled != occurrences.c.cancelled),
        )
    )  # fmt: skip
    done = await connection.execute(
        update(deliveries)
        .where(deliveries.c.id.in_(changed))
        .values(state="sent", reason="uncertain", sent_at=deliveries.c.tried_at)
    )
    return done.rowcount


async def expire(connection: AsyncConnection, now: datetime) -> int:
    """End what is of no more use; returns how many."""
    over = of_open(notices.c.expires <= now)
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


async def take_back(connection: AsyncConnection, now: datetime) -> int:
    """Queue again what a clock ahead of `now` gave up or put off, of notices that are still of use; returns how many
    came back. A reminder that it skipped for a later one comes back too, for the next tick to decide anew."""
    await connection.execute(
        update(notices)
        .where(notices.c.expires > now, notices.c.closed_at > now)
        .values(closed_at=None, tally=None)
    )
    its = deliveries.c.notice.in_(of_open(usable(now)))
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
            deliveries.c.state.in_(("queued", "sending")), due_or_begun(moment),
            deliveries.c.notice.in_(of_open()),
        )
        .values(state="expired", reason=reason, run=None)
    )  # fmt: skip
    return done.rowcount


def later_reminder(now: datetime | ColumnElement[datetime]) -> ColumnElement[bool]:
    """Whether the member has a later-due reminder of the same start, due or begun by `now`, that is not done with: a
    condition on `deliveries` and their `notices`."""
    other, other_notice = deliveries.alias("other"), notices.alias("other_notice")
    return (
        exists()
        .where(
            other.c.member == deliveries.c.member, other.c.notice == other_notice.c.id,
            or_(other.c.due <= now, other.c.next_try <= now, other.c.attempts > 0),
            other_notice.c.kind == Kind.REMINDER, other_notice.c.occurrence == notices.c.occurrence,
            other_notice.c.starts == notices.c.starts,
            other.c.state.in_(("queued", "sending", "sent")),
            or_(other.c.due > deliveries.c.due, and_(other.c.due == deliveries.c.due, other.c.id > deliveries.c.id)),
        )
    )  # fmt: skip


async def supersede(connection: AsyncConnection, now: datetime, *, among: Sequence[int]) -> int:
    """Skip what of the reminders `among` is due and unsent where its member has a later-due one of the same start;
    returns how many were skipped."""
    stale = (
        select(deliveries.c.id)
        .join(notices, notices.c.id == deliveries.c.notice)
        .where(
            deliveries.c.notice.in_(among), notices.c.kind == Kind.REMINDER, deliveries.c.state == "queued",
            ~deliveries.c.uncertain, deliveries.c.due <= now, later_reminder(now),
        )
    )  # fmt: skip
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
        notices.c.stopped_at.is_(None), notices.c.unwanted.is_(None),
    )  # fmt: skip
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
