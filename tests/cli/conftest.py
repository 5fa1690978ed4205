"""Run commands as a person does, each test in a folder of its own."""

import asyncio
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest
import time_machine

from scheduler.bootstrap.serve import make_planner
from scheduler.bootstrap.settings import Settings, load_settings
from scheduler.bootstrap.wiring import open_parts
from scheduler.bootstrap.worker import make_dispatcher
from scheduler.cli import main


@dataclass(frozen=True, slots=True)
class Ended:
    """The exit code and output of a command."""

    code: int
    out: str
    err: str


Command = Callable[..., Ended]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, without the settings in this machine's environment."""
    for name in [name for name in os.environ if name.startswith("THIRD_THURSDAY_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def command(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Return a function that runs `third-thursday ARGUMENTS` in `folder`, in this process.

    Starting a process takes a second or more; only what a process of its own must show needs one.
    """

    def run(*arguments: str, stdin: bytes | None = None, **environment: str) -> Ended:
        capsys.readouterr()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["third-thursday", *arguments])
            if stdin is not None:
                patch.setattr(sys, "stdin", TextIOWrapper(BytesIO(stdin), encoding="utf-8"))
            for name, value in environment.items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as ended:
                main()
        written = capsys.readouterr()
        code = ended.value.code
        return Ended(code if isinstance(code, int) else int(code is not None), written.out, written.err)

    return run


def own_settings() -> Settings:
    """Return the settings that a command would read here."""
    named = os.environ.get("THIRD_THURSDAY_CONFIG")
    return load_settings(Path(named) if named else None, os.environ)


NOW = datetime(2026, 11, 10, 12, tzinfo=UTC)
"""Nine days before a meeting: its invitation has been sent, its reminders have not."""

PEOPLE = """email,name,time zone,country,locale
ann@example.org,Ann,Europe/London,GB,en-GB
bo@example.org,Bo,Pacific/Auckland,NZ,en-NZ
cy@example.org,Cy,America/New_York,US,en-US
di@example.org,Di,Europe/London,GB-SCT,en-GB
"""


@pytest.fixture
def clock(folder: Path) -> Iterator[time_machine.Traveller]:
    """The wall clock, stopped at NOW until the test moves it."""
    with time_machine.travel(NOW, tick=False) as traveller:
        yield traveller


@pytest.fixture(scope="session")
def folder_with_members(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which `members` was first made, to be copied; empty until then."""
    return tmp_path_factory.mktemp("members")


@pytest.fixture
def members(command: Command, folder: Path, clock: time_machine.Traveller, folder_with_members: Path) -> None:
    """Four members who were not invited to the next meeting; Ann is a convenor."""
    if not any(folder_with_members.iterdir()):
        (folder / "people.csv").write_text(PEOPLE)
        assert command("members", "import", "people.csv", "--no-invite").code == 0
        assert command("members", "set", "ann@example.org", "--convenor").code == 0
        shutil.copytree(folder, folder_with_members, dirs_exist_ok=True)
    shutil.copytree(folder_with_members, folder, dirs_exist_ok=True)


@pytest.fixture
def serve_once(folder: Path) -> Callable[[], None]:
    """Return a function that does what a running `serve` would do now: tick and send."""

    async def work() -> None:
        async with open_parts(own_settings(), upgrade=True) as parts:
            await make_planner(parts).tick()
            await make_dispatcher(parts).send_due()

    return lambda: asyncio.run(work())
