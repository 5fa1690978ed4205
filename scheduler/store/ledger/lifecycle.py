"""Keep waiting deliveries in step with their members, due instants and notices: set-based and idempotent."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import cache, lru_cache
from types import MappingProxyType
from typing import Literal

from sqlalchemy import ColumnElement, Update, and_, bindparam, exists, func, or_, select, true, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.audience import Audience
from scheduler.domain.policy import CHANGES, EVERY_ZONE, REPLIES, Kind
from scheduler.store.answers import declines
from scheduler.store.follows import is_follower, stopped_following_since
from scheduler.store.ledger.fan_out import LATE_ON_HOLD
from scheduler.store.ledger.reports import count_states, due_or_begun
from scheduler.store.members import in_audience, mute_fits, was_invited
from scheduler.store.notices import open_notice_ids
from scheduler.store.schema import deliveries, dues, members, notices, occurrences, revisions

never_tried = deliveries.c.attempts == 0
member_status = select(members.c.status).where(members.c.id == deliveries.c.member).scalar_subquery()
is_suppressed = exists().where(members.c.id == deliveries.c.member, members.c.suppressed_at.is_not(None))
member_zone = select(members.c.zone).where(members.c.id == deliveries.c.member).scalar_subquery()
member_locale = select(members.c.locale).where(members.c.id == deliveries.c.member).scalar_subquery()

# Each tick runs these statements, and building one takes longer than running it when there is nothing to do: where
# statements are cached, their values are parameters.
_now = bindparam("present", type_=notices.c.expires.type)
_mark = bindparam("mark", type_=members.c.changed.type)


def usable(now: datetime | ColumnElement[datetime]) -> ColumnElement[bool]:
    """Return the condition that a notice has not expired and is neither stopped nor unwanted."""
    return and_(notices.c.expires > now, notices.c.stopped_at.is_(None), notices.c.unwanted.is_(None))


def _is_changed(*, only_changed: bool) -> ColumnElement[bool]:
    if not only_changed:
        return true()
    return deliveries.c.member.in_(select(members.c.id).where(members.c.changed > _mark))


def is_unwanted() -> ColumnElement[bool]:
    """Return the condition that the member of a delivery does not want such notices."""
    return exists().where(
        notices.c.id == deliveries.c.notice, mute_fits(deliveries.c.member, notices.c.kind, notices.c.policy)
    )


def does_not_follow(by_choice: Collection[str]) -> ColumnElement[bool]:
    """Return the condition that the member of a delivery does not follow the series that its notice is about. Who was
    sent the invitation is told of a change all the same."""
    return exists().where(
        notices.c.id == deliveries.c.notice,
        occurrences.c.key == notices.c.occurrence,
        ~is_follower(deliveries.c.member, occurrences.c.series, by_choice),
        or_(notices.c.kind.not_in(CHANGES), ~was_invited(deliveries.c.member, notices.c.occurrence)),
    )


def _is_gone(number: int, reasons: Audience) -> ColumnElement[bool]:
    """Return the condition that the member of a delivery was sent an ad-hoc notice for a reason that is gone: they have
    stopped following a series of its audience since, and nothing else puts them in `reasons`."""
    sent_at = select(notices.c.created_at).where(notices.c.id == number).scalar_subquery()
    return and_(
        deliveries.c.notice == number,
        stopped_following_since(deliveries.c.member, sent_at, reasons.terms["series"]),
        ~exists().where(members.c.id == deliveries.c.member, in_audience(reasons)),
    )


_Cause = tuple[str, ColumnElement[bool], ColumnElement[bool]]


def _causes_to_skip(
    by_choice: Collection[str], reasons_by_notice: Mapping[int, Audience]
) -> tuple[_Cause, ...]:
    """Return why a member may not get a delivery: the reason, the deliveries that it may apply to, and the condition on
    the member."""
    declined = exists().where(
        notices.c.id == deliveries.c.notice, declines(deliveries.c.member, notices.c.occurrence)
    )
    by_feed = exists().where(members.c.id == deliveries.c.member, members.c.invitation_by == "feed")
    is_invitation = and_(
        ~deliveries.c.uncertain, deliveries.c.notice.in_(open_notice_ids(notices.c.kind == Kind.INVITATION))
    )
    is_for_followers = or_(notices.c.occurrence.is_not(None), notices.c.id.in_(reasons_by_notice))
    return (
        ("declined", deliveries.c.notice.in_(open_notice_ids(notices.c.kind == Kind.REMINDER)), declined),
        ("feed only", is_invitation, by_feed),
        ("unwanted", deliveries.c.notice.in_(open_notice_ids()), is_unwanted()),
        (
            "not following",
            and_(
                ~deliveries.c.uncertain,
                deliveries.c.notice.in_(open_notice_ids(is_for_followers)),
            ),
            or_(
                does_not_follow(by_choice),
                *(_is_gone(number, reasons) for number, reasons in reasons_by_notice.items()),
            ),
        ),
        (
            "suppressed",
            deliveries.c.notice.in_(open_notice_ids(notices.c.kind.not_in(REPLIES))),
            is_suppressed,
        ),
    )


async def cause_to_skip(
    connection: AsyncConnection, number: int, *, by_choice: Collection[str]
) -> str | None:
    """Return the reason why the member of a notice's only delivery should not get it; None if there is none."""
    for reason, applies_to, cause in _causes_to_skip(by_choice, {}):
        query = select(deliveries.c.id).where(deliveries.c.notice == number, applies_to, cause)
        if await connection.scalar(query) is not None:
            return reason
    return None


