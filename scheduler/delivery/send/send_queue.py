"""The claimed messages that wait for a connection: which may go now, by rates, limits and pauses of destinations."""

import asyncio
import math
import random
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from scheduler.delivery.send.results import PendingCount
from scheduler.delivery.send.transport import Envelope, Outcome, Verdict
from scheduler.domain.clock import Clock
from scheduler.store.ledger.claims import Claim

LARGEST = 500
LONGEST_WAIT = 5.0
CLOCK_GRAIN = 1e-6
"""What is nearer than this is now: a wait so short may not move a clock at all."""
CATCH_UP = 0.02
"""So many seconds at most by which a message was late are made up by the next: timers of a machine are late by one or
two thousandths, which at 500 a second would be every second message."""
FIRST_PAUSE = 5.0
LONGEST_PAUSE = 300.0
BOOKED_SECONDS = 0.5

ReserveSlots = Callable[[int], Awaitable[float]]
"""Reserves so many slots of the rate in a row, among all who share it; the seconds until the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Messages a second over all connections and to each domain, and connections busy for one domain; 0: no limit."""

    rate: float = 0
    domain_rate: float = 0
    domain_connections: int = 0


@dataclass(slots=True)
class Destination:
    """The domain of an address: what waits for it, and when it may be tried next (monotonic seconds)."""

    waiting: "deque[QueuedMessage]" = field(default_factory=deque)
    busy: int = 0
    failures: int = 0
    free_at: float = 0.0
    paused_until: float = 0.0
    booked_until: float = 0.0


@dataclass(slots=True, eq=False)
class QueuedMessage:
    """A claimed message on its way, one of `tally`. It is to be tried before `until` (monotonic seconds), or not by
    this claim."""

    claim: Claim
    envelope: Envelope
    tally: PendingCount
    destination: Destination
    until: float


