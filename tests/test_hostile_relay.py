"""A relay that gives every wrong answer at every step, until it works again."""

import asyncio
import gc
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from scheduler.delivery.send.smtp import SmtpTransport
from scheduler.delivery.send.smtp_connection import Timeouts
from scheduler.delivery.send.transport import SmtpAddress
from tests.delivery.receiver import Action, Do, Receiver
from tests.installation import INVITATION, Installation, open_installation

pytestmark = [pytest.mark.proof, pytest.mark.short]

MEMBERS = 60
SHORT = Timeouts(connect=0.2, command=0.2, data=0.2, quit=0.1)
REFUSES = 7

EVERYWHERE: list[Action] = [
    "421 4.3.2 storm",
    "450 4.2.0 later",
    "451 4.3.0 later",
    "500 5.5.2 what",
    "503 5.5.1 out of order",
    "250 2.0.0 yes to whatever",
    "354 say on",
    "199 no such class",
    Do.DROP,
    Do.HANG,
    b"garbage\r\n",
    b"250 half a li",
    b"250-one of two\r\n",
    b"\xff\xfe\x00\r\n",
    b"250 one\r\n250 two\r\n",
]
STEPS: dict[str, list[Action]] = {
    "GREETING": [
        "421 4.3.2 busy",
        "554 5.7.1 go away",
        "450 wait",
        Do.DROP,
        Do.HANG,
        b"garbage\r\n",
        b"220 half",
    ],
    "EHLO": [
        "421 4.3.2 busy",
        "500 what",
        "550 no",
        "250-STARTTLS\n250 PIPELINING",
        Do.DROP,
        Do.HANG,
        b"x\r\n",
    ],
    "STARTTLS": ["454 4.7.0 not now", "501 what", "220 but what follows is no TLS", Do.DROP, Do.HANG],
    "MAIL": [*EVERYWHERE, "550 5.7.1 not from you"],
    "RCPT": [*EVERYWHERE, "452 4.2.2 full", "550 5.7.1 blocked"],
    "DATA": [*EVERYWHERE, "554 5.5.1 no"],
    "BODY": [Do.DROP],
    # Any form of 250 at this step means that the relay has accepted the message.
    "DOT": [reply for reply in EVERYWHERE if not (isinstance(reply, bytes) and reply.startswith(b"250"))]
    + ["451 4.7.1 later", "554 5.7.1 looks like spam"],
    "RSET": EVERYWHERE,
    "QUIT": EVERYWHERE,
}


class Hell(Receiver):
    """While `is_bad`, does something wrong at one step in eight. Always refuses every seventh member permanently."""

    def __init__(self, choice: random.Random, *, extensions: list[str]) -> None:
        super().__init__(extensions=extensions)
        self.is_bad = True
        self._choice = choice

    def _default(self, step: str) -> Action:
        if step == "RCPT" and any(f"<{name}@" in self.lines[-1] for name in REFUSED):
            return "550 5.1.1 nobody of that name"
        if self.is_bad and step in STEPS and self._choice.random() < 1 / 8:
            return self._choice.choice(STEPS[step])
        return super()._default(step)


REFUSED = [f"member.{number}" for number in range(0, MEMBERS, REFUSES)]


async def go_on(installation: Installation, *, turns: int) -> None:
    """Let the service run until no mail waits, for at most `turns` turns."""
    for _ in range(turns):
        async with asyncio.timeout(90):  # nothing may hang for longer
            await installation.tick()
        if not await installation.reports(state="queued"):
            return
        installation.clock.pass_(timedelta(minutes=3))


def open_sockets() -> int:
    """Return the number of open sockets of this process."""
    names = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return sum(name.startswith("socket:") for name in names)


@pytest.mark.parametrize(
    "extensions", [[], ["PIPELINING", "8BITMIME", "DSN"]], ids=["step by step", "at once"]
)
@pytest.mark.parametrize("seed", range(3))
async def test_after_any_misbehaviour_of_the_relay_each_member_has_one_mail_or_a_reason(
    tmp_path: Path, seed: int, extensions: list[str]
) -> None:
    async with Hell(random.Random(seed), extensions=extensions) as receiver:
        way = SmtpTransport(
            SmtpAddress(host="127.0.0.1", port=receiver.port), hostname="meet.example.org", timeouts=SHORT
        )
        begin = datetime(2026, 11, 5, 9, 30, tzinfo=UTC)
        async with open_installation(
            tmp_path, begin - timedelta(days=1), policies=(INVITATION,), transport=way
        ) as installation:
            await installation.tick()
            await installation.join(*((f"Member {number}", "Europe/London") for number in range(MEMBERS)))
            installation.clock.pass_until(begin)
            sockets = open_sockets()
            tasks = len(asyncio.all_tasks())
            await go_on(installation, turns=60)
            receiver.is_bad = False
            await go_on(installation, turns=60)
            rows = {row.address: row for row in await installation.reports()}
            assert len(rows) == MEMBERS
            assert {row.state for row in rows.values()} == {"sent", "failed"}
            recipients = [taken.rcpts[0].partition("<")[2].partition(">")[0] for taken in receiver.taken]
            assert sorted(recipients) == sorted(row.address for row in rows.values() if row.state == "sent")
            assert all(row.reason for row in rows.values() if row.state == "failed")
            assert all(rows[f"{name}@example.org"].state == "failed" for name in REFUSED)
            gc.collect()
            await receiver.hang_up() if receiver.open else None
            await asyncio.sleep(0)
            assert len(asyncio.all_tasks()) == tasks
            assert open_sockets() == sockets
