"""A relay that refuses everybody causes one alert and a pause; nobody loses their mail."""

import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.delivery.receiver import Action, Receiver
from tests.delivery.sending import transport
from tests.delivery.test_smtp_replies import ABOUT_OUR_ACCOUNT, ABOUT_THE_RECIPIENT
from tests.installation import INVITATION, Installation, open_installation

OPEN = datetime(2026, 11, 5, 9, 30, tzinfo=UTC)
MEMBERS = 100


class Refusing(Receiver):
    """Gives every message, or those to one address, the same `answer` at `step`, while `answer` is not empty."""

    answer: Action = ""
    step = "RCPT"
    only = ""

    def _default(self, step: str) -> Action:
        refuses = step == self.step and self.answer and self.only in self.lines[-1]
        return self.answer if refuses else super()._default(step)


@asynccontextmanager
async def small_list(folder: Path, receiver: Receiver, *, members: int = 12) -> AsyncIterator[Installation]:
    """An installation with a short list whose invitations are due now, over this relay."""
    smtp = transport(receiver.port)
    async with open_installation(
        folder, OPEN - timedelta(days=1), policies=(INVITATION,), transport=smtp
    ) as installation:
        await installation.tick()
        await installation.join(*((f"Member {number}", "Europe/London") for number in range(members)))
        installation.clock.pass_until(OPEN)
        yield installation


async def live(installation: Installation, ticks: Sequence[int]) -> dict[str, int]:
    """Run a tick for each of `ticks`, five minutes apart; return how many deliveries are then in each state."""
    for _ in ticks:
        await installation.tick()
        installation.clock.pass_(timedelta(minutes=5))
    states = [row.state for row in await installation.reports()]
    return {state: states.count(state) for state in set(states)}


async def all_sent_once_mended(folder: Path, answer: str, *, members: int, step: str = "RCPT") -> None:
    """Check that nobody loses their mail when a relay answers every message with `answer` until it is fixed."""
    async with Refusing(extensions=["PIPELINING"]) as receiver:
        receiver.step = step
        async with small_list(folder, receiver, members=members) as installation:
            receiver.answer = answer
            assert await live(installation, range(3)) == {"queued": members}
            assert installation.dispatcher.relay.is_failing
            receiver.answer = ""
            assert await live(installation, range(12)) == {"sent": members}
            assert not installation.dispatcher.relay.is_failing


@pytest.mark.parametrize("members", [12, MEMBERS])
@pytest.mark.parametrize(
    "answer", ["550 5.7.1 not wanted", "550 5.1.1 no such user", "550 no", "554 5.7.1 spam message rejected"]
)
async def test_a_relay_that_permanently_refuses_everybody_is_not_believed_and_everything_is_sent_once_it_works(
    tmp_path: Path, answer: str, members: int
) -> None:
    await all_sent_once_mended(tmp_path, answer, members=members)


@pytest.mark.parametrize(
    ("step", "answer"),
    list(zip(itertools.cycle(["DOT", "RCPT", "DATA", "MAIL"]), ABOUT_OUR_ACCOUNT[::5], strict=False)),
)
async def test_a_limit_of_our_account_fails_nobody_in_a_small_list(
    tmp_path: Path, answer: str, step: str
) -> None:
    await all_sent_once_mended(tmp_path, answer, members=12, step=step)


@pytest.mark.parametrize("answer", ["550 5.7.1 not wanted", "550 5.1.1 no such user", "550 no"])
async def test_the_first_few_that_a_relay_refuses_of_a_small_list_are_tried_again(
    tmp_path: Path, answer: str
) -> None:
    async with Refusing({"RCPT": [answer] * 5}) as receiver, small_list(tmp_path, receiver) as installation:
        assert await live(installation, range(6)) == {"sent": 12}


@pytest.mark.parametrize("answer", ABOUT_THE_RECIPIENT[::3])
async def test_a_recipients_own_refusal_soon_fails_that_recipient_only(tmp_path: Path, answer: str) -> None:
    async with Refusing(extensions=["PIPELINING"]) as receiver:
        receiver.only, receiver.answer = "member.5@", answer
        async with small_list(tmp_path, receiver) as installation:
            await installation.tick()
            installation.clock.pass_(timedelta(seconds=6))
            assert await live(installation, range(1)) == {"sent": 11, "failed": 1}
            assert [row.name for row in await installation.reports(state="failed")] == ["Member 5"]
            assert not installation.dispatcher.relay.is_failing


async def test_an_unclear_refusal_finally_fails_a_recipient_whom_nobody_else_shares_it_with(
    tmp_path: Path,
) -> None:
    async with Refusing(extensions=["PIPELINING"]) as receiver:
        receiver.only, receiver.answer = "member.5@", "550 no"
        async with small_list(tmp_path, receiver) as installation:
            for number in range(4):
                await live(installation, range(1))
                await installation.join((f"Later {number}", "Europe/London"))
            assert await live(installation, range(2)) == {"sent": 15, "failed": 1}


async def test_the_only_recipient_in_the_queue_fails_at_the_second_try_if_the_address_does_not_exist(
    tmp_path: Path,
) -> None:
    async with Refusing() as receiver:
        receiver.answer = "550 5.1.1 no such user"
        async with small_list(tmp_path, receiver, members=1) as installation:
            assert await live(installation, range(2)) == {"failed": 1}
            assert not installation.dispatcher.relay.is_failing
