"""A disk that is full, fails or becomes read-only: one line says so, no mail is lost, and sending resumes by itself."""

import os
import resource
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from tests.chaos.faults import (
    Installation,
    Relay,
    do_as_root,
    exclusive_mounts,
    fill,
    installed,
    small_disk,
    until,
    webhook,
)
from tests.chaos.killing import CONNECTIONS
from tests.conftest import FORBIDDEN

pytestmark = pytest.mark.proof

MEMBERS = 120
FAULT_AT = 20
JOIN_FORM = {
    "name": "Maya",
    "email": "maya@example.org",
    "country": "NZ",
    "zone": "Pacific/Auckland",
    "locale": "en",
    "words": "I like to listen.",
    "consent": "yes",
    "confirmed": "Pacific/Auckland",
}


@asynccontextmanager
async def filling(folder: Path, **settings: str) -> AsyncIterator[tuple[Path, Relay, Installation]]:
    """A disk that becomes full after some mails, the relay, and an installation with its database on that disk."""
    with small_disk(folder / "disk") as disk:

        async def then() -> None:
            fill(disk)

        async with Relay(at=FAULT_AT, then=then) as relay:
            address = f"smtp://127.0.0.1:{relay.port}"
            async with installed(
                folder, address, database=disk / "faults.sqlite", **settings
            ) as installation:
                yield disk, relay, installation


@pytest.mark.short
async def test_a_disk_that_is_full_between_a_250_and_its_settlement_stops_sending_until_there_is_space(
    tmp_path: Path,
) -> None:
    async with (
        webhook() as (url, alerts),
        filling(tmp_path, THIRD_THURSDAY_WATCH__WEBHOOK=url) as (disk, relay, installation),
    ):
        await installation.join(MEMBERS)
        await installation.start()
        await installation.not_ready("the disk is full")
        assert (
            "settling-failed" in installation.log and "the disk is full: make space on it" in installation.log
        )
        code, out, _ = await installation.command("status")
        assert code == 1 and "trouble:     the disk is full: make space on it\n" in out
        code, _, err = await installation.command("members", "pause", "m1@example.org")
        assert (code, err) == (1, "third-thursday: the disk is full: make space on it; then try again\n")
        code, _, err = await installation.command("backup", str(disk / "copy"))
        assert (
            code == 1 and err.count("\n") == 1 and "free some space" in err and not (disk / "copy").exists()
        )
        await until(lambda: alerts)
        page = await installation.answer("/join", JOIN_FORM)
        assert page.status_code == 503 and "Try again in a few minutes" in page.text
        assert (await installation.answer("/")).status_code == 200
        assert len(relay.taken) <= FAULT_AT + CONNECTIONS, (
            "a connection sent a message before its last one was settled"
        )
        (disk / "filler").unlink()
        await installation.all_sent(MEMBERS)
        relay.verdict(MEMBERS)
        await installation.well()
        await until(lambda: len(alerts) == 2)
        assert [(alert["trouble"], alert["event"]) for alert in alerts] == [
            ("database", "begins"),
            ("database", "ended"),
        ]
        assert "the disk is full: make space on it" in alerts[0]["text"]
        assert installation.logged("settling-works-again") == installation.logged("settling-failed") == 1
        await installation.drain()


@pytest.mark.short
async def test_a_service_killed_on_a_full_disk_repeats_only_what_its_connections_had_not_recorded(
    tmp_path: Path,
) -> None:
    async with filling(tmp_path) as (disk, relay, installation):
        await installation.join(MEMBERS)
        await installation.start()
        await installation.not_ready("the disk is full")
        await installation.kill()
        code, _, err = await installation.command("serve")
        assert (code, err) == (1, "third-thursday: the disk is full: make space on it; then try again\n")
        (disk / "filler").unlink()
        await installation.start()
        await installation.all_sent(MEMBERS)
        relay.verdict(MEMBERS, repeats=CONNECTIONS)
        await installation.drain()


