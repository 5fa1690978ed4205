"""Taking people from a table onto the list: new ones added, blanks of known ones filled, nobody brought back."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.address import address_key
from scheduler.domain.code_page import is_misread
from scheduler.domain.errors import Refused
from scheduler.domain.token import Keys
from scheduler.service.invitations import Invitation
from scheduler.service.member_csv import MemberRow
from scheduler.service.members import entry, erasure_name
from scheduler.store import erasures, members
from scheduler.store.database import Database
from scheduler.store.members import Member

BATCH = 5_000
_TRIES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What became of the good rows of a table, each counted once; `left` are those who left, here or by the table;
    `repaired` are those of whom only a name was put right that had been read in a wrong encoding; `invited` counts
    those of the added who get an open invitation at once, and `unmailed` those who were added paused or pending."""

    added: int = 0
    filled: int = 0
    repaired: int = 0
    unchanged: int = 0
    left: int = 0
    erased: int = 0
    invited: int = 0
    unmailed: int = 0

    def __add__(self, other: "Imported") -> "Imported":
        return Imported(
            **{one.name: getattr(self, one.name) + getattr(other, one.name) for one in fields(self)}
        )


async def import_members(
    database: Database,
    rows: Iterable[MemberRow],
    *,
    keys: Keys,
    locale: str,
    invitations: Sequence[Invitation],
    now: datetime,
    invite: bool = True,
    dry_run: bool = False,
    encoding_known: bool = True,
    advance: Callable[[int], None] = lambda rows: None,
) -> Imported:
    """Take `rows` (no address twice) in transactions of some thousand; broken off, the import may be done again.

    Somebody new becomes active, unless the row says that they left, paused or have not confirmed: then that is kept.
    `locale` is for rows that name none. Of somebody known blanks are filled: a missing name or country, and a zone
    that was only assumed, which is a guess and nobody's word; nothing else changes, but for a name
    that was once read in a wrong encoding: where it is exactly that, it is put right, and where the file's encoding is
    only a guess (`encoding_known` is false), only by a name that reads better. Who left or was erased stays so.
    Without `invite` the invitations that are open at `now` are not for the new ones; later ones are. With `dry_run`
    nothing is written. `advance` is told how many more rows were done.
    """
    done = Imported()
    take = _Import(
        keys=keys,
        locale=locale,
        invitations=invitations,
        now=now,
        invite=invite,
        writes=not dry_run,
        encoding_known=encoding_known,
        open={},
    )
    for batch in _batches(rows):
        done += await _with_patience(database, take, batch)
        advance(len(batch))
    return done


def _batches(rows: Iterable[MemberRow]) -> Iterator[list[MemberRow]]:
    source = iter(rows)
    while batch := list(islice(source, BATCH)):
        yield batch


async def _with_patience(database: Database, take: "_Import", batch: Sequence[MemberRow]) -> Imported:
    """Take a batch; where somebody else puts one of its addresses on the list meanwhile, look again."""
    for _ in range(_TRIES):
        try:
            async with database.write() if take.writes else database.read() as connection:
                return await take.batch(connection, batch)
        except IntegrityError:
            continue
    raise Refused("somebody else is changing the list at the same time; import the file again")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Import:
    """What holds for every row of one import; `open` remembers in which zones an invitation is open."""

    keys: Keys
    locale: str
    invitations: Sequence[Invitation]
    now: datetime
    invite: bool
    writes: bool
    encoding_known: bool
    open: dict[str, bool]

    async def batch(self, connection: AsyncConnection, rows: Sequence[MemberRow]) -> Imported:
        """Take some rows within a transaction."""
        keyed = {address_key(row.email): row for row in rows}
        known = await members.by_keys(connection, list(keyed))
        erased = await self._erased(connection, [key for key in keyed if key not in known])
        new = [row for key, row in keyed.items() if key not in known and key not in erased]
        left = [*(one.status for one in known.values()), *(one.status for one in new)].count("left")
        fills = {
            member.id: blanks
            for key, member in known.items()
            if member.status != "left" and (blanks := self._blanks(member, keyed[key]))
        }
        named = {member.id for member in known.values() if member.name}
        repaired = sum(number in named and list(blanks) == ["name"] for number, blanks in fills.items())
        if self.writes and new:
            await members.add(connection, map(self._entry, new))
        if self.writes and fills:
            await members.change_each(connection, fills)
        return Imported(
            added=sum(row.status != "left" for row in new),
            filled=len(fills) - repaired,
            repaired=repaired,
            left=left,
            erased=len(erased),
            unmailed=sum(row.status in ("paused", "pending") for row in new),
            unchanged=sum(one.status != "left" for one in known.values()) - len(fills),
            invited=sum(row.status == "active" and self._is_invited(row.zone) for row in new),
        )

    async def _erased(self, connection: AsyncConnection, address_keys: Sequence[str]) -> set[str]:
        if not await erasures.any_erased(connection):
            return set()
        names = {erasure_name(self.keys, key): key for key in address_keys}
        return {names[name] for name in await erasures.find_erased(connection, list(names))}

    def _entry(self, row: MemberRow) -> Mapping[str, Any]:
        return entry(
            address=row.email,
            name=row.name,
            country=row.country,
            zone=row.zone,
            zone_source=row.zone_source,
            locale=row.locale or self.locale,
            status=row.status,
            now=self.now,
            uninvited_at=None if self.invite else self.now,
        )

    def _is_invited(self, zone: str) -> bool:
        if zone not in self.open:
            self.open[zone] = self.invite and any(one.is_open_in(zone, self.now) for one in self.invitations)
        return self.open[zone]

    def _blanks(self, member: Member, row: MemberRow) -> dict[str, Any]:
        """What the row knows of a member and nobody has said yet."""
        found: dict[str, Any] = {}
        if row.name and (
            not member.name or is_misread(member.name, as_read=row.name, certain=self.encoding_known)
        ):
            found["name"] = row.name
        if member.country is None and row.country:
            found["country"] = row.country
        if member.zone_source == "assumed" and row.zone_source == "given":
            found |= {"zone": row.zone, "zone_source": "given"}
        return found
