"""Claim deliveries for sending, and settle them: record the outcome of each try."""

import json
from collections.abc import Sequence
from datetime import datetime
from functools import cache, partial
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Integer,
    Select,
    Text,
    Update,
    and_,
    bindparam,
    case,
    cast,
    exists,
    false,
    func,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.policy import CHANGES, PERSONAL, REPLIES, Kind
from scheduler.store import service_state
from scheduler.store.answers import has_declined
from scheduler.store.database import Work, insert_into
from scheduler.store.follows import chose, stopped_following_since
from scheduler.store.ledger.lifecycle import later_reminder
from scheduler.store.members import is_muted, was_invited
from scheduler.store.schema import (
    Instant,
    deliveries,
    follows,
    members,
    notice_revisions,
    notices,
    occurrences,
    past_deliveries,
)
from scheduler.store.schema import facts as facts_table

_FIRST_MAILS = 7437003
"""The advisory lock of PostgreSQL that is held to decide which mail is a member's first."""


class Claim(NamedTuple):
    """A delivery that this run may send now, with the member's data that its message needs.

    `revision` is that of the occurrence to compose from. `uncertain`: an earlier try may have arrived. `requested`:
    the member was sent the calendar REQUEST of this occurrence before (always false for an invitation itself).
    `first`: the member was sent nothing before.
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

    @property
    def assumes_zone(self) -> bool:
        """Whether the zone was derived from the member's country."""
        return self.zone_source == "assumed"


class Settlement(NamedTuple):
    """The outcome of a claimed delivery: `state` is queued (with `next_try`), sent (with `sent_at`) or failed."""

    id: int
    state: str
    reason: str = ""
    uncertain: bool = False
    next_try: datetime | None = None
    sent_at: datetime | None = None
    untried: bool = False


def _ready(now: datetime | ColumnElement[datetime]) -> ColumnElement[bool]:
    """Return the condition that a delivery is queued and may be tried now; `_claimable` checks the rest."""
    return and_(deliveries.c.state == "queued", deliveries.c.next_try <= now)


async def open_chunks(connection: AsyncConnection, now: datetime) -> list[int]:
    """Return the chunks that have something to send now, the earliest due first."""
    query = (
        select(deliveries.c.chunk)
        .join(notices, notices.c.id == deliveries.c.notice)
        .where(
            _ready(now),
            notices.c.ready,
            notices.c.stopped_at.is_(None),
            notices.c.held_at.is_(None),
            notices.c.unwanted.is_(None),
        )
        .group_by(deliveries.c.chunk)
        .order_by(func.min(deliveries.c.due), deliveries.c.chunk)
    )
    return list((await connection.scalars(query)).all())


async def urgent_chunks(connection: AsyncConnection, now: datetime) -> list[int]:
    """Return the open chunks of service mails, which a single person waits for, such as a link to sign in."""
    query = (
        select(deliveries.c.chunk)
        .join(notices, notices.c.id == deliveries.c.notice)
        .where(notices.c.member.is_not(None), notices.c.closed_at.is_(None), _ready(now))
        .distinct()
    )
    return list((await connection.scalars(query)).all())


# Each tick runs this, and building it takes longer than running it.
_next_try = select(func.min(deliveries.c.next_try)).where(
    deliveries.c.state == "queued", deliveries.c.next_try > bindparam("after")
)


async def next_try(connection: AsyncConnection, after: datetime) -> datetime | None:
    """Return the earliest instant after `after` at which a queued delivery may be tried."""
    instant: datetime | None = await connection.scalar(_next_try, {"after": after})
    return instant


def _awaits_welcome(now: ColumnElement[datetime]) -> ColumnElement[bool]:
    """Return the condition that the delivery's member has a welcome mail queued, which is sent before any other."""
    welcome, welcome_delivery = notices.alias("welcome"), deliveries.alias("welcome_delivery")
    return exists().where(
        welcome.c.member == deliveries.c.member,
        welcome.c.kind == Kind.WELCOME,
        welcome.c.expires > now,
        welcome_delivery.c.notice == welcome.c.id,
        # Else PostgreSQL expects to find one soon by reading all deliveries.
        welcome_delivery.c.member == deliveries.c.member,
        welcome_delivery.c.state.in_(("queued", "sending")),
    )


