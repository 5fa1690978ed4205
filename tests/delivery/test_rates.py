"""Rates and limits as a relay sees them: everything from the claim to a receiver on loopback, in real time."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from scheduler.delivery.send.send_queue import MAX_CATCH_UP, RateLimits
from tests.clock import PassingClock
from tests.delivery.receiver import Receiver
from tests.delivery.sending import transport
from tests.installation import INVITATION, open_installation

DUE = datetime(2026, 11, 5, 9, 30, tzinfo=UTC)
TRANSIT = 0.15
"""By how many seconds a busy machine may delay one message and not another."""


class Watch(Receiver):
    """Records when each message came and to which domain, and how many were in flight at once. It replies to the first
    final dot only when `together` messages are in flight."""

    def __init__(self, *, together: int = 0) -> None:
        super().__init__(extensions=["PIPELINING"])
        self.came: list[tuple[float, str]] = []
        self.busy: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.most_open = 0
        self._together = together
        self._reached = asyncio.Event()
        self._domain: dict[asyncio.StreamWriter, str] = {}

    async def _act(self, step: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
        self.most_open = max(self.most_open, self.open)
        if step == "RCPT":
            # The last line belongs to this session: nothing was awaited in between.
            domain = self.lines[-1].partition("@")[2].partition(">")[0]
            self.came.append((time.monotonic(), domain))
            self._domain[writer] = domain
            self.busy[domain] += 1
            self.most[domain] = max(self.most[domain], self.busy[domain])
            if self.busy.total() >= self._together:
                self._reached.set()
        if step == "DOT":
            await self._reached.wait()
            self.busy[self._domain.pop(writer)] -= 1
        return await super()._act(step, reader, writer)

    def times(self, domain: str) -> list[float]:
        return [moment for moment, to in self.came if to == domain]


async def send(
    folder: Path, receiver: Watch, limits: RateLimits, *, to: Sequence[str], each: int, connections: int = 4
) -> None:
    """Send an invitation to `each` members at each of the domains, all due at once."""
    smtp = transport(receiver.port, connections=connections)
    async with open_installation(
        folder, DUE - timedelta(days=1), policies=(INVITATION,), transport=smtp
    ) as installation:
        await installation.tick()
        for domain in to:
            for number in range(each):
                address = f"m{number}@{domain}"
                await installation.join((address, "Europe/London"), address=address, address_key=address)
        installation.clock, installation.limits = PassingClock(DUE), limits
        installation.restart()
        async with asyncio.timeout(60):
            while {row.state for row in await installation.reports()} != {"sent"}:
                await installation.tick()


def check_rate(times: Sequence[float], rate: float) -> None:
    """Check that no window of any length has more messages than the rate allows, and that all together are not much
    slower. How closely the rate is reached is tested with a fake clock, since this machine may be busy."""
    for first, begun in enumerate(times):
        for count, moment in enumerate(times[first:]):
            assert count <= rate * (moment - begun + MAX_CATCH_UP + TRANSIT), (
                f"{count + 1} in {moment - begun:.3f} s"
            )
    shortest = (len(times) - 1) / rate
    assert times[-1] - times[0] <= shortest * 1.5 + 1


@pytest.mark.parametrize("rate", [25, 100])
async def test_all_connections_together_send_no_more_than_the_rate_and_not_much_less(
    tmp_path: Path, rate: int
) -> None:
    async with Watch() as receiver:
        await send(tmp_path, receiver, RateLimits(rate=rate), to=["a.example"], each=2 * rate)
        check_rate(receiver.times("a.example"), rate)


async def test_each_domain_gets_no_more_than_its_rate_and_not_much_less(tmp_path: Path) -> None:
    async with Watch() as receiver:
        await send(tmp_path, receiver, RateLimits(domain_rate=20), to=["a.example", "b.example"], each=30)
        for domain in ("a.example", "b.example"):
            check_rate(receiver.times(domain), 20)


async def test_no_more_connections_than_allowed_are_busy_for_a_domain_and_all_are_used(
    tmp_path: Path,
) -> None:
    async with Watch(together=4) as receiver:
        domains = ["a.example", "b.example"]
        await send(tmp_path, receiver, RateLimits(domain_connections=2), to=domains, each=10, connections=6)
        assert receiver.most == {"a.example": 2, "b.example": 2}


async def test_no_more_connections_are_open_than_allowed_and_all_are_used(tmp_path: Path) -> None:
    async with Watch(together=3) as receiver:
        await send(tmp_path, receiver, RateLimits(), to=["a.example"], each=30, connections=3)
        assert receiver.most["a.example"] == 3
        assert receiver.most_open == 3
