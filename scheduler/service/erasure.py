"""Erase a person: their rows, their mails in a mail folder, and what remains in the database's files.

Returned mails that name them are deleted too; other texts that do are listed for the convenor.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.delivery.send.maildir import erase_messages
from scheduler.domain.actor import SERVICE, Actor
from scheduler.domain.address import address_key
from scheduler.domain.errors import Refused
from scheduler.domain.inbound import readable
from scheduler.domain.text import Person, folded_prose
from scheduler.domain.token import Keys
from scheduler.service.health import is_served
from scheduler.service.members import erasure_name, lookup_key, require_member
from scheduler.store import audit, contact_messages, erasures, follows, members, returns, service_state
from scheduler.store.database import Database
from scheduler.store.erasures import wipe
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
        plain = folded_prose(text)
        if person.is_addressed_in(plain) or person.is_named_in(plain):
            places[place] = None
    possible = [f"message {number} that came back (`returns show {number}`)" for number in mentions.possible]
    return [*places, *possible]


def _text(message: Waiting) -> str:
    return folded_prose(f"{message.words}\n{readable(message.content)}")


@dataclass(frozen=True, slots=True)
class Erased:
    """What was erased: whether the person was a member until now, how many mails to them were removed, how many
    returned messages that named them, how many choices of series, and how many of their messages to the convenors;
    `remaining` says where they are still named."""

    was_member: bool
    mails: int
    returned: int = 0
    choices: int = 0
    messages: int = 0
    remaining: tuple[str, ...] = ()


async def find_erasable(database: Database, address: str, *, keys: Keys) -> Member | None:
    """Return the member to erase; None if that was done before, and for somebody who is only named in mail to us.

    Raises Refused for an unknown address.
    """
    async with database.read() as connection:
        if await members.by_key(connection, lookup_key(address)) is None and (
            await _is_known(connection, address, keys)
            or (await find_mentions(connection, [_stranger(address)])).certain
        ):
            return None
        return await require_member(connection, address)


async def erase_member(
    database: Database,
    address: str,
    *,
    keys: Keys,
    outbox: Path | None,
    now: datetime,
    by: Actor = SERVICE,
) -> Erased:
    """Delete a person, everything known about them, and returned messages that name them.

    A keyed hash of the address stays, so that no import adds them again, and so does what convenors wrote about them.
    `outbox` is the folder that mail goes to, if it goes to one. An interrupted call may be repeated. Raises Refused for
    an address that was never on the list and that no message to the convenors names either, and while a mail to the
    person is being sent. PostgreSQL overwrites deleted rows itself, later.
    """
    async with database.read() as connection:
        member = await members.by_key(connection, lookup_key(address))
        person = await person_of(connection, member) if member else _stranger(address)
        # Search outside the write transaction: it may take seconds.
        mentions = await find_mentions(connection, [person])
        if not member and not mentions.certain and not await _is_known(connection, address, keys):
            await require_member(connection, address)
    async with database.write() as connection:
        member = await members.by_key(connection, lookup_key(address))
        choices = await follows.choices_of(connection, member.id) if member else {}
        # Renderings are compressed: what remains of deleted ones cannot be searched for a name.
        compressed = bool(member and await erasures.has_worded_mails(connection, member.id))
        if member:
            await _require_not_being_mailed(connection, member, now)
            await erasures.erase(connection, member, erasure_name(keys, member.address_key), now)
            await _clear_relay_reason(connection, member)
            await audit.record(connection, by, "member-erased", now=now)
        messages = await contact_messages.remove_of(connection, [*map(address_key, person.addresses)])
        mentions = await erase_mentions(connection, [person], mentions)
    mails = await asyncio.to_thread(_erase_mails, outbox, person.addresses) if outbox else 0
    # So are renderings of messages to the convenors.
    compressed = compressed or messages > 0
    await wipe(database, [*person.addresses, person.name], encoded=compressed or bool(mentions.certain))
    async with database.read() as connection:
        remaining = await remaining_mentions(connection, person, mentions)
    return Erased(
        was_member=member is not None,
        mails=mails,
        returned=len(mentions.certain),
        choices=len(choices),
        messages=messages,
        remaining=tuple(remaining),
    )


def _stranger(address: str) -> Person:
    return Person([address.strip(), lookup_key(address)], "")


async def _is_known(connection: AsyncConnection, address: str, keys: Keys) -> bool:
    """Return whether somebody with this address was erased before, or wrote on the contact page."""
    key = lookup_key(address)
    erased = await erasures.find_erased(connection, [erasure_name(keys, key)])
    return bool(erased) or await contact_messages.has_any_of(connection, key)


def _erase_mails(outbox: Path, recipients: Sequence[str]) -> int:
    return sum(erase_messages(outbox, recipient=recipient) for recipient in recipients)


async def _require_not_being_mailed(connection: AsyncConnection, member: Member, now: datetime) -> None:
    # A delivery that is still marked as being sent after its sender stopped must not prevent the erasure.
    if await members.is_being_mailed(connection, member.id) and await is_served(connection, now):
        raise Refused(f"a mail to {member.address} is being sent at this moment; try again in a minute")


async def _clear_relay_reason(connection: AsyncConnection, member: Member) -> None:
    relay = await service_state.read(connection, service_state.RELAY)
    if relay and member.address_key in address_key(relay["reason"]):
        await service_state.write(
            connection, service_state.RELAY, {**relay, "reason": "it named somebody who was erased"}
        )
