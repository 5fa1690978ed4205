"""The pages in a real browser: nothing is blocked, nothing overflows, and every control works."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from starlette.applications import Starlette

from scheduler.domain.token import Purpose
from scheduler.store import members
from tests.installation import Installation, address_of
from tests.web.serving import served

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page, Route

KEY = "conversation-for-kindness/2026-11-19"
NARROWEST = 320


@pytest.fixture
async def address(app: Starlette, installation: Installation) -> AsyncIterator[str]:
    """The site, served on this machine, with the invitations gone out."""
    await installation.live(datetime(2026, 11, 6, 12, tzinfo=UTC))
    async with served(app) as address:
        yield address


@pytest.fixture
async def page(browser: "Browser") -> AsyncIterator["Page"]:
    """A page as wide as the smallest telephone, in Kolkata; at the end nothing may have been blocked."""
    context = await browser.new_context(
        viewport={"width": NARROWEST, "height": 640}, timezone_id="Asia/Kolkata", color_scheme="dark"
    )
    page = await context.new_page()
    messages: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    yield page
    await context.close()
    assert [message for message in messages if "422" not in message] == []


async def token(installation: Installation, purpose: Purpose) -> str:
    async with installation.database.read() as connection:
        member = await members.by_key(connection, address_of("Bo"))
        assert member
        return installation.keys.token(purpose, member.id, generation=member.generation)


async def test_no_page_is_wider_than_the_smallest_telephone(
    address: str, page: "Page", installation: Installation
) -> None:
    paths = [
        "/",
        "/join",
        "/embed/next",
        "/?zone=America/Argentina/Buenos_Aires",
        f"/meetings/{KEY}",
        "/outbox",
        f"/u/{await token(installation, Purpose.LEAVE)}",
        f"/go/{await token(installation, Purpose.JOIN)}/{KEY}",
    ]
    await page.goto(f"{address}/outbox")
    paths.append(await page.locator("tbody a").first.get_attribute("href") or "")
    for path in paths:
        await page.goto(address + path)
        assert await page.evaluate("document.documentElement.scrollWidth") <= NARROWEST


async def test_the_hour_of_the_device_is_shown_by_itself_and_the_address_says_nothing_of_it(
    address: str, page: "Page"
) -> None:
    for path in ("/", f"/meetings/{KEY}", "/embed/next"):
        await page.goto(address + path)
        await page.get_by_text("in Kolkata (UTC+5:30)").first.wait_for()
        assert "23:30" in await page.locator(".clock").first.inner_text()
        assert "18:00" in await page.locator(".when").inner_text()
        assert "zone" not in page.url


async def test_without_script_a_place_is_chosen_from_the_list(address: str, browser: "Browser") -> None:
    context = await browser.new_context(java_script_enabled=False)
    page = await context.new_page()
    await page.goto(address)
    assert "18:00" in await page.locator(".clock").first.inner_text()
    await page.get_by_label("Your time zone").select_option("Asia/Kolkata")
    await page.get_by_role("button", name="Show my time").click()
    assert "23:30" in await page.locator(".clock").first.inner_text()
    await context.close()


@pytest.mark.parametrize("script", [True, False])
async def test_asking_to_join_needs_only_a_keyboard_and_no_script(
    address: str, browser: "Browser", installation: Installation, *, script: bool
) -> None:
    context = await browser.new_context(
        java_script_enabled=script,
        viewport={"width": NARROWEST, "height": 640},
        timezone_id="Pacific/Auckland",
    )
    page = await context.new_page()
    await page.goto(f"{address}/join")
    await page.get_by_label("Your name").fill("Maya")
    await page.get_by_label("Email address").fill("maya@example.org")
    await page.get_by_label("Country").select_option(label="New Zealand")
    await page.get_by_label("You may keep").focus()
    await page.keyboard.press("Space")
    await page.get_by_role("button", name="Continue").focus()
    await page.keyboard.press("Enter")
    if not script:
        await page.get_by_role("heading", name="Which is your time zone?").wait_for()
        await page.get_by_role("button", name="Auckland").press("Enter")
    await page.get_by_role("heading", name="Is this the right time for you?").wait_for()
    assert "7:00 am" in await page.locator(".clock").inner_text()
    assert await page.evaluate("document.documentElement.scrollWidth") <= NARROWEST if script else True
    await page.get_by_role("button", name="Yes, send my request").press("Enter")
    await page.get_by_role("heading", name="Check your email").wait_for()
    await installation.tick()
    async with installation.database.read() as connection:
        member = await members.by_key(connection, "maya@example.org")
    assert member
    assert (member.status, member.zone) == ("pending", "Pacific/Auckland")
    await context.close()


async def test_the_address_of_the_calendar_is_copied(address: str, page: "Page") -> None:
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await page.goto(address)
    await page.get_by_role("button", name="Copy").click()
    await page.get_by_text("Copied").wait_for()
    assert await page.evaluate("navigator.clipboard.readText()") == "https://meet.example.org/calendar.ics"


async def test_a_mail_is_read_in_its_frame(address: str, page: "Page") -> None:
    await page.goto(f"{address}/outbox")
    await page.get_by_role("link", name="Auckland").first.click()
    frame = page.frame_locator("iframe")
    assert "Dear \u2068Bo\u2069" in await frame.locator("body").inner_text()


async def test_leaving_takes_one_press(address: str, page: "Page", installation: Installation) -> None:
    await page.goto(f"{address}/u/{await token(installation, Purpose.LEAVE)}")
    await page.get_by_role("button", name="Leave the list").click()
    await page.get_by_role("heading", name="You have left").wait_for()
    async with installation.database.read() as connection:
        member = await members.by_key(connection, address_of("Bo"))
        assert member and member.status == "left"


@pytest.mark.parametrize("path", ["/", f"/meetings/{KEY}"])
async def test_a_late_change_to_local_times_keeps_choice_and_focus_and_is_announced(
    address: str, page: "Page", path: str
) -> None:
    """The server's second answer waits until the visitor has chosen a place, and then until a link has the focus."""
    late = asyncio.Event()

    async def wait(route: "Route") -> None:
        await late.wait()
        await route.continue_()

    await page.route("**/*?zone=*", wait)
    await page.goto(address + path)
    chosen = page.get_by_label("Your time zone")
    assert await chosen.input_value() == "Asia/Calcutta"
    await chosen.select_option("America/Lima")
    await chosen.focus()
    late.set()
    await page.get_by_role("status").filter(has_text="in Kolkata (UTC+5:30)").wait_for()
    assert await chosen.input_value() == "America/Lima"
    assert await page.evaluate("document.activeElement.id") == "zone"
    assert "23:30" in await page.locator(".clock").first.inner_text()
    await page.get_by_role("button", name="Show my time").press("Enter")
    await page.get_by_text("in Lima (UTC-5)").first.wait_for()
    assert "13:00" in await page.locator(".clock").first.inner_text()


