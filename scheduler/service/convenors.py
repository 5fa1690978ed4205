"""Who runs the community: appoint and dismiss convenors and their helpers."""

from typing import Literal, get_args

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.errors import Refused
from scheduler.domain.text import quoted
from scheduler.service.members import require_another_convenor, require_member
from scheduler.store import members
from scheduler.store.database import Database
from scheduler.store.members import Member

log = structlog.get_logger()

Role = Literal["convenor", "helper"]
"""A convenor may do everything. A helper edits meetings and answers requests to join, and sends nothing."""

ROLES: tuple[Role, ...] = get_args(Role)


def require_role(text: str, where: str) -> Role:
    """Return the role that `text` names. Raises Refused, naming `where` it is."""
    for role in ROLES:
        if text == role:
            return role
    raise Refused(f"{where} {quoted(text)} is not a role; give one of {', '.join(ROLES)}")


async def appoint(database: Database, address: str, role: Role) -> Member:
    """Appoint a member who has no role yet. Raises Refused for somebody who is not on the list or has a role."""
    async with database.write() as connection:
        member = await _require_on_list(connection, address)
        if member.role:
            raise Refused(f"{member.address} is a {member.role} already; `convenors role` changes it")
        return await _set(connection, member, role)


async def change_role(database: Database, address: str, role: Role) -> tuple[Member, bool]:
    """Change the role of a convenor or helper; return them, and whether that changed anything.

    Raises Refused for somebody without a role, and for the last convenor.
    """
    async with database.write() as connection:
        member = await require_member(connection, address)
        if not member.role:
            raise Refused(f"{member.address} has no role; `convenors add` appoints a member")
        if member.role == role:
            return member, False
        await require_another_convenor(connection, member)
        return await _set(connection, member, role), True


async def dismiss(database: Database, address: str) -> Member:
    """Take the role from a convenor or helper; they stay a member. Raises Refused as `change_role`."""
    async with database.write() as connection:
        member = await require_member(connection, address)
        if not member.role:
            raise Refused(f"{member.address} has no role")
        await require_another_convenor(connection, member)
        return await _set(connection, member, None)


async def _require_on_list(connection: AsyncConnection, address: str) -> Member:
    member = await require_member(connection, address)
    if member.status not in ("active", "paused"):
        raise Refused(f"{member.address} is not on the list ({member.status}); only members can be appointed")
    return member


async def _set(connection: AsyncConnection, member: Member, role: Role | None) -> Member:
    await members.change(connection, member.id, role=role)
    log.info("role-changed", member=member.id, before=member.role, after=role)
    changed = await members.by_id(connection, member.id)
    assert changed
    return changed
