"""Deliveries and counts of them, as reports for convenors."""

import re
from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Executable,
    Label,
    Select,
    and_,
    bindparam,
    case,
    exists,
    func,
    literal,
    or_,
    select,
    tuple_,
    union,
    union_all,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.policy import Kind, Wanted
from scheduler.store.answers import declines
from scheduler.store.follows import is_follower
from scheduler.store.ledger.fan_out import Reach, is_for
from scheduler.store.members import active_by_zone, is_muted, mute_fits
from scheduler.store.notices import TEST_AUDIENCE, open_notice_ids
from scheduler.store.schema import (
    STATES,
    answers,
    deliveries,
    follows,
    members,
    mutes,
    notice_revisions,
    notices,
    past_deliveries,
)

_COLUMNS = ("notice", "member", "state", "attempts", "due", "sent_at", "reason")


_CAUSES = (("%5.1._%", "address"), ("%5.2._%", "mailbox"), ("%5.7._%", "policy"), ("5__ %", "refused"))
"""The causes of failures, each after a LIKE pattern for what the relay answered; the first that fits counts."""

FAILURE_CAUSE = case(
    *((deliveries.c.reason.like(pattern), cause) for pattern, cause in _CAUSES), else_="unsent"
)
"""Why a delivery failed, in a word; see `failures`."""


def failure_cause(reason: str) -> str:
    """Return the same as FAILURE_CAUSE for one delivery."""
    for pattern, cause in _CAUSES:
        if re.fullmatch(pattern.replace(".", r"\.").replace("_", ".").replace("%", ".*"), reason, re.DOTALL):
            return cause
    return "unsent"


@dataclass(frozen=True, slots=True)
class Report:
    """One delivery as convenors see it. `subject` is that of an ad-hoc notice; `again` is the number of the notice that
    it repeats."""

    kind: str
    policy: str | None
    occurrence: str | None
    identity: str
    name: str
    address: str
    subject: str
    again: int | None
    notice: int
    member: int
    state: str
    attempts: int
    due: datetime
    sent_at: datetime | None
    reason: str


@dataclass(frozen=True, slots=True)
class PastDue:
    """How many deliveries of a notice still wait after their due instant; `about` is its occurrence or its subject."""

    notice: int
    kind: str
    about: str
    count: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """How many deliveries wait, and the instant `ready` from which the first of them may be sent."""

    count: int
    ready: datetime


async def has_any(connection: AsyncConnection) -> bool:
    """Return whether there is any delivery: then links may have been sent."""
    notice_ids = [
        await connection.scalar(select(table.c.notice).limit(1)) for table in (deliveries, past_deliveries)
    ]
    return any(notice is not None for notice in notice_ids)


async def reports(
    connection: AsyncConnection,
    *,
    notice: int | None = None,
    member: int | None = None,
    state: str | None = None,
    batch: int = 5_000,
) -> AsyncIterator[Report]:
    """Yield the deliveries that pass all filters given, archived ones first, read in batches."""
    for table, key in (
        (past_deliveries, (past_deliveries.c.notice, past_deliveries.c.member)),
        (deliveries, (deliveries.c.id,)),
    ):
        query = (
            select(
                notices.c.kind,
                notices.c.policy,
                notices.c.occurrence,
                notices.c.identity,
                members.c.name,
                members.c.address,
                notices.c.subject,
                notices.c.again,
                *(table.c[name] for name in _COLUMNS),
                *(column.label(None) for column in key),
            )
            .join_from(table, notices, notices.c.id == table.c.notice)
            .join(members, members.c.id == table.c.member)
            .order_by(*key)
            .limit(batch)
        )
        for name, value in (("notice", notice), ("member", member), ("state", state)):
            if value is not None:
                query = query.where(table.c[name] == value)
        last: tuple[Any, ...] = (0,) * len(key)
        while rows := (await connection.execute(query.where(tuple_(*key) > tuple_(*last)))).all():
            for row in rows:
                yield Report(*row[: -len(key)])
            last = row[-len(key) :]


async def identities_sent(connection: AsyncConnection, member: int, *, since: datetime) -> list[str]:
    """Return the identities of the notices that were sent, or tried, to a member's own address since an instant."""
    query = (
        select(notices.c.identity)
        .join_from(deliveries, notices, notices.c.id == deliveries.c.notice)
        .where(
            deliveries.c.member == member,
            deliveries.c.attempts > 0,
            deliveries.c.tried_at >= since,
            notices.c.address.is_(None),
        )
    )
    return list((await connection.scalars(query)).all())


