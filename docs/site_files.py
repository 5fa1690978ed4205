"""Adds files from outside this folder to the documentation site, and makes links to them lead there.

MkDocs calls these functions (`hooks` in mkdocs.yml). The pages themselves have links that work on a code host.
"""

import re
from pathlib import Path
from posixpath import dirname, normpath, relpath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

PLACES = {
    "ARCHITECTURE.md": "architecture.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "README.md": "overview.md",
    "bench/README.md": "benchmarks.md",
    "compose.yaml": "files/compose.yaml",
    "config/monitoring/alerts.yml": "files/alerts.yml",
    "config/monitoring/dashboard.json": "files/dashboard.json",
    "config/third-thursday.toml": "files/third-thursday.toml",
}
"""Where a file of the project is in the site."""

_SOURCES = {place: source for source, place in PLACES.items()}
_LINK = re.compile(r"(?<=\]\()[^)#:\s]+(?=[)#])")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files of PLACES."""
    root = Path(config.config_file_path).parent
    for source, place in PLACES.items():
        files.append(File.generated(config, place, abs_src_path=str(root / source)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Change the page's links between files of the project into links within the site.

    MkDocs reports what is in neither.
    """
    place = page.file.src_uri
    folder = dirname(_SOURCES.get(place, f"docs/{place}"))

    def within(link: re.Match[str]) -> str:
        target = normpath(f"{folder}/{link[0]}" if folder else link[0])
        if target in PLACES:
            return relpath(PLACES[target], dirname(place) or ".")
        if target.startswith("docs/"):
            return relpath(target.removeprefix("docs/"), dirname(place) or ".")
        return link[0]

    return _LINK.sub(within, markdown)
