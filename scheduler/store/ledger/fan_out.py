"""Create the deliveries of a notice for the members it is for, with set-based statements of bounded size."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Select,
    Text,
    and_,
    any_,
    cast,
    exists,
    func,
    literal,
    or_,
    select,
    text,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.audience import Audience
from scheduler.domain.occurrence import OccurrenceKey
from scheduler.domain.policy import CHANGES, REPLIES, Kind
from scheduler.store import service_state
from scheduler.store.answers import has_declined
from scheduler.store.database import insert_into
from scheduler.store.follows import began_to_follow_after, has_followed_since, is_follower
from scheduler.store.ledger import jobs
from scheduler.store.members import in_audience, is_muted, was_invited
from scheduler.store.notices import Notice
from scheduler.store.schema import deliveries, dues, follows, members, notices, past_deliveries

BATCH = 20_000
CHUNK = 500
LATE_ON_HOLD = "late: on hold"
"""The reason for which deliveries expire because a convenor held their notice for too long."""

_can_be_mailed = and_(members.c.status == "active", members.c.suppressed_at.is_(None))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """Which members a planned notice is for, apart from its kind and instants.

    `by_choice` are the slugs of the series that only those follow who say so. An invitation opens when it is due, or
    when it is planned (`planned_at`) if that is later. `awaits` is the start of the meeting before, until that is over:
    who came after the invitation opened and before that start is not invited yet. With `latecomers` the notice is only
    for those who came after it opened.
    """

    by_choice: Collection[str]
    planned_at: datetime | None = None
    awaits: datetime | None = None
    latecomers: bool = False


def is_for(
    kind: Kind, occurrence: str, *, due: datetime, expires: datetime, reach: Reach
) -> ColumnElement[bool]:
    """Return the condition that a planned notice, due at `due` and useful until `expires`, is for a member: an active
    follower of the series whose address is not suppressed."""
    series = OccurrenceKey.parse(occurrence).series
    terms = [_can_be_mailed, members.c.active_since < expires]
    if kind in (Kind.REMINDER, Kind.FOLLOW_UP):
        terms.append(members.c.active_since <= due)
        terms.append(has_followed_since(members.c.id, series, reach.by_choice, due))
    else:
        terms.append(is_follower(members.c.id, series, reach.by_choice))
    if kind is Kind.INVITATION:
        terms.append(or_(members.c.uninvited_at.is_(None), members.c.uninvited_at < due))
        terms.append(members.c.invitation_by == "mail")
        opened = max(due, reach.planned_at or due)
        if reach.awaits:
            terms.append(or_(~_came_after(series, opened), _came_after(series, reach.awaits)))
        if reach.latecomers:
            terms.append(_came_after(series, opened))
    if kind is Kind.REMINDER:
        terms.append(~has_declined(members.c.id, occurrence))
    return and_(*terms)


def _came_after(series: str, moment: datetime) -> ColumnElement[bool]:
    """Return the condition that a member joined, or began to follow a series, after `moment`."""
    return or_(members.c.active_since > moment, began_to_follow_after(members.c.id, series, moment))


async def first_latecomers(
    connection: AsyncConnection, notice: Notice, due: datetime, reach: Reach
) -> dict[str, int]:
    """Return, by zone, the lowest number of a member who came after an invitation opened.

    A fan-out for latecomers begins there. Nearly all of them joined, so have the highest numbers, and this one search
    costs less than looking at all members of each zone.
    """
    assert notice.occurrence
    series = OccurrenceKey.parse(notice.occurrence).series
    opened = max(due, reach.planned_at or due)
    joined = select(members.c.id, members.c.zone).where(members.c.active_since > opened)
    followed = (
        select(members.c.id, members.c.zone)
        .join(follows, follows.c.member == members.c.id)
        .where(follows.c.series == series, follows.c.follows, follows.c.since > opened)
    )
    latecomers = joined.union_all(followed).subquery()
    query = select(latecomers.c.zone, func.min(latecomers.c.id)).group_by(latecomers.c.zone)
    return {row[0]: row[1] for row in await connection.execute(query)}


async def missing_followers(connection: AsyncConnection, notice: Notice) -> dict[str, list[int]] | None:
    """Return, by zone, the numbers of those who said that they follow the series of a planned notice, may be sent it
    and have no delivery of it.

    For a series that is followed by choice, a fan-out need look at no other members. Return None if they are more than
    BATCH: then it costs less to look at all members of each zone.
    """
    assert notice.occurrence
    query = (
        select(members.c.id, members.c.zone)
        .join(follows, follows.c.member == members.c.id)
        .where(
            follows.c.series == OccurrenceKey.parse(notice.occurrence).series,
            follows.c.follows,
            _can_be_mailed,
            *([members.c.invitation_by == "mail"] if notice.kind is Kind.INVITATION else []),
            *([~has_declined(members.c.id, notice.occurrence)] if notice.kind is Kind.REMINDER else []),
            *_wants_and_misses(notice),
        )
        .limit(BATCH + 1)
    )
    return await _by_zone(connection, query)


async def _search(connection: AsyncConnection, query: Select[Any]) -> Sequence[Any]:
    """Execute a query that PostgreSQL plans for the present size of its tables.

    Else it keeps a plan from before the first fan-out, which reads all deliveries for each member. Only for this query:
    what checks each inserted row must not be planned each time.
    """
    if connection.dialect.name == "sqlite":
        found: Sequence[Any] = (await connection.execute(query)).all()
        return found
    await connection.execute(text("SET LOCAL plan_cache_mode = force_custom_plan"))
    found = (await connection.execute(query)).all()
    await connection.execute(text("SET LOCAL plan_cache_mode = auto"))
    return found


async def changed_members(connection: AsyncConnection, since: int) -> dict[str, list[int]] | None:
    """Return, by zone, the numbers of the members who changed after a mark; None if they are more than BATCH."""
    query = select(members.c.id, members.c.zone).where(members.c.changed > since).limit(BATCH + 1)
    return await _by_zone(connection, query)


async def _by_zone(connection: AsyncConnection, query: Select[Any]) -> dict[str, list[int]] | None:
    by_zone: dict[str, list[int]] = {}
    for number, zone in (found := await _search(connection, query)):
        by_zone.setdefault(zone, []).append(number)
    return by_zone if len(found) <= BATCH else None


def _wants_and_misses(notice: Notice) -> list[ColumnElement[bool]]:
    """Return the conditions that a member wants such notices, and has no delivery of this one."""
    return [
        ~is_muted(members.c.id, notice.kind, notice.policy),
        ~exists().where(deliveries.c.notice == notice.id, deliveries.c.member == members.c.id),
        # A past meeting may be moved into the future: its earlier deliveries may be in the archive.
        ~exists().where(past_deliveries.c.notice == notice.id, past_deliveries.c.member == members.c.id),
    ]


def _is_for(notice: Notice, due: datetime, reach: Reach | None) -> ColumnElement[bool]:
    if notice.member is None and notice.kind in CHANGES:
        return _missed_change(notice)
    if notice.member is None:
        assert notice.occurrence and reach
        return is_for(notice.kind, notice.occurrence, due=due, expires=notice.expires, reach=reach)
    is_recipient = members.c.id == notice.member
    return is_recipient if notice.kind in REPLIES else and_(is_recipient, _can_be_mailed)


def _missed_change(notice: Notice) -> ColumnElement[bool]:
    """Return the condition that a member was sent the invitation, but nothing since the change that `notice` announces:
    they were away at that time, and their calendar still shows the old meeting."""
    revision = int(notice.identity.rpartition(":")[2])

    since_change = [
        exists().where(
            table.c.member == members.c.id,
            table.c.notice == notices.c.id,
            notices.c.occurrence == notice.occurrence,
            or_(table.c.state == "sent", table.c.uncertain),
            table.c.revision >= revision,
        )
        for table in (deliveries, past_deliveries)
    ]
    assert notice.occurrence
    return and_(_can_be_mailed, was_invited(members.c.id, notice.occurrence), ~or_(*since_change))


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
    reach: Reach | None = None,
    among: Sequence[int] | None = None,
) -> int | None:
    """Insert the missing deliveries for members of `zone`, for at most 20,000 members with a number above `after`.

    They are for `audience`, or else for the members that the plan says, which for a planned notice takes its `reach`;
    those who do not want such notices are left out; with `changed_since` only for members changed after that mark; with
    `among` only for members with these numbers. They may be sent from `start` on if that is before `due`, else from
    `due` on. Deliveries of an expired notice are inserted as expired, so that convenors see them. Return the last
    member's number to continue after, or None if no more are left.
    """
    is_sqlite = connection.dialect.name == "sqlite"
    # SQLite would prefer the index of zones to the numbers that are given.
    member_zone = members.c.zone if among is None else members.c.zone.concat("")
    wanted = and_(
        member_zone == zone,
        in_audience(audience) if audience is not None else _is_for(notice, due, reach),
        *_wants_and_misses(notice),
        *([_is_one_of(json.dumps(among), is_sqlite=is_sqlite)] if among is not None else []),
        *([members.c.changed > changed_since] if changed_since is not None else []),
    )
    page = (
        select(members.c.id)
        .where(wanted, members.c.id > after)
        .order_by(members.c.id)
        .limit(BATCH)
        .subquery()
    )
    as_json = func.json_group_array(page.c.id) if is_sqlite else cast(func.json_agg(page.c.id), Text)
    summary = select(func.max(page.c.id), func.count(), as_json).select_from(page)
    ((last, count, numbers),) = await _search(connection, summary)
    if not count:
        return None
    chunks = -(-count // CHUNK)
    base = await service_state.advance(connection, "chunk", by=chunks) - chunks
    is_late = notice.expires <= now
    # Keep an early start even if it is past: after a restore this tells that the delivery may have been sent already.
    ready = start if start and start < due and now < due else max(due, now)
    # Finding the members by the conditions again would take as long as the first time.
    rows = select(
        literal(notice.id),
        members.c.id,
        members.c.zone,
        members.c.locale,
        base + (func.row_number().over(order_by=members.c.id) - 1) // CHUNK,
        literal("expired" if is_late else "queued"),
        literal((LATE_ON_HOLD if notice.held_at else "late") if is_late else ""),
        literal(due, dues.c.due.type),
        literal(ready, dues.c.due.type),
    ).where(_is_one_of(numbers, is_sqlite=is_sqlite))
    columns = ["notice", "member", "zone", "locale", "chunk", "state", "reason", "due", "next_try"]
    insertion = insert_into(connection, deliveries).from_select(columns, rows)
    await connection.execute(insertion.on_conflict_do_nothing())
    if not is_sqlite and notice.ready and ready <= now < notice.expires:
        await jobs.enqueue(connection, range(base, base + chunks), urgent=notice.member is not None)
    return int(last) if count == BATCH else None


def _is_one_of(numbers: str, *, is_sqlite: bool) -> ColumnElement[bool]:
    """Return the condition that a member's number is in a JSON list, which is one parameter however long it is."""
    if is_sqlite:
        return members.c.id.in_(select(func.json_each(numbers).table_valued("value").c.value))
    return members.c.id == any_(cast(json.loads(numbers), ARRAY(BigInteger)))
