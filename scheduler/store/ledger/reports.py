"""What became of deliveries, for convenors: rows and counts."""

from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, func, or_, select, tuple_, union
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.policy import Kind, Wanted
from scheduler.store.answers import declines
from scheduler.store.ledger.fan_out import is_for
from scheduler.store.members import is_muted, mute_fits
from scheduler.store.notices import open_notice_ids
from scheduler.store.schema import answers, deliveries, members, mutes, notices, past_deliveries

_SHOWN = ("notice", "member", "state", "attempts", "due", "sent_at", "reason")


@dataclass(frozen=True, slots=True)
class Report:
    """One delivery as convenors see it."""

    kind: str
    policy: str | None
    occurrence: str | None
    identity: str
    name: str
    address: str
    notice: int
    member: int
    state: str
    attempts: int
    due: datetime
    sent_at: datetime | None
    reason: str


@dataclass(frozen=True, slots=True)
class Missed:
    """How many deliveries of a notice wait although a moment is past; `about` is its meeting or its subject."""

    notice: int
    kind: str
    about: str
    count: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """How many deliveries wait, and from when on the first of them may be sent."""

    count: int
    ready: datetime


async def any_at_all(connection: AsyncConnection) -> bool:
    """Whether mail to anybody was ever prepared, so that links may have been sent."""
    found = [
        await connection.scalar(select(table.c.notice).limit(1)) for table in (deliveries, past_deliveries)
    ]
    return any(one is not None for one in found)


async def reports(
    connection: AsyncConnection,
    *,
    notice: int | None = None,
    member: int | None = None,
    state: str | None = None,
    batch: int = 5_000,
) -> AsyncIterator[Report]:
    """Deliveries, read in batches, those in the archive first; each filter given narrows them."""
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
                *(table.c[name] for name in _SHOWN),
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


async def states(connection: AsyncConnection, notice: int | None = None) -> dict[str, int]:
    """How many deliveries (of one notice, or of all open ones) are in each state."""
    if notice is not None:
        tally: dict[str, int] | None = await connection.scalar(
            select(notices.c.tally).where(notices.c.id == notice)
        )
        if tally:
            return tally
    found = Counter[str]()
    for one in (await count_states(connection, open_notice_ids() if notice is None else [notice])).values():
        found.update(one)
    return dict(found)


async def states_by_notice(connection: AsyncConnection) -> dict[int, dict[str, int]]:
    """As `states`, for each notice that is for many; one that is closed has been counted."""
    many = select(notices.c.id).where(notices.c.member.is_(None), notices.c.tally.is_(None))
    counted = select(notices.c.id, notices.c.tally).where(notices.c.tally.is_not(None))
    found = {row[0]: row[1] for row in await connection.execute(counted)}
    return found | await count_states(connection, many)


async def count_states(
    connection: AsyncConnection, of: Select[tuple[int]] | Sequence[int]
) -> dict[int, dict[str, int]]:
    """How many deliveries of each of these notices are in each state, unless they lie in the archive."""
    key = (deliveries.c.notice, deliveries.c.state)
    query = select(*key, func.count()).where(deliveries.c.notice.in_(of)).group_by(*key)
    found: dict[int, dict[str, int]] = {}
    for notice, state, count in await connection.execute(query):
        found.setdefault(notice, {})[state] = count
    return found


async def waiting_by_zone(connection: AsyncConnection, notice: int) -> dict[str, Waiting]:
    """What of a notice waits or is being sent, by zone."""
    query = (
        select(deliveries.c.zone, func.count(), func.min(deliveries.c.next_try))
        .where(deliveries.c.notice == notice, deliveries.c.state.in_(("queued", "sending")))
        .group_by(deliveries.c.zone)
    )
    return {row[0]: Waiting(row[1], row[2]) for row in await connection.execute(query)}


async def lacking_by_zone(
    connection: AsyncConnection, want: Wanted, *, notice: int | None, due: datetime, zone: str | None = None
) -> dict[str, int]:
    """How many members of each zone (or of one) a planned notice due at `due` would still be made out to; `notice` is
    its number where it stands already. Looks at every member."""
    query = (
        select(members.c.zone, func.count())
        .where(is_for(want.kind, want.occurrence, due=due, expires=want.expires))
        .where(~is_muted(members.c.id, want.kind, want.policy))
        .group_by(members.c.zone)
    )
    if notice is not None:
        query = query.where(members.c.id.not_in(_who_have(notice)))
    if zone is not None:
        query = query.where(members.c.zone == zone)
    return {row[0]: row[1] for row in await connection.execute(query)}


