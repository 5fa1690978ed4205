"""Parts of the benches that time pages of the running service: its start, members, mail, and what a page takes."""

import asyncio
import contextlib
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import httpx

from bench.people import name
from scheduler.bootstrap.wiring import SystemClock
from scheduler.domain.audience import Audience
from scheduler.service.notices import send_notice
from scheduler.store.database import Database
from tests.chaos.killing import ZONES, Relay

ROUNDS, LONGEST_ROUNDS = 100, 10
COUNTRIES = ("GB", "US", "IN", "NZ", "SE")


def settings(folder: Path, port: int, web: int) -> dict[str, str]:
    """The environment of the service."""
    return {
        "THIRD_THURSDAY_DATABASE__URL": f"sqlite:///{folder}/t.sqlite",
        "THIRD_THURSDAY_MAIL__TRANSPORT": f"smtp://127.0.0.1:{port}",
        "THIRD_THURSDAY_SECURITY__KEY": "5a" * 32,
        "THIRD_THURSDAY_WEB__PORT": str(web),
        "THIRD_THURSDAY_WEB__BASE_URL": "https://meet.example.org",
    }


def people(count: int, now: datetime) -> Iterator[dict[str, object]]:
    """Rows of members with names as in a list from many countries."""
    for number in range(count):
        yield {
            "address": f"m{number}@example.org",
            "address_key": f"m{number}@example.org",
            "name": name(number),
            "country": COUNTRIES[number % len(ZONES)],
            "zone": ZONES[number % len(ZONES)],
            "zone_source": "given",
            "locale": "en-GB",
            "status": "active" if number % 50 or not number else "left",
            "role": None if number else "convenor",
            "created_at": now,
            "active_since": now if number % 50 or not number else None,
            "paused_until": None,
            "uninvited_at": None,
        }


@contextlib.asynccontextmanager
async def serving(
    folder: Path, environment: dict[str, str], *options: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """The running service with command-line options, once its pages answer."""
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "scheduler",
            *options,
            "serve",
            cwd=folder,
            env={**os.environ, **environment, "PYTHONPATH": str(Path.cwd())},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=log,
        )
    try:
        async with httpx.AsyncClient() as client:
            while True:
                if process.returncode is not None:
                    raise SystemExit((folder / "log").read_text())
                with contextlib.suppress(httpx.TransportError):
                    await client.get(f"http://127.0.0.1:{environment['THIRD_THURSDAY_WEB__PORT']}/healthz")
                    break
                await asyncio.sleep(0.1)
        yield process
    finally:
        process.terminate()
        await process.wait()


def web_cpu(process: asyncio.subprocess.Process) -> float:
    """Return the CPU seconds of the web process so far, to the nanosecond (proc(5), schedstat)."""
    child = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0]
    tasks = Path(f"/proc/{child}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


async def open_page(browser: httpx.AsyncClient, path: str) -> float:
    """Open a page and return how many seconds it took."""
    began = time.perf_counter()
    answer = await browser.get(path)
    took = time.perf_counter() - began
    if answer.status_code not in (200, 302, 303):
        raise SystemExit(f"{path}: {answer.status_code}")
    return took


def late(times: Sequence[float]) -> float:
    """Return the 99th percentile of sorted times."""
    return times[min(len(times) - 1, round(0.99 * len(times)) - 1)]


def figures(times: Sequence[float]) -> str:
    """Return the median and the 99th percentile in milliseconds."""
    return f"{statistics.median(times) * 1000:8.1f} {late(sorted(times)) * 1000:8.1f}"


async def time_page(
    process: asyncio.subprocess.Process, browser: httpx.AsyncClient, path: str
) -> tuple[float, float]:
    """Open a page; return how many seconds it took as the browser sees it, and of the web process's CPU time."""
    before = web_cpu(process)
    took = await open_page(browser, path)
    return took, web_cpu(process) - before


def print_heading() -> None:
    """Print the heading of the lines of `print_times`."""
    print(f"{'milliseconds':<66} {'median':>8} {'p99':>8} {'cpu':>8} {'cpu p99':>8}")


def print_times(path: str, times: Sequence[tuple[float, float]], *, limit: float) -> bool:
    """Print what a page took each time, as `time_page` returns it.

    Return whether more than `limit` seconds of CPU time were the 99th percentile.
    """
    spent = sorted(cpu for _, cpu in times)
    print(f"{path:<66} {figures([took for took, _ in times])} {figures(spent)}", flush=True)
    return late(spent) > limit


async def time_pages(
    process: asyncio.subprocess.Process, browser: httpx.AsyncClient, paths: Sequence[str], *, limit: float
) -> None:
    """Print what each page takes, one after the other, and which take more than `limit` seconds of CPU time."""
    print_heading()
    slow = []
    for path in paths:
        await open_page(browser, path)
        times = list[tuple[float, float]]()
        began = time.monotonic()
        while len(times) < ROUNDS and time.monotonic() < began + LONGEST_ROUNDS:
            times.append(await time_page(process, browser, path))
        if print_times(path, times, limit=limit):
            slow.append(path)
    print(f"pages with more than {limit * 1000:.0f} ms of CPU time: {', '.join(slow) or 'none'}")


async def send(
    database: Database,
    target: Relay,
    count: int,
    *,
    to: str = "all",
    hold: timedelta = timedelta(seconds=3),
) -> tuple[int, float]:
    """Send a notice to an audience of `count` members.

    Return its number, and the seconds from its due instant to the last mail that the relay accepted.
    """
    # The whole log of a long run takes longer to read than a page to make.
    logged, now = target.log.stat().st_size, SystemClock().now()
    published = await send_notice(
        database,
        subject="Our next meeting",
        body="We meet **soon**." * 40,
        audience=Audience(terms={to: []}),
        audience_text=to,
        now=now,
        hold=hold,
    )
    due = time.monotonic() + (now + hold - SystemClock().now()).total_seconds()
    while len(times := target.times(after=logged)) < count:  # noqa: ASYNC110 - another process accepts them
        await asyncio.sleep(0.2)
    return published.notice, times[-1] - due
