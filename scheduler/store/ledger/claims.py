"""Handing out deliveries to whoever sends them, and settling what became of each try."""

import json
from collections.abc import Sequence
from datetime import datetime
from functools import cache, partial
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Select,
    Update,
    and_,
    bindparam,
    case,
    exists,
    func,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.policy import PERSONAL, REPLIES, Kind
from scheduler.store import service_state
from scheduler.store.answers import has_declined
from scheduler.store.database import Work
from scheduler.store.ledger.lifecycle import later_reminder
from scheduler.store.members import is_muted
from scheduler.store.schema import Instant, deliveries, members, notices, occurrences, past_deliveries
from scheduler.store.schema import facts as facts_table

_FIRST_MAILS = 7437003
"""The advisory lock of PostgreSQL under which it is decided which mail is a member's first."""


class Claim(NamedTuple):
    """A delivery that this run may send now, with what its message needs of the member.

    `revision` is the occurrence's to compose from; `uncertain` says that an earlier try may have arrived;
    `requested`, of what is no invitation, that the member was sent the calendar REQUEST of this occurrence before;
    `first` that they were sent nothing before.
    """

    id: int
    notice: int
    member: int
    address: str
    name: str
    zone: str
    zone_source: str
    locale: str
    generation: int
    feed_generation: int
    attempts: int
    revision: int | None
    uncertain: bool
    requested: bool
    first: bool


class Settlement(NamedTuple):
    """What became of a claimed delivery: `state` queued (with `next_try`), sent (with `sent_at`) or failed."""

    id: int
    state: str
    reason: str = ""
    uncertain: bool = False
    next_try: datetime | None = None
    sent_at: datetime | None = None
    untried: bool = False


def _ready(now: datetime | ColumnElement[datetime]) -> ColumnElement[bool]:
    """What is queued, due and allowed, but for the last check of the claim."""
    return and_(deliveries.c.state == "queued", deliveries.c.next_try <= now)


async def open_chunks(connection: AsyncConnection, now: datetime) -> list[int]:
    """The chunks that have something to send now, the earliest due first."""
    query = (
        select(deliveries.c.chunk)
        .join(notices, notices.c.id == deliveries.c.notice)
        .where(_ready(now), notices.c.ready, notices.c.stopped_at.is_(None), notices.c.unwanted.is_(None))
        .group_by(deliveries.c.chunk)
        .order_by(func.min(deliveries.c.due), deliveries.c.chunk)
    )
    return list((await connection.scalars(query)).all())


async def urgent_chunks(connection: AsyncConnection, now: datetime) -> list[int]:
    """Those of the open chunks that a single person waits for, as for a link to sign in."""
    query = (
        select(deliveries.c.chunk)
        .join(notices, notices.c.id == deliveries.c.notice)
        .where(notices.c.member.is_not(None), notices.c.closed_at.is_(None), _ready(now))
        .distinct()
    )
    return list((await connection.scalars(query)).all())


async def next_try(connection: AsyncConnection, after: datetime) -> datetime | None:
    """The earliest instant after `after` at which a queued delivery wants its try."""
    query = select(func.min(deliveries.c.next_try)).where(
        deliveries.c.state == "queued", deliveries.c.next_try > after
    )
    found: datetime | None = await connection.scalar(query)
    return found


def _awaits_welcome(now: ColumnElement[datetime]) -> ColumnElement[bool]:
    """Whether the delivery's member is still to be welcomed: all else comes after that."""
    welcome, its = notices.alias("welcome"), deliveries.alias("its")
    return exists().where(
        welcome.c.member == deliveries.c.member,
        welcome.c.kind == Kind.WELCOME,
        welcome.c.expires > now,
        its.c.notice == welcome.c.id,
        its.c.state.in_(("queued", "sending")),
    )


async def has_welcome(connection: AsyncConnection, chunk: int) -> bool:
    """Whether a chunk is one with which a member is welcomed."""
    query = select(deliveries.c.id).join(notices, notices.c.id == deliveries.c.notice)
    query = query.where(deliveries.c.chunk == chunk, notices.c.kind == Kind.WELCOME).limit(1)
    return await connection.scalar(query) is not None


def _claimable(chunk: ColumnElement[int], now: ColumnElement[datetime]) -> ColumnElement[bool]:
    """The last check before sending, over deliveries, members, notices and (outer) occurrences."""
    declined = has_declined(deliveries.c.member, notices.c.occurrence)
    return and_(
        deliveries.c.chunk == chunk,
        _ready(now),
        or_(
            and_(members.c.status == "active", members.c.suppressed_at.is_(None)),
            notices.c.kind.in_(REPLIES),
        ),
        or_(
            deliveries.c.uncertain,
            and_(members.c.zone == deliveries.c.zone, members.c.locale == deliveries.c.locale),
        ),
        notices.c.ready,
        notices.c.stopped_at.is_(None),
        notices.c.unwanted.is_(None),
        notices.c.expires > now,
        or_(
            notices.c.occurrence.is_(None),
            and_(
                occurrences.c.starts == notices.c.starts,
                occurrences.c.cancelled == (notices.c.kind == Kind.CANCELLATION),
            ),
        ),
        or_(
            notices.c.kind != Kind.REMINDER,
            and_(~declined, or_(deliveries.c.uncertain, ~later_reminder(now))),
        ),
        or_(notices.c.kind.in_(PERSONAL), ~_awaits_welcome(now)),
        ~is_muted(deliveries.c.member, notices.c.kind, notices.c.policy),
        or_(notices.c.kind != Kind.INVITATION, members.c.invitation_by == "mail", deliveries.c.uncertain),
        ~exists().where(facts_table.c.name == service_state.HOLD),
    )


