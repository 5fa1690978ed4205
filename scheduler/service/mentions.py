"""Where people who are erased are named beside their own rows: in mail that came back, and in what convenors wrote."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.inbound import readable
from scheduler.domain.mention import Person, folded
from scheduler.store import erasures, returns
from scheduler.store.members import Member
from scheduler.store.returns import Waiting


@dataclass(frozen=True, slots=True)
class Mentions:
    """The messages waiting for a look that name people: `certain` by an address or a whole name, `possible` by a name
    that others have too. `seen` is the number of the last message that was searched."""

    certain: Sequence[int] = ()
    possible: Sequence[int] = ()
    seen: int = 0


async def person_of(connection: AsyncConnection, member: Member) -> Person:
    """Who is looked for, where a member is erased."""
    addresses = await erasures.addresses_of(connection, member)
    return Person(addresses, member.name, shares_name=await erasures.shares_name(connection, member))


async def find_mentions(connection: AsyncConnection, people: Sequence[Person], *, after: int = 0) -> Mentions:
    """Search the waiting messages behind the number `after`, every encoding in them undone."""
    certain, possible, seen = [], [], after
    async for one in returns.waiting(connection, after=after):
        seen = one.id
        text = await asyncio.to_thread(_text, one)
        if any(who.is_addressed_in(text) or (who.is_distinctive and who.is_named_in(text)) for who in people):
            certain.append(one.id)
        elif any(who.is_named_in(text) for who in people):
            possible.append(one.id)
    return Mentions(certain, possible, seen)


async def erase_mentions(connection: AsyncConnection, people: Sequence[Person], found: Mentions) -> Mentions:
    """Delete the waiting messages that certainly name people, those too that came since `found` was searched, and blank
    their addresses in what mail systems said. Returns all that was found."""
    since = await find_mentions(connection, people, after=found.seen)
    both = Mentions([*found.certain, *since.certain], [*found.possible, *since.possible], since.seen)
    await returns.drop_many(connection, both.certain)
    await erasures.blank_addresses(connection, [address for who in people for address in who.addresses])
    return both


async def what_stays(connection: AsyncConnection, person: Person, found: Mentions) -> list[str]:
    """Say where a person is still named, since only a convenor can judge it."""
    places: dict[str, None] = {}
    async for place, text in erasures.texts_for_everybody(connection):
        plain = folded(text)
        if person.is_addressed_in(plain) or person.is_named_in(plain):
            places[place] = None
    possible = [f"message {number} that came back (`returns show {number}`)" for number in found.possible]
    return [*places, *possible]


def _text(one: Waiting) -> str:
    return folded(f"{one.words}\n{readable(one.content)}")