async def states(connection: AsyncConnection, notice: int | None = None) -> dict[str, int]:
    """Count the deliveries of one notice, or of all open ones, by state."""
    if notice is not None:
        tally: dict[str, int] | None = await connection.scalar(
            select(notices.c.tally).where(notices.c.id == notice)
        )
        if tally:
            return tally
        return await _count_states_of(connection, notice)
    total = Counter[str]()
    for counts in (await count_states(connection, open_notice_ids())).values():
        total.update(counts)
    return dict(total)


_MANY = 50_000


async def _count_states_of(connection: AsyncConnection, notice: int) -> dict[str, int]:
    """Count the deliveries of a notice by state.

    Nearly all of a million may be in one state, `queued` or `sent`. To count these as the rest of all deliveries takes
    half the time, because another index is smaller.
    """
    of_notice = deliveries.c.notice == notice

    def number(name: str, *conditions: ColumnElement[bool]) -> Label[int]:
        query = select(func.count()).select_from(deliveries).where(of_notice, *conditions)
        return query.scalar_subquery().label(name)

    is_queued = deliveries.c.state == "queued"
    many_wait = await connection.scalar(
        select(deliveries.c.id).where(of_notice, is_queued).offset(_MANY).limit(1)
    )
    rest = "queued" if many_wait else "sent"
    others = [state for state in STATES if state != rest]
    # One statement, so that no delivery is counted twice while it is sent.
    query = select(number("total"), *(number(state, deliveries.c.state == state) for state in others))
    counts = dict((await connection.execute(query)).one()._mapping)
    counts[rest] = counts.pop("total") - sum(counts[state] for state in others)
    return {state: count for state, count in counts.items() if count}


async def count_uncertain(connection: AsyncConnection, notice: int) -> int:
    """Count the deliveries of a notice that count as sent, but may not have arrived: their sender ended meanwhile, or
    the connection did."""
    total = 0
    for table in (deliveries, past_deliveries):
        query = select(func.count()).where(
            table.c.notice == notice, table.c.state == "sent", table.c.reason == "uncertain"
        )
        total += int(await connection.scalar(query) or 0)
    return total


async def states_by_notice(connection: AsyncConnection) -> dict[int, dict[str, int]]:
    """Count deliveries by notice and state, except for service mails. Closed notices have their counts stored."""
    uncounted = select(notices.c.id).where(notices.c.member.is_(None), notices.c.tally.is_(None))
    counted = select(notices.c.id, notices.c.tally).where(notices.c.tally.is_not(None))
    stored = {row[0]: row[1] for row in await connection.execute(counted)}
    return stored | await count_states(connection, uncounted)


async def count_states(
    connection: AsyncConnection, notice_ids: Select[tuple[int]] | Sequence[int]
) -> dict[int, dict[str, int]]:
    """Count the deliveries of these notices by notice and state, without those in the archive."""
    key = (deliveries.c.notice, deliveries.c.state)
    query = select(*key, func.count()).where(deliveries.c.notice.in_(notice_ids)).group_by(*key)
    by_notice: dict[int, dict[str, int]] = {}
    for notice, state, count in await connection.execute(query):
        by_notice.setdefault(notice, {})[state] = count
    return by_notice


async def waiting_by_zone(connection: AsyncConnection) -> dict[int, dict[str, Waiting]]:
    """Return the queued and sending deliveries of open notices, by notice and zone."""
    waiting: dict[int, dict[str, Waiting]] = {}
    for state in ("queued", "sending"):
        for notice, zone, count, ready in await connection.execute(_groups(state)):
            by_zone = waiting.setdefault(notice, {})
            other = by_zone.get(zone, Waiting(0, ready))
            by_zone[zone] = Waiting(other.count + count, min(other.ready, ready))
    return waiting


