"""From a table onto the list: once, and without touching what members said."""

import asyncio
import csv
import io
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from scheduler.service import member_files
from scheduler.service.erasure import erase_member
from scheduler.service.invitations import invitations
from scheduler.service.member_csv import read_members
from scheduler.service.member_files import Imported, export_members
from scheduler.service.members import Details, change_member, pause_member, remove_member
from scheduler.service.notices import stop
from scheduler.service.occurrences import Change, amend
from scheduler.store.database import Database
from scheduler.store.upgrades import open_database
from tests.installation import POLICIES, SERIES, Installation, open_installation
from tests.service.people import KEYS, NOW, change_mark, everybody, one, row, take

LATER = NOW + timedelta(days=1)


async def test_somebody_new_is_active_from_now_on(database: Database) -> None:
    done = await take(database, [row("Ann@example.org", zone_source="assumed")])
    assert done == Imported(added=1)
    ann = await one(database, "Ann@example.org")
    assert (ann.name, ann.country, ann.zone, ann.zone_source) == ("Ann", "GB", "Europe/London", "assumed")
    assert (ann.status, ann.active_since, ann.created_at, ann.convenor) == ("active", NOW, NOW, False)
    assert ann.uninvited_at is None


async def test_a_row_without_a_locale_has_the_communitys(database: Database) -> None:
    await take(database, [row("ann@example.org", locale=None), row("bo@example.org", locale="sv-SE")])
    assert [member.locale for member in await everybody(database)] == ["en-IE", "sv-SE"]


