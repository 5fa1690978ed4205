"""The command as a person runs it, in a folder of its own."""

import asyncio
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
import time_machine

from scheduler.bootstrap.serve import make_planner
from scheduler.bootstrap.settings import load_settings
from scheduler.bootstrap.wiring import open_parts
from scheduler.bootstrap.worker import make_dispatcher
from scheduler.cli import main


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended: its exit code, and what it wrote."""

    code: int
    out: str
    err: str


Command = Callable[..., Ended]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to run commands in, with none of the settings of this machine."""
    for name in [name for name in os.environ if name.startswith("THIRD_THURSDAY_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def command(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs `third-thursday ARGUMENTS` in `folder`."""

    def run(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["third-thursday", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        written = capsys.readouterr()
        code = ended.value.code
        return Ended(code if isinstance(code, int) else int(code is not None), written.out, written.err)

    return run


NOW = datetime(2026, 11, 10, 12, tzinfo=UTC)
"""Nine days before a meeting: its invitation is open, its reminders are to come."""

PEOPLE = """email,name,time zone,country,locale
ann@example.org,Ann,Europe/London,GB,en-GB
bo@example.org,Bo,Pacific/Auckland,NZ,en-NZ
cy@example.org,Cy,America/New_York,US,en-US
di@example.org,Di,Europe/London,GB-SCT,en-GB
"""


@pytest.fixture
def clock(folder: Path) -> Iterator[time_machine.Traveller]:
    """The machine's wall clock, standing at NOW until it is moved."""
    with time_machine.travel(NOW, tick=False) as traveller:
        yield traveller


@pytest.fixture
def members(command: Command, folder: Path, clock: time_machine.Traveller) -> None:
    """Four people on the list, not invited to what is open."""
    (folder / "people.csv").write_text(PEOPLE)
    assert command("members", "import", "people.csv", "--no-invite").code == 0
    assert command("members", "set", "ann@example.org", "--convenor").code == 0


@pytest.fixture
def serve_once(folder: Path) -> Callable[[], None]:
    """Does what a running `serve` does at the present instant: a tick, and its sending."""

    async def work() -> None:
        async with open_parts(load_settings(None, os.environ), upgrade=True) as parts:
            await make_planner(parts).tick()
            await make_dispatcher(parts).send_due()

    return lambda: asyncio.run(work())
