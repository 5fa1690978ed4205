"""Every page of the console, light and dark, on a desktop and on the smallest phone: axe-core finds no violation, text
may be twice as large, everything can be reached with the Tab key, and each hour is named with its clock."""

import json
import re
from datetime import timedelta
from typing import TYPE_CHECKING

import httpx
import pytest

from scheduler.domain.actor import SERVICE, Actor
from scheduler.service import member_files
from scheduler.service.about import save_about
from scheduler.service.drafts import Words, add_draft
from scheduler.service.inbound import ingest
from scheduler.store import returns, uploads
from scheduler.web.routes import ENTRIES
from tests.installation import COMMUNITY, Installation
from tests.service.test_join_requests import wait_at_the_desk
from tests.web.conftest import PAGES
from tests.web.console.clocks import HOURS_WITHOUT_A_CLOCK
from tests.web.console.conftest import sign_in_link
from tests.web.console.test_member_files import CSV
from tests.web.console.test_returns import HOSTILE
from tests.web.test_accessible import LOOKS, record_past, violations
from tests.web.test_any_form import KEY
from tests.web.test_people import show_people

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

SERIES, DATE = KEY.split("/")
NO_PAGES = {
    "/convenor/sign-in/challenge",
    "/convenor/meetings/{series}/{date}/answers.csv",
    "/convenor/meetings/{series}/{date}/mail",
    "/convenor/meetings/{series}/{date}/follow-up/mail",
    "/convenor/planned/{number}/mail",
    "/convenor/drafts/{number}/mail",
    "/convenor/members/{number}/mails/{notice}/html",
    "/convenor/people/{number}/photo/{file}",
    "/convenor/profile/photo/{file}",
}
"""What answers with data, not with a page."""
WITH_TOKEN = {"/convenor/sign-in/{token}"}
"""Pages for those who have not signed in; they are looked at first."""
TAB_THROUGH = """() => {
  const shown = (element) => element.checkVisibility({visibilityProperty: true}) && !element.disabled;
  const wanted = [...document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary")]
    .filter((element) => shown(element) && !(element.type === "radio" && !element.checked
      && document.querySelector(`input[type=radio][name="${element.name}"]:checked`)));
  return wanted.filter((element) => {
    element.focus({focusVisible: true});
    const style = getComputedStyle(element);
    const isSeen = style.outlineStyle !== "none" || style.boxShadow !== "none";
    return document.activeElement !== element || element.tabIndex !== 0 || !isSeen;
  }).map((element) => element.outerHTML.slice(0, 120));
}"""
"""Returns what cannot be reached with the Tab key, or does not show that it has the focus."""


async def paths(installation: Installation) -> list[str]:
    """The address of every page of the console, with what it needs to be opened."""
    database, now = installation.database, installation.clock.now()
    ann = Actor(channel="console", name="Ann", member=1)
    words = Words(subject="News", body="# Hello\n\nOne, [two](https://www.example.org/).", audience="all")
    await record_past(installation)
    await ingest(database, HOSTILE, keys=installation.keys, domain=COMMUNITY.domain, now=now)
    async with database.read() as connection:
        message = (await returns.every(connection, ("review",)))[-1].id
    await save_about(database, "# One\n\n- two", by=ann, now=now)
    invitation = next(report.notice for report in await installation.reports() if report.member == 1)
    kept = await member_files.keep_upload(database, CSV, by=ann, now=now)
    async with database.write() as connection:
        # Keeping it as a convenor does would replace the other one.
        rows = b"month,title\nMay 2021,Hope\nx,y\n"
        sheet = await uploads.add(connection, member=1, content=rows, now=now)
    numbers = {
        "members": 1,
        "planned": invitation,
        "notices": 1,
        "team": 1,
        "drafts": await add_draft(database, words, by=SERVICE, now=now),
        "archive/import": sheet,
        "members/import": kept,
        "desk": await wait_at_the_desk(installation),
        "returns": message,
        "people": await show_people(installation),
        "about": 1,
    }
    found = []
    for entry in ENTRIES:
        part = entry.path.removeprefix("/convenor/").partition("/{")[0]
        is_page = entry.path.startswith("/convenor") and "GET" in entry.methods
        if is_page and entry.path not in NO_PAGES | WITH_TOKEN:
            assert "{number}" not in entry.path or part in numbers, f"nothing to show at {entry.path}"
            number = numbers.get(part)
            found.append(
                entry.path.format(
                    series=SERIES,
                    date=DATE,
                    number=number,
                    notice=invitation,
                    theme="listening",
                    speaker="amara-okafor",
                )
            )
    return found


async def faults(page: "Page", width: int) -> list[str]:
    """What is wrong with a page: violations, what is too wide, also with text twice as large, and the keyboard."""
    found = await violations(page)
    for size, shown in (("100%", width), ("200%", max(width, 640))):
        await page.set_viewport_size({"width": shown, "height": 700})
        await page.evaluate("size => document.documentElement.style.fontSize = size", size)
        wide = await page.evaluate("document.documentElement.scrollWidth")
        found += [f"{wide} pixels wide of {shown}, text at {size}"] if wide > shown else []
    await page.evaluate("document.documentElement.style.fontSize = ''")
    await page.set_viewport_size({"width": width, "height": 700})
    found += [f"no clock: {words}" for words in await page.evaluate(HOURS_WITHOUT_A_CLOCK)]
    return found + [f"no focus: {control}" for control in await page.evaluate(TAB_THROUGH)]


@pytest.mark.proof
@pytest.mark.parametrize(("scheme", "width"), LOOKS)
async def test_axe_finds_nothing_on_any_page_of_the_console(
    address: str, browser: "Browser", installation: Installation, scheme: str, width: int
) -> None:
    await installation.change("Ann", role="convenor")
    # The invitation, whose mail has a page.
    installation.clock.pass_(timedelta(days=2))
    await installation.tick()
    every = await paths(installation)
    async with httpx.AsyncClient(base_url=address) as asking:
        link = await sign_in_link(installation, asking, "Ann")
    found: dict[str, list[str]] = {}
    messages = list[str]()
    context = await browser.new_context(
        color_scheme="dark" if scheme == "dark" else "light",
        viewport={"width": width, "height": 700},
    )
    page = await context.new_page()
    page.on("console", lambda message: messages.append(message.text))
    await page.goto(address + link)
    found[link] = await faults(page, width)
    await page.get_by_role("button", name="Sign in").click()
    await page.wait_for_url(f"{address}/convenor/")
    for path in every:
        answer = await page.goto(address + path)
        assert answer
        is_there = answer.status == 200 and page.url == address + path
        found[path] = [*await faults(page, width), *messages] if is_there else [f"{answer.status} {page.url}"]
        messages.clear()
    await context.close()
    wrong = {path: faults for path, faults in found.items() if faults}
    assert not wrong, json.dumps(wrong, indent=1)


def test_every_part_that_htmx_replaces_keeps_the_focus_and_says_what_has_changed() -> None:
    """See static/console.js: the focus returns into a part with an id and data-live; data-announce is read out."""
    for template in (PAGES / "console").glob("*.html"):
        for tag in re.findall(r"<\w[^>]*data-hx-(?:get|post)[^>]*>", template.read_text(encoding="utf-8")):
            target = re.search(r'data-hx-target="#(\w+)"', tag)
            part = (
                re.search(rf'<\w+ id="{target[1]}"[^>]*>', template.read_text(encoding="utf-8"))
                if target
                else None
            )
            replaced = part[0] if part else tag
            assert all(word in replaced for word in ("id=", "data-live", "data-announce")), (
                template.name,
                tag,
            )
