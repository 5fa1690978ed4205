"""Makes the pictures of the convenors' pages: home, a meeting and what its hour means, a notice,
a member and the numbers.

The people are made up, and the clock stands still, so the pictures change only if the pages do.
From the project's folder: PYTHONPATH=. .venv/bin/python docs/images/console.py [NAME]...
"""

import asyncio
import secrets
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

from playwright.async_api import FloatRect, Page, async_playwright

from scheduler.domain.audience import Audience
from scheduler.service.notices import send_notice
from scheduler.service.occurrences import Change, amend
from scheduler.store import members, sessions
from tests.installation import COMMUNITY, SERIES, Installation, address_of, open_installation
from tests.web.conftest import make_app, settle
from tests.web.serving import served

FOLDER = Path(__file__).parent
BEGAN = datetime(2026, 8, 3, 12, tzinfo=UTC)
SEEN = datetime(2026, 11, 12, 15, tzinfo=UTC)
MEETING = f"{SERIES.slug}/2026-11-19"
ON_A_HOLIDAY = f"{SERIES.slug}/2027-05-20"
PARTS = {"hours": "[aria-labelledby=hour-heading]", "numbers": "[aria-labelledby=answers-heading]"}
"""Of these pages only a part is shown."""

PEOPLE = (
    ("Ann Fairweather", "GB-ENG", "Europe/London"),
    ("Bo Tamahori", "NZ", "Pacific/Auckland"),
    ("Chidi Okonkwo", "NG", "Africa/Lagos"),
    ("Dolores Quintana", "MX", "America/Mexico_City"),
    ("Eilidh Macrae", "GB-SCT", "Europe/London"),
    ("Farida Rahmani", "EG", "Africa/Cairo"),
    ("Gopal Shrestha", "NP", "Asia/Kathmandu"),
    ("Hanna Lindqvist", "SE", "Europe/Stockholm"),
    ("Ines Carvalho", "BR", "America/Sao_Paulo"),
    ("Jonas Weidner", "DE", "Europe/Berlin"),
    ("Kimiko Arai", "JP", "Asia/Tokyo"),
    ("Lowri Prosser", "GB-WLS", "Europe/London"),
    ("Maeve Kinsella", "IE", "Europe/Dublin"),
    ("Nadia Benali", "MA", "Africa/Casablanca"),
    ("Oskar Brandt", "DE", "Europe/Berlin"),
    ("Priya Raman", "IN", "Asia/Kolkata"),
    ("Quinn Delacroix", "US", "America/New_York"),
    ("Rosa Pereira", "BR", "America/Sao_Paulo"),
    ("Sam Whitcombe", "GB-ENG", "Europe/London"),
    ("Tui Ngata", "NZ", "Pacific/Auckland"),
    ("Uma Krishnan", "IN", "Asia/Kolkata"),
    ("Vera Hollis", "AU", "Australia/Sydney"),
    ("Wen Li", "SG", "Asia/Singapore"),
    ("Yolanda Reyes", "US", "America/Los_Angeles"),
)
ANSWERS = ("coming", "", "coming", "maybe", "", "declined", "")


async def live_through_the_autumn(installation: Installation) -> int:
    """Let members join, meet and answer until SEEN; return the number of a notice."""
    await installation.tick()
    for number, (name, country, zone) in enumerate(PEOPLE):
        await installation.join((name, zone), country=country)
        await installation.live(installation.clock.now() + timedelta(days=1, hours=number))
    for first in (PEOPLE[0], PEOPLE[4]):
        await installation.change(first[0], role="convenor")
    for until, key in (
        (datetime(2026, 9, 12, tzinfo=UTC), f"{SERIES.slug}/2026-09-17"),
        (datetime(2026, 10, 12, tzinfo=UTC), f"{SERIES.slug}/2026-10-15"),
        (datetime(2026, 11, 10, tzinfo=UTC), MEETING),
    ):
        await installation.live(max(until, installation.clock.now() + timedelta(minutes=1)))
        for number, (name, _, _) in enumerate(PEOPLE):
            if answer := ANSWERS[(number + until.month) % len(ANSWERS)]:
                await installation.answer(name, key, answer)
    change = Change(topic="Listening well", speakers="Maeve Kinsella")
    await amend(installation.database, installation.by_slug, MEETING, change, now=installation.clock.now())
    sent = await send_notice(
        installation.database,
        subject="What shall we talk about next year?",
        body="Dear all,\n\nplease reply with one topic that matters to you.",
        audience=Audience(terms={"all": []}),
        audience_text="all",
        now=installation.clock.now(),
    )
    await installation.live(SEEN)
    return sent.notice


async def signed_in(installation: Installation) -> tuple[str, int]:
    """The secret of a convenor's session, and the number of another member."""
    secret = secrets.token_urlsafe(32)
    async with installation.database.write() as connection:
        ann = await members.by_key(connection, address_of(PEOPLE[0][0]))
        other = await members.by_key(connection, address_of(PEOPLE[6][0]))
        assert ann and other
        await sessions.add(
            connection,
            member=ann.id,
            generation=ann.generation,
            secret_hash=sha256(secret.encode()).hexdigest(),
            sign_in_hash="picture",
            browser="Firefox on Android",
            now=installation.clock.now(),
        )
    return secret, other.id


async def take(page: Page, address: str, paths: Mapping[str, str]) -> None:
    for name, path in paths.items():
        await page.goto(address + path)
        if name in PARTS:
            # Long lists are folded.
            await page.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
            # The whole page is taken, so that the part may lie below what the window shows.
            box = await page.locator(PARTS[name]).bounding_box()
            assert box
            clip = FloatRect(x=0, y=box["y"] - 16, width=880, height=min(box["height"] + 32, 620))
            await page.screenshot(path=FOLDER / f"console-{name}.png", full_page=True, clip=clip)
        else:
            await page.screenshot(path=FOLDER / f"console-{name}.png")


async def main(names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with open_installation(Path(folder), BEGAN) as installation:
            notice = await live_through_the_autumn(installation)
            secret, member = await signed_in(installation)
            paths = {
                "home": "/convenor/",
                "meeting": f"/convenor/meetings/{MEETING}",
                "notice": f"/convenor/notices/{notice}",
                "member": f"/convenor/members/{member}",
                "hours": f"/convenor/meetings/{ON_A_HOLIDAY}",
                "numbers": "/convenor/numbers",
            }
            app = make_app(installation, community=replace(COMMUNITY, base_url="http://localhost"))
            async with served(app) as address, async_playwright() as playwright:
                browser = await playwright.chromium.launch(
                    executable_path=shutil.which("chromium"), args=["--no-sandbox"]
                )
                page = await browser.new_page(color_scheme="light", viewport={"width": 880, "height": 960})
                await page.context.add_cookies([{"name": "session", "value": secret, "url": address}])
                wanted = {name: path for name, path in paths.items() if not names or name in names}
                for path in wanted.values():
                    await page.goto(address + path)
                    await settle(app)
                await take(page, address, wanted)
                await browser.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
