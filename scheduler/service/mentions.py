"""Find where erased people are named outside their own rows: in returned mail, and in what convenors wrote."""

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
    """The returned messages, kept for review, that name people: `certain` by an address or a whole name, `possible` by
    a name that others share. `last_searched` is the number of the last message that was searched."""

    certain: Sequence[int] = ()
    possible: Sequence[int] = ()
    last_searched: int = 0


async def person_of(connection: AsyncConnection, member: Member) -> Person:
    """Return the addresses and the name to search for when a member is erased."""
    addresses = await erasures.addresses_of(connection, member)
    return Person(addresses, member.name, shares_name=await erasures.shares_name(connection, member))


async def find_mentions(connection: AsyncConnection, people: Sequence[Person], *, after: int = 0) -> Mentions:
    """Search the kept messages with a number above `after`, with every encoding in them decoded."""
    certain, possible, last_searched = [], [], after
    async for message in returns.waiting(connection, after=after):
        last_searched = message.id
        text = await asyncio.to_thread(_text, message)
        if any(
            person.is_addressed_in(text) or (person.is_distinctive and person.is_named_in(text))
            for person in people
        ):
            certain.append(message.id)
        elif any(person.is_named_in(text) for person in people):
            possible.append(message.id)
    return Mentions(certain, possible, last_searched)


async def erase_mentions(
    connection: AsyncConnection, people: Sequence[Person], earlier: Mentions
) -> Mentions:
    """Delete the kept messages that certainly name people, including those that arrived after the `earlier` search,
    and blank the people's addresses in what mail systems reported. Return all mentions found."""
    later = await find_mentions(connection, people, after=earlier.last_searched)
    mentions = Mentions(
        [*earlier.certain, *later.certain], [*earlier.possible, *later.possible], later.last_searched
    )
    await returns.drop_many(connection, mentions.certain)
    addresses = [address for person in people for address in person.addresses]
    await erasures.blank_addresses(connection, addresses)
    return mentions


async def remaining_mentions(connection: AsyncConnection, person: Person, mentions: Mentions) -> list[str]:
    """Return the places where a person is still named, for a convenor to judge."""
    places: dict[str, None] = {}
    async for place, text in erasures.texts_for_everybody(connection):
        plain = folded(text)
        if person.is_addressed_in(plain) or person.is_named_in(plain):
            places[place] = None
    possible = [f"message {number} that came back (`returns show {number}`)" for number in mentions.possible]
    return [*places, *possible]


def _text(message: Waiting) -> str:
    return folded(f"{message.words}\n{readable(message.content)}")