@pytest.mark.short
async def test_on_a_full_disk_no_command_starts_and_a_line_says_why(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        fill(disk)
        async with installed(tmp_path, "maildir:mail", database=disk / "faults.sqlite") as installation:
            for command in ("serve", "status", "migrate"):
                code, _, err = await installation.command(command)
                assert code == 1 and err.count("\n") == 1 and "full" in err, err


def refuse(pid: int, *, most: int = 0) -> None:
    """Let the system refuse all writes of `serve` and its web process to files beyond `most` bytes, even to the log."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for process in (pid, *map(int, children)):
        resource.prlimit(process, resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))


@pytest.mark.short
async def test_a_disk_that_is_full_for_a_while_even_for_the_log_loses_no_mail(
    tmp_path: Path,
) -> None:
    async def then() -> None:
        assert installation.serve
        refuse(installation.serve.pid)

    async with (
        Relay(at=FAULT_AT, then=then) as relay,
        installed(tmp_path, f"smtp://127.0.0.1:{relay.port}") as installation,
    ):
        await installation.join(MEMBERS)
        await installation.start()
        assert installation.serve
        await installation.not_ready("the disk fails")
        assert (await installation.answer("/join", JOIN_FORM)).status_code == 503
        assert len(relay.taken) <= FAULT_AT + CONNECTIONS
        refuse(installation.serve.pid, most=resource.RLIM_INFINITY)
        await installation.all_sent(MEMBERS)
        relay.verdict(MEMBERS)
        await installation.well()
        await installation.drain()


@pytest.mark.short
async def test_a_disk_failure_while_nothing_is_sent_is_reported_and_the_next_tick_works(
    tmp_path: Path,
) -> None:
    async with installed(tmp_path, "maildir:mail") as installation:
        await installation.start()
        assert installation.serve
        refuse(installation.serve.pid)
        # Another process adds members.
        await installation.join(3)
        await installation.not_ready("the disk fails")
        refuse(installation.serve.pid, most=resource.RLIM_INFINITY)
        await installation.all_sent(3)
        await installation.well()
        assert installation.logged("tick-works-again")
        await installation.drain()


@contextmanager
def own_disk(folder: Path) -> Iterator[str]:
    """Mount an ext4 file system, kept in a file, at `folder`; yield its device. Only root can do this."""
    image = folder.with_suffix(".ext4")
    with image.open("wb") as file:
        file.truncate(16 << 20)
    folder.mkdir()
    do_as_root("mkfs.ext4", "-q", "-O", "^has_journal", image)
    with exclusive_mounts():
        do_as_root("mount", "-o", "loop,errors=remount-ro", image, folder)
        try:
            yield do_as_root("findmnt", "-no", "SOURCE", folder).strip()
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


def repair(folder: Path) -> None:
    """Repair a file system that became read-only, as an administrator does."""
    image = folder.with_suffix(".ext4")
    subprocess.run(["umount", folder], check=True)
    assert subprocess.run(["e2fsck", "-fy", image], capture_output=True).returncode <= 1
    subprocess.run(["mount", "-o", "loop,errors=remount-ro", image, folder], check=True)


async def test_a_read_only_file_system_is_named_and_the_rest_is_sent_after_its_repair(
    tmp_path: Path,
) -> None:
    with own_disk(tmp_path / "disk") as device:
        trigger = Path("/sys/fs/ext4") / Path(device).name / "trigger_fs_error"
        if not os.access(trigger, os.W_OK):
            pytest.skip(f"{FORBIDDEN} ext4 to fail on demand")

        async def then() -> None:
            trigger.write_text("1")

        database = tmp_path / "disk" / "faults.sqlite"
        async with (
            Relay(at=FAULT_AT, then=then) as relay,
            installed(tmp_path, f"smtp://127.0.0.1:{relay.port}", database=database) as installation,
        ):
            await installation.join(MEMBERS)
            await installation.start()
            await installation.not_ready("the disk fails or is read-only")
            for command in ("status", "migrate"):
                code, _, err = await installation.command(command)
                assert code == 1 and err.count("\n") == 1 and "read-only" in err.lower(), err
            assert (await installation.answer("/join", JOIN_FORM)).status_code == 503
            assert len(relay.taken) <= FAULT_AT + CONNECTIONS
            await installation.kill()
            code, _, err = await installation.command("serve")
            assert code == 1 and err.count("\n") == 1 and "read-only" in err.lower(), err
            repair(tmp_path / "disk")
            await installation.start()
            await installation.all_sent(MEMBERS)
            relay.verdict(MEMBERS, repeats=CONNECTIONS)
            await installation.drain()
