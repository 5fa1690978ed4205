"""Messages to the convenors from people who may not be members: checked, mailed once, and deleted after a while."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from hashlib import sha256
from typing import Any

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.address import address_key, require_address
from scheduler.domain.contact import ContactMessage
from scheduler.domain.errors import Refused
from scheduler.domain.policy import Kind
from scheduler.domain.text import read_fields, require_prose
from scheduler.domain.translation import N_
from scheduler.service.members import require_own_name
from scheduler.service.notices import mail_one
from scheduler.store import contact_messages, members, notices
from scheduler.store.database import Database
from scheduler.store.members import Member

log = structlog.get_logger()

LONGEST_WORDS = 5_000


def read_contact_form(typed: Mapping[str, str]) -> tuple[ContactMessage | None, dict[str, Refused]]:
    """Return the message that somebody typed, or None and what is wrong with each wrong field, by its name."""
    values, refusals = read_fields(
        typed, {"name": require_own_name, "email": _require_email, "words": _require_words}
    )
    if refusals:
        return None, refusals
    return ContactMessage(name=values["name"], address=values["email"], words=values["words"]), {}


def _require_email(text: str) -> str:
    if not text.strip():
        raise Refused(N_("You need to give an email address that we can answer."))
    return require_address(text.strip(), "")


def _require_words(text: str) -> str:
    if words := require_prose(text.strip(), "", longest=LONGEST_WORDS):
        return words
    raise Refused(N_("You need to write a message."))


async def takes_messages(database: Database) -> bool:
    """Return whether there is a convenor to whom a message can be delivered."""
    async with database.read() as connection:
        return bool(await members.with_role(connection, "convenor"))


def as_fields(message: ContactMessage, convenors: str) -> dict[str, Any]:
    """Return what is stored of a message until it is processed. `convenors` is the address that it goes to."""
    return {**asdict(message), "to": convenors}


async def deliver(connection: AsyncConnection, fields: Mapping[str, Any], now: datetime) -> None:
    """Mail a message to the convenors' address, once, even if it was sent twice. Replies go to the person who wrote it.

    The ledger needs a member for each mail: it is the convenor whose address it is, or else the first one.
    """
    values = dict(fields)
    to = values.pop("to")
    message = ContactMessage(**values)
    convenors = await members.with_role(connection, "convenor")
    if not convenors:
        log.warning("contact-message-dropped")
        return
    identity = _identity(message)
    if await notices.by_identity(connection, identity):
        return
    number = await mail_one(
        connection, _recipient(convenors, to), Kind.CONTACT, address=to, identity=identity, now=now
    )
    key = address_key(message.address)
    await contact_messages.add(connection, number, message, address_key=key, now=now)
    log.info("contact-message-taken", notice=number)


def _recipient(convenors: list[Member], address: str) -> Member:
    own = (convenor for convenor in convenors if convenor.address_key == address_key(address))
    return next(own, convenors[0])


def _identity(message: ContactMessage) -> str:
    """Return the identity of the notice of a message: the same words from the same address are one message."""
    digest = sha256(f"{address_key(message.address)}\n{message.words}".encode()).hexdigest()
    return f"{Kind.CONTACT}:{digest}"
