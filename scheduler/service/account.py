"""A member's account: sign-in links, a new address, a copy of their data, and deletion."""

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
from scheduler.service.erasure import Erased, erase_member
from scheduler.service.members import erasure_name, key_of, next_generations
from scheduler.service.notices import mail_one, mailed_since
from scheduler.service.personal_links import LinkStatus, recognise, recognise_among
from scheduler.service.preferences import NotOpen, open_by
from scheduler.store import erasures, members, notices, returns
from scheduler.store.database import Database
from scheduler.store.members import Member

log = structlog.get_logger()

COOL_DOWN = timedelta(minutes=2)
_LINKS_ENDED = (
    "All links in our earlier mails have ended, and so has the address of your calendar feed: this was asked for on "
    "your own page. If it was not you, somebody had one of those links; now they cannot use it any more."
)

MOST_A_DAY = 5
"""How many fresh links, and how many questions to a new address, one member gets."""


async def mail_link(connection: AsyncConnection, email: str, now: datetime) -> None:
    """Mail a fresh link to whoever has that address, if anybody has: who left too. The caller is told nothing of it."""
    member = await members.by_key(connection, key_of(email))
    if member and member.status != "pending":
        await _mail_link(connection, member, now)


async def ask_own_link(database: Database, token: str, *, keys: Keys, now: datetime) -> Member:
    """The same for the member of a link to preferences. Raises NotOpen where it opens nothing."""
    async with database.write() as connection:
        member = await open_by(connection, token, keys=keys)
        await _mail_link(connection, member, now)
    return member


async def end_links(database: Database, token: str, *, keys: Keys, now: datetime) -> None:
    """End every personal link and the feed address of the member of a link to preferences, and mail a fresh link.

    The fresh link is not returned: the link in use may be the one that somebody passed on. Raises NotOpen, and
    Refused where our mail does not reach the member.
    """
    async with database.write() as connection:
        member = await open_by(connection, token, keys=keys)
        if member.suppressed_at:
            raise Refused(
                "You need to write to us first: our mail to you comes back, so no link would reach you."
            )
        await _end_links(connection, member, now)
        await mail_one(connection, member, Kind.SIGN_IN, now=now, words=_LINKS_ENDED)


async def end_links_at_once(database: Database, token: str, *, keys: Keys, now: datetime) -> str:
    """Do the same for the member of a fresh link, and return the token of their new link to preferences."""
    async with database.write() as connection:
        member = await _fresh(connection, token, keys=keys, now=now)
        if member.status == "left":
            raise NotOpen(LinkStatus.LEFT)
        await _end_links(connection, member, now)
    return keys.token(Purpose.PREFERENCES, member.id, generation=member.generation + 1)


async def _end_links(connection: AsyncConnection, member: Member, now: datetime) -> None:
    await members.change(connection, member.id, **next_generations(member, now))
    log.info("links-ended", member=member.id)


async def _mail_link(connection: AsyncConnection, member: Member, now: datetime) -> None:
    if await _may_mail(connection, member, Kind.SIGN_IN, now):
        await mail_one(connection, member, Kind.SIGN_IN, now=now)


async def _may_mail(connection: AsyncConnection, member: Member, kind: Kind, now: datetime) -> bool:
    if await mailed_since(connection, member, kind, since=now - COOL_DOWN):
        return False
    return await mailed_since(connection, member, kind, since=now - timedelta(days=1)) < MOST_A_DAY


async def look(database: Database, token: str, *, keys: Keys, now: datetime) -> Member:
    """Whose fresh link it is; who left may use it too. Changes nothing; raises NotOpen where it opens nothing."""
    async with database.read() as connection:
        return await _fresh(connection, token, keys=keys, now=now)


async def _fresh(connection: AsyncConnection, token: str, *, keys: Keys, now: datetime) -> Member:
    standing, member = await recognise(connection, token, Purpose.SIGN_IN, keys=keys, now=now)
    if member is None:
        raise NotOpen(standing)
    return member


