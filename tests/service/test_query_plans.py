"""Beside a long history everything that the service does again and again finds its deliveries by an index."""

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.policy import EVERY_ZONE, Kind
from scheduler.service import archive, health, notices
from scheduler.service.erasure import erase_member
from scheduler.service.follows import follow
from scheduler.service.forecast import forecast
from scheduler.service.occurrences import Change, amend, tell
from scheduler.service.schedule import outlook, read_meeting
from scheduler.store import erasures, members, service_state
from scheduler.store import notices as notices_store
from scheduler.store.database import Database
from scheduler.store.ledger import claims, jobs, lifecycle, reports
from tests.conftest import CopyDatabase
from tests.installation import POLICIES, SERIES, Installation, address_of, open_installation

NOW = datetime(2026, 11, 1, tzinfo=UTC)
KEY = "conversation-for-kindness/2026-11-19"
WAITING = re.compile(r"ix_deliveries_(waiting|sending)\b")
"""Indexes that hold only what waits or is being sent: these may be read whole."""

Statements = dict[str, Any]


@contextmanager
def noted(database: Database, tables: str = r"\b(past_)?deliveries\b|\bfollows\b") -> Iterator[Statements]:
    """What is asked of some tables meanwhile: each statement with the parameters that it came with last."""
    found: Statements = {}
    engines = [database._engine.sync_engine, *([database._sync_writer] if database.is_sqlite else [])]

    def note(_connection: Any, _cursor: Any, statement: str, given: Any, _context: Any, many: bool) -> None:
        if re.search(tables, statement):
            found[statement] = given[0] if many else given

    for engine in engines:
        event.listen(engine, "before_cursor_execute", note)
    yield found
    for engine in engines:
        event.remove(engine, "before_cursor_execute", note)


async def add_history(installation: Installation) -> None:
    """100,000 deliveries of notices that are closed, half of which belong into the archive, to 500 who left since."""
    await installation.join(
        *((f"Gone {number}", "Europe/London") for number in range(500)),
        status="left",
        active_since=None,
        feed_changed_at=installation.clock.now(),
    )
    async with installation.database.write() as connection:
        for number in range(200):
            expires = NOW - timedelta(days=90 if number % 2 else 1)
            await notices_store.add(
                connection,
                identity=f"past-{number}",
                kind=Kind.NOTICE,
                created_at=expires,
                expires=expires,
                ready=True,
                frozen=True,
                closed_at=expires,
                tally={"sent": 500},
            )
        await connection.execute(
            text(
                "INSERT INTO deliveries (notice, member, zone, locale, chunk, state, due, next_try, sent_at) "
                "SELECT notices.id, members.id, zone, locale, -notices.id, 'sent', 0, 0, 0 FROM notices, members "
                "WHERE members.status = 'left' ORDER BY notices.id, members.id"
            )
        )
        if not installation.database.is_sqlite:
            await connection.execute(text("ANALYZE"))