def _awaits_update(now: ColumnElement[datetime]) -> ColumnElement[bool]:
    """Return the condition that the delivery's member has an update about the same meeting queued, which is sent first.

    To somebody who was told that the meeting is cancelled, an invitation or a reminder makes sense only afterwards.
    """
    change, change_delivery = notices.alias("change"), deliveries.alias("change_delivery")
    return exists().where(
        change.c.occurrence == notices.c.occurrence,
        change.c.kind == Kind.UPDATE,
        # Do not wait for an update that nobody will send.
        change.c.ready,
        change.c.stopped_at.is_(None),
        change.c.unwanted.is_(None),
        change.c.expires > now,
        change_delivery.c.notice == change.c.id,
        change_delivery.c.member == deliveries.c.member,
        change_delivery.c.state.in_(("queued", "sending")),
    )


async def has_welcome(connection: AsyncConnection, chunk: int) -> bool:
    """Return whether a chunk contains a welcome mail."""
    query = select(deliveries.c.id).join(notices, notices.c.id == deliveries.c.notice)
    query = query.where(deliveries.c.chunk == chunk, notices.c.kind == Kind.WELCOME).limit(1)
    return await connection.scalar(query) is not None


_watermark = func.coalesce(
    select(cast(cast(facts_table.c.value, Text), BigInteger))
    .where(facts_table.c.name == service_state.WATERMARK)
    .scalar_subquery(),
    0,
)
"""The mark up to which ticks have followed the changes of members."""


def _claimable(chunk: ColumnElement[int], now: ColumnElement[datetime]) -> ColumnElement[bool]:
    """Return the last check before sending, a condition on deliveries, members, notices and (outer) occurrences."""
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
        notices.c.held_at.is_(None),
        notices.c.unwanted.is_(None),
        notices.c.expires > now,
        or_(
            notices.c.occurrence.is_(None),
            and_(
                occurrences.c.starts == notices.c.starts,
                occurrences.c.cancelled == (notices.c.kind == Kind.CANCELLATION),
            ),
        ),
        # If the meeting is gone, composing the message says so.
        or_(notices.c.mentions.is_(None), ~func.coalesce(occurrences.c.cancelled, false())),
        or_(
            notices.c.kind != Kind.REMINDER,
            and_(~declined, or_(deliveries.c.uncertain, ~later_reminder(now))),
        ),
        or_(notices.c.kind.in_(PERSONAL), ~_awaits_welcome(now)),
        or_(
            notices.c.kind.not_in((Kind.INVITATION, Kind.REMINDER)),
            deliveries.c.uncertain,
            ~_awaits_update(now),
        ),
        ~is_muted(deliveries.c.member, notices.c.kind, notices.c.policy),
        # The default of a series changes only when a service starts, which then checks what is queued.
        or_(
            notices.c.occurrence.is_(None),
            deliveries.c.uncertain,
            ~chose(deliveries.c.member, occurrences.c.series, ~follows.c.follows),
            and_(notices.c.kind.in_(CHANGES), _requested),
        ),
        # The next tick finds out whether an ad-hoc notice is still for them.
        or_(
            notices.c.kind != Kind.NOTICE,
            deliveries.c.uncertain,
            members.c.changed <= _watermark,
            ~stopped_following_since(deliveries.c.member, notices.c.created_at),
        ),
        or_(notices.c.kind != Kind.INVITATION, members.c.invitation_by == "mail", deliveries.c.uncertain),
        ~exists().where(facts_table.c.name == service_state.PAUSE),
    )


def claim(connection: Connection, chunk: int, *, run: str, now: datetime, limit: int) -> list[Claim]:
    """Mark up to `limit` deliveries of a chunk as being sent by `run`, after the last check, and return them."""
    parameters = {"chunk_id": chunk, "now": now, "max_rows": limit}
    if connection.dialect.name == "sqlite":
        rows = json.loads(connection.scalar(_claim_query_as_json(), parameters) or "[]")
        claimed = [Claim(*row[:-3], *map(bool, row[-3:])) for row in rows]
    else:
        claimed = [Claim._make(row) for row in connection.execute(_claim_query(), parameters)]
        if any(delivery.first for delivery in claimed):
            claimed = _confirm_first(connection, claimed)
    if claimed:
        # A chunk belongs to one notice, so to one occurrence.
        revision = next((delivery.revision for delivery in claimed if not delivery.uncertain), None)
        connection.execute(
            _mark_sending(connection.dialect.name),
            {
                "ids": _id_list(connection, [delivery.id for delivery in claimed]),
                "run_id": run,
                "at": now,
                "current_revision": revision,
                "first": _id_list(connection, [delivery.id for delivery in claimed if delivery.first]),
                "assumed": _id_list(
                    connection, [delivery.id for delivery in claimed if delivery.assumes_zone]
                ),
            },
        )
        if revision is not None:
            note = insert_into(connection, notice_revisions).on_conflict_do_nothing()
            connection.execute(note, {"notice": claimed[0].notice, "revision": revision})
    return claimed


