"""The web process is restarted when it ends, ends with `serve`, and shows what `serve` reports."""

import asyncio
import os
import signal
import sys
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest


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
