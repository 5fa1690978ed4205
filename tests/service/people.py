"""Helpers for tests of the list: rows for an import, and the members that result."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from scheduler.domain.occurrence import Series
from scheduler.domain.token import Keys
from scheduler.service.invitations import Invitation
from scheduler.service.member_csv import MemberRow
from scheduler.service.member_files import Imported, import_members
from scheduler.store import members, service_state
from scheduler.store.database import Database
from scheduler.store.members import Member
from tests.installation import SERIES

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
KEYS = Keys(b"k" * 32)


def row(address: str, **values: Any) -> MemberRow:
    known: dict[str, Any] = {
        "line": 2,
        "name": "Ann",
        "country": "GB",
        "zone": "Europe/London",
        "zone_source": "given",
        "locale": "en-GB",
    }
    return MemberRow(address=address, **{**known, **values})


async def take(
    database: Database,
    rows: Iterable[MemberRow],
    *,
    invitations: Sequence[Invitation] = (),
    now: datetime = NOW,
    all_series: Sequence[Series] = (SERIES,),
    **options: Any,
) -> Imported:
    """Import `rows` with the settings that tests need."""
    return await import_members(
        database,
        rows,
        keys=KEYS,
        locale="en-IE",
        invitations=invitations,
        now=now,
        all_series=all_series,
        **options,
    )


async def everybody(database: Database) -> list[Member]:
    async with database.read() as connection:
        return [member async for member in members.every(connection)]


async def one(database: Database, address: str) -> Member:
    """The member whose address is exactly `address`."""
    return next(member for member in await everybody(database) if member.address == address)


async def change_mark(database: Database) -> int:
    """What a running service watches."""
    async with database.read() as connection:
        return await service_state.current(connection, "change")
