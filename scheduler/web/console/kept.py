"""Values that take long to compute with many members: the last one is shown while the next is computed."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Generic, TypeVar

T = TypeVar("T")


class Kept(Generic[T]):
    """A value that is computed again, in the background, when somebody asks for it and it is older than `fresh`.

    Whoever comes first waits for it.
    """

    def __init__(self, fresh: timedelta) -> None:
        self._fresh = fresh
        self._value: T | None = None
        self._computed_at: datetime | None = None
        self._computing: asyncio.Task[None] | None = None

    async def get(self, now: datetime, compute: Callable[[], Awaitable[T]]) -> T:
        """Return the last value; `compute` makes the next one."""
        computing = self._refresh(now, compute)
        if self._value is None:
            assert computing
            await computing
        assert self._value is not None
        return self._value

    async def soon(
        self, now: datetime, compute: Callable[[], Awaitable[T]], *, patience: timedelta
    ) -> T | None:
        """Return the last value, or None if there is none even after `patience`."""
        computing = self._refresh(now, compute)
        if self._value is None and computing:
            await asyncio.wait([computing], timeout=patience.total_seconds())
            if computing.done():
                computing.result()
        return self._value

    def _refresh(self, now: datetime, compute: Callable[[], Awaitable[T]]) -> "asyncio.Task[None] | None":
        """Begin to compute a new value if the last one is stale; return the task that computes, if there is one."""
        is_stale = self._computed_at is None or now - self._computed_at >= self._fresh
        if is_stale and (self._computing is None or self._computing.done()):
            self._computing = asyncio.create_task(self._compute(now, compute))
        return self._computing

    async def settle(self) -> None:
        """Wait until nothing is being computed."""
        if self._computing and not self._computing.done():
            await asyncio.wait([self._computing])

    async def _compute(self, now: datetime, compute: Callable[[], Awaitable[T]]) -> None:
        self._value = await compute()
        self._computed_at = now
