"""Export the members as a table that a spreadsheet opens safely and that can be imported again."""

import csv
from typing import TextIO

from scheduler.domain.table import guard_cell
from scheduler.store import members
from scheduler.store.database import Database
from scheduler.store.members import Member

HEADINGS = ("name", "email", "country", "timezone", "zone source", "locale", "status", "convenor")


async def export_members(database: Database, out: TextIO) -> int:
    """Write all members, including those who left, as CSV (RFC 4180) to `out`, which must not translate line ends.

    Returns the number of members. No cell begins like a formula, and importing the file changes nothing.
    """
    # Quote everything and write names first: even a reader that splits at semicolons gets no cell inside a name.
    writer = csv.writer(out, quoting=csv.QUOTE_ALL)
    writer.writerow(HEADINGS)
    count = 0
    async with database.read() as connection:
        async for member in members.every(connection):
            writer.writerow(map(guard_cell, _cells(member)))
            count += 1
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