async def follow_members(
    connection: AsyncConnection,
    now: datetime,
    *,
    changed_since: int | None,
    by_choice: Collection[str],
    reasons_by_notice: Mapping[int, Audience] = MappingProxyType({}),
) -> None:
    """Update waiting deliveries after changes to their members.

    Withdraw those of members who left or paused. Skip those of members who declined, are invited by their feed only, do
    not want them, do not follow the series or have a suppressed address. Requeue both when the cause is gone. Change
    zone and locale with the member's. With `changed_since`, only consider members changed after that mark. `by_choice`
    are the slugs of the series that only those follow who say so. `reasons_by_notice` has, for each ad-hoc notice that
    went to the followers of a series, who still has a reason to get it, by number.
    """
    choice = frozenset(by_choice)
    only_changed = changed_since is not None
    if reasons_by_notice:
        statements = _following(choice, reasons_by_notice, only_changed=only_changed)
    else:
        statements = _following_without_reasons(choice, only_changed=only_changed)
    for statement in statements:
        await connection.execute(statement, {"present": now, "mark": changed_since})


@lru_cache(maxsize=16)
def _following_without_reasons(by_choice: frozenset[str], *, only_changed: bool) -> list[Update]:
    return _following(by_choice, {}, only_changed=only_changed)


def _following(
    by_choice: Collection[str], reasons_by_notice: Mapping[int, Audience], *, only_changed: bool
) -> list[Update]:
    """Return the statements of `follow_members`, in their order."""
    member_changed = _is_changed(only_changed=only_changed)
    queued = deliveries.c.state == "queued"
    withdraw_those_who_left = (
        update(deliveries)
        .where(
            queued,
            member_changed,
            member_status != "active",
            deliveries.c.notice.in_(open_notice_ids(notices.c.kind.not_in(REPLIES))),
        )
        .values(state="withdrawn", reason=member_status)
    )
    requeue_those_who_returned = (
        update(deliveries)
        .where(
            # Whatever the reason was: if the notice is usable, it is no longer a reason.
            deliveries.c.state == "withdrawn",
            never_tried,
            member_changed,
            deliveries.c.notice.in_(open_notice_ids(usable(_now))),
            member_status == "active",
        )
        .values(state="queued", reason="")
    )
    causes = _causes_to_skip(by_choice, reasons_by_notice)
    requeue_without_cause = [
        update(deliveries)
        .where(
            deliveries.c.state == "skipped",
            deliveries.c.reason == reason,
            never_tried,
            member_changed,
            deliveries.c.notice.in_(open_notice_ids(usable(_now))),
            ~cause,
        )
        .values(state="queued", reason="")
        for reason, _, cause in causes
    ]
    skip_with_cause = [
        update(deliveries)
        .where(queued, member_changed, applies_to, cause)
        .values(state="skipped", reason=reason)
        for reason, applies_to, cause in causes
    ]
    zone_or_locale_changed = exists().where(
        members.c.id == deliveries.c.member,
        or_(members.c.zone != deliveries.c.zone, members.c.locale != deliveries.c.locale),
    )
    follow_zone_and_locale = (
        update(deliveries)
        .where(
            queued,
            member_changed,
            ~deliveries.c.uncertain,
            deliveries.c.notice.in_(open_notice_ids()),
            zone_or_locale_changed,
        )
        .values(zone=member_zone, locale=member_locale)
    )
    return [
        withdraw_those_who_left,
        requeue_those_who_returned,
        # Requeue all before skipping any: when one cause is gone, another may remain.
        *requeue_without_cause,
        *skip_with_cause,
        follow_zone_and_locale,
    ]


