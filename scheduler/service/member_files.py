"""Import members from a table, and export them.

An import adds new members, fills in what is missing about known ones, and brings nobody back.
"""

import asyncio
import csv
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Any, TextIO

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.actor import SERVICE, Actor
from scheduler.domain.address import address_key
from scheduler.domain.code_page import is_misread
from scheduler.domain.errors import Refused
from scheduler.domain.occurrence import Series, followed, offers_choice
from scheduler.domain.policy import Policy
from scheduler.domain.table import guard_cell
from scheduler.domain.text import counted
from scheduler.domain.token import Keys
from scheduler.domain.translation import locale_for
from scheduler.service.invitations import Invitation, with_mails
from scheduler.service.invitations import invitations as find_invitations
from scheduler.service.member_csv import NO_SERIES, MemberRow, MemberTable, read_members
from scheduler.service.members import erasure_name, new_member_row, with_follows
from scheduler.store import audit, erasures, follows, members, uploads
from scheduler.store.database import Database
from scheduler.store.members import Member

BATCH = 5_000
_TRIES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What happened to the valid rows of a table, each counted once.

    `left` counts people who have left, according to the list or the table; `repaired` counts members of whom only a
    name was corrected that had been read in the wrong encoding. Of those in `added`, `invited` counts those who get an
    open invitation at once, and `unmailed` those who were added as paused or pending; of those in `filled`,
    `invited_known` counts those who get one because they now follow a series. `invitations` counts the mails to both:
    one for each series. `still_mailed` counts active members of whom the table says that they are not to be mailed: an
    import changes no member's status.
    """

    added: int = 0
    filled: int = 0
    repaired: int = 0
    unchanged: int = 0
    left: int = 0
    erased: int = 0
    invited: int = 0
    invited_known: int = 0
    invitations: int = 0
    unmailed: int = 0
    still_mailed: int = 0

    def __add__(self, other: "Imported") -> "Imported":
        return Imported(
            **{field.name: getattr(self, field.name) + getattr(other, field.name) for field in fields(self)}
        )


async def import_members(
    database: Database,
    rows: Iterable[MemberRow],
    *,
    keys: Keys,
    locale: str,
    invitations: Sequence[Invitation],
    now: datetime,
    all_series: Sequence[Series],
    follow: Collection[str] = (),
    invite: bool = True,
    dry_run: bool = False,
    encoding_known: bool = True,
    advance: Callable[[int], None] = lambda rows: None,
    by: Actor = SERVICE,
) -> Imported:
    """Import `rows` (no address twice) in transactions of BATCH rows; an interrupted import may be repeated.

    A new member becomes active, unless the row says that they left, paused or have not confirmed: that is kept.
    `locale` is for rows without one. About a known member only what is missing is filled in: a name, a country, or a
    zone that was merely assumed. A name that was once read in the wrong encoding is corrected too; if the encoding of
    this file is only a guess (`encoding_known` is false), only by a name that reads better. Members who left or were
    erased are not brought back.

    A row that names series makes explicit choices: yes to those, and no to the others that everyone follows. Of these,
    a known member gets those that change what they follow, unless they have made a choice themselves. New members also
    follow the series in `follow`.

    Without `invite` nobody gets invitations that are open at `now` because of the import, only later ones. With
    `dry_run` nothing is written. `advance` is called with the number of rows just done.
    """
    done = Imported()
    importer = _Importer(
        keys=keys,
        locale=locale,
        invitations=invitations,
        now=now,
        all_series=all_series,
        follow=follow,
        invite=invite,
        writes=not dry_run,
        encoding_known=encoding_known,
        open_series={},
    )
    for batch in _batches(rows):
        done += await _import_batch(database, importer, batch)
        advance(len(batch))
    if not dry_run:
        async with database.write() as connection:
            counts = {name: count for name, count in asdict(done).items() if count}
            await audit.record(connection, by, "members-imported", after=counts, now=now)
    return done


def _batches(rows: Iterable[MemberRow]) -> Iterator[list[MemberRow]]:
    source = iter(rows)
    while batch := list(islice(source, BATCH)):
        yield batch


async def _import_batch(database: Database, importer: "_Importer", batch: Sequence[MemberRow]) -> Imported:
    """Import a batch; try again if somebody else adds one of its addresses meanwhile."""
    for _ in range(_TRIES):
        try:
            async with database.write() if importer.writes else database.read() as connection:
                return await importer.import_rows(connection, batch)
        except IntegrityError:
            continue
    raise Refused("somebody else is changing the list at the same time; import the file again")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Importer:
    """The parameters of one import; `open_series` caches the series whose invitation is open, by zone."""

    keys: Keys
    locale: str
    invitations: Sequence[Invitation]
    now: datetime
    all_series: Sequence[Series]
    follow: Collection[str]
    invite: bool
    writes: bool
    encoding_known: bool
    open_series: dict[str, frozenset[str]]

    async def import_rows(self, connection: AsyncConnection, rows: Sequence[MemberRow]) -> Imported:
        """Import some rows within a transaction."""
        by_key = {address_key(row.address): row for row in rows}
        known = await members.by_keys(connection, list(by_key))
        erased = await self._erased(connection, [key for key in by_key if key not in known])
        new = [row for key, row in by_key.items() if key not in known and key not in erased]
        statuses = [*(member.status for member in known.values()), *(row.status for row in new)]
        changes = {
            member.id: values
            for key, member in known.items()
            if member.status != "left" and (values := self._missing_values(member, by_key[key]))
        }
        choices = await self._missing_choices(connection, known, by_key)
        for number, chosen in choices.items():
            uninvited = {"uninvited_at": self.now} if any(chosen.values()) and not self.invite else {}
            changes.setdefault(number, {}).update(feed_changed_at=self.now, **uninvited)
        invited = [count for row in new if (count := self._invitations_of(row))]
        invited_known = [
            count
            for key, member in known.items()
            if (count := self._invitations_since(member, by_key[key], choices.get(member.id, {})))
        ]
        named = {member.id for member in known.values() if member.name}
        repaired = sum(number in named and list(values) == ["name"] for number, values in changes.items())
        if self.writes and new:
            await self._add(connection, new)
        if self.writes and changes:
            await members.change_each(connection, changes)
            since = dict.fromkeys((series.slug for series in self.all_series), self.now)
            await follows.store(connection, choices, since=since, overwrite=False)
        return Imported(
            added=sum(row.status != "left" for row in new),
            filled=len(changes) - repaired,
            repaired=repaired,
            left=statuses.count("left"),
            erased=len(erased),
            unmailed=sum(row.status in ("paused", "pending") for row in new),
            still_mailed=sum(
                member.status == "active" and by_key[key].status != "active" for key, member in known.items()
            ),
            unchanged=sum(member.status != "left" for member in known.values()) - len(changes),
            invited=len(invited),
            invited_known=len(invited_known),
            invitations=sum(invited) + sum(invited_known),
        )

    async def _erased(self, connection: AsyncConnection, address_keys: Sequence[str]) -> set[str]:
        if not await erasures.any_erased(connection):
            return set()
        names = {erasure_name(self.keys, key): key for key in address_keys}
        return {names[name] for name in await erasures.find_erased(connection, list(names))}

    async def _add(self, connection: AsyncConnection, rows: Sequence[MemberRow]) -> None:
        await members.add(connection, map(self._new_row, rows))
        if choices := {
            address_key(row.address): chosen for row in rows if (chosen := self._choices_of_new(row))
        }:
            added = await members.by_keys(connection, list(choices))
            await follows.store(connection, {added[key].id: chosen for key, chosen in choices.items()})

    def _choices(self, row: MemberRow) -> dict[str, bool]:
        """Return the explicit choices that a row makes."""
        if row.series is None:
            return {}
        unnamed = (series.slug for series in self.all_series if not series.by_choice)
        return dict.fromkeys(unnamed, False) | dict.fromkeys(row.series, True)

    def _choices_of_new(self, row: MemberRow) -> dict[str, bool]:
        return self._choices(row) | dict.fromkeys(self.follow, True)

    async def _missing_choices(
        self, connection: AsyncConnection, known: Mapping[str, Member], by_key: Mapping[str, MemberRow]
    ) -> dict[int, dict[str, bool]]:
        """Return the choices in the rows of known members that change what they follow, where they have made none."""
        asked = {
            member.id: choices
            for key, member in known.items()
            if member.status != "left" and (choices := self._choices(by_key[key]))
        }
        own = await follows.choices_of_each(connection, list(asked))
        default = {series.slug: not series.by_choice for series in self.all_series}
        return {
            number: missing
            for number, choices in asked.items()
            if (
                missing := {
                    slug: value
                    for slug, value in choices.items()
                    if slug not in own.get(number, {}) and value is not default[slug]
                }
            )
        }

    def _new_row(self, row: MemberRow) -> Mapping[str, Any]:
        return new_member_row(
            address=row.address,
            name=row.name,
            country=row.country,
            zone=row.zone,
            zone_source=row.zone_source,
            locale=row.locale or locale_for(row.country, self.locale),
            status=row.status,
            now=self.now,
            uninvited_at=None if self.invite else self.now,
        )

    def _invitations_of(self, row: MemberRow) -> int:
        """Return how many invitations a new member gets at once."""
        if row.status != "active":
            return 0
        return len(self._open_in(row.zone).intersection(followed(self.all_series, self._choices_of_new(row))))

    def _invitations_since(self, member: Member, row: MemberRow, choices: Mapping[str, bool]) -> int:
        """Return how many invitations a known member gets at once because of the choices that are filled in."""
        begun = {slug for slug, value in choices.items() if value}
        if not begun or member.status != "active" or member.suppressed_at or member.invitation_by != "mail":
            return 0
        zone = self._missing_values(member, row).get("zone", member.zone)
        return len(self._open_in(zone).intersection(begun))

    def _open_in(self, zone: str) -> frozenset[str]:
        """Return the slugs of the series to whose next meeting a new follower in `zone` is invited at once."""
        if zone not in self.open_series:
            self.open_series[zone] = frozenset(
                invitation.occurrence.series
                for invitation in self.invitations
                if self.invite and invitation.is_open_in(zone, self.now)
            )
        return self.open_series[zone]

    def _missing_values(self, member: Member, row: MemberRow) -> dict[str, Any]:
        """Return the columns that the row adds to what is known about a member."""
        values: dict[str, Any] = {}
        if row.name and (
            not member.name or is_misread(member.name, as_read=row.name, certain=self.encoding_known)
        ):
            values["name"] = row.name
        if member.country is None and row.country:
            values["country"] = row.country
        if member.zone_source == "assumed" and row.zone_source == "given":
            values |= {"zone": row.zone, "zone_source": "given"}
        return values


HEADINGS = ("name", "email", "country", "timezone", "zone source", "locale", "status", "convenor")


def describe_import(imported: Imported, table: MemberTable, *, invite: bool) -> Iterator[str]:
    """Yield what an import did, or would do, in a line each."""
    yield f"{imported.added} added, {imported.filled} filled in, {imported.unchanged} unchanged"
    if imported.repaired:
        yield f"names repaired that had been imported in the wrong encoding: {imported.repaired}"
    if imported.unmailed:
        yield f"added, but not mailed because the file says paused or unconfirmed: {imported.unmailed}"
    if imported.still_mailed:
        yield (
            f"still mailed, although the file says not to: "
            f"{counted(imported.still_mailed, 'member')} on the list; an import changes nobody's status, so use "
            "`members pause` or `members remove` if they left elsewhere"
        )
    if imported.left or imported.erased:
        yield f"not added again: {imported.left} who left, {imported.erased} who were erased"
    if table.duplicates:
        yield f"duplicates: {table.duplicates} (the first row of each address is used)"
    if table.problems:
        yield f"rows that are wrong and were left out: {count_wrong_rows(table)}"
    if table.ignored:
        yield f"columns ignored: {', '.join(table.ignored)}"
    if imported.added or imported.invited_known:
        people = imported.invited + imported.invited_known
        yield (
            f"invited now: {people}{with_mails(imported.invitations, people)}"
            if invite
            else "invited now: 0; later invitations are sent as planned"
        )


def count_wrong_rows(table: MemberTable) -> int:
    """Return how many rows of a table cannot be imported."""
    return len({problem.line for problem in table.problems})


async def export_members(
    database: Database, out: TextIO, *, all_series: Sequence[Series], by: Actor = SERVICE, now: datetime
) -> int:
    """Write all members, including those who left, as CSV (RFC 4180) to `out`, which must not translate line ends.

    Returns the number of members. No cell begins like a formula, and importing the file changes nothing. There is a
    column of series if there is anything to choose.
    """
    has_series = offers_choice(all_series)
    # Quote everything and write names first: even a reader that splits at semicolons gets no cell inside a name.
    writer = csv.writer(out, quoting=csv.QUOTE_ALL)
    writer.writerow((*HEADINGS, "series") if has_series else HEADINGS)
    count = 0
    async with database.read() as connection:
        async for member, slugs in with_follows(connection, members.every(connection), all_series):
            followed_series = [";".join(slugs) or NO_SERIES] if has_series else []
            writer.writerow(map(guard_cell, (*_cells(member), *followed_series)))
            count += 1
    async with database.write() as connection:
        await audit.record(connection, by, "members-exported", after={"members": count}, now=now)
    return count


def _cells(member: Member) -> tuple[str, ...]:
    return (
        member.name,
        member.address,
        member.country or "",
        member.zone,
        member.zone_source,
        member.locale,
        member.status,
        "yes" if member.convenor else "no",
    )


async def keep_upload(database: Database, content: bytes, *, by: Actor, now: datetime) -> int:
    """Keep a table that a convenor wants to import, until they have seen what it would do; return its number.

    It replaces the one that they sent before. Raises Refused if it is not a table of people.
    """
    await asyncio.to_thread(read_members, content)
    async with database.write() as connection:
        await uploads.remove_of(connection, by.member or 0)
        return await uploads.add(connection, member=by.member or 0, content=content, now=now)


async def import_upload(
    database: Database,
    number: int,
    *,
    keys: Keys,
    locale: str,
    all_series: Sequence[Series],
    policies: Sequence[Policy],
    invite: bool,
    dry_run: bool,
    shown: tuple[int, int] | None = None,
    by: Actor,
    now: datetime,
) -> tuple[MemberTable, Imported] | None:
    """Import a table that was kept, or with `dry_run` find out what that would do; None if it is no longer there.

    It is deleted once it is imported, so that a second press does nothing. Raises Refused if it would not add and
    invite the numbers of people that the convenor was shown.
    """
    async with database.read() as connection:
        content = await uploads.content_of(connection, number, member=by.member or 0)
    if content is None:
        return None
    table = await asyncio.to_thread(read_members, content, all_series=all_series)
    load = partial(
        import_members,
        database,
        table.rows,
        keys=keys,
        locale=locale,
        invitations=await find_invitations(database, series=all_series, policies=policies, now=now),
        now=now,
        all_series=all_series,
        encoding_known=table.guess is None,
        by=by,
    )
    if shown and not dry_run:
        foreseen = await load(invite=True, dry_run=True)
        if shown != (foreseen.added, foreseen.invited + foreseen.invited_known):
            raise Refused("the list of members has changed meanwhile; read again what the import would do")
    imported = await load(invite=invite, dry_run=dry_run)
    if not dry_run:
        async with database.write() as connection:
            await uploads.remove_of(connection, by.member or 0)
    return table, imported
