"""The calendar parts that members are sent when a meeting changes, is cancelled and is restored (RFC 5546)."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path

import pytest
from icalendar import Calendar, Event

from scheduler.service.occurrences import Change, amend, tell
from tests.conftest import CopyDatabase
from tests.installation import SERIES, Installation, address_of, open_installation

KEY = "conversation-for-kindness/2026-11-19"
INVITED = datetime(2026, 11, 10, 12, tzinfo=UTC)


async def fill(url: str, folder: Path) -> None:
    async with open_installation(folder, datetime(2026, 11, 1, 12, tzinfo=UTC), url=url) as installation:
        await installation.tick()
        await installation.join(("Ann", "Europe/London"))
        await installation.live(INVITED)
        await installation.join(("Di", "Europe/London"), uninvited_at=installation.clock.now())


@pytest.fixture
async def installation(tmp_path: Path, copy_sqlite: CopyDatabase) -> AsyncIterator[Installation]:
    """Ann was sent her invitation; Di came later and was not."""
    async with open_installation(tmp_path, INVITED, url=await copy_sqlite(fill)) as installation:
        yield installation


async def publish(installation: Installation, change: Change, *, told: bool = True) -> None:
    installation.clock.pass_until(
        installation.clock.now().replace(second=(installation.clock.now().second + 1) % 60)
    )
    amended = await amend(
        installation.database, installation.by_slug, KEY, change, now=installation.clock.now()
    )
    if told:
        await tell(installation.database, amended, now=installation.clock.now(), by_choice=())
    await installation.tick()


def mails_to(installation: Installation, name: str) -> list[EmailMessage]:
    return [mail for mail in installation.mails() if address_of(name) in str(mail["To"])]


def calendars(installation: Installation, name: str) -> list[tuple[str, Event]]:
    """Return the method and event of each calendar part that the member was sent, the oldest first."""
    events = []
    for mail in mails_to(installation, name):
        for part in mail.walk():
            if part.get_content_type() == "text/calendar":
                octets = part.get_payload(decode=True)
                assert isinstance(octets, bytes)
                calendar = Calendar.from_ical(octets)
                assert part.get_param("method") == calendar["METHOD"]
                events.append((str(calendar["METHOD"]), calendar.events[0]))
    return sorted(events, key=lambda pair: pair[1].DTSTAMP)


async def test_sequence_goes_up_with_start_and_status_and_the_stamp_with_every_change(
    installation: Installation,
) -> None:
    await publish(installation, Change(topic="Hope"))
    await publish(installation, Change(move_to=datetime(2026, 11, 19, 17)))
    await publish(installation, Change(cancel=True))
    events = calendars(installation, "Ann")
    assert [(method, event["SEQUENCE"]) for method, event in events] == [
        ("REQUEST", 0),
        ("REQUEST", 0),
        ("REQUEST", 1),
        ("CANCEL", 2),
    ]
    assert len({event["UID"] for _, event in events}) == 1
    stamps = [event.DTSTAMP for _, event in events]
    assert stamps == sorted(set(stamps))
    assert events[-1][1]["STATUS"] == "CANCELLED" and events[-1][1].start == events[-2][1].start


async def test_a_member_who_was_not_sent_a_request_gets_the_same_mails_without_a_calendar_part(
    installation: Installation,
) -> None:
    for change in (Change(topic="Hope"), Change(cancel=True), Change(restore=True)):
        await publish(installation, change)
    assert len(mails_to(installation, "Di")) == 3 and calendars(installation, "Di") == []
    assert len(calendars(installation, "Ann")) == 4


async def test_a_restored_meeting_has_a_new_uid_with_its_ordinal(
    installation: Installation,
) -> None:
    for change in (Change(cancel=True), Change(restore=True), Change(cancel=True), Change(restore=True)):
        await publish(installation, change)
    events = calendars(installation, "Ann")
    uids = [str(event["UID"]) for _, event in events]
    assert [method for method, _ in events] == ["REQUEST", "CANCEL", "REQUEST", "CANCEL", "REQUEST"]
    assert uids[0] == uids[1] and uids[2] == uids[3] and len(set(uids)) == 3
    stem, member, domain = (
        uids[0].partition(".")[0],
        uids[0].split(".", 1)[1].partition("@")[0],
        "example.org",
    )
    assert [uid.removeprefix(f"{stem}.").partition(".")[0] for uid in uids[2::2]] == ["r1", "r2"]
    assert all(member in uid and uid.endswith(domain) and len(uid) <= 100 for uid in uids)


async def test_a_second_cancellation_after_a_silent_restoration_uses_the_uid_that_members_have(
    installation: Installation,
) -> None:
    """Restored without telling anybody and cancelled again: nobody was sent a REQUEST under the new UID."""
    await publish(installation, Change(cancel=True))
    await publish(installation, Change(restore=True), told=False)
    await publish(installation, Change(cancel=True))
    events = calendars(installation, "Ann")
    assert [method for method, _ in events] == ["REQUEST", "CANCEL", "CANCEL"]
    assert len({event["UID"] for _, event in events}) == 1
    assert [event["SEQUENCE"] for _, event in events] == [0, 1, 3]


async def test_a_silent_cancellation_and_restoration_keeps_the_calendar_entry(
    installation: Installation,
) -> None:
    """No calendar was told: with a new UID the meeting would appear twice in all of them."""
    for change, told in (
        (Change(cancel=True), True),
        (Change(restore=True), True),
        (Change(cancel=True), False),
        (Change(restore=True), False),
        (Change(topic="Hope"), True),
    ):
        await publish(installation, change, told=told)
    *_, (again, stands), (method, changed) = calendars(installation, "Ann")
    assert (again, method) == ("REQUEST", "REQUEST")
    assert stands["UID"] == changed["UID"] and "Hope" in str(changed["SUMMARY"])


async def test_what_follows_an_invitation_is_threaded_under_it(installation: Installation) -> None:
    await publish(installation, Change(topic="Hope"))
    await publish(installation, Change(cancel=True))
    invitation, *others = sorted(mails_to(installation, "Ann"), key=lambda mail: str(mail["Date"]))
    assert all(
        mail["In-Reply-To"] == mail["References"] == invitation["Message-ID"]
        for mail in others
        if str(mail["Subject"]).startswith(("Changed", "Cancelled"))
    )
    assert len(others) == 2 and all("In-Reply-To" not in mail for mail in mails_to(installation, "Di"))


async def test_only_the_last_reminder_names_the_room_and_no_other_mail_does(
    installation: Installation,
) -> None:
    await publish(installation, Change(topic="Hope"))
    await installation.live(datetime(2026, 11, 19, 18, tzinfo=UTC))
    named = [
        str(mail["Date"])
        for mail in mails_to(installation, "Ann")
        if any(
            SERIES.link in str(part.get_content())
            for part in mail.walk()
            if part.get_content_maintype() == "text" and part.get_content_subtype() != "calendar"
        )
    ]
    assert named == ["Thu, 19 Nov 2026 17:00:00 +0000"]
    (last,) = [mail for mail in mails_to(installation, "Ann") if str(mail["Date"]) in named]
    text = last.get_body(("plain",))
    assert text and (
        "15 minutes before the meeting starts.\nIf that link doesn't open, you can go straight to the meeting room:\n"
        f"{SERIES.link}\n" in text.get_content().replace("\r\n", "\n")
    )


async def test_without_the_setting_no_mail_names_the_room(installation: Installation) -> None:
    installation.dispatcher._writer._room_policies = ()  # type: ignore[attr-defined]
    await installation.live(datetime(2026, 11, 19, 18, tzinfo=UTC))
    assert len(mails_to(installation, "Ann")) == 3
    assert not any(
        "room.example.org" in str(part.get_payload(decode=True))
        for mail in installation.mails()
        for part in mail.walk()
    )
