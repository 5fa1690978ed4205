"""Any accepted name, topic or subject arrives unchanged and cannot add a header."""

from dataclasses import replace
from email import message_from_bytes, policy
from email.header import Header, decode_header, make_header
from html.parser import HTMLParser

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from icalendar import Calendar

from scheduler.delivery.compose.bytes_template import quoted_printable_pieces
from scheduler.delivery.compose.mime import CALENDAR, header, mailbox_words, mime, text_words
from scheduler.domain.calendar import invitation_uid
from scheduler.domain.errors import Refused
from scheduler.domain.text import require_line
from tests.delivery.mails import (
    CANCELLATION,
    COHORTS,
    COMMUNITY,
    DATE,
    INVITATION,
    MEI,
    NOTICE,
    NOVEMBER,
    REMINDER,
    composer,
    links,
    message,
    personal,
    received,
)

# Characters likely to cause trouble: syntax of headers, HTML, templates and calendars, various scripts, emoji.
_AWKWARD = st.text(
    st.sampled_from("\"\\<>()@,;:=?_&'{}%#\u00a0\u200d\ufeff\ufdd0é日שע👩🏽‍🚀 ")
    | st.characters(codec="utf-8"),
    min_size=1,
    max_size=60,
)
LINES = _AWKWARD | st.text(st.characters(codec="utf-8"), min_size=1, max_size=500)
SETTING = composer().compose(INVITATION)


def accepted(line: str) -> str:
    """Return the line as an import would store it; skip the example if it would be refused."""
    try:
        line = require_line(line, "a name")
    except Refused:
        assume(False)
    assume(line)
    return line


def names_of_headers(content: bytes) -> list[str]:
    head = content.partition(b"\r\n\r\n")[0].decode("ascii")
    return [line.partition(":")[0] for line in head.split("\r\n") if not line.startswith(" ")]


def readable(html: str) -> str:
    """Return the text of a page as a program without styles shows it."""
    texts: list[str] = []

    class Reader(HTMLParser):
        def handle_data(self, data: str) -> None:
            texts.append(data)

    Reader(convert_charrefs=True).feed(html)
    return "".join(texts)


def fits_the_wire(content: bytes) -> bool:
    lines = content.split(b"\r\n")
    return (
        content.isascii() and max(map(len, lines)) <= 998 and not any(set(line) & {10, 13} for line in lines)
    )


@settings(max_examples=50)
@given(name=LINES)
@example(name='"Bobby" \\ <script>alert(1)</script>, Jr. =?utf-8?q?=0D=0ABcc:?=')
@example(name="Ж" * 500)
@example(name="x" * 500)
@example(name="a  b")
def test_any_accepted_name_arrives_unchanged_and_makes_no_header(name: str) -> None:
    name = accepted(name)
    content = SETTING.message(personal(INVITATION, MEI._replace(name=name)), date=DATE)
    assert fits_the_wire(content)
    assert names_of_headers(content) == names_of_headers(message(INVITATION))
    raw = message_from_bytes(content)["To"]
    phrase = raw.rpartition(" <")[0].replace("\r\n", "")
    if phrase.startswith('"'):
        assert phrase[1:-1].replace('\\"', '"').replace("\\\\", "\\") == name
    else:
        assert str(make_header(decode_header(phrase))) == name
    assert raw.endswith("<mei@example.org>")
    mail = received(content)
    assert f"Dear {name},\n" in mail.text
    assert f"Dear \u2068{name}\u2069," in readable(mail.html)
    assert mail.calendar is not None


@settings(max_examples=50)
@given(topic=LINES)
@example(topic="{{ 7 * 7 }} {% raw %} </bdi><img src=x onerror=alert(1)>")
@example(topic="blank-00000000000000000000000000000000-name-")
def test_any_accepted_topic_arrives_unchanged(topic: str) -> None:
    topic = accepted(topic)
    cohort = replace(INVITATION, occurrence=replace(NOVEMBER, topic=topic))
    content = composer().compose(cohort).message(personal(cohort), date=DATE)
    assert fits_the_wire(content) and names_of_headers(content) == names_of_headers(message(INVITATION))
    mail = received(content)
    assert f"Topic: {topic}\n" in mail.text
    assert f"Topic: \u2068{topic}\u2069\n" in readable(mail.html)
    assert mail.calendar is not None and mail.calendar["SUMMARY"] == f"Conversation for Kindness: {topic}"


