"""From a notice to a delivery for everyone it is for, and what later changes do to those: set-based, in bounds."""

from datetime import datetime

from sqlalchemy import ColumnElement, Select, and_, delete, exists, func, literal, or_, select, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.policy import PERSONAL, REPLIES, Kind
from scheduler.store import facts
from scheduler.store.ledger import jobs
from scheduler.store.members import Audience, in_audience
from scheduler.store.mutes import is_muted, mute_fits
from scheduler.store.notices import Notice
from scheduler.store.schema import answers, deliveries, dues, members, notices, occurrences, revisions

BATCH = 20_000
CHUNK = 500


def is_for(kind: Kind, occurrence: str | None, *, due: datetime, expires: datetime) -> ColumnElement[bool]:
    """Which members (active ones) a planned notice due at `due`, and of use until `expires`, is for."""
    terms = [members.c.status == "active", members.c.active_since < expires]
    if kind is Kind.INVITATION:
        terms.append(or_(members.c.uninvited_at.is_(None), members.c.uninvited_at < due))
        terms.append(members.c.invitation_by == "mail")
    if kind is Kind.REMINDER:
        terms.append(members.c.active_since <= due)
        terms.append(~_declined(members.c.id, occurrence))
    return and_(*terms)


def _is_for(notice: Notice, due: datetime) -> ColumnElement[bool]:
    if notice.member is None:
        return is_for(notice.kind, notice.occurrence, due=due, expires=notice.expires)
    its = members.c.id == notice.member
    return its if notice.kind in REPLIES else and_(its, members.c.status == "active")


def _declined(member: ColumnElement[int], occurrence: object) -> ColumnElement[bool]:
    return exists().where(
        answers.c.member == member, answers.c.occurrence == occurrence, answers.c.answer == "declined"
    )