def _groups(state: str) -> Select[Any]:
    """Return a query for the number and the first `next_try` of the deliveries in a state, by open notice and zone.

    It jumps in the index from zone to zone, and counts each. Grouping all rows takes twice the time on SQLite, and four
    times on PostgreSQL.
    """
    column = deliveries.c
    first = select(func.min(column.zone)).where(column.notice == notices.c.id, column.state == state)
    walk = (
        select(notices.c.id.label("notice"), first.scalar_subquery().label("zone"))
        .where(notices.c.closed_at.is_(None))
        .cte("walk", recursive=True)
    )
    following = select(func.min(column.zone)).where(
        column.notice == walk.c.notice, column.state == state, column.zone > walk.c.zone
    )
    walk = walk.union_all(select(walk.c.notice, following.scalar_subquery()).where(walk.c.zone.is_not(None)))
    same = (column.notice == walk.c.notice, column.state == state, column.zone == walk.c.zone)
    return select(
        walk.c.notice,
        walk.c.zone,
        select(func.count()).select_from(deliveries).where(*same).scalar_subquery(),
        select(func.min(column.next_try)).where(*same).scalar_subquery(),
    ).where(walk.c.zone.is_not(None))


async def notices_with_deliveries(connection: AsyncConnection) -> frozenset[int]:
    """Return the numbers of the open notices that have any delivery."""
    has_any = exists().where(deliveries.c.notice == notices.c.id)
    query = select(notices.c.id).where(notices.c.closed_at.is_(None), has_any)
    return frozenset((await connection.scalars(query)).all())


async def missing_by_zone(
    connection: AsyncConnection,
    wanted: Wanted,
    *,
    notice: int | None,
    due: datetime,
    reach: Reach,
    zone: str | None = None,
) -> dict[str, int]:
    """Count by zone the deliveries that a planned notice due at `due` would still get, in all zones or only in `zone`.

    `notice` is its number if it has deliveries already. Reads every member, or those who said that they follow the
    series if it is followed by choice.
    """
    query = (
        select(members.c.zone, func.count())
        .where(is_for(wanted.kind, wanted.occurrence, due=due, expires=wanted.expires, reach=reach))
        .where(~is_muted(members.c.id, wanted.kind, wanted.policy))
        .group_by(members.c.zone)
    )
    if notice is not None:
        query = query.where(members.c.id.not_in(_recipients(notice)))
    by_choice = wanted.series in reach.by_choice
    if by_choice:
        said_yes = select(follows.c.member).where(follows.c.series == wanted.series, follows.c.follows)
        query = query.where(members.c.id.in_(said_yes))
    if zone is not None:
        # A database might prefer the index of zones to the list of followers.
        query = query.where((members.c.zone.concat("") if by_choice else members.c.zone) == zone)
    return {row[0]: row[1] for row in await connection.execute(query)}


async def missing_later(
    connection: AsyncConnection,
    wanted: Wanted,
    active: Mapping[tuple[str, str], int],
    *,
    notice: int | None,
    by_choice: Collection[str],
) -> dict[str, int]:
    """Count as `missing_by_zone` does, for a notice that is due in the future.

    Subtracts from the active followers of its series the members that the notice is not for, and reads only these.
    `active` is the result of `active_followers` for the series.
    """
    is_invitation = wanted.kind is Kind.INVITATION
    excluded = [
        select(mutes.c.member).where(mute_fits(mutes.c.member, wanted.kind, wanted.policy)),
        select(members.c.id).where(members.c.suppressed_at.is_not(None)),
        *([_recipients(notice)] if notice is not None else []),
    ]
    if wanted.kind is Kind.REMINDER:
        excluded.append(select(answers.c.member).where(declines(answers.c.member, wanted.occurrence)))
    query = (
        select(members.c.zone, func.count())
        .where(
            members.c.status == "active",
            members.c.id.in_(union(*excluded)),
            is_follower(members.c.id, wanted.series, by_choice),
        )
        .group_by(members.c.zone)
    )
    if is_invitation:
        query = query.where(members.c.invitation_by == "mail")
    by_zone = Counter[str]()
    for (zone, invitation_by), count in active.items():
        by_zone[zone] += count if invitation_by == "mail" or not is_invitation else 0
    by_zone.subtract({row[0]: row[1] for row in await connection.execute(query)})
    return dict(+by_zone)


