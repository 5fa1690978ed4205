"""`rehearse` on the command line, and what `status` and `doctor` say about backups."""

import asyncio
import json
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pyrage
import pytest
import time_machine

from scheduler.bootstrap.settings import load_settings
from scheduler.bootstrap.wiring import backup_plan, open_parts
from scheduler.service.scheduled_backups import ScheduledBackups
from tests.cli.conftest import NOW, Command

FOLDER = {"THIRD_THURSDAY_BACKUP__FOLDER": "keep"}

pytestmark = pytest.mark.usefixtures("members")


@pytest.fixture
def make_backup(command: Command) -> Callable[..., None]:
    """Return a function that does what a running `serve` does when a backup is due."""

    async def make(environment: dict[str, str]) -> None:
        settings = load_settings(None, {**os.environ, **FOLDER, **environment})
        async with open_parts(settings, upgrade=True) as parts:
            plan = backup_plan(settings)
            assert plan
            assert await ScheduledBackups(parts.database, parts.clock, plan, keys=parts.keys).look()

    return lambda **environment: asyncio.run(make(environment))


def test_a_rehearsal_says_how_old_the_backup_is_and_what_is_in_it(
    command: Command, clock: time_machine.Traveller, make_backup: Callable[..., None]
) -> None:
    done = command("rehearse", **FOLDER)
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        "third-thursday: there is no backup in keep yet; `serve` makes them, or name one with --file\n"
    )
    make_backup()
    clock.move_to(NOW + timedelta(hours=5, minutes=30))
    done = command("rehearse", **FOLDER)
    assert (done.code, done.err) == (0, "")
    assert "backup:      keep/conversation.example.org-20261110T120000Z.sqlite" in done.out
    assert "made:        2026-11-10 12:00 UTC, 5 h 30 min ago" in done.out
    assert "          4  members active" in done.out
    assert "all is well" in done.out
    assert json.loads(command("status", "--json").out)["rehearsed_utc"] == "2026-11-10T17:30:00+00:00"


def test_any_backup_can_be_rehearsed_also_one_of_the_command(command: Command) -> None:
    assert command("rehearse").err == (
        "third-thursday: no backups are made; set [backup] folder, or name a backup with --file\n"
    )
    assert command("backup", "one").code == 0
    assert command("rehearse", "--file", "one").code == 0
    whole = Path("one").read_bytes()
    Path("one").write_bytes(whole[:-5000])
    done = command("rehearse", "--file", "one")
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    assert "one is not a backup of Third Thursday, or it is damaged" in done.err


def test_status_and_doctor_warn_of_missing_rehearsals_only_if_backups_are_made(
    command: Command, clock: time_machine.Traveller, make_backup: Callable[..., None]
) -> None:
    warning = "no backup has been rehearsed"
    make_backup()
    for name in ("status", "doctor"):
        assert f"{warning} yet" in command(name, **FOLDER).out
        assert warning not in command(name).out
    assert command("rehearse", **FOLDER).code == 0
    for name in ("status", "doctor"):
        assert warning not in command(name, **FOLDER).out
    clock.move_to(NOW + timedelta(days=90))
    for name in ("status", "doctor"):
        assert f"{warning} for 90 days" in command(name, **FOLDER).out
        assert warning not in command(name).out


def test_status_says_that_no_backup_succeeds(
    command: Command, clock: time_machine.Traveller, make_backup: Callable[..., None]
) -> None:
    make_backup()
    assert "last backup: 2026-11-10 12:00 UTC\n" in command("status").out
    clock.move_to(NOW + timedelta(days=2))
    assert "trouble:     no backup has succeeded for 2 days; see the log of `serve`" in command("status").out


def test_doctor_says_why_no_backup_can_be_made(command: Command, make_backup: Callable[..., None]) -> None:
    done = command("doctor", **FOLDER)
    assert "note   backups: there is none in keep yet" in done.out
    assert not Path("keep").exists()
    make_backup()
    assert (
        "ok     backups: 1 in keep, the newest of 2026-11-10 12:00 UTC\n" in command("doctor", **FOLDER).out
    )
    Path("open").mkdir(mode=0o755)
    Path("open").chmod(0o755)
    Path("open", "mine.txt").write_text("mine")
    done = command("doctor", THIRD_THURSDAY_BACKUP__FOLDER="open")
    assert done.code == 1
    assert "WRONG  [backup] folder: others can read open; run `chmod 700 open`" in done.out


def test_an_encrypted_backup_is_rehearsed_and_restored_with_the_identity(
    command: Command, make_backup: Callable[..., None]
) -> None:
    secret = pyrage.x25519.Identity.generate()
    Path("key.txt").write_text(f"{secret}\n")
    make_backup(THIRD_THURSDAY_BACKUP__RECIPIENT=str(secret.to_public()))
    (file,) = Path("keep").iterdir()
    done = command("rehearse", **FOLDER)
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert f"{file} is encrypted; name the file with the secret key: --identity KEYFILE" in done.err
    assert command("rehearse", "--identity", "key.txt", **FOLDER).code == 0
    assert command("restore", str(file)).code == 1
    assert command("restore", str(file), "--identity", "key.txt").code == 0
    assert "4 active" in command("status").out


@pytest.mark.parametrize(
    ("recipient", "words"),
    [
        ("age1nothing", "is not a public key of age"),
        ("ssh-ed25519 AAAA", "is not a public key of age"),
        ("someone@example.org", "is not a public key of age"),
        (str(pyrage.x25519.Identity.generate()), "is a secret key, which must not be here"),
        (f" '{pyrage.x25519.Identity.generate()}'", "is a secret key, which must not be here"),
        (f"# my key\n{pyrage.x25519.Identity.generate()}\n", "is a secret key, which must not be here"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nSECRET-KEY-x", "is a secret key, which must not be here"),
        (str(pyrage.x25519.Identity.generate())[6:-3], "is not a public key of age"),
    ],
    # The key is another one in each process, but all processes of a run must give a test the same name.
    ids=[
        "not a key",
        "a key of SSH",
        "an address",
        "a secret key",
        "a secret key in quotation marks",
        "a file with a secret key",
        "a secret key of SSH",
        "a part of a secret key",
    ],
)
def test_a_recipient_that_cannot_be_used_is_refused_at_the_start(
    command: Command, recipient: str, words: str
) -> None:
    done = command("doctor", THIRD_THURSDAY_BACKUP__RECIPIENT=recipient)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert words in done.err
    assert "CRET-KEY-" not in done.err
    assert "THIRD_THURSDAY_BACKUP__RECIPIENT" in done.err


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("EVERY", "2d"),
        ("EVERY", "0s"),
        ("EVERY", "daily"),
        ("KEEP", "0"),
        ("KEEP", "many"),
        ("SCRATCH_URL", "sqlite:///x"),
        ("SCRATCH_URL", "nowhere"),
    ],
)
def test_a_wrong_setting_of_backups_is_refused_in_one_line(command: Command, key: str, value: str) -> None:
    done = command("status", **{f"THIRD_THURSDAY_BACKUP__{key}": value})
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert f"THIRD_THURSDAY_BACKUP__{key}" in done.err