async def foresee(connection: AsyncConnection, member: int, occurrence: str | None) -> tuple[bool, bool]:
    """Return what `requested` and `first` of a claim would be for a mail to a member, about an occurrence if given."""
    key = literal(member)
    was_mailed = or_(
        exists().where(deliveries.c.member == key, or_(deliveries.c.state == "sent", deliveries.c.uncertain)),
        exists().where(
            past_deliveries.c.member == key,
            or_(past_deliveries.c.state == "sent", past_deliveries.c.uncertain),
        ),
    )
    requested = was_invited(key, occurrence) if occurrence else literal(False)
    row = (await connection.execute(select(requested, ~was_mailed))).one()
    return bool(row[0]), bool(row[1])


def _id_list(connection: Connection, ids: list[int]) -> str | list[int]:
    """Return `ids` as a parameter: for SQLite a JSON list, which is one parameter however long it is."""
    return json.dumps(ids) if connection.dialect.name == "sqlite" else ids


def _confirm_first(connection: Connection, claimed: list[Claim]) -> list[Claim]:
    """Check `first` again under a lock: two senders may each have found a different mail to be a member's first."""
    connection.execute(select(func.pg_advisory_xact_lock(_FIRST_MAILS)))
    candidates = {delivery.id for delivery in claimed if delivery.first}
    query = select(deliveries.c.id).where(deliveries.c.id.in_(candidates), _is_first)
    confirmed = set(connection.scalars(query))
    return [delivery._replace(first=delivery.id in confirmed) for delivery in claimed]


@cache
def _claim_query_as_json() -> Select[Any]:
    """Return `_claim_query` with its result as one JSON text: fetching rows from SQLite one by one, the thread would
    wait for the interpreter's lock for each, while another thread sends."""
    rows = _claim_query().subquery()
    return select(func.json_group_array(func.json_array(*rows.c)))


@cache
def _claim_query() -> Select[Any]:
    """Select and lock the deliveries of a claim. Cached, because building the query costs as much as running it."""
    chunk = bindparam("chunk_id", type_=deliveries.c.chunk.type)
    now = bindparam("now", type_=deliveries.c.due.type)
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
            _is_first,
        )
        .join(members, members.c.id == deliveries.c.member)
        .join(notices, notices.c.id == deliveries.c.notice)
        .outerjoin(occurrences, occurrences.c.key == func.coalesce(notices.c.occurrence, notices.c.mentions))
        .where(_claimable(chunk, now))
        .order_by(deliveries.c.next_try, deliveries.c.id)
        .limit(bindparam("max_rows", type_=Integer))
        .with_for_update(of=deliveries, skip_locked=True)
    )


