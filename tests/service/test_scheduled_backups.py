"""Backups that the service makes by itself: when, how, which ones it deletes, and what it says if none succeeds."""

import asyncio
import io
import shutil
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyrage
import pytest

from scheduler.service import health
from scheduler.service.scheduled_backups import (
    BackupPlan,
    ScheduledBackups,
    backup_warnings,
    forget_backups,
    setup_problem,
)
from scheduler.service.sending_pause import CLOCK_AHEAD, RESTORED, end_sending_pause, pause_sending
from scheduler.store import backups, service_state
from scheduler.store.database import Database
from tests.installation import COMMUNITY, Installation, open_installation

NOW = datetime(2026, 11, 4, 12, tzinfo=UTC)
DAY = timedelta(days=1)
DOMAIN = COMMUNITY.domain


@pytest.fixture
async def installation(tmp_path: Path) -> AsyncIterator[Installation]:
    async with open_installation(tmp_path, NOW) as installation:
        await installation.join(("Ann", "Europe/London"), ("Bo", "Europe/Paris"))
        yield installation


def plan(
    installation: Installation, *, keep: int = 3, every: timedelta = DAY, recipient: str = ""
) -> BackupPlan:
    folder = installation.folder / "backups"
    return BackupPlan(folder=folder, domain=DOMAIN, every=every, keep=keep, recipient=recipient)


def scheduled(installation: Installation, of: BackupPlan) -> ScheduledBackups:
    return ScheduledBackups(installation.database, installation.clock, of, keys=installation.keys)


def names(of: BackupPlan) -> list[str]:
    return sorted(file.name for file in of.folder.iterdir())


def name(day: int, kind: str = "sqlite", hour: int = 12) -> str:
    return f"{DOMAIN}-202611{day:02}T{hour:02}0000Z.{kind}"


async def trouble(installation: Installation) -> str:
    state = await health.health(installation.database, installation.clock.now())
    return state.unbacked


async def test_a_backup_is_made_at_once_and_then_when_its_time_has_come(installation: Installation) -> None:
    of = plan(installation)
    making = scheduled(installation, of)
    assert await making.look() == of.folder / name(4)
    assert await making.look() is None
    installation.clock.pass_(timedelta(hours=23, minutes=59))
    assert await scheduled(installation, of).look() is None, "a restart makes none"
    installation.clock.pass_(timedelta(minutes=1))
    assert await making.look() == of.folder / name(5)
    assert names(of) == [name(4), name(5)]
    assert of.folder.stat().st_mode & 0o777 == 0o700
    for file in of.folder.iterdir():
        assert file.stat().st_mode & 0o777 == 0o600
    record = backups.read_record(of.folder / name(4))
    assert record.made_at == NOW
    assert record.key == installation.keys.secret
    assert record.counts == {"members active": 2}


async def test_only_the_newest_are_kept_and_nothing_but_our_own_is_deleted(
    installation: Installation,
) -> None:
    of = plan(installation, keep=2)
    of.folder.mkdir(mode=0o700)
    foreign = [
        "notes.txt",
        "other.example.org-20200101T000000Z.sqlite",
        f"x{name(1)}",
        f"{name(1)}.old",
        f"{DOMAIN}-20261301T000000Z.sqlite",
        f"{DOMAIN}-20200101.sqlite",
        f"{DOMAIN}-20200101T000000Z.zip",
    ]
    for other in foreign:
        (of.folder / other).write_text("mine")
    (of.folder / name(1)).mkdir()
    outside = installation.folder / "outside"
    outside.write_text("mine")
    (of.folder / name(2)).symlink_to(outside)
    making = scheduled(installation, of)
    for _ in range(5):
        assert await making.look()
        installation.clock.pass_(DAY)
    assert names(of) == sorted([*foreign, name(1), name(2), name(7), name(8)])
    assert outside.read_text() == "mine"


async def test_the_backups_of_a_new_database_push_out_those_of_the_former_one_only_after_a_month(
    installation: Installation,
) -> None:
    """As after a start without the disk on which the database is."""
    of = plan(installation)
    of.folder.mkdir(mode=0o700)
    former = [name(1), name(2), name(3)]
    for file in former:
        (of.folder / file).write_text("the right one")
    making = scheduled(installation, of)
    for _ in range(6):
        assert await making.look()
        installation.clock.pass_(DAY)
    assert names(of) == [*former, name(7), name(8), name(9)]
    installation.clock.pass_(30 * DAY)
    assert await making.look()
    assert len(names(of)) == 3 and not set(former) & set(names(of))


