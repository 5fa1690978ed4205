"""Whether the relay as a whole takes mail: one alert and one pause for all, instead of a failure for each."""

import random
from dataclasses import replace

import structlog

from scheduler.delivery.transport import Outcome, Verdict
from scheduler.domain.clock import Clock
from scheduler.store import facts
from scheduler.store.database import FAULTS, Database

log = structlog.get_logger()

FIRST_PAUSE = 2.0
LONGEST_PAUSE = 60.0
REFUSALS_IN_A_ROW = 20


class Relay:
    """Counts what the relay refuses wholesale. While it is down nothing is claimed; after the pause it is tried
    again, by itself."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._failures = 0
        self._proven = False
        self._until = 0.0
        self._refusals = 0
        self._brief = ""
        self._since = clock.now()

    @property
    def is_doubted(self) -> bool:
        """Whether it has failed and taken nothing since: it is worth one try, not many."""
        return self._failures > 0

    @property
    def is_down(self) -> bool:
        """Whether to leave the relay alone for now."""
        return self._clock.monotonic() < self._until

    @property
    def pause(self) -> float:
        """Seconds until the relay is worth another try; 0 when it is not down."""
        return max(0.0, self._until - self._clock.monotonic())

    def note_taken(self) -> bool:
        """Note that it took a message. Whether that is nothing new; else `judge` has to write it down, after the first
        message of all too: a process that was killed may have left word that the relay is down."""
        self._refusals = 0
        return self._proven and not self._failures

    async def judge(self, outcome: Outcome) -> Outcome:
        """Note what became of a try, and return what it means for its delivery.

        Where nothing but refusals for good come, and the relay's own words or their number say that it is not the
        recipients, they are no longer believed: the messages wait until the relay takes one again.
        """
        if outcome.verdict is Verdict.SENT:
            if not self.note_taken():
                await self._recovered()
            return outcome
        if outcome.verdict is Verdict.PERMANENT and outcome.code is not None:
            self._refusals += 1
            if self._refusals < (2 if outcome.relay else REFUSALS_IN_A_ROW):
                return outcome
            outcome = replace(outcome, verdict=Verdict.TEMPORARY, relay=True)
        if outcome.relay:
            await self.failed(outcome.reason)
        return outcome

    async def failed(self, reason: str, *, brief: str = "") -> None:
        """Note a failure that is not one recipient's; the first one alerts. `brief` tells it to anybody."""
        if self.is_down:
            return
        self._failures += 1
        seconds = min(FIRST_PAUSE * 2 ** (self._failures - 1), LONGEST_PAUSE)
        self._until = self._clock.monotonic() + seconds * random.uniform(0.8, 1.2)  # noqa: S311 - only spreads load
        if self._failures == 1 or brief != self._brief:
            self._brief = brief
            self._since = self._clock.now() if self._failures == 1 else self._since
            log.error("relay-down", reason=reason)
            await self._keep({"reason": reason, "brief": brief, "since": self._since.isoformat()})

    async def _recovered(self) -> None:
        if self._failures:
            log.info("relay-up")
        self._failures, self._until, self._proven = 0, 0.0, True
        self._proven = await self._keep(None)

    async def _keep(self, value: dict[str, str] | None) -> bool:
        """Whether it could be kept. What was sent has been sent, whatever the database says."""
        try:
            async with self._database.write() as connection:
                await facts.write(connection, facts.RELAY, value)
        except FAULTS as error:
            log.warning("relay-not-noted", error=type(error).__name__)
            return False
        return True