async def lacking_later(
    connection: AsyncConnection, want: Wanted, people: Mapping[tuple[str, str], int], *, notice: int | None
) -> dict[str, int]:
    """As `lacking_by_zone`, for whatever later instant it is due at: out of `people`, as `members.active_by_zone`
    counts them, it takes those whom it is not for, and looks at these alone."""
    invites = want.kind is Kind.INVITATION
    not_for = [
        select(mutes.c.member).where(mute_fits(mutes.c.member, want.kind, want.policy)),
        select(members.c.id).where(members.c.suppressed_at.is_not(None)),
        *([_who_have(notice)] if notice is not None else []),
    ]
    if want.kind is Kind.REMINDER:
        not_for.append(select(answers.c.member).where(declines(answers.c.member, want.occurrence)))
    query = (
        select(members.c.zone, func.count())
        .where(members.c.status == "active", members.c.id.in_(union(*not_for)))
        .group_by(members.c.zone)
    )
    if invites:
        query = query.where(members.c.invitation_by == "mail")
    found = Counter[str]()
    for (zone, by), count in people.items():
        found[zone] += count if by == "mail" or not invites else 0
    found.subtract({row[0]: row[1] for row in await connection.execute(query)})
    return dict(+found)


def _who_have(notice: int) -> Select[tuple[int]]:
    return select(deliveries.c.member).where(deliveries.c.notice == notice)


async def oldest_waiting(connection: AsyncConnection, now: datetime) -> datetime | None:
    """The due instant of the delivery that has waited longest."""
    query = select(func.min(deliveries.c.due)).where(deliveries.c.state == "queued", deliveries.c.due <= now)
    found: datetime | None = await connection.scalar(query)
    return found


async def ready_since(connection: AsyncConnection, now: datetime) -> datetime | None:
    """The earliest instant at which something that still waits could have been tried."""
    query = select(func.min(deliveries.c.next_try)).where(
        deliveries.c.state == "queued", deliveries.c.next_try <= now
    )
    found: datetime | None = await connection.scalar(query)
    return found


async def failures(connection: AsyncConnection) -> dict[str, int]:
    """How many deliveries of open notices failed, by what the relay meant (RFC 3463): address (5.1), mailbox (5.2),
    policy (5.7), refused (any other 5xx), and unsent for what was never offered to it."""
    means = case(
        (deliveries.c.reason.like("%5.1._%"), "address"),
        (deliveries.c.reason.like("%5.2._%"), "mailbox"),
        (deliveries.c.reason.like("%5.7._%"), "policy"),
        (deliveries.c.reason.like("5__ %"), "refused"),
        else_="unsent",
    )
    query = (
        select(means, func.count())
        .where(
            deliveries.c.state == "failed",
            deliveries.c.notice.in_(open_notice_ids()),
        )
        .group_by(means)
    )
    return {row[0]: row[1] for row in await connection.execute(query)}


def due_or_begun(moment: datetime) -> ColumnElement[bool]:
    """Whether a delivery may have been sent before `moment`."""
    return or_(deliveries.c.due < moment, deliveries.c.next_try < moment)


async def due_before(connection: AsyncConnection, moment: datetime) -> list[Missed]:
    """Return, for each open notice, how many of its deliveries were due or begun before `moment` (UTC) and are still
    queued or being sent."""
    about = func.coalesce(notices.c.occurrence, notices.c.subject)
    query = (
        select(notices.c.id, notices.c.kind, about, func.count())
        .join(deliveries, deliveries.c.notice == notices.c.id)
        .where(_waiting_since_before(moment))
        .group_by(notices.c.id, notices.c.kind, about)
        .order_by(notices.c.id)
    )
    return [Missed(*row) for row in await connection.execute(query)]


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


async def told_of(connection: AsyncConnection, occurrence: str, zone: str) -> int:
    """How many members of a zone were mailed about an occurrence."""
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


async def told_before(
    connection: AsyncConnection, occurrence: str, people: Collection[int], *, before: int
) -> dict[int, list[tuple[Kind, int]]]:
    """Of which revisions of an occurrence below `before` these members were sent mails, of which kinds, the lowest
    first."""
    found: dict[int, list[tuple[Kind, int]]] = {}
    for table in (past_deliveries, deliveries):
        query = (
            select(table.c.member, notices.c.kind, table.c.revision)
            .join_from(table, notices, notices.c.id == table.c.notice)
            .where(
                notices.c.occurrence == occurrence,
                table.c.member.in_(people),
                table.c.revision < before,
                or_(table.c.state == "sent", table.c.uncertain),
            )
        )
        for member, kind, revision in await connection.execute(query):
            found.setdefault(member, []).append((Kind(kind), revision))
    return {member: sorted(mails, key=lambda one: one[1]) for member, mails in found.items()}


async def last_told_revision(connection: AsyncConnection, occurrence: str) -> int | None:
    """The newest revision of an occurrence of which a mail was tried."""
    found: list[int | None] = []
    for table in (deliveries, past_deliveries):
        query = (
            select(func.max(table.c.revision))
            .join_from(table, notices, notices.c.id == table.c.notice)
            .where(notices.c.occurrence == occurrence, table.c.attempts > 0)
        )
        found.append(await connection.scalar(query))
    return max((one for one in found if one is not None), default=None)