async def follow_dues(connection: AsyncConnection, number: int) -> None:
    """Set the due instant of a notice's waiting deliveries to the current one of their zone."""
    for statement in _following_dues():
        await connection.execute(statement, {"number": number})


@cache
def _following_dues() -> list[Update]:
    number = bindparam("number", type_=deliveries.c.notice.type)
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
    return [
        update(deliveries).where(waiting, deliveries.c.attempts > 0).values(due=due),
        update(deliveries).where(waiting, never_tried).values(due=due, next_try=due),
    ]


async def begin_at(
    connection: AsyncConnection, number: int, zone: str, start: datetime, now: datetime
) -> None:
    """Allow the queued deliveries of a notice in `zone` (`*` for all) that may not be sent yet to be sent from `start`
    on."""
    waiting = and_(
        deliveries.c.notice == number,
        deliveries.c.state == "queued",
        never_tried,
        deliveries.c.next_try > now,
        deliveries.c.next_try != start,
        *([deliveries.c.zone == zone] if zone != EVERY_ZONE else []),
    )
    await connection.execute(update(deliveries).where(waiting).values(next_try=start))


MEMBERS_CAUSES = ("declined", "feed only", "unwanted", "not following", "suppressed")
"""The reasons for a skipped delivery that depend on its member, and end when the member changes."""


WithdrawalReason = Literal[
    "cancelled",
    "moved",
    "restored",
    "superseded",
    "stopped",
    "dropped",
    "no longer true",
    "policy",
    "orphaned",
    "no materials",
]
"""Why a notice is withdrawn. Deliveries are also withdrawn with the status of a member who is not active."""


async def withdraw(connection: AsyncConnection, number: int, *, reason: WithdrawalReason) -> int:
    """Withdraw the queued deliveries of a notice; return how many.

    Uncertain ones may have arrived and are settled as sent (uncertain); a change of the occurrence is announced by
    another notice.
    """
    queued = and_(deliveries.c.notice == number, deliveries.c.state == "queued")
    await connection.execute(
        update(deliveries)
        .where(queued, deliveries.c.uncertain)
        .values(state="sent", reason="uncertain", sent_at=deliveries.c.tried_at)
    )
    result = await connection.execute(
        update(deliveries).where(queued).values(state="withdrawn", reason=reason)
    )
    return result.rowcount


async def withdraw_rest(connection: AsyncConnection) -> None:
    """Withdraw what is queued of notices that were stopped or became unwanted: it was being sent at that moment, and
    then failed or was taken over. What may have arrived is settled as sent (uncertain), as `withdraw` does."""
    for statement in _withdrawing_rest():
        await connection.execute(statement)


