"""A member's account: sign-in links, a new address, a copy of their data, and deletion."""

from base64 import b64encode
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.address import address_key, require_address
from scheduler.domain.errors import Refused
from scheduler.domain.policy import Kind
from scheduler.domain.token import Keys, Purpose, token_subject
from scheduler.domain.translation import N_
from scheduler.service.erasure import Erased, erase_member
from scheduler.service.form_limits import may_mail
from scheduler.service.members import erasure_name, lookup_key, next_generations
from scheduler.service.notices import mail_one
from scheduler.service.personal_links import (
    InvalidLink,
    LinkStatus,
    require_link,
    resolve_bound_link,
    resolve_link,
)
from scheduler.store import erasures, members, notices, returns
from scheduler.store.database import Database
from scheduler.store.members import Member

log = structlog.get_logger()

COOL_DOWN = timedelta(minutes=2)
"""The shortest time between two mails of one kind that a member asks for."""

MOST_A_DAY = 5
"""How many fresh links, and how many confirmations of a new address, one member can ask for in a day."""

_LINKS_ENDED = (
    "All links in our earlier mails have stopped working, and so has the address of your calendar feed: somebody asked "
    "for this on your own page. If it was not you, someone else had one of your links. They can no longer use it."
)


async def mail_link(connection: AsyncConnection, address: str, now: datetime) -> None:
    """Mail a fresh link to the member with that address, if there is one, even if they have left.

    Nothing is returned: nobody may learn from it whether an address is known.
    """
    member = await members.by_key(connection, lookup_key(address))
    if member and member.status != "pending":
        await _mail_link(connection, member, now)


async def mail_own_link(database: Database, token: str, *, keys: Keys, now: datetime) -> Member:
    """Mail a fresh link to the member of a link to preferences, and return them. Raises InvalidLink."""
    async with database.write() as connection:
        member = await require_link(connection, token, Purpose.PREFERENCES, keys=keys)
        await _mail_link(connection, member, now)
    return member


async def end_links(database: Database, token: str, *, keys: Keys, now: datetime) -> None:
    """End every personal link and the feed address of the member of a link to preferences, and mail a fresh link.

    The fresh link is not returned, because the link in use may be in the wrong hands. Raises InvalidLink, and Refused
    where our mail does not reach the member.
    """
    async with database.write() as connection:
        member = await require_link(connection, token, Purpose.PREFERENCES, keys=keys)
        if member.suppressed_at:
            raise Refused(
                N_(
                    "You need to write to us first: our mail to you comes back, so a new link would not reach you."
                )
            )
        await _end_links(connection, member, now)
        await mail_one(connection, member, Kind.SIGN_IN, now=now, words=_LINKS_ENDED)


async def end_links_at_once(database: Database, token: str, *, keys: Keys, now: datetime) -> str:
    """Do the same for the member of a fresh link, but return the token of their new link to preferences."""
    async with database.write() as connection:
        member = await _fresh(connection, token, keys=keys, now=now)
        if member.status == "left":
            raise InvalidLink(LinkStatus.LEFT)
        await _end_links(connection, member, now)
    return keys.token(Purpose.PREFERENCES, member.id, generation=member.generation + 1)


async def _end_links(connection: AsyncConnection, member: Member, now: datetime) -> None:
    await members.change(connection, member.id, **next_generations(member, now))
    log.info("links-ended", member=member.id)


async def _mail_link(connection: AsyncConnection, member: Member, now: datetime) -> None:
    if await _may_mail(connection, member, Kind.SIGN_IN, now):
        await mail_one(connection, member, Kind.SIGN_IN, now=now)


async def _may_mail(connection: AsyncConnection, member: Member, kind: Kind, now: datetime) -> bool:
    return await may_mail(connection, member, kind, cool_down=COOL_DOWN, most_a_day=MOST_A_DAY, now=now)


async def fresh_link_member(database: Database, token: str, *, keys: Keys, now: datetime) -> Member:
    """Return the member of a fresh link, even if they have left. Changes nothing. Raises InvalidLink."""
    async with database.read() as connection:
        return await _fresh(connection, token, keys=keys, now=now)


async def _fresh(connection: AsyncConnection, token: str, *, keys: Keys, now: datetime) -> Member:
    status, member = await resolve_link(connection, token, Purpose.SIGN_IN, keys=keys, now=now)
    if member is None:
        raise InvalidLink(status)
    return member


