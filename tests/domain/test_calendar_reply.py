"""Answers of calendar programs."""

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.domain.calendar import invitation_uid
from scheduler.domain.calendar_reply import Attendee, CalendarReply, newest, read_replies, read_uid
from tests import inbound_mail as returned
from tests.installation import SERIES

NOW = datetime(2026, 11, 10, 14, tzinfo=UTC)
HASH = "abcdefghijklmnopqrstuvwxyz"


@pytest.mark.parametrize("write", [returned.outlook, returned.google, returned.apple])
def test_replies_of_common_calendar_programs_are_read(write: object) -> None:
    assert callable(write)
    for ends in ("\n", "\r\n"):
        text = write("uid@example.org", "bo@example.org", "DECLINED", sequence=2).replace("\n", ends)
        assert read_replies(text) == [
            CalendarReply(
                uid="uid@example.org",
                attendees=(Attendee(("bo@example.org",), "declined"),),
                sequence=2,
                stamped=datetime(2026, 11, 10, 13, tzinfo=UTC),
                starts=datetime(2026, 11, 19, 18, tzinfo=UTC),
            )
        ]


def test_bad_values_are_ignored() -> None:
    text = (
        returned.google("u", "bo@example.org")
        .replace("SEQUENCE:0", "SEQUENCE:x")
        .replace("20261110T130000Z", "2026")
    )
    (reply,) = read_replies(text)
    assert (reply.sequence, reply.stamped) == (None, None)
    (reply,) = read_replies(returned.google("u", "bo@example.org", sequence=9 * 10**12))
    assert reply.sequence == 2**31 - 1
    (reply,) = read_replies(returned.google("u", "bo%2Btea@example.org?subject=x"))
    assert reply.attendees[0].addresses == ("bo+tea@example.org",)
    assert read_replies(returned.google("u", "nobody"))[0].attendees[0].addresses == ()


def test_only_an_object_with_method_reply_is_a_reply() -> None:
    assert (
        read_replies(returned.google("u", "bo@example.org").replace("METHOD:REPLY", "METHOD:REQUEST")) == []
    )
    assert read_replies(returned.google("u", "bo@example.org").replace("METHOD:REPLY\n", "")) == []
    assert read_replies("") == []


def test_properties_in_the_zone_block_or_after_the_event_do_not_belong_to_the_event() -> None:
    text = returned.google("u", "bo@example.org").replace(
        "END:VCALENDAR", "UID:other\nSEQUENCE:9\nEND:VCALENDAR"
    )
    assert [(reply.uid, reply.sequence) for reply in read_replies(text)] == [("u", 0)]


@pytest.mark.parametrize(
    "lines",
    [
        "BEGIN:VALARM\nUID:other\nATTENDEE:mailto:x@example.org\nSEQUENCE:9\nEND:VALARM\n",
        "BEGIN:X-THING\n",
        "END:X-THING\n",
        ":::\n",
        "ORGANIZER\n",
        'ORGANIZER;CN="x:mailto:y\n',
        "DTSTART;TZID=:x\n",
        'RRULE;X="\n',
        "SUMMARY\u00a0;LANGUAGE=en:x\n",
        "DESCRIPTION:" + "x" * 20_000 + "\n",
    ],
)
def test_bad_lines_and_lines_of_an_alarm_change_no_answer(lines: str) -> None:
    text = returned.google("u", "bo@example.org", "DECLINED").replace("DTSTART:", f"{lines}DTSTART:", 1)
    (reply,) = read_replies(text)
    assert (reply.uid, reply.sequence, reply.answer_of("bo@example.org")) == ("u", 0, "declined")


def test_a_uid_of_our_own_identifies_its_meeting() -> None:
    for day, reinstated in ((date(2026, 11, 19), 0), (date(2027, 3, 18), 12)):
        occurrence = SERIES.occurrence(day, NOW)
        object.__setattr__(occurrence, "reinstated", reinstated)
        uid = invitation_uid(occurrence, HASH, "example.org")
        assert read_uid(uid, "example.org") == (occurrence.key, HASH)
        assert read_uid(f" {uid.upper()} ", "example.org") == (occurrence.key, HASH)
        assert read_uid(uid, "other.example.org") is None
    extra = f"tea-20261119t1830.{HASH}@example.org"
    assert read_uid(extra, "example.org") == ("tea/2026-11-19T1830", HASH)
    for wrong in (
        "",
        "x",
        f"tea-20261399.{HASH}@example.org",
        f"tea-20261119t2561.{HASH}@example.org",
        "tea-20261119@example.org",
        f"tea-20261119.{HASH}x@example.org",
    ):
        assert read_uid(wrong, "example.org") is None, wrong


def test_the_highest_sequence_and_then_the_latest_stamp_comes_last() -> None:
    def reply_of(sequence: int, stamped: datetime | None) -> CalendarReply:
        return CalendarReply(uid="u", attendees=(), sequence=sequence, stamped=stamped)

    early, late = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 2, tzinfo=UTC)
    assert newest([reply_of(1, early), reply_of(0, late), reply_of(0, None), reply_of(0, early)], NOW) == [
        reply_of(0, early),
        reply_of(0, late),
        reply_of(0, None),
        reply_of(1, early),
    ]


_LINES = st.sampled_from(
    [
        "BEGIN:VCALENDAR",
        "METHOD:REPLY",
        "BEGIN:VEVENT",
        "END:VEVENT",
        "UID:u",
        "ATTENDEE;PARTSTAT=ACCEPTED:mailto:a@b",
        "ATTENDEE;PARTSTAT=",
        'ATTENDEE;CN="x:mailto:a@b',
        "SEQUENCE:-1",
        "SEQUENCE:\u0661",
        "DTSTAMP:99999999T999999Z",
        " folded",
        "X;;;=:",
        ":",
        "\x00",
        "BEGIN:VALARM",
        "DTSTAMP;TZID=GMT Standard Time:20261119T180000",
    ]
)


@given(st.lists(_LINES | st.text(max_size=60), max_size=40).map("\r\n".join))
def test_any_calendar_can_be_read_without_an_error(text: str) -> None:
    for reply in read_replies(text):
        assert all(address.isprintable() for line in reply.attendees for address in line.addresses)
        assert 0 <= (reply.sequence or 0) < 2**31
        read_uid(reply.uid, "example.org")
