"""The web process is restarted when it ends, ends with `serve`, and shows what `serve` reports."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from scheduler.bootstrap.serve import listen
from scheduler.bootstrap.settings import load_settings
from scheduler.bootstrap.web_process import SenderReport, WebProcess


class Serve:
    """Run the real command in a folder of its own."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, folder: Path) -> None:
        self.process, self.port, self.folder = process, port, folder

    def children(self) -> list[int]:
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in path.read_text().split()]

    async def get(self, path: str, token: str = "") -> tuple[int, str]:
        def ask() -> tuple[int, str]:
            request = urllib.request.Request(
                f"http://127.0.0.1:{self.port}{path}", headers={"Authorization": f"Bearer {token}"}
            )
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, answer.read().decode()

        return await asyncio.to_thread(ask)

    async def answers(self) -> None:
        for _ in range(400):
            with suppress(OSError):
                if (await self.get("/healthz"))[0] == 200:
                    return
            await asyncio.sleep(0.1)
        pytest.fail((self.folder / "log").read_text()[-2000:])


@pytest.fixture
async def serve(tmp_path: Path, free_port: int) -> AsyncIterator[Serve]:
    environment = {
        **os.environ,
        "THIRD_THURSDAY_WEB__PORT": str(free_port),
        "PYTHONPATH": str(Path.cwd()),
        "THIRD_THURSDAY_WATCH__METRICS_TOKEN": "t" * 16,
    }
    with (tmp_path / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "scheduler", "serve", cwd=tmp_path, env=environment, stdout=log, stderr=log
        )
    serve = Serve(process, free_port, tmp_path)
    await serve.answers()
    while "is at http://" not in (tmp_path / "log").read_text():
        await asyncio.sleep(0.05)
    yield serve
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()


@pytest.mark.proof
@pytest.mark.short
async def test_the_web_process_is_restarted_when_it_ends_and_sending_is_not_affected(
    serve: Serve, tmp_path: Path
) -> None:
    (first,) = serve.children()
    os.kill(first, signal.SIGKILL)
    await serve.answers()
    (second,) = serve.children()
    assert second != first and serve.process.returncode is None
    assert (await serve.get("/readyz"))[0] == 200
    status, metrics = await serve.get("/metrics", "t" * 16)
    assert status == 200 and "third_thursday_relay_connections 0.0" in metrics
    await _require_that_no_other_serve_can_listen(serve, tmp_path / "other")
    serve.process.send_signal(signal.SIGTERM)
    assert await serve.process.wait() == 0


async def test_the_web_process_ends_with_a_killed_serve_and_frees_the_port(serve: Serve) -> None:
    (child,) = serve.children()
    serve.process.kill()
    await serve.process.wait()
    ended = time.monotonic() + 20
    while Path(f"/proc/{child}").exists() and " Z " not in Path(f"/proc/{child}/stat").read_text():
        assert time.monotonic() < ended
        await asyncio.sleep(0.05)


async def _require_that_no_other_serve_can_listen(serve: Serve, folder: Path) -> None:
    """Two services may not share a port: visitors would see now the one, now the other."""
    folder.mkdir()
    second_serve = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "scheduler",
        "serve",
        cwd=folder,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "THIRD_THURSDAY_WEB__PORT": str(serve.port), "PYTHONPATH": str(Path.cwd())},
    )
    _, errors = await second_serve.communicate()
    assert second_serve.returncode == 1 and b"cannot be listened on" in errors and b"Traceback" not in errors


@contextlib.asynccontextmanager
async def forwarded(port: int, server: str) -> AsyncIterator[None]:
    """Let a loopback port lead to a PostgreSQL server, whose URL this is."""
    target = int(server.rpartition("/")[0].rpartition(":")[2])

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while octets := await reader.read(65536):
                writer.write(octets)
        writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", target)
        await asyncio.gather(pipe(reader, to_server), pipe(from_server, writer))

    server_ = await asyncio.start_server(accept, "127.0.0.1", port)
    yield
    server_.close()


async def test_a_web_process_that_starts_while_the_database_is_away_serves_once_it_is_back(
    postgres_url: str, free_port: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    # Its patience with a process that does not say that it waits.
    monkeypatch.setattr("scheduler.bootstrap.web_process.START_SECONDS", 8)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        database_port = probe.getsockname()[1]
    name = postgres_url.rpartition("/")[2]
    settings = load_settings(
        None,
        {
            "THIRD_THURSDAY_DATABASE__URL": f"postgresql://postgres@127.0.0.1:{database_port}/{name}",
            "THIRD_THURSDAY_SECURITY__KEY": "5a" * 32,
        },
    )
    logged = ""
    with listen("127.0.0.1", free_port, "web", remedy="") as listener:
        web = WebProcess(settings, [listener], lambda: SenderReport(faults=[], metrics=""))
        starting = asyncio.create_task(web.start())
        while "web-start-failed" not in logged:
            assert not starting.done(), logged
            await asyncio.sleep(0.05)
            logged += capfd.readouterr().err
        async with forwarded(database_port, postgres_url):
            await starting
            await web.stop()
    assert "web-start-works-again" in logged + capfd.readouterr().err


def test_a_web_process_ends_soon_after_serve_was_killed_even_if_it_waits_for_ever() -> None:
    waits = (
        "import socket, sys, threading\n"
        "from scheduler.bootstrap import web_process\n"
        "web_process.STOP_SECONDS = 0.1\n"
        "web_process.end_with_parent(socket.socket(fileno=int(sys.argv[1])))\n"
        "print('waiting', flush=True)\n"
        "threading.Event().wait()\n"
    )
    own_end, child_end = socket.socketpair()
    command = [sys.executable, "-c", waits, str(child_end.fileno())]
    with subprocess.Popen(command, pass_fds=[child_end.fileno()], stdout=subprocess.PIPE) as child:
        child_end.close()
        assert child.stdout and child.stdout.readline() == b"waiting\n" and child.poll() is None
        own_end.close()
        try:
            assert child.wait(20) == 1
        finally:
            child.kill()