async def request_address_change(
    database: Database, token: str, address: str, *, keys: Keys, now: datetime
) -> None:
    """Mail a link to a new address; until it is used nothing changes.

    If another member has that address, only they hear of it. Raises InvalidLink, and Refused for an invalid address,
    for the one that we have, and for too many attempts.
    """
    address = require_address(address, "")
    async with database.write() as connection:
        member = await _fresh(connection, token, keys=keys, now=now)
        if member.status == "left":
            raise InvalidLink(LinkStatus.LEFT)
        if address_key(address) == member.address_key:
            raise Refused(N_("You need to give a different address: this is the one we already have."))
        if not await _may_mail(connection, member, Kind.ADDRESS_CHANGE, now):
            raise Refused(N_("You need to wait a few minutes: we have just sent a mail about a new address."))
        other = await members.by_key(connection, address_key(address))
        recipient = other.address if other else address
        await mail_one(connection, member, Kind.ADDRESS_CHANGE, address=recipient, now=now)
        log.info("address-asked", member=member.id)


async def pending_address(database: Database, token: str, *, keys: Keys, now: datetime) -> tuple[Member, str]:
    """Return the member of a link that confirms a new address, and that address. Changes nothing.

    Raises InvalidLink.
    """
    async with database.read() as connection:
        return await _pending_change(connection, token, keys=keys, now=now)


async def confirm_address(database: Database, token: str, *, keys: Keys, now: datetime) -> str:
    """Make the confirmed address the member's, tell the old one, and return the new one.

    All links in mails to the old address end. Raises InvalidLink, and Refused where another member has the address.
    """
    try:
        async with database.write() as connection:
            member, address = await _pending_change(connection, token, keys=keys, now=now)
            key = address_key(address)
            if await members.by_key(connection, key):
                raise Refused(
                    N_("Another member already gets our mail at this address, so nothing was changed.")
                )
            await erasures.allow_return(connection, erasure_name(keys, key))
            await members.change(
                connection,
                member.id,
                address=address,
                address_key=key,
                generation=member.generation + 1,
                **await returns.clear_bounces(connection, member.id),
            )
            await mail_one(connection, member, Kind.ADDRESS_CHANGED, address=member.address, now=now)
            log.info("address-changed", member=member.id)
            return address
    except IntegrityError:
        raise Refused(N_("Another member has just taken this address, so nothing was changed.")) from None


async def _pending_change(
    connection: AsyncConnection, token: str, *, keys: Keys, now: datetime
) -> tuple[Member, str]:
    """Return the member and the last address that they asked for: a link for an earlier one no longer works."""
    number = token_subject(token)
    pending = (
        await notices.last_address(connection, number, Kind.ADDRESS_CHANGE) if number is not None else None
    )
    status, member, address = await resolve_bound_link(
        connection, token, Purpose.ADDRESS, [pending] if pending else [], keys=keys, now=now
    )
    if member is None or status is not LinkStatus.GOOD:
        raise InvalidLink(status)
    return member, address


async def erase_own_account(
    database: Database, token: str, *, keys: Keys, outbox: Path | None, now: datetime
) -> Erased:
    """Erase the member of a fresh link. Raises InvalidLink, and Refused while a mail to them is being sent."""
    member = await fresh_link_member(database, token, keys=keys, now=now)
    erased = await erase_member(database, member.address, keys=keys, outbox=outbox, now=now)
    log.info("member-erased-own", member=member.id, still_named=len(erased.remaining))
    return erased


_ABOUT_DATA = (
    "Everything we keep about you, table by table. All of it is removed when you ask us to forget you. "
    "Times are in UTC. 'mails' says what the mails in 'deliveries' and 'past_deliveries' were about."
)


async def own_data(database: Database, token: str, *, keys: Keys, now: datetime) -> dict[str, Any]:
    """Return everything that erasing the member of a fresh link would remove, ready for JSON, even if they have left.

    A link from the foot of a mail is not enough, because people forward mails. Raises InvalidLink.
    """
    async with database.read() as connection:
        member = await _fresh(connection, token, keys=keys, now=now)
        held = await erasures.rows_about(connection, member.id)
        numbers = {row["notice"] for row in (*held["deliveries"], *held["past_deliveries"])}
        mailed = [notice for notice in await notices.every(connection) if notice.id in numbers]
    tables = {
        name: [{key: _for_json(value) for key, value in row.items()} for row in rows]
        for name, rows in held.items()
    }
    return {
        "about": _ABOUT_DATA,
        **tables,
        "mails": [
            {
                "id": notice.id,
                "kind": notice.kind.value,
                "occurrence": notice.occurrence,
                "subject": notice.subject,
            }
            for notice in mailed
        ],
    }


def _for_json(value: Any) -> Any:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return b64encode(value).decode()
    return value.isoformat() if isinstance(value, datetime) else value
