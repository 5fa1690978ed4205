"""Forgetting a person: their rows, their mails in a mail folder, and what the database's files would still show."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.delivery.send.maildir import erase_messages
from scheduler.domain.address import address_key
from scheduler.domain.errors import Refused
from scheduler.domain.mention import Person
from scheduler.domain.token import Keys
from scheduler.service.health import is_served
from scheduler.service.members import erasure_name, key_of, require_member
from scheduler.service.mentions import erase_mentions, find_mentions, person_of, what_stays
from scheduler.store import erasures, members, service_state
from scheduler.store.database import Database
from scheduler.store.erasures import wipe
from scheduler.store.members import Member


@dataclass(frozen=True, slots=True)
class Erased:
    """What was done: whether the person was on the list until now, how many of the mails to them were removed, and how
    many messages of others that named them; `stays` says where they are still named."""

    stood: bool
    mails: int
    returned: int = 0
    stays: tuple[str, ...] = ()


async def find_erasable(database: Database, email: str, *, keys: Keys) -> Member | None:
    """The member who would be erased; None where that was done before. Raises Refused for an unknown address."""
    async with database.read() as connection:
        return await _find(connection, email, keys)


async def erase_member(
    database: Database, email: str, *, keys: Keys, outbox: Path | None, now: datetime
) -> Erased:
    """Delete a person with all that is known of them, and messages that came back from others and name them; a keyed
    hash of the address stays, so that no import brings them back, and so does what convenors wrote of them.

    `outbox` is the folder that mail goes to, if it goes to one. Doing it again finishes what was broken off. Raises
    Refused for who is not on the list and was not erased, and while a mail to them is on its way. On PostgreSQL the
    server itself overwrites what was deleted, in its time.
    """
    person = Person([email.strip(), key_of(email)], "")
    async with database.read() as connection:
        if member := await _find(connection, email, keys):
            person = await person_of(connection, member)
        # It may take seconds, in which others want to write.
        found = await find_mentions(connection, [person])
    async with database.write() as connection:
        member = await _find(connection, email, keys)
        if member:
            await _check_quiet(connection, member, now)
            await erasures.erase(connection, member, erasure_name(keys, member.address_key), now)
            await _clean_relay(connection, member)
        found = await erase_mentions(connection, [person], found)
    mails = await asyncio.to_thread(_erase_mails, outbox, person.addresses) if outbox else 0
    await wipe(database, [*person.addresses, person.name], encoded=bool(found.certain))
    async with database.read() as connection:
        stays = await what_stays(connection, person, found)
    return Erased(stood=member is not None, mails=mails, returned=len(found.certain), stays=tuple(stays))


async def _find(connection: AsyncConnection, email: str, keys: Keys) -> Member | None:
    key = key_of(email)
    if not await members.by_key(connection, key) and await erasures.find_erased(
        connection, [erasure_name(keys, key)]
    ):
        return None
    return await require_member(connection, email)


def _erase_mails(outbox: Path, recipients: Sequence[str]) -> int:
    return sum(erase_messages(outbox, recipient=one) for one in recipients)


async def _check_quiet(connection: AsyncConnection, member: Member, now: datetime) -> None:
    """What nobody is sending any more, since its sender broke off, is no hindrance."""
    if await members.is_being_mailed(connection, member.id) and await is_served(connection, now):
        raise Refused(f"a mail to {member.address} is on its way at this moment; try again in a minute")


async def _clean_relay(connection: AsyncConnection, member: Member) -> None:
    relay = await service_state.read(connection, service_state.RELAY)
    if relay and member.address_key in address_key(relay["reason"]):
        await service_state.write(
            connection, service_state.RELAY, {**relay, "reason": "it named one who was erased"}
        )
