"""Backups by a real `serve`: killed in the middle of one, and on a disk that is full."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from scheduler.store import backups
from tests.chaos.faults import Installation, Relay, fill, installed, small_disk, until

pytestmark = pytest.mark.proof

MEMBERS = 3_000
KEEP = 3
KILLS = 4


@asynccontextmanager
async def backing_up(folder: Path, place: Path) -> AsyncIterator[tuple[Relay, Installation]]:
    """An installation with members that makes a backup every second."""
    async with Relay() as relay, installed(folder, f"smtp://127.0.0.1:{relay.port}") as installation:
        installation.more |= {
            "THIRD_THURSDAY_BACKUP__FOLDER": str(place),
            "THIRD_THURSDAY_BACKUP__EVERY": "1s",
            "THIRD_THURSDAY_BACKUP__KEEP": str(KEEP),
        }
        yield relay, installation


def complete(place: Path) -> list[Path]:
    return sorted([*place.glob("*.sqlite"), *place.glob("*.dump")]) if place.exists() else []


def is_making(place: Path, before: list[Path]) -> bool:
    """Return whether a backup is being made, for which there is a draft then, or has just been made."""
    return (place.exists() and any(place.glob(".*"))) or complete(place) != before


async def test_killed_at_any_moment_of_a_backup_no_half_file_is_taken_for_one(tmp_path: Path) -> None:
    place = tmp_path / "backups"
    chance = random.Random(19)
    async with backing_up(tmp_path, place) as (_, installation):
        await installation.join(MEMBERS)
        for _ in range(KILLS):
            await installation.start()
            await until(partial(is_making, place, complete(place)))
            await asyncio.sleep(chance.random() * 0.05)
            await installation.kill()
            for file in complete(place):
                backups.require_backup(file)
        await installation.start()
        newest = complete(place)[-1:]
        await until(lambda: complete(place)[-1:] != newest)
        await installation.all_sent(MEMBERS)
        await installation.drain()
        assert [file.name for file in place.iterdir() if file not in complete(place)] == []
        assert len(complete(place)) <= KEEP
        code, out, err = await installation.command("rehearse")
        assert (code, err) == (0, ""), err
        assert "members active" in out and "all is well" in out


async def test_a_full_disk_for_backups_stops_no_mail_and_ends_by_itself(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        place = disk / "backups"
        filler = fill(disk)
        async with backing_up(tmp_path, place) as (relay, installation):
            await installation.join(200)
            await installation.start()
            await until(lambda: installation.logged("backup-failed"))
            await installation.all_sent(200)
            await installation.well()
            assert complete(place) == []
            filler.unlink()
            await until(lambda: len(complete(place)) == KEEP)
            for _ in range(20):
                fill(disk)
                await asyncio.sleep(0.1)
            for file in complete(place):
                backups.require_backup(file)
            relay.verdict(200)
            await installation.drain()
        assert not list(place.glob(".*"))


async def test_killed_at_any_moment_of_a_dump_of_postgresql_no_half_file_is_taken_for_one(
    tmp_path: Path, postgres_url: str, program: Callable[[str], str]
) -> None:
    program("pg_dump")
    place = tmp_path / "backups"
    async with backing_up(tmp_path, place) as (_, installation):
        installation.url = postgres_url
        await installation.join(300)
        for _ in range(KILLS // 2):
            await installation.start()
            await until(partial(is_making, place, complete(place)))
            await installation.kill()
        await installation.start()
        newest = complete(place)[-1:]
        await until(lambda: complete(place)[-1:] != newest)
        await installation.drain()
        assert 1 <= len(complete(place)) <= KEEP
        expected = {*complete(place), *(file.with_name(f"{file.name}.json") for file in complete(place))}
        assert set(place.iterdir()) == expected
        for file in complete(place):
            code, out, err = await installation.command("rehearse", "--file", str(file))
            assert (code, err) == (0, "")
            assert "300  members active" in out