@settings(max_examples=50)
@given(subject=LINES)
@example(subject="=?utf-8?q?hidden?=")
@example(subject="word " * 99 + "end")
@example(subject="a  b")
@example(subject="x" * 500)
def test_any_accepted_subject_arrives_unchanged(subject: str) -> None:
    subject = accepted(subject)
    content = message(replace(NOTICE, subject=subject))
    assert fits_the_wire(content) and names_of_headers(content) == names_of_headers(message(NOTICE))
    raw = message_from_bytes(content)["Subject"]
    assert str(make_header(decode_header(raw.replace("\r\n", "")))) == subject


@pytest.mark.parametrize("kind", COHORTS)
def test_every_mail_has_the_headers_of_bulk_mail_once_each(kind: str) -> None:
    content = message(COHORTS[kind])
    whole, own = received(content).whole, personal(COHORTS[kind])
    leave = links(COHORTS[kind])["leave_url"]
    expected = {
        "Message-ID": f"<{own.message.decode()}@kindness.example.org>",
        "Date": "Thu, 19 Nov 2026 17:00:00 +0000",
        "To": "Mei Lin <mei@example.org>",
        "From": "Conversation for Kindness <hello@kindness.example.org>",
        "Reply-To": "convenors@kindness.example.org",
        "Auto-Submitted": "auto-generated",
        "Precedence": "bulk",
        "X-Auto-Response-Suppress": "OOF, AutoReply",
        "MIME-Version": "1.0",
        "List-ID": "Conversation for Kindness <members.kindness.example.org>",
        "List-Unsubscribe": f"<{leave}>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }
    assert {name: whole[name] for name in expected} == expected
    names = names_of_headers(content)
    assert len(names) == len(set(names))
    *labels, sender = whole["Feedback-ID"].split(":")
    assert len(labels) == 3 and 5 <= len(sender) <= 15


def test_later_mails_are_threaded_under_the_invitation() -> None:
    whole = received(message(REMINDER)).whole
    assert whole["In-Reply-To"] == whole["References"] == "<invitation17@kindness.example.org>"
    assert "In-Reply-To" not in received(message(INVITATION)).whole


@pytest.mark.parametrize(
    ("kind", "method"), [("invitation", "REQUEST"), ("update", "REQUEST"), ("cancellation", "CANCEL")]
)
def test_the_calendar_part_of_an_invitation_is_the_last_alternative_and_the_only_attachment(
    kind: str, method: str
) -> None:
    content = message(COHORTS[kind])
    body, attachment = received(content).whole.iter_parts()
    assert [part.get_content_type() for part in body.iter_parts()] == [
        "text/plain",
        "text/html",
        "text/calendar",
    ]
    inline = list(body.iter_parts())[-1]
    assert f'text/calendar; charset="utf-8"; method={method}\r\n'.encode() in content
    assert inline["Content-Transfer-Encoding"] == "base64"
    assert (attachment.get_content_type(), attachment.get_filename()) == ("application/ics", "invite.ics")
    calendar = inline.get_payload(decode=True)
    assert isinstance(calendar, bytes) and calendar == attachment.get_payload(decode=True)
    read = Calendar.from_ical(calendar)
    assert read["METHOD"] == method
    assert read.events[0]["ATTENDEE"] == "mailto:mei@example.org"
    assert read.events[0]["ORGANIZER"] == f"mailto:{COMMUNITY.address}"
    assert read.events[0]["UID"] == invitation_uid(NOVEMBER, "a" * 26, COMMUNITY.domain)


@pytest.mark.parametrize("kind", COHORTS)
def test_without_a_uid_a_mail_is_text_and_html_only(kind: str) -> None:
    cohort = COHORTS[kind]
    whole = received(composer().compose(cohort).message(personal(cohort)._replace(uid=b""), date=DATE)).whole
    assert whole.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in whole.iter_parts()] == ["text/plain", "text/html"]
    assert {part["Content-Transfer-Encoding"] for part in whole.iter_parts()} == {"quoted-printable"}


