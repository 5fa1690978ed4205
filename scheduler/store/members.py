"""Members, the kinds of mail that each of them does not want, and audiences."""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy import (
    ColumnElement,
    Engine,
    Row,
    Select,
    and_,
    delete,
    exists,
    false,
    func,
    insert,
    literal,
    not_,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.address import mailbox_key
from scheduler.domain.audience import Audience
from scheduler.domain.occurrence import OccurrenceKey
from scheduler.domain.policy import Kind
from scheduler.domain.text import folded
from scheduler.domain.zone import is_known_zone, names_of_country_zones
from scheduler.store import profiles, service_state
from scheduler.store.database import MOST_VALUES, insert_into
from scheduler.store.follows import is_follower
from scheduler.store.profiles import ProfileKind
from scheduler.store.schema import answers, deliveries, follows, members, mutes, notices, past_deliveries

Mute = tuple[str, str]
"""A kind of notice that a member does not want to be mailed, and for a reminder its policy's slug, else empty."""


def is_muted(
    member: ColumnElement[int], kind: ColumnElement[str] | str, policy: ColumnElement[str | None] | str | None
) -> ColumnElement[bool]:
    """Return the condition that a member does not want notices of a kind (and policy, for a reminder).

    For a statement that selects from the tables of these columns itself; inside another EXISTS use `mute_fits`.
    """
    return exists().where(mute_fits(member, kind, policy))


def mute_fits(
    member: ColumnElement[int], kind: ColumnElement[str] | str, policy: ColumnElement[str | None] | str | None
) -> ColumnElement[bool]:
    """Return the condition that a row of `mutes` belongs to a member and covers such notices."""
    return and_(
        mutes.c.member == member,
        mutes.c.kind == kind,
        or_(mutes.c.kind != "reminder", mutes.c.policy == func.coalesce(policy, "")),
    )


async def mutes_of(connection: AsyncConnection, number: int) -> frozenset[Mute]:
    rows = await connection.execute(select(mutes.c.kind, mutes.c.policy).where(mutes.c.member == number))
    return frozenset((row[0], row[1]) for row in rows)


async def set_mutes(connection: AsyncConnection, number: int, wanted: Collection[Mute]) -> None:
    """Replace the kinds of mail that a member does not want."""
    await connection.execute(delete(mutes).where(mutes.c.member == number))
    if wanted:
        rows = [{"member": number, "kind": kind, "policy": policy} for kind, policy in sorted(wanted)]
        await connection.execute(insert_into(connection, mutes).values(rows).on_conflict_do_nothing())
    change_mark = await service_state.note_change(connection)
    await connection.execute(update(members).where(members.c.id == number).values(changed=change_mark))


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A person on the list, as stored. `active_since` is set exactly while `status` is active. While `suppressed_at` is
    set they are only mailed what they ask for, because their address bounces."""

    id: int
    address: str
    address_key: str
    name: str
    country: str | None
    zone: str
    zone_source: str
    locale: str
    status: str
    role: str | None
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
    suppressed_at: datetime | None = None
    suppressed_for: str | None = None

    @property
    def convenor(self) -> bool:
        return self.role == "convenor"


DELIVERABLE: Mapping[str, Any] = {"suppressed_at": None, "suppressed_for": None}
"""The column values of a member whose address is not known to bounce."""

_COLUMNS = [members.c[name] for name in Member.__dataclass_fields__]


def _read(row: Row[Any]) -> Member:
    return Member(**row._mapping)


async def by_id(connection: AsyncConnection, number: int) -> Member | None:
    row = (await connection.execute(select(*_COLUMNS).where(members.c.id == number))).first()
    return _read(row) if row else None


async def by_ids(connection: AsyncConnection, numbers: Collection[int]) -> dict[int, Member]:
    """Return the members with these numbers, by number."""
    listed, by_number = list(numbers), dict[int, Member]()
    for start in range(0, len(listed), MOST_VALUES):
        query = select(*_COLUMNS).where(members.c.id.in_(listed[start : start + MOST_VALUES]))
        by_number.update({row.id: _read(row) for row in await connection.execute(query)})
    return by_number


async def by_key(connection: AsyncConnection, address_key: str) -> Member | None:
    row = (await connection.execute(select(*_COLUMNS).where(members.c.address_key == address_key))).first()
    return _read(row) if row else None


async def with_role(connection: AsyncConnection, role: str) -> list[Member]:
    """Return the members with a role, by number."""
    # Only with the first condition is the index of those who have a role used.
    query = select(*_COLUMNS).where(members.c.role.is_not(None), members.c.role == role)
    return [_read(row) for row in await connection.execute(query.order_by(members.c.id))]


async def lock(connection: AsyncConnection, number: int) -> None:
    """Lock a member's row until this transaction ends (SQLite has only one writer anyway)."""
    await connection.execute(select(members.c.id).where(members.c.id == number).with_for_update())


async def mark_of(connection: AsyncConnection, number: int) -> int:
    """Return a number that every change of a member raises."""
    return int(await connection.scalar(select(members.c.changed).where(members.c.id == number)) or 0)


async def by_keys(connection: AsyncConnection, address_keys: Sequence[str]) -> dict[str, Member]:
    by_address_key: dict[str, Member] = {}
    for start in range(0, len(address_keys), MOST_VALUES):
        query = select(*_COLUMNS).where(members.c.address_key.in_(address_keys[start : start + MOST_VALUES]))
        by_address_key.update({row.address_key: _read(row) for row in await connection.execute(query)})
    return by_address_key


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """A word to search for: in the name without case, accents and punctuation, in the address without case.
    `countries` and `zones` are those whose name contains it."""

    name: str
    text: str
    countries: Collection[str]
    zones: Collection[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Which members to find: those who have every word, and the status, country, zone and role if given.

    `suppressed`: only those whose mail comes back. `series` is the slug of a series that they follow; `by_choice` are
    the slugs of those that only members follow who say so.
    """

    words: Sequence[Word] = ()
    status: str = ""
    country: str = ""
    zone: str = ""
    role: str = ""
    suppressed: bool = False
    series: str = ""
    by_choice: Collection[str] = ()


EVERYBODY = Search()


def _found_by(search: Search) -> list[ColumnElement[bool]]:
    """Return the conditions on `members` for a search. The index ix_members_search has all their columns."""
    conditions = [
        or_(
            *(
                _contains(members.c.search_key, text)
                for text in dict.fromkeys((word.text, word.name))
                if text
            ),
            *([members.c.country.in_(word.countries)] if word.countries else []),
            *([members.c.zone.in_(word.zones)] if word.zones else []),
        )
        for word in search.words
    ]
    conditions += [
        column == value
        for column, value in (
            (members.c.status, search.status),
            (members.c.country, search.country),
            (members.c.zone, search.zone),
            (members.c.role, search.role),
        )
        if value
    ]
    if search.role:
        # Only with this condition is the index of those who have a role used.
        conditions.append(members.c.role.is_not(None))
    if search.suppressed:
        conditions.append(members.c.suppressed_at.is_not(None))
    if search.series:
        conditions.append(is_follower(members.c.id, search.series, search.by_choice))
    return conditions


def _contains(column: ColumnElement[str], text: str) -> ColumnElement[bool]:
    # Escaping makes SQLite compare with a function that takes three times as long.
    return column.contains(text, autoescape=any(mark in text for mark in "%_/"))


_FEW = 20_000
"""The number of followers up to which it is quicker to sort them by name than to search for them among all members."""


def found(search: Search, *, after: str | None, limit: int, few_follow: bool = False) -> Select[tuple[int]]:
    """Return the statement for the numbers of the first members whom a search finds, by `search_key`.

    It reads nothing but the index ix_members_search, and with a series also that of the choices. `few_follow` says that
    few members follow the series.
    """
    query = select(members.c.id).where(*_found_by(search)).order_by(members.c.search_key).limit(limit)
    if few_follow:
        query = query.where(members.c.id.in_(_said_yes(search.series)))
    return query if after is None else query.where(members.c.search_key > after)


def _said_yes(series: str) -> Select[tuple[int]]:
    return select(follows.c.member).where(follows.c.series == series, follows.c.follows)


async def _few_follow(connection: AsyncConnection, search: Search) -> bool:
    if search.series not in search.by_choice:
        return False
    said_yes = _said_yes(search.series).limit(_FEW).subquery()
    return int(await connection.scalar(select(func.count()).select_from(said_yes)) or 0) < _FEW


async def find(
    connection: AsyncConnection, search: Search, *, after: int | None = None, limit: int
) -> list[Member]:
    """Return the first members whom a search finds, by name; `after` is the number of the last one already seen."""
    last = None
    if after is not None:
        last = await connection.scalar(select(members.c.search_key).where(members.c.id == after))
        if last is None:
            return []
    numbers = found(search, after=last, limit=limit, few_follow=await _few_follow(connection, search))
    query = select(*_COLUMNS).where(members.c.id.in_(numbers)).order_by(members.c.search_key)
    return [_read(row) for row in await connection.execute(query)]


async def every(
    connection: AsyncConnection, search: Search = EVERYBODY, *, batch: int = 5_000
) -> AsyncIterator[Member]:
    """Yield all members whom a search finds, by number, read in batches so that memory stays flat."""
    last = 0
    while True:
        query = (
            select(*_COLUMNS)
            .where(members.c.id > last, *_found_by(search))
            .order_by(members.c.id)
            .limit(batch)
        )
        rows = (await connection.execute(query)).all()
        for row in rows:
            yield _read(row)
        if len(rows) < batch:
            return
        last = rows[-1].id


async def numbers(connection: AsyncConnection, *, batch: int = 5_000) -> AsyncIterator[list[int]]:
    """Yield the numbers of all members, in batches."""
    last = 0
    while True:
        query = select(members.c.id).where(members.c.id > last).order_by(members.c.id).limit(batch)
        page = list((await connection.scalars(query)).all())
        if page:
            yield page
        if len(page) < batch:
            return
        last = page[-1]


async def add(connection: AsyncConnection, rows: Iterable[Mapping[str, Any]]) -> None:
    """Insert members; each mapping names every column except `id`, `changed` and those that have a default."""
    change_mark = await service_state.note_change(connection)
    pending: list[dict[str, Any]] = []
    for row in rows:
        name_key, address_key = folded(row["name"]), row["address_key"]
        keys = {
            "name_key": name_key,
            "mailbox_key": mailbox_key(address_key),
            "search_key": f"{name_key}\t{address_key}",
        }
        pending.append({**row, **keys, "changed": change_mark})
        if len(pending) == MOST_VALUES:
            await connection.execute(insert(members), pending)
            pending.clear()
    if pending:
        await connection.execute(insert(members), pending)


async def change(connection: AsyncConnection, number: int, **values: Any) -> None:
    """Set columns of one member; a running service notices within about a second."""
    await change_each(connection, {number: values})


async def change_each(connection: AsyncConnection, changes: Mapping[int, Mapping[str, Any]]) -> None:
    """Set columns of several members, by their numbers.

    Whoever leaves is no longer shown on the page of people, nor is whoever is no longer a convenor among the convenors.
    """
    change_mark = await service_state.note_change(connection)
    for number, values in changes.items():
        if "name" in values:
            values = {**values, "name_key": folded(values["name"])}
        if "address_key" in values:
            values = {**values, "mailbox_key": mailbox_key(values["address_key"])}
        if keys := values.keys() & {"name_key", "address_key"}:
            name_key, address_key = (
                literal(values[key]) if key in keys else members.c[key] for key in ("name_key", "address_key")
            )
            values = {**values, "search_key": name_key + "\t" + address_key}
        await connection.execute(
            update(members).where(members.c.id == number).values(**values, changed=change_mark)
        )
        if values.get("status") == "left":
            await profiles.remove(connection, number, *ProfileKind)
        elif values.get("role", "convenor") != "convenor":
            await profiles.remove(connection, number, ProfileKind.CONVENOR)


async def end_pauses(connection: AsyncConnection, now: datetime) -> int:
    """Reactivate the members whose pause is over; return how many."""
    is_over = and_(members.c.status == "paused", members.c.paused_until <= now)
    if not await connection.scalar(select(members.c.id).where(is_over).limit(1)):
        return 0
    change_mark = await service_state.note_change(connection)
    result = await connection.execute(
        update(members)
        .where(is_over)
        .values(status="active", active_since=members.c.paused_until, paused_until=None, changed=change_mark)
    )
    return result.rowcount


async def restore_pauses(connection: AsyncConnection, now: datetime) -> int:
    """Restore the pauses that ended too early because a clock was ahead of `now`; return how many."""
    ended_early = and_(members.c.status == "active", members.c.active_since > now)
    change_mark = await service_state.note_change(connection)
    result = await connection.execute(
        update(members)
        .where(ended_early)
        .values(status="paused", paused_until=members.c.active_since, active_since=None, changed=change_mark)
    )
    return result.rowcount


async def is_being_mailed(connection: AsyncConnection, number: int) -> bool:
    """Return whether a mail to the member is being sent, or was when its sender stopped unexpectedly."""
    query = select(deliveries.c.id).where(deliveries.c.member == number, deliveries.c.state == "sending")
    return await connection.scalar(query.limit(1)) is not None


async def left_before(connection: AsyncConnection, moment: datetime) -> list[Member]:
    """Return the members who left before `moment`: their own feed last changed when they left."""
    since = func.coalesce(members.c.feed_changed_at, members.c.created_at)
    query = select(*_COLUMNS).where(members.c.status == "left", since < moment).order_by(members.c.id)
    return [_read(row) for row in await connection.execute(query)]


async def similar_addresses(
    connection: AsyncConnection, address_key: str, *, at_most: int = 1_000
) -> list[str]:
    """Return addresses that share their first three characters or their domain with `address_key`."""
    local_part, _, domain = address_key.partition("@")
    is_similar = [members.c.address_key.startswith(local_part[:3], autoescape=True)]
    if domain:
        is_similar.append(members.c.address_key.endswith(f"@{domain}", autoescape=True))
    query = select(members.c.address).where(or_(*is_similar)).limit(at_most)
    return list((await connection.scalars(query)).all())


async def zones(connection: AsyncConnection) -> frozenset[str]:
    """Return the zones of all members, without those that the installed zone data does not know."""
    return frozenset(filter(is_known_zone, await _stored_zones(connection)))


async def unknown_zones(connection: AsyncConnection) -> dict[str, int]:
    """Return the zones of members that the installed zone data does not know, with the number of members in each."""
    unknown = [zone for zone in await _stored_zones(connection) if not is_known_zone(zone)]
    query = select(members.c.zone, func.count()).where(members.c.zone.in_(unknown)).group_by(members.c.zone)
    return {row[0]: row[1] for row in await connection.execute(query)} if unknown else {}


async def _stored_zones(connection: AsyncConnection) -> frozenset[str]:
    return frozenset((await connection.scalars(_zones)).all())


async def locales(connection: AsyncConnection) -> frozenset[str]:
    """Return the locales that members have."""
    return frozenset((await connection.scalars(_locales)).all())


def _distinct(column: ColumnElement[str]) -> Select[Any]:
    """Return a query that jumps in the column's index from value to value instead of reading every member."""
    walk = select(func.min(column).label("value")).cte("walk", recursive=True)
    walk = walk.union_all(
        select(select(func.min(column)).where(column > walk.c.value).scalar_subquery()).where(
            walk.c.value.is_not(None)
        )
    )
    return select(walk.c.value).where(walk.c.value.is_not(None))


# Built once, because each tick runs them several times.
_zones = _distinct(members.c.zone)
_locales = _distinct(members.c.locale)


async def counts(connection: AsyncConnection) -> dict[str, int]:
    """Count members by status."""
    by_status = Counter[str]()
    for (_, status, _), count in (await _census(connection)).items():
        by_status[status] += count
    return dict(by_status)


async def active_by_zone(connection: AsyncConnection) -> dict[tuple[str, str], int]:
    """Count active members by zone and by how they are invited (mail or feed)."""
    census = await _census(connection)
    return {(zone, by): count for (zone, status, by), count in census.items() if status == "active"}


async def _census(connection: AsyncConnection) -> dict[tuple[str, str, str], int]:
    """Count members by zone, status and how they are invited: an index contains all three, so no row is read."""
    key = (members.c.zone, members.c.status, members.c.invitation_by)

    async def count() -> dict[tuple[str, str, str], int]:
        rows = await connection.execute(select(*key, func.count()).group_by(*key))
        return {(row[0], row[1], row[2]): row[3] for row in rows}

    return await _count_after_change(connection, "census", count)


async def countries(connection: AsyncConnection) -> int:
    """Count the countries of active members."""
    query = select(func.count(members.c.country.distinct())).where(members.c.status == "active")
    return int(await connection.scalar(query) or 0)


async def suppressed(connection: AsyncConnection) -> int:
    """Count the members on the list whose address is suppressed."""
    query = select(func.count()).where(members.c.suppressed_at.is_not(None), members.c.status != "left")
    return int(await connection.scalar(query) or 0)


def in_audience(audience: Audience) -> ColumnElement[bool]:
    """Return the condition on `members` for an audience: only active members whose address is not suppressed."""
    terms = [term for kind, values in audience.terms.items() for term in _in_terms(kind, values, audience)]
    excluded = [
        term for kind, values in audience.without.items() for term in _in_terms(kind, values, audience)
    ]
    return and_(
        members.c.status == "active",
        members.c.suppressed_at.is_(None),
        # An audience without terms is nobody, not everybody.
        or_(false(), *terms),
        # A condition on a country that is not known is neither true nor false.
        *([~func.coalesce(or_(*excluded), false())] if excluded else []),
    )


def _in_terms(kind: str, values: Collection[str], audience: Audience) -> list[ColumnElement[bool]]:
    """Return the conditions on `members`, any of which puts a member in the audience's terms of one kind."""
    match kind:
        case "all":
            return [true()]
        case "convenors":
            return [and_(members.c.role.is_not(None), members.c.role == "convenor")]
        case "series":
            return [is_follower(members.c.id, slug, audience.by_choice) for slug in values]
        case "told-of":
            return [
                term
                for key in values
                for term in (
                    is_follower(members.c.id, OccurrenceKey.parse(key).series, audience.by_choice),
                    was_invited(members.c.id, key),
                )
            ]
        case "coming":
            return [members.c.id.in_(_answered(values).where(answers.c.answer == "coming"))]
        case "declined":
            return [members.c.id.in_(_answered(values).where(answers.c.answer == "declined"))]
        case "answered":
            return [members.c.id.in_(_answered(values))]
        case "unanswered":
            return [members.c.id.not_in(_answered([value])) for value in values]
        case "country":
            # A nation of the UK has no zone of its own.
            zones = {name for value in values if "-" not in value for name in names_of_country_zones(value)}
            return [
                members.c.country.in_(values),
                members.c.zone.in_(sorted(zones)),
                *([members.c.country.like("GB-%")] if "GB" in values else []),
            ]
        case "invited-to":
            revisions = [value.rpartition("@") for value in values]
            return [was_invited(members.c.id, key, revision=int(number)) for key, _, number in revisions]
        case "other-zone":
            return [members.c.zone.not_in(values)]
        case "zone":
            return [members.c.zone.in_(values)]
        case "locale":
            # A choice of the 12 or 24 hour clock extends the locale, as in en-GB-u-hc-h12.
            return [
                members.c.locale.in_(values),
                *(members.c.locale.startswith(f"{value}-u-", autoescape=True) for value in values),
            ]
        case "joined-since":
            since = min(datetime.combine(date.fromisoformat(value), time(), UTC) for value in values)
            return [members.c.created_at >= since]
        case "address":
            keys = list(values)
            return [
                members.c.address_key.in_(keys[start : start + MOST_VALUES])
                for start in range(0, len(keys), MOST_VALUES)
            ]
    raise ValueError(f"unknown audience '{kind}'")


def was_invited(
    member: ColumnElement[int],
    occurrence: ColumnElement[str | None] | str,
    *,
    revision: int | None = None,
) -> ColumnElement[bool]:
    """Return the condition that a member was sent the invitation to an occurrence, or may have been; with `revision`,
    only of that revision.

    A past meeting may be moved into the future: its invitations may be in the archive.
    """
    invitation = notices.alias("invitation")
    return or_(
        *(
            exists()
            .where(
                invited.c.member == member,
                invited.c.notice == invitation.c.id,
                invitation.c.kind == Kind.INVITATION,
                invitation.c.occurrence == occurrence,
                or_(invited.c.state == "sent", invited.c.uncertain),
                *([invited.c.revision == revision] if revision is not None else []),
            )
            .correlate_except(invited, invitation)
            for invited in (deliveries.alias("invited"), past_deliveries.alias("invited_once"))
        )
    )


def _answered(keys: Collection[str]) -> Select[tuple[int]]:
    return select(answers.c.member).where(answers.c.occurrence.in_(keys))


async def audience_by_zone(connection: AsyncConnection, audience: Audience, *, kind: str) -> dict[str, int]:
    """Count an audience by zone, without the members who do not want notices of this kind."""
    query = select(members.c.zone, func.count()).where(
        in_audience(audience), ~is_muted(members.c.id, kind, "")
    )
    return {row[0]: row[1] for row in await connection.execute(query.group_by(members.c.zone))}


async def some_in_audience(
    connection: AsyncConnection, audience: Audience, *, kind: str, limit: int, zone: str = ""
) -> list[Member]:
    """Return any members of an audience, in one zone if it is given, who want notices of this kind."""
    query = select(*_COLUMNS).where(in_audience(audience), ~is_muted(members.c.id, kind, ""))
    if zone:
        query = query.where(members.c.zone == zone)
    return [_read(row) for row in await connection.execute(query.limit(limit))]


async def count_by_place(connection: AsyncConnection, audience: Audience) -> dict[tuple[str, str], int]:
    """Count an audience by country and zone; an unknown country is empty."""
    key = (func.coalesce(members.c.country, ""), members.c.zone)
    query = select(*key, func.count()).where(in_audience(audience)).group_by(*key)
    return {(row[0], row[1]): row[2] for row in await connection.execute(query)}


async def count_audience(connection: AsyncConnection, audience: Audience, *, kind: str = "") -> int:
    """Count an audience; with `kind`, without the members who do not want notices of this kind."""
    muted = select(mutes.c.member).where(mute_fits(mutes.c.member, kind, ""))
    conditions = [in_audience(audience)]
    if kind:
        # To read the muted members once is quicker than to look for each member.
        conditions.append(members.c.id.not_in(muted))
    unfollowed = _unfollowed(audience)
    if unfollowed is None:
        return await _count(connection, *conditions)
    # Nearly everybody gets it: it is much quicker to count all, and then the few who may not get it.
    may_not = members.c.id.in_(unfollowed.union(muted) if kind else unfollowed)
    everybody = await _count_reachable(connection)
    return everybody - await _count(connection, _REACHABLE, may_not, not_(and_(*conditions)))


_REACHABLE = and_(members.c.status == "active", members.c.suppressed_at.is_(None))
_Counted = TypeVar("_Counted")
_kept_counts = WeakKeyDictionary[Engine, dict[str, tuple[int, Any]]]()
"""For each database, what was counted, and at which change of the data."""


async def _count_after_change(
    connection: AsyncConnection, what: str, count: Callable[[], Awaitable[_Counted]]
) -> _Counted:
    """Return what `count` counts. For a million members that takes a tenth of a second: do it only after a change."""
    reader = connection.sync_connection
    assert reader
    if reader.get_execution_options().get("writes"):
        # The counter and the members may have been changed by this transaction, which may be rolled back.
        return await count()
    mark = await service_state.current(connection, "change")
    kept = _kept_counts.setdefault(reader.engine, {})
    if what not in kept or kept[what][0] != mark:
        kept[what] = (mark, await count())
    counted: _Counted = kept[what][1]
    return counted


async def _count_reachable(connection: AsyncConnection) -> int:
    """Count the members who get mail."""
    return await _count_after_change(connection, "reachable", lambda: _count(connection, _REACHABLE))


async def _count(connection: AsyncConnection, *conditions: ColumnElement[bool]) -> int:
    return int(await connection.scalar(select(func.count()).select_from(members).where(*conditions)) or 0)


def _unfollowed(audience: Audience) -> Select[tuple[int]] | None:
    """Return which members may be missing from an audience that is all members but for those who said no to a series.

    None for every other audience.
    """
    if audience.without or len(audience.terms) != 1:
        return None
    (kind, values), *_ = audience.terms.items()
    if kind == "all":
        slugs = []
    elif kind in ("series", "told-of") and len(values) == 1:
        slugs = [OccurrenceKey.parse(value).series if kind == "told-of" else value for value in values]
    else:
        return None
    if any(slug in audience.by_choice for slug in slugs):
        return None
    return select(follows.c.member).where(follows.c.series.in_(slugs), ~follows.c.follows)