async def test_what_a_killed_process_left_is_never_a_backup_and_is_cleared_away(
    installation: Installation,
) -> None:
    of = plan(installation)
    of.folder.mkdir(mode=0o700)
    halves = [
        of.folder / f".{name(3)}.4711",
        of.folder / f".{name(3)}.4711-journal",
        of.folder / f".{name(3, 'dump.age')}.json.4711",
        of.folder / f"{name(3, 'dump')}.json",
        installation.folder / f".{name(3, 'sqlite.age')}.815",
    ]
    for half in halves:
        half.write_text("half")
    assert of.place.backups() == []
    assert await scheduled(installation, of).look()
    assert not [half for half in halves if half.exists()]
    assert names(of) == [name(4)]


async def test_an_encrypted_backup_needs_the_secret_key_and_leaves_nothing_readable(
    installation: Installation,
) -> None:
    identity = pyrage.x25519.Identity.generate()
    of = plan(installation, recipient=str(identity.to_public()))
    before = {file.name for file in installation.folder.iterdir()}
    file = await scheduled(installation, of).look()
    assert file and names(of) == [name(4, "sqlite.age")]
    data = file.read_bytes()
    assert data.startswith(b"age-encryption.org/v1") and b"ann@example.org" not in data
    plain = io.BytesIO()
    pyrage.decrypt_io(io.BytesIO(data), plain, [identity])
    assert plain.getvalue().startswith(b"SQLite format 3") and b"ann@example.org" in plain.getvalue()
    assert {file.name for file in installation.folder.iterdir()} - before == {"backups"}


async def test_a_wrong_clock_makes_and_deletes_no_backup(installation: Installation) -> None:
    of = plan(installation, keep=1)
    making = scheduled(installation, of)
    assert await making.look()
    installation.clock.jump(timedelta(days=4000))
    async with installation.database.write() as connection:
        await pause_sending(connection, CLOCK_AHEAD, installation.clock.now())
    assert await making.look() is None
    assert names(of) == [name(4)]
    async with installation.database.write() as connection:
        await end_sending_pause(connection)
        await pause_sending(connection, RESTORED, installation.clock.now())
    assert await making.look(), "other pauses do not stop backups"


async def test_a_backup_from_the_future_does_not_push_out_the_present_ones(
    installation: Installation,
) -> None:
    of = plan(installation, keep=2)
    of.folder.mkdir(mode=0o700)
    future = f"{DOMAIN}-20400101T000000Z.sqlite"
    (of.folder / future).write_text("made by a wrong clock")
    making = scheduled(installation, of)
    for _ in range(3):
        assert await making.look()
        installation.clock.pass_(DAY)
    assert names(of) == [name(5), name(6), future]


async def test_none_for_two_days_is_a_trouble_that_ends_with_the_next_one(installation: Installation) -> None:
    of = plan(installation)
    of.folder.write_text("a file in its place")
    making = scheduled(installation, of)
    assert await making.look() is None
    installation.clock.pass_(2 * DAY - timedelta(minutes=1))
    assert await making.look() is None
    assert await trouble(installation) == ""
    installation.clock.pass_(timedelta(minutes=11))
    assert await making.look() is None
    words = await trouble(installation)
    assert words == (
        f"no backup has succeeded for 2 days: [backup] folder: {of.folder} is not a folder; name another"
    )
    async with installation.database.read() as connection:
        present = await health.troubles(connection, installation.clock.now(), late=DAY)
    assert present == {"backup": words}
    assert not [
        line
        for line in await health.unready(installation.database, installation.clock.now())
        if "backup" in line
    ]
    of.folder.unlink()
    installation.clock.pass_(timedelta(minutes=11))
    assert await making.look()
    assert await trouble(installation) == ""