async def active_followers(
    connection: AsyncConnection, all_series: Set[str], by_choice: Set[str]
) -> dict[str, dict[tuple[str, str], int]]:
    """Count the active followers of each series by zone and by how they are invited (mail or feed).

    Reads only members who chose: those who said yes to a series in `by_choice`, and those who said no to another.
    """
    if not all_series:
        return {}
    counted = [members.c.zone, func.count(), func.count().filter(members.c.invitation_by == "mail")]
    if connection.dialect.name == "sqlite":
        # A part for each series: grouping by two columns takes half as long again.
        parts = [
            select(literal(series), *counted)
            .join(follows, follows.c.member == members.c.id)
            .where(
                follows.c.series == series,
                follows.c.follows == (series in by_choice),
                members.c.status == "active",
            )
            .group_by(members.c.zone)
            for series in sorted(all_series)
        ]
        query: Executable = union_all(*parts)
    else:
        # For each part, PostgreSQL would read all members.
        query = (
            select(follows.c.series, *counted)
            .join(members, members.c.id == follows.c.member)
            .where(
                or_(
                    and_(follows.c.series.in_(all_series & by_choice), follows.c.follows),
                    and_(follows.c.series.in_(all_series - by_choice), ~follows.c.follows),
                ),
                members.c.status == "active",
            )
            .group_by(follows.c.series, members.c.zone)
        )
    active = await active_by_zone(connection)
    counts = {
        series: Counter[tuple[str, str]]({} if series in by_choice else active) for series in all_series
    }
    for series, zone, count, mailed in await connection.execute(query):
        sign = 1 if series in by_choice else -1
        counts[series][zone, "mail"] += sign * mailed
        counts[series][zone, "feed"] += sign * (count - mailed)
    return {series: dict(+count) for series, count in counts.items()}


def _recipients(notice: int) -> Select[tuple[int]]:
    # As a parameter, PostgreSQL would soon ignore it, and expect as many deliveries as of any other notice.
    number: BindParameter[int] = bindparam("notice", notice, unique=True, literal_execute=True)
    return select(deliveries.c.member).where(deliveries.c.notice == number)


async def oldest_waiting(connection: AsyncConnection, now: datetime) -> datetime | None:
    """Return the earliest due instant of a queued delivery that is due and not on hold; None if there is none."""
    query = select(func.min(deliveries.c.due)).where(deliveries.c.state == "queued", deliveries.c.due <= now)
    due: datetime | None = await connection.scalar(query.where(*await _not_on_hold(connection)))
    return due


async def ready_since(connection: AsyncConnection, now: datetime) -> datetime | None:
    """Return since when something could have been tried that is still queued; None if there is nothing."""
    query = select(func.min(deliveries.c.next_try)).where(
        deliveries.c.state == "queued", deliveries.c.next_try <= now
    )
    ready: datetime | None = await connection.scalar(query.where(*await _not_on_hold(connection)))
    return ready


async def _not_on_hold(connection: AsyncConnection) -> list[ColumnElement[bool]]:
    """Return the condition that no convenor holds a delivery's notice.

    If nothing is on hold there is no condition, so that the index of what waits is enough.
    """
    held = (await connection.scalars(open_notice_ids(notices.c.held_at.is_not(None)))).all()
    return [deliveries.c.notice.not_in(held)] if held else []


async def failures(connection: AsyncConnection, notice: int | None = None) -> dict[str, int]:
    """Count the failed deliveries of one notice, or of all open ones, by cause, from the relay's enhanced code
    (RFC 3463): address (5.1), mailbox (5.2), policy (5.7), refused (any other 5xx), or unsent if it was never offered
    to the relay."""
    query = (
        select(FAILURE_CAUSE, func.count())
        .where(
            deliveries.c.state == "failed",
            deliveries.c.notice == notice
            if notice is not None
            else deliveries.c.notice.in_(open_notice_ids()),
        )
        .group_by(FAILURE_CAUSE)
    )
    return {row[0]: row[1] for row in await connection.execute(query)}


def due_or_begun(moment: datetime) -> ColumnElement[bool]:
    """Return the condition that a delivery may have been sent before `moment`."""
    return or_(deliveries.c.due < moment, deliveries.c.next_try < moment)


async def due_before(connection: AsyncConnection, moment: datetime) -> list[PastDue]:
    """Count by open notice the queued and sending deliveries that were due or had begun before `moment`."""
    about = func.coalesce(notices.c.occurrence, notices.c.subject)
    query = (
        select(notices.c.id, notices.c.kind, about, func.count())
        .join(deliveries, deliveries.c.notice == notices.c.id)
        .where(_waiting_since_before(moment))
        .group_by(notices.c.id, notices.c.kind, about)
        .order_by(notices.c.id)
    )
    return [PastDue(*row) for row in await connection.execute(query)]


