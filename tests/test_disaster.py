"""A machine is lost after its last backup; another one takes over, as docs/backups.md says, and mails nobody twice."""

import asyncio
import re
import shutil
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path

import pytest

from tests.delivery.receiver import Receiver
from tests.faked_machine import BY_POLICIES, PATIENCE, Machine, end
from tests.installation import address_of
from tests.postgres import execute
from tests.test_restarts import read

pytestmark = pytest.mark.proof

BEGIN = datetime(2026, 11, 1, 12, tzinfo=UTC)
INVITED = datetime(2026, 11, 5, 20, 1, tzinfo=UTC)
LAST_BACKUP = datetime(2026, 11, 17, 12, 5, tzinfo=UTC)
LOST = datetime(2026, 11, 18, 10, tzinfo=UTC)
"""When two of three members have had the reminder of the day before."""
RESTORED = datetime(2026, 11, 18, 13, tzinfo=UTC)
REMINDED = datetime(2026, 11, 18, 14, 1, tzinfo=UTC)
STARTS_SOON = datetime(2026, 11, 19, 17, 1, tzinfo=UTC)
MEMBERS = {"Ann": "Europe/London", "Bo": "Europe/Paris", "Cy": "America/New_York"}
POLICIES = ("invitation", "day-before", "hour-before")
_PERSONAL = re.compile(r"https://meet\.example\.org(/[a-z]+/[a-z2-7]{20,}[^\s<>\"']*)")


def mails_to(relay: Receiver) -> dict[str, list[EmailMessage]]:
    """Return the mails that the relay has accepted, by their recipient's address."""
    found: dict[str, list[EmailMessage]] = {address_of(name): [] for name in MEMBERS}
    for taken in relay.taken:
        found[taken.rcpts[0].partition("<")[2].partition(">")[0]].append(read(taken))
    return found


def personal_links(mail: EmailMessage) -> set[str]:
    """Return the personal links in the headers and the text."""
    body = mail.get_body(("plain",))
    assert body
    return set(_PERSONAL.findall(f"{mail['List-Unsubscribe']} {body.get_content()}"))


def uids(mail: EmailMessage) -> set[str]:
    """Return the identities of the meetings in the calendar parts."""
    parts = [part for part in mail.walk() if part.get_content_type() == "text/calendar"]
    return {
        uid
        for part in parts
        for uid in re.findall(r"^UID:(\S+)", part.get_payload(decode=True).decode(), re.MULTILINE)  # type: ignore[union-attr]
    }


async def backed_up(disk: Path, since: datetime) -> Path:
    """Wait until there is a backup of that day, and return it."""
    async with asyncio.timeout(PATIENCE):
        while True:
            for file in disk.glob(f"*-{since:%Y%m%d}T*"):
                if file.suffix in (".sqlite", ".dump"):
                    return file
            await asyncio.sleep(0.05)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty PostgreSQL database; or none, for SQLite in the machine's folder."""
    return "" if request.param == "sqlite" else str(request.getfixturevalue("postgres_url"))


async def live_until_lost(old: Machine, disk: Path) -> Path:
    """Live until the machine is lost with all that is on it, and return the newest backup on the other disk."""
    rows = [f"{address_of(name)},{name},{zone}" for name, zone in MEMBERS.items()]
    (old.folder / "members.csv").write_text("\n".join(["email,name,time zone", *rows, ""]))
    old.command("members", "import", "members.csv", "--no-invite")
    process = await old.serve()
    await backed_up(disk, BEGIN)
    await old.pass_until(INVITED)
    await old.sent(BY_POLICIES, 3)
    await old.pass_until(LAST_BACKUP)
    newest = await backed_up(disk, LAST_BACKUP)
    assert "all is well" in old.command("rehearse")
    await old.pass_until(LOST)
    await old.sent(BY_POLICIES, 3 + 2)
    process.kill()
    await process.wait()
    shutil.rmtree(old.folder)
    return newest


async def restore(new: Machine, backup: Path, url: str) -> None:
    """Follow "When the machine is lost" as far as to the restored database."""
    if url:
        server, _, name = url.rpartition("/")
        await execute(server, f"DROP DATABASE {name} WITH (FORCE)")
        await execute(server, f"CREATE DATABASE {name}")
        new.run("pg_restore", "--no-owner", f"--dbname={url}", backup)
    else:
        new.command("restore", str(backup))
    assert "all is well" in new.command("rehearse")


async def test_another_machine_takes_over_from_a_backup_and_mails_nobody_twice(
    tmp_path: Path, url: str, program: Callable[[str], str]
) -> None:
    program("faketime")
    disk, settings = tmp_path / "other-disk", tmp_path / "my.toml"
    settings.write_text(
        f'[web]\nbase_url = "https://meet.example.org"\n[backup]\nfolder = "{disk}"\n'
        + (f'[security]\nkey = "{"5a" * 32}"\n' if url else "")
    )
    async with Receiver() as relay:
        environment = {"THIRD_THURSDAY_MAIL__TRANSPORT": f"smtp://127.0.0.1:{relay.port}"}

        def machine(folder: Path, now: datetime) -> Machine:
            folder.mkdir(parents=True)
            shutil.copy(settings, folder)
            return Machine(folder, now, url=url, environment=environment)

        async with machine(tmp_path / "old", BEGIN) as old:
            newest = await live_until_lost(old, disk)
        before = mails_to(relay)
        assert {address: len(mails) for address, mails in before.items()} == {
            address_of("Ann"): 2,
            address_of("Bo"): 2,
            address_of("Cy"): 1,
        }
        async with machine(tmp_path / "another" / "path", RESTORED) as new:
            await restore(new, newest, url)
            process = await new.serve()
            await new.pass_until(RESTORED + timedelta(minutes=10))
            assert len(relay.taken) == 5, "sending is held until somebody resumes it"
            assert "2 mails due before the restore" in new.command("resume")
            await new.pass_until(REMINDED)
            await new.pass_until(STARTS_SOON)
            await new.sent(BY_POLICIES, 3 + 1 + 3)

            ledger = Counter((row.policy, row.state, row.reason) for row in await new.mails())
            assert ledger == {
                ("invitation", "sent", ""): 3,
                ("day-before", "sent", ""): 1,
                ("day-before", "expired", "restored"): 2,
                ("hour-before", "sent", ""): 3,
            }
            for address, mails in mails_to(relay).items():
                assert len(mails) == len({str(mail["Message-ID"]) for mail in mails}) == len(POLICIES)
                assert len(set.union(*map(uids, mails))) == 1, "the meeting has one identity"
                first, last = personal_links(before[address][0]), personal_links(mails[-1])
                assert any(link.startswith("/u/") for link in first & last)
                for link in first | last:
                    assert new.fetch(link) == 200
            await end(process)
