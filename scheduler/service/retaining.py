"""Forgetting what has been kept long enough: done daily, as the settings say and the privacy page shows."""

import asyncio
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from scheduler.delivery.maildir import erase_messages
from scheduler.domain.policy import Kind
from scheduler.domain.retention import Retention
from scheduler.domain.token import Keys
from scheduler.service.mailing import USEFUL_FOR
from scheduler.service.membership import erasure_name
from scheduler.service.mentions import Mentions, erase_mentions, find_mentions, person_of
from scheduler.store import erasures, members, requests, returns
from scheduler.store.database import Database
from scheduler.store.ledger import archiving
from scheduler.store.traces import wipe

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
        asked = await requests.forget(
            connection, unconfirmed_before=now - USEFUL_FOR[Kind.CONFIRMATION],
            declined_before=now - retention.declined_requests,
        )  # fmt: skip
    words += [word for person in asked for word in person]
    async with database.write() as connection:
        returned = await returns.forget(connection, before=now - RETURNS_KEPT)
    deleted, last = 0, -1
    while last:
        async with database.write() as connection:
            last = await archiving.forget(connection, before=now - retention.deliveries)
        deleted += last
    if words:
        await wipe(database, words, encoded=bool(named.certain))
    if gone or asked or deleted or returned:
        log.info("forgotten", members=len(gone), requests=len(asked), deliveries=deleted, returns=returned)
