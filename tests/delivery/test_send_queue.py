"""Rates, limits and pauses: what may go now, over all and to each domain, under a clock that a test moves."""

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from scheduler.delivery.send.results import PendingCount
from scheduler.delivery.send.send_queue import (
    MAX_CATCH_UP,
    MAX_PAUSE,
    MAX_WAIT,
    QueuedMessage,
    RateLimits,
    SendQueue,
)
from scheduler.delivery.send.transport import Envelope, Outcome, Verdict
from scheduler.store.ledger.claims import Claim
from tests.clock import FakeClock

SENT = Outcome(verdict=Verdict.SENT, reason="", code=250)
LATER = Outcome(verdict=Verdict.TEMPORARY, reason="450 later", code=450)


def send_queue(**limits: float) -> tuple[SendQueue, FakeClock]:
    clock = FakeClock(datetime(2026, 11, 1, tzinfo=UTC))
    return SendQueue(clock, RateLimits(**limits)), clock  # type: ignore[arg-type]


def message(queue: SendQueue, recipient: str) -> QueuedMessage:
    claim = Claim(
        id=1,
        notice=1,
        member=1,
        address=recipient,
        name="",
        zone="UTC",
        zone_source="given",
        locale="en",
        generation=0,
        feed_generation=0,
        attempts=1,
        revision=None,
        uncertain=False,
        requested=False,
        first=False,
    )
    envelope = Envelope(sender="a@example.org", recipient=recipient, pieces=[b"x\r\n"], envelope_id="d")
    return queue.message(claim, envelope, PendingCount())


async def drain(queue: SendQueue, clock: FakeClock, workers: int) -> list[tuple[float, str]]:
    """Empty the queue with `workers` that need no time for a message; return when and to whom each message went."""
    went: list[tuple[float, str]] = []

    async def work() -> None:
        while taken := await queue.get():
            went.append((clock.monotonic(), taken.envelope.recipient))
            assert queue.get_nowait() is None
            queue.task_done(taken, SENT)

    begun = clock.monotonic()
    queue.close()
    await asyncio.gather(*(work() for _ in range(workers)))
    return [(moment - begun, recipient) for moment, recipient in went]


async def test_many_workers_together_keep_exactly_to_the_rate() -> None:
    queue, clock = send_queue(rate=10)
    for number in range(50):
        assert await queue.put(message(queue, f"m{number}@example.org")) == 0
    went = [moment for moment, _ in await drain(queue, clock, 8)]
    assert [round(moment, 6) for moment in went] == [round(number / 10, 6) for number in range(50)]


async def test_slightly_late_timers_do_not_lower_the_rate_and_a_long_standstill_is_not_made_up_for() -> None:
    queue, clock = send_queue(rate=500)
    sleep = clock.sleep

    async def oversleep(seconds: float) -> None:
        await sleep(seconds + (1 if clock.monotonic() > 1_000.5 and not stood.is_set() else 0.0015))
        if clock.monotonic() > 1_001:
            stood.set()

    stood = asyncio.Event()
    clock.sleep = oversleep  # type: ignore[method-assign]
    for number in range(500):
        assert await queue.put(message(queue, f"m{number}@example.org")) == 0
    went = [moment for moment, _ in await drain(queue, clock, 4)]
    # Half a second at the full rate, a pause of one second, half a second at the full rate.
    assert abs(went[-1] - 2) < 0.01
    for count in (1, 10, 100):
        spans = [later - earlier for earlier, later in zip(went, went[count:], strict=False)]
        assert min(spans) >= count / 500 - MAX_CATCH_UP


async def test_each_domain_has_its_own_rate_and_a_slow_one_delays_no_other() -> None:
    queue, clock = send_queue(domain_rate=2)
    for number in range(8):
        assert await queue.put(message(queue, f"m{number}@slow.example")) == 0
    for number in range(3):
        assert await queue.put(message(queue, f"m@{number}.example")) == 0
    went = await drain(queue, clock, 4)
    assert [moment for moment, to in went if "slow" in to] == [number / 2 for number in range(8)]
    assert [moment for moment, to in went if "slow" not in to] == [0, 0, 0]


async def test_a_message_that_a_domains_rate_cannot_take_within_seconds_gets_a_time_to_come_back() -> None:
    queue, _ = send_queue(domain_rate=1)
    waits = [await queue.put(message(queue, f"m{number}@example.org")) for number in range(20)]
    queued = [wait for wait in waits if wait == 0]
    later = [wait for wait in waits if wait]
    assert len(queued) == MAX_WAIT + 1
    assert all(6 + number <= wait <= (6 + number) * 1.1 for number, wait in enumerate(later))


async def test_no_more_connections_are_busy_for_a_domain_than_it_may_have() -> None:
    queue, _ = send_queue(domain_connections=2)
    for number in range(5):
        await queue.put(message(queue, f"m{number}@example.org"))
    await queue.put(message(queue, "other@example.net"))
    taken = [message for message in [await queue.get() for _ in range(3)] if message]
    assert sorted(message.envelope.recipient for message in taken) == [
        "m0@example.org",
        "m1@example.org",
        "other@example.net",
    ]
    third = asyncio.ensure_future(queue.get())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not third.done()
    queue.task_done(taken[0], SENT)
    assert await third


async def test_a_domain_that_answers_4xx_is_paused_longer_each_time_until_it_accepts_a_message() -> None:
    queue, clock = send_queue()
    pauses = []
    for _ in range(8):
        await queue.put(message(queue, "ann@example.org"))
        taken = await queue.get()
        assert taken
        queue.task_done(taken, LATER)
        pauses.append(wait := await queue.put(message(queue, "bob@example.org")))
        clock.pass_(timedelta(seconds=MAX_PAUSE * 1.3))
        if not wait:
            assert await queue.get()
    assert all(later > earlier for earlier, later in pairwise(pauses[1:5]))
    assert max(pauses) <= MAX_PAUSE * 1.2 * 1.1
    await queue.put(message(queue, "ann@example.org"))
    taken = await queue.get()
    assert taken
    queue.task_done(taken, SENT)
    assert taken.domain.failures == 0


async def test_messages_that_wait_for_a_paused_domain_go_back_to_the_queue() -> None:
    queue, _ = send_queue()
    for number in range(3):
        await queue.put(message(queue, f"m{number}@example.org"))
    first = await queue.get()
    assert first
    first.domain.failures = 3
    queue.task_done(first, LATER)
    assert queue.get_nowait() is None
    for _ in range(2):
        taken = await queue.get()
        assert taken
        assert queue.retry_after(taken) > MAX_WAIT


async def test_without_limits_the_next_message_can_be_fetched_ahead() -> None:
    queue, _ = send_queue()
    for number in range(2):
        await queue.put(message(queue, f"m{number}@example.org"))
    assert await queue.get()
    assert queue.get_nowait()
    assert queue.get_nowait() is None
