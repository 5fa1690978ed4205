"""Delete old data once a day, as the settings and the privacy page say."""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from scheduler.delivery.send.maildir import erase_messages
from scheduler.domain.policy import SERVICE_MAIL_USEFUL_FOR, Kind
from scheduler.domain.token import Keys
from scheduler.service.erasure import Mentions, erase_mentions, find_mentions, person_of
from scheduler.service.members import erasure_name
from scheduler.service.sessions import forget_sessions
from scheduler.store import (
    about,
    archive_entries,
    audit,
    contact_messages,
    drafts,
    erasures,
    join_requests,
    members,
    profiles,
    receipts,
    returns,
    uploads,
)
from scheduler.store.database import Database
from scheduler.store.erasures import wipe
from scheduler.store.ledger import archive


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long data is kept: a request after it was declined, a member after they left, a delivery after its notice
    expired, an entry of the audit log. `archive` is how long after its notice expired a delivery moves to the
    archive."""

    declined_requests: timedelta
    left_members: timedelta
    deliveries: timedelta
    archive: timedelta
    audit: timedelta


RETURNS_KEPT = timedelta(days=90)
"""How long returned mail is kept: bounces, complaints, and messages that wait to be reviewed."""

RECEIPTS_KEPT = timedelta(days=400)
"""How long it is remembered that a message was dealt with: longer than it stays in a mailbox or a queue."""

WRITERS_KEPT = timedelta(days=2)
"""How long it is remembered, by a keyed hash, who wrote a letter: a day's letters of one writer are counted."""

UPLOADS_KEPT = timedelta(hours=1)
"""How long a table is kept that a convenor wants to import; it is deleted within a day after that."""

CONTACT_KEPT = timedelta(days=30)
"""How long a message to the convenors is kept; by then they have its mail."""

PROFILES_KEPT = timedelta(days=60)
"""How long a profile is kept that was not released, after it was last changed."""

DRAFTS_KEPT = timedelta(days=180)
"""How long the draft of a notice is kept after it was last changed."""

log = structlog.get_logger()


async def forget_old(
    database: Database, retention: Retention, *, keys: Keys, outbox: Path | None, now: datetime
) -> None:
    """Erase members who left long ago, and delete old deliveries, old returned mail, old drafts, old sessions,
    entries of the audit log, versions of the page about the community, profiles that were not released, messages to the
    convenors, and requests that were not confirmed or were declined.

    A keyed hash of an erased member's address is kept, so that no import adds them again. `outbox` is the folder that
    mail is written to, if there is one.
    """
    texts_to_wipe: list[str] = []
    async with database.read() as connection:
        former_members = await members.left_before(connection, now - retention.left_members)
        people = [await person_of(connection, member) for member in former_members]
        compressed = [await erasures.has_worded_mails(connection, member.id) for member in former_members]
        mentions = await find_mentions(connection, people) if people else Mentions()
    for member, person in zip(former_members, people, strict=True):
        async with database.write() as connection:
            await erasures.erase(connection, member, erasure_name(keys, member.address_key), now)
        for address in person.addresses if outbox else ():
            assert outbox
            await asyncio.to_thread(erase_messages, outbox, recipient=address)
        texts_to_wipe += [*person.addresses, member.name]
    if people:
        async with database.write() as connection:
            mentions = await erase_mentions(connection, people, mentions)
    async with database.write() as connection:
        requesters = await join_requests.forget(
            connection,
            unconfirmed_before=now - SERVICE_MAIL_USEFUL_FOR[Kind.CONFIRMATION],
            declined_before=now - retention.declined_requests,
        )
    texts_to_wipe += [text for requester in requesters for text in requester]
    async with database.write() as connection:
        returned = await returns.forget(connection, before=now - RETURNS_KEPT)
        await receipts.forget(connection, before=now - RECEIPTS_KEPT, writers_before=now - WRITERS_KEPT)
        await audit.forget(connection, before=now - retention.audit)
        await forget_sessions(connection, now)
        await uploads.forget(connection, before=now - UPLOADS_KEPT)
        await drafts.forget(connection, before=now - DRAFTS_KEPT)
        await about.forget(connection, before=now - retention.audit)
        await profiles.forget(connection, before=now - PROFILES_KEPT)
        await contact_messages.forget(connection, before=now - CONTACT_KEPT)
        await archive_entries.forget_deleted_words(connection)
    deleted, last = 0, -1
    while last:
        async with database.write() as connection:
            last = await archive.forget(connection, before=now - retention.deliveries)
        deleted += last
    if texts_to_wipe:
        await wipe(database, texts_to_wipe, encoded=any(compressed) or bool(mentions.certain))
    if former_members or requesters or deleted or returned:
        log.info(
            "forgotten",
            members=len(former_members),
            requests=len(requesters),
            deliveries=deleted,
            returns=returned,
        )