class SendQueue:
    """Gives out jobs to lanes, the destinations in turn. Keeps to `limits`: under one rate there are never more than
    rate × (S + CATCH_UP) + 1 messages in any S seconds. A destination that answers 4xx is left alone for a while,
    longer each time. With `book`, slots of the rate are reserved before a message takes one; those that are not used
    in time lapse. At most `room` jobs wait here."""

    def __init__(
        self, clock: Clock, limits: Limits, book: ReserveSlots | None = None, *, room: int = LARGEST
    ) -> None:
        self._clock = clock
        self._limits = limits
        self._by_domain = bool(limits.domain_rate or limits.domain_connections)
        self._destinations: dict[str, Destination] = {}
        self._ring: deque[Destination] = deque()
        self._free_at = 0.0
        self._book = book if limits.rate else None
        self._booked = 0
        self._booked_until = 0.0
        self._count = 0
        self._most = room
        self._ended = False
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()
        self._room = asyncio.Event()

    def job(
        self, claim: Claim, envelope: Envelope, tally: PendingCount, *, until: float = math.inf
    ) -> QueuedMessage:
        """The job of sending `envelope`."""
        domain = envelope.recipient.rpartition("@")[2].casefold()
        destination = self._destinations.get(domain)
        if destination is None:
            destination = self._destinations[domain] = Destination()
        return QueuedMessage(claim, envelope, tally, destination, until)

    async def put(self, job: QueuedMessage) -> float:
        """Let a job wait here and return 0; or, where its destination is busy for longer, the seconds after which to
        come again. Waits while too many wait already."""
        destination = job.destination
        now = self._clock.monotonic()
        wait = max(0.0, destination.free_at - now, destination.paused_until - now)
        if self._limits.domain_rate:
            wait += len(destination.waiting) / self._limits.domain_rate
        if wait > LONGEST_WAIT:
            if self._limits.domain_rate:
                # Those that are sent away come back one by one.
                wait = max(destination.booked_until - now, wait)
                destination.booked_until = now + wait + 1 / self._limits.domain_rate
            return wait * random.uniform(1, 1.1)  # noqa: S311 - spreads load, guards nothing
        while self._count >= self._most:
            self._room.clear()
            await self._room.wait()
        if not destination.waiting:
            self._ring.append(destination)
        destination.waiting.append(job)
        self._count += 1
        self._changed.set()
        return 0

    def end(self) -> None:
        """Nothing more comes: `get` returns None once all has been given out."""
        self._ended = True
        self._changed.set()

    async def get(self) -> QueuedMessage | None:
        """The next job that may go, as soon as one may; None at the end."""
        async with self._turn:
            while True:
                if self._book and self._count:
                    await self._reserve(self._book)
                if job := self._take():
                    return job
                if self._ended and not self._count:
                    return None
                await self._wait()

    async def _reserve(self, book: ReserveSlots) -> None:
        if self._booked and self._clock.monotonic() < self._booked_until:
            return
        self._booked = min(self._count, max(1, round(self._limits.rate * BOOKED_SECONDS)))
        wait = await book(self._booked)
        self._free_at = self._clock.monotonic() + wait
        self._booked_until = self._free_at + self._booked / self._limits.rate

    def get_ahead(self) -> QueuedMessage | None:
        """A job that may go behind the present one at once, if there is one and no rate forbids it."""
        return (
            self._take(ahead=True)
            if not (self._limits.rate or self._by_domain or self._turn.locked())
            else None
        )

    def pause(self, job: QueuedMessage) -> float:
        """The seconds for which a job that was given out is to go back to the queue, since its destination has been
        paused meanwhile; 0 where it may be tried."""
        wait = job.destination.paused_until - self._clock.monotonic()
        return wait * random.uniform(1, 1.1) if wait > LONGEST_WAIT else 0  # noqa: S311 - only spreads load

    def done(self, job: QueuedMessage, outcome: Outcome | None) -> None:
        """Note that a job given out is no longer on its way, and what its destination said of it."""
        destination = job.destination
        destination.busy -= 1
        if outcome and outcome.verdict is Verdict.SENT:
            destination.failures = 0
        elif outcome and outcome.code is not None and 400 <= outcome.code <= 499 and not outcome.relay:
            now = self._clock.monotonic()
            if now >= destination.paused_until:
                destination.failures += 1
            pause = min(FIRST_PAUSE * 2 ** (destination.failures - 1), LONGEST_PAUSE)
            pause *= random.uniform(0.8, 1.2)  # noqa: S311 - spreads load, guards nothing
            destination.paused_until = max(destination.paused_until, now + pause)
        self._changed.set()

    def _take(self, *, ahead: bool = False) -> QueuedMessage | None:
        now = self._clock.monotonic()
        soon = now + CLOCK_GRAIN
        if not self._count or soon < self._free_at:
            return None
        limit = self._limits.domain_connections
        for _ in range(len(self._ring)):
            destination = self._ring[0]
            pause = destination.paused_until - soon
            busy = soon < destination.free_at or (limit and destination.busy >= limit)
            # What is paused for long is given out, to go back to the queue.
            if 0 < pause <= LONGEST_WAIT or (pause > 0 and ahead) or (busy and pause <= 0):
                self._ring.rotate(-1)
                continue
            job = destination.waiting.popleft()
            if destination.waiting:
                self._ring.rotate(-1)
            else:
                self._ring.popleft()
            self._count -= 1
            self._room.set()
            destination.busy += 1
            if pause > 0:
                return job
            if self._limits.rate:
                self._free_at = _following(self._free_at, now, self._limits.rate)
                self._booked -= 1
            if self._limits.domain_rate:
                destination.free_at = _following(destination.free_at, now, self._limits.domain_rate)
            return job
        return None

    async def _wait(self) -> None:
        """Until something changed, or the earliest instant at which a job may go."""
        self._changed.clear()
        if not self._count:
            await self._changed.wait()
            return
        limit = self._limits.domain_connections
        frees = [
            max(one.free_at, one.paused_until) for one in self._ring if not (limit and one.busy >= limit)
        ]
        if not frees:
            await self._changed.wait()
            return
        seconds = max(self._free_at, min(frees)) - self._clock.monotonic()
        if seconds <= 0:
            return
        sleeping = asyncio.ensure_future(self._clock.sleep(seconds))
        changing = asyncio.ensure_future(self._changed.wait())
        try:
            await asyncio.wait({sleeping, changing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            changing.cancel()


def _following(free_at: float, now: float, rate: float) -> float:
    """When a rate is free again after it was used `now`, a little or long after it was free."""
    return (free_at if now - free_at <= CATCH_UP else now) + 1 / rate