def test_a_long_leave_link_and_message_id_are_not_folded() -> None:
    long = replace(
        COMMUNITY, base_url=f"https://meet.example.org/{'a' * 400}", domain=f"{'b' * 200}.example.org"
    )
    content = composer(community=long).compose(REMINDER).message(personal(REMINDER), date=DATE)
    assert f"\r\nList-Unsubscribe: <{links(REMINDER, long)['leave_url']}>\r\n".encode() in content
    assert content.startswith(f"Message-ID: <reminder17@{long.domain}>\r\n".encode())


def test_a_domain_outside_ascii_is_written_as_in_the_dns() -> None:
    mail = received(message(CANCELLATION, MEI._replace(name="Jürgen Groß", address="jg@bücher.example")))
    assert mail.whole["To"] == "Jürgen Groß <jg@xn--bcher-kva.example>"
    assert mail.calendar is not None and mail.calendar["ATTENDEE"] == "mailto:jg@xn--bcher-kva.example"


def test_an_address_outside_ascii_is_shown_as_a_group_and_used_in_the_envelope_only() -> None:
    content = message(REMINDER, MEI._replace(name="Jürgen", address="jürgen@example.org"))
    assert content.isascii()
    to = message_from_bytes(content, policy=policy.default)["To"]
    assert to.addresses == () and to.groups[0].display_name == "Jürgen jürgen@example.org"


@pytest.mark.parametrize(
    "address", ["a b@example.org", '"a b"@example.org', "a@exa mple.org", "a,b@example.org", "a@", "a"]
)
def test_an_address_that_could_be_read_as_several_is_refused(address: str) -> None:
    with pytest.raises(Refused, match="member 17"):
        message(REMINDER, MEI._replace(address=address))


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("Mei Lin", b"To: Mei Lin <a@b.example>\r\n"),
        ("O'Brien", b"To: O'Brien <a@b.example>\r\n"),
        ("Lin, Mei", b'To: "Lin, Mei" <a@b.example>\r\n'),
        ('Mei "M" \\', b'To: "Mei \\"M\\" \\\\" <a@b.example>\r\n'),
        ("", b"To: a@b.example\r\n"),
    ],
)
def test_a_name_is_quoted_only_where_it_must_be(name: str, written: bytes) -> None:
    assert header("To", *mailbox_words(name, "a@b.example")) == written


def test_a_header_is_folded_between_words_only_and_its_first_line_is_not_empty() -> None:
    assert (
        header("X-Test", "a" * 100, "b" * 60, "c")
        == b"X-Test: " + b"a" * 100 + b"\r\n " + b"b" * 60 + b" c\r\n"
    )
    assert text_words("plain words") == ["plain", "words"]
    for word in ("line\r\nBcc: x", "é", "x" * 1000):
        with pytest.raises(ValueError, match="header X-Test"):
            header("X-Test", word)


def test_a_boundary_cannot_occur_in_a_body() -> None:
    headers, body = mime(
        quoted_printable_pieces(["--=_b.0--\n"]),
        quoted_printable_pieces(["--=_b.1\n"]),
        boundary="b",
        method="REQUEST",
        order=[CALENDAR],
    )
    content = headers + b"\r\n" + body.fill([b"LS09X2IuMQ==\r\n"])
    whole = message_from_bytes(content, policy=policy.default)
    assert [part.get_content_type() for part in whole.walk()] == [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
        "text/html",
        "text/calendar",
        "application/ics",
    ]


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from("aB .'-_=?,<ÅéñßŵāØ李عائشةОльга👩\u3000"), max_size=90))
def test_an_encoded_word_is_what_the_library_would_write(words: str) -> None:
    words = f"é{words.strip()}"
    assert text_words(words) == Header(words, "utf-8", maxlinelen=75).encode(linesep="\n").split("\n ")
