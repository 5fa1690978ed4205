"""A whole fortnight at once: every member, over real SMTP, at the oracle's local time."""

import re
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import pytest
from icalendar import Calendar

from scheduler.delivery.send.smtp import SmtpTransport
from scheduler.delivery.send.transport import SmtpAddress
from scheduler.domain.zone import zone_tab_zones
from scheduler.service.occurrences import Change, amend
from tests.delivery.receiver import Receiver
from tests.domain.oracle import shown
from tests.installation import address_of, open_installation

KEY = "conversation-for-kindness/2026-11-19"
START = datetime(2026, 11, 19, 18, tzinfo=UTC)
OVER = datetime(2026, 11, 19, 20, tzinfo=UTC)
ADOPTED = datetime(2026, 11, 1, 12, tzinfo=UTC)


def people(count: int) -> list[tuple[str, str]]:
    """Made-up members, over every zone of the table in turn."""
    zones = zone_tab_zones()
    # 17 and the number of zones have no common divisor: a few members are spread as well as many.
    return [(f"Member {number:04}", zones[number * 17 % len(zones)]) for number in range(count)]


async def live_through(folder: Path, count: int, *, move: bool = False) -> list[EmailMessage]:
    async with Receiver() as receiver:
        transport = SmtpTransport(
            SmtpAddress(host="127.0.0.1", port=receiver.port), hostname="meet.example.org"
        )
        async with open_installation(folder, ADOPTED, transport=transport) as installation:
            await installation.tick()
            await installation.join(*people(count))
            await installation.live(datetime(2026, 11, 17, tzinfo=UTC))
            installation.restart()
            if move:
                later = Change(move_to=datetime(2026, 11, 26, 18))
                await amend(
                    installation.database, installation.by_slug, KEY, later, now=installation.clock.now()
                )
            await installation.live(OVER + timedelta(days=7 * move))
        return [
            message_from_bytes(message.content, _class=EmailMessage, policy=policy.default)
            for message in receiver.taken
        ]


def instants(mail: EmailMessage) -> set[datetime]:
    """Every start that a mail shows to a machine: in its HTML and its calendar part."""
    html = mail.get_body(("html",))
    assert html
    found = {
        datetime.fromisoformat(text) for text in re.findall(r'<time datetime="([^"]+)"', html.get_content())
    }
    for part in mail.walk():
        if part.get_content_type() == "text/calendar":
            content = part.get_payload(decode=True)
            assert isinstance(content, bytes)
            found |= {event.DTSTART for event in Calendar.from_ical(content).events}
    return {moment.astimezone(UTC) for moment in found}


def check(mails: list[EmailMessage], count: int, start: datetime) -> None:
    """One mail a member, each showing the start by its oracle's clock in subject and text, and as one instant."""
    by_address = {address_of(name): zone for name, zone in people(count)}
    told = [mail["To"].addresses[0].addr_spec for mail in mails]
    assert sorted(told) == sorted(by_address)
    hours = {zone: shown(zone, [start])[0] for zone in set(by_address.values())}
    for mail, address in zip(mails, told, strict=True):
        moment, weekday = hours[by_address[address]].split()
        hour = moment[11:16]
        text = mail.get_body(("plain",))
        assert text
        assert weekday in mail["Subject"]
        assert hour in mail["Subject"]
        assert weekday in text.get_content()
        assert hour in text.get_content()
        assert start in instants(mail)


def by_kind(mails: list[EmailMessage]) -> dict[str, list[EmailMessage]]:
    found: dict[str, list[EmailMessage]] = {}
    for mail in mails:
        found.setdefault(str(mail["Feedback-ID"]).partition(":")[0], []).append(mail)
    return found


@pytest.mark.parametrize("count", [24, pytest.param(len(zone_tab_zones()), marks=pytest.mark.proof)])
async def test_every_zone_gets_one_invitation_and_two_reminders_at_the_oracles_time(
    tmp_path: Path, count: int
) -> None:
    mails = await live_through(tmp_path, count)
    kinds = by_kind(mails)
    assert sorted(kinds) == ["day-before", "hour-before", "invitation"]
    for found in kinds.values():
        check(found, count, START)


@pytest.mark.proof
async def test_fourteen_hundred_members_in_a_fortnight(tmp_path: Path) -> None:
    mails = await live_through(tmp_path, 1_400)
    for found in by_kind(mails).values():
        check(found, 1_400, START)
    assert len({mail["Message-ID"] for mail in mails}) == 4_200


@pytest.mark.proof
async def test_moved_by_a_week_the_reminders_follow_and_none_is_for_the_old_time(tmp_path: Path) -> None:
    count = len(zone_tab_zones())
    mails = await live_through(tmp_path, count, move=True)
    kinds = by_kind(mails)
    check(kinds["invitation"], count, START)
    for slug in ("day-before", "hour-before"):
        check(kinds[slug], count, START + timedelta(days=7))
