"""A service mail to one person: made in the transaction of what it tells of, so that both happen or neither."""

import secrets
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.policy import EVERY_ZONE, PERSONAL, Kind
from scheduler.store import facts, notices
from scheduler.store.ledger import fanning
from scheduler.store.members import Member

USEFUL_FOR = {
    Kind.CONFIRMATION: timedelta(days=2),
    Kind.ALREADY_MEMBER: timedelta(days=2),
    Kind.WELCOME: timedelta(days=7),
    Kind.DECLINE: timedelta(days=7),
    Kind.SIGN_IN: timedelta(hours=1),
    Kind.ADDRESS_CHANGE: timedelta(days=2),
    Kind.ADDRESS_CHANGED: timedelta(days=7),
}
"""How long each is of use; the links that it carries, where they expire, hold as long."""


async def mail_one(
    connection: AsyncConnection, member: Member, kind: Kind, *,
    now: datetime, address: str | None = None, words: str = "",
) -> int:  # fmt: skip
    """Make a service mail to `member`, to be sent within seconds, and return its notice's number.

    It goes to the member's own address, or to `address`. `words` (Markdown) are a convenor's, never what a visitor
    typed. Who is not active gets replies only.
    """
    if kind not in PERSONAL:
        raise ValueError(f"a {kind} is no service mail")
    number = await notices.add(
        connection, identity=f"{kind}:{secrets.token_hex(8)}", kind=kind, member=member.id, address=address,
        audience="one", body=words, created_at=now, expires=now + USEFUL_FOR[kind], frozen=True, ready=True,
    )  # fmt: skip
    await notices.set_dues(connection, number, {EVERY_ZONE: now})
    await notices.mark_fanned(connection, number, EVERY_ZONE, now)
    made = await notices.by_id(connection, number)
    assert made
    await fanning.fan_out(connection, made, zone=member.zone, due=now, now=now)
    await facts.note_change(connection)
    return number


async def mailed_since(connection: AsyncConnection, member: Member, *kinds: Kind, since: datetime) -> int:
    """How many service mails of these kinds were made for a member since an instant: what a cool-down asks."""
    return await notices.count_to(connection, member.id, kinds, since=since)
