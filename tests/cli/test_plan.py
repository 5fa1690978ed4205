"""What `plan`, `doctor` and `notice send` say about a relay's rate."""

import asyncio
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import time_machine

from scheduler.bootstrap.serve import make_planner
from scheduler.bootstrap.settings import load_settings
from scheduler.bootstrap.wiring import open_parts
from scheduler.service.planner import Tick
from tests.cli.conftest import Command, Ended

KEY = "conversation-for-kindness/2026-11-19"
AN_HOUR = "0.001"
"""Messages a second: 66 min 40 s for the four members."""

pytestmark = pytest.mark.usefixtures("members")


@pytest.fixture
def at_rate(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    return lambda rate: monkeypatch.setenv("THIRD_THURSDAY_MAIL__RATE", rate)


@pytest.fixture
def send(command: Command, folder: Path) -> Callable[..., Ended]:
    (folder / "body.md").write_text("It was **good**.")
    return lambda *options: command("notice", "send", "--subject", "Thanks", "--body", "body.md", *options)


def test_the_plan_shows_start_and_finish_where_there_is_a_rate_and_its_json_stays_as_it_is(
    command: Command, at_rate: Callable[[str], None]
) -> None:
    document, text = command("plan", "--json").out, command("plan").out
    at_rate(AN_HOUR)
    assert command("plan", "--json").out == document
    lines = command("plan", "--to", "2026-11-30").out.splitlines()
    assert [" ".join(line.split()) for line in lines[-2:]] == [
        "2026-11-19 17:00 UTC starts 2026-11-19 16:23 ends 2026-11-19 17:29 4"
        f" hour-before of {KEY} all zones",
        "8 mails in all, at 0.001 a second; nothing was sent",
    ]
    assert lines[0].startswith(
        "2026-11-18 09:00 to 2026-11-18 20:00 UTC  starts 2026-11-18 09:00  ends 2026-11-18 20:16"
    )
    each = command("plan", "--to", "2026-11-30", "--zones").out.splitlines()
    assert " ".join(each[0].split()).startswith(
        "2026-11-18 09:00 UTC starts 2026-11-18 09:00 ends 2026-11-18 09:33 2 day-"
    )
    at_rate("0")
    assert command("plan").out == text
    assert "starts" not in text


def test_the_plan_marks_what_is_late_and_what_is_too_late(
    command: Command, at_rate: Callable[[str], None]
) -> None:
    at_rate("0.00001")
    assert "TOO LATE FOR SOME" in command("plan", "--to", "2026-11-30").out


def test_doctor_names_what_cannot_be_in_time_and_what_to_do(
    command: Command, at_rate: Callable[[str], None], folder: Path
) -> None:
    assert "rate:" not in command("doctor").out
    at_rate(AN_HOUR)
    done = command("doctor")
    assert (done.code, "rate: at 0.001 a second all" in done.out) == (0, True)
    (folder / "my.toml").write_text('[[policies]]\nslug = "hour-before"\nkind = "reminder"\nlead = "1h"\n')
    # A day and three quarters of an hour: a day early, and not within half an hour.
    at_rate(str(4 / 89_100))
    done = command("--config", "my.toml", "doctor")
    (line,) = [line for line in done.out.splitlines() if f"hour-before of {KEY}" in line]
    assert done.code == 0
    assert line.split("rate: ", 1)[1] == (
        f"hour-before of {KEY}: 4 mails at 4.48934e-05 a second leave from 2026-11-18 17:00 to 2026-11-19 17:45 UTC; "
        "less than half of the time before it expires is then left; raise [mail] rate, or give its policy a longer lead"
    )
    at_rate("0.00001")
    done = command("--config", "my.toml", "doctor")
    (line,) = [line for line in done.out.splitlines() if f"hour-before of {KEY}" in line]
    assert done.code == 1
    assert "WRONG" in line
    assert "but it expires at 2026-11-19 18:00: some will not get it; raise [mail] rate" in line


def test_a_notice_says_beforehand_how_long_it_takes(
    send: Callable[..., Ended], at_rate: Callable[[str], None]
) -> None:
    at_rate(AN_HOUR)
    assert send("--dry-run").out == (
        "would go to 4 members; nothing was sent\n"
        "at 0.001 a second that takes 1 h 7 min: from 2026-11-10 12:00 to 2026-11-10 13:06 UTC\n"
    )
    done = send("--at", "2026-11-12T10:00+00:00", "--expires", "1h", "--yes")
    assert done.code == 0
    assert (
        "from 2026-11-12 10:00 to 2026-11-12 11:06 UTC\nit expires at 2026-11-12 11:00 UTC, before"
        in done.out
    )
    # It waits for the one before it.
    assert "from 2026-11-12 11:06 to" in send("--at", "2026-11-12T10:00+00:00", "--dry-run").out


def test_a_notice_at_each_members_own_hour_is_reckoned_zone_by_zone(
    send: Callable[..., Ended], at_rate: Callable[[str], None]
) -> None:
    at_rate(AN_HOUR)
    done = send("--at", "local:2026-11-12T09:00", "--audience", "country:NZ,country:US", "--dry-run")
    assert "from 2026-11-11 20:00 to 2026-11-12 14:16 UTC" in done.out


def test_a_notice_says_which_reminder_it_would_make_late(
    send: Callable[..., Ended], at_rate: Callable[[str], None], clock: time_machine.Traveller
) -> None:
    at_rate(AN_HOUR)
    clock.move_to(datetime(2026, 11, 19, 15, 30, tzinfo=UTC))
    assert f"it makes hour-before of {KEY} late: send it at another time" in send("--dry-run").out
    # The reminder goes before one that comes later.
    assert "late" not in send("--at", "2026-11-19T16:00+00:00", "--dry-run").out


def test_serve_plans_by_the_rate_of_the_settings(
    command: Command, at_rate: Callable[[str], None], clock: time_machine.Traveller
) -> None:
    # Without a room, the planner would look again two hours before the meeting.
    assert command("occurrence", "amend", KEY, "--link", "https://rooms.example.org/1", "--no-tell").code == 0
    at_rate(AN_HOUR)
    clock.move_to(datetime(2026, 11, 19, 15, 30, tzinfo=UTC))

    async def tick() -> Tick:
        async with open_parts(load_settings(None, os.environ)) as parts:
            await make_planner(parts).tick()
            return await make_planner(parts).tick()

    assert asyncio.run(tick()).next_due == datetime(2026, 11, 19, 16, 23, tzinfo=UTC)
