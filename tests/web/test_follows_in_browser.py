"""The journey of a member through several series in a real browser: join for one, follow another, unfollow."""

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from scheduler.domain.policy import Kind, Policy
from scheduler.domain.token import Purpose
from tests.installation import POLICIES, Installation, address_of, open_installation
from tests.web.conftest import make_app
from tests.web.serving import served
from tests.web.test_accessible import LOOKS, violations
from tests.web.test_any_form import own_tokens
from tests.web.test_follows import ALL, JOURNAL, accept, followed, link_to_confirm, status

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

INVITATION = Policy(slug="invitation", kind=Kind.INVITATION, lead=timedelta(days=14))
LONG = replace(JOURNAL, slug="long", title="Internationale Gesprächsfreundlichkeitsvereinigungsversammlung")
SERIES = (*ALL, LONG)


@pytest.fixture
async def installation(tmp_path: Path) -> AsyncIterator[Installation]:
    policies = (INVITATION, *POLICIES[1:])
    begin = datetime(2026, 11, 4, 12, tzinfo=UTC)
    async with open_installation(tmp_path, begin, series=SERIES, policies=policies) as installation:
        await installation.tick()
        await installation.join(("Bo", "Pacific/Auckland"))
        yield installation


@pytest.fixture
async def address(installation: Installation) -> AsyncIterator[str]:
    async with served(make_app(installation)) as address:
        yield address


async def press(page: "Page", role: str, name: str) -> None:
    """Press a control with the keyboard alone."""
    control = page.get_by_role(role, name=name)  # type: ignore[arg-type]
    await control.focus()
    await control.press("Space" if role == "checkbox" else "Enter")


async def invitation_links(installation: Installation, name: str) -> dict[str, str]:
    """The link to leave in each invitation of a member, by its subject."""
    return {
        str(mail["Subject"]): found[1]
        for mail in installation.mails()
        if str(mail["To"]).endswith(f"{address_of(name)}>")
        and (body := mail.get_body(["plain"]))
        and (found := re.search(r"Leave the list: https://[^/]+(/u/\S+)", body.get_content()))
    }


@pytest.mark.parametrize("script", [True, False])
async def test_a_visitor_joins_for_one_series_follows_another_and_unfollows_from_a_mail_by_keyboard(
    address: str, browser: "Browser", installation: Installation, *, script: bool
) -> None:
    context = await browser.new_context(
        java_script_enabled=script,
        viewport={"width": 320, "height": 640},
        timezone_id="Pacific/Auckland",
    )
    page = await context.new_page()
    await page.goto(f"{address}/series/journal")
    await press(page, "link", "Ask to join")
    await page.get_by_label("Your name").fill("Maya")
    await page.get_by_label("Email address").fill(address_of("Maya"))
    await page.get_by_label("Country").select_option(label="New Zealand")
    if not script:
        await page.get_by_label("Time zone").select_option("Pacific/Auckland")
    choices = page.get_by_role("group", name="Which meetings would you like to follow?")
    assert await choices.get_by_role("checkbox").count() == 4
    assert await choices.get_by_label("Journal club").is_checked()
    await press(page, "checkbox", "Case rounds")
    await press(page, "checkbox", "You may keep")
    await press(page, "button", "Continue")
    await page.get_by_role("heading", name="Is this the right time for you?").wait_for()
    assert "Wednesday 18 November 2026" in await page.locator(".day").inner_text()
    await press(page, "button", "No, change my time zone")
    assert await page.get_by_label("Journal club").is_checked()
    assert not await page.get_by_label("Case rounds").is_checked()
    await press(page, "button", "Continue")
    await press(page, "button", "Yes, send my request")
    await page.get_by_role("heading", name="Check your email").wait_for()
    await installation.tick()
    await page.goto(address + await link_to_confirm(installation))
    assert "Journal club" in await page.locator("dl").inner_text()
    await press(page, "button", "Yes, I would like to join")
    await page.get_by_role("heading", name="We have your request").wait_for()
    await accept(installation)
    assert await followed(installation, "Maya") == ["journal"]

    me = installation.keys.token(Purpose.PREFERENCES, 2, generation=0)
    await page.goto(f"{address}/me/{me}")
    assert await page.get_by_role("heading", level=2).first.inner_text() == "The meetings you follow"
    await press(page, "checkbox", "Case rounds")
    await press(page, "button", "Save the meetings I follow")
    await page.get_by_text("We have saved which meetings you follow.").wait_for()
    assert await followed(installation, "Maya") == ["rounds", "journal"]

    await installation.live(datetime(2026, 11, 5, 12, tzinfo=UTC))
    links = await invitation_links(installation, "Maya")
    (leave,) = {link for subject, link in links.items() if "Case rounds" in subject}
    await page.goto(address + leave)
    await press(page, "button", "Stop following Case rounds")
    await page.get_by_role("heading", name="You no longer follow Case rounds").wait_for()
    assert await page.locator("main li").all_inner_texts() == ["Journal club"]
    assert await followed(installation, "Maya") == ["journal"]
    assert await status(installation, "Maya") == "active"
    await context.close()


@pytest.mark.proof
@pytest.mark.parametrize(("scheme", "width"), LOOKS)
async def test_no_page_of_several_series_is_too_wide_or_hard_to_use(
    address: str, browser: "Browser", installation: Installation, scheme: str, width: int
) -> None:
    context = await browser.new_context(
        color_scheme="dark" if scheme == "dark" else "light", viewport={"width": width, "height": 700}
    )
    page, found = await context.new_page(), dict[str, list[str]]()
    own = await own_tokens(installation)
    me, leave = f"/me/{own[Purpose.PREFERENCES]}", f"/u/{own[Purpose.LEAVE]}"

    async def check(state: str) -> None:
        if wrong := await violations(page):
            found[state] = wrong
        assert await page.evaluate("document.documentElement.scrollWidth") <= width, state

    for path in (
        "/",
        "/series/long",
        "/series/rounds?year=2025",
        "/subscribe",
        "/subscribe?series=long",
        "/join",
        "/meetings/rounds/2026-11-12",
        me,
        leave,
        f"{leave}?series=rounds",
    ):
        await page.goto(address + path)
        await check(path)
    await page.goto(address + me)
    await page.get_by_label("Internationale").check()
    await page.get_by_role("button", name="Save the meetings I follow").click()
    await page.get_by_text("We have saved which meetings you follow.").wait_for()
    await check("saved")
    await page.goto(address + leave)
    await page.get_by_role("button", name="Stop following Internationale").click()
    await page.get_by_role("heading", name="You no longer follow").wait_for()
    await check("unfollowed")
    await page.goto(address + "/join")
    await page.evaluate("document.querySelector('form').noValidate = true")
    await page.get_by_label("Case rounds").uncheck()
    await page.get_by_role("button", name="Continue").click()
    complaint = page.get_by_role("link", name="You need to choose at least one kind of meeting.")
    await complaint.wait_for()
    await check("complaints")
    await complaint.click()
    await page.keyboard.press("Space")
    assert await page.get_by_label("Case rounds").is_checked()
    assert found == {}
    await context.close()