async def live_a_month(installation: Installation) -> None:
    """All that a month brings: plans, mails, changes by members and convenors, looks at it, a break, the daily work."""
    database, clock = installation.database, installation.clock
    await installation.live(datetime(2026, 11, 18, 8, 30, tzinfo=UTC))
    await installation.answer("Bo", KEY, "declined")
    async with database.write() as connection:
        flo = await members.by_key(connection, address_of("Flo"))
        assert flo
        await follow(connection, flo, {"committee": True}, all_series=installation.series, now=clock.now())
    async with database.write() as connection:
        number = {one.name: one.id async for one in members.every(connection)}
        await members.set_mutes(connection, number["Cy"], [("reminder", "day-before")])
    await installation.change("Di", zone="Asia/Kolkata")
    await installation.change("Ed", status="left", active_since=None)
    await installation.change("Flo", suppressed_at=clock.now(), suppressed_for="5.1.1")
    await installation.tick()
    clock.pass_until(datetime(2026, 11, 18, 9, tzinfo=UTC))
    await installation.tick()
    amended = await amend(
        database, installation.by_slug, KEY, Change(move_to=datetime(2026, 11, 19, 20)), now=clock.now()
    )
    pressed = await tell(database, amended, now=clock.now(), by_choice=())
    await notices.stop(database, pressed.notice, clock.now())
    await notices.resend_missed(database, pressed.notice, clock.now(), by_choice=())
    async with database.write() as connection:
        await claims.take_over(connection, now=clock.now(), run="lost")
        await lifecycle.begin_at(connection, pressed.notice, "Europe/London", clock.now(), clock.now())
        await lifecycle.begin_at(connection, pressed.notice, EVERY_ZONE, clock.now(), clock.now())
        open_ = await claims.open_chunks(connection, clock.now())
        assert open_
        await claims.urgent_chunks(connection, clock.now())
        await claims.take_over(connection, now=clock.now(), chunk=open_[0])
        if not database.is_sqlite:
            await jobs.enqueue_open(connection, open_)
    await health.health(database, clock.now())
    async with database.read() as connection:
        await health.troubles(connection, clock.now(), late=timedelta(minutes=1))
        await reports.due_before(connection, clock.now())
        await reports.states_by_notice(connection)
        await reports.count_mailed(connection, KEY, "Europe/London")
        await erasures.rows_about(connection, number["Ann"])
        assert [one async for one in reports.reports(connection, member=number["Ann"])]
        assert [one async for one in reports.reports(connection, notice=pressed.notice)]
    await forecast(
        database,
        series=installation.series,
        policies=POLICIES,
        since=clock.now(),
        until=clock.now() + timedelta(days=42),
        now=clock.now(),
    )
    await installation.live(datetime(2026, 11, 21, tzinfo=UTC))
    async with database.write() as connection:
        await lifecycle.end_due_before(connection, clock.now(), reason="restored")
        await service_state.write(connection, service_state.WATERMARK, None)
    await installation.tick()
    await erase_member(database, address_of("Ann"), keys=installation.keys, outbox=None, now=clock.now())


def scans_of_sqlite(path: Path, statement: str, given: Any) -> list[str]:
    # An alias is shown in place of the table.
    names = {"deliveries", "past_deliveries", "follows", *re.findall(r"deliveries AS (\w+)", statement)}
    return [
        step
        for step in steps_of_sqlite(path, statement, given)
        if (at := re.match(r"(SCAN|SEARCH) (\w+)", step)) and at[2] in names and not WAITING.search(step)
        if at[1] == "SCAN" or ("(" not in step)
    ]


def steps_of_sqlite(path: Path, statement: str, given: Any) -> list[str]:
    with sqlite3.connect(path) as connection:
        return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", given)]