async def ask_address(database: Database, token: str, email: str, *, keys: Keys, now: datetime) -> None:
    """Ask at a new address whether it is the member's; until it says so nothing changes.

    Whether somebody else has it already is told to them alone. Raises NotOpen, and Refused for what is no address,
    for the one they have, and where that was asked too often.
    """
    email = require_address(email, "")
    async with database.write() as connection:
        member = await _fresh(connection, token, keys=keys, now=now)
        if member.status == "left":
            raise NotOpen(LinkStatus.LEFT)
        if address_key(email) == member.address_key:
            raise Refused("You need to give another address: that is the one that we have.")
        if not await _may_mail(connection, member, Kind.ADDRESS_CHANGE, now):
            raise Refused("You need to wait some minutes: we have just sent a mail for such a change.")
        other = await members.by_key(connection, address_key(email))
        await mail_one(
            connection, member, Kind.ADDRESS_CHANGE, address=other.address if other else email, now=now
        )
        log.info("address-asked", member=member.id)


async def look_address(database: Database, token: str, *, keys: Keys, now: datetime) -> str:
    """The new address that the link confirms. Changes nothing; raises NotOpen where it opens nothing."""
    async with database.read() as connection:
        return (await _asked(connection, token, keys=keys, now=now))[1]


async def confirm_address(database: Database, token: str, *, keys: Keys, now: datetime) -> str:
    """Let a member's mail go to the address that has confirmed itself, tell the old one, and return the new.

    The links in mails to the old address end with it. Raises NotOpen, and Refused where somebody else has it.
    """
    try:
        async with database.write() as connection:
            member, address = await _asked(connection, token, keys=keys, now=now)
            key = address_key(address)
            if await members.by_key(connection, key):
                raise Refused("Another member gets our mail at this address already, so nothing was changed.")
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
        raise Refused("Another member got this address just now, so nothing was changed.") from None


async def _asked(connection: AsyncConnection, token: str, *, keys: Keys, now: datetime) -> tuple[Member, str]:
    """The member and the address that they named last: a link for an earlier one is nobody's any more."""
    number = token_subject(token)
    asked = (
        await notices.last_address(connection, number, Kind.ADDRESS_CHANGE) if number is not None else None
    )
    standing, member, address = await recognise_among(
        connection, token, Purpose.ADDRESS, [asked] if asked else [], keys=keys, now=now
    )
    if member is None or standing is not LinkStatus.GOOD:
        raise NotOpen(standing)
    return member, address


async def forget_me(
    database: Database, token: str, *, keys: Keys, outbox: Path | None, now: datetime
) -> Erased:
    """Erase the member of a fresh link. Raises NotOpen, and Refused while a mail to them is on its way."""
    member = await look(database, token, keys=keys, now=now)
    erased = await erase_member(database, member.address, keys=keys, outbox=outbox, now=now)
    log.info("member-erased-own", member=member.id, still_named=len(erased.stays))
    return erased


_WORDS = (
    "Every row that is kept about you, by table: all that is removed when you ask to be forgotten. "
    "Instants are in UTC. 'mails' says what those in 'deliveries' and 'past_deliveries' were about."
)


async def own_data(database: Database, token: str, *, keys: Keys, now: datetime) -> dict[str, Any]:
    """Return all that erasing the member of a fresh link would remove, ready for JSON; also for members who left.

    A link from the foot of a mail is not enough: mails are passed on. Raises NotOpen where the link opens nothing.
    """
    async with database.read() as connection:
        standing, member = await recognise(connection, token, Purpose.SIGN_IN, keys=keys, now=now)
        if member is None:
            raise NotOpen(standing)
        held = await erasures.rows_about(connection, member.id)
        numbers = {row["notice"] for row in (*held["deliveries"], *held["past_deliveries"])}
        about = [one for one in await notices.every(connection) if one.id in numbers]
    tables = {
        name: [{key: _plain(value) for key, value in row.items()} for row in rows]
        for name, rows in held.items()
    }
    return {
        "about": _WORDS,
        **tables,
        "mails": [
            {"id": one.id, "kind": one.kind.value, "occurrence": one.occurrence, "subject": one.subject}
            for one in about
        ],
    }


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value.isoformat() if isinstance(value, datetime) else value
