"""The frame of the console's pages, the components of all pages, and the parts that htmx replaces."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from scheduler.web.site import read_templates, site_of
from tests.web.conftest import PAGES
from tests.web.console.conftest import SignIn
from tests.web.serving import served
from tests.web.test_accessible import violations

if TYPE_CHECKING:
    from playwright.async_api import Browser

PAGE = (Path(__file__).parent / "components.html").read_text(encoding="utf-8")
WRONG = {name: f"You need to mend {name}" for name in ("subject", "day", "hour", "sure", "role")}
PART = """
<div id="part" data-live data-announce="1,372 of 1,372 emails are settled">
<p><a href="/convenor/" data-hx-get="/part" data-hx-target="#part" data-hx-swap="outerHTML">Refresh</a></p>
<p>All done</p>
</div>
"""


@pytest.fixture
async def address(app: Starlette) -> AsyncIterator[str]:
    """A page with every component, and a part of it for htmx, on the site of the tests."""
    template = read_templates(PAGES).from_string(PAGE)

    async def page(request: Request) -> Response:
        html = template.render(
            community=site_of(request).community,
            me={"name": "Bo"},
            role="convenor",
            active="notices",
            wrong=WRONG,
            logo=None,
            theme_url="",
            language="en",
            dir="ltr",
            language_menu=[],
            words_lang="",
        )
        return HTMLResponse(html)

    async def part(_: Request) -> Response:
        return HTMLResponse(PART)

    app.router.routes.extend([Route("/everything", page), Route("/part", part)])
    async with served(app) as address:
        yield address


@pytest.mark.proof
@pytest.mark.short
async def test_every_component_is_accessible_and_fits_the_smallest_phone(
    address: str, browser: "Browser"
) -> None:
    for scheme, width in (("light", 1280), ("dark", 320)):
        context = await browser.new_context(
            color_scheme="dark" if scheme == "dark" else "light", viewport={"width": width, "height": 700}
        )
        page = await context.new_page()
        await page.goto(f"{address}/everything")
        assert await violations(page) == []
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
        await context.close()


async def test_htmx_replaces_a_part_keeps_the_focus_says_so_and_breaks_no_rule_of_the_page(
    address: str, browser: "Browser"
) -> None:
    page = await browser.new_page()
    messages: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    await page.goto(f"{address}/everything")
    assert await page.evaluate("document.activeElement.className") == "notice problems"
    await page.get_by_role("link", name="Refresh").focus()
    await page.keyboard.press("Enter")
    await page.get_by_text("All done").wait_for()
    await page.get_by_text("1,372 of 1,372 emails are settled").wait_for(state="attached")
    assert page.url == f"{address}/everything"
    assert await page.evaluate("document.activeElement.textContent") == "Refresh"
    assert await page.evaluate("document.adoptedStyleSheets.length") == 0
    assert messages == []
    await page.close()


async def test_helpers_see_only_what_they_may_use(sign_in: SignIn) -> None:
    page = (await (await sign_in("Bo", "helper")).get("/convenor/")).text
    navigation = page.partition("<nav")[2].partition("</nav>")[0]
    assert 'href="/convenor/desk"' in navigation and 'href="/convenor/" aria-current="page"' in navigation
    assert 'href="/convenor/team"' not in navigation and 'href="/convenor/members"' not in navigation
    assert 'action="/convenor/sign-out"' in page and "<bdi>Bo</bdi></a>" in page