async def plan_of_postgresql(connection: AsyncConnection, statement: str, given: Any) -> dict[str, Any]:
    plan = (await connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", given)).scalar_one()
    root: dict[str, Any] = (json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]
    return root


def scans_of_postgresql(node: dict[str, Any]) -> list[str]:
    """Steps of a plan that read all deliveries: without an index, or the whole of one."""
    found = [step for below in node.get("Plans", []) for step in scans_of_postgresql(below)]
    what = f"{node.get('Relation Name', '')} {node.get('Index Name', '')}"
    reads = node["Node Type"] == "Seq Scan" or ("Index" in node["Node Type"] and "Index Cond" not in node)
    if reads and ("deliveries" in what or "follows" in what) and not WAITING.search(what):
        found.append(f"{node['Node Type']} {what}")
    return found


@pytest.mark.both_databases
async def test_nothing_that_is_done_again_and_again_reads_all_deliveries(
    tmp_path: Path, database_url: str
) -> None:
    # The committee meets weekly, so that invitations wait for the meeting before.
    committee = replace(SERIES, slug="committee", rule="FREQ=WEEKLY;BYDAY=FR", by_choice=True)
    async with open_installation(tmp_path, NOW, url=database_url, series=(SERIES, committee)) as installation:
        await installation.join(*((name, "Europe/London") for name in ("Ann", "Bo", "Cy", "Di", "Ed", "Flo")))
        await installation.tick()
        await add_history(installation)
        with noted(installation.database) as statements:
            await live_a_month(installation)
        assert len(statements) > 40, "too little was noted"
        if installation.database.is_sqlite:
            statements[claims.SENT_IN_SQLITE] = {"ids": "[1]", "run_id": "run", "sent": 0}
        # Who follows a series by choice is found without a look at other members.
        assert any("FROM members JOIN follows" in statement for statement in statements)
        whole = {}
        async with installation.database.write() as connection:
            if not installation.database.is_sqlite:
                # Of so few rows it may well prefer to read all: whether it could do without is the question.
                await connection.execute(text("SET LOCAL enable_seqscan = off"))
            for statement, given in statements.items():
                if installation.database.path:
                    found = scans_of_sqlite(installation.database.path, statement, given)
                else:
                    found = scans_of_postgresql(await plan_of_postgresql(connection, statement, given))
                if found:
                    whole[statement] = found
        assert not whole, "\n\n".join(f"{statement[:1_000]}\n{found}" for statement, found in whole.items())


def looks_at_members(node: dict[str, Any]) -> list[str]:
    """Steps of a plan of PostgreSQL that read all members, or those of a zone."""
    found = [step for below in node.get("Plans", []) for step in looks_at_members(below)]
    what = f"{node['Node Type']} {node.get('Relation Name')} {node.get('Index Name', '')}"
    if what.startswith("Seq Scan members") or "ix_members_zone" in what:
        found.append(what)
    return found


@pytest.mark.both_databases
async def test_a_series_that_few_chose_is_planned_without_a_look_at_other_members(
    tmp_path: Path, database_url: str
) -> None:
    committee = replace(SERIES, slug="committee", rule="FREQ=WEEKLY;BYDAY=FR", by_choice=True)
    async with open_installation(tmp_path, NOW, url=database_url, series=[committee]) as installation:
        await installation.tick()
        await installation.join(*((f"Member {number}", "Europe/London") for number in range(3_000)))
        await installation.join(("Ann", "Europe/London"), ("Bo", "Asia/Kolkata"))

        async def choose(name: str) -> None:
            async with installation.database.write() as connection:
                member = await members.by_key(connection, address_of(name))
                assert member
                now = installation.clock.now()
                await follow(connection, member, {"committee": True}, all_series=[committee], now=now)

        await choose("Member 7")
        await choose("Ann")
        await installation.tick()
        if not installation.database.is_sqlite:
            async with installation.database.write() as connection:
                await connection.execute(text("ANALYZE"))
        with noted(installation.database) as statements:
            # The fan-outs at due instants, those for latecomers after a meeting, daily looks and plans.
            for days in range(1, 16):
                if days == 5:
                    await choose("Bo")
                await installation.live(NOW + timedelta(days=days))
                now = installation.clock.now()
                await forecast(
                    installation.database,
                    series=[committee],
                    policies=POLICIES,
                    since=now,
                    until=now + timedelta(days=42),
                    now=now,
                )
        rows = list(await installation.reports(kind="invitation", state="sent"))
        assert {row.name for row in rows} == {"Member 7", "Ann", "Bo"}
        looks = {}
        async with installation.database.write() as connection:
            if not installation.database.is_sqlite:
                await connection.execute(text("SET LOCAL enable_seqscan = off"))
            for statement, given in statements.items():
                if installation.database.path:
                    steps = steps_of_sqlite(installation.database.path, statement, given)
                    found = [
                        step
                        for step in steps
                        if re.match(r"(SCAN|SEARCH) members\b", step)
                        if not re.search(r"\((rowid=|changed>|suppressed_at>)", step)
                    ]
                else:
                    found = looks_at_members(await plan_of_postgresql(connection, statement, given))
                if found:
                    looks[statement] = found
        assert not looks, "\n\n".join(f"{statement[:1_500]}\n{found}" for statement, found in looks.items())


async def test_a_claim_on_postgresql_reads_only_deliveries_of_its_chunk_and_members(
    tmp_path: Path, copy_postgres: CopyDatabase
) -> None:
    """As PostgreSQL plans it, with what it knows about many deliveries: it expected to find a welcome mail, of which
    there was none, by reading a few of all deliveries."""
    async with open_installation(tmp_path, NOW, url=await copy_postgres()) as installation:
        await installation.tick()
        await installation.join(*((f"Member {number}", "Europe/London") for number in range(1_500)))
        installation.clock.pass_until(datetime(2026, 11, 5, 9, tzinfo=UTC))
        await installation.planner.tick()
        async with installation.database.write() as connection:
            await connection.execute(text("ANALYZE"))
        async with installation.database.write() as connection:
            (chunk, *_) = await claims.open_chunks(connection, installation.clock.now())
            with noted(installation.database) as statements:
                claimed = await connection.run_sync(
                    claims.claim, chunk, run="run", now=installation.clock.now(), limit=5
                )
            assert len(claimed) == 5
            found = [
                step
                for statement, given in statements.items()
                for step in scans_of_postgresql(await plan_of_postgresql(connection, statement, given))
            ]
        # The other tables are empty.
        assert not [step for step in found if " deliveries" in step]


def whole_reads_of_sqlite(path: Path, statement: str, given: Any) -> list[str]:
    """Steps of a plan that read all meetings, apart from the years, which an index alone holds."""
    return [
        step
        for step in steps_of_sqlite(path, statement, given)
        if re.match(r"SCAN (archive_entries|occurrences|meeting_\w+|archive_\w+)\b", step)
        # In the order of starts it is read up to the limit.
        if not re.search("COVERING INDEX|VIRTUAL TABLE|ix_archive_entries_starts", step)
    ]


def whole_reads_of_postgresql(node: dict[str, Any]) -> list[str]:
    found = [step for below in node.get("Plans", []) for step in whole_reads_of_postgresql(below)]
    table = str(node.get("Relation Name", ""))
    if node["Node Type"] == "Seq Scan" and table.startswith(("archive_", "occurrences", "meeting_")):
        found.append(f"Seq Scan {table}")
    return found


@pytest.mark.both_databases
async def test_no_page_of_the_archive_reads_all_meetings(tmp_path: Path, database_url: str) -> None:
    async with open_installation(tmp_path, NOW, url=database_url) as installation:
        await installation.tick()
        database, key = installation.database, "conversation-for-kindness/2021-05-20"
        change = Change(topic="Clean language", speakers="Ann Lee", materials="https://example.org/")
        await amend(database, installation.by_slug, key, change, now=NOW)
        with noted(database, r"\b(archive_\w+|occurrences|meeting_\w+)\b") as statements:
            for asked in (
                archive.Request(),
                archive.Request(year=2021),
                archive.Request(typed="clen langage"),
            ):
                assert await archive.read_archive(database, asked, now=NOW)
            assert await archive.read_speaker(database, "ann-lee", page=1, now=NOW)
            await archive.series_archive(database, SERIES, year=None, now=NOW)
            await archive.latest(database, now=NOW)
            meeting = await read_meeting(database, installation.by_slug, key, now=NOW)
            assert meeting
            await archive.read_details(database, meeting, now=NOW)
            await outlook(database, installation.series, now=NOW, until=NOW + timedelta(days=90))
        assert len(statements) > 15, "too little was noted"
        whole = {}
        async with database.write() as connection:
            if not database.is_sqlite:
                await connection.execute(text("SET LOCAL enable_seqscan = off"))
            for statement, given in statements.items():
                if database.path:
                    found = whole_reads_of_sqlite(database.path, statement, given)
                else:
                    found = whole_reads_of_postgresql(await plan_of_postgresql(connection, statement, given))
                if found:
                    whole[statement] = found
        assert not whole, "\n\n".join(f"{statement[:1_000]}\n{found}" for statement, found in whole.items())
