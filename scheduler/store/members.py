"""The people on the list."""

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    Table,
    and_,
    delete,
    func,
    insert,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.address import address_key
from scheduler.store import facts
from scheduler.store.database import insert_into
from scheduler.store.mutes import is_muted
from scheduler.store.schema import answers, deliveries, erasures, members, notices, occurrences

BATCH = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A person on the list, as kept. `active_since` is set exactly while `status` is active."""

    id: int
    address: str
    address_key: str
    name: str
    country: str | None
    zone: str
    zone_source: str
    locale: str
    status: str
    convenor: bool
    created_at: datetime
    active_since: datetime | None
    paused_until: datetime | None
    uninvited_at: datetime | None
    generation: int
    feed_generation: int
    feed_alarm_minutes: int | None
    feed_answers: bool
    feed_changed_at: datetime | None
    invitation_by: str


_COLUMNS = [members.c[name] for name in Member.__dataclass_fields__]


def _read(row: Row[Any]) -> Member:
    return Member(**row._mapping)


async def by_id(connection: AsyncConnection, number: int) -> Member | None:
    row = (await connection.execute(select(*_COLUMNS).where(members.c.id == number))).first()
    return _read(row) if row else None


async def by_key(connection: AsyncConnection, address_key: str) -> Member | None:
    row = (await connection.execute(select(*_COLUMNS).where(members.c.address_key == address_key))).first()
    return _read(row) if row else None


async def lock(connection: AsyncConnection, number: int) -> None:
    """Let nobody else decide about a member before this transaction ends (SQLite's writer is alone anyway)."""
    await connection.execute(select(members.c.id).where(members.c.id == number).with_for_update())


async def by_keys(connection: AsyncConnection, address_keys: Sequence[str]) -> dict[str, Member]:
    found: dict[str, Member] = {}
    for start in range(0, len(address_keys), BATCH):
        query = select(*_COLUMNS).where(members.c.address_key.in_(address_keys[start : start + BATCH]))
        found.update({row.address_key: _read(row) for row in await connection.execute(query)})
    return found


async def every(connection: AsyncConnection, *, batch: int = 5_000) -> AsyncIterator[Member]:
    """All members by number, read in batches so that memory stays flat."""
    last = 0
    while True:
        query = select(*_COLUMNS).where(members.c.id > last).order_by(members.c.id).limit(batch)
        rows = (await connection.execute(query)).all()
        for row in rows:
            yield _read(row)
        if len(rows) < batch:
            return
        last = rows[-1].id


async def add(connection: AsyncConnection, rows: Iterable[Mapping[str, Any]]) -> None:
    """Insert members; each mapping names every column but `id`, `changed` and
    those that have a default."""
    change = await facts.note_change(connection)
    pending: list[dict[str, Any]] = []
    for row in rows:
        pending.append({**row, "changed": change})
        if len(pending) == BATCH:
            await connection.execute(insert(members), pending)
            pending.clear()
    if pending:
        await connection.execute(insert(members), pending)


async def change(connection: AsyncConnection, number: int, **values: Any) -> None:
    """Set columns of one member; a running service notices within its watch's second."""
    mark = await facts.note_change(connection)
    await connection.execute(update(members).where(members.c.id == number).values(**values, changed=mark))


async def change_each(connection: AsyncConnection, changes: Mapping[int, Mapping[str, Any]]) -> None:
    """Set columns of several members, by their numbers."""
    mark = await facts.note_change(connection)
    for number, values in changes.items():
        await connection.execute(update(members).where(members.c.id == number).values(**values, changed=mark))


async def end_pauses(connection: AsyncConnection, now: datetime) -> int:
    """Make active again the members whose pause is over; returns how many."""
    over = and_(members.c.status == "paused", members.c.paused_until <= now)
    if not await connection.scalar(select(members.c.id).where(over).limit(1)):
        return 0
    mark = await facts.note_change(connection)
    done = await connection.execute(
        update(members)
        .where(over)
        .values(status="active", active_since=members.c.paused_until, paused_until=None, changed=mark)
    )
    return done.rowcount


async def is_being_mailed(connection: AsyncConnection, number: int) -> bool:
    """Whether a mail to the member is on its way at this moment, or was when its sender broke off."""
    query = select(deliveries.c.id).where(deliveries.c.member == number, deliveries.c.state == "sending")
    return await connection.scalar(query.limit(1)) is not None


async def erase(connection: AsyncConnection, member: Member, address_hash: str, now: datetime) -> None:
    """Delete a member and all that hangs on them; only the keyed hash of the address stays."""
    await facts.note_change(connection)
    for table in _hanging():
        await connection.execute(delete(table).where(table.c.member == member.id))
    await connection.execute(delete(members).where(members.c.id == member.id))
    named = select(notices.c.id, notices.c.audience).where(notices.c.audience.contains("@"))
    for number, audience in (await connection.execute(named)).all():
        if member.address_key in audience.casefold():
            await connection.execute(
                update(notices).where(notices.c.id == number).values(audience="one who was erased")
            )
    known = await connection.scalar(
        select(erasures.c.erased_at).where(erasures.c.address_hash == address_hash)
    )
    if known is None:
        await connection.execute(insert(erasures).values(address_hash=address_hash, erased_at=now))


async def addresses_of(connection: AsyncConnection, member: Member) -> list[str]:
    """A member's address, as written and as compared, and those that they had or named and that are nobody else's."""
    own = {member.address, member.address_key}
    query = select(notices.c.address).where(notices.c.member == member.id, notices.c.address.is_not(None))
    named = set((await connection.scalars(query.distinct())).all())
    others = await by_keys(connection, [address_key(one) for one in named])
    return [*own, *sorted(named - own - {one for one in named if address_key(one) in others})]


def _hanging() -> list[Table]:
    """The tables whose rows belong to a member: what is erased with them, and handed out to them."""
    return [
        table
        for table in members.metadata.sorted_tables
        if "member" in table.c and table.c.member.references(members.c.id)
    ]


async def held_about(connection: AsyncConnection, number: int) -> dict[str, list[dict[str, Any]]]:
    """All that is kept of a member, by table: every row that erasing them removes."""
    found = {}
    for table, key in ((members, members.c.id), *((table, table.c.member) for table in _hanging())):
        rows = await connection.execute(select(table).where(key == number))
        found[table.name] = [dict(row._mapping) for row in rows]
    return found


async def left_before(connection: AsyncConnection, moment: datetime) -> list[Member]:
    """Who has been off the list since before `moment`. A member's own feed ends when they leave."""
    since = func.coalesce(members.c.feed_changed_at, members.c.created_at)
    query = select(*_COLUMNS).where(members.c.status == "left", since < moment).order_by(members.c.id)
    return [_read(row) for row in await connection.execute(query)]


async def let_return(connection: AsyncConnection, address_hash: str) -> None:
    """Forget that the person of this keyed hash was erased."""
    await connection.execute(delete(erasures).where(erasures.c.address_hash == address_hash))


async def erased(connection: AsyncConnection, hashes: Sequence[str]) -> set[str]:
    """Those of the keyed hashes whose people asked to be forgotten."""
    found: set[str] = set()
    for start in range(0, len(hashes), BATCH):
        query = select(erasures.c.address_hash).where(
            erasures.c.address_hash.in_(hashes[start : start + BATCH])
        )
        found.update((await connection.scalars(query)).all())
    return found


async def any_erased(connection: AsyncConnection) -> bool:
    return await connection.scalar(select(erasures.c.address_hash).limit(1)) is not None


async def like(connection: AsyncConnection, address_key: str, *, at_most: int = 1_000) -> list[str]:
    """Addresses that share their beginning or their domain with `address_key`."""
    local, _, domain = address_key.partition("@")
    alike = [members.c.address_key.startswith(local[:3], autoescape=True)]
    if domain:
        alike.append(members.c.address_key.endswith(f"@{domain}", autoescape=True))
    return list((await connection.scalars(select(members.c.address).where(or_(*alike)).limit(at_most))).all())


async def zones(connection: AsyncConnection) -> frozenset[str]:
    """The zones that members live in. Walks the index from zone to zone instead of over every member."""
    walk = select(func.min(members.c.zone).label("zone")).cte("walk", recursive=True)
    walk = walk.union_all(
        select(select(func.min(members.c.zone)).where(members.c.zone > walk.c.zone).scalar_subquery()).where(
            walk.c.zone.is_not(None)
        )
    )
    found = await connection.scalars(select(walk.c.zone).where(walk.c.zone.is_not(None)))
    return frozenset(found.all())


async def counts(connection: AsyncConnection) -> dict[str, int]:
    """How many members have each status."""
    rows = await connection.execute(select(members.c.status, func.count()).group_by(members.c.status))
    return {row[0]: row[1] for row in rows}


async def countries(connection: AsyncConnection) -> int:
    """In how many countries the active members live."""
    query = select(func.count(members.c.country.distinct())).where(members.c.status == "active")
    return int(await connection.scalar(query) or 0)


Audience = Mapping[str, Collection[str]]
"""Terms of an audience by their kind (`all`, `convenors`, `coming`, …); together they are a union."""


def in_audience(audience: Audience) -> ColumnElement[bool]:
    """The condition on `members` for an audience (active members only)."""
    terms: list[ColumnElement[bool]] = []
    for kind, values in audience.items():
        match kind:
            case "all":
                terms.append(true())
            case "convenors":
                terms.append(members.c.convenor)
            case "coming":
                terms.append(members.c.id.in_(_answered(values).where(answers.c.answer == "coming")))
            case "unanswered":
                terms += [members.c.id.not_in(_answered([value])) for value in values]
            case "country":
                terms.append(members.c.country.in_(values))
                if "GB" in values:
                    terms.append(members.c.country.like("GB-%"))
            case "zone":
                terms.append(members.c.zone.in_(values))
            case "locale":
                terms.append(members.c.locale.in_(values))
                # Who chose 12 or 24 hours is of the same locale.
                terms += [members.c.locale.startswith(f"{value}-u-", autoescape=True) for value in values]
            case "address":
                terms += [
                    members.c.address_key.in_(list(values)[start : start + BATCH])
                    for start in range(0, len(values), BATCH)
                ]
            case _:
                raise ValueError(f"unknown audience '{kind}'")
    return and_(members.c.status == "active", or_(*terms))


def _answered(keys: Collection[str]) -> Select[tuple[int]]:
    return select(answers.c.member).where(answers.c.occurrence.in_(keys))


async def count_audience(connection: AsyncConnection, audience: Audience, *, kind: str = "") -> int:
    """How many are in an audience; with `kind`, without those who do not want such notices."""
    wanted = [in_audience(audience), *([~is_muted(members.c.id, kind, "")] if kind else [])]
    return int(await connection.scalar(select(func.count()).select_from(members).where(*wanted)) or 0)


async def set_answer(
    connection: AsyncConnection, number: int, occurrence: str, *, answer: str, now: datetime
) -> None:
    """Keep a member's answer to an occurrence; the last one holds."""
    mark = await facts.note_change(connection)
    values = {"answer": answer, "answered_at": now}
    given = insert_into(connection, answers).values(**values, member=number, occurrence=occurrence)
    await connection.execute(
        given.on_conflict_do_update(index_elements=["occurrence", "member"], set_=values)
    )
    await connection.execute(update(members).where(members.c.id == number).values(changed=mark))


async def answer_of(connection: AsyncConnection, number: int, occurrence: str) -> str:
    """What a member last answered to an occurrence; empty where nothing."""
    key = (answers.c.member == number) & (answers.c.occurrence == occurrence)
    return await connection.scalar(select(answers.c.answer).where(key)) or ""


async def drop_answer(connection: AsyncConnection, number: int, occurrence: str, *, now: datetime) -> None:
    """Let a member have answered nothing to an occurrence; their own feed shows it."""
    mark = await facts.note_change(connection)
    key = (answers.c.member == number) & (answers.c.occurrence == occurrence)
    await connection.execute(delete(answers).where(key))
    changed = update(members).where(members.c.id == number).values(changed=mark, feed_changed_at=now)
    await connection.execute(changed)


async def count_answers(connection: AsyncConnection, occurrence: str) -> dict[str, int]:
    """How many of those who get mail gave each answer to an occurrence."""
    query = (
        select(answers.c.answer, func.count())
        .join(members, members.c.id == answers.c.member)
        .where(answers.c.occurrence == occurrence, members.c.status.in_(("active", "paused")))
        .group_by(answers.c.answer)
    )
    return {row[0]: row[1] for row in await connection.execute(query)}


async def answers_of(
    connection: AsyncConnection, number: int, *, since: datetime
) -> dict[str, tuple[str, datetime]]:
    """What a member answered to the occurrences that start at `since` or later, and when, by their keys."""
    query = (
        select(answers.c.occurrence, answers.c.answer, answers.c.answered_at)
        .join(occurrences, occurrences.c.key == answers.c.occurrence)
        .where(answers.c.member == number, occurrences.c.starts >= since)
    )
    return {row[0]: (row[1], row[2]) for row in await connection.execute(query)}


async def was_requested(connection: AsyncConnection, number: int, occurrence: str) -> bool:
    """Whether a calendar REQUEST for this occurrence went out to the member, as far as anybody knows."""
    query = (
        select(deliveries.c.id)
        .join(notices, notices.c.id == deliveries.c.notice)
        .where(
            deliveries.c.member == number,
            notices.c.occurrence == occurrence,
            notices.c.kind == "invitation",
            or_(deliveries.c.state == "sent", deliveries.c.uncertain),
        )
    )
    return await connection.scalar(query.limit(1)) is not None
