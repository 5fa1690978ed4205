import json
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from gettext import GNUTranslations
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


def built_wheel(folder: Path) -> tuple[Path, Path]:
    """Build the wheel as `python -m build` does; return it and the sources that it was built from."""
    source = folder / "source"
    for name in ("scheduler", "config", "templates", "locales"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    swedish = source / "locales/sv/LC_MESSAGES/messages.po"
    swedish.write_text(
        'msgid ""\nmsgstr "Content-Type: text/plain; charset=utf-8"\n\nmsgid "Hello,"\nmsgstr "Hej!"\n',
        encoding="utf-8",
    )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    # First the sdist, then the wheel from what is in it.
    subprocess.run([sys.executable, "-m", "hatchling", "build", "--target", "sdist"], cwd=source, check=True)
    (sdist,) = (source / "dist").glob("*.tar.gz")
    with tarfile.open(sdist) as packed:
        packed.extractall(folder / "unpacked", filter="data")
    (source,) = (folder / "unpacked").iterdir()
    subprocess.run([sys.executable, "-m", "hatchling", "build", "--target", "wheel"], cwd=source, check=True)
    (wheel,) = (source / "dist").glob("*.whl")
    return wheel, source


@pytest.mark.proof
def test_the_wheel_can_be_installed_by_pip_and_its_command_works_from_any_folder(tmp_path: Path) -> None:
    wheel, _ = built_wheel(tmp_path)
    programs, elsewhere = tmp_path / "venv" / "bin", tmp_path / "elsewhere"
    elsewhere.mkdir()
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    # Without a network: the libraries are those of the tests.
    install = [str(programs / "pip"), "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True)
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": sysconfig.get_path("purelib")}
    for words in (["migrate"], ["doctor"], ["members", "list"], ["schedule", "--count", "1"]):
        done = subprocess.run(
            [programs / "third-thursday", *words],
            cwd=elsewhere,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert "Traceback" not in done.stderr
        assert done.returncode == 0 or words == ["doctor"], done.stderr
    assert (elsewhere / "var" / "third-thursday.sqlite").exists()
    where = [str(programs / "python"), "-c", "import scheduler; print(scheduler.__file__)"]
    assert str(tmp_path / "venv") in subprocess.check_output(where, cwd=elsewhere, env=environment, text=True)


@pytest.mark.proof
@pytest.mark.short
def test_a_wheel_contains_its_files_and_works_from_any_folder(tmp_path: Path) -> None:
    (wheel, source), site = built_wheel(tmp_path), tmp_path / "site"
    with zipfile.ZipFile(wheel) as opened:
        opened.extractall(site)  # noqa: S202 - a wheel, which we built
    for name in ("config", "templates"):
        assert files(site / "scheduler/_bundled" / name) == files(ROOT / name)
    catalogues = site / "scheduler/_bundled/locales"
    assert {path.name for path in files(catalogues)} == {"messages.mo"}
    with (catalogues / "sv/LC_MESSAGES/messages.mo").open("rb") as compiled:
        assert GNUTranslations(compiled).gettext("Hello,") == "Hej!"
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
