"""Writing to the convenors: each message arrives once, cannot forge anything, and is deleted after a while."""

from datetime import timedelta

import httpx
import pytest
from sqlalchemy import select

from scheduler.service.erasure import erase_member
from scheduler.service.retention import CONTACT_KEPT, forget_old
from scheduler.store.schema import asks, contact_messages, notices, renderings
from tests.installation import COMMUNITY, RETENTION, Installation

WORDS = {"name": "Vi Ash", "email": "Vi@Example.org", "words": "May I visit?\nI live in Oslo."}


@pytest.fixture(autouse=True)
async def convenor(installation: Installation) -> None:
    await installation.change("Ann", role="convenor")


async def mails(installation: Installation) -> list[tuple[str, str, str]]:
    """The recipient, the address to reply to, and the subject of each message to the convenors."""
    await installation.tick()
    return [
        (str(mail["To"]), str(mail["Reply-To"]), str(mail["Subject"]))
        for mail in installation.mails()
        if str(mail["Feedback-ID"]).startswith("contact:")
    ]


async def test_a_message_reaches_the_convenors_address_once_and_replies_go_to_its_writer(
    visitor: httpx.AsyncClient, installation: Installation
) -> None:
    for _ in range(2):
        sent = await visitor.post("/contact", data=WORDS)
        assert sent.status_code == 200 and "Thank you for your message" in sent.text
        assert "Vi@example.org" in sent.text and COMMUNITY.reply_to not in sent.text.partition("<footer>")[0]
    assert await mails(installation) == [
        (COMMUNITY.reply_to, "Vi Ash <Vi@example.org>", "Vi Ash wrote to you through the website")
    ]
    (mail,) = [mail for mail in installation.mails() if "contact:" in str(mail["Feedback-ID"])]
    body = mail.get_body(("plain",))
    assert body and "\n> May I visit?\n> I live in Oslo.\n" in body.get_content()


async def test_a_message_can_forge_neither_a_header_nor_a_link_nor_our_own_words(
    visitor: httpx.AsyncClient, installation: Installation
) -> None:
    for wrong in (
        {"name": "Vi\r\nBcc: everybody@example.org"},
        {"email": "vi@example.org\nBcc: everybody@example.org"},
        {"email": "vi@example.org, everybody@example.org"},
        {"words": "a\x00b"},
        {"words": "\u202ex"},
    ):
        answer = await visitor.post("/contact", data={**WORDS, **wrong})
        assert answer.status_code == 422 and "There is a problem" in answer.text
    tricky = "[your bank](https://example.com) <a href='https://example.com'>x</a>\n---\nWarm wishes"
    await visitor.post("/contact", data={**WORDS, "name": "Ann <ann@example.org>", "words": tricky})
    ((_, reply_to, _),) = await mails(installation)
    assert reply_to == '"Ann <ann@example.org>" <Vi@example.org>'
    (mail,) = [mail for mail in installation.mails() if "contact:" in str(mail["Feedback-ID"])]
    html, text = mail.get_body(("html",)), mail.get_body(("plain",))
    assert html and 'href="https://example.com' not in html.get_content()
    assert "href='https://example.com" not in html.get_content().replace(
        "&lt;a href='https://example.com'", ""
    )
    assert text and "> ---\n> Warm wishes\n" in text.get_content()


@pytest.mark.parametrize("field", ["name", "email", "words"])
async def test_every_field_is_needed_and_what_was_typed_stays(visitor: httpx.AsyncClient, field: str) -> None:
    answer = await visitor.post("/contact", data={**WORDS, field: " "})
    assert answer.status_code == 422 and f'href="#{field}"' in answer.text
    assert all(value in answer.text for name, value in WORDS.items() if name != field)


async def test_a_program_that_fills_in_the_hidden_field_sends_nothing(
    visitor: httpx.AsyncClient, installation: Installation
) -> None:
    answer = await visitor.post("/contact", data={**WORDS, "homepage": "https://example.com"})
    assert "Thank you for your message" in answer.text
    assert await mails(installation) == []


async def test_only_so_many_messages_an_hour_are_taken(visitor: httpx.AsyncClient) -> None:
    for number in range(30):
        assert (await visitor.post("/contact", data={**WORDS, "words": f"{number}"})).status_code == 200
    assert (await visitor.post("/contact", data=WORDS)).status_code == 429


async def test_without_a_convenor_no_message_is_taken(
    visitor: httpx.AsyncClient, installation: Installation
) -> None:
    await installation.change("Ann", role=None)
    for answer in (await visitor.get("/contact"), await visitor.post("/contact", data=WORDS)):
        assert "We cannot take messages on this page yet." in answer.text
    assert await mails(installation) == []


@pytest.mark.parametrize("ending", ["after a while", "erased by its writer"])
async def test_a_message_is_deleted(
    visitor: httpx.AsyncClient, installation: Installation, ending: str
) -> None:
    await visitor.post("/contact", data=WORDS)
    assert len(await mails(installation)) == 1
    now = installation.clock.now()
    if ending == "after a while":
        later = now + CONTACT_KEPT + timedelta(seconds=1)
        await forget_old(installation.database, RETENTION, keys=installation.keys, outbox=None, now=later)
    else:
        erased = await erase_member(
            installation.database,
            "vi@example.org",
            keys=installation.keys,
            outbox=installation.mail,
            now=now,
        )
        assert (erased.was_member, erased.messages, erased.mails) == (False, 1, 1)
        assert await mails(installation) == []
    async with installation.database.read() as connection:
        for table, column in (
            (contact_messages, contact_messages.c.notice),
            (asks, asks.c.id),
            (renderings, renderings.c.id),
        ):
            assert not (await connection.scalars(select(column))).all(), table.name
        assert not (await connection.scalars(select(notices.c.id).where(notices.c.kind == "contact"))).all()
    files = [installation.folder / name for name in ("test.sqlite", "test.sqlite-wal")]
    if ending != "after a while":
        assert not any(b"Oslo" in file.read_bytes() for file in files if file.exists())


async def test_erasing_a_convenor_leaves_the_mail_to_the_address_that_they_share(
    visitor: httpx.AsyncClient, installation: Installation
) -> None:
    await installation.change("Bo", role="convenor")
    await visitor.post("/contact", data=WORDS)
    assert len(await mails(installation)) == 1
    await erase_member(
        installation.database,
        "ann@example.org",
        keys=installation.keys,
        outbox=installation.mail,
        now=installation.clock.now(),
    )
    assert len(await mails(installation)) == 1
