"""The Maildir that mail goes to when there is no relay: complete or not at all, once, and safe to read."""

import asyncio
import mailbox
import os
import resource
from datetime import UTC, datetime
from pathlib import Path

import pytest

from scheduler.delivery.send.maildir import (
    MaildirConnection,
    MaildirTransport,
    NoSuchMessage,
    erase_messages,
    read_message,
    read_outbox,
)
from scheduler.delivery.send.transport import ConnectProblem, Verdict
from tests.delivery.sending import FakePipeline, envelope, send

CONTENT = (
    b"From: Kindness <hello@example.org>\r\n"
    b"To: =?utf-8?q?Ada_L=C3=B3?= <ada@example.org>\r\n"
    b"Subject: =?utf-8?q?Thursday=2C_18=3A00_=C2=B7_London?=\r\n"
    b"Date: Thu, 19 Nov 2026 09:00:00 +0000\r\n"
    b"\r\n"
    b".dot\r\n"
    b"From the start\r\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "var" / "outbox"


async def opened(folder: Path) -> MaildirConnection:
    return await MaildirTransport(folder).connect()


async def test_a_message_is_stored_whole_and_readable_as_any_maildir_is(folder: Path) -> None:
    outcome = await send(await opened(folder), envelope(content=CONTENT))
    assert (outcome.verdict, outcome.relay, outcome.uncertain) == (Verdict.SENT, False, False)
    (message,) = mailbox.Maildir(folder, create=False)
    assert message["Return-Path"] == "<b+1@example.org>"
    assert message["Delivered-To"] == "ada@example.org"
    assert message.get_payload() == ".dot\nFrom the start\n"


async def test_a_stored_message_is_the_sent_one_with_two_lines_before_it(folder: Path) -> None:
    await send(await opened(folder), envelope(content=CONTENT))
    (stored,) = read_outbox(folder, newest=10)
    head = b"Return-Path: <b+1@example.org>\nDelivered-To: ada@example.org\n"
    assert read_message(folder, stored.name) == head + CONTENT.replace(b"\r\n", b"\n")


async def test_only_the_owner_can_read_and_no_partly_written_file_remains(folder: Path) -> None:
    await send(await opened(folder))
    assert [(folder / name).stat().st_mode & 0o777 for name in (".", "tmp", "new", "cur")] == [0o700] * 4
    assert [file.stat().st_mode & 0o777 for file in (folder / "new").iterdir()] == [0o600]
    assert not list((folder / "tmp").iterdir())


async def test_an_uncertain_message_that_is_tried_again_is_stored_once(folder: Path) -> None:
    connection = await opened(folder)
    await send(connection, envelope(identity="d1"))
    await send(await opened(folder), envelope(identity="d1"))
    await send(connection, envelope(identity="d2"))
    assert len(read_outbox(folder, newest=10)) == 2


@pytest.mark.parametrize("identity", ["../../escape", "a/b", ".hidden", "a:2,S", "ü" * 200, "tab\there"])
async def test_any_envelope_id_gives_a_file_in_the_folder_only(folder: Path, identity: str) -> None:
    await send(await opened(folder), envelope(identity=identity))
    assert len(mailbox.Maildir(folder, create=False)) == 1
    assert len([path for path in folder.parents[1].rglob("*") if path.is_file()]) == 1
    (stored,) = read_outbox(folder, newest=1)
    assert ":" not in stored.name
    assert read_message(folder, stored.name)


async def test_the_outbox_shows_the_newest_first_with_recipient_and_subject(folder: Path) -> None:
    connection = await opened(folder)
    for number, recipient in enumerate(["ada@example.org", "użytkownik@bücher.example", "eve@example.org"]):
        await send(connection, envelope(recipient, content=CONTENT, identity=f"d{number}"))
        os.utime(folder / "new" / f"md{number}", ns=(0, number))
    newest, older = read_outbox(folder, newest=2)
    assert newest.recipient == "eve@example.org"
    assert older.recipient == "użytkownik@bücher.example"
    assert newest.to == "Ada Ló <ada@example.org>"
    assert newest.subject == "Thursday, 18:00 · London"
    assert newest.date == datetime(2026, 11, 19, 9, tzinfo=UTC)


async def test_a_message_that_a_mail_reader_has_moved_is_still_shown(folder: Path) -> None:
    await send(await opened(folder))
    (folder / "new" / "md1").rename(folder / "cur" / "md1:2,S")
    (stored,) = read_outbox(folder, newest=10)
    assert stored.name == "md1:2,S"
    assert read_message(folder, stored.name)


async def test_a_file_that_is_not_a_message_hides_no_other(folder: Path) -> None:
    await send(await opened(folder))
    (folder / "new" / "odd").write_bytes(b"\xff\xfe\x00Subject: =?x-unknown?b?!!!?=\nDate: never\n")
    (folder / "new" / "broken").write_bytes(b"Subject: =?utf-8?b?a?=\nDate: Thu, 99 Nov 2026\n\n")
    (folder / "new" / "empty").touch()
    (folder / "new" / "folder").mkdir()
    (folder / "new" / "link").symlink_to("/etc/passwd")
    names = {stored.name for stored in read_outbox(folder, newest=10)}
    assert names == {"md1", "odd", "broken", "empty"}


def test_an_outbox_that_does_not_exist_is_empty(folder: Path) -> None:
    assert read_outbox(folder, newest=10) == []


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../secret",
        "../../secret",
        "/etc/passwd",
        "new/md1",
        "md1\0",
        "link",
        "none",
        ".x",
        "x" * 999,
    ],
)
async def test_only_a_message_of_the_folder_can_be_read(folder: Path, name: str) -> None:
    await send(await opened(folder))
    (folder / "secret").write_text("secret")
    (folder / "new" / ".x").write_text("secret")
    (folder / "new" / "link").symlink_to(folder / "secret")
    with pytest.raises(NoSuchMessage) as caught:
        read_message(folder, name)
    assert "\n" not in str(caught.value)


