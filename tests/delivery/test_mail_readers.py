"""How other programs read our mail: a strict parser and a spam filter."""

import asyncio
import shutil
from dataclasses import replace
from email import message_from_bytes, policy
from email.message import EmailMessage

import mailparser
import pytest
import vobject  # type: ignore[import-untyped]
from hypothesis import example, given, settings
from hypothesis import strategies as st

from scheduler.domain.errors import Refused
from scheduler.domain.text import require_line
from tests.delivery.mails import (
    COMMUNITY,
    DATE,
    EVERY_MAIL,
    INVITATION,
    MEI,
    NOVEMBER,
    composer,
    message,
    personal,
)
from tests.delivery.test_dkim import SIGNED

STRICT = policy.default.clone(raise_on_defect=True)
HIGHEST_SCORE = 1.0

# Anything that people may type or paste: quotes, commas, semicolons, line ends, right-to-left, emoji, controls.
TYPED = st.text(
    st.sampled_from('",;:\\<>@()[]\r\n\t\x00\x1b\u202e\u2028\u200f\u0301אבجدЖé日👩🏽‍🚀🌱 ab'), max_size=60
) | st.text(st.characters(codec="utf-8"), max_size=500)


@pytest.mark.parametrize("kind", EVERY_MAIL)
def test_a_strict_parser_finds_no_defect_and_every_part_where_it_belongs(kind: str) -> None:
    content = SIGNED["ed25519"][kind].message(personal(EVERY_MAIL[kind]), date=DATE)
    parsed = mailparser.parse_from_bytes(content)
    assert not parsed.has_defects and parsed.to == [("Mei Lin", "mei@example.org")]
    assert parsed.from_ == [("Conversation for Kindness", COMMUNITY.address)]
    assert (len(parsed.text_plain), len(parsed.text_html)) == (1, 1)
    calendar = kind in ("invitation", "update", "cancellation")
    assert [
        (attachment["filename"], attachment["mail_content_type"]) for attachment in parsed.attachments
    ] == ([("invite.ics", "application/ics")] if calendar else [])
    assert ["METHOD:" in text for text in parsed.text_not_managed] == [True] * calendar
    whole = message_from_bytes(content, _class=EmailMessage, policy=STRICT)
    for part in whole.walk():
        assert not part.defects and all(str(value) for value in part.values())
        assert not part.is_multipart() or part["Content-Transfer-Encoding"] is None
    assert content.isascii() and max(map(len, content.split(b"\r\n"))) <= 998


@settings(max_examples=80)
@given(name=TYPED, topic=TYPED)
@example(name='Ann "Q" O\'Neil, Jr.; <x>', topic='Bread, roses; and \\n: a "new" start')
@example(name="Ж" * 500, topic="ש" * 500)
@example(name="a@b.example", topic="👩🏽‍🚀" * 60)
def test_names_and_topics_arrive_unchanged_or_are_refused_on_input(name: str, topic: str) -> None:
    try:
        name, topic = require_line(name, "name"), require_line(topic, "topic")
    except Refused:
        return
    cohort = replace(INVITATION, occurrence=replace(NOVEMBER, topic=topic))
    content = composer().compose(cohort).message(personal(cohort, MEI._replace(name=name)), date=DATE)
    whole = message_from_bytes(content, _class=EmailMessage, policy=STRICT)
    parsed = mailparser.parse_from_bytes(content)
    assert parsed.to == [(name, "mei@example.org")]
    (text,) = parsed.text_plain
    assert f"Dear {name or 'friend'},\r\n" in text and (not topic or f"Topic: {topic}\r\n" in text)
    (part,) = [part for part in whole.walk() if part.get_content_type() == "text/calendar"]
    octets = part.get_payload(decode=True)
    assert isinstance(octets, bytes)
    event = vobject.readOne(octets.decode()).vevent
    assert event.summary.value == f"Conversation for Kindness{': ' * bool(topic)}{topic}"
    # A parameter can hold neither of these two; RFC 6868 writes a caret twice.
    (shown,) = event.attendee.params["CN"]
    assert shown.replace("^^", "^") == (name.replace('"', "'").replace("\\", "/") or "mei@example.org")


@pytest.mark.proof
async def test_a_spam_filter_gives_every_kind_of_mail_less_than_one_point() -> None:
    if not shutil.which("spamassassin"):
        pytest.skip("needs SpamAssassin (Debian's package spamassassin)")

    async def score(kind: str) -> float:
        filter_ = await asyncio.create_subprocess_exec(
            "spamassassin",
            "--local",
            "--test-mode",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        async with asyncio.timeout(120):
            judged, _ = await filter_.communicate(message(EVERY_MAIL[kind]))
        whole = message_from_bytes(judged, _class=EmailMessage, policy=policy.default)
        return float(str(whole["X-Spam-Status"]).partition("score=")[2].split()[0])

    scores = {kind: await score(kind) for kind in EVERY_MAIL}
    assert all(score < HIGHEST_SCORE for score in scores.values()), scores