async def test_a_failure_is_retried_later_and_not_at_every_look(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = plan(installation)
    tries = 0

    def full(*_: object) -> None:
        nonlocal tries
        tries += 1
        raise OSError(28, "No space left on device")

    making = scheduled(installation, of)
    with monkeypatch.context() as patch:
        patch.setattr(backups, "write_backup", lambda *_, **__: full())
        assert await making.look() is None
        installation.clock.pass_(timedelta(minutes=9))
        assert await making.look() is None
        assert tries == 1
        installation.clock.pass_(timedelta(minutes=1))
        assert await making.look() is None
        assert tries == 2
    assert names(of) == []
    installation.clock.pass_(timedelta(minutes=10))
    assert await making.look()


async def test_a_disk_that_would_be_filled_is_left_alone(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = plan(installation)
    usage = shutil.disk_usage(installation.folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: usage._replace(free=100_000))
    assert await scheduled(installation, of).look() is None
    async with installation.database.read() as connection:
        known = await service_state.read(connection, service_state.BACKUPS)
    assert "there is not enough space" in known["error"]
    assert names(of) == []


async def test_a_damaged_database_gives_no_backup(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = plan(installation)
    copy = backups.write_backup

    def damaged(source: Path, draft: Path, *, key: bytes, now: datetime) -> None:
        copy(source, draft, key=key, now=now)
        whole = draft.read_bytes()
        draft.write_bytes(whole[:20_000] + b"\xa5" * 40_000 + whole[60_000:])

    monkeypatch.setattr(backups, "write_backup", damaged)
    assert await scheduled(installation, of).look() is None
    assert names(of) == []


@pytest.mark.parametrize(
    ("mode", "content", "words"),
    [
        (0o755, "notes.txt", "others can read"),
        (0o750, "notes.txt", "chmod 700"),
        (0o777, name(1), ""),
        (0o755, "", ""),
        (0o700, "notes.txt", ""),
    ],
)
async def test_a_folder_that_others_can_read_is_closed_or_refused(
    installation: Installation, mode: int, content: str, words: str
) -> None:
    of = plan(installation)
    of.folder.mkdir()
    of.folder.chmod(mode)
    if content:
        (of.folder / content).write_text("x")
    problem = setup_problem(installation.database, of)
    assert words in problem and bool(words) == bool(problem)
    file = await scheduled(installation, of).look()
    assert bool(file) != bool(words)
    assert of.folder.stat().st_mode & 0o777 == (mode if words else 0o700)


async def test_a_folder_that_cannot_be_made_is_said(installation: Installation) -> None:
    of = replace(plan(installation), folder=installation.folder / "test.sqlite" / "below" / "backups")
    assert "cannot be created in" in setup_problem(installation.database, of)
    assert await scheduled(installation, of).look() is None


async def test_two_services_with_one_folder_make_one_backup(installation: Installation) -> None:
    of = plan(installation)
    made = await asyncio.gather(*(scheduled(installation, of).look() for _ in range(4)))
    assert len([file for file in made if file]) == 1
    assert names(of) == [name(4)]


async def test_no_warning_without_backups_and_one_when_none_was_rehearsed(installation: Installation) -> None:
    async def warning() -> str:
        async with installation.database.read() as connection:
            return "; ".join(await backup_warnings(connection, installation.clock.now()))

    assert await warning() == ""
    await scheduled(installation, plan(installation)).look()
    assert "has been rehearsed yet" in await warning()
    async with installation.database.write() as connection:
        await service_state.write(connection, service_state.REHEARSED, installation.clock.now())
    installation.clock.pass_(timedelta(days=89))
    assert await warning() == ""
    installation.clock.pass_(DAY)
    assert "no backup has been rehearsed for 90 days" in await warning()


async def test_without_backups_in_the_settings_no_trouble_is_left_behind(installation: Installation) -> None:
    await scheduled(installation, plan(installation)).look()
    installation.clock.pass_(timedelta(days=3))
    assert "for 3 days" in await trouble(installation)
    await forget_backups(installation.database)
    assert await trouble(installation) == ""


async def test_a_backup_holds_a_state_of_one_moment_while_others_write(installation: Installation) -> None:
    other = Database(f"sqlite:///{installation.folder / 'test.sqlite'}")
    of = plan(installation, every=timedelta(seconds=1), keep=50)
    making = scheduled(installation, of)
    for number in range(10):
        _, file = await asyncio.gather(installation.join((f"M{number}", "Europe/London")), making.look())
        assert file
        record = backups.read_record(file)
        assert record.counts == backups.count_rows(file)
        installation.clock.pass_(timedelta(seconds=1))
    await other.close()
    with sqlite3.connect(of.folder / names(of)[-1]) as copy:
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    copy.close()


async def test_a_failure_is_a_warning_before_it_is_a_trouble(installation: Installation) -> None:
    of = plan(installation)
    of.folder.write_text("a file in its place")
    assert await scheduled(installation, of).look() is None
    async with installation.database.read() as connection:
        (warning,) = await backup_warnings(connection, installation.clock.now())
        assert "the last backup failed: [backup] folder" in warning
        assert await backup_warnings(connection, installation.clock.now() + 2 * DAY) == []


async def test_after_a_restore_the_backups_in_the_folder_still_count(installation: Installation) -> None:
    of = plan(installation)
    making = scheduled(installation, of)
    assert await making.look()
    async with installation.database.read() as connection:
        before = await service_state.read(connection, service_state.BACKUPS)
    installation.clock.pass_(3 * DAY)
    assert await making.look()
    async with installation.database.write() as connection:
        await service_state.write(connection, service_state.BACKUPS, before)
    assert "for 3 days" in await trouble(installation)
    assert await making.look() is None
    assert await trouble(installation) == ""
