"""Who runs the community: appoint and dismiss convenors and their helpers."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, get_args

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.actor import SERVICE, Actor
from scheduler.domain.address import address_key
from scheduler.domain.errors import Refused
from scheduler.domain.text import quoted
from scheduler.domain.token import Keys
from scheduler.service.members import Details, add_member, require_another_convenor, require_member
from scheduler.store import audit, members, sessions
from scheduler.store.database import Database
from scheduler.store.members import Member

log = structlog.get_logger()

Role = Literal["convenor", "helper"]
"""A convenor may do everything. A helper edits meetings and answers requests to join, and sends nothing."""

ON_LIST = ("active", "paused")
"""The statuses in which a member may have a role."""

ROLES: tuple[Role, ...] = get_args(Role)


def require_role(text: str, where: str) -> Role:
    """Return the role that `text` names. Raises Refused, naming `where` it is."""
    for role in ROLES:
        if text == role:
            return role
    raise Refused(f"{where} {quoted(text)} is not a role; give one of {', '.join(ROLES)}")


async def command_line_actor(database: Database, user: Actor, address: str | None) -> Actor:
    """Return for whom the `user` of the command line acts: the convenor or helper with that address, if one is given.

    Raises Refused for anybody else's address.
    """
    if address is None:
        return user
    async with database.read() as connection:
        member = await require_member(connection, address)
    if not member.role:
        raise Refused(f"{member.address} is neither a convenor nor a helper", command="see `convenors add`")
    return Actor(channel=user.channel, name=member.name or user.name, member=member.id)


async def team(database: Database) -> list[Member]:
    """Return the convenors, then the helpers."""
    async with database.read() as connection:
        return [member for role in ROLES for member in await members.with_role(connection, role)]


async def appoint(database: Database, address: str, role: Role, *, by: Actor, now: datetime) -> Member:
    """Appoint a member who has no role yet. Raises Refused for somebody who is not on the list or has a role."""
    async with database.write() as connection:
        member = await _require_on_list(connection, address)
        if member.role:
            raise Refused(
                f"{member.address} is a {member.role} already", command="`convenors role` changes it"
            )
        return await _set(connection, member, role, by=by, now=now)


async def change_role(
    database: Database, address: str, role: Role, *, was: str | None = None, by: Actor, now: datetime
) -> tuple[Member, bool]:
    """Change the role of a convenor or helper, whose sessions end; return them, and whether that changed anything.

    Raises Refused for somebody without a role, for the last convenor, and if the role is not what it was when the
    change was begun.
    """
    async with database.write() as connection:
        member = await require_member(connection, address)
        if was not in (None, member.role):
            raise Refused(f"somebody else changed the role of {member.address} meanwhile; look at it again")
        if not member.role:
            raise Refused(f"{member.address} has no role", command="`convenors add` appoints a member")
        if member.role == role:
            return member, False
        await require_another_convenor(connection, member)
        return await _set(connection, member, role, by=by, now=now), True


async def dismiss(database: Database, address: str, *, by: Actor, now: datetime) -> Member:
    """Take the role from a convenor or helper, whose sessions end; they stay a member. Raises Refused as
    `change_role`."""
    async with database.write() as connection:
        member = await require_member(connection, address)
        if not member.role:
            raise Refused(f"{member.address} has no role")
        await require_another_convenor(connection, member)
        return await _set(connection, member, None, by=by, now=now)


async def appoint_first(
    database: Database, addresses: Sequence[str], *, keys: Keys, zone: str, locale: str, now: datetime
) -> list[Member]:
    """If there is no convenor yet, appoint the people with these addresses, and return them.

    Anybody who is not on the list is added as a member in `zone` who reads `locale`. People who left or were erased are
    not appointed; the log says which of the list.
    """
    async with database.read() as connection:
        if await members.with_role(connection, "convenor"):
            return []
        known = await members.by_keys(connection, [address_key(address) for address in addresses])
    appointed = []
    for number, address in enumerate(addresses, 1):
        try:
            if address_key(address) not in known:
                details = Details(address=address, zone=zone)
                await add_member(database, details, keys=keys, locale=locale, now=now)
            appointed.append(await appoint(database, address, "convenor", by=SERVICE, now=now))
        except Refused:
            log.warning("convenor-not-appointed", number=number)
    return appointed


async def _require_on_list(connection: AsyncConnection, address: str) -> Member:
    member = await require_member(connection, address, suggests=False)
    if member.status not in ON_LIST:
        raise Refused(f"{member.address} is not on the list ({member.status}); only members can be appointed")
    return member


async def _set(
    connection: AsyncConnection, member: Member, role: Role | None, *, by: Actor, now: datetime
) -> Member:
    await members.change(connection, member.id, role=role)
    await sessions.end(connection, member.id, now=now)
    await audit.record(
        connection,
        by,
        "role-changed",
        about=member.id,
        before={"role": member.role},
        after={"role": role},
        now=now,
    )
    log.info("role-changed", member=member.id, before=member.role, after=role)
    changed = await members.by_id(connection, member.id)
    assert changed
    return changed
