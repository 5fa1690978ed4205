"""Makes the README's pictures: a reminder as a member in Sydney reads it on a phone, in the light and in the dark.

From the project's folder: PYTHONPATH=. .venv/bin/python docs/images/make.py
"""

import shutil
from pathlib import Path
from typing import Literal

from playwright.sync_api import sync_playwright

from tests.delivery.mails import REMINDER, message, received

FOLDER = Path(__file__).parent
SCHEMES: tuple[tuple[str, Literal["light", "dark"]], ...] = (("", "light"), ("-dark", "dark"))


def main() -> None:
    mail = received(message(REMINDER))
    (FOLDER / "reminder.txt").write_text(f"Subject: {mail.subject}\n\n{mail.text}", encoding="utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for suffix, scheme in SCHEMES:
            page = browser.new_page(
                viewport={"width": 360, "height": 640}, device_scale_factor=2, color_scheme=scheme
            )
            page.set_content(mail.html)
            page.screenshot(path=FOLDER / f"reminder{suffix}.png", full_page=True)
        browser.close()


if __name__ == "__main__":
    main()
