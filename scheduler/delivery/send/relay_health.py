"""Whether the relay as a whole takes mail: one alert and one pause for all, instead of a failure for each."""

import random
from dataclasses import dataclass, replace

import structlog

from scheduler.delivery.send.transport import Outcome, Verdict
from scheduler.domain.clock import Clock
from scheduler.store import service_state
from scheduler.store.database import OUTAGES, Database

log = structlog.get_logger()

FIRST_PAUSE = 2.0
LONGEST_PAUSE = 60.0
REFUSALS_IN_A_ROW = 20
UNCLEAR_IN_A_ROW = 2
UNCLEAR_TRIES = 3


@dataclass(slots=True)
class _Refused:
    """A delivery that was refused for good so many `times`, which is not believed yet; `taken` is how many messages the
    relay had taken when that began."""

    taken: int
    times: int = 0


class RelayHealth:
    """Counts what the relay refuses wholesale. While it is down nothing is claimed; after the pause it is tried
    again, by itself.

    A refusal for good is believed only if it is the recipient's own: if the relay has taken other mail just before or
    since, or refused nobody else. Otherwise the delivery waits for another try, however short the list is.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._failures = 0
        self._proven = False
        self._until = 0.0
        self._taken = 0
        self._refusals = 0
        self._row: set[int] = set()
        self._doubted: dict[int, _Refused] = {}
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

    def note_taken(self, delivery: int) -> bool:
        """Note that it took a message. Whether that is nothing new; else `judge` has to write it down, after the first
        message of all too: a process that was killed may have left word that the relay is down."""
        self._taken += 1
        if self._refusals:
            self._refusals = 0
            self._row.clear()
        if self._doubted:
            self._doubted.pop(delivery, None)
        return self._proven and not self._failures

    async def judge(self, outcome: Outcome, delivery: int) -> Outcome:
        """Note what became of a try, and return what it means for its delivery.

        Where nothing but refusals for good come, and the relay's own words or their number say that it is not the
        recipients, the relay counts as down: the messages wait until it takes one again.
        """
        if outcome.verdict is Verdict.SENT:
            if not self.note_taken(delivery):
                await self._recovered()
            return outcome
        if outcome.verdict is Verdict.PERMANENT and outcome.code is not None:
            if self._is_believed(outcome, delivery):
                return outcome
            outcome = replace(
                outcome, verdict=Verdict.TEMPORARY, doubted=True, relay=self._refuses_all(outcome, delivery)
            )
        if outcome.relay:
            await self.failed(outcome.reason)
        return outcome

    def _is_believed(self, outcome: Outcome, delivery: int) -> bool:
        """Whether a refusal for good is this recipient's own. One that may be the relay's (`outcome.relay`) needs more
        tries, and other mail taken meanwhile."""
        self._refusals += 1
        self._row.add(delivery)
        nobody_else = len(self._row) == 1
        before = self._doubted.get(delivery)
        taken_since = before is not None and self._taken > before.taken
        if outcome.relay:
            believed = (
                before is not None and taken_since and nobody_else and before.times + 1 >= UNCLEAR_TRIES
            )
        else:
            believed = taken_since or (nobody_else and (before is not None or self._taken > 0))
        if believed:
            self._doubted.pop(delivery, None)
        else:
            self._doubted.setdefault(delivery, _Refused(self._taken)).times += 1
        return believed

    def _refuses_all(self, outcome: Outcome, delivery: int) -> bool:
        if outcome.relay and (
            len(self._row) >= UNCLEAR_IN_A_ROW or self._doubted[delivery].times >= UNCLEAR_TRIES
        ):
            return True
        return self._refusals >= REFUSALS_IN_A_ROW

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
                await service_state.write(connection, service_state.RELAY, value)
        except OUTAGES as error:
            log.warning("relay-not-noted", error=type(error).__name__)
            return False
        return True
