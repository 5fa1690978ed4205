"""The placeholders of a notice: filled in for each member, in every part, and safe whatever the values are."""

from dataclasses import replace

import pytest

from scheduler.delivery.compose.composer import RecipientValues
from scheduler.domain.errors import Problem
from tests.delivery.mails import (
    CANCELLED,
    DATE,
    MEI,
    MOVED,
    NOVEMBER,
    SERIES,
    TOKEN,
    at,
    composer,
    message,
    personal,
    received,
)
from tests.delivery.mails import FILLED_NOTICE as WORDS


def test_each_placeholder_is_filled_in_by_the_members_own_clock() -> None:
    mail = received(message(at(WORDS, "Asia/Kathmandu", "en-US")))
    assert mail.subject == "Mei Lin: Thursday 19 November, 11:45 pm Kathmandu (UTC+5:45)"
    span = "Thursday 19 November 2026, 11:45 pm to 12:45 am on Friday in Kathmandu (UTC+5:45)"
    base = "https://meet.kindness.example.org"
    join = f"{base}/go/{TOKEN}/conversation-for-kindness/2026-11-19"
    assert f"Dear Mei Lin, {SERIES.title} is on *{span}*: {NOVEMBER.topic}." in mail.text
    assert "Thursday 19 November 2026 11:45 pm in Kathmandu (UTC+5:45)" in mail.text
    links = f"Join ({join}) {base}/rsvp/{TOKEN} {base}/me/{TOKEN} {base}/subscribe/{TOKEN}"
    assert links in mail.text
    assert f'<time datetime="2026-11-19T23:45:00+05:45">{span}</time>' in mail.html
    start = mail.html.partition('class="preheader"')[2].partition(">")[2].partition("</div>")[0]
    assert start.strip().startswith(
        f"Dear Mei Lin, {SERIES.title} is on *Thursday 19 November 2026, 11:45 pm"
    )
    assert start.strip().endswith("...") and "()" not in start
    assert f'href="{join}"' in mail.html and "Dear \u2068Mei Lin\u2069, " in mail.html


@pytest.mark.parametrize(
    ("name", "subject", "html"),
    [
        ("", "friend: Tea", "\u2068friend\u2069"),
        ("<b>Zoë</b> & Co", "<b>Zoë</b> & Co: Tea", "\u2068&lt;b&gt;Zoë&lt;/b&gt; &amp; Co\u2069"),
        ("{when} {{ x }}", "{when} {{ x }}: Tea", "\u2068{when} {{ x }}\u2069"),
        ("נועה", "\u2068נועה\u2069: Tea", "\u2068נועה\u2069"),
        ("x" * 400, f"{'x' * 400}: Tea", "x" * 400),
    ],
    ids="nameless html braces rtl long".split(),
)
def test_a_name_is_safe_in_the_subject_and_in_the_html(name: str, subject: str, html: str) -> None:
    cohort = replace(WORDS, subject="{name}: Tea", body="{name}")
    mail = received(message(cohort, MEI._replace(name=name)))
    assert (mail.subject, html in mail.html) == (subject, True)
    assert all(len(line) <= 998 for line in message(cohort, MEI._replace(name=name)).split(b"\r\n"))


def test_a_name_cannot_forge_a_header() -> None:
    forged: RecipientValues = personal(WORDS, MEI._replace(name="x\r\nBcc: all@example.org"))
    with pytest.raises(Problem, match="U\\+000D"):
        composer().compose(WORDS).message(forged, date=DATE)


def test_without_its_meeting_or_with_a_cancelled_one_nothing_is_composed() -> None:
    with pytest.raises(Problem, match="{meeting}|{when}"):
        composer().compose(replace(WORDS, mentions=None))
    with pytest.raises(ValueError, match="cannot mention"):
        replace(WORDS, mentions=(SERIES, CANCELLED))
    moved = received(message(replace(WORDS, mentions=(SERIES, MOVED))))
    assert "Friday 27 November" in moved.subject


def test_words_without_placeholders_need_no_more_links_than_before() -> None:
    plain = replace(WORDS, subject="Tea", body="Write `{join_link}` or \\{name}.", mentions=None)
    mail = received(message(plain))
    assert "Write {join_link} or {name}." in mail.text
    assert mail.subject == "Tea"
