"""Every page, light and dark, on the smallest phone and on a desktop: axe-core finds no violation."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]
from starlette.applications import Starlette

from scheduler.domain.token import Purpose
from scheduler.service.meeting_records import add_theme
from scheduler.service.occurrences import Change, amend
from scheduler.web.routes import LISTED
from tests.installation import Installation
from tests.web.serving import served
from tests.web.test_any_form import own_tokens
from tests.web.test_member_page import person
from tests.web.test_people import show_people

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

KEY = "conversation-for-kindness/2026-11-19"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
MOVED = "conversation-for-kindness/2026-12-17"
PAST = "conversation-for-kindness/2021-05-20"


async def record_past(installation: Installation) -> None:
    """Record all there is to record about a past meeting."""
    await add_theme(installation.database, "Listening", words="Hearing *all*.", now=installation.clock.now())
    change = Change(
        topic="Listening & <hearing>",
        speakers="Amara Okafor, poet, Example Org",
        materials="https://youtu.be/x?a=1&b=2\nPaper: https://example.org/p\nNotes will follow",
        summary="# Said\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n> Quoted",
        insights="1. Ask",
        themes=("listening",),
    )
    await amend(installation.database, installation.by_slug, PAST, change, now=installation.clock.now())


@pytest.fixture
async def address(app: Starlette, installation: Installation) -> AsyncIterator[str]:
    """The site, with a meeting that is moved and invitations gone out."""
    await installation.live(datetime(2026, 11, 6, 12, tzinfo=UTC))
    change = Change(move_to=datetime(2026, 12, 17, 19), topic="Listening", speakers="Ann")
    await amend(installation.database, installation.by_slug, MOVED, change, now=installation.clock.now())
    await record_past(installation)
    async with served(app) as address:
        yield address


async def pages(installation: Installation) -> list[str]:
    """A path to every page in every state that a reader may find it in."""
    own = await own_tokens(installation)
    await show_people(installation)
    return [
        *LISTED,
        f"/wall/{own[Purpose.PREFERENCES]}",
        "/join?zone=Asia/Kolkata",
        "/embed/next",
        "/confirm/x",
        "/?zone=Asia/Kathmandu",
        "/?zone=Nowhere/Else",
        f"/meetings/{KEY}",
        f"/meetings/{MOVED}",
        "/archive?q=lisening",
        "/archive?q=nothing",
        f"/meetings/{PAST}",
        "/speakers/amara-okafor",
        "/themes/listening",
        f"/subscribe/{own[Purpose.SUBSCRIBE]}",
        "/nothing",
        "/outbox",
        f"/me/{own[Purpose.PREFERENCES]}",
        f"/me/{own[Purpose.PREFERENCES]}?done=details",
        "/me/x",
        f"/rsvp/{own[Purpose.RSVP]}?answer=declined",
        "/rsvp/x",
        f"/u/{own[Purpose.LEAVE]}",
        "/u/x",
        f"/go/{own[Purpose.JOIN]}/{KEY}",
        "/go/x/a/b",
        "/cal/x.ics",
    ]


async def fresh_token(installation: Installation) -> str:
    bo = await person(installation)
    return installation.keys.token(
        Purpose.SIGN_IN, bo.id, generation=0, expires=installation.clock.now() + timedelta(hours=1)
    )


LOOKS = [("light", 1280), pytest.param("dark", 320, marks=pytest.mark.short)]
"""Colour schemes and widths; in dark, on the smallest phone, most can go wrong."""


async def violations(page: "Page") -> list[str]:
    # Listing every element that breaks no rule, too, would take half as long again.
    found = await Axe().run(page, options={"runOnly": RULES, "resultTypes": ["violations"]})
    return [f"{one['id']}: {one['nodes'][0]['html'][:120]}" for one in found.response["violations"]]


@pytest.mark.proof
@pytest.mark.parametrize(("scheme", "width"), LOOKS)
async def test_axe_finds_nothing_on_any_page(
    address: str, browser: "Browser", installation: Installation, scheme: str, width: int
) -> None:
    found: dict[str, list[str]] = {}
    context = await browser.new_context(
        color_scheme="dark" if scheme == "dark" else "light", viewport={"width": width, "height": 700}
    )
    page = await context.new_page()
    for path in await pages(installation):
        await page.goto(address + path)
        found[path] = await violations(page)
        assert await page.evaluate("document.documentElement.scrollWidth") <= width, path
    own = await own_tokens(installation)
    await page.goto(f"{address}/me/{own[Purpose.PREFERENCES]}")
    await page.get_by_label("Name").fill("a\u202eb")
    await page.get_by_role("button", name="Save").first.click()
    await page.locator("#name-complaint").wait_for()
    found["complaint"] = await violations(page)
    await page.get_by_label("Name").fill("Bo")
    await page.get_by_label("Time zone").select_option("America/Vancouver")
    await page.get_by_role("button", name="Save").first.click()
    await page.get_by_role("heading", name="Change your time zone from Auckland to Vancouver?").wait_for()
    found["moving"] = await violations(page)
    await page.goto(f"{address}/join")
    await page.evaluate("document.querySelector('form').noValidate = true")
    for name, shown in (
        ("complaints", "We have not sent your request yet"),
        ("hours", "Which is your time zone?"),
    ):
        await page.get_by_label("Your name").fill("Maya")
        if name == "hours":
            await page.get_by_label("Email address").fill("maya@example.org")
            await page.get_by_label("Country").select_option("US")
            await page.get_by_label("Time zone").select_option("")
            await page.get_by_label("You may keep").check()
        await page.get_by_role("button", name="Continue").click()
        await page.get_by_text(shown).first.wait_for()
        found[name] = await violations(page)
    await page.get_by_role("button", name="Denver").click()
    await page.get_by_role("heading", name="Is this the right time for you?").wait_for()
    found["hour"] = await violations(page)
    await page.goto(f"{address}/rsvp/{own[Purpose.RSVP]}?answer=declined")
    await page.get_by_role("button", name="Send my answer").click()
    await page.get_by_role("button", name="Undo").wait_for()
    found["declined"] = await violations(page)
    await page.goto(f"{address}/join")
    await page.locator("form").last.evaluate("form => form.noValidate = true")
    await page.get_by_label("Your name").fill("Di")
    await page.get_by_role("button", name="Continue").click()
    await page.locator("#email-complaint").wait_for()
    found["join"] = await violations(page)
    await context.close()
    assert {state: wrong for state, wrong in found.items() if wrong} == {}


WIDER = """() => {
  document.documentElement.style.fontSize = "200%";
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= width) return "";
  const wide = [...document.querySelectorAll("body *")].filter((one) => one.scrollWidth > one.clientWidth + 1);
  return wide.map((one) => one.outerHTML.slice(0, 100)).pop() || "the page";
}"""
"""Doubles the size of the text; returns an element that is then wider than the window."""


@pytest.mark.proof
@pytest.mark.short
async def test_no_page_is_wider_than_the_smallest_phone_with_text_twice_as_large(
    address: str, browser: "Browser", installation: Installation
) -> None:
    context = await browser.new_context(viewport={"width": 320, "height": 640})
    page = await context.new_page()
    found = {}
    for path in await pages(installation):
        await page.goto(address + path)
        if wide := await page.evaluate(WIDER):
            found[path] = wide
    await context.close()
    assert not found
