"""From a notice to a delivery for everyone it is for, and what later changes do to those: set-based, in bounds."""

from datetime import datetime

from sqlalchemy import ColumnElement, and_, exists, func, literal, or_, select
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.policy import CHANGES, PERSONAL, REPLIES, Kind
from scheduler.store import service_state
from scheduler.store.answers import has_declined
from scheduler.store.ledger import jobs
from scheduler.store.members import Audience, in_audience, is_muted
from scheduler.store.notices import Notice
from scheduler.store.schema import deliveries, dues, members, notices, past_deliveries

BATCH = 20_000
CHUNK = 500

_takes_mail = and_(members.c.status == "active", members.c.suppressed_at.is_(None))


def is_for(kind: Kind, occurrence: str | None, *, due: datetime, expires: datetime) -> ColumnElement[bool]:
    """Which members (active ones, whose addresses take mail) a planned notice due at `due`, and of use until `expires`,
    is for."""
    terms = [_takes_mail, members.c.active_since < expires]
    if kind is Kind.INVITATION:
        terms.append(or_(members.c.uninvited_at.is_(None), members.c.uninvited_at < due))
        terms.append(members.c.invitation_by == "mail")
    if kind in (Kind.REMINDER, Kind.FOLLOW_UP):
        terms.append(members.c.active_since <= due)
    if kind is Kind.REMINDER:
        terms.append(~has_declined(members.c.id, occurrence))
    return and_(*terms)


def _is_for(notice: Notice, due: datetime) -> ColumnElement[bool]:
    if notice.kind in CHANGES:
        return _missed_change(notice)
    if notice.member is None:
        return is_for(notice.kind, notice.occurrence, due=due, expires=notice.expires)
    its = members.c.id == notice.member
    return its if notice.kind in REPLIES else and_(its, _takes_mail)


def _missed_change(notice: Notice) -> ColumnElement[bool]:
    """Which members were sent the invitation, and nothing since the change that `notice` tells of: they were away when
    it was told, and their calendars still show the meeting as it was."""
    revision = int(notice.identity.rpartition(":")[2])

    def was_sent(*conditions: ColumnElement[bool]) -> ColumnElement[bool]:
        return or_(
            *(
                exists().where(
                    table.c.member == members.c.id,
                    table.c.notice == notices.c.id,
                    notices.c.occurrence == notice.occurrence,
                    or_(table.c.state == "sent", table.c.uncertain),
                    *conditions,
                    *([table.c.revision >= revision] if not conditions else []),
                )
                for table in (deliveries, past_deliveries)
            )
        )

    return and_(_takes_mail, was_sent(notices.c.kind == Kind.INVITATION), ~was_sent())


async def fan_out(
    connection: AsyncConnection,
    notice: Notice,
    *,
    zone: str,
    due: datetime,
    now: datetime,
    start: datetime | None = None,
    after: int = 0,
    changed_since: int | None = None,
    audience: Audience | None = None,
) -> int | None:
    """Insert the deliveries that members of `zone` lack, for at most 20,000 members with a number above `after`.

    With `audience` those members are meant, otherwise whom the plan says, in either case without those who do not want
    such notices; with `changed_since` only members changed after that mark. They may be sent from `start` on where that
    is before they are due, else when they are due. Returns the last number looked at, or None where no more are left. A
    notice of no more use yields deliveries that are expired from the start, so that its missing is seen.
    """
    wanted = and_(
        members.c.zone == zone,
        in_audience(audience) if audience is not None else _is_for(notice, due),
        ~is_muted(members.c.id, notice.kind, notice.policy),
        ~exists().where(deliveries.c.notice == notice.id, deliveries.c.member == members.c.id),
        # A past meeting may have been moved to come again: its deliveries may lie in the archive.
        ~exists().where(past_deliveries.c.notice == notice.id, past_deliveries.c.member == members.c.id),
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
    base = await service_state.advance(connection, "chunk", by=chunks) - chunks
    late = notice.expires <= now
    # How early it may have begun is kept even where that is past: after a restore it may have been sent by then.
    ready = start if start and start < due and now < due else max(due, now)
    rows = select(
        literal(notice.id),
        members.c.id,
        members.c.zone,
        members.c.locale,
        base + (func.row_number().over(order_by=members.c.id) - 1) // CHUNK,
        literal("expired" if late else "queued"),
        literal("late" if late else ""),
        literal(due, dues.c.due.type),
        literal(ready, dues.c.due.type),
    ).where(wanted, members.c.id > after, members.c.id <= last)
    columns = ["notice", "member", "zone", "locale", "chunk", "state", "reason", "due", "next_try"]
    make = sqlite_insert if connection.dialect.name == "sqlite" else postgresql_insert
    await connection.execute(make(deliveries).from_select(columns, rows).on_conflict_do_nothing())
    if make is postgresql_insert and notice.ready and ready <= now < notice.expires:
        await jobs.enqueue(connection, range(base, base + chunks), awaited=notice.kind in PERSONAL)
    return int(last) if count == BATCH else None