async def members_due_before(connection: AsyncConnection, moment: datetime) -> int:
    """Return to how many members the deliveries of `due_before` go."""
    query = (
        select(func.count(deliveries.c.member.distinct()))
        .join(notices, notices.c.id == deliveries.c.notice)
        .where(_waiting_since_before(moment))
    )
    return int(await connection.scalar(query) or 0)


def _waiting_since_before(moment: datetime) -> ColumnElement[bool]:
    return and_(
        notices.c.closed_at.is_(None), deliveries.c.state.in_(("queued", "sending")), due_or_begun(moment)
    )


async def count_mailed(connection: AsyncConnection, occurrence: str, zone: str) -> int:
    """Count the members of a zone who were mailed about an occurrence."""
    query = (
        select(func.count(deliveries.c.member.distinct()))
        .join(notices, notices.c.id == deliveries.c.notice)
        .where(
            notices.c.occurrence == occurrence,
            deliveries.c.zone == zone,
            or_(deliveries.c.state == "sent", deliveries.c.uncertain),
        )
    )
    return int(await connection.scalar(query) or 0)


async def earlier_mails(
    connection: AsyncConnection, occurrence: str, people: Collection[int], *, before: int
) -> dict[int, list[tuple[Kind, int]]]:
    """Return the kind and revision of each mail about an occurrence's revisions below `before` that these members were
    sent, by member number, the lowest revision first. An invitation of the revision `before` counts too: it may have
    been sent after the change was made and before it was announced."""
    by_member: dict[int, list[tuple[Kind, int]]] = {}
    for table in (past_deliveries, deliveries):
        query = (
            select(table.c.member, notices.c.kind, table.c.revision)
            .join_from(table, notices, notices.c.id == table.c.notice)
            .where(
                notices.c.occurrence == occurrence,
                table.c.member.in_(people),
                or_(
                    table.c.revision < before,
                    and_(table.c.revision == before, notices.c.kind == Kind.INVITATION),
                ),
                or_(table.c.state == "sent", table.c.uncertain),
            )
        )
        for member, kind, revision in await connection.execute(query):
            by_member.setdefault(member, []).append((Kind(kind), revision))
    return {member: sorted(mails, key=lambda mail: mail[1]) for member, mails in by_member.items()}


def _is_about(occurrence: str) -> ColumnElement[bool]:
    """Return whether a notice is about an occurrence, or mentions it; a test of a notice does not count."""
    mentions = and_(notices.c.mentions == occurrence, ~notices.c.audience.startswith(TEST_AUDIENCE))
    return or_(notices.c.occurrence == occurrence, mentions)


async def was_tried(connection: AsyncConnection, occurrence: str) -> bool:
    """Return whether any mail about an occurrence was tried."""
    for table in (deliveries, past_deliveries):
        about = select(notices.c.id).where(_is_about(occurrence))
        tried = select(table.c.notice).where(table.c.notice.in_(about))
        # An index finds what has been sent at once.
        for query in (tried.where(table.c.state == "sent"), tried.where(table.c.attempts > 0)):
            if await connection.scalar(query.limit(1)) is not None:
                return True
    return False


async def has_invited_to(connection: AsyncConnection, occurrence: str, revision: int) -> bool:
    """Return whether any invitation to an occurrence as it is in `revision` was tried."""
    query = (
        select(notice_revisions.c.notice)
        .join(notices, notices.c.id == notice_revisions.c.notice)
        .where(
            notices.c.occurrence == occurrence,
            notices.c.kind == Kind.INVITATION,
            notice_revisions.c.revision == revision,
        )
    )
    return await connection.scalar(query.limit(1)) is not None


async def last_told_revision(
    connection: AsyncConnection, occurrence: str, *, present: int | None = None
) -> int | None:
    """Return the newest revision of an occurrence about which a mail was tried; None if there is none.

    Invitations of the `present` revision do not count if there are earlier ones: they went to newcomers only.
    """
    query = (
        select(notices.c.kind, notice_revisions.c.revision)
        .join(notices, notices.c.id == notice_revisions.c.notice)
        .where(_is_about(occurrence))
    )
    tried, others = set[int](), set[int]()
    for kind, revision in await connection.execute(query):
        tried.add(revision)
        if kind != Kind.INVITATION or revision != present:
            others.add(revision)
    return max(others or tried, default=None)