def claim(connection: Connection, chunk: int, *, run: str, now: datetime, limit: int) -> list[Claim]:
    """Mark up to `limit` deliveries of a chunk as being sent by `run`, after the last check, and return them."""
    wanted = {"of": chunk, "now": now, "most": limit}
    if connection.dialect.name == "sqlite":
        rows = json.loads(connection.scalar(_packed(), wanted) or "[]")
        claimed = [Claim(*row[:-3], *map(bool, row[-3:])) for row in rows]
        those: Any = json.dumps([one.id for one in claimed])
    else:
        claimed = [Claim._make(row) for row in connection.execute(_chosen(), wanted)]
        those = [one.id for one in claimed]
        if any(one.first for one in claimed):
            claimed = _still_first(connection, claimed)
    if claimed:
        # A chunk is of one notice, hence of one occurrence.
        revision = next((one.revision for one in claimed if not one.uncertain), None)
        connection.execute(
            _mark(connection.dialect.name),
            {"those": those, "by": run, "at": now, "told": revision, "first": _first_of(claimed, connection)},
        )
    return claimed


def _first_of(claimed: Sequence[Claim], connection: Connection) -> str | list[int]:
    first = [one.id for one in claimed if one.first]
    return json.dumps(first) if connection.dialect.name == "sqlite" else first


def _still_first(connection: Connection, claimed: list[Claim]) -> list[Claim]:
    """Look again, one claim after the other: two senders may have found two mails to be the first of one member."""
    connection.execute(select(func.pg_advisory_xact_lock(_FIRST_MAILS)))
    first = {one.id for one in claimed if one.first}
    still = set(connection.scalars(select(deliveries.c.id).where(deliveries.c.id.in_(first), _first)))
    return [one._replace(first=one.id in still) for one in claimed]


@cache
def _packed() -> Select[Any]:
    """What `_chosen` finds, as one text: for each row that SQLite hands over, a thread would ask for the interpreter
    anew, while another one sends."""
    chosen = _chosen().subquery()
    return select(func.json_group_array(func.json_array(*chosen.c)))


@cache
def _chosen() -> Select[Any]:
    """The deliveries of a claim, locked. Built once: that costs as much as running it."""
    chunk, now = bindparam("of", type_=deliveries.c.chunk.type), bindparam("now", type_=deliveries.c.due.type)
    return (
        select(
            deliveries.c.id,
            deliveries.c.notice,
            deliveries.c.member,
            func.coalesce(notices.c.address, members.c.address),
            members.c.name,
            deliveries.c.zone,
            members.c.zone_source,
            deliveries.c.locale,
            members.c.generation,
            members.c.feed_generation,
            deliveries.c.attempts + 1,
            _revision,
            deliveries.c.uncertain,
            _requested,
            _first,
        )
        .join(members, members.c.id == deliveries.c.member)
        .join(notices, notices.c.id == deliveries.c.notice)
        .outerjoin(occurrences, occurrences.c.key == notices.c.occurrence)
        .where(_claimable(chunk, now))
        .order_by(deliveries.c.next_try, deliveries.c.id)
        .limit(bindparam("most", type_=Integer))
        .with_for_update(of=deliveries, skip_locked=True)
    )


# An uncertain message is repeated word for word: of the revision that it was composed from.
_revision = case((deliveries.c.uncertain, deliveries.c.revision), else_=occurrences.c.revision)
# A past meeting may have been moved to come again: its invitations may lie in the archive.
_invitation = notices.alias("invitation")
_requested = and_(
    # What is about no meeting, and the invitation itself, need not ask.
    notices.c.occurrence.is_not(None),
    notices.c.kind != Kind.INVITATION,
    or_(
        *(
            exists().where(
                invited.c.member == deliveries.c.member,
                invited.c.notice == _invitation.c.id,
                _invitation.c.kind == Kind.INVITATION,
                _invitation.c.occurrence == notices.c.occurrence,
                or_(invited.c.state == "sent", invited.c.uncertain),
            )
            for invited in (deliveries.alias("invited"), past_deliveries.alias("invited_once"))
        )
    ),
).label("requested")
_other = deliveries.alias("other")
_was_mailed = or_(
    exists().where(
        _other.c.member == deliveries.c.member,
        _other.c.id != deliveries.c.id,
        or_(_other.c.state.in_(("sent", "sending")), _other.c.uncertain),
    ),
    exists().where(
        past_deliveries.c.member == deliveries.c.member,
        or_(past_deliveries.c.state == "sent", past_deliveries.c.uncertain),
    ),
)
# What may have arrived is repeated as it was, whatever else was sent meanwhile.
_first = case((deliveries.c.uncertain, deliveries.c.introduces), else_=~_was_mailed)