# An uncertain message is repeated word for word, so from the revision that it was composed from.
_revision = case((deliveries.c.uncertain, deliveries.c.revision), else_=occurrences.c.revision)
_requested = and_(
    # Skip the search for notices without an occurrence and for the invitation itself.
    notices.c.occurrence.is_not(None),
    notices.c.kind != Kind.INVITATION,
    was_invited(deliveries.c.member, notices.c.occurrence),
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
# A mail that may have arrived is repeated as it was, whatever else was sent meanwhile.
_is_first = case((deliveries.c.uncertain, deliveries.c.introduces), else_=~_was_mailed)


@cache
def _mark_sending(dialect: str) -> Update:
    def id_list(name: str) -> Any:
        if dialect == "sqlite":
            return select(func.json_each(bindparam(name)).table_valued("value").c.value)
        return bindparam(name, expanding=True)

    return (
        update(deliveries)
        .where(deliveries.c.id.in_(id_list("ids")))
        .values(
            state="sending",
            run=bindparam("run_id"),
            tried_at=bindparam("at", type_=deliveries.c.tried_at.type),
            reason="",
            attempts=deliveries.c.attempts + 1,
            introduces=deliveries.c.id.in_(id_list("first")),
            assumed=deliveries.c.id.in_(id_list("assumed")),
            rendering=None,
            revision=case(
                (deliveries.c.uncertain, deliveries.c.revision),
                else_=bindparam("current_revision", type_=Integer),
            ),
        )
    )


_is_own = and_(deliveries.c.run == bindparam("run_id"), deliveries.c.state == "sending")

# Nearly all deliveries are sent, so one statement settles all that are: each statement is a round trip.
_settle_sent = (
    update(deliveries)
    .where(deliveries.c.id.in_(bindparam("ids", expanding=True)), _is_own)
    .values(state="sent", run=None, reason="", uncertain=False, sent_at=bindparam("sent"))
)
# The same as plain SQL for SQLite: through SQLAlchemy Core it takes three times as long, for every few messages.
SENT_IN_SQLITE = """
    UPDATE deliveries SET state = 'sent', run = NULL, reason = '', uncertain = 0, sent_at = :sent
    WHERE id IN (SELECT value FROM json_each(:ids)) AND run = :run_id AND state = 'sending'
"""
_settle_other = (
    update(deliveries)
    .where(deliveries.c.id == bindparam("delivery"), _is_own)
    .values(
        state=bindparam("new_state"),
        run=None,
        reason=bindparam("new_reason"),
        uncertain=bindparam("is_uncertain"),
        next_try=func.coalesce(
            bindparam("retry_at", type_=deliveries.c.next_try.type), deliveries.c.next_try
        ),
        attempts=deliveries.c.attempts - bindparam("untried"),
    )
)


def settle(connection: Connection, settlements: Sequence[Settlement], *, run: str) -> None:
    """Record the outcomes of tries; deliveries that another run has taken over are left alone.

    All that are sent in one commit get the same `sent_at`, the latest of theirs.
    """
    sent = [(settlement.id, settlement.sent_at) for settlement in settlements if settlement.sent_at]
    if sent:
        ids = [delivery for delivery, _ in sent]
        _record_sent(connection, ids, run=run, at=max(sent_at for _, sent_at in sent))
    others: list[dict[str, Any]] = [
        {
            "delivery": settlement.id,
            "run_id": run,
            "new_state": settlement.state,
            "new_reason": settlement.reason,
            "is_uncertain": settlement.uncertain,
            "retry_at": settlement.next_try,
            "untried": int(settlement.untried),
        }
        for settlement in settlements
        if not settlement.sent_at
    ]
    if others:
        connection.execute(_settle_other, others)


def settle_work(settlements: Sequence[Settlement], *, run: str) -> Work:
    """Return the transaction that settles these: a single statement if all were sent, which is nearly always so."""
    bare = all(settlement.sent_at for settlement in settlements)
    return Work(partial(settle, settlements=settlements, run=run), bare=bare)


def _record_sent(connection: Connection, ids: list[int], *, run: str, at: datetime) -> None:
    if connection.dialect.name != "sqlite":
        connection.execute(_settle_sent, {"ids": ids, "run_id": run, "sent": at})
        return
    driver = connection.connection.driver_connection
    assert driver
    sent = Instant().process_bind_param(at, connection.dialect)
    driver.execute(SENT_IN_SQLITE, {"ids": json.dumps(ids), "run_id": run, "sent": sent})


async def take_over(
    connection: AsyncConnection,
    *,
    now: datetime,
    run: str | None = None,
    chunk: int | None = None,
) -> int:
    """Requeue as uncertain what is marked as being sent, since it may have arrived; return how many.

    Only deliveries of `run` and `chunk` if they are given. Call this only when nobody is sending those any more.
    """
    abandoned = deliveries.c.state == "sending"
    if run is not None:
        abandoned &= deliveries.c.run == run
    if chunk is not None:
        abandoned &= deliveries.c.chunk == chunk
    result = await connection.execute(
        update(deliveries)
        .where(abandoned)
        .values(
            state="queued",
            run=None,
            uncertain=True,
            reason="taken over",
            # Do not let a `next_try` that was set by a fast clock delay it.
            next_try=case(
                (deliveries.c.next_try > now, literal(now, deliveries.c.next_try.type)),
                else_=deliveries.c.next_try,
            ),
        )
    )
    return result.rowcount
