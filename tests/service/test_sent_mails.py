"""A convenor sees each mail as it was sent, and sends one again."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path

import pytest
from sqlalchemy import func, select

from scheduler.domain.actor import Actor
from scheduler.domain.errors import Refused
from scheduler.domain.policy import Kind
from scheduler.service import audit
from scheduler.service.erasure import erase_member
from scheduler.service.notices import mail_one
from scheduler.service.occurrences import Change, amend, tell_again
from scheduler.service.retention import forget_old
from scheduler.service.sent_mails import SentMail, read_mail, send_again
from scheduler.store import members
from scheduler.store.ledger import archive
from scheduler.store.schema import renderings
from tests.installation import COMMUNITY, RETENTION, Installation, address_of, open_installation

KEY = "conversation-for-kindness/2026-11-19"
ANN = Actor(channel="console", name="Ann", member=1)
AGAIN = "You are getting this email again because a convenor sent it again."
SECRET = re.compile(r"\b[a-z2-7]{34,}\b")
NUMBERS = {"Ann": 1, "Mei O'Hara": 2, "عائشة": 3, "Cy": 4}


@asynccontextmanager
async def invited(folder: Path, url: str = "") -> AsyncIterator[Installation]:
    """Two weeks before a meeting, whose invitation has been sent to all but Cy, who is away."""
    async with open_installation(folder, datetime(2026, 11, 1, tzinfo=UTC), url=url) as installation:
        await installation.join(("Ann", "Europe/London"))
        await installation.join(
            ("Mei O'Hara", "Asia/Taipei"), ("عائشة", "Asia/Taipei"), zone_source="assumed"
        )
        await installation.join(("Cy", "Asia/Taipei"), status="paused", active_since=None)
        await installation.live(datetime(2026, 11, 6, 12, tzinfo=UTC))
        yield installation


@pytest.fixture
async def installation(tmp_path: Path) -> AsyncIterator[Installation]:
    async with invited(tmp_path) as installation:
        yield installation


async def mail_to(installation: Installation, name: str, notice: int) -> SentMail | None:
    return await read_mail(
        installation.database, NUMBERS[name], notice, keys=installation.keys, community=COMMUNITY
    )


async def notice_of(installation: Installation, kind: str) -> int:
    return max(report.notice for report in await installation.reports() if report.kind == kind)


def body(mail: EmailMessage, subtype: str) -> str:
    part = mail.get_body((subtype,))
    assert part
    return str(part.get_content())


@pytest.mark.both_databases
async def test_every_mail_is_shown_as_it_was_sent_but_for_its_secrets(
    tmp_path: Path, database_url: str
) -> None:
    async with invited(tmp_path, database_url) as installation:
        await update_and_compare(installation)


async def update_and_compare(installation: Installation) -> None:
    await installation.change("Cy", status="active", active_since=installation.clock.now())
    change = Change(move_to=datetime(2026, 11, 20, 18))
    await amend(installation.database, installation.by_slug, KEY, change, now=installation.clock.now())
    await tell_again(installation.database, installation.by_slug, KEY, now=installation.clock.now())
    await installation.tick()
    sent = {str(mail["Message-ID"]): mail for mail in installation.mails()}
    reports = [report for report in await installation.reports() if report.state == "sent"]
    assert len(sent) == len(reports) >= 7
    for report in reports:
        shown = await mail_to(installation, report.name, report.notice)
        assert shown and shown.shown
        mail = sent[shown.message_id]
        assert shown.shown.subject == mail["Subject"]
        assert shown.shown.text == SECRET.sub("…", body(mail, "plain")).replace("\r\n", "\n")
        html = re.sub(r'\shref="[^"]*/[a-z2-7]{34,}[^"]*"', "", body(mail, "html"))
        assert shown.shown.html.replace("\r\n", "\n") == SECRET.sub("…", html).replace("\r\n", "\n")
        if report.kind == "update":
            assert bool(shown.entry) is (report.name != "Cy")
        if report.kind == "invitation":
            assert shown.entry and not shown.entry.cancels


async def test_a_mail_stays_as_it_was_sent_when_the_templates_change_between_two_members(
    installation: Installation,
) -> None:
    invitation = await notice_of(installation, "invitation")
    installation.community = replace(COMMUNITY, name="Kinder Conversations")
    installation.restart()
    await installation.join(("Di", "Europe/London"))
    await installation.tick()
    NUMBERS["Di"] = 5
    senders = []
    for name in ("Ann", "Di"):
        mail = await mail_to(installation, name, invitation)
        assert mail and mail.shown
        senders.append(mail.shown.sender.partition(" <")[0])
    assert senders == [COMMUNITY.name, "Kinder Conversations"]


async def test_a_mail_can_be_read_from_the_archive_until_its_delivery_is_deleted(
    installation: Installation,
) -> None:
    invitation = await notice_of(installation, "invitation")
    before = await mail_to(installation, "Mei O'Hara", invitation)
    later = datetime(2027, 6, 1, tzinfo=UTC)
    installation.clock.pass_until(later)
    await installation.planner.tick()
    async with installation.database.write() as connection:
        assert await archive.archive(connection, before=later, now=later)
    after = await mail_to(installation, "Mei O'Hara", invitation)
    assert before and after and before.shown == after.shown is not None
    retention = replace(RETENTION, deliveries=timedelta())
    await forget_old(installation.database, retention, keys=installation.keys, outbox=None, now=later)
    async with installation.database.read() as connection:
        assert not await connection.scalar(select(func.count()).select_from(renderings))


async def test_with_an_erased_member_goes_the_text_of_mails_to_them_alone(installation: Installation) -> None:
    async with installation.database.write() as connection:
        mei = await members.by_id(connection, 2)
        assert mei
        await mail_one(
            connection, mei, Kind.WELCOME, now=installation.clock.now(), words="Lovely to have you, Mei"
        )
    await installation.tick()
    welcome = await notice_of(installation, "welcome")
    shown = await mail_to(installation, "Mei O'Hara", welcome)
    assert shown and shown.shown and "Lovely to have you, Mei" in shown.shown.text
    async with installation.database.read() as connection:
        contents = await connection.scalars(
            select(renderings.c.content).where(renderings.c.notice == welcome)
        )
        content = contents.one()
    await erase_member(
        installation.database,
        address_of("Mei O'Hara"),
        keys=installation.keys,
        outbox=installation.mail,
        now=installation.clock.now(),
    )
    assert await mail_to(installation, "Mei O'Hara", welcome) is None
    path = installation.database.path
    assert path and content not in path.read_bytes()


async def again(installation: Installation, name: str, notice: int, times: int = 0) -> int:
    return await send_again(
        installation.database,
        NUMBERS[name],
        notice,
        times=times,
        by_choice=frozenset(),
        by=ANN,
        now=installation.clock.now(),
    )


async def test_a_mail_is_sent_again_once_however_often_the_button_is_pressed(
    installation: Installation,
) -> None:
    invitation = await notice_of(installation, "invitation")
    before = installation.mails()
    numbers = await asyncio.gather(*(again(installation, "Mei O'Hara", invitation) for _ in range(3)))
    assert len(set(numbers)) == 1
    await installation.tick()
    assert await again(installation, "Mei O'Hara", invitation) == numbers[0]
    await installation.live(installation.clock.now() + timedelta(days=1))
    new = [
        mail for mail in installation.mails() if mail["Message-ID"] not in {m["Message-ID"] for m in before}
    ]
    assert [str(mail["To"]) for mail in new] == ["Mei O'Hara <mei.o'hara@example.org>"]
    assert body(new[0], "plain").startswith(AGAIN) and AGAIN in body(new[0], "html")
    assert new[0].get_content_type() == "multipart/mixed"
    log = await audit.read_log(installation.database, all_series=installation.by_slug, act="mail-sent-again")
    assert [(line.actor, line.about, line.subject) for line in log] == [("Ann", "Mei O'Hara", KEY)]
    # The next press is one of its own, and so is one from the page of what was sent again.
    assert await again(installation, "Mei O'Hara", numbers[0], times=1) != numbers[0]
    with pytest.raises(Refused, match="in the meantime"):
        await again(installation, "Mei O'Hara", invitation, times=3)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"status": "left", "active_since": None}, "they have left the list"),
        ({"status": "paused", "active_since": None}, "their emails are paused"),
        ({"suppressed_at": datetime(2026, 11, 6, tzinfo=UTC)}, "come back"),
        ({"invitation_by": "feed"}, "only in their calendar"),
    ],
)
async def test_nothing_is_sent_again_to_somebody_who_would_not_get_it(
    installation: Installation, values: dict[str, object], words: str
) -> None:
    invitation = await notice_of(installation, "invitation")
    await installation.change("Ann", **values)
    count = len(installation.mails())
    with pytest.raises(Refused, match=words):
        await again(installation, "Ann", invitation)
    await installation.tick()
    assert len(installation.mails()) == count


async def test_what_is_no_longer_true_or_useful_is_not_sent_again(installation: Installation) -> None:
    invitation = await notice_of(installation, "invitation")
    with pytest.raises(Refused, match="was not sent to them"):
        await again(installation, "Cy", invitation)
    await installation.live(datetime(2026, 11, 19, 2, tzinfo=UTC))
    reminder = await notice_of(installation, "reminder")
    await installation.answer("Ann", KEY, "declined")
    with pytest.raises(Refused, match="not coming"):
        await again(installation, "Ann", reminder)
    async with installation.database.write() as connection:
        await members.set_mutes(connection, 2, [("reminder", "day-before")])
    with pytest.raises(Refused, match="chosen not to get"):
        await again(installation, "Mei O'Hara", reminder)
    number = await again(installation, "عائشة", reminder)
    change = Change(move_to=datetime(2026, 11, 19, 19))
    await amend(installation.database, installation.by_slug, KEY, change, now=installation.clock.now())
    await installation.tick()
    assert (await installation.states(notice=number))["عائشة"] == "withdrawn: moved"
    with pytest.raises(Refused, match="has moved"):
        await again(installation, "عائشة", reminder, times=1)
    change = Change(move_to=datetime(2026, 11, 19, 18))
    await amend(installation.database, installation.by_slug, KEY, change, now=installation.clock.now())
    await installation.live(datetime(2026, 11, 19, 18, 30, tzinfo=UTC))
    with pytest.raises(Refused, match="the meeting has begun"):
        await again(installation, "عائشة", reminder, times=1)
    installation.clock.pass_until(datetime(2026, 11, 20, tzinfo=UTC))
    with pytest.raises(Refused, match="the meeting is over"):
        await again(installation, "عائشة", reminder, times=1)
