"""The house in which the tests of services find themselves, unless they make one of their own."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.house import House, open_house


@pytest.fixture
async def house(tmp_path: Path, database_url: str) -> AsyncIterator[House]:
    """Half an hour before the reminder of the day before, with its deliveries made."""
    async with open_house(tmp_path, datetime(2026, 11, 1, tzinfo=UTC), url=database_url) as house:
        await house.tick()
        await house.join(("Ann", "Europe/London"), ("Bo", "Europe/London"))
        house.clock.pass_until(datetime(2026, 11, 18, 8, 30, tzinfo=UTC))
        await house.planner.tick()
        yield house
