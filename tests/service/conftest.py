"""The installation in which the tests of services find themselves, unless they make one of their own."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.installation import Installation, open_installation


@pytest.fixture
async def installation(tmp_path: Path, database_url: str) -> AsyncIterator[Installation]:
    """Half an hour before the reminder of the day before, with its deliveries made."""
    async with open_installation(
        tmp_path, datetime(2026, 11, 1, tzinfo=UTC), url=database_url
    ) as installation:
        await installation.tick()
        await installation.join(("Ann", "Europe/London"), ("Bo", "Europe/London"))
        installation.clock.pass_until(datetime(2026, 11, 18, 8, 30, tzinfo=UTC))
        await installation.planner.tick()
        yield installation
