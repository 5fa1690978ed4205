"""Fake clocks: they show the time that a test sets, so a test can run in any year."""

import asyncio
import time
from datetime import datetime, timedelta


class FakeClock:
    """Shows `now`; `pass_` lets time go by, on the wall and the monotonic clock alike."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._monotonic = 1_000.0
        self._suspended = 0.0

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def boottime(self) -> float:
        return self.monotonic() + self._suspended

    async def sleep(self, seconds: float) -> None:
        """Let `seconds` pass at once."""
        self.pass_(timedelta(seconds=seconds))
        await asyncio.sleep(0)

    def pass_(self, span: timedelta) -> None:
        self._now += span
        self._monotonic += span.total_seconds()

    def pass_until(self, moment: datetime) -> None:
        self.pass_(moment - self._now)

    def suspend(self, span: timedelta) -> None:
        """Suspend the machine: the monotonic clock stops meanwhile."""
        self._now += span
        self._suspended += span.total_seconds()

    def jump(self, span: timedelta) -> None:
        """Set the wall clock only, as when somebody mistypes the date."""
        self._now += span


class PassingClock(FakeClock):
    """Begins at `now` and runs as fast as the machine's clock, for tests that measure real seconds."""

    def __init__(self, now: datetime) -> None:
        super().__init__(now)
        self._begun = time.monotonic()

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=time.monotonic() - self._begun)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
