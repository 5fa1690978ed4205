"""The machine's clock."""

import asyncio
import time
from datetime import UTC, datetime


class SystemClock:
    """The present, in UTC, and real waiting."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def boottime(self) -> float:
        """Where the platform does not tell it, a suspended machine looks like a clock that jumped."""
        return (
            time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
        )

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
