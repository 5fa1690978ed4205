"""Mail sent over real SMTP comes back to the right member: bounces, answers, requests to leave, complaints."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

from icalendar import Calendar

from scheduler.domain.community import Inbox
from scheduler.service.inbound import ingest
from scheduler.service.occurrences import Change, amend, tell
from scheduler.store import answers, members
from tests import inbound_mail as returned
from tests.delivery.receiver import Receiver
from tests.delivery.sending import EVERYTHING, transport
from tests.installation import COMMUNITY, Installation, address_of, open_installation

NOW = datetime(2026, 11, 10, 14, tzinfo=UTC)
KEY = "conversation-for-kindness/2026-11-19"
WITH_INBOX = replace(COMMUNITY, inbox=Inbox(domain="bounces.example.org"))


@dataclass(frozen=True, slots=True)
class Sent:
    """A message as the relay received it."""

    sender: str
    parameters: str
    message: EmailMessage

    @property
    def calendar(self) -> Calendar:
        part = next(part for part in self.message.walk() if part.get_content_type() == "text/calendar")
        payload = part.get_payload(decode=True)
        assert isinstance(payload, bytes)
        return Calendar.from_ical(payload)


@dataclass
class Returning:
    installation: Installation
    relay: Receiver

    def sent(self) -> dict[str, Sent]:
        """Return the last message to each member, by name."""
        messages = {}
        for taken in self.relay.taken:
            sender = re.fullmatch(r"MAIL FROM:<(\S*)>(.*)", taken.mail)
            assert sender
            message = message_from_bytes(taken.content, _class=EmailMessage, policy=policy.default)
            name = taken.rcpts[0].partition("<")[2].partition("@")[0].capitalize()
            messages[name] = Sent(sender[1], sender[2] + taken.rcpts[0].partition(">")[2], message)
        return messages

    async def ingest(self, octets: bytes) -> str:
        installation = self.installation
        handled = await ingest(
            installation.database,
            octets,
            keys=installation.keys,
            domain=COMMUNITY.domain,
            now=installation.clock.now(),
        )
        return handled.words


@asynccontextmanager
async def returning_setup(folder: Path, *, inbox: bool = True) -> AsyncIterator[Returning]:
    """Ann and Bo, invited over SMTP."""
    async with (
        Receiver(extensions=EVERYTHING) as relay,
        open_installation(folder, NOW, transport=transport(relay.port)) as installation,
    ):
        installation.community = WITH_INBOX if inbox else COMMUNITY
        installation.restart()
        await installation.tick()
        await installation.join(("Ann", "Europe/London"), ("Bo", "Pacific/Auckland"))
        await installation.tick()
        yield Returning(installation, relay)


async def test_each_mail_has_a_return_path_of_its_members_own(tmp_path: Path) -> None:
    async with returning_setup(tmp_path) as here:
        sent = here.sent()
    assert sent.keys() == {"Ann", "Bo"}
    for mail in sent.values():
        assert re.fullmatch(r"b\+[a-z2-7]{34}@bounces\.example\.org", mail.sender)
        assert len(mail.sender.partition("@")[0]) <= 64
        for parameter in (" RET=HDRS", " ENVID=", " NOTIFY=FAILURE", " ORCPT=rfc822;"):
            assert parameter in mail.parameters
        assert str(mail.message["From"]) == "Conversation for Kindness <meetings@conversation.example.org>"
    assert sent["Ann"].sender != sent["Bo"].sender


async def test_a_bounce_to_that_address_suppresses_exactly_that_member(tmp_path: Path) -> None:
    async with returning_setup(tmp_path) as here:
        sent = here.sent()
        # Relays may change the case of what they return to.
        await here.ingest(returned.postfix(sent["Bo"].sender.upper(), address_of("Bo")))
        async with here.installation.database.read() as connection:
            assert {member.name async for member in members.every(connection) if member.suppressed_at} == {
                "Bo"
            }
        here.relay.taken.clear()
        await here.installation.live(datetime(2026, 11, 19, 17, 30, tzinfo=UTC))
        assert here.sent().keys() == {"Ann"}


async def test_the_return_path_is_the_same_in_every_mail_and_changes_with_the_members_address(
    tmp_path: Path,
) -> None:
    async with returning_setup(tmp_path) as here:
        first = here.sent()["Bo"].sender
        here.relay.taken.clear()
        await here.installation.change("Bo", address="bo@example.com", address_key="bo@example.com")
        await here.installation.live(datetime(2026, 11, 19, 17, 30, tzinfo=UTC))
        second = here.sent()["Bo"].sender
        assert first != second
        assert "discarded" in await here.ingest(returned.postfix(first, address_of("Bo")))
        assert "suppressed" in await here.ingest(returned.postfix(second, "bo@example.com"))


async def test_a_calendar_programs_reply_to_the_invitation_becomes_the_members_answer(tmp_path: Path) -> None:
    async with returning_setup(tmp_path) as here:
        event = here.sent()["Bo"].calendar.events[0]
        attendee = event["ATTENDEE"]
        assert (attendee.params["RSVP"], attendee.params["PARTSTAT"]) == ("TRUE", "NEEDS-ACTION")
        assert str(event["ORGANIZER"]) == f"mailto:{COMMUNITY.address}"
        reply = returned.google(
            str(event["UID"]), address_of("Bo"), "DECLINED", sequence=int(str(event["SEQUENCE"]))
        )
        assert (await here.ingest(returned.answer(reply))).endswith(f"to {KEY}: declined")
        async with here.installation.database.read() as connection:
            assert await answers.count_answers(connection, KEY) == {"declined": 1}
        here.relay.taken.clear()
        await here.installation.live(datetime(2026, 11, 19, 17, 30, tzinfo=UTC))
        assert here.sent().keys() == {"Ann"}


async def test_a_member_who_leaves_by_mail_gets_none_of_the_queued_mail(tmp_path: Path) -> None:
    async with returning_setup(tmp_path) as here:
        header = str(here.sent()["Bo"].message["List-Unsubscribe"])
        match = re.fullmatch(
            r"<(https://meet\.example\.org/u/[a-z2-7]{34})>,\s+<mailto:(u\+[a-z2-7]{34}@bounces\.example\.org)>",
            header,
        )
        assert match, header
        installation = here.installation
        amended = await amend(
            installation.database,
            installation.by_slug,
            KEY,
            Change(topic="Listening"),
            now=installation.clock.now(),
        )
        await tell(installation.database, amended, now=installation.clock.now(), by_choice=())
        await installation.planner.tick()
        assert await installation.states(kind="update") == {"Ann": "queued", "Bo": "queued"}
        here.relay.taken.clear()
        await here.ingest(f"From: bo@example.org\r\nTo: {match[2]}\r\nSubject: unsubscribe\r\n\r\n".encode())
        installation.clock.pass_(timedelta(seconds=1))
        await installation.dispatcher.send_due()
        await installation.tick()
        assert here.sent().keys() == {"Ann"}
        assert await installation.states(kind="update") == {"Ann": "sent", "Bo": "withdrawn: left"}


async def test_a_member_who_reports_our_mail_as_spam_has_left(tmp_path: Path) -> None:
    async with returning_setup(tmp_path) as here:
        bo = here.sent()["Bo"]
        quoted = "\n        ".join(
            f"{name}: {' '.join(str(bo.message[name]).split())}"
            for name in ("Message-ID", "List-Unsubscribe")
        )
        assert "has left" in await here.ingest(returned.complaint("fbl@example.org", enclosed=quoted))
        async with here.installation.database.read() as connection:
            assert {member.name: member.status async for member in members.every(connection)} == {
                "Ann": "active",
                "Bo": "left",
            }


async def test_without_an_inbox_no_mail_promises_that_answers_are_read(tmp_path: Path) -> None:
    async with returning_setup(tmp_path, inbox=False) as here:
        for mail in here.sent().values():
            assert mail.sender == COMMUNITY.address
            assert "mailto" not in str(mail.message["List-Unsubscribe"])
            assert mail.calendar.events[0]["ATTENDEE"].params["RSVP"] == "FALSE"
