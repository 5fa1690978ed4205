"""Golden files: mails kept to be read. `UPDATE_GOLDENS=1 pytest tests/delivery` writes them anew; read the diff."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

_FOLDER = Path(__file__).parent / "golden"


@pytest.fixture
def golden() -> Callable[[str, bytes], None]:
    """Compares bytes with the golden file of that name, or writes it where UPDATE_GOLDENS is set."""

    def compare(name: str, found: bytes) -> None:
        path = _FOLDER / name
        if os.environ.get("UPDATE_GOLDENS"):
            path.write_bytes(found)
        if not path.exists():
            pytest.fail(
                f"{path.name} is missing: run this test with UPDATE_GOLDENS=1, and read what it wrote"
            )
        assert found.decode().splitlines() == path.read_bytes().decode().splitlines()
        assert found == path.read_bytes()

    return compare
