"""What is claimed is sent in a sensible order, and is tried again after a sensible time."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.delivery.send.results import PendingCount, ResultWriter, backoff
from scheduler.delivery.send.transport import Transport
from scheduler.service.account import mail_link
from scheduler.store.ledger.claims import Settlement
from tests.delivery.receiver import Do, Receiver
from tests.delivery.sending import transport
from tests.installation import INVITATION, Installation, address_of, open_installation

OPEN = datetime(2026, 11, 5, 9, 30, tzinfo=UTC)


@given(st.integers(1, 1000))
def test_a_temporary_failure_is_retried_after_half_a_minute_and_later_within_a_quarter_of_an_hour(
    attempts: int,
) -> None:
    usual = min(30 * 2 ** (attempts - 1), 900)
    assert timedelta(seconds=usual * 0.9) <= backoff(attempts) <= timedelta(seconds=usual * 1.1)


async def test_a_cancelled_settlement_does_not_affect_the_others_of_its_commit(
    tmp_path: Path,
) -> None:
    async with open_installation(tmp_path, OPEN) as installation:
        results = ResultWriter(installation.database, installation.clock, run="run", connections=4)
        results.submit(Settlement(id=1, state="failed", reason="x"), PendingCount()).cancel()
        waiting = results.submit(Settlement(id=2, state="failed", reason="x"), PendingCount())
        writing = asyncio.create_task(results.write())
        async with asyncio.timeout(20):
            await waiting
        writing.cancel()


@asynccontextmanager
async def all_due(folder: Path, smtp: Transport, *names: str) -> AsyncIterator[Installation]:
    """An installation whose members are all due their invitation."""
    async with open_installation(
        folder, OPEN - timedelta(days=1), policies=(INVITATION,), transport=smtp
    ) as installation:
        await installation.tick()
        await installation.join(*((name, "Europe/London") for name in names))
        installation.clock.pass_until(OPEN)
        yield installation


async def test_a_link_to_sign_in_does_not_wait_until_everybody_has_their_invitation(tmp_path: Path) -> None:
    names = ["Ada", "Mei"]
    async with Receiver({"DOT": [Do.HANG]}) as receiver:
        smtp = transport(receiver.port, connections=2)
        async with all_due(tmp_path, smtp, *names) as installation:
            await installation.planner.tick()
            sending = asyncio.create_task(installation.dispatcher.send_due())
            try:
                async with asyncio.timeout(30):
                    # The second message waits behind it, on the same connection.
                    await receiver.heard("DATA")
                    async with installation.database.write() as connection:
                        await mail_link(connection, address_of(names[0]), installation.clock.now())
                    await receiver.heard("DATA", times=2)
                assert not sending.done()
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)


class Watched(Receiver):
    """Calls `then` when the first content has arrived completely."""

    then: Callable[[], None] | None = None

    async def _act(self, step: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
        if step == "DOT" and self.then:
            self.then()
            self.then = None
        return await super()._act(step, reader, writer)


@pytest.mark.parametrize("extensions", [[], ["PIPELINING"]])
async def test_a_stopping_dispatcher_sends_what_it_has_offered_and_requeues_the_rest(
    tmp_path: Path, extensions: Sequence[str]
) -> None:
    async with Watched(extensions=extensions) as receiver:
        smtp = transport(receiver.port, connections=1)
        async with all_due(tmp_path, smtp, *(f"Member {number}" for number in range(5))) as installation:
            receiver.then = installation.dispatcher.drain
            await installation.tick()
            offered = 1 if extensions else 0
            assert len(receiver.taken) == 1 + offered
            states = sorted(row.state for row in await installation.reports())
            assert states == ["queued"] * (4 - offered) + ["sent"] * (1 + offered)
            installation.restart()
            await installation.tick()
            assert len(receiver.taken) == 5
