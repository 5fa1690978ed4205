"""What members' calendars are told when a meeting changes, is cancelled and stands again (RFC 5546)."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path

import pytest
from icalendar import Calendar, Event

from scheduler.service.amending import Change, amend, tell
from tests.house import SERIES, House, address_of, open_house

KEY = "conversation-for-kindness/2026-11-19"
INVITED = datetime(2026, 11, 10, 12, tzinfo=UTC)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """Ann was sent her invitation; Di came later and was not."""
    async with open_house(tmp_path, datetime(2026, 11, 1, 12, tzinfo=UTC)) as house:
        await house.tick()
        await house.join(("Ann", "Europe/London"))
        await house.live(INVITED)
        await house.join(("Di", "Europe/London"), uninvited_at=house.clock.now())
        yield house


async def press(house: House, change: Change, *, told: bool = True) -> None:
    house.clock.pass_until(house.clock.now().replace(second=(house.clock.now().second + 1) % 60))
    amended = await amend(house.database, house.by_slug, KEY, change, now=house.clock.now())
    if told:
        await tell(house.database, amended, now=house.clock.now())
    await house.tick()


def mails_to(house: House, name: str) -> list[EmailMessage]:
    return [mail for mail in house.mails() if address_of(name) in str(mail["To"])]


def calendars(house: House, name: str) -> list[tuple[str, Event]]:
    """Method and event of each calendar part that the member was sent, the oldest first."""
    found = []
    for mail in mails_to(house, name):
        for part in mail.walk():
            if part.get_content_type() == "text/calendar":
                octets = part.get_payload(decode=True)
                assert isinstance(octets, bytes)
                calendar = Calendar.from_ical(octets)
                assert part.get_param("method") == calendar["METHOD"]
                found.append((str(calendar["METHOD"]), calendar.events[0]))
    return sorted(found, key=lambda one: one[1].DTSTAMP)


async def test_sequence_goes_up_with_start_and_status_and_the_stamp_with_every_change(house: House) -> None:
    await press(house, Change(topic="Hope"))
    await press(house, Change(move_to=datetime(2026, 11, 19, 17)))
    await press(house, Change(cancel=True))
    found = calendars(house, "Ann")
    assert [(method, event["SEQUENCE"]) for method, event in found] == [
        ("REQUEST", 0), ("REQUEST", 0), ("REQUEST", 1), ("CANCEL", 2),
    ]  # fmt: skip
    assert len({event["UID"] for _, event in found}) == 1
    stamps = [event.DTSTAMP for _, event in found]
    assert stamps == sorted(set(stamps))
    assert found[-1][1]["STATUS"] == "CANCELLED" and found[-1][1].start == found[-2][1].start


async def test_who_was_not_sent_a_request_gets_the_same_mails_without_a_calendar_part(house: House) -> None:
    for change in (Change(topic="Hope"), Change(cancel=True), Change(restore=True)):
        await press(house, change)
    assert len(mails_to(house, "Di")) == 3 and calendars(house, "Di") == []
    assert len(calendars(house, "Ann")) == 4


async def test_a_meeting_that_stands_again_comes_under_a_new_uid_with_its_ordinal(house: House) -> None:
    for change in (Change(cancel=True), Change(restore=True), Change(cancel=True), Change(restore=True)):
        await press(house, change)
    found = calendars(house, "Ann")
    uids = [str(event["UID"]) for _, event in found]
    assert [method for method, _ in found] == ["REQUEST", "CANCEL", "REQUEST", "CANCEL", "REQUEST"]
    assert uids[0] == uids[1] and uids[2] == uids[3] and len(set(uids)) == 3
    stem, member, domain = (
        uids[0].partition(".")[0],
        uids[0].split(".", 1)[1].partition("@")[0],
        "example.org",
    )
    assert [uid.removeprefix(f"{stem}.").partition(".")[0] for uid in uids[2::2]] == ["r1", "r2"]
    assert all(member in uid and uid.endswith(domain) and len(uid) <= 100 for uid in uids)


async def test_a_second_cancellation_after_a_silent_return_names_the_uid_that_members_know(
    house: House,
) -> None:
    """Restored without a word and cancelled again: nobody was sent a REQUEST under the new UID."""
    await press(house, Change(cancel=True))
    await press(house, Change(restore=True), told=False)
    await press(house, Change(cancel=True))
    found = calendars(house, "Ann")
    assert [method for method, _ in found] == ["REQUEST", "CANCEL", "CANCEL"]
    assert len({event["UID"] for _, event in found}) == 1
    assert [event["SEQUENCE"] for _, event in found] == [0, 1, 3]


async def test_what_follows_an_invitation_is_threaded_under_it(house: House) -> None:
    await press(house, Change(topic="Hope"))
    await press(house, Change(cancel=True))
    invitation, *others = sorted(mails_to(house, "Ann"), key=lambda mail: str(mail["Date"]))
    assert all(
        mail["In-Reply-To"] == mail["References"] == invitation["Message-ID"]
        for mail in others if str(mail["Subject"]).startswith(("Changed", "Cancelled"))
    )  # fmt: skip
    assert len(others) == 2 and all("In-Reply-To" not in mail for mail in mails_to(house, "Di"))


async def test_only_the_last_reminder_names_the_room_and_no_other_mail_does(house: House) -> None:
    await press(house, Change(topic="Hope"))
    await house.live(datetime(2026, 11, 19, 18, tzinfo=UTC))
    named = [
        str(mail["Date"]) for mail in mails_to(house, "Ann")
        if any(
            SERIES.link in str(part.get_content()) for part in mail.walk() if part.get_content_maintype() == "text"
            and part.get_content_subtype() != "calendar"
        )
    ]  # fmt: skip
    assert named == ["Thu, 19 Nov 2026 17:00:00 +0000"]
    (last,) = [mail for mail in mails_to(house, "Ann") if str(mail["Date"]) in named]
    text = last.get_body(("plain",))
    assert text and (
        "15 minutes before the start.\nShould that link not open, the room itself is here:\n"
        f"{SERIES.link}\n" in text.get_content().replace("\r\n", "\n")
    )


async def test_without_the_setting_no_mail_names_the_room(house: House) -> None:
    house.dispatcher._writer._room_policies = ()  # type: ignore[attr-defined]
    await house.live(datetime(2026, 11, 19, 18, tzinfo=UTC))
    assert len(mails_to(house, "Ann")) == 3
    assert not any("room.example.org" in str(part.get_payload(decode=True)) for mail in house.mails()
                   for part in mail.walk())  # fmt: skip
