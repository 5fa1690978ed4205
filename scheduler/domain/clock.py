"""The clock as the house sees it: a port, because tests live in other years than the machine."""

from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Tells the time and waits. `now` is aware, in UTC; `monotonic` and `boottime` are in seconds and never go back;
    `boottime` goes on while the machine is suspended."""

    def now(self) -> datetime: ...

    def monotonic(self) -> float: ...

    def boottime(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...


def require_aware(value: datetime, what: str) -> datetime:
    """Return `value` in UTC. Raises ValueError for a naive datetime: it names no instant."""
    if value.tzinfo is None or value.utcoffset() is None:
        raise ValueError(f"{what} is naive: a datetime here needs a zone")
    return value.astimezone(UTC)
