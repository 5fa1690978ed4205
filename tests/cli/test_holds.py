"""`notice hold`, `release` and `drop`: `plan`, `status` and `notice list` say what is on hold and what to do."""

import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
import time_machine

from tests.cli.conftest import Command

pytestmark = pytest.mark.usefixtures("members")


def number_of(command: Command, policy: str) -> str:
    rows = json.loads(command("notice", "list", "--json").out)
    return str(next(row["id"] for row in rows if row["policy"] == policy))


def test_a_notice_is_held_shown_and_released_or_dropped(
    command: Command, serve_once: Callable[[], None], clock: time_machine.Traveller
) -> None:
    serve_once()
    number = number_of(command, "day-before")
    held = command("notice", "hold", number)
    assert held.code == 0 and f"`notice release {number}` sends it" in held.out
    assert f"ON HOLD: `notice release {number}` sends it" in command("plan").out
    assert f"on hold:     notice {number}, day-before of" in command("status").out
    assert json.loads(command("status", "--json").out)["on_hold"] == [int(number)]
    assert "(on hold)" in command("notice", "list").out
    rows = json.loads(command("plan", "--json").out)
    assert {row["policy"] for row in rows if row.get("on_hold")} == {"day-before"}
    clock.move_to(datetime(2026, 11, 18, 22, tzinfo=UTC))
    serve_once()
    asked = command("notice", "release", number)
    assert asked.code == 2 and "up to 4 members" in asked.err
    assert command("notice", "release", number, "--yes").code == 0
    serve_once()
    assert "4 sent" in command("notice", "show", number).out
    other = number_of(command, "hour-before")
    assert "not on hold" in command("notice", "drop", other).err
    command("notice", "hold", other)
    assert "nobody else gets it" in command("notice", "drop", other).out
    assert "(stopped)" in command("notice", "show", other).out