async def fan_out(
    connection: AsyncConnection,
    notice: Notice,
    *,
    zone: str,
    due: datetime,
    now: datetime,
    after: int = 0,
    changed_since: int | None = None,
    audience: Audience | None = None,
) -> int | None:
    """Insert the deliveries that members of `zone` lack, for at most 20,000 members with a number above `after`.

    With `audience` those members are meant, otherwise whom the plan says, in either case without those who do not want
    such notices; with `changed_since` only members
    changed after that mark. Returns the last number looked at, or None where no more are left. A notice of no more
    use yields deliveries that are expired from the start, so that its missing is seen.
    """
    wanted = and_(
        members.c.zone == zone,
        in_audience(audience) if audience is not None else _is_for(notice, due),
        ~is_muted(members.c.id, notice.kind, notice.policy),
        ~exists().where(deliveries.c.notice == notice.id, deliveries.c.member == members.c.id),
        *([members.c.changed > changed_since] if changed_since is not None else []),
    )
    page = (
        select(members.c.id)
        .where(wanted, members.c.id > after)
        .order_by(members.c.id)
        .limit(BATCH)
        .subquery()
    )
    last, count = (
        await connection.execute(select(func.max(page.c.id), func.count()).select_from(page))
    ).one()
    if not count:
        return None
    chunks = -(-count // CHUNK)
    base = await facts.advance(connection, "chunk", by=chunks) - chunks
    late = notice.expires <= now
    rows = select(
        literal(notice.id), members.c.id, members.c.zone, members.c.locale,
        base + (func.row_number().over(order_by=members.c.id) - 1) // CHUNK,
        literal("expired" if late else "queued"), literal("late" if late else ""),
        literal(due, dues.c.due.type), literal(due, dues.c.due.type),
    ).where(wanted, members.c.id > after, members.c.id <= last)  # fmt: skip
    columns = ["notice", "member", "zone", "locale", "chunk", "state", "reason", "due", "next_try"]
    make = sqlite_insert if connection.dialect.name == "sqlite" else postgresql_insert
    await connection.execute(make(deliveries).from_select(columns, rows).on_conflict_do_nothing())
    if make is postgresql_insert and notice.ready and due <= now < notice.expires:
        await jobs.enqueue(connection, range(base, base + chunks))
    return int(last) if count == BATCH else None


def _open(*conditions: ColumnElement[bool]) -> Select[tuple[int]]:
    return select(notices.c.id).where(notices.c.closed_at.is_(None), *conditions)


def _usable(now: datetime) -> ColumnElement[bool]:
    return and_(notices.c.expires > now, notices.c.stopped_at.is_(None), notices.c.unwanted.is_(None))


def _touched(changed_since: int | None) -> ColumnElement[bool]:
    query = select(members.c.id)
    return deliveries.c.member.in_(query.where(members.c.changed > changed_since) if changed_since else query)


def _muted() -> ColumnElement[bool]:
    """Whether the member of a delivery does not want such notices."""
    return exists().where(
        notices.c.id == deliveries.c.notice, mute_fits(deliveries.c.member, notices.c.kind, notices.c.policy)
    )


_never_tried = deliveries.c.attempts == 0
_member_status = select(members.c.status).where(members.c.id == deliveries.c.member).scalar_subquery()
_member_zone = select(members.c.zone).where(members.c.id == deliveries.c.member).scalar_subquery()
_member_locale = select(members.c.locale).where(members.c.id == deliveries.c.member).scalar_subquery()


async def follow_members(connection: AsyncConnection, now: datetime, *, changed_since: int | None) -> None:
    """Let queued deliveries follow their members: withdrawn with who left or paused, skipped for who declined, has the
    meeting in their feed or does not want them, back in the queue when that is over, and re-timed for who moved."""
    touched = _touched(changed_since) if changed_since is not None else _touched(None)
    queued = deliveries.c.state == "queued"
    reminders = _open(notices.c.kind == Kind.REMINDER)
    declined = exists().where(
        answers.c.member == deliveries.c.member,
        answers.c.answer == "declined",
        answers.c.occurrence == notices.c.occurrence,
        notices.c.id == deliveries.c.notice,
    )

    await connection.execute(
        update(deliveries)
        .where(
            queued, touched, _member_status != "active",
            deliveries.c.notice.in_(_open(notices.c.kind.not_in(REPLIES))),
        )
        .values(state="withdrawn", reason=_member_status)
    )  # fmt: skip
    await connection.execute(
        update(deliveries)
        .where(
            # Whatever the first cause was: a notice that is usable has none of its own any more.
            deliveries.c.state == "withdrawn", _never_tried, touched,
            deliveries.c.notice.in_(_open(_usable(now))), _member_status == "active",
        )
        .values(state="queued", reason="")
    )  # fmt: skip
    await connection.execute(
        update(deliveries)
        .where(queued, touched, deliveries.c.notice.in_(reminders), declined)
        .values(state="skipped", reason="declined")
    )
    await connection.execute(
        update(deliveries)
        .where(
            deliveries.c.state == "skipped", deliveries.c.reason == "declined", _never_tried, touched,
            deliveries.c.notice.in_(_open(_usable(now))), ~declined,
        )
        .values(state="queued", reason="")
    )  # fmt: skip
    by_feed = exists().where(members.c.id == deliveries.c.member, members.c.invitation_by == "feed")
    invitations = _open(notices.c.kind == Kind.INVITATION)
    await connection.execute(
        update(deliveries)
        .where(queued, touched, ~deliveries.c.uncertain, deliveries.c.notice.in_(invitations), by_feed)
        .values(state="skipped", reason="feed only")
    )
    await connection.execute(
        update(deliveries)
        .where(
            deliveries.c.state == "skipped", deliveries.c.reason == "feed only", _never_tried, touched,
            deliveries.c.notice.in_(_open(_usable(now))), ~by_feed,
        )
        .values(state="queued", reason="")
    )  # fmt: skip
    muted = _muted()
    await connection.execute(
        update(deliveries)
        .where(queued, touched, deliveries.c.notice.in_(_open()), muted)
        .values(state="skipped", reason="unwanted")
    )
    await connection.execute(
        update(deliveries)
        .where(
            deliveries.c.state == "skipped", deliveries.c.reason == "unwanted", _never_tried, touched,
            deliveries.c.notice.in_(_open(_usable(now))), ~muted,
        )
        .values(state="queued", reason="")
    )  # fmt: skip
    moved = exists().where(
        members.c.id == deliveries.c.member,
        or_(members.c.zone != deliveries.c.zone, members.c.locale != deliveries.c.locale),
    )
    await connection.execute(
        update(deliveries)
        .where(queued, touched, ~deliveries.c.uncertain, deliveries.c.notice.in_(_open()), moved)
        .values(zone=_member_zone, locale=_member_locale)
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
    await connection.execute(update(deliveries).where(waiting, _never_tried).values(due=due, next_try=due))


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
    """Return to the queue what of a notice, usable again, was withdrawn and never tried; returns how many."""
    declined = exists().where(
        notices.c.id == number, notices.c.kind == Kind.REMINDER,
        answers.c.member == deliveries.c.member, answers.c.answer == "declined",
        answers.c.occurrence == notices.c.occurrence,
    )  # fmt: skip
    done = await connection.execute(
        update(deliveries)
        .where(
            deliveries.c.notice == number, deliveries.c.state == "withdrawn", _never_tried,
            _member_status == "active", ~declined, ~_muted(),
        )
        .values(state="queued", reason="", zone=_member_zone, locale=_member_locale)
    )  # fmt: skip
    return done.rowcount


async def retry_failed(connection: AsyncConnection, number: int, now: datetime) -> int:
    """Return failed deliveries to the queue, as only a convenor may; returns how many."""
    done = await connection.execute(
        update(deliveries)
        .where(deliveries.c.notice == number, deliveries.c.state == "failed", _member_status == "active")
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
    over = _open(notices.c.expires <= now)
    waiting = and_(deliveries.c.state == "queued", deliveries.c.notice.in_(over))
    await connection.execute(
        update(deliveries)
        .where(waiting, deliveries.c.uncertain)
        .values(state="sent", reason="uncertain", sent_at=deliveries.c.tried_at)
    )
    tried = await connection.execute(
        update(deliveries)
        .where(waiting, ~_never_tried)
        .values(state="expired", reason="late: " + deliveries.c.reason)
    )
    late = await connection.execute(update(deliveries).where(waiting).values(state="expired", reason="late"))
    return tried.rowcount + late.rowcount


async def end_due_before(connection: AsyncConnection, moment: datetime, *, reason: str) -> int:
    """End, for `reason`, what waits or is being sent though it was due before `moment`; returns how many."""
    done = await connection.execute(
        update(deliveries)
        .where(
            deliveries.c.state.in_(("queued", "sending")), deliveries.c.due < moment,
            deliveries.c.notice.in_(_open()),
        )
        .values(state="expired", reason=reason, run=None)
    )  # fmt: skip
    return done.rowcount


def later_reminder(now: datetime | ColumnElement[datetime]) -> ColumnElement[bool]:
    """Whether the member has a later-due reminder of the same start, due by `now`, that is not done with: a condition
    on `deliveries` and their `notices`."""
    other, other_notice = deliveries.alias("other"), notices.alias("other_notice")
    return (
        exists()
        .where(
            other.c.member == deliveries.c.member, other.c.notice == other_notice.c.id, other.c.due <= now,
            other_notice.c.kind == Kind.REMINDER, other_notice.c.occurrence == notices.c.occurrence,
            other_notice.c.starts == notices.c.starts,
            other.c.state.in_(("queued", "sending", "sent")),
            or_(other.c.due > deliveries.c.due, and_(other.c.due == deliveries.c.due, other.c.id > deliveries.c.id)),
        )
    )  # fmt: skip


async def supersede(connection: AsyncConnection, now: datetime) -> int:
    """Of several reminders of one occurrence due and unsent for a member, keep the latest-due; returns how many
    were skipped."""
    stale = (
        select(deliveries.c.id)
        .join(notices, notices.c.id == deliveries.c.notice)
        .where(
            notices.c.closed_at.is_(None), notices.c.kind == Kind.REMINDER, deliveries.c.state == "queued",
            ~deliveries.c.uncertain, deliveries.c.due <= now, later_reminder(now),
        )
    )  # fmt: skip
    done = await connection.execute(
        update(deliveries).where(deliveries.c.id.in_(stale)).values(state="skipped", reason="superseded")
    )
    return done.rowcount


async def close_finished(connection: AsyncConnection, now: datetime) -> int:
    """Close the notices that have expired with nothing left queued or being sent, and service mails as soon as theirs
    is not; returns how many."""
    left = exists().where(deliveries.c.notice == notices.c.id, deliveries.c.state.in_(("queued", "sending")))
    withdrawn = exists().where(deliveries.c.notice == notices.c.id, deliveries.c.state == "withdrawn")
    done_with = or_(notices.c.expires <= now, and_(notices.c.kind.in_(PERSONAL), ~withdrawn))
    unfanned = exists().where(dues.c.notice == notices.c.id, dues.c.fanned_at.is_(None), dues.c.due <= now)
    done = await connection.execute(
        update(notices)
        .where(notices.c.closed_at.is_(None), done_with, ~left, ~(unfanned & ~notices.c.frozen))
        .values(closed_at=now)
    )
    return done.rowcount


async def forget(connection: AsyncConnection, *, before: datetime) -> int:
    """Delete deliveries of notices that were closed and of no more use before an instant, at most 20,000 of them, and
    service mails altogether; returns how many. What was for many stays, so that nobody is told again."""
    old = and_(notices.c.closed_at.is_not(None), notices.c.expires < before)
    chosen = (
        select(deliveries.c.id).where(deliveries.c.notice.in_(select(notices.c.id).where(old))).limit(BATCH)
    )
    done = await connection.execute(delete(deliveries).where(deliveries.c.id.in_(chosen)))
    if done.rowcount < BATCH:
        await connection.execute(delete(notices).where(old, notices.c.member.is_not(None)))
    return done.rowcount
