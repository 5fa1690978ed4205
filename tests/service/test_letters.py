"""What people write goes on to the convenors once, and nothing that could come back goes round in circles."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from sqlalchemy import select

from scheduler.delivery.compose.dkim import DkimSigner
from scheduler.delivery.compose.letter import compose_letter
from scheduler.delivery.send.maildir import MaildirTransport
from scheduler.delivery.send.transport import ConnectProblem
from scheduler.domain.community import Inbox
from scheduler.service import letters
from scheduler.service.erasure import erase_member
from scheduler.service.inbound import FORWARD_WITHIN, FORWARDED_A_DAY_OF_ONE, Handled, ingest, own_addresses
from scheduler.service.letters import LetterForwarder
from scheduler.service.retention import RECEIPTS_KEPT, forget_old
from scheduler.service.returned_mail import messages_for_review
from scheduler.store import forwards, members
from scheduler.store.schema import receipts
from tests import inbound_mail as returned
from tests.conftest import CopyDatabase
from tests.installation import COMMUNITY, RETENTION, Installation, address_of, open_installation

NOW = datetime(2026, 11, 10, 14, tzinfo=UTC)
MAILBOX = replace(COMMUNITY, inbox=Inbox(domain="example.net", mailbox="meetings", plus_addressing=False))
QUESTION = (
    "Return-Path: <{0}>\r\nFrom: Bo Okafor <{0}>\r\nTo: meetings@conversation.example.org\r\n"
    "Subject: Where do I find the notes?\r\nMessage-ID: <{1}@mail.example.org>\r\n\r\nI looked everywhere.\r\n"
)


async def fill(url: str, folder: Path) -> None:
    async with open_installation(folder, NOW, url=url) as installation:
        await installation.tick()
        await installation.join(("Bo", "Pacific/Auckland"), active_since=datetime(2024, 3, 3, tzinfo=UTC))
        await installation.planner.tick()


@pytest.fixture
async def installation(tmp_path: Path, copy_database: CopyDatabase) -> AsyncIterator[Installation]:
    async with open_installation(tmp_path, NOW, url=await copy_database(fill)) as installation:
        installation.community = MAILBOX
        installation.restart()
        yield installation


def question(address: str = "bo@example.org", number: int = 1) -> bytes:
    return QUESTION.format(address, number).encode()


async def receive(installation: Installation, octets: bytes) -> Handled:
    return await ingest(
        installation.database,
        octets,
        keys=installation.keys,
        domain=COMMUNITY.domain,
        now=installation.clock.now(),
        own_addresses=own_addresses(MAILBOX),
    )


def forwarder(installation: Installation) -> LetterForwarder:
    return LetterForwarder(
        installation.database,
        installation.clock,
        installation.transport or MaildirTransport(installation.mail),
        community=MAILBOX,
        keys=installation.keys,
        signer=None,
    )


async def forwarded(installation: Installation) -> list[EmailMessage]:
    await forwarder(installation).forward_due()
    return [mail for mail in installation.mails() if mail["To"] == COMMUNITY.reply_to]


@pytest.mark.both_databases
async def test_a_members_question_goes_to_the_convenors_once_and_waits_for_them_too(
    installation: Installation,
) -> None:
    assert (await receive(installation, question())).words.endswith("and forwarded to the convenors")
    assert "before" in (await receive(installation, question())).words
    (mail,) = await forwarded(installation)
    assert mail["From"] == f"{COMMUNITY.name} <{COMMUNITY.address}>"
    assert (mail["Reply-To"], mail["Auto-Submitted"]) == ("bo@example.org", "auto-generated")
    assert mail["Subject"] == f"[{COMMUNITY.name}] Where do I find the notes?"
    text, enclosed = mail.iter_parts()
    assert "Bo Okafor <bo@example.org> has written" in text.get_content()
    assert "the address of a member since 3 March 2024." in text.get_content()
    assert enclosed.get_content_type() == "message/rfc822"
    assert question() in b"".join(enclosed.as_bytes().partition(b"\n\n")[2:]).replace(b"\n", b"\r\n")
    assert len(await forwarded(installation)) == 1
    assert [message.subject for message in await messages_for_review(installation.database, limit=9)] == [
        "Where do I find the notes?"
    ]


async def test_a_strangers_letter_is_said_to_be_one(installation: Installation) -> None:
    encoded = question("zed@example.com").replace(b"Bo Okafor", b"=?utf-8?q?Zo=C3=AB?= Okafor")
    await receive(installation, encoded)
    (mail,) = await forwarded(installation)
    text = next(mail.iter_parts()).get_content()
    assert text.startswith("Zoë Okafor <zed@example.com> has written")
    assert "This is not the address of a member." in text


@pytest.mark.parametrize(
    "header",
    [
        "Auto-Submitted: auto-replied",
        "Precedence: list",
        "List-Id: <others.example.org>",
        "X-Loop: meetings@conversation.example.org",
        "X-Spam-Flag: YES",
        "From: meetings@conversation.example.org",
        "From: meetings@example.net",
        "From: convenors@conversation.example.org",
        "From: MAILER-DAEMON@example.org",
        "Return-Path: <>",
        "\r\n".join(["Received: by mx.example.org"] * 51),
    ],
)
async def test_what_a_program_or_we_ourselves_may_have_sent_goes_on_to_nobody(
    installation: Installation, header: str
) -> None:
    lines = question().decode().splitlines()
    others = [line for line in lines if line.partition(":")[0] != header.partition(":")[0]]
    await receive(installation, "\r\n".join([header, *others]).encode())
    assert await forwarded(installation) == []


async def test_a_forwarded_letter_that_comes_back_is_discarded(installation: Installation) -> None:
    await receive(installation, question())
    (mail,) = await forwarded(installation)
    assert (await receive(installation, mail.as_bytes())).words == "an automatic reply: discarded"
    bounced = returned.postfix(COMMUNITY.address, COMMUNITY.reply_to)
    assert "kept for review" in (await receive(installation, bounced)).words
    assert len(await forwarded(installation)) == 1


async def test_nothing_is_forwarded_to_convenors_who_read_the_inbox_itself(
    installation: Installation,
) -> None:
    assert own_addresses(replace(MAILBOX, reply_to="meetings@example.net")) is None


async def test_of_one_writer_only_so_many_letters_a_day_go_on_and_the_others_wait(
    installation: Installation,
) -> None:
    for number in range(FORWARDED_A_DAY_OF_ONE + 2):
        await receive(installation, question(number=number))
    await receive(installation, question("zed@example.com"))
    assert len(await forwarded(installation)) == FORWARDED_A_DAY_OF_ONE + 1
    assert len(await messages_for_review(installation.database, limit=99)) == FORWARDED_A_DAY_OF_ONE + 3
    installation.clock.pass_until(NOW + timedelta(days=1, seconds=1))
    await receive(installation, question(number=99))
    assert len(await forwarded(installation)) == FORWARDED_A_DAY_OF_ONE + 2


async def test_who_wrote_is_forgotten_after_days_and_that_it_came_after_a_year(
    installation: Installation,
) -> None:
    await receive(installation, question())

    async def kept() -> list[tuple[str | None, bool]]:
        async with installation.database.read() as connection:
            return [
                tuple(row) for row in await connection.execute(select(receipts.c.writer, receipts.c.kept))
            ]

    async def forget_at(now: datetime) -> None:
        await forget_old(installation.database, RETENTION, keys=installation.keys, outbox=None, now=now)

    ((writer, _),) = await kept()
    assert writer and "bo" not in writer
    await forget_at(NOW + timedelta(days=3))
    assert await kept() == [(None, True)]
    await forget_at(NOW + RECEIPTS_KEPT + timedelta(seconds=1))
    assert await kept() == []


async def test_a_letter_is_tried_again_until_the_relay_takes_it(installation: Installation) -> None:
    class Away:
        connections = 1

        async def connect(self) -> "NoReturn":  # type: ignore[name-defined]  # noqa: F821
            raise ConnectProblem("the relay is away", permanent=False)

    await receive(installation, question())
    installation.transport = Away()
    assert await forwarded(installation) == []
    installation.transport = None
    assert await forwarded(installation) == [], "before its pause is over"
    installation.clock.pass_until(NOW + timedelta(minutes=2))
    assert len(await forwarded(installation)) == 1


async def test_a_letter_that_cannot_be_composed_does_not_stop_those_after_it(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compose(content: bytes, **values: Any) -> bytes:
        if b"zed@" in content:
            raise RuntimeError("a mistake of ours")
        return compose_letter(content, **values)

    monkeypatch.setattr(letters, "compose_letter", compose)
    await receive(installation, question("zed@example.com"))
    await receive(installation, question())
    assert [mail["Reply-To"] for mail in await forwarded(installation)] == ["bo@example.org"]
    installation.clock.pass_until(NOW + FORWARD_WITHIN)
    await forwarded(installation)
    async with installation.database.read() as connection:
        assert await forwards.count_failed(connection) == 1


@pytest.mark.parametrize(
    "content",
    [
        question(),
        "From: Zoë <zoe@example.org>\r\nSubject: Grüße\r\n\r\nÄ".encode(),
        b"Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n\xc3\xa4\n.\n..\n",
        b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\n" + b"a" * 5_000,
        b"\xff\x00" * 500,
        b"",
    ],
)
def test_any_letter_is_enclosed_in_a_mail_that_is_7_bit_and_signed(content: bytes) -> None:
    key = generate_private_key(65537, 2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    signer = DkimSigner(domain="conversation.example.org", selector="third", pem=pem)
    mail = compose_letter(
        content,
        community=COMMUNITY,
        name="a" * 26,
        subject="Zoë wants  to know\u2028" + "x" * 400,
        reply_to="zoë@example.org",
        text="Zoë Größe has written.\n",
        date=NOW,
        signer=signer,
    )
    assert mail.isascii() and mail.count(b"\r") == mail.count(b"\n") == mail.count(b"\r\n")
    assert max(map(len, mail.split(b"\r\n"))) <= 998
    assert dkim.verify(mail, dnsfunc=lambda *_, **__: signer.record.encode())


async def test_a_member_who_is_erased_leaves_no_forwarded_letter_in_the_mail_folder(
    installation: Installation,
) -> None:
    answers_elsewhere = question().replace(b"To:", b"Reply-To: bo@example.com\r\nTo:", 1)
    await receive(installation, answers_elsewhere)
    await receive(installation, question("zed@example.com"))
    await receive(installation, question("dumbo@example.org"))
    assert len(await forwarded(installation)) == 3
    await erase_member(
        installation.database,
        address_of("Bo"),
        keys=installation.keys,
        outbox=installation.mail,
        now=installation.clock.now(),
    )
    remaining = [mail["Reply-To"] for mail in installation.mails() if mail["To"] == COMMUNITY.reply_to]
    assert sorted(remaining) == ["dumbo@example.org", "zed@example.com"]


# Bounces, if the return path carries no token


@pytest.mark.both_databases
@pytest.mark.parametrize("forged", [False, True])
async def test_without_plus_addressing_a_bounce_is_believed_if_it_names_our_mail(
    installation: Installation, *, forged: bool
) -> None:
    await installation.dispatcher.send_due()
    (invitation,) = installation.mails()
    assert "+" not in str(invitation["Return-Path"])
    name = str(invitation["Message-ID"]).strip("<>").partition("@")[0]
    bounce = returned.postfix(MAILBOX.inbox.address, address_of("Bo"))  # type: ignore[union-attr]
    assert b"abcdefghijklmnopqrstuvwxyz" in bounce
    if not forged:
        bounce = bounce.replace(b"abcdefghijklmnopqrstuvwxyz", name.encode())
    words = (await receive(installation, bounce)).words
    async with installation.database.read() as connection:
        member = await members.by_key(connection, address_of("Bo"))
    assert member and bool(member.suppressed_at) is not forged
    assert ("kept for review" in words) is forged


async def test_without_plus_addressing_members_leave_by_the_subject_of_a_mail(
    installation: Installation,
) -> None:
    await installation.dispatcher.send_due()
    (invitation,) = installation.mails()
    _, mailto = str(invitation["List-Unsubscribe"]).split(", ")
    address, _, query = mailto.strip("<>").removeprefix("mailto:").partition("?")
    leave = f"From: bo@example.org\r\nTo: {address}\r\nSubject: {query.removeprefix('subject=')}\r\n\r\n"
    assert "has left" in (await receive(installation, leave.encode())).words
