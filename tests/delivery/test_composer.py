"""What a member reads: the right time in every part of the mail, and a text that fits what has happened."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from shutil import copytree
from zoneinfo import ZoneInfo

import pytest

from scheduler.delivery.compose import composer as composer_module
from scheduler.delivery.compose.composer import Cohort
from scheduler.delivery.send.transport import Envelope
from scheduler.domain.calendar import invitation
from scheduler.domain.errors import Problem, Refused
from scheduler.domain.policy import Kind
from scheduler.web.public import shown_time
from scheduler.web.site import read_templates
from tests.delivery import mails
from tests.delivery.mails import (
    CANCELLATION,
    CANCELLED,
    COHORTS,
    DATE,
    EVERY_MAIL,
    INVITATION,
    MEI,
    MOVED,
    NOTICE,
    NOVEMBER,
    OF_SEVERAL,
    REMINDER,
    SERIES,
    UPDATE,
    at,
    composer,
    links,
    message,
    personal,
    received,
)

PAGES = Path(__file__).parents[2] / "templates" / "web"
INSTANT = datetime(2026, 11, 19, 18, tzinfo=UTC)


@pytest.mark.parametrize("kind", EVERY_MAIL)
def test_each_kind_of_mail_matches_its_golden_file(kind: str, golden: Callable[[str, bytes], None]) -> None:
    golden(f"{kind}.eml", message(EVERY_MAIL[kind]))


@pytest.mark.parametrize("name", OF_SEVERAL)
def test_a_mail_of_a_community_with_several_series_matches_its_golden_file(
    name: str, golden: Callable[[str, bytes], None]
) -> None:
    golden(f"{name}.eml", message(OF_SEVERAL[name]))


@pytest.mark.parametrize("kind", COHORTS)
def test_where_there_are_several_series_a_footer_names_its_own_and_offers_to_stop_it_alone(kind: str) -> None:
    one = COHORTS[kind] if COHORTS[kind].series else replace(COHORTS[kind], series=SERIES)
    mail, alone = received(message(replace(one, several_series=True))), received(message(COHORTS[kind]))
    leave = links(one)["leave_url"]
    stop = f"{leave}?series={SERIES.slug}"
    for body, body_alone in ((mail.text, alone.text), (mail.html, alone.html)):
        assert stop in body and leave in body.replace(stop, "")
        assert "?series=" not in body_alone and "Stop following" not in body_alone
    for header in ("List-Unsubscribe", "List-ID", "Subject"):
        assert mail.whole[header] == alone.whole[header]


def test_a_notice_to_everybody_names_no_series() -> None:
    assert "Stop following" not in received(message(replace(NOTICE, several_series=True))).text


def test_a_welcome_names_the_series_without_a_planned_meeting() -> None:
    followed = (*mails.FOLLOWED[:1], (mails.JOURNAL, None), (mails.ETHICS, None))
    mail = received(message(replace(mails.WELCOME_OF_SEVERAL, followed=followed)))
    for body in (mail.text, mail.html):
        assert "No meeting is planned yet for Journal club, Ethics table." in body


def test_a_welcome_asks_only_once_whether_the_time_zone_is_right() -> None:
    mail = received(message(mails.WELCOME_OF_SEVERAL, MEI._replace(assumed=True)))
    for body in (mail.text, mail.html):
        assert body.count("We worked out your time zone") == 1


@pytest.mark.parametrize(
    ("kind", "name"), [("invitation", "request"), ("update", "update"), ("cancellation", "cancel")]
)
def test_each_calendar_part_matches_its_golden_file(
    kind: str, name: str, golden: Callable[[str, bytes], None]
) -> None:
    (part, _) = [
        part
        for part in received(message(COHORTS[kind])).whole.walk()
        if part.get_content_type() in ("text/calendar", "application/ics")
    ]
    octets = part.get_payload(decode=True)
    assert isinstance(octets, bytes)
    golden(f"{name}.ics", octets)


@pytest.mark.parametrize("kind", COHORTS)
def test_the_same_input_gives_the_same_bytes(kind: str) -> None:
    assert message(COHORTS[kind]) == message(COHORTS[kind])


@pytest.mark.parametrize(
    ("zone", "locale", "line", "first_lines", "iso"),
    [
        (
            "Pacific/Auckland",
            "en-DE",
            "Friday 20 November, 07:00 Auckland (UTC+13)",
            "Friday 20 November 2026\n07:00 to 08:00 in Auckland (UTC+13)\n",
            "2026-11-20T07:00:00+13:00",
        ),
        (
            "Asia/Kolkata",
            "en-IN",
            "Thursday 19 November, 11:30 pm Kolkata (UTC+5:30)",
            "Thursday 19 November 2026\n11:30 pm to 12:30 am on Friday in Kolkata (UTC+5:30)\n",
            "2026-11-19T23:30:00+05:30",
        ),
        (
            "America/New_York",
            "en-US",
            "Thursday, November 19, 1:00 pm New York (UTC-5)",
            "Thursday, November 19, 2026\n1:00 pm to 2:00 pm in New York (UTC-5)\n",
            "2026-11-19T13:00:00-05:00",
        ),
        (
            "Europe/London",
            "en-GB",
            "Thursday 19 November, 18:00 London (UTC)",
            "Thursday 19 November 2026\n18:00 to 19:00 in London (UTC)\n",
            "2026-11-19T18:00:00+00:00",
        ),
    ],
)
def test_subject_text_html_and_calendar_part_show_the_members_local_time(
    zone: str, locale: str, line: str, first_lines: str, iso: str
) -> None:
    mail = received(message(at(INVITATION, zone, locale)))
    assert mail.subject == f"Conversation for Kindness: {line}"
    assert mail.text.startswith(first_lines)
    assert '<p class="clock"' in mail.html and f'<time datetime="{iso}">' in mail.html
    assert mail.calendar is not None and mail.calendar.start == INSTANT == datetime.fromisoformat(iso)


def test_the_time_in_london_is_shown_too_with_a_note_if_the_day_differs() -> None:
    mail = received(message(REMINDER))
    assert "In London: Thursday 19 November 2026, 18:00 to 19:00 (UTC). Friday for you." in mail.text
    assert "Friday for you." in mail.html


def test_a_member_in_the_home_zone_sees_one_time_only() -> None:
    assert "In London" not in received(message(at(REMINDER, "Europe/London", "en-GB"))).text


def test_a_clock_change_is_explained() -> None:
    """The USA changes clocks two weeks before the UK in spring: 13:00 becomes 14:00 for one meeting."""
    march = SERIES.occurrence(date(2027, 3, 18), DATE)
    mail = received(message(replace(at(REMINDER, "America/New_York", "en-US"), occurrence=march)))
    note = "2:00 pm this month, an hour later than last time: your clocks have changed and the UK's have not."
    assert note in mail.text and note in mail.html


@pytest.mark.parametrize("kind", COHORTS)
def test_no_mail_says_today_or_tomorrow(kind: str) -> None:
    mail = received(message(COHORTS[kind]))
    assert not re.search(
        r"\b(today|tomorrow|tonight|yesterday)\b", mail.subject + mail.text + mail.html, re.I
    )


@pytest.mark.parametrize("kind", ["invitation", "reminder", "update"])
def test_the_join_button_says_when_the_link_opens(kind: str) -> None:
    mail, link = received(message(COHORTS[kind])), links(COHORTS[kind])["join_url"]
    assert f'href="{link}"' in mail.html and f"Join the meeting:\n{link}\n" in mail.text
    assert mail.text.count("opens at 04:45 your time, 15 minutes before the meeting starts") == 1


@pytest.mark.parametrize("kind", ["invitation", "reminder", "update"])
def test_without_a_room_there_is_no_join_button_but_a_line_that_the_link_comes_later(kind: str) -> None:
    cohort = COHORTS[kind]
    assert cohort.series and cohort.occurrence
    before = replace(cohort.before, link="") if cohort.before else None
    bare = replace(
        cohort,
        series=replace(cohort.series, link=""),
        occurrence=replace(cohort.occurrence, link=""),
        before=before,
        room="",
    )
    content = message(bare)
    mail = received(content)
    for part in (mail.text, mail.html):
        assert "There is no link to this meeting yet." in part
        assert "Join the meeting" not in part and "/go/" not in part and "different online room" not in part
    if mail.calendar is not None:
        event = str(mail.calendar)
        assert "/go/" not in event and "Join the meeting" not in event


def test_a_start_just_after_midnight_names_the_day_on_which_the_link_opens() -> None:
    """In Dhaka the meeting starts at 00:00 in winter."""
    mail = received(message(at(REMINDER, "Asia/Dhaka", "en-GB")))
    assert mail.text.startswith("Friday 20 November 2026\n00:00 to 01:00 in Dhaka (UTC+6)\n")
    assert "The link opens at 23:45 on Thursday your time" in mail.text


@pytest.mark.parametrize("kind", COHORTS)
def test_every_mail_says_who_we_are_how_to_subscribe_and_how_to_leave(kind: str) -> None:
    mail = received(message(COHORTS[kind]))
    for words in (
        mails.COMMUNITY.name,
        mails.COMMUNITY.description,
        mails.COMMUNITY.website,
        mails.COMMUNITY.feed_url,
        "webcal://meet.kindness.example.org/calendar.ics",
        links(COHORTS[kind])["leave_url"],
    ):
        assert words in mail.text and words in mail.html


def test_only_a_member_whose_zone_we_assumed_is_asked_whether_it_is_right() -> None:
    mail = received(message(at(INVITATION, "Europe/Berlin", "en-DE"), MEI._replace(assumed=True)))
    question = "We worked out your time zone (Europe/Berlin) from your country. If it's wrong, "
    assert question in mail.text and question in mail.html
    assert "/me/" in mail.text and "/me/" in mail.html
    assert "worked out" not in received(message(at(INVITATION, "Europe/Berlin", "en-DE"))).text


def test_only_a_first_mail_says_who_we_are_why_it_was_sent_and_how_to_leave() -> None:
    for cohort in (INVITATION, REMINDER, NOTICE):
        first = received(message(replace(cohort, introduces=True)))
        for part in (first.text, first.html):
            assert "our first email to you" in part and "We show you times in Sydney" in part
            assert part.count("/me/") >= 2 and part.count("/u/") >= 2
        assert "first email" not in received(message(cohort)).text


def test_a_member_without_a_name_is_greeted_as_friend() -> None:
    mail = received(message(REMINDER, MEI._replace(name="")))
    assert "Dear friend," in mail.text and mail.whole["To"] == "mei@example.org"


def test_a_moved_meeting_shows_the_new_time_first_and_the_old_one_too() -> None:
    mail = received(message(UPDATE))
    assert mail.subject == "Changed: Conversation for Kindness: Friday 27 November, 05:00 Sydney (UTC+11)"
    assert mail.text.startswith(
        "Friday 27 November 2026\n05:00 to 06:00 in Sydney (UTC+11)\nThe time has changed."
    )
    old = "It was Friday 20 November 2026, 05:00 to 06:00 in Sydney (UTC+11)."
    assert old in mail.text and '<time datetime="2026-11-20T05:00:00+11:00">' in mail.html
    assert mail.calendar is not None and mail.calendar.start == MOVED.starts
    assert "Topic: Kindness to strangers (before: Small kindnesses at work)" in mail.text


def test_a_changed_detail_says_that_the_time_has_not_changed() -> None:
    occurrence = replace(NOVEMBER, topic="", link="https://rooms.example.org/other", revision=2)
    mail = received(message(replace(UPDATE, occurrence=occurrence)))
    assert "The time has not changed." in mail.text and "The time has changed" not in mail.text
    assert (
        "We'll meet in a different online room" in mail.text
        and "rooms.example.org" not in mail.text + mail.html
    )
    assert "Topic: not yet known (before: Small kindnesses at work)" in mail.text


def test_a_reinstated_meeting_says_so_in_the_subject() -> None:
    restored = replace(NOVEMBER, reinstated=1, sequence=2, revision=3)
    mail = received(message(replace(UPDATE, occurrence=restored, before=CANCELLED, body="")))
    assert mail.subject.startswith(
        "Going ahead after all: Conversation for Kindness: Friday 20 November, 05:00"
    )
    assert "will go ahead after all." in mail.text


def test_a_cancellation_names_the_time_that_members_were_told() -> None:
    """A meeting moved without notice, then cancelled: members and their calendars know only the first time."""
    mail = received(message(replace(CANCELLATION, occurrence=replace(MOVED, cancelled=True))))
    assert mail.subject == "Cancelled: Conversation for Kindness: Friday 20 November, 05:00 Sydney (UTC+11)"
    assert mail.text.startswith("Cancelled:\nFriday 20 November 2026\n05:00 to 06:00 in Sydney")
    assert "If we find another time, we'll let you know." in mail.text
    assert "Join" not in mail.text + mail.html
    assert mail.calendar is not None and mail.calendar.start == INSTANT
    assert mail.calendar["STATUS"] == "CANCELLED"


def test_a_convenors_text_is_in_update_cancellation_and_notice() -> None:
    assert "<strong>Thank you</strong>" in received(message(UPDATE)).html
    assert "Both of our speakers have had to travel home." in received(message(CANCELLATION)).text
    notice = received(message(NOTICE))
    assert notice.subject == NOTICE.subject and notice.text.startswith("Dear friends,\n")


def test_nobody_is_invited_to_a_cancelled_meeting() -> None:
    for cohort in (INVITATION, REMINDER, UPDATE):
        with pytest.raises(ValueError, match="cancelled"):
            replace(cohort, occurrence=CANCELLED)
    with pytest.raises(ValueError, match="scheduled"):
        replace(CANCELLATION, occurrence=NOVEMBER)


def test_a_cohort_whose_values_do_not_fit_together_is_refused() -> None:
    with pytest.raises(ValueError, match="no occurrence"):
        replace(NOTICE, occurrence=NOVEMBER, series=SERIES)
    with pytest.raises(ValueError, match="its series"):
        replace(REMINDER, series=None)
    with pytest.raises(ValueError, match="subject and a body"):
        Cohort(kind=Kind.NOTICE, zone=MEI.zone, locale=MEI.locale, subject="Hello")


def test_a_member_in_another_zone_is_refused_rather_than_told_a_wrong_time() -> None:
    composed = composer().compose(REMINDER)
    stranger = personal(REMINDER)._replace(zone="Asia/Tokyo")
    with pytest.raises(ValueError, match="member 17 is not in the cohort"):
        composed.message(stranger, date=DATE)


@pytest.mark.parametrize("name", [b"a@example.org>\r\nBcc: all", b"a b", b'"onclick', "é".encode()])
def test_a_token_or_identifier_that_could_break_the_markup_is_refused(name: bytes) -> None:
    own = personal(REMINDER)
    for wrong in (
        own._replace(message=name),
        own._replace(invited=name),
        own._replace(uid=name),
        own._replace(tokens=(*own.tokens[1:], name)),
    ):
        with pytest.raises(
            Refused, match="member 17: a token or an identifier has characters other than letters and digits"
        ):
            composer().compose(REMINDER).message(wrong, date=DATE)


@pytest.mark.parametrize(
    "base", ["https://x.example/a b", 'https://x.example/"onclick', "javascript:alert(1)"]
)
def test_a_link_that_could_break_the_markup_stops_its_notice(base: str) -> None:
    with pytest.raises(Problem, match="leave_url is not of the form"):
        composer(community=replace(mails.COMMUNITY, base_url=base)).compose(REMINDER)


@pytest.mark.parametrize("name", ["Mei\r\nBcc: x@example.org", "Mei\x00", "Mei\u202e", "Mei\u2028Lin"])
def test_a_name_with_control_characters_stops_only_that_members_mail(name: str) -> None:
    composed = composer().compose(REMINDER)
    with pytest.raises(Refused, match="member 17: name: character"):
        composed.message(personal(REMINDER, MEI._replace(name=name)), date=DATE)
    assert composed.message(personal(REMINDER), date=DATE)


def test_a_reminder_carries_no_calendar_part() -> None:
    with pytest.raises(Refused, match="carries no calendar part"):
        composer().compose(REMINDER).message(personal(REMINDER)._replace(uid=b"a" * 26), date=DATE)


def test_a_naive_date_is_refused() -> None:
    with pytest.raises(Refused, match="naive"):
        composer().compose(REMINDER).message(personal(REMINDER), date=DATE.replace(tzinfo=None))


@pytest.mark.parametrize(
    ("kind", "file", "part"),
    [
        ("reminder", "subject.txt", "subject"),
        ("invitation", "body.txt", "text"),
        ("update", "body.html", "HTML"),
    ],
)
def test_a_template_without_the_start_time_stops_its_notice(
    tmp_path: Path, kind: str, file: str, part: str
) -> None:
    templates = copytree(mails.TEMPLATES, tmp_path / "email")
    (templates / kind / file).write_text("We meet soon.\n", encoding="utf-8")
    with pytest.raises(
        Problem, match=f"{kind} for Australia/Sydney: the {part} does not show the start, 05:00"
    ):
        composer(templates).compose(COHORTS[kind])


def test_a_calendar_part_with_another_start_stops_its_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    late = replace(NOVEMBER, starts=NOVEMBER.starts + timedelta(minutes=30))
    monkeypatch.setattr(
        composer_module, "invitation", lambda _, *args, **options: invitation(late, *args, **options)
    )
    with pytest.raises(Problem, match="the calendar part does not show the start"):
        composer().compose(INVITATION)


@pytest.mark.parametrize("zone", ["Australia/Sydney", "Asia/Kolkata", "America/St_Johns", "Europe/London"])
def test_the_web_page_shows_the_instant_that_the_mail_shows(zone: str) -> None:
    for cohort in (INVITATION, REMINDER, UPDATE):
        assert cohort.occurrence and cohort.series
        start = f'datetime="{cohort.occurrence.starts.astimezone(ZoneInfo(zone)).isoformat()}"'
        assert start in received(message(at(cohort, zone, "en-GB"))).html
        assert start in shown_time(read_templates(PAGES), cohort.occurrence, cohort.series, zone)


@pytest.mark.parametrize("kind", COHORTS)
def test_every_mail_fits_an_envelope(kind: str) -> None:
    content = message(COHORTS[kind])
    assert Envelope(
        sender="a@example.org", recipient="b@example.org", pieces=[content], envelope_id="1"
    ).content.isascii()
    assert max(map(len, content.split(b"\r\n"))) <= 998
