"""A release is named the same everywhere, and has left its databases for the tests of later ones."""

import re
from pathlib import Path

import pytest

from scheduler import __version__

ROOT = Path(__file__).parents[1]
NAMED_IN = {
    "README.md": r"This is version (\S+),",
    "docs/index.md": r"describe version\s(\S+)\.\n",
    "docs/installing.md": r"# third-thursday (\S+)",
    "Dockerfile": r'image\.version="(\S+)"',
    "compose.yaml": r"image: third-thursday:(\S+)",
    "CHANGELOG.md": r"\n## (\d\S+) \(\d{4}-\d\d-\d\d\)\n",
}


@pytest.mark.parametrize("file", NAMED_IN)
def test_a_file_that_names_the_version_names_this_one(file: str) -> None:
    found = re.search(NAMED_IN[file], (ROOT / file).read_text(encoding="utf-8"))
    assert found and found[1] == __version__


def test_each_version_of_the_changelog_has_left_its_databases() -> None:
    versions = re.findall(NAMED_IN["CHANGELOG.md"], (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
    folder = ROOT / "tests" / "fixtures" / "releases"
    assert {file.name for file in folder.glob("*.gz")} == {
        f"{version}.{kind}.gz" for version in versions for kind in ("sqlite", "sql")
    }
