"""Whether the relay as a whole takes mail: one alert and one pause for all, instead of a failure for each."""

import random

import structlog

from scheduler.domain.clock import Clock
from scheduler.store import facts
from scheduler.store.database import Database

log = structlog.get_logger()

FIRST_PAUSE = 2.0
LONGEST_PAUSE = 60.0


class Relay:
    """Counts what the relay refuses wholesale. While it is down nothing is claimed; after the pause it is tried
    again, by itself."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._failures = 0
        self._until = 0.0

    @property
    def is_down(self) -> bool:
        """Whether to leave the relay alone for now."""
        return self._clock.monotonic() < self._until

    @property
    def pause(self) -> float:
        """Seconds until the relay is worth another try; 0 when it is not down."""
        return max(0.0, self._until - self._clock.monotonic())

    async def failed(self, reason: str) -> None:
        """Note a failure that is not one recipient's; the first one alerts."""
        if self.is_down:
            return
        self._failures += 1
        seconds = min(FIRST_PAUSE * 2 ** (self._failures - 1), LONGEST_PAUSE)
        self._until = self._clock.monotonic() + seconds * random.uniform(0.8, 1.2)  # noqa: S311 - only spreads load
        if self._failures == 1:
            log.error("relay-down", reason=reason)
            await self._keep({"reason": reason, "since": self._clock.now().isoformat()})

    async def succeeded(self) -> None:
        """Note that the relay took a message."""
        if self._failures:
            self._failures, self._until = 0, 0.0
            log.info("relay-up")
            await self._keep(None)

    async def _keep(self, value: dict[str, str] | None) -> None:
        async with self._database.write() as connection:
            await facts.write(connection, facts.RELAY, value)
