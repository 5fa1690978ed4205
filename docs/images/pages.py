"""Makes the pictures of pages: the public one and the one for joining, and a member's preferences, in the light.

From the project's folder: PYTHONPATH=. .venv/bin/python docs/images/pages.py
"""

import asyncio
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from playwright.async_api import async_playwright

from scheduler.domain.token import Purpose
from tests.installation import Installation, open_installation
from tests.web.conftest import make_app
from tests.web.serving import served
from tests.web.test_any_form import own_tokens

FOLDER = Path(__file__).parent


async def paths(installation: Installation) -> dict[str, str]:
    """The path of each page by the name of its picture."""
    own = await own_tokens(installation)
    return {
        "public": "/?zone=Pacific/Auckland",
        "join": "/join?zone=Pacific/Auckland",
        "preferences": f"/me/{own[Purpose.PREFERENCES]}",
    }


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with open_installation(Path(folder), datetime(2026, 11, 4, 12, tzinfo=UTC)) as installation:
            await installation.join(("Bo", "Pacific/Auckland"))
            await installation.join(*((f"Member {number}", "Europe/London") for number in range(11)))
            await installation.tick()
            async with served(make_app(installation)) as address, async_playwright() as playwright:
                browser = await playwright.chromium.launch(
                    executable_path=shutil.which("chromium"), args=["--no-sandbox"]
                )
                page = await browser.new_page(viewport={"width": 720, "height": 900}, color_scheme="light")
                for name, path in (await paths(installation)).items():
                    await page.goto(address + path)
                    await page.screenshot(path=FOLDER / f"{name}.png")
                await browser.close()


if __name__ == "__main__":
    asyncio.run(main())
