"""Over one connection job after job is sent, as long as nothing but the next job is to be thought of."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from scheduler.delivery.send.connection_worker import ConnectionWorker
from scheduler.delivery.send.metrics import Metered
from scheduler.delivery.send.results import PendingCount, ResultWriter
from scheduler.delivery.send.send_queue import Limits, SendQueue
from scheduler.delivery.send.transport import TAKEN, Envelope, Outcome, SendPipeline, Transport
from scheduler.store import service_state
from scheduler.store.ledger.claims import Claim, Settlement
from tests.delivery.sending import envelope
from tests.installation import Installation, open_installation

NOW = datetime(2026, 11, 5, 9, 30, tzinfo=UTC)


class Steady:
    """A transport, and its one connection: takes everything. `sends` has what went by each `send`; `then` happens
    after each message."""

    connections = 1
    spent = False
    offered = None

    def __init__(self, then: Callable[[], object] = lambda: None) -> None:
        self.sends: list[list[str]] = []
        self._then = then

    async def connect(self) -> "Steady":
        return self

    async def send(self, envelope: Envelope, *, feed: SendPipeline) -> Outcome:
        self.sends.append([])
        await feed.before_dot()
        while True:
            self.sends[-1].append(envelope.recipient.partition("@")[0])
            self._then()
            following = feed.following
            if following is None or (settled := feed.taken()) is None:
                return TAKEN
            await settled
            await asyncio.sleep(0)  # a callback of the settlement comes in its turn
            feed.check()
            envelope = following

    async def close(self) -> None:
        pass


class Kept(ResultWriter):
    """Keeps what it is handed in; all of it is committed at once, but so many `seconds` later."""

    def __init__(self, installation: Installation) -> None:
        super().__init__(installation.database, installation.clock, run="run", connections=1)
        self._house = installation
        self.settlements: list[Settlement] = []
        self.seconds = 0

    def submit(self, settlement: Settlement, tally: PendingCount) -> "asyncio.Future[None]":
        self.settlements.append(settlement)
        self._house.clock.pass_(timedelta(seconds=self.seconds))
        committed = super().submit(settlement, tally)
        committed.set_result(None)
        return committed


@asynccontextmanager
async def housed(folder: Path) -> AsyncIterator[tuple[Installation, Kept]]:
    async with open_installation(folder, NOW) as installation:
        yield installation, Kept(installation)


async def send(
    installation: Installation, settler: ResultWriter, transport: Transport, *, seconds: float
) -> list[float]:
    """Let one lane send three messages, each of which is to be tried within `seconds`; when a claim was too long."""
    backlog, late = SendQueue(installation.clock, Limits()), []
    for number in range(3):
        claim = Claim(
            number, 1, number, "", "", "Europe/London", "given", "en-GB", 0, 0, 1, None, False, False, False
        )
        until = installation.clock.monotonic() + seconds
        await backlog.put(backlog.job(claim, envelope(f"m{number}@example.org"), PendingCount(), until=until))
    backlog.end()
    await ConnectionWorker(
        backlog,
        transport,
        settler,
        installation.dispatcher.relay,
        installation.clock,
        is_idle=lambda: False,
        claimed_too_long=lambda: late.append(installation.clock.monotonic()),
    ).serve()
    return late


async def test_that_a_relay_takes_mail_again_is_written_down_before_the_next_message(tmp_path: Path) -> None:
    async with housed(tmp_path) as (installation, settler):
        async with installation.database.write() as connection:
            await service_state.write(
                connection, service_state.RELAY, {"reason": "it was down when we were killed"}
            )
        way = Steady()
        await send(installation, settler, way, seconds=60)
        assert way.sends == [["m0"], ["m1", "m2"]]
        async with installation.database.read() as connection:
            assert await service_state.read(connection, service_state.RELAY) is None
        await send(installation, settler, again := Steady(), seconds=60)
        assert again.sends == [["m0", "m1", "m2"]]
        assert [one.state for one in settler.settlements] == ["sent"] * 6


async def test_a_message_whose_time_is_over_is_not_sent_behind_another_but_goes_back(tmp_path: Path) -> None:
    async with housed(tmp_path) as (installation, settler):
        await send(installation, settler, Steady(), seconds=60)
        way = Steady(then=lambda: installation.clock.pass_(timedelta(seconds=6)))
        late = await send(installation, settler, way, seconds=10)
        assert way.sends == [["m0", "m1"]]
        assert len(late) == 1
        last = settler.settlements[-3:]
        assert [(one.id, one.state) for one in last] == [(0, "sent"), (1, "sent"), (2, "queued")]
        assert last[-1].reason == "claimed for too long"


async def test_a_message_whose_time_is_over_once_the_one_before_is_written_down_goes_back(
    tmp_path: Path,
) -> None:
    async with housed(tmp_path) as (installation, settler):
        await send(installation, settler, Steady(), seconds=60)
        settler.seconds = 12
        late = await send(installation, settler, way := Steady(), seconds=10)
        assert way.sends == [["m0"]]
        assert len(late) == 2
        last = settler.settlements[-3:]
        assert [(one.id, one.state, one.uncertain) for one in last] == [
            (0, "sent", False),
            (1, "queued", False),
            (2, "queued", False),
        ]


async def test_each_message_is_metered_once_without_the_time_that_our_ledger_takes(tmp_path: Path) -> None:
    async with housed(tmp_path) as (installation, settler):
        metered = Metered(way := Steady())
        for _ in range(2):
            await send(installation, settler, metered, seconds=60)
        assert way.sends == [["m0"], ["m1", "m2"], ["m0", "m1", "m2"]]
        assert metered.registry.get_sample_value("third_thursday_tries_total", {"outcome": "sent"}) == 6
        assert metered.registry.get_sample_value("third_thursday_relay_seconds_count") == 6

        class Fails(Steady):
            async def send(self, envelope: Envelope, *, feed: SendPipeline) -> Outcome:
                feed.taken()
                return TAKEN

        failing = Metered(Fails())
        await send(installation, settler, failing, seconds=60)
        # What followed was held back for the ledger when it ended: of that there is nothing to say.
        assert failing.registry.get_sample_value("third_thursday_relay_seconds_count") == 2
