"""The console in a real browser: a convenor's tasks on a telephone and on a desktop."""

from datetime import timedelta
from typing import TYPE_CHECKING

import httpx
import pytest

from scheduler.delivery.send.smtp import SmtpTransport
from scheduler.delivery.send.transport import SmtpAddress
from tests.delivery.receiver import Receiver
from tests.installation import Installation
from tests.web.console.conftest import sign_in_link

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page


async def open_console(
    browser: "Browser", address: str, installation: Installation, *, width: int, scheme: str = "light"
) -> "Page":
    """A browser in which Ann is signed in."""
    await installation.change("Ann", role="convenor")
    context = await browser.new_context(
        viewport={"width": width, "height": 760}, color_scheme="dark" if scheme == "dark" else "light"
    )
    page = await context.new_page()
    async with httpx.AsyncClient(base_url=address) as asking:
        link = await sign_in_link(installation, asking, "Ann")
    await page.goto(address + link)
    await page.get_by_role("button", name="Sign in").click()
    await page.get_by_role("heading", name="Hello, Ann").wait_for()
    return page


@pytest.fixture
async def invited(installation: Installation) -> Installation:
    """After the invitations went out."""
    installation.clock.pass_(timedelta(days=2))
    await installation.tick()
    return installation


@pytest.mark.proof
@pytest.mark.parametrize("width", [pytest.param(360, marks=pytest.mark.short), 1280])
async def test_a_convenor_moves_a_meeting_tells_members_and_writes_a_notice_with_the_keyboard(
    address: str, browser: "Browser", invited: Installation, width: int
) -> None:
    await invited.join(("Dawa", "Asia/Kathmandu"))
    await invited.tick()
    page = await open_console(browser, address, invited, width=width)
    messages: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    await page.get_by_role("link", name="The next meeting").press("Enter")
    await page.get_by_role("link", name="Move it", exact=True).press("Enter")
    await page.get_by_label("New day").fill("2026-11-26")
    await page.get_by_role("button", name="Show what this means").press("Enter")
    await page.get_by_text("means").first.wait_for()
    await page.get_by_role("button", name="Move it to Thursday 26 November 2026, 18:00 in London").press(
        "Enter"
    )
    await page.get_by_text("Nobody has been told yet").wait_for()
    await page.get_by_role("link", name="Tell them").press("Enter")
    await page.get_by_role("button", name="Tell 4 members").press("Enter")
    await page.get_by_role("button", name="Cancel sending").wait_for()
    invited.clock.pass_(timedelta(minutes=2))
    await invited.tick()
    await page.get_by_text("4 of 4 emails went out").wait_for()
    updates = [row.name for row in await invited.reports(state="sent") if row.kind == "update"]
    assert sorted(updates) == ["Ann", "Bo", "Cy", "Dawa"]
    await write_a_notice(page)
    await invited.tick()
    tests = [row.name for row in await invited.reports(state="sent") if row.kind == "notice"]
    assert tests == ["Ann"]
    await send_it_and_watch(page, invited)
    assert messages == []
    await page.context.close()


async def write_a_notice(page: "Page") -> None:
    """Write a notice that saves itself, see it as somebody in Kathmandu, and send a test."""
    await page.get_by_role("link", name="Notices").first.press("Enter")
    await page.get_by_role("link", name="We meet on {day}").press("Enter")
    await page.get_by_label("Subject").fill("Tea at {time}")
    await page.get_by_label("Text", exact=True).fill("Dear {name}, bring **tea**: ")
    await page.get_by_label("Fill in for each member").select_option(label="Link to join the meeting")
    await page.get_by_role("button", name="Insert").press("Enter")
    await page.locator("#saved").get_by_text("(your time, London)").wait_for()
    assert await page.locator("#announcement").text_content() != ""
    assert await page.evaluate("document.activeElement.id") == "body"
    await page.get_by_text("4 members").first.wait_for()
    await page.get_by_role("button", name="Save and look at it").press("Enter")
    await page.get_by_text("See it as somebody else").press("Enter")
    await page.get_by_role("link", name="Dawa").press("Enter")
    await page.get_by_text("Tea at 23:45 in Kathmandu (UTC+5:45)").wait_for()
    await page.frame_locator("iframe").get_by_text("Dear \u2068Dawa\u2069, bring").wait_for()
    await page.get_by_role("button", name="Send the test").press("Enter")
    await page.get_by_text("The test is on its way to you.").wait_for()


async def send_it_and_watch(page: "Page", installation: Installation) -> None:
    """Send the notice, cancel it, send it again through a relay that refuses one, and send it to the one who missed
    it."""
    async with Receiver({"RCPT": ["250 2.1.5 ok", "550 5.1.1 no such user"]}) as relay:
        installation.transport = SmtpTransport(
            SmtpAddress(host="127.0.0.1", port=relay.port), hostname="meet.example.org", connections=1
        )
        installation.restart()
        await page.get_by_role("button", name="Send to 4 members").press("Enter")
        await page.get_by_text("Not sent yet.").wait_for()
        await page.get_by_role("button", name="Cancel sending").press("Enter")
        await page.get_by_text("0 have it, 4 will not get it").wait_for()
        await page.get_by_role("button", name="Send to the 4 who were missed").press("Enter")
        await page.get_by_text("It is being sent to those who missed it.").wait_for()
        installation.clock.pass_(timedelta(minutes=5))
        await installation.tick()
        # The page looks by itself; the words come with the button for what can be done now.
        await page.get_by_text("3 of 4 emails went out").wait_for()
        await page.get_by_text("1: the address does not exist").wait_for()
        assert await page.get_by_role("button", name="Stop sending").count() == 0
        await page.get_by_role("button", name="Send to the 1 who was missed").press("Enter")
        await installation.tick()
        await page.get_by_text("4 of 4 emails went out").wait_for()
        recipients = sorted(recipient for taken in relay.taken for recipient in taken.rcpts)
        assert recipients == [f"RCPT TO:<{name}@example.org>" for name in ("ann", "bo", "cy", "dawa")]


async def test_a_convenor_finds_a_member_reads_a_mail_as_it_was_sent_and_sends_it_again(
    address: str, browser: "Browser", invited: Installation
) -> None:
    page = await open_console(browser, address, invited, width=360)
    messages: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    await page.get_by_role("link", name="Members", exact=True).press("Enter")
    await page.get_by_label("Name, address, country or city").fill("auckland")
    await page.get_by_role("button", name="Search").press("Enter")
    await page.get_by_role("link", name="Bo", exact=True).press("Enter")
    await page.get_by_role("link", name="Invitation, 19 November 2026").press("Enter")
    frame = page.frame_locator("iframe")
    await frame.get_by_text("You're warmly invited to").wait_for()
    # Nobody can answer for Bo from here.
    assert not await frame.get_by_role("link", name="I'm coming").count()
    await page.get_by_role("link", name="Send it again").press("Enter")
    before = await invited.reports(name="Bo", state="sent")
    await page.get_by_role("button", name="Send it again").press("Enter")
    await page.get_by_text("The email is on its way to them again.").wait_for()
    await page.reload()
    await page.go_back()
    await page.get_by_text("It has been sent to them again 1 time already.").wait_for()
    await invited.tick()
    (again,) = set(await invited.reports(name="Bo", state="sent")) - set(before)
    assert (again.kind, again.occurrence) == (before[0].kind, before[0].occurrence)
    assert messages == []
    await page.context.close()
