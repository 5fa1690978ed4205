"""The claimed messages that wait for a connection: which may go now, by rates, limits and pauses of domains."""

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

MAX_QUEUED = 500
MAX_WAIT = 5.0
CLOCK_RESOLUTION = 1e-6
"""A wait shorter than this counts as none: it may be too short to advance a clock."""
MAX_CATCH_UP = 0.02
"""The number of seconds we may catch up after a message was late. Timers are late by one or two milliseconds, which at
500 messages a second would otherwise halve the rate."""
FIRST_PAUSE = 5.0
MAX_PAUSE = 300.0
RESERVED_SECONDS = 0.5

ReserveSlots = Callable[[int], Awaitable[float]]
"""Reserves this many consecutive slots of the rate among all processes that share it, and returns the seconds until the
first of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimits:
    """Messages a second over all connections, messages a second to each domain, and connections in use at once for one
    domain. 0 means no limit."""

    rate: float = 0
    domain_rate: float = 0
    domain_connections: int = 0


@dataclass(slots=True)
class DomainQueue:
    """The messages waiting for one domain, and when it may be tried next (times are monotonic seconds)."""

    waiting: "deque[QueuedMessage]" = field(default_factory=deque)
    in_flight: int = 0
    failures: int = 0
    next_slot: float = 0.0
    paused_until: float = 0.0
    deferred_until: float = 0.0


@dataclass(slots=True, eq=False)
class QueuedMessage:
    """A claimed message, counted in `pending`. It must be tried before `deadline` (monotonic seconds): after that,
    another run may have taken its claim over."""

    claim: Claim
    envelope: Envelope
    pending: PendingCount
    domain: DomainQueue
    deadline: float


class SendQueue:
    """Hands messages to connection workers, one domain after the other.

    It keeps to `limits`: with a rate, there are never more than rate × (S + MAX_CATCH_UP) + 1 messages in S seconds.
    A domain that answers 4xx is paused, longer each time. With `reserve_slots`, slots of the rate are reserved before a
    message uses one, and those not used in time lapse. At most `capacity` messages wait here.
    """

    def __init__(
        self,
        clock: Clock,
        limits: RateLimits,
        reserve_slots: ReserveSlots | None = None,
        *,
        capacity: int = MAX_QUEUED,
    ) -> None:
        self._clock = clock
        self._limits = limits
        self._has_domain_limits = bool(limits.domain_rate or limits.domain_connections)
        self._domains: dict[str, DomainQueue] = {}
        self._round_robin: deque[DomainQueue] = deque()
        self._next_slot = 0.0
        self._reserve_slots = reserve_slots if limits.rate else None
        self._reserved = 0
        self._reserved_until = 0.0
        self._count = 0
        self._capacity = capacity
        self._closed = False
        self._getting = asyncio.Lock()
        self._changed = asyncio.Event()
        self._space_freed = asyncio.Event()

    def message(
        self, claim: Claim, envelope: Envelope, pending: PendingCount, *, deadline: float = math.inf
    ) -> QueuedMessage:
        """Return a message for `put`."""
        name = envelope.recipient.rpartition("@")[2].casefold()
        domain = self._domains.get(name)
        if domain is None:
            domain = self._domains[name] = DomainQueue()
        return QueuedMessage(claim, envelope, pending, domain, deadline)

    async def put(self, message: QueuedMessage) -> float:
        """Queue a message and return 0; or, if its domain is busy for longer than MAX_WAIT, do not queue it and return
        the seconds after which to try again. Waits while the queue is full."""
        domain = message.domain
        now = self._clock.monotonic()
        wait = max(0.0, domain.next_slot - now, domain.paused_until - now)
        if self._limits.domain_rate:
            wait += len(domain.waiting) / self._limits.domain_rate
        if wait > MAX_WAIT:
            if self._limits.domain_rate:
                # Spread the deferred messages, so that they come back one by one.
                wait = max(domain.deferred_until - now, wait)
                domain.deferred_until = now + wait + 1 / self._limits.domain_rate
            return wait * random.uniform(1, 1.1)  # noqa: S311 - spreads load, guards nothing
        while self._count >= self._capacity:
            self._space_freed.clear()
            await self._space_freed.wait()
        if not domain.waiting:
            self._round_robin.append(domain)
        domain.waiting.append(message)
        self._count += 1
        self._changed.set()
        return 0

    def close(self) -> None:
        """Accept no more messages: `get` returns None once the queue is empty."""
        self._closed = True
        self._changed.set()

    async def get(self) -> QueuedMessage | None:
        """Wait for the next message that may be sent, and return it; None when the queue is closed and empty."""
        async with self._getting:
            while True:
                if self._reserve_slots and self._count:
                    await self._reserve(self._reserve_slots)
                if message := self._take():
                    return message
                if self._closed and not self._count:
                    return None
                await self._wait()

    def get_nowait(self) -> QueuedMessage | None:
        """Return a message that may be sent directly behind the current one; None if there is none, or if limits apply
        and it has to be asked for with `get`."""
        if self._limits.rate or self._has_domain_limits or self._getting.locked():
            return None
        return self._take(pipelined=True)

    def retry_after(self, message: QueuedMessage) -> float:
        """Return for how many seconds a message from `get` has to go back to the queue of the database because its
        domain has been paused meanwhile; 0 if it may be tried."""
        wait = message.domain.paused_until - self._clock.monotonic()
        return wait * random.uniform(1, 1.1) if wait > MAX_WAIT else 0  # noqa: S311 - only spreads load

    def task_done(self, message: QueuedMessage, outcome: Outcome | None) -> None:
        """Note that a message from `get` is no longer in flight, and pause its domain where `outcome` asks for it."""
        domain = message.domain
        domain.in_flight -= 1
        if outcome and outcome.verdict is Verdict.SENT:
            domain.failures = 0
        elif outcome and outcome.code is not None and 400 <= outcome.code <= 499 and not outcome.relay:
            now = self._clock.monotonic()
            if now >= domain.paused_until:
                domain.failures += 1
            pause = min(FIRST_PAUSE * 2 ** (domain.failures - 1), MAX_PAUSE)
            pause *= random.uniform(0.8, 1.2)  # noqa: S311 - spreads load, guards nothing
            domain.paused_until = max(domain.paused_until, now + pause)
        self._changed.set()

    async def _reserve(self, reserve_slots: ReserveSlots) -> None:
        if self._reserved and self._clock.monotonic() < self._reserved_until:
            return
        self._reserved = min(self._count, max(1, round(self._limits.rate * RESERVED_SECONDS)))
        wait = await reserve_slots(self._reserved)
        self._next_slot = self._clock.monotonic() + wait
        self._reserved_until = self._next_slot + self._reserved / self._limits.rate

    def _take(self, *, pipelined: bool = False) -> QueuedMessage | None:
        now = self._clock.monotonic()
        soon = now + CLOCK_RESOLUTION
        if not self._count or soon < self._next_slot:
            return None
        limit = self._limits.domain_connections
        for _ in range(len(self._round_robin)):
            domain = self._round_robin[0]
            pause = domain.paused_until - soon
            busy = soon < domain.next_slot or (limit and domain.in_flight >= limit)
            # Messages of a domain that is paused for long are handed out, so that they go back to the database's queue.
            if 0 < pause <= MAX_WAIT or (pause > 0 and pipelined) or (busy and pause <= 0):
                self._round_robin.rotate(-1)
                continue
            message = domain.waiting.popleft()
            if domain.waiting:
                self._round_robin.rotate(-1)
            else:
                self._round_robin.popleft()
            self._count -= 1
            self._space_freed.set()
            domain.in_flight += 1
            if pause > 0:
                return message
            if self._limits.rate:
                self._next_slot = _slot_after(self._next_slot, now, self._limits.rate)
                self._reserved -= 1
            if self._limits.domain_rate:
                domain.next_slot = _slot_after(domain.next_slot, now, self._limits.domain_rate)
            return message
        return None

    async def _wait(self) -> None:
        """Wait until something changes, or until the earliest instant at which a message may go."""
        self._changed.clear()
        if not self._count:
            await self._changed.wait()
            return
        limit = self._limits.domain_connections
        ready_at = [
            max(domain.next_slot, domain.paused_until)
            for domain in self._round_robin
            if not (limit and domain.in_flight >= limit)
        ]
        if not ready_at:
            await self._changed.wait()
            return
        seconds = max(self._next_slot, min(ready_at)) - self._clock.monotonic()
        if seconds <= 0:
            return
        sleeping = asyncio.ensure_future(self._clock.sleep(seconds))
        changing = asyncio.ensure_future(self._changed.wait())
        try:
            await asyncio.wait({sleeping, changing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            changing.cancel()


def _slot_after(slot: float, now: float, rate: float) -> float:
    """Return the slot that follows `slot`, which was used `now`. A delay of at most MAX_CATCH_UP is made up for."""
    return (slot if now - slot <= MAX_CATCH_UP else now) + 1 / rate
