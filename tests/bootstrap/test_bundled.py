import json
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from scheduler.bootstrap.settings_sources import bundled
from scheduler.domain.errors import Problem

ROOT = Path(__file__).parents[2]


def test_a_checkout_has_its_files_at_the_top_level() -> None:
    assert bundled("config/third-thursday.toml") == ROOT / "config/third-thursday.toml"


def test_a_missing_file_is_named() -> None:
    with pytest.raises(Problem, match="templates/none is missing: the installation is incomplete"):
        bundled("templates/none")


def files(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


def test_a_wheel_contains_its_files_and_works_from_any_folder(tmp_path: Path) -> None:
    source, site = tmp_path / "source", tmp_path / "site"
    for name in ("scheduler", "config", "templates"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    # As `python -m build` does: first the sdist, then the wheel from what is in it.
    subprocess.run([sys.executable, "-m", "hatchling", "build", "--target", "sdist"], cwd=source, check=True)
    (sdist,) = (source / "dist").glob("*.tar.gz")
    with tarfile.open(sdist) as packed:
        packed.extractall(tmp_path / "unpacked", filter="data")
    (source,) = (tmp_path / "unpacked").iterdir()
    subprocess.run([sys.executable, "-m", "hatchling", "build", "--target", "wheel"], cwd=source, check=True)
    (wheel,) = (source / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        opened.extractall(site)  # noqa: S202 - a wheel, which we built
    for name in ("config", "templates"):
        assert files(site / "scheduler/_bundled" / name) == files(ROOT / name)
    assert files(site / "scheduler/store/migrations") == files(source / "scheduler/store/migrations")
    program = (
        "from scheduler.bootstrap import settings; print(settings.__file__); "
        "print(settings.load_settings(None, {}).series[0].slug)"
    )
    elsewhere = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(site)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert elsewhere.stdout.split() == [
        str(site / "scheduler/bootstrap/settings.py"),
        "conversation-for-kindness",
    ]
    meetings = subprocess.run(
        [sys.executable, "-m", "scheduler", "schedule", "--json", "--count", "1"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(site)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert [row["series"] for row in json.loads(meetings.stdout)] == ["conversation-for-kindness"]
