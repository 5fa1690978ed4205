"""`serve` and `worker` under systemd: notifications, the watchdog, and the units that are shipped."""

import asyncio
import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scheduler.bootstrap.serve import LONGEST_TICK_SECONDS, SAFETY_SECONDS, Service
from scheduler.bootstrap.settings import load_settings
from scheduler.bootstrap.systemd import SystemdNotifier
from scheduler.bootstrap.wiring import open_parts
from scheduler.cli.app import COMMANDS, EXIT_USAGE

UNITS = Path(__file__).parents[2] / "config" / "systemd"


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """What systemd listens on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(60)
        yield listener


def heard(manager: socket.socket) -> list[str]:
    """Return what has arrived, without waiting."""
    words, patience = [], manager.gettimeout()
    manager.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            words.append(manager.recv(4096).decode())
    manager.settimeout(patience)
    return words


def wait_for(manager: socket.socket, word: str) -> None:
    while manager.recv(4096).decode() != word:
        pass


def started(folder: Path, command: str, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "scheduler", command],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={
            **os.environ,
            "NOTIFY_SOCKET": str(folder / "notify"),
            "WATCHDOG_USEC": "400000",
            **environment,
        },
    )


def require_notifications(process: subprocess.Popen[bytes], manager: socket.socket) -> None:
    """Require that a process says that it is ready, works twice, and stops when it is told to; then end it."""
    try:
        for state in ("READY=1", "WATCHDOG=1", "WATCHDOG=1"):
            wait_for(manager, state)
        process.send_signal(signal.SIGTERM)
        wait_for(manager, "STOPPING=1")
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.wait()


def test_serve_is_ready_keeps_the_watchdog_and_says_that_it_stops(
    tmp_path: Path, manager: socket.socket, free_port: int
) -> None:
    require_notifications(started(tmp_path, "serve", THIRD_THURSDAY_WEB__PORT=str(free_port)), manager)


def test_a_worker_notifies_too(
    tmp_path: Path, manager: socket.socket, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = {
        "THIRD_THURSDAY_DATABASE__URL": postgres_url,
        "THIRD_THURSDAY_SECURITY__KEY": os.urandom(32).hex(),
    }
    subprocess.run(
        [sys.executable, "-m", "scheduler", "migrate"], cwd=tmp_path, env={**os.environ, **shared}, check=True
    )
    require_notifications(started(tmp_path, "worker", **shared), manager)


def notifier(manager: socket.socket, **environment: str) -> SystemdNotifier:
    return SystemdNotifier({"NOTIFY_SOCKET": manager.getsockname(), **environment}, pid=7)


async def test_a_loop_that_hangs_gives_no_sign_of_life(manager: socket.socket) -> None:
    watchdog = asyncio.create_task(notifier(manager, WATCHDOG_USEC="20000").keep_watchdog(lambda: True))
    await asyncio.sleep(0)
    await asyncio.to_thread(wait_for, manager, "WATCHDOG=1")
    heard(manager)
    # Nothing else runs while this blocks the loop, five intervals long.
    manager.settimeout(0.1)
    with pytest.raises(TimeoutError):
        manager.recv(4096)
    manager.settimeout(60)
    await asyncio.to_thread(wait_for, manager, "WATCHDOG=1")
    watchdog.cancel()


async def test_work_that_hangs_gives_no_sign_of_life_and_recovers(manager: socket.socket) -> None:
    asked, answers = asyncio.Event(), [True, False, False, True]

    def is_working() -> bool:
        if len(answers) == 1:
            asked.set()
        return answers.pop(0) if len(answers) > 1 else answers[0]

    watchdog = asyncio.create_task(notifier(manager, WATCHDOG_USEC="2000").keep_watchdog(is_working))
    await asked.wait()
    watchdog.cancel()
    assert heard(manager) == ["WATCHDOG=1", "WATCHDOG=1"]


async def test_serve_works_while_ticks_end_and_not_when_one_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with open_parts(load_settings(None, {}), upgrade=True) as parts:
        service, now = Service(parts), parts.clock.monotonic()
        late = now + SAFETY_SECONDS + LONGEST_TICK_SECONDS + 1
        assert service.is_working()
        monkeypatch.setattr(type(parts.clock), "monotonic", lambda _: late)
        assert not service.is_working()

        async def fail() -> None:
            raise OSError("no space left")

        monkeypatch.setattr(service, "_tick", fail)
        await service.tick()
        # Starting it again would not help: the database is away.
        assert service.is_working()


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "8"},
    ],
)
async def test_without_a_watchdog_for_this_process_none_is_kept(
    manager: socket.socket, environment: dict[str, str]
) -> None:
    await asyncio.wait_for(notifier(manager, **environment).keep_watchdog(lambda: True), 10)
    assert heard(manager) == []


def test_without_systemd_or_with_one_that_is_gone_nothing_happens(tmp_path: Path) -> None:
    for place in ("", str(tmp_path / "gone"), "@third-thursday-gone", "x" * 500):
        SystemdNotifier({"NOTIFY_SOCKET": place} if place else {}, pid=7).ready()


def test_an_abstract_socket_is_notified_too() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0third-thursday-{os.getpid()}")
        SystemdNotifier({"NOTIFY_SOCKET": f"@third-thursday-{os.getpid()}"}, pid=7).stopping()
        assert heard(listener) == ["STOPPING=1"]


SERVICES = sorted(UNITS.glob("*.service"))


def analyze() -> str:
    program = shutil.which("systemd-analyze")
    if not program:
        pytest.skip("needs systemd-analyze (Debian's package systemd)")
    return program


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_a_unit_is_valid_and_hardened(unit: Path, tmp_path: Path) -> None:
    text = unit.read_text()
    program = re.search(r"^ExecStart=(\S+) (\w+)$", text, re.MULTILINE)
    assert program and program[2] in COMMANDS
    # The program is not installed there on the machine of the tests.
    (tmp_path / unit.name).write_text(text.replace(program[1], "/bin/true"))
    checked = subprocess.run(
        [analyze(), "verify", "--recursive-errors=no", "--man=no", tmp_path / unit.name],
        capture_output=True,
        text=True,
        check=False,
    )
    complaints = [line for line in checked.stderr.splitlines() if unit.name in line]
    assert (checked.returncode, complaints) == (0, [])
    rated = subprocess.run(
        [analyze(), "security", "--offline=true", "--no-pager", tmp_path / unit.name],
        capture_output=True,
        text=True,
        check=False,
    )
    level = re.search(r"Overall exposure level for .*: ([\d.]+) ", rated.stdout)
    assert level and float(level[1]) < 2.0, rated.stdout


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_a_unit_restarts_what_fails_but_not_what_is_set_wrongly(unit: Path) -> None:
    lines = unit.read_text().splitlines()
    for line in (
        "Type=notify",
        "Restart=on-failure",
        f"RestartPreventExitStatus={EXIT_USAGE}",
        "User=third-thursday",
        "Environment=THIRD_THURSDAY_CONFIG=/etc/third-thursday/third-thursday.toml",
    ):
        assert line in lines
    assert any(line.startswith("WatchdogSec=") for line in lines)


def test_the_user_and_folders_can_be_made(tmp_path: Path) -> None:
    if not (shutil.which("systemd-sysusers") and shutil.which("systemd-tmpfiles")):
        pytest.skip("needs systemd-sysusers and systemd-tmpfiles (Debian's package systemd)")
    if os.getuid() != 0:
        pytest.skip("needs root")
    (tmp_path / "etc").mkdir()
    root = f"--root={tmp_path}"
    subprocess.run(["systemd-sysusers", root, UNITS / "third-thursday.sysusers.conf"], check=True)
    assert "third-thursday:x:" in (tmp_path / "etc" / "passwd").read_text()
    subprocess.run(["systemd-tmpfiles", "--create", root, UNITS / "third-thursday.tmpfiles.conf"], check=True)
    assert (tmp_path / "var" / "lib" / "third-thursday").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "etc" / "third-thursday").stat().st_mode & 0o777 == 0o750
