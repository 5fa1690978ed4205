"""Where the files that come with the program lie: inside the package in a wheel, at the top level in a checkout."""

from pathlib import Path

from scheduler.domain.problem import Problem

_PACKAGE = Path(__file__).resolve().parent.parent


def bundled(name: str) -> Path:
    """Return the path of a file or folder such as `templates/email` or `config/third-thursday.toml`.

    Raises Problem where it is missing: the installation is incomplete.
    """
    inside = _PACKAGE / "_bundled"
    path = (inside if inside.is_dir() else _PACKAGE.parent) / name
    if not path.exists():
        raise Problem(f"{path} is missing: the installation is incomplete; install third-thursday again")
    return path
