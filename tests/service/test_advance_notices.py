"""Convenors are told once, in advance, what a policy sends to how many and when, and that a meeting has no room."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path

import pytest

from scheduler.domain.policy import Kind, Policy
from scheduler.service.holds import hold
from scheduler.service.notices import stop
from scheduler.service.occurrences import Change, amend
from scheduler.store import notices
from tests.conftest import CopyDatabase
from tests.installation import DAY_BEFORE, HOUR_BEFORE, INVITATION, SERIES, Installation, open_installation

KEY = "conversation-for-kindness/2026-11-19"
DAY = timedelta(days=1)


def at(day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2026, 11, day, hour, minute, tzinfo=UTC)


async def fill(url: str, folder: Path) -> None:
    async with open_installation(folder, at(1, 12), url=url) as installation:
        await installation.tick()
        await installation.join(
            ("Ann", "America/New_York"),
            ("Bo", "Pacific/Auckland"),
            ("Cy", "Europe/London"),
            ("Di", "Europe/London"),
        )
        await installation.change("Ann", role="convenor")
        await installation.change("Bo", role="convenor")
        await installation.change("Di", role="helper")


@pytest.fixture
async def installation(tmp_path: Path, copy_sqlite: CopyDatabase) -> AsyncIterator[Installation]:
    """Two convenors and a helper, four days before the first invitation."""
    async with open_installation(tmp_path, at(1, 12), url=await copy_sqlite(fill)) as installation:
        begin(installation)
        yield installation


@pytest.fixture
async def on_both(tmp_path: Path, copy_database: CopyDatabase) -> AsyncIterator[Installation]:
    async with open_installation(tmp_path, at(1, 12), url=await copy_database(fill)) as installation:
        begin(installation)
        yield installation


def begin(installation: Installation, **changes: object) -> None:
    """Let the service start again with these changes, and with mails a day in advance."""
    installation.preflight = DAY
    for name, value in changes.items():
        setattr(installation, name, value)
    installation.restart()


async def told(installation: Installation, kind: Kind = Kind.PREFLIGHT) -> list[tuple[str, datetime]]:
    """Who was sent such a mail, and when."""
    rows = await installation.reports(kind=kind, state="sent")
    return sorted((row.name, row.sent_at) for row in rows if row.sent_at)


def texts(installation: Installation, subject: str) -> list[str]:
    found = [mail for mail in installation.mails() if subject in str(mail["Subject"])]
    return [_text(mail) for mail in found]


def _text(mail: EmailMessage) -> str:
    body = mail.get_body(("plain",))
    assert body
    return str(body.get_content())


async def test_each_convenor_is_told_once_a_day_before_the_first_zone_of_each_mail(
    on_both: Installation,
) -> None:
    installation = on_both
    await installation.live(at(20, 12), idle=timedelta(hours=6))
    expected = [at(4, 9), at(17, 9), at(18, 17)]
    assert await told(installation) == [(name, instant) for name in ("Ann", "Bo") for instant in expected]
    first = texts(installation, "Before it goes out: the invitation to Conversation for Kindness")[0]
    assert "on 19 November 2026 goes to 4 members." in first
    assert (
        "It leaves two weeks" not in first and "14 days before, at 09:00 by each member's own clock" in first
    )
    assert (
        "from Thursday 5 November 2026, 04:00 in New York (Thursday 5 November 2026, 09:00 in London)"
        in first
    )
    assert "Still missing: the topic." in first and "the link to the room" not in first
    assert "> Subject: Conversation for Kindness: Thursday 19 November, 13:00 New York (UTC-5)" in first
    assert "> Dear Ann," in first and "[each member's own link]" in first
    assert "https://meet.example.org/convenor/planned/" in first and "/go/" not in first
    unsubscribable = [mail for mail in installation.mails() if mail["List-Unsubscribe"]]
    assert not any("Before it goes out" in str(mail["Subject"]) for mail in unsubscribable)


async def test_a_restart_before_during_or_after_tells_nobody_twice(installation: Installation) -> None:
    await installation.live(at(4, 8))
    begin(installation)
    installation.clock.pass_until(at(4, 9))
    await installation.planner.tick()
    begin(installation)
    await installation.tick()
    begin(installation)
    await installation.live(at(4, 20))
    assert await told(installation) == [("Ann", at(4, 9)), ("Bo", at(4, 9))]


async def test_what_becomes_known_late_is_told_at_once_if_there_is_time_and_waits_for_nobody(
    installation: Installation,
) -> None:
    await installation.live(at(10, 12))
    invited = await installation.reports(kind=Kind.INVITATION, state="sent")
    before = await told(installation)
    soon = Policy(slug="soon", kind=Kind.REMINDER, lead=timedelta(days=9))
    sooner = Policy(slug="sooner", kind=Kind.REMINDER, lead=timedelta(days=9, hours=5, minutes=51))
    begin(installation, policies=(INVITATION, soon, sooner))
    await installation.live(at(11, 12))
    assert len(invited) == 4
    assert [row for row in await told(installation) if row not in before] == [
        ("Ann", at(10, 12)),
        ("Bo", at(10, 12)),
    ]
    assert {row.sent_at for row in await installation.reports(policy="soon", state="sent")} == {at(10, 18)}
    assert {row.sent_at for row in await installation.reports(policy="sooner", state="sent")} == {
        at(10, 12, 9)
    }


async def test_a_moved_meeting_is_told_anew_and_a_cancelled_one_no_more(installation: Installation) -> None:
    installation.policies = (HOUR_BEFORE,)
    begin(installation)
    await installation.live(at(18, 18))
    for change in (Change(move_to=datetime(2026, 11, 20, 18)), Change(cancel=True)):
        await amend(installation.database, installation.by_slug, KEY, change, now=installation.clock.now())
        await installation.live(installation.clock.now() + DAY)
    assert await told(installation) == [
        (name, instant) for name in ("Ann", "Bo") for instant in (at(18, 17), at(19, 17))
    ]
    found = texts(installation, "the reminder of")
    assert any("Friday 20 November 2026, 12:00 in New York" in text for text in found)


async def test_what_could_not_be_sent_is_withdrawn_when_it_is_no_longer_true(
    installation: Installation,
) -> None:
    installation.policies = (HOUR_BEFORE,)
    begin(installation)
    await installation.live(at(18, 16))
    installation.clock.pass_until(at(18, 17))
    await installation.planner.tick()
    for change, state in (
        (Change(cancel=True), "withdrawn: no longer true"),
        (Change(restore=True), "queued"),
    ):
        await amend(installation.database, installation.by_slug, KEY, change, now=installation.clock.now())
        await installation.planner.tick()
        assert set((await installation.states(kind=Kind.PREFLIGHT)).values()) == {state}


async def test_what_a_convenor_stopped_is_not_queued_again_when_it_becomes_true_again(
    installation: Installation,
) -> None:
    installation.policies = (HOUR_BEFORE,)
    begin(installation)
    await installation.live(at(18, 16))
    installation.clock.pass_until(at(18, 17))
    await installation.planner.tick()
    (row, _) = await installation.reports(kind=Kind.PREFLIGHT)
    await stop(installation.database, row.notice, installation.clock.now())
    for change in (Change(cancel=True), Change(restore=True)):
        await amend(installation.database, installation.by_slug, KEY, change, now=installation.clock.now())
        await installation.planner.tick()
        assert set((await installation.states(kind=Kind.PREFLIGHT)).values()) == {"withdrawn: stopped"}


async def test_a_mail_on_hold_is_told_as_such_and_one_for_nobody_or_without_the_setting_not_at_all(
    installation: Installation,
) -> None:
    await installation.live(at(2, 12))
    async with installation.database.read() as connection:
        number = max(one.id for one in await notices.about(connection, KEY) if one.kind is Kind.INVITATION)
    await hold(installation.database, number, now=installation.clock.now())
    await installation.live(at(4, 12))
    (first, _) = texts(installation, "On hold: the invitation")
    assert "As soon as a convenor releases it, it goes to 4 members." in first
    before = await told(installation)
    for name in ("Ann", "Bo", "Cy", "Di"):
        await installation.answer(name, KEY, "declined")
    await installation.live(at(17, 12))
    begin(installation, policies=(INVITATION, DAY_BEFORE), preflight=None)
    for name in ("Ann", "Bo", "Cy", "Di"):
        await installation.answer(name, KEY, "coming")
    await installation.live(at(18, 12))
    assert await told(installation) == before


@pytest.mark.both_databases
async def test_convenors_are_told_a_day_and_two_hours_before_a_meeting_that_has_no_room(
    on_both: Installation,
) -> None:
    installation = on_both
    begin(installation, policies=(), series=(replace(SERIES, link=""),))
    await installation.live(at(20, 12))
    assert await told(installation, Kind.ROOM_MISSING) == [
        (name, instant) for name in ("Ann", "Bo") for instant in (at(18, 18), at(19, 16))
    ]
    first = texts(installation, "No link to the room yet")[0]
    assert "13:00 to 14:00 in New York" in first and "In London: Thursday 19 November 2026, 18:00" in first
    assert f"https://meet.example.org/convenor/meetings/{KEY}" in first


async def test_once_the_room_is_known_convenors_are_not_told_again(installation: Installation) -> None:
    begin(installation, policies=(), series=(replace(SERIES, link=""),))
    await installation.live(at(18, 20))
    change = Change(link="https://room.example.org/other")
    await amend(installation.database, installation.by_slug, KEY, change, now=installation.clock.now())
    await installation.live(at(20, 12))
    assert {instant for _, instant in await told(installation, Kind.ROOM_MISSING)} == {at(18, 18)}