async def test_a_link_in_what_is_changed_late_keeps_the_focus(address: str, page: "Page") -> None:
    late = asyncio.Event()

    async def wait(route: "Route") -> None:
        await late.wait()
        await route.continue_()

    await page.route("**/*?zone=*", wait)
    await page.goto(address)
    before = page.locator("#coming a").nth(1)
    await before.focus()
    name = await page.evaluate("document.activeElement.getAttribute('href')")
    late.set()
    await page.get_by_role("status").filter(has_text="in Kolkata").wait_for()
    focused = await page.evaluate("document.activeElement.getAttribute('href')")
    assert focused.startswith(name) and "zone=" in focused


async def test_the_choice_of_no_zone_is_kept_when_a_form_comes_back(address: str, page: "Page") -> None:
    await page.goto(f"{address}/join")
    assert await page.get_by_label("Time zone").input_value() == "Asia/Calcutta"
    await page.get_by_label("Time zone").select_option("")
    await page.locator("form").last.evaluate("form => form.noValidate = true")
    await page.get_by_role("button", name="Continue").click()
    summary = page.get_by_role("alert")
    await summary.get_by_role("heading", name="There is a problem").wait_for()
    assert await page.get_by_label("Time zone").input_value() == ""
    assert await page.evaluate("'problems' in document.activeElement.dataset")
    await summary.get_by_role("link", name="You need to choose your country.").click()
    assert await page.evaluate("document.activeElement.id") == "country"
