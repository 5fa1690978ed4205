"""Delete what has been kept long enough: once a day, as the settings and the privacy page say."""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from scheduler.delivery.send.maildir import erase_messages
from scheduler.domain.policy import Kind
from scheduler.domain.token import Keys
from scheduler.service.members import erasure_name
from scheduler.service.mentions import Mentions, erase_mentions, find_mentions, person_of
from scheduler.service.notices import SERVICE_MAIL_USEFUL_FOR
from scheduler.store import erasures, join_requests, members, returns
from scheduler.store.database import Database
from scheduler.store.erasures import wipe
from scheduler.store.ledger import archive


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """From when on something is forgotten: a request since it was declined, a member since they left, a delivery since
    its notice was of no more use. `archive` is from when on such a delivery lies in the archive."""

    declined_requests: timedelta
    left_members: timedelta
    deliveries: timedelta
    archive: timedelta


RETURNS_KEPT = timedelta(days=90)
"""How long what came back is kept: bounces, complaints, and messages that wait for a look."""

log = structlog.get_logger()


async def forget_old(
    database: Database, retention: Retention, *, keys: Keys, outbox: Path | None, now: datetime
) -> None:
    """Erase who left long ago, and delete old deliveries, what came back long ago, and requests that nobody
    confirmed or that were declined.

    Of an erased person a keyed hash of the address stays, so that no import brings them back. `outbox` is the folder
    that mail goes to, if it goes to one.
    """
    words: list[str] = []
    async with database.read() as connection:
        gone = await members.left_before(connection, now - retention.left_members)
        people = [await person_of(connection, member) for member in gone]
        named = await find_mentions(connection, people) if people else Mentions()
    for member, person in zip(gone, people, strict=True):
        async with database.write() as connection:
            await erasures.erase(connection, member, erasure_name(keys, member.address_key), now)
        for address in person.addresses if outbox else ():
            assert outbox
            await asyncio.to_thread(erase_messages, outbox, recipient=address)
        words += [*person.addresses, member.name]
    if people:
        async with database.write() as connection:
            named = await erase_mentions(connection, people, named)
    async with database.write() as connection:
        asked = await join_requests.forget(
            connection,
            unconfirmed_before=now - SERVICE_MAIL_USEFUL_FOR[Kind.CONFIRMATION],
            declined_before=now - retention.declined_requests,
        )
    words += [word for person in asked for word in person]
    async with database.write() as connection:
        returned = await returns.forget(connection, before=now - RETURNS_KEPT)
    deleted, last = 0, -1
    while last:
        async with database.write() as connection:
            last = await archive.forget(connection, before=now - retention.deliveries)
        deleted += last
    if words:
        await wipe(database, words, encoded=bool(named.certain))
    if gone or asked or deleted or returned:
        log.info("forgotten", members=len(gone), requests=len(asked), deliveries=deleted, returns=returned)
