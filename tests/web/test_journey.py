"""A member's whole journey with a real browser and a real relay: from the first visit to the last email."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
import vobject  # type: ignore[import-untyped]

from scheduler.delivery.send.smtp import SmtpTransport
from scheduler.delivery.send.transport import SmtpAddress
from scheduler.domain.actor import SERVICE
from scheduler.service.join_requests import accept
from scheduler.store import join_requests
from tests.delivery.receiver import Receiver
from tests.installation import COMMUNITY, Installation, open_installation
from tests.web.conftest import make_app
from tests.web.serving import served

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

ADA = "ada@example.net"
_LINK = re.compile(r"https://meet\.example\.org(/[^\s<>\")]+)")


class Mailbox:
    """What the relay took for one reader."""

    def __init__(self, installation: Installation, receiver: Receiver) -> None:
        self._house = installation
        self._receiver = receiver

    def mails(self) -> list[EmailMessage]:
        return [
            message_from_bytes(one.content, _class=EmailMessage, policy=policy.default)
            for one in self._receiver.taken
            if any(ADA in rcpt for rcpt in one.rcpts)
        ]

    async def wait_for(self, *words: str) -> list[EmailMessage]:
        """The first mail whose subject has each of `words`, after as many ticks as that takes."""
        for _ in range(100):
            await self._house.tick()
            found = {word: mail for word in words for mail in self.mails() if word in str(mail["Subject"])}
            if found.keys() == set(words):
                return [found[word] for word in words]
        raise AssertionError([str(mail["Subject"]) for mail in self.mails()])


def link(mail: EmailMessage, path: str) -> str:
    """The link of a mail's text below a path."""
    body = mail.get_body(("plain",))
    assert body
    found = [one for one in _LINK.findall(body.get_content()) if one.startswith(path)]
    assert found, path
    return str(found[0])


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as receiver:
        yield receiver


@pytest.fixture
async def installation(tmp_path: Path, receiver: Receiver) -> AsyncIterator[Installation]:
    """Running for a week, the invitations to the meeting of November gone out."""
    relay = SmtpTransport(SmtpAddress(host="127.0.0.1", port=receiver.port), hostname="meet.example.org")
    async with open_installation(
        tmp_path, datetime(2026, 11, 3, tzinfo=UTC), transport=relay
    ) as installation:
        await installation.join(("Ann", "Europe/London"), role="convenor")
        await installation.live(datetime(2026, 11, 10, 12, tzinfo=UTC))
        yield installation


@pytest.fixture
async def address(installation: Installation) -> AsyncIterator[str]:
    async with served(make_app(installation)) as address:
        yield address


@pytest.mark.proof
@pytest.mark.short
@pytest.mark.parametrize("script", [True, False], ids=["with JavaScript", "without JavaScript"])
async def test_from_a_first_look_to_the_last_mail(
    address: str, browser: "Browser", installation: Installation, receiver: Receiver, script: bool
) -> None:
    context = await browser.new_context(
        timezone_id="Pacific/Auckland", java_script_enabled=script, viewport={"width": 320, "height": 700}
    )
    page, mailbox = await context.new_page(), Mailbox(installation, receiver)
    messages: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    await look(page, address, script=script)
    await ask(page, script=script)
    await page.goto(address + link((await mailbox.wait_for("onfirm"))[0], "/confirm/"))
    await page.get_by_role("button", name="Yes, I would like to join").click()
    await page.get_by_role("heading", name="We have your request").wait_for()
    await let_in(installation)
    installation.clock.pass_(timedelta(minutes=1))
    welcome, invitation = await mailbox.wait_for(
        "Welcome to", "Conversation for Kindness: Friday 20 November"
    )
    await read_feed(address + link(welcome, "/cal/"))
    await answer(page, address + link(invitation, "/rsvp/") + "?answer=maybe")
    await move(page, address + link(invitation, "/me/"))
    reminder = await next_reminder(installation, mailbox)
    await leave(address, reminder)
    sent = len(mailbox.mails())
    await installation.live(datetime(2026, 12, 31, tzinfo=UTC))
    assert len(mailbox.mails()) == sent == 4
    assert await context.cookies() == []
    assert messages == []
    await context.close()


