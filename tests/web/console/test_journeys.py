"""The console in a real browser: a convenor's tasks on a telephone and on a desktop."""

from datetime import timedelta
from typing import TYPE_CHECKING

import httpx
import pytest

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


@pytest.mark.parametrize("width", [360, 1280])
async def test_a_convenor_moves_a_meeting_tells_members_and_writes_a_notice_with_the_keyboard(
    address: str, browser: "Browser", invited: Installation, width: int
) -> None:
    page = await open_console(browser, address, invited, width=width)
    messages: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    await page.get_by_role("link", name="The next meeting").press("Enter")
    await page.get_by_role("link", name="Move it to another time").press("Enter")
    await page.get_by_label("New day").fill("2026-11-26")
    await page.get_by_role("button", name="Show what this means").press("Enter")
    await page.get_by_text("means").first.wait_for()
    await page.get_by_role("button", name="Move it to Thursday 26 November 2026, 18:00 in London").press(
        "Enter"
    )
    await page.get_by_text("Nobody has been told yet").wait_for()
    await page.get_by_role("link", name="Tell them").press("Enter")
    await page.get_by_role("button", name="Tell 3 members").press("Enter")
    await page.get_by_text("The emails are on their way.").wait_for()
    await page.get_by_role("link", name="Notices").first.press("Enter")
    await page.get_by_role("link", name="The recording is here").press("Enter")
    await page.get_by_label("Subject").fill("Tea")
    await page.get_by_label("Text", exact=True).fill("Bring **tea**.")
    await page.get_by_role("button", name="Save and look at it").press("Enter")
    await page.get_by_role("button", name="Send to 3 members").press("Enter")
    await page.get_by_text("Not sent yet.").wait_for()
    await page.get_by_role("button", name="Cancel sending").press("Enter")
    await page.get_by_text("0 have it, 3 will not get it").wait_for()
    await page.get_by_role("button", name="Send to the 3 who were missed").press("Enter")
    await page.get_by_text("It is being sent to those who missed it.").wait_for()
    invited.clock.pass_(timedelta(minutes=5))
    await invited.tick()
    await page.get_by_text("3 of 3 emails went out").wait_for()
    sent = sorted(f"{row.kind} {row.name}" for row in await invited.reports(state="sent"))
    assert [line for line in sent if line.startswith("notice ")] == ["notice Ann", "notice Bo", "notice Cy"]
    assert [line for line in sent if line.startswith("update ")] == ["update Ann", "update Bo", "update Cy"]
    assert messages == []
    await page.context.close()


async def test_a_convenor_finds_a_member_reads_a_mail_as_it_was_sent_and_sends_it_again(
    address: str, browser: "Browser", invited: Installation
) -> None:
    page = await open_console(browser, address, invited, width=360)
    messages: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    await page.get_by_role("link", name="Members").press("Enter")
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
