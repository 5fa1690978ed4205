"""Which series members follow: their explicit choices, and conditions for the followers of a series."""

from collections.abc import Collection, Mapping
from datetime import datetime
from types import MappingProxyType

from sqlalchemy import ColumnElement, and_, exists, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.store import service_state
from scheduler.store.database import MOST_VALUES, insert_into
from scheduler.store.schema import follows, members


def chose(
    member: ColumnElement[int], series: ColumnElement[str] | str, *conditions: ColumnElement[bool]
) -> ColumnElement[bool]:
    """Return the condition that a member has a row for a series that meets `conditions`."""
    row = exists().where(follows.c.member == member, follows.c.series == series, *conditions)
    # Inside another EXISTS, SQLAlchemy would otherwise search all rows of the outer table again.
    return row.correlate_except(follows)


def is_follower(
    member: ColumnElement[int], series: ColumnElement[str] | str, by_choice: Collection[str]
) -> ColumnElement[bool]:
    """Return the condition that a member follows a series. `by_choice` are the slugs of the series that only those
    follow who say so."""
    said_yes, said_no = chose(member, series, follows.c.follows), chose(member, series, ~follows.c.follows)
    if isinstance(series, str):
        return said_yes if series in by_choice else ~said_no
    if not by_choice:
        return ~said_no
    # A database looks at the member's choice only once.
    return or_(and_(series.in_(by_choice), said_yes), and_(series.not_in(by_choice), ~said_no))


def has_followed_since(
    member: ColumnElement[int], series: str, by_choice: Collection[str], moment: datetime
) -> ColumnElement[bool]:
    """Return the condition that a member follows a series and did not begin to after `moment`.

    The same as `is_follower` without `began_to_follow_after`, in one look at the member's choice instead of two.
    """
    if series in by_choice:
        in_time = or_(follows.c.since.is_(None), follows.c.since <= moment)
        return chose(member, series, follows.c.follows, in_time)
    return ~chose(member, series, or_(~follows.c.follows, follows.c.since > moment))


def began_to_follow_after(member: ColumnElement[int], series: str, moment: datetime) -> ColumnElement[bool]:
    """Return the condition that a member's explicit choice to follow a series is later than `moment`."""
    return chose(member, series, follows.c.follows, follows.c.since > moment)


def stopped_following_since(
    member: ColumnElement[int], moment: ColumnElement[datetime], series: Collection[str] | None = None
) -> ColumnElement[bool]:
    """Return the condition that a member has stopped following one of these series, or any, since `moment`."""
    return exists().where(
        follows.c.member == member,
        ~follows.c.follows,
        follows.c.since >= moment,
        *([follows.c.series.in_(series)] if series is not None else []),
    )


async def choices_of(connection: AsyncConnection, number: int) -> dict[str, bool]:
    """Return a member's explicit choices by series."""
    return (await choices_of_each(connection, [number])).get(number, {})


async def choices_of_each(
    connection: AsyncConnection, numbers: Collection[int]
) -> dict[int, dict[str, bool]]:
    """Return the explicit choices of several members, by member number and series."""
    listed = list(numbers)
    query = select(follows.c.member, follows.c.series, follows.c.follows)
    choices: dict[int, dict[str, bool]] = {}
    for start in range(0, len(listed), MOST_VALUES):
        is_listed = follows.c.member.in_(listed[start : start + MOST_VALUES])
        for member, series, value in await connection.execute(query.where(is_listed)):
            choices.setdefault(member, {})[series] = value
    return choices


async def has_follower(connection: AsyncConnection, series: str) -> bool:
    """Return whether any active member has said that they follow a series."""
    query = select(follows.c.member).join(members, members.c.id == follows.c.member)
    said_yes = query.where(follows.c.series == series, follows.c.follows, members.c.status == "active")
    return await connection.scalar(said_yes.limit(1)) is not None


async def choose(
    connection: AsyncConnection,
    number: int,
    choices: Mapping[str, bool],
    *,
    by_choice: Collection[str],
    now: datetime,
) -> dict[str, bool]:
    """Store a member's explicit choices by series. Return those that change what the member follows, and so their own
    feed.

    A running service notices within about a second.
    """
    known = await choices_of(connection, number)
    new = {series: value for series, value in choices.items() if known.get(series) is not value}
    changing = {
        series: value
        for series, value in new.items()
        if known.get(series, series not in by_choice) is not value
    }
    if new:
        await store(connection, {number: new}, since=dict.fromkeys(changing, now))
        change_mark = await service_state.note_change(connection)
        feed = {"feed_changed_at": now} if changing else {}
        await connection.execute(
            update(members).where(members.c.id == number).values(changed=change_mark, **feed)
        )
    return changing


async def store(
    connection: AsyncConnection,
    choices: Mapping[int, Mapping[str, bool]],
    *,
    since: Mapping[str, datetime] = MappingProxyType({}),
    overwrite: bool = True,
) -> None:
    """Store explicit choices by member number and series, for members whose change the caller notes.

    `since` is when a choice was made, by series, if it changes what the member follows. Without `overwrite`, choices
    that are stored already stay as they are.
    """
    rows = [
        {"member": number, "series": series, "follows": value, "since": since.get(series)}
        for number, by_series in choices.items()
        for series, value in by_series.items()
    ]
    insertion, key = insert_into(connection, follows), ["member", "series"]
    values = {"follows": insertion.excluded.follows, "since": insertion.excluded.since}
    statement = (
        insertion.on_conflict_do_update(index_elements=key, set_=values)
        if overwrite
        else insertion.on_conflict_do_nothing(index_elements=key)
    )
    if rows:
        await connection.execute(statement, rows)