async def look(page: "Page", address: str, *, script: bool) -> None:
    """See the next meeting at one's own hour: at once where the browser may say where it is."""
    await page.goto(address)
    if not script:
        await page.get_by_label("Your time zone").select_option("Pacific/Auckland")
        await page.get_by_role("button", name="Show my time").click()
    await page.locator(".clock", has_text="07:00").first.wait_for()
    await page.locator('a[href^="/join"]').first.click()


async def ask(page: "Page", *, script: bool) -> None:
    await page.get_by_label("Your name").fill("Ada Lovelace")
    await page.get_by_label("Email address").fill(ADA)
    await page.get_by_label("Country").select_option("NZ")
    if script:
        assert await page.get_by_label("Time zone").input_value() == "Pacific/Auckland"
    await page.get_by_role("checkbox").check()
    await page.get_by_role("button", name="Continue").click()
    if not script:
        await page.get_by_role("button", name="Auckland").click()
    # In New Zealand people write the hour so.
    await page.locator(".clock", has_text="7:00 am").wait_for()
    await page.get_by_role("button", name="Yes, send my request").click()
    await page.get_by_role("heading", name="Check your email").wait_for()


async def let_in(installation: Installation) -> None:
    """The convenor accepts."""
    async with installation.database.read() as connection:
        (waiting,) = await join_requests.waiting(connection)
    await accept(
        installation.database,
        waiting.id,
        by=SERVICE,
        all_series=installation.series,
        now=installation.clock.now(),
    )


async def read_feed(url: str) -> None:
    """A calendar program that is not ours reads the member's own feed."""
    async with httpx.AsyncClient() as reader:
        calendar = vobject.readOne((await reader.get(url)).text)
    november = [one for one in calendar.vevent_list if one.dtstart.value.astimezone(UTC).month == 11]
    starts = {one.dtstart.value.astimezone(UTC): one for one in november}
    assert "/go/" in starts[datetime(2026, 11, 19, 18, tzinfo=UTC)].location.value


async def answer(page: "Page", url: str) -> None:
    await page.goto(url)
    assert await page.get_by_label("I may come").is_checked()
    await page.get_by_label("I am coming").check()
    await page.get_by_role("button", name="Send my answer").click()
    await page.get_by_role("heading", name="You are coming").wait_for()


async def move(page: "Page", url: str) -> None:
    """Move to Vancouver, after a look at what that means."""
    await page.goto(url)
    await page.get_by_label("Time zone").select_option("America/Vancouver")
    await page.get_by_role("button", name="Save my details").click()
    await page.locator(".when .clock", has_text="11:00 am").wait_for()
    await page.get_by_role("button", name="Yes, change it").click()
    await page.get_by_text("We have saved your details.").wait_for()


async def next_reminder(installation: Installation, mailbox: Mailbox) -> EmailMessage:
    """It comes at nine o'clock of the day before in Vancouver, and not when it would have in Auckland."""
    before = len(mailbox.mails())
    await installation.live(datetime(2026, 11, 18, 15, 59, tzinfo=UTC))
    assert len(mailbox.mails()) == before
    installation.clock.pass_until(datetime(2026, 11, 18, 16, tzinfo=UTC))
    (reminder,) = await mailbox.wait_for(
        "Reminder: Conversation for Kindness: Thursday 19 November, 11:00 am Vancouver"
    )
    return reminder


async def leave(address: str, mail: EmailMessage) -> None:
    """What a mail program does at the press of its own button (RFC 8058)."""
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    url = str(mail["List-Unsubscribe"]).strip("<>").replace(COMMUNITY.base_url, address)
    async with httpx.AsyncClient() as program:
        assert (await program.post(url, data={"List-Unsubscribe": "One-Click"})).status_code == 200
