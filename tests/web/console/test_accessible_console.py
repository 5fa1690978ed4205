"""Every page of the console, light and dark, on a desktop and on the smallest phone: axe-core finds no violation."""

import json
from datetime import timedelta
from typing import TYPE_CHECKING

import httpx
import pytest

from scheduler.domain.actor import SERVICE
from scheduler.service.drafts import Words, add_draft
from scheduler.web.routes import ENTRIES
from tests.installation import Installation
from tests.web.console.conftest import sign_in_link
from tests.web.test_accessible import violations
from tests.web.test_any_form import KEY

if TYPE_CHECKING:
    from playwright.async_api import Browser

SERIES, DATE = KEY.split("/")
NO_PAGES = {
    "/convenor/sign-in/challenge",
    "/convenor/meetings/{series}/{date}/answers.csv",
    "/convenor/meetings/{series}/{date}/mail",
    "/convenor/notices/count",
    "/convenor/drafts/{number}/mail",
    "/convenor/members/{number}/mails/{notice}/html",
}
OF_SOMETHING_ELSE = ("/convenor/sign-in/{token}", "/convenor/desk/{number}", "/convenor/returns/{number}")
"""Their own tests make the request, message or draft that they need."""


def paths(notice: int) -> list[str]:
    return [
        entry.path.format(series=SERIES, date=DATE, number=1, notice=notice)
        for entry in ENTRIES
        if entry.path.startswith("/convenor")
        and "GET" in entry.methods
        and entry.path not in NO_PAGES
        and entry.path not in OF_SOMETHING_ELSE
    ]


@pytest.mark.proof
@pytest.mark.short
async def test_axe_finds_nothing_on_any_page_of_the_console(
    address: str, browser: "Browser", installation: Installation
) -> None:
    await installation.change("Ann", role="convenor")
    # The invitation, whose mail has a page.
    installation.clock.pass_(timedelta(days=2))
    await installation.tick()
    invitation = next(report for report in await installation.reports() if report.member == 1)
    words = Words(subject="News", body="# Hello\n\nOne, [two](https://www.example.org/).", audience="all")
    draft = await add_draft(installation.database, words, by=SERVICE, now=installation.clock.now())
    assert draft == 1
    async with httpx.AsyncClient(base_url=address) as asking:
        link = await sign_in_link(installation, asking, "Ann")
    found: dict[str, list[str]] = {}
    session, messages = None, list[str]()
    for scheme, width in (("light", 1280), ("dark", 320)):
        context = await browser.new_context(
            color_scheme="dark" if scheme == "dark" else "light",
            viewport={"width": width, "height": 700},
            storage_state=session,
        )
        page = await context.new_page()
        page.on("console", lambda message: messages.append(message.text))
        if session is None:
            await page.goto(address + link)
            await page.get_by_role("button", name="Sign in").click()
            await page.wait_for_url(f"{address}/convenor/")
            session = await context.storage_state()
        for path in paths(invitation.notice):
            answer = await page.goto(address + path)
            assert answer
            if answer.status != 200:
                found[f"{scheme} {path}"] = [str(answer.status)]
                continue
            wide = await page.evaluate("document.documentElement.scrollWidth")
            wrong = [*await violations(page), *messages, *(["too wide"] if wide > width else [])]
            if wrong:
                found[f"{scheme} {path}"] = wrong
            messages.clear()
        await context.close()
    assert found == {}, json.dumps(found, indent=1)