@cache
def _withdrawing_rest() -> list[Update]:
    over = open_notice_ids(or_(notices.c.stopped_at.is_not(None), notices.c.unwanted.is_not(None)))
    queued = and_(deliveries.c.notice.in_(over), deliveries.c.state == "queued")
    settle = (
        update(deliveries)
        .where(queued, deliveries.c.uncertain)
        .values(state="sent", reason="uncertain", sent_at=deliveries.c.tried_at)
    )
    reason = select(func.coalesce(notices.c.unwanted, "stopped")).where(notices.c.id == deliveries.c.notice)
    return [
        settle,
        update(deliveries).where(queued).values(state="withdrawn", reason=reason.scalar_subquery()),
    ]


async def requeue(
    connection: AsyncConnection, number: int, *, by_choice: Collection[str], reasons: Audience | None = None
) -> int:
    """Requeue the never tried deliveries of a notice that is usable again, if they were withdrawn or were skipped for a
    cause that is gone; return how many. `reasons` is as for `follow_members`."""
    declined = exists().where(
        notices.c.id == number,
        notices.c.kind == Kind.REMINDER,
        declines(deliveries.c.member, notices.c.occurrence),
    )
    by_feed = and_(
        exists().where(notices.c.id == number, notices.c.kind == Kind.INVITATION),
        exists().where(members.c.id == deliveries.c.member, members.c.invitation_by == "feed"),
    )
    result = await connection.execute(
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
            ~does_not_follow(by_choice),
            *([~_is_gone(number, reasons)] if reasons else []),
            ~is_suppressed,
        )
        .values(state="queued", reason="", zone=member_zone, locale=member_locale)
    )
    return result.rowcount


async def retry_failed(connection: AsyncConnection, number: int, now: datetime) -> int:
    """Requeue the failed deliveries of a notice, when a convenor asks for it; return how many."""
    result = await connection.execute(
        update(deliveries)
        .where(
            deliveries.c.notice == number,
            deliveries.c.state == "failed",
            member_status == "active",
            ~is_suppressed,
        )
        .values(state="queued", reason="", next_try=now, uncertain=False)
    )
    return result.rowcount


async def settle_changed(connection: AsyncConnection) -> int:
    """Settle as sent (uncertain) the uncertain deliveries whose occurrence has since changed its start or status.

    They cannot be repeated with the same text, and the change is announced by another notice. Return how many.
    """
    return (await connection.execute(_settling_changed())).rowcount


@cache
def _settling_changed() -> Update:
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
    return (
        update(deliveries)
        .where(deliveries.c.id.in_(changed))
        .values(state="sent", reason="uncertain", sent_at=deliveries.c.tried_at)
    )


async def expire(connection: AsyncConnection, now: datetime) -> int:
    """Expire the queued deliveries of expired notices, and settle uncertain ones as sent; return how many expired."""
    settle, *expire_rest = _expiring()
    await connection.execute(settle, {"present": now})
    return sum([(await connection.execute(each, {"present": now})).rowcount for each in expire_rest])


@cache
def _expiring() -> list[Update]:
    """Return the statement that settles what is uncertain, and those that expire the rest, in their order."""
    expired = open_notice_ids(notices.c.expires <= _now)
    waiting = and_(deliveries.c.state == "queued", deliveries.c.notice.in_(expired))
    is_held = deliveries.c.notice.in_(open_notice_ids(notices.c.held_at.is_not(None)))
    return [
        update(deliveries)
        .where(waiting, deliveries.c.uncertain)
        .values(state="sent", reason="uncertain", sent_at=deliveries.c.tried_at),
        update(deliveries)
        .where(waiting, ~never_tried)
        .values(state="expired", reason="late: " + deliveries.c.reason),
        update(deliveries).where(waiting, is_held).values(state="expired", reason=LATE_ON_HOLD),
        update(deliveries).where(waiting).values(state="expired", reason="late"),
    ]


