"""The installation in which the tests of services find themselves, unless they make one of their own."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.conftest import CopyDatabase
from tests.installation import Installation, open_installation

BEFORE_THE_REMINDER = datetime(2026, 11, 18, 8, 30, tzinfo=UTC)


async def fill(url: str, folder: Path) -> None:
    async with open_installation(folder, datetime(2026, 11, 1, tzinfo=UTC), url=url) as installation:
        await installation.tick()
        await installation.join(("Ann", "Europe/London"), ("Bo", "Europe/London"))
        installation.clock.pass_until(BEFORE_THE_REMINDER)
        await installation.planner.tick()


@pytest.fixture
async def installation(tmp_path: Path, copy_database: CopyDatabase) -> AsyncIterator[Installation]:
    """Half an hour before the reminder of the day before, with its deliveries made."""
    url = await copy_database(fill)
    async with open_installation(tmp_path, BEFORE_THE_REMINDER, url=url) as installation:
        yield installation
