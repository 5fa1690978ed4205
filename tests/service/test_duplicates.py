"""Members who may be the same person are pointed out, until a convenor says that they are two."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Connection, event

from scheduler.domain.actor import Actor
from scheduler.domain.address import mailbox_key
from scheduler.domain.errors import Refused
from scheduler.service.duplicates import find_duplicates, tell_apart
from scheduler.service.members import Details, change_member, remove_member
from scheduler.store import duplicates
from tests.installation import Installation, open_installation

ANN = Actor(channel="console", name="Ann", member=1)


@pytest.mark.parametrize(
    ("key", "mailbox"),
    [
        ("ann@example.org", None),
        ("ann+list@example.org", "ann@example.org"),
        ("+ann@example.org", None),
        ("a.n.n@example.org", None),
        ("a.n.n@gmail.com", "ann@gmail.com"),
        ("a.n.n+x+y@googlemail.com", "ann@gmail.com"),
        ("ann@gmail.com", None),
    ],
)
def test_addresses_of_one_mailbox_have_one_key(key: str, mailbox: str | None) -> None:
    assert mailbox_key(key) == mailbox


async def pairs(installation: Installation) -> set[tuple[str, str, bool]]:
    return {
        (pair.one.address, pair.other.address, pair.same_mailbox)
        for pair in await find_duplicates(installation.database)
    }


async def person(installation: Installation, name: str, address: str, zone: str, country: str | None) -> None:
    await installation.join((name, zone), address=address, address_key=address, country=country)


async def test_names_are_compared_by_an_index(tmp_path: Path) -> None:
    statements = list[tuple[str, Sequence[object]]]()

    def note(_: Connection, __: object, statement: str, given: Sequence[object], *___: object) -> None:
        statements.append((statement, given))

    async with (
        open_installation(tmp_path, datetime(2026, 11, 1, tzinfo=UTC)) as installation,
        installation.database.read() as connection,
    ):
        assert connection.sync_connection
        event.listen(connection.sync_connection, "before_cursor_execute", note)
        await duplicates.pairs(connection, most=1)
        statement, given = statements[-1]
        rows = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", tuple(given))
        plan = [str(row[-1]) for row in rows]
    for table in ("members", "one", "other"):
        assert any(
            f" {table} USING COVERING INDEX ix_members_namesakes" in step
            or f" {table} USING INDEX ix_members_namesakes" in step
            for step in plan
        ), plan


async def test_the_same_mailbox_and_the_same_name_in_one_place_are_pointed_out(
    tmp_path: Path, database_url: str
) -> None:
    async with open_installation(
        tmp_path, datetime(2026, 11, 1, tzinfo=UTC), url=database_url
    ) as installation:
        await point_out(installation)


async def point_out(installation: Installation) -> None:
    for name, address, zone, country in (
        ("Zoë Müller", "zoe@example.org", "Europe/Berlin", "DE"),
        ("Zoe Muller", "zoe@example.com", "Europe/Busingen", "DE"),
        ("ZOE MÜLLER", "z.m@example.net", "America/New_York", "US"),
        ("李小明", "li@example.org", "Asia/Taipei", None),
        ("李小明", "li@example.com", "Asia/Taipei", "TW"),
        ("", "a.b@gmail.com", "Asia/Tokyo", "JP"),
        ("Aki", "ab+news@googlemail.com", "Asia/Seoul", None),
        ("", "ab@gmail.com", "Asia/Tokyo", "JP"),
        *(("Kim", f"kim{number}@example.org", "Asia/Seoul", "KR") for number in range(6)),
    ):
        await person(installation, name, address, zone, country)
    same_mailbox = {
        ("a.b@gmail.com", "ab+news@googlemail.com", True),
        ("a.b@gmail.com", "ab@gmail.com", True),
        ("ab+news@googlemail.com", "ab@gmail.com", True),
    }
    names = {
        ("zoe@example.org", "zoe@example.com", False),
        ("li@example.org", "li@example.com", False),
    }
    assert await pairs(installation) == same_mailbox | names


@pytest.mark.both_databases
async def test_two_whom_a_convenor_told_apart_or_removed_are_not_pointed_out_again(
    installation: Installation,
) -> None:
    now = installation.clock.now()
    for name in ("ann+a", "ann+b", "ann+c"):
        await person(installation, "", f"{name}@example.org", "Europe/London", "GB")
    assert len(await pairs(installation)) == 6
    await tell_apart(installation.database, "ann+a@example.org", "ann@example.org", by=ANN, now=now)
    await remove_member(installation.database, "ann+b@example.org", now=now)
    assert await pairs(installation) == {
        ("ann@example.org", "ann+c@example.org", True),
        ("ann+a@example.org", "ann+c@example.org", True),
    }
    details = Details(address="other@example.org")
    await change_member(installation.database, "ann+c@example.org", details, keys=installation.keys, now=now)
    assert not await pairs(installation)
    with pytest.raises(Refused, match="are one member"):
        await tell_apart(installation.database, "ann@example.org", "ANN@example.org", by=ANN, now=now)