@cache
def _mark(dialect: str) -> Update:
    """`those` and `first` are JSON lists for SQLite, to which each is one parameter however long it is."""

    def listed(name: str) -> Any:
        if dialect == "sqlite":
            return select(func.json_each(bindparam(name)).table_valued("value").c.value)
        return bindparam(name, expanding=True)

    return (
        update(deliveries)
        .where(deliveries.c.id.in_(listed("those")))
        .values(
            state="sending",
            run=bindparam("by"),
            tried_at=bindparam("at", type_=deliveries.c.tried_at.type),
            reason="",
            attempts=deliveries.c.attempts + 1,
            introduces=deliveries.c.id.in_(listed("first")),
            revision=case(
                (deliveries.c.uncertain, deliveries.c.revision), else_=bindparam("told", type_=Integer)
            ),
        )
    )


_held = and_(deliveries.c.run == bindparam("by"), deliveries.c.state == "sending")

# Nearly all are sent: one statement for all of a commit, since each is a way into the database and back.
_settle_sent = (
    update(deliveries)
    .where(deliveries.c.id.in_(bindparam("those", expanding=True)), _held)
    .values(state="sent", run=None, reason="", uncertain=False, sent_at=bindparam("sent"))
)
# The same in SQLite's own words: on the way through Core it would cost three times as much, for each few messages.
SENT_IN_SQLITE = """
    UPDATE deliveries SET state = 'sent', run = NULL, reason = '', uncertain = 0, sent_at = :sent
    WHERE id IN (SELECT value FROM json_each(:those)) AND run = :by AND state = 'sending'
"""
_settle = (
    update(deliveries)
    .where(deliveries.c.id == bindparam("of"), _held)
    .values(
        state=bindparam("to"),
        run=None,
        reason=bindparam("because"),
        uncertain=bindparam("unsure"),
        next_try=func.coalesce(bindparam("again", type_=deliveries.c.next_try.type), deliveries.c.next_try),
        attempts=deliveries.c.attempts - bindparam("untried"),
    )
)


def settle(connection: Connection, settlements: Sequence[Settlement], *, run: str) -> None:
    """Write what became of tries; rows that another run has taken over meanwhile are left alone.

    What is sent in one commit has one instant, the latest of them.
    """
    sent = [(one.id, one.sent_at) for one in settlements if one.sent_at]
    if sent:
        _settle_those(connection, [number for number, _ in sent], run=run, at=max(at for _, at in sent))
    others: list[dict[str, Any]] = [
        {
            "of": one.id,
            "by": run,
            "to": one.state,
            "because": one.reason,
            "unsure": one.uncertain,
            "again": one.next_try,
            "untried": int(one.untried),
        }
        for one in settlements
        if not one.sent_at
    ]
    if others:
        connection.execute(_settle, others)


def settle_work(settlements: Sequence[Settlement], *, run: str) -> Work:
    """To `settle` these: where all were sent, as nearly always, in one statement."""
    bare = all(one.sent_at for one in settlements)
    return Work(partial(settle, settlements=settlements, run=run), bare=bare)


def _settle_those(connection: Connection, sent: list[int], *, run: str, at: datetime) -> None:
    if connection.dialect.name != "sqlite":
        connection.execute(_settle_sent, {"those": sent, "by": run, "sent": at})
        return
    driver = connection.connection.driver_connection
    assert driver
    kept = Instant().process_bind_param(at, connection.dialect)
    driver.execute(SENT_IN_SQLITE, {"those": json.dumps(sent), "by": run, "sent": kept})


async def take_over(
    connection: AsyncConnection,
    *,
    now: datetime,
    of: str | None = None,
    chunk: int | None = None,
) -> int:
    """Queue again, as uncertain, what is marked as being sent: it may have arrived. Returns how many.

    By any run or by the run `of`; of one `chunk` or of all. To be called only where nobody is sending those any more.
    """
    left = deliveries.c.state == "sending"
    if of is not None:
        left &= deliveries.c.run == of
    if chunk is not None:
        left &= deliveries.c.chunk == chunk
    done = await connection.execute(
        update(deliveries)
        .where(left)
        .values(
            state="queued",
            run=None,
            uncertain=True,
            reason="taken over",
            # A clock that is ahead must not put it off.
            next_try=case(
                (deliveries.c.next_try > now, literal(now, deliveries.c.next_try.type)),
                else_=deliveries.c.next_try,
            ),
        )
    )
    return done.rowcount
