"""A relay that refuses everybody costs one alert and a pause, not everybody's mail."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.delivery.receiver import Action, Receiver
from tests.delivery.sending import transport
from tests.house import INVITATION, House, open_house

OPEN = datetime(2026, 11, 5, 9, 30, tzinfo=UTC)
MEMBERS = 100


class Refusing(Receiver):
    """Gives every message the same answer at RCPT for as long as `answer` is not empty."""

    answer: Action = ""

    def _well_behaved(self, step: str) -> Action:
        return self.answer if step == "RCPT" and self.answer else super()._well_behaved(step)


async def live(house: House, turns: Sequence[int]) -> dict[str, int]:
    """So many ticks, five minutes apart; how many deliveries are then in each state."""
    for _ in turns:
        await house.tick()
        house.clock.pass_(timedelta(minutes=5))
    states = [row.state for row in await house.reports()]
    return {state: states.count(state) for state in set(states)}


@pytest.mark.parametrize(
    ("answer", "most_failed"), [("550 5.7.1 blocked, see our list", 1), ("550 5.1.1 no such user", 19)]
)
async def test_a_relay_that_refuses_everybody_for_good_is_not_believed_and_all_is_sent_when_it_is_mended(
    tmp_path: Path, answer: str, most_failed: int
) -> None:
    async with Refusing(extensions=["PIPELINING"]) as receiver:
        way = transport(receiver.port)
        async with open_house(
            tmp_path, OPEN - timedelta(days=1), policies=(INVITATION,), transport=way
        ) as house:
            await house.tick()
            await house.join(*((f"Member {number}", "Europe/London") for number in range(MEMBERS)))
            house.clock.pass_until(OPEN)
            receiver.answer = answer
            states = await live(house, range(3))
            assert states.get("failed", 0) <= most_failed
            assert states["queued"] >= MEMBERS - most_failed
            assert house.dispatcher.relay.is_doubted
            receiver.answer = ""
            states = await live(house, range(12))
            assert states["sent"] >= MEMBERS - most_failed
            assert set(states) <= {"sent", "failed"}
            assert not house.dispatcher.relay.is_doubted
