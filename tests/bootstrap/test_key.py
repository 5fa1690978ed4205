"""The installation's key: created once, and never replaced silently."""

import os
import sqlite3
from pathlib import Path

import pytest

from scheduler.bootstrap.settings import load_settings
from scheduler.bootstrap.wiring import open_parts
from scheduler.domain.audience import Audience
from scheduler.domain.errors import Problem
from scheduler.service.members import Details, add_member
from scheduler.service.notices import send_notice

OTHER = "cd" * 32


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


async def opened(*, key: str = "", upgrade: bool = False, new_key: bool = False, link: bool = False) -> bytes:
    """Open the parts in this folder, prepare a mail with links if asked, and return the key."""
    settings = load_settings(None, {"THIRD_THURSDAY_SECURITY__KEY": key} if key else {})
    async with open_parts(settings, upgrade=upgrade, new_key=new_key) as parts:
        if link:
            details = Details(name="Åse", address="ase@example.org", zone="Europe/Oslo")
            await add_member(parts.database, details, keys=parts.keys, locale="en-GB", now=parts.clock.now())
            await send_notice(
                parts.database,
                subject="x",
                body="x",
                audience=Audience(terms={"all": []}),
                audience_text="all",
                now=parts.clock.now(),
            )
        return parts.keys.secret


def forget_fingerprint(folder: Path) -> None:
    with sqlite3.connect(folder / "var" / "third-thursday.sqlite") as connection:
        connection.execute("DELETE FROM facts WHERE name = 'key_fingerprint'")


async def test_a_key_is_created_once_and_readable_by_its_owner_only(folder: Path) -> None:
    first = await opened()
    assert await opened() == first
    assert (folder / "var" / "secret").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (folder / "var").glob(".secret*")] == []


async def test_a_missing_key_is_not_created_again_once_members_may_have_links(folder: Path) -> None:
    await opened(link=True)
    forget_fingerprint(folder)
    (folder / "var" / "secret").unlink()
    with pytest.raises(Problem, match="is missing, and every link that was sent needs it"):
        await opened()
    assert not (folder / "var" / "secret").exists()
    assert await opened(new_key=True) == await opened()


async def test_the_key_that_the_database_knows_is_required_even_without_members(
    folder: Path,
) -> None:
    first = await opened()
    with pytest.raises(Problem, match=r"\[security\] key is not the key with which"):
        await opened(key=OTHER)
    (folder / "var" / "secret").write_text(OTHER)
    with pytest.raises(Problem, match="the key file .* is not the key"):
        await opened()
    assert await opened(new_key=True) == bytes.fromhex(OTHER) == await opened()
    assert first.hex() != OTHER


async def test_an_old_database_without_a_fingerprint_adopts_the_present_key(
    folder: Path,
) -> None:
    first = await opened()
    forget_fingerprint(folder)
    assert await opened(upgrade=True) == first
    with pytest.raises(Problem, match="is not the key"):
        await opened(key=OTHER)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it is empty"),
        ("\n", "it is empty"),
        ("abcd", "has 2 octets"),
        ("no digits", "hexadecimal"),
        ("é", "hexad"),
    ],
)
async def test_a_key_file_without_a_key_is_named(folder: Path, text: str, words: str) -> None:
    await opened()
    (folder / "var" / "secret").write_text(text)
    with pytest.raises(Problem, match=words):
        await opened()


async def test_a_full_disk_leaves_no_partial_key(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda handle, octets: real(handle, octets[:10]))
        with pytest.raises(Problem, match="cannot be written"):
            await opened()
    assert list((folder / "var").glob("*secret*")) == []
    assert await opened()


async def test_a_draft_that_a_killed_process_with_the_same_id_left_does_not_hinder_the_first_start(
    folder: Path,
) -> None:
    (folder / "var").mkdir()
    (folder / "var" / f".secret.{os.getpid()}").write_text("half")
    assert len(await opened()) == 32
