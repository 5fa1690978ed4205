"""A connection worker sends message after message, and stops following one with the next where it has to."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from scheduler.delivery.send.connection_worker import ConnectionWorker
from scheduler.delivery.send.metrics import MeteredTransport
from scheduler.delivery.send.results import PendingCount, ResultWriter
from scheduler.delivery.send.send_queue import RateLimits, SendQueue
from scheduler.delivery.send.transport import ACCEPTED, Envelope, Outcome, SendPipeline, Transport
from scheduler.store import service_state
from scheduler.store.ledger.claims import Claim, Settlement
from tests.delivery.sending import envelope
from tests.installation import Installation, open_installation

NOW = datetime(2026, 11, 5, 9, 30, tzinfo=UTC)


class Steady:
    """A transport and its only connection, which accepts everything. `sends` has the messages of each `send`; `then` is
    called after each message."""

    connections = 1
    needs_reconnect = False
    pipelined = None

    def __init__(self, then: Callable[[], object] = lambda: None) -> None:
        self.sends: list[list[str]] = []
        self._then = then

    async def connect(self) -> "Steady":
        return self

    async def send(self, envelope: Envelope, *, pipeline: SendPipeline) -> Outcome:
        self.sends.append([])
        await pipeline.before_final_dot()
        while True:
            self.sends[-1].append(envelope.recipient.partition("@")[0])
            self._then()
            next_envelope = pipeline.next_envelope
            if next_envelope is None or (settled := pipeline.advance()) is None:
                return ACCEPTED
            await settled
            await asyncio.sleep(0)  # let the callbacks of the settlement run
            pipeline.check_deadline()
            envelope = next_envelope

    async def close(self) -> None:
        pass


class FakeResultWriter(ResultWriter):
    """Keeps what is submitted. All of it counts as committed at once, after `seconds` have passed."""

    def __init__(self, installation: Installation) -> None:
        super().__init__(installation.database, installation.clock, run="run", connections=1)
        self._installation = installation
        self.settlements: list[Settlement] = []
        self.seconds = 0

    def submit(self, settlement: Settlement, pending: PendingCount) -> "asyncio.Future[None]":
        self.settlements.append(settlement)
        self._installation.clock.pass_(timedelta(seconds=self.seconds))
        committed = super().submit(settlement, pending)
        committed.set_result(None)
        return committed


@asynccontextmanager
async def installed(folder: Path) -> AsyncIterator[tuple[Installation, FakeResultWriter]]:
    async with open_installation(folder, NOW) as installation:
        yield installation, FakeResultWriter(installation)


async def send(
    installation: Installation, results: ResultWriter, transport: Transport, *, seconds: float
) -> list[float]:
    """Let one worker send three messages, each to be tried within `seconds`; return the times of those that expired."""
    queue, late = SendQueue(installation.clock, RateLimits()), []
    for number in range(3):
        claim = Claim(
            number, 1, number, "", "", "Europe/London", "given", "en-GB", 0, 0, 1, None, False, False, False
        )
        deadline = installation.clock.monotonic() + seconds
        message = envelope(f"m{number}@example.org")
        await queue.put(queue.message(claim, message, PendingCount(), deadline=deadline))
    queue.close()
    await ConnectionWorker(
        queue,
        transport,
        results,
        installation.dispatcher.relay,
        installation.clock,
        is_stopped=lambda: False,
        on_expired=lambda: late.append(installation.clock.monotonic()),
    ).run()
    return late


async def test_the_recovery_of_a_relay_is_stored_before_the_next_message(tmp_path: Path) -> None:
    async with installed(tmp_path) as (installation, results):
        async with installation.database.write() as connection:
            await service_state.write(
                connection, service_state.RELAY, {"reason": "it was down when we were killed"}
            )
        transport = Steady()
        await send(installation, results, transport, seconds=60)
        assert transport.sends == [["m0"], ["m1", "m2"]]
        async with installation.database.read() as connection:
            assert await service_state.read(connection, service_state.RELAY) is None
        await send(installation, results, second_transport := Steady(), seconds=60)
        assert second_transport.sends == [["m0", "m1", "m2"]]
        assert [settlement.state for settlement in results.settlements] == ["sent"] * 6


async def test_a_message_past_its_deadline_goes_back_instead_of_following_another(tmp_path: Path) -> None:
    async with installed(tmp_path) as (installation, results):
        await send(installation, results, Steady(), seconds=60)
        transport = Steady(then=lambda: installation.clock.pass_(timedelta(seconds=6)))
        late = await send(installation, results, transport, seconds=10)
        assert transport.sends == [["m0", "m1"]]
        assert len(late) == 1
        last = results.settlements[-3:]
        assert [(settlement.id, settlement.state) for settlement in last] == [
            (0, "sent"),
            (1, "sent"),
            (2, "queued"),
        ]
        assert last[-1].reason == "claimed for too long"


async def test_a_message_whose_deadline_passes_while_the_one_before_is_recorded_goes_back(
    tmp_path: Path,
) -> None:
    async with installed(tmp_path) as (installation, results):
        await send(installation, results, Steady(), seconds=60)
        results.seconds = 12
        late = await send(installation, results, transport := Steady(), seconds=10)
        assert transport.sends == [["m0"]]
        assert len(late) == 2
        last = results.settlements[-3:]
        assert [(settlement.id, settlement.state, settlement.uncertain) for settlement in last] == [
            (0, "sent", False),
            (1, "queued", False),
            (2, "queued", False),
        ]


async def test_each_message_is_measured_once_without_the_time_for_our_database(tmp_path: Path) -> None:
    async with installed(tmp_path) as (installation, results):
        metered = MeteredTransport(transport := Steady())
        for _ in range(2):
            await send(installation, results, metered, seconds=60)
        assert transport.sends == [["m0"], ["m1", "m2"], ["m0", "m1", "m2"]]
        assert metered.registry.get_sample_value("third_thursday_tries_total", {"outcome": "sent"}) == 6
        assert metered.registry.get_sample_value("third_thursday_relay_seconds_count") == 6

        class Fails(Steady):
            async def send(self, envelope: Envelope, *, pipeline: SendPipeline) -> Outcome:
                pipeline.advance()
                return ACCEPTED

        failing = MeteredTransport(Fails())
        await send(installation, results, failing, seconds=60)
        # Its last message was waiting for a settlement when `send` ended, so the relay's time for it is not counted.
        assert failing.registry.get_sample_value("third_thursday_relay_seconds_count") == 2