async def test_the_same_file_twice_changes_nothing_and_wakes_nobody(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(member_files, "BATCH", 10)
    rows = [row(f"m{number}@example.org") for number in range(25)]
    assert await take(database, rows) == Imported(added=25)
    before, mark = await everybody(database), await change_mark(database)
    assert await take(database, rows, now=LATER) == Imported(unchanged=25)
    assert await everybody(database) == before and await change_mark(database) == mark


async def test_an_import_that_broke_off_is_finished_by_the_next(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(member_files, "BATCH", 10)
    rows = [row(f"m{number}@example.org") for number in range(25)]

    def power_cut(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await take(database, rows, advance=power_cut)
    assert await take(database, rows) == Imported(added=15, unchanged=10)


async def test_an_address_in_another_case_is_the_same_member(database: Database) -> None:
    await take(database, [row("ann@example.org")])
    assert await take(database, [row("ANN@Example.ORG", name="Annie")]) == Imported(unchanged=1)
    assert [member.name for member in await everybody(database)] == ["Ann"]


@pytest.mark.both_databases
async def test_blanks_are_filled(database: Database) -> None:
    await take(database, [row("ann@example.org", name="", country=None)])
    assert await take(database, [row("ann@example.org", country="GB-SCT")]) == Imported(filled=1)
    ann = await one(database, "ann@example.org")
    assert (ann.name, ann.country) == ("Ann", "GB-SCT")


async def test_what_is_known_is_never_overwritten(database: Database) -> None:
    await take(database, [row("ann@example.org")])
    other = row("ann@example.org", name="Bo", country="NZ", zone="Pacific/Auckland", locale="en-NZ")
    before = await everybody(database)
    assert await take(database, [other], now=LATER) == Imported(unchanged=1)
    assert await everybody(database) == before


async def test_a_zone_that_was_assumed_gives_way_to_one_that_is_given(database: Database) -> None:
    await take(database, [row("ann@example.org", zone_source="assumed")])
    assert await take(database, [row("ann@example.org", zone="Asia/Kolkata")]) == Imported(filled=1)
    ann = await one(database, "ann@example.org")
    assert (ann.zone, ann.zone_source) == ("Asia/Kolkata", "given")
    guess = row("ann@example.org", zone="Europe/Berlin", zone_source="assumed")
    assert await take(database, [guess]) == Imported(unchanged=1)


@pytest.mark.parametrize(
    ("name", "written", "read"),
    [
        ("Ольга", "cp1251", "cp1252"),
        ("山田太郎", "cp932", "cp1252"),
        ("Zoë", "utf-8", "cp1252"),
        ("Łódź", "cp1250", "cp1252"),
    ],
)
async def test_importing_again_in_the_right_encoding_repairs_a_misread_name(
    database: Database, name: str, written: str, read: str
) -> None:
    wrong = name.encode(written).decode(read)
    await take(database, [row("ann@example.org", name=wrong)])
    assert await take(database, [row("ann@example.org", name=name)]) == Imported(repaired=1)
    assert (await one(database, "ann@example.org")).name == name
    # And nothing makes it wrong again.
    again = await take(database, [row("ann@example.org", name=wrong)], encoding_known=False)
    assert again == Imported(unchanged=1)


async def test_a_name_that_somebody_edited_since_is_not_repaired(database: Database) -> None:
    await take(database, [row("ann@example.org", name="Îëüãà")])
    await change_member(database, "ann@example.org", Details(name="Olga"), keys=KEYS, now=NOW)
    assert await take(database, [row("ann@example.org", name="Ольга")]) == Imported(unchanged=1)
    assert (await one(database, "ann@example.org")).name == "Olga"


@pytest.mark.both_databases
async def test_a_zone_that_the_member_set_stays(database: Database) -> None:
    await take(database, [row("ann@example.org", zone_source="assumed")])
    await change_member(database, "ann@example.org", Details(zone="Asia/Kolkata"), keys=KEYS, now=NOW)
    await take(database, [row("ann@example.org")])
    assert (await one(database, "ann@example.org")).zone == "Asia/Kolkata"


async def test_who_left_is_not_brought_back_nor_filled_in(database: Database) -> None:
    await take(database, [row("ann@example.org", name="")])
    await remove_member(database, "ann@example.org", now=NOW)
    mark = await change_mark(database)
    assert await take(database, [row("ann@example.org")], now=LATER) == Imported(left=1)
    ann = await one(database, "ann@example.org")
    assert (ann.status, ann.name) == ("left", "") and await change_mark(database) == mark


@pytest.mark.both_databases
async def test_who_was_erased_is_not_brought_back(database: Database) -> None:
    rows = [row("Ann@example.org"), row("bo@example.org")]
    await take(database, rows)
    await erase_member(database, "ann@example.org", keys=KEYS, outbox=None, now=NOW)
    for address in ("ann@example.org", "ANN@example.org"):
        assert await take(database, [row(address), rows[1]]) == Imported(erased=1, unchanged=1)
    assert [member.address for member in await everybody(database)] == ["bo@example.org"]


async def test_a_pause_outlasts_an_import(database: Database) -> None:
    await take(database, [row("ann@example.org", name="")])
    await pause_member(database, "ann@example.org", until=None, now=NOW)
    assert await take(database, [row("ann@example.org")]) == Imported(filled=1)
    assert (await one(database, "ann@example.org")).status == "paused"


async def test_who_left_by_the_table_is_known_but_gets_no_mail(database: Database) -> None:
    rows = [
        row("ann@example.org", status="left"),
        row("bo@example.org", status="paused"),
        row("cy@example.org", status="pending"),
    ]
    assert await take(database, rows) == Imported(left=1, added=2, unmailed=2)
    assert [(one.status, one.active_since) for one in await everybody(database)] == [
        ("left", None),
        ("paused", None),
        ("pending", None),
    ]
    assert await take(database, [row("ann@example.org")]) == Imported(left=1)


async def test_a_dry_run_says_the_same_and_writes_nothing(database: Database) -> None:
    await take(database, [row("ann@example.org", name=""), row("bo@example.org"), row("cy@example.org")])
    await remove_member(database, "bo@example.org", now=NOW)
    await erase_member(database, "cy@example.org", keys=KEYS, outbox=None, now=NOW)
    before, mark = await everybody(database), await change_mark(database)
    rows = [row(f"{name}@example.org") for name in ("ann", "bo", "cy", "di")]
    foreseen = await take(database, rows, dry_run=True)
    assert foreseen == Imported(added=1, filled=1, left=1, erased=1)
    assert await everybody(database) == before and await change_mark(database) == mark
    assert await take(database, rows) == foreseen


async def test_two_imports_at_once_put_everybody_on_the_list_once(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(member_files, "BATCH", 20)
    rows = [row(f"m{number}@example.org") for number in range(100)]
    first, second = await asyncio.gather(take(database, rows), take(database, rows))
    assert first.added + second.added == 100 == len(await everybody(database))
    assert first.unchanged + second.unchanged == 100


async def test_progress_is_told_to_the_last_row(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(member_files, "BATCH", 10)
    steps: list[int] = []
    await take(database, (row(f"m{number}@example.org") for number in range(25)), advance=steps.append)
    assert steps == [10, 10, 5]


# Who is invited at once.

MEETING = "conversation-for-kindness/2026-11-19"
ZONES = ("Pacific/Auckland", "Asia/Kolkata", "Europe/London", "America/New_York", "Pacific/Honolulu")


async def _invited(installation: Installation) -> set[str]:
    return {one.name for one in await installation.reports(kind="invitation", state="sent")}


async def _import(installation: Installation, **options: Any) -> Imported:
    now = installation.clock.now()
    standing = await invitations(installation.database, series=[SERIES], policies=POLICIES, now=now)
    rows = [row(f"m{index}@example.org", name=zone, zone=zone) for index, zone in enumerate(ZONES)]
    return await take(installation.database, rows, invitations=standing, now=now, **options)


@pytest.mark.parametrize(
    "served_since", [None, datetime(2026, 10, 1, 12, tzinfo=UTC), datetime(2026, 11, 10, tzinfo=UTC)]
)
@pytest.mark.parametrize(
    "now",
    [
        datetime(2026, 10, 31, 12, tzinfo=UTC),
        datetime(
            2026, 11, 5, 12, tzinfo=UTC
        ),  # past nine in London, not yet in New York or on Friday in Auckland
        datetime(2026, 11, 5, 14, tzinfo=UTC),  # nine in New York to the minute
        datetime(2026, 11, 16, 12, tzinfo=UTC),
        datetime(2026, 11, 19, 18, 30, tzinfo=UTC),
    ],
)
async def test_as_many_are_invited_now_as_the_import_says(
    tmp_path: Path, now: datetime, served_since: datetime | None
) -> None:
    async with open_installation(tmp_path, min(now, served_since or now)) as installation:
        if served_since and served_since < now:
            await installation.tick()
            installation.clock.pass_until(now - timedelta(minutes=1))
            await installation.tick()
            installation.clock.pass_until(now)
        done = await _import(installation)
        await installation.tick()
        assert done.invited == len(await _invited(installation)) and done.added == len(ZONES)


async def test_without_an_invitation_the_open_one_is_skipped_and_the_others_go_as_planned(
    tmp_path: Path,
) -> None:
    async with open_installation(tmp_path, datetime(2026, 11, 5, 12, tzinfo=UTC)) as installation:
        done = await _import(installation, invite=False)
        assert done == Imported(added=len(ZONES))
        for day in (5, 6, 19):
            installation.clock.pass_until(datetime(2026, 11, day, 23, tzinfo=UTC))
            await installation.tick()
        # Open at the import in Kolkata and London only: elsewhere it was still to come.
        assert await _invited(installation) == {"Pacific/Auckland", "America/New_York", "Pacific/Honolulu"}
        installation.clock.pass_until(datetime(2026, 12, 4, 12, tzinfo=UTC))
        await installation.tick()
        december = await installation.reports(occurrence="conversation-for-kindness/2026-12-17", state="sent")
        assert {(one.kind, one.name) for one in december} == {("invitation", zone) for zone in ZONES}


async def test_a_stopped_invitation_invites_nobody_new(tmp_path: Path) -> None:
    async with open_installation(tmp_path, datetime(2026, 11, 5, 12, tzinfo=UTC)) as installation:
        await installation.join(("Ann", "Europe/London"))
        await installation.tick()
        (sent,) = await installation.reports(kind="invitation", state="sent")
        await stop(installation.database, sent.notice, installation.clock.now())
        assert (await _import(installation)).invited == 0
        await installation.tick()
        assert await _invited(installation) == {"Ann"}


async def test_a_cancelled_meeting_invites_nobody(tmp_path: Path) -> None:
    async with open_installation(tmp_path, datetime(2026, 11, 16, 12, tzinfo=UTC)) as installation:
        await amend(
            installation.database,
            installation.by_slug,
            MEETING,
            Change(cancel=True),
            now=installation.clock.now(),
        )
        assert (await _import(installation)).invited == 0
        await installation.tick()
        assert not await _invited(installation)


async def test_members_whom_the_file_says_not_to_mail_are_counted_and_stay_as_they_are(
    database: Database,
) -> None:
    """Other systems export a file for each status: an address can be active in one and unsubscribed in the next."""
    await take(database, [row("ann@example.org"), row("bo@example.org")])
    again = [row("ann@example.org", status="left"), row("bo@example.org", status="active")]
    assert await take(database, again, now=LATER) == Imported(unchanged=2, still_mailed=1)
    assert (await one(database, "ann@example.org")).status == "active"


NEXT_YEAR = datetime(2027, 1, 1, tzinfo=UTC)
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
    assert await export_members(database, out, all_series=(SERIES,), now=NOW) == len(
        await everybody(database)
    )
    return out.getvalue()


@pytest.mark.both_databases
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
    assert await take(database, reading.rows, now=NEXT_YEAR) == Imported(unchanged=len(before) - 1, left=1)
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
