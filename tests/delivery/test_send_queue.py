"""Rates, limits and pauses: what may go now, over all and to each domain, under a clock that a test moves."""

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from scheduler.delivery.send.results import PendingCount
from scheduler.delivery.send.send_queue import (
    CATCH_UP,
    LONGEST_PAUSE,
    LONGEST_WAIT,
    Limits,
    QueuedMessage,
    SendQueue,
)
from scheduler.delivery.send.transport import Envelope, Outcome, Verdict
from scheduler.store.ledger.claims import Claim
from tests.clock import FakeClock

SENT = Outcome(verdict=Verdict.SENT, reason="", code=250)
LATER = Outcome(verdict=Verdict.TEMPORARY, reason="450 later", code=450)


def backlog(**limits: float) -> tuple[SendQueue, FakeClock]:
    clock = FakeClock(datetime(2026, 11, 1, tzinfo=UTC))
    return SendQueue(clock, Limits(**limits)), clock  # type: ignore[arg-type]


def job(to: SendQueue, recipient: str) -> QueuedMessage:
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
    return to.job(claim, envelope, PendingCount())


async def lanes(from_: SendQueue, clock: FakeClock, count: int) -> list[tuple[float, str]]:
    """When and to whom each message went, over `count` lanes that take no time for one."""
    went: list[tuple[float, str]] = []

    async def lane() -> None:
        while taken := await from_.get():
            went.append((clock.monotonic(), taken.envelope.recipient))
            assert from_.get_ahead() is None
            from_.done(taken, SENT)

    begun = clock.monotonic()
    from_.end()
    await asyncio.gather(*(lane() for _ in range(count)))
    return [(moment - begun, recipient) for moment, recipient in went]


async def test_over_many_lanes_no_two_messages_are_nearer_than_the_rate_allows_and_none_is_slower() -> None:
    waiting, clock = backlog(rate=10)
    for number in range(50):
        assert await waiting.put(job(waiting, f"m{number}@example.org")) == 0
    went = [moment for moment, _ in await lanes(waiting, clock, 8)]
    assert [round(moment, 6) for moment in went] == [round(number / 10, 6) for number in range(50)]


async def test_timers_that_are_a_little_late_do_not_make_a_rate_slower_and_a_long_standstill_is_not_made_up() -> (
    None
):
    waiting, clock = backlog(rate=500)
    sleep = clock.sleep

    async def oversleep(seconds: float) -> None:
        await sleep(seconds + (1 if clock.monotonic() > 1_000.5 and not stood.is_set() else 0.0015))
        if clock.monotonic() > 1_001:
            stood.set()

    stood = asyncio.Event()
    clock.sleep = oversleep  # type: ignore[method-assign]
    for number in range(500):
        assert await waiting.put(job(waiting, f"m{number}@example.org")) == 0
    went = [moment for moment, _ in await lanes(waiting, clock, 4)]
    # Half a second at the full rate, a second's standstill, half a second at the full rate.
    assert abs(went[-1] - 2) < 0.01
    for count in (1, 10, 100):
        spans = [later - earlier for earlier, later in zip(went, went[count:], strict=False)]
        assert min(spans) >= count / 500 - CATCH_UP


async def test_each_domain_has_a_rate_of_its_own_and_a_slow_one_keeps_nobody_else_waiting() -> None:
    waiting, clock = backlog(domain_rate=2)
    for number in range(8):
        assert await waiting.put(job(waiting, f"m{number}@slow.example")) == 0
    for number in range(3):
        assert await waiting.put(job(waiting, f"m@{number}.example")) == 0
    went = await lanes(waiting, clock, 4)
    assert [moment for moment, to in went if "slow" in to] == [number / 2 for number in range(8)]
    assert [moment for moment, to in went if "slow" not in to] == [0, 0, 0]


async def test_what_a_domains_rate_does_not_take_within_seconds_is_told_when_to_come_again() -> None:
    waiting, _ = backlog(domain_rate=1)
    waits = [await waiting.put(job(waiting, f"m{number}@example.org")) for number in range(20)]
    kept = [wait for wait in waits if wait == 0]
    later = [wait for wait in waits if wait]
    assert len(kept) == LONGEST_WAIT + 1
    assert all(6 + number <= wait <= (6 + number) * 1.1 for number, wait in enumerate(later))


async def test_no_more_connections_are_busy_for_a_domain_than_it_may_have() -> None:
    waiting, _ = backlog(domain_connections=2)
    for number in range(5):
        await waiting.put(job(waiting, f"m{number}@example.org"))
    await waiting.put(job(waiting, "other@example.net"))
    taken = [one for one in [await waiting.get() for _ in range(3)] if one]
    assert sorted(one.envelope.recipient for one in taken) == [
        "m0@example.org",
        "m1@example.org",
        "other@example.net",
    ]
    third = asyncio.ensure_future(waiting.get())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not third.done()
    waiting.done(taken[0], SENT)
    assert await third


async def test_a_domain_that_answers_4xx_is_left_alone_longer_each_time_and_forgiven_when_it_takes_one() -> (
    None
):
    waiting, clock = backlog()
    pauses = []
    for _ in range(8):
        await waiting.put(job(waiting, "ann@example.org"))
        taken = await waiting.get()
        assert taken
        waiting.done(taken, LATER)
        pauses.append(wait := await waiting.put(job(waiting, "bob@example.org")))
        clock.pass_(timedelta(seconds=LONGEST_PAUSE * 1.3))
        if not wait:
            assert await waiting.get()
    assert all(later > earlier for earlier, later in pairwise(pauses[1:5]))
    assert max(pauses) <= LONGEST_PAUSE * 1.2 * 1.1
    await waiting.put(job(waiting, "ann@example.org"))
    taken = await waiting.get()
    assert taken
    waiting.done(taken, SENT)
    assert taken.destination.failures == 0


async def test_what_waits_for_a_domain_when_it_is_paused_goes_back_to_the_queue_instead_of_being_held() -> (
    None
):
    waiting, _ = backlog()
    for number in range(3):
        await waiting.put(job(waiting, f"m{number}@example.org"))
    first = await waiting.get()
    assert first
    first.destination.failures = 3
    waiting.done(first, LATER)
    assert waiting.get_ahead() is None
    for _ in range(2):
        taken = await waiting.get()
        assert taken
        assert waiting.pause(taken) > LONGEST_WAIT


async def test_without_limits_the_next_message_can_be_had_ahead() -> None:
    waiting, _ = backlog()
    for number in range(2):
        await waiting.put(job(waiting, f"m{number}@example.org"))
    assert await waiting.get()
    assert waiting.get_ahead()
    assert waiting.get_ahead() is None
