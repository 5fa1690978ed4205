"""Point out members who may be the same person with two addresses, which `store/duplicates` finds. Nobody is merged: a
convenor removes one, or says that they are different people."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from scheduler.domain.actor import SERVICE, Actor
from scheduler.domain.errors import Refused
from scheduler.service.members import require_member
from scheduler.store import audit, duplicates, members
from scheduler.store.database import Database
from scheduler.store.duplicates import Pair
from scheduler.store.members import Member

MOST = 500
"""The most pairs that are pointed out at once."""


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Two members who may be the same person: `same_mailbox` because of their addresses, else because of their names
    and where they are."""

    one: Member
    other: Member
    same_mailbox: bool


async def find_pairs(database: Database) -> list[Pair]:
    """Return the pairs of members who may be the same person, at most MOST; takes a second with a million members."""
    async with database.read() as connection:
        return await duplicates.pairs(connection, most=MOST)


async def read_pairs(database: Database, pairs: Sequence[Pair]) -> list[Duplicate]:
    """Return those of the pairs that are still on the list and were not said to be different people."""
    async with database.read() as connection:
        apart = await duplicates.told_apart(connection, pairs) if pairs else set()
        people = await members.by_ids(
            connection, {number for pair in pairs for number in (pair.member, pair.other)}
        )
    return [
        Duplicate(one, other, pair.same_mailbox)
        for pair in pairs
        if (one := people.get(pair.member)) and (other := people.get(pair.other))
        if "left" not in (one.status, other.status) and (pair.member, pair.other) not in apart
    ]


async def find_duplicates(database: Database) -> list[Duplicate]:
    """Return the members who may be the same person, as pairs, at most MOST."""
    return await read_pairs(database, await find_pairs(database))


async def tell_apart(
    database: Database, one: str, other: str, *, by: Actor = SERVICE, now: datetime
) -> tuple[Member, Member]:
    """Remember that the members with these addresses are different people. Raises Refused for an unknown address."""
    async with database.write() as connection:
        pair = await require_member(connection, one), await require_member(connection, other)
        if pair[0].id == pair[1].id:
            raise Refused(f"{one} and {other} are one member; give the addresses of two")
        if await duplicates.set_different(connection, pair[0].id, pair[1].id):
            await audit.record(
                connection,
                by,
                "members-told-apart",
                subject=f"member {pair[1].id}",
                about=pair[0].id,
                now=now,
            )
        return pair
