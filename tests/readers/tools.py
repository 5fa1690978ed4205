"""Programs by others, each in its own folder under `.readers`, which are downloaded when they are first needed."""

import fcntl
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

FOLDER = Path(__file__).parents[2] / ".readers"


def python_with(name: str, packages: Sequence[str]) -> Path:
    """Return the interpreter of a virtual environment with these packages and the versions that they pin."""
    folder = FOLDER / name
    with _made_once(folder) as lacking:
        if lacking:
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
            pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--quiet"]
            subprocess.run([*pip, "install", *packages], check=True)
    return folder / "bin" / "python"


def node_with(version: str, packages: Sequence[str]) -> tuple[Path, Path]:
    """Return Node of this version, from npm, and a folder in which a script can require these packages."""
    machine = "arm64" if platform.machine() in ("aarch64", "arm64") else "x64"
    node = f"node-{platform.system().lower()}-{machine}"
    folder = npm_folder(f"node-{version}", [f"{node}@{version}", *packages])
    return folder / "node_modules" / node / "bin" / "node", folder


def npm_folder(name: str, packages: Sequence[str]) -> Path:
    """Return a folder with these packages in `node_modules`, installed by npm."""
    folder = FOLDER / name
    with _made_once(folder) as lacking:
        if lacking:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "package.json").write_text('{"private": true}\n')
            npm = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]
            subprocess.run([*npm, *packages], cwd=folder, check=True, stdin=subprocess.DEVNULL)
    return folder


def compiled(source: Path, *libraries: str) -> Path:
    """Compile a C source with these libraries (by their pkg-config names), and return the program."""
    program = FOLDER / source.stem
    with _made_once(program) as lacking:
        if lacking or program.stat().st_mtime < source.stat().st_mtime:
            flags = subprocess.run(
                ["pkg-config", "--cflags", "--libs", *libraries], check=True, capture_output=True, text=True
            ).stdout.split()
            subprocess.run(["cc", "-O1", "-Wall", "-o", program, source, *flags], check=True)
    return program


@contextmanager
def _made_once(path: Path) -> Iterator[bool]:
    """Return whether `path` must still be made. Only one process at a time checks, and a partial one is made again."""
    FOLDER.mkdir(exist_ok=True)
    done = FOLDER / f"{path.name}.done"
    with (FOLDER / f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lacking = not done.exists()
        if lacking and path.is_dir():
            shutil.rmtree(path)
        yield lacking
        done.touch()
