"""The documentation site is built without a warning, and asks no other host for anything."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).parents[1]

LOADED = {
    "audio": ("src",),
    "embed": ("src",),
    "form": ("action",),
    "iframe": ("src",),
    "img": ("src", "srcset"),
    "link": ("href",),
    "object": ("data",),
    "script": ("src",),
    "source": ("src", "srcset"),
    "video": ("src", "poster"),
}
"""The attributes with addresses to which a browser sends requests without being asked."""

_IN_STYLES = re.compile(r"""(?:url\(|@import)\s*["']?\s*(?:https?:)?//""")


class _Requests(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if value and name in LOADED.get(tag, ())]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site; a broken link or a page that is not in the menu is an error."""
    folder = tmp_path_factory.mktemp("documentation")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def test_no_page_of_the_documentation_loads_anything_from_another_host(site: Path) -> None:
    """The theme's scripts name other hosts only for diagrams and for facts about a repository. No page has these."""
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        text = page.read_text(encoding="utf-8")
        requests = _Requests()
        requests.feed(text)
        assert requests.found
        assert not [address for address in requests.found if urlsplit(address).netloc], page
        assert not _IN_STYLES.search(text), page
        assert 'class="mermaid"' not in text
        assert 'data-md-component="source"' not in text
    for sheet in site.rglob("*.css"):
        assert not _IN_STYLES.search(sheet.read_text(encoding="utf-8")), sheet