async def test_erasing_a_member_deletes_all_of_their_mail_and_nobody_elses(folder: Path) -> None:
    connection = await opened(folder)
    for number, recipient in enumerate(["Ada@example.org", "eve@example.org", "ada@example.org"]):
        await send(connection, envelope(recipient, identity=f"d{number}"))
    (folder / "new" / "md2").rename(folder / "cur" / "md2:2,S")
    (folder / "tmp" / "left").write_bytes(b"Return-Path: <>\nDelivered-To: ada@example.org\nSubj")
    assert erase_messages(folder, recipient="ADA@example.org") == 3
    assert [stored.recipient for stored in read_outbox(folder, newest=10)] == ["eve@example.org"]
    assert not list((folder / "tmp").iterdir())


async def test_when_settling_fails_nothing_is_stored(folder: Path) -> None:
    async def before_final_dot() -> None:
        raise OSError("the ledger's disk is full")

    connection = await opened(folder)
    with pytest.raises(OSError, match="ledger"):
        await connection.send(envelope(), pipeline=FakePipeline(before_final_dot=before_final_dot))
    assert connection.needs_reconnect
    assert not read_outbox(folder, newest=10)


async def test_a_folder_that_cannot_be_made_is_a_problem_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConnectProblem) as caught:
        await opened(tmp_path / "file" / "outbox")
    assert caught.value.permanent
    assert (
        str(caught.value) == f"mail folder {tmp_path / 'file' / 'outbox'}: cannot be written: Not a directory"
    )


async def test_an_unwritable_folder_delays_the_mail_until_it_is_writable_again(folder: Path) -> None:
    connection = await opened(folder)
    (folder / "tmp").rmdir()
    (folder / "tmp").touch()
    outcome = await send(connection)
    assert (outcome.verdict, outcome.relay, outcome.uncertain) == (Verdict.TEMPORARY, True, False)
    assert outcome.reason == f"mail folder {folder}: cannot be written: Not a directory"
    assert connection.needs_reconnect
    (folder / "tmp").unlink()
    assert (await send(await opened(folder))).verdict is Verdict.SENT


async def test_a_full_disk_delays_the_mail_and_leaves_no_partial_file(folder: Path) -> None:
    connection = await opened(folder)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, before[1]))
    try:
        outcome = await send(connection)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (outcome.verdict, outcome.relay) == (Verdict.TEMPORARY, True)
    assert not list((folder / "tmp").iterdir())
    assert not list((folder / "new").iterdir())


async def test_many_connections_can_store_at_the_same_time(folder: Path) -> None:
    transport = MaildirTransport(folder, connections=8)
    connections = [await transport.connect() for _ in range(transport.connections)]

    async def send_ten(connection: MaildirConnection, start: int) -> None:
        for number in range(start, start + 10):
            await send(connection, envelope(identity=f"d{number}"))

    await asyncio.gather(*(send_ten(connection, 10 * n) for n, connection in enumerate(connections)))
    assert len(mailbox.Maildir(folder, create=False)) == 80
