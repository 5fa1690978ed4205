"""A convenor's day with the keyboard: hold what a mail told about, release it, and send the recording afterwards."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from tests.installation import Installation
from tests.web.console.test_journeys import open_console
from tests.web.console.test_meetings import PATH

if TYPE_CHECKING:
    from playwright.async_api import Browser


@pytest.mark.proof
@pytest.mark.short
async def test_a_convenor_holds_and_releases_a_reminder_and_sends_the_follow_up(
    address: str, browser: "Browser", installation: Installation
) -> None:
    await installation.change("Ann", role="convenor")
    installation.preflight = timedelta(days=1)
    installation.restart()
    await installation.live(datetime(2026, 11, 17, 12, tzinfo=UTC))
    (body,) = [
        mail.get_body(("plain",))
        for mail in installation.mails()
        if "Before it goes out: the reminder" in str(mail["Subject"])
    ]
    assert body
    link = body.get_content().partition("https://meet.example.org/convenor/planned/")[2].split()[0]
    page = await open_console(browser, address, installation, width=360)
    messages: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    await page.goto(f"{address}/convenor/planned/{link}")
    await page.get_by_role("button", name="Hold it").press("Enter")
    await page.get_by_text("Nobody gets it until a convenor releases it.").first.wait_for()
    await installation.live(datetime(2026, 11, 18, 21, tzinfo=UTC))
    await page.get_by_role("link", name="Home").first.press("Enter")
    await page.get_by_role("link", name="Release it or drop it").press("Enter")
    await page.get_by_role("button", name="Release it: what is due leaves at once").press("Enter")
    await page.get_by_text("It has been released.").wait_for()
    await installation.tick()
    assert len(await installation.reports(policy="day-before", state="sent")) == 3
    await installation.live(datetime(2026, 11, 20, 9, tzinfo=UTC))
    await page.goto(address + PATH)
    material = page.get_by_role("group", name="Material 1")
    await material.get_by_label("Title").fill("The recording")
    await material.get_by_label("Link").fill("https://www.example.org/recording")
    await page.get_by_role("button", name="Save").press("Enter")
    await page.get_by_role("link", name="Send the recording and notes to members").press("Enter")
    await page.get_by_role("button", name="Send the follow-up to 3 members").press("Enter")
    await page.get_by_text("Not sent yet.").wait_for()
    await installation.live(datetime(2026, 11, 20, 10, tzinfo=UTC))
    await page.get_by_text("3 of 3 emails went out").wait_for()
    assert await page.evaluate("document.documentElement.scrollWidth") <= 360
    assert messages == []
    await page.context.close()
