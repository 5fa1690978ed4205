"""The list as a table: safe in a spreadsheet, and back as it was."""

import csv
import io
from datetime import UTC, date, datetime
from pathlib import Path

from scheduler.service.member_csv import read_members
from scheduler.service.member_export import export_members
from scheduler.service.member_import import Imported
from scheduler.service.members import Details, change_member, pause_member, remove_member
from scheduler.store.database import Database
from scheduler.store.upgrades import open_database
from tests.service.people import KEYS, NOW, change_mark, everybody, row, take

LATER = datetime(2027, 1, 1, tzinfo=UTC)
ODD = (
    "=HYPERLINK(1)",
    "+44 20",
    "-Ann-",
    "@ann",
    "＝1",
    "'=1",
    "''",
    "O'Neill",
    'Ann "Annie"',
    "Ann; Bo",
    "Ann, Bo",
    "Ann;=1+1",
    "Åsa",
    "张伟",
    "",
)


async def fill(database: Database) -> None:
    """People of every kind: odd names, every status, zones given and assumed, no country."""
    await take(database, [row(f"m{index}@example.org", name=name) for index, name in enumerate(ODD)])
    await take(
        database,
        [
            row("=sum@example.org", zone_source="assumed"),
            row("+plus@example.org", country=None, locale="sv-SE"),
            row("pending@example.org", status="pending"),
        ],
    )
    await remove_member(database, "m0@example.org", now=NOW)
    await pause_member(database, "m1@example.org", until=date(2026, 12, 1), now=NOW)
    await change_member(database, "m2@example.org", Details(convenor=True), keys=KEYS, now=NOW)


async def exported(database: Database) -> str:
    out = io.StringIO(newline="")
    assert await export_members(database, out) == len(await everybody(database))
    return out.getvalue()


async def test_no_cell_begins_as_a_formula_does_whatever_separates_them(database: Database) -> None:
    await fill(database)
    text = await exported(database)
    for delimiter in ",;\t":
        for cells in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
            assert not [cell for cell in cells if cell.startswith(tuple("=+-@\t\r＝＋－＠"))]


async def test_the_import_of_an_export_changes_nothing(database: Database) -> None:
    await fill(database)
    before, mark = await everybody(database), await change_mark(database)
    reading = read_members((await exported(database)).encode("utf-8-sig"))
    assert not reading.problems and not reading.duplicates and reading.ignored == ("convenor",)
    assert await take(database, reading.rows, now=LATER) == Imported(unchanged=len(before) - 1, left=1)
    assert await everybody(database) == before and await change_mark(database) == mark


async def test_a_list_moves_to_another_house_with_who_left_and_who_paused(
    database: Database, tmp_path: Path
) -> None:
    await fill(database)
    text = await exported(database)
    other = Database(f"sqlite:///{tmp_path / 'other.sqlite'}")
    await open_database(other, upgrade=True)
    await take(other, read_members(text.encode()).rows)
    assert [
        (one.name, one.address, one.country, one.zone, one.zone_source, one.locale, one.status)
        for one in await everybody(other)
    ] == [
        (one.name, one.address, one.country, one.zone, one.zone_source, one.locale, one.status)
        for one in await everybody(database)
    ]
    await other.close()


async def test_a_column_of_a_mailing_service_tells_who_unsubscribed() -> None:
    text = "Email,Country,Status\na@example.org,GB,Subscribed\nb@example.org,GB,Unsubscribed\nc@example.org,GB,VIP\n"
    found = read_members(text.encode())
    assert [one.status for one in found.rows] == ["active", "left"]
    # Nobody knows whether such a person may be mailed.
    assert [(one.line, one.column) for one in found.problems] == [(4, "Status")]
