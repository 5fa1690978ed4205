"""Whether the relay as a whole accepts mail: one alert and one pause for everybody, instead of a failure for each."""

import random
from dataclasses import dataclass, replace

import structlog

from scheduler.delivery.send.transport import Outcome, Verdict
from scheduler.domain.clock import Clock
from scheduler.store import service_state
from scheduler.store.database import OUTAGES, Database

log = structlog.get_logger()

FIRST_PAUSE = 2.0
MAX_PAUSE = 60.0
MAX_CONSECUTIVE_REFUSALS = 20
MAX_UNCLEAR_DELIVERIES = 2
MAX_UNCLEAR_TRIES = 3


@dataclass(slots=True)
class _UnconfirmedRefusal:
    """A delivery that was refused permanently `times` times, which is not confirmed yet. `accepted_before` is how many
    messages the relay had accepted before the first of those refusals."""

    accepted_before: int
    times: int = 0


class RelayHealth:
    """Tracks whether the relay refuses everybody. While it is down nothing is claimed; after a pause it is tried again.

    A permanent refusal is believed only if it is the recipient's own: if the relay has accepted other mail just before
    or since, or has refused nobody else. Otherwise the delivery waits for another try, however short the list is.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._failures = 0
        self._recovery_recorded = False
        self._down_until = 0.0
        self._accepted = 0
        self._refusals = 0
        self._refused_deliveries: set[int] = set()
        self._unconfirmed: dict[int, _UnconfirmedRefusal] = {}
        self._brief = ""
        self._down_since = clock.now()

    @property
    def is_failing(self) -> bool:
        """Whether the relay has failed and accepted nothing since: it is worth one try, not many."""
        return self._failures > 0

    @property
    def is_down(self) -> bool:
        """Whether to leave the relay alone for now."""
        return self._clock.monotonic() < self._down_until

    @property
    def pause(self) -> float:
        """Seconds until the relay is worth another try; 0 when it is not down."""
        return max(0.0, self._down_until - self._clock.monotonic())

    def note_accepted(self, delivery: int) -> bool:
        """Note that the relay accepted a message. Return whether that is all; if not, call `assess`, which also stores
        it in the database."""
        self._accepted += 1
        if self._refusals:
            self._refusals = 0
            self._refused_deliveries.clear()
        if self._unconfirmed:
            self._unconfirmed.pop(delivery, None)
        # The first message of all is stored too: a process that was killed may have stored that the relay is down.
        return self._recovery_recorded and not self._failures

    async def assess(self, outcome: Outcome, delivery: int) -> Outcome:
        """Record the outcome of a try, and return what it means for its delivery.

        The relay counts as down where there are only permanent refusals, and either their text or their number shows
        that the recipients are not the cause. Then messages wait until it accepts one again.
        """
        if outcome.verdict is Verdict.SENT:
            if not self.note_accepted(delivery):
                await self._record_recovery()
            return outcome
        if outcome.verdict is Verdict.PERMANENT and outcome.code is not None:
            if self._is_confirmed(outcome, delivery):
                return outcome
            outcome = replace(
                outcome,
                verdict=Verdict.TEMPORARY,
                unconfirmed=True,
                relay=self._refuses_everybody(outcome, delivery),
            )
        if outcome.relay:
            await self.record_failure(outcome.reason)
        return outcome

    async def record_failure(self, reason: str, *, brief: str = "") -> None:
        """Record a failure that is not about one recipient; the first one raises the alert. `brief` is a reason that
        anybody may see."""
        if self.is_down:
            return
        self._failures += 1
        seconds = min(FIRST_PAUSE * 2 ** (self._failures - 1), MAX_PAUSE)
        self._down_until = self._clock.monotonic() + seconds * random.uniform(0.8, 1.2)  # noqa: S311 - only spreads load
        if self._failures == 1 or brief != self._brief:
            self._brief = brief
            self._down_since = self._clock.now() if self._failures == 1 else self._down_since
            log.error("relay-down", reason=reason)
            await self._store({"reason": reason, "brief": brief, "since": self._down_since.isoformat()})

    def _is_confirmed(self, outcome: Outcome, delivery: int) -> bool:
        """Whether a permanent refusal is this recipient's own. One that may be the relay's (`outcome.relay`) needs more
        tries, and other mail accepted between them."""
        self._refusals += 1
        self._refused_deliveries.add(delivery)
        only_one_refused = len(self._refused_deliveries) == 1
        earlier = self._unconfirmed.get(delivery)
        accepted_since = earlier is not None and self._accepted > earlier.accepted_before
        if outcome.relay:
            confirmed = (
                earlier is not None
                and accepted_since
                and only_one_refused
                and earlier.times + 1 >= MAX_UNCLEAR_TRIES
            )
        else:
            confirmed = accepted_since or (only_one_refused and (earlier is not None or self._accepted > 0))
        if confirmed:
            self._unconfirmed.pop(delivery, None)
        else:
            self._unconfirmed.setdefault(delivery, _UnconfirmedRefusal(self._accepted)).times += 1
        return confirmed

    def _refuses_everybody(self, outcome: Outcome, delivery: int) -> bool:
        if outcome.relay and (
            len(self._refused_deliveries) >= MAX_UNCLEAR_DELIVERIES
            or self._unconfirmed[delivery].times >= MAX_UNCLEAR_TRIES
        ):
            return True
        return self._refusals >= MAX_CONSECUTIVE_REFUSALS

    async def _record_recovery(self) -> None:
        if self._failures:
            log.info("relay-up")
        self._failures, self._down_until, self._recovery_recorded = 0, 0.0, True
        self._recovery_recorded = await self._store(None)

    async def _store(self, value: dict[str, str] | None) -> bool:
        """Store the state of the relay; return whether the database could. What was sent stays sent in any case."""
        try:
            async with self._database.write() as connection:
                await service_state.write(connection, service_state.RELAY, value)
        except OUTAGES as error:
            log.warning("relay-not-noted", error=type(error).__name__)
            return False
        return True