async def requeue_given_up(connection: AsyncConnection, now: datetime) -> int:
    """Requeue what was given up or delayed because a clock was ahead of `now`, if the notice is still usable.

    This includes reminders skipped for a later one: the next tick decides about them again. Return how many were given
    up and are queued again.
    """
    await connection.execute(
        update(notices)
        .where(notices.c.expires > now, notices.c.closed_at > now)
        .values(closed_at=None, tally=None)
    )
    is_usable = deliveries.c.notice.in_(open_notice_ids(usable(now)))
    given_up = or_(
        and_(deliveries.c.state == "expired", deliveries.c.reason.startswith("late")),
        and_(deliveries.c.state == "skipped", deliveries.c.reason == "superseded", never_tried),
    )
    result = await connection.execute(
        update(deliveries)
        .where(given_up, is_usable)
        .values(state="queued", reason="", next_try=deliveries.c.due)
    )
    delayed = and_(deliveries.c.state == "queued", ~never_tried, deliveries.c.next_try > now)
    await connection.execute(update(deliveries).where(delayed).values(next_try=now))
    return result.rowcount


async def end_due_before(
    connection: AsyncConnection, moment: datetime, *, reason: Literal["restored"]
) -> int:
    """Expire, with `reason`, the queued or sending deliveries that were due or had begun before `moment`; return how
    many."""
    result = await connection.execute(
        update(deliveries)
        .where(
            deliveries.c.state.in_(("queued", "sending")),
            due_or_begun(moment),
            deliveries.c.notice.in_(open_notice_ids()),
        )
        .values(state="expired", reason=reason, run=None)
    )
    return result.rowcount


def later_reminder(now: datetime | ColumnElement[datetime]) -> ColumnElement[bool]:
    """Return the condition (on `deliveries` and their `notices`) that a later-due reminder of the same start to the
    same member is due or has begun by `now`, and is queued, being sent or sent."""
    other, other_notice = deliveries.alias("other"), notices.alias("other_notice")
    return exists().where(
        other.c.member == deliveries.c.member,
        other.c.notice == other_notice.c.id,
        or_(other.c.due <= now, other.c.next_try <= now, other.c.attempts > 0),
        other_notice.c.kind == Kind.REMINDER,
        other_notice.c.occurrence == notices.c.occurrence,
        other_notice.c.starts == notices.c.starts,
        # It may never be released.
        other_notice.c.held_at.is_(None),
        other.c.state.in_(("queued", "sending", "sent")),
        or_(
            other.c.due > deliveries.c.due,
            and_(other.c.due == deliveries.c.due, other.c.id > deliveries.c.id),
        ),
    )


async def supersede(connection: AsyncConnection, now: datetime, *, among: Sequence[int]) -> int:
    """Skip the due, queued deliveries of the reminders `among` whose member has a later-due reminder of the same
    start; return how many."""
    superseded = (
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
    result = await connection.execute(
        update(deliveries).where(deliveries.c.id.in_(superseded)).values(state="skipped", reason="superseded")
    )
    return result.rowcount


async def close_finished(connection: AsyncConnection, now: datetime) -> int:
    """Close expired notices without queued or sending deliveries, and service mails even before they expire; return
    how many. A closed notice, unless it is a service mail, stores the counts of its deliveries: they are final."""
    result = await connection.execute(_closing_finished(), {"present": now})
    if result.rowcount:
        closed = select(notices.c.id).where(notices.c.closed_at == now, notices.c.member.is_(None))
        for number, tally in (await count_states(connection, closed)).items():
            await connection.execute(update(notices).where(notices.c.id == number).values(tally=tally))
    return result.rowcount


@cache
def _closing_finished() -> Update:
    is_waiting = exists().where(
        deliveries.c.notice == notices.c.id, deliveries.c.state.in_(("queued", "sending"))
    )
    withdrawn = exists().where(deliveries.c.notice == notices.c.id, deliveries.c.state == "withdrawn")
    is_finished = or_(notices.c.expires <= _now, and_(notices.c.member.is_not(None), ~withdrawn))
    not_fanned_out = and_(
        exists().where(dues.c.notice == notices.c.id, dues.c.fanned_at.is_(None), dues.c.due <= _now),
        # A stopped or unwanted notice is never fanned out.
        notices.c.stopped_at.is_(None),
        notices.c.unwanted.is_(None),
    )
    return (
        update(notices)
        .where(notices.c.closed_at.is_(None), is_finished, ~is_waiting, ~(not_fanned_out & ~notices.c.frozen))
        .values(closed_at=_now)
    )
