"""Time every page of the convenors' console with the running service, and sending while the pages are open.

    .venv/bin/python bench/console.py [MEMBERS...]

For each number of members (by default 1,400 and 1,000,000) a database is filled as after an invitation, and `serve` is
started with a relay. Each page is opened a hundred times, for at most ten seconds; printed are the median and the 99th
percentile of the time that the browser sees, and of the CPU time of the web process, which says more on a busy
machine. With 1,400 members, a notice is then sent to all of them five times alone, five times while ten pages a second
are opened, and five times while pages are opened without a pause. A page on the map of routes that is not timed here
is an error.
"""

import asyncio
import contextlib
import os
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import httpx
import structlog
from sqlalchemy import select

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.people import name
from scheduler.bootstrap.serve import make_planner
from scheduler.bootstrap.settings import load_settings
from scheduler.bootstrap.wiring import Parts, SystemClock, open_parts
from scheduler.domain.actor import Actor
from scheduler.domain.audience import Audience
from scheduler.domain.photo import PHOTO_SIZES, Photo
from scheduler.service import meeting_records, profiles
from scheduler.service.about import save_about
from scheduler.service.drafts import Words, add_draft
from scheduler.service.notices import send_notice
from scheduler.service.occurrences import Change, amend
from scheduler.service.profiles import make_words
from scheduler.store import join_requests, members, returns, sessions, uploads
from scheduler.store.database import Database
from scheduler.store.schema import deliveries, notice_revisions, notices
from scheduler.web.routes import ENTRIES
from tests.chaos.killing import CONFIG, ZONES, Relay, relay
from tests.postgres import free_loopback_port

ROUNDS, LONGEST_ROUNDS = 100, 10
SENDINGS = 5
MOST_SHOWN = 1_400
PAUSES = (0.1, 0)
LARGEST_SENT = 20_000
LONGEST = 0.2
COUNTRIES = ("GB", "US", "IN", "NZ", "SE")
MORE = {
    "/convenor/members": (
        "?q=medlem",
        "?q=m99999",
        "?q=nobody%20at%20all",
        "?status=left",
        "?country=NZ&q=a",
    ),
    "/convenor/meetings": ("?past=1",),
    "/convenor/desk": ("?all=1",),
    "/convenor/people": ("?page=20",),
}
"""Pages that are timed with other queries, too."""
NO_PAGE = {
    "/convenor/sign-in/{token}": "it is for those who have not signed in",
    "/convenor/meetings/{series}/{date}/follow-up/mail": "the meeting is not over; planned mails are the same",
}
_RAW = b"From: m5@example.org\r\nTo: us@example.org\r\nSubject: A question\r\n\r\nMay I bring a friend?\r\n"


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


async def fill(parts: Parts, count: int) -> "Filled":
    """Fill a database as after an invitation; return what the addresses of the pages need, and a session's secret."""
    now, database, secret = SystemClock().now(), parts.database, secrets.token_urlsafe(32)
    planner = make_planner(parts)
    await planner.tick()
    ann = Actor(channel="console", name="Ann", member=1)
    async with database.write() as connection:
        await members.add(connection, people(count, now))
        await sessions.add(
            connection,
            member=1,
            generation=0,
            secret_hash=sha256(secret.encode()).hexdigest(),
            sign_in_hash="bench",
            browser="bench",
            now=now,
        )
        person = {"name": "Noor", "country": "GB", "zone": "Europe/London", "locale": "en-GB"}
        await join_requests.add(connection, 5, now, **person, words="I listen.", follows=None)
        request = await join_requests.latest_of(connection, 5)
        assert request
        await join_requests.confirm(connection, request.id, now)
        upload = await uploads.add(
            connection, member=1, content=b"email,country\nx@example.org,SE\n", now=now
        )
        sheet = await uploads.add(connection, member=1, content=b"month,title\nMay 2021,Hope\n", now=now)
        message = await returns.add(
            connection, digest="x", kind="review", member=None, words="a question", now=now, content=_RAW
        )
    words = Words(subject="Tea", body="Bring **tea**.", audience="all")
    draft = await add_draft(database, words, by=ann, now=now)
    await planner.tick()
    async with database.write() as connection:
        await connection.execute(
            deliveries.update()
            .where(deliveries.c.due <= now)
            .values(state="sent", sent_at=now, tried_at=now, attempts=1, revision=0)
        )
        notice, key = (
            await connection.execute(
                select(notices.c.id, notices.c.occurrence)
                .where(notices.c.kind == "invitation")
                .order_by(notices.c.id)
                .limit(1)
            )
        ).one()
        await connection.execute(notice_revisions.insert().values(notice=notice, revision=0))
    photo = [Photo(size, format_, bytes(20_000)) for size in PHOTO_SIZES for format_ in ("avif", "jpeg")]
    person = make_words(name="Noor", role="Listens", country="GB")
    await profiles.show_convenor(database, "m0@example.org", person, photo=photo, by=ann, now=now)
    for number in range(1, min(count, MOST_SHOWN)):
        if number % 50:
            await profiles.show_member(
                database, f"m{number}@example.org", person, photo=photo, by=ann, now=now
            )
    await save_about(database, "# Why\n\nWe **listen**.\n" * 200, by=ann, now=now)
    by_slug = {series.slug: series for series in parts.settings.series}
    theme = await meeting_records.add_theme(database, "Words", now=now, by=ann)
    change = Change(topic="Kind words", speakers="Amara Okafor", themes=(theme.slug,))
    await amend(database, by_slug, key, change, now=SystemClock().now(), by=ann)
    numbers = {
        "notices": notice,
        "planned": notice,
        "drafts": draft,
        "members/import": upload,
        "archive/import": sheet,
        "members": min(count, 500),
        "desk": request.id,
        "returns": message,
        "people": 2,
        "about": 1,
        "team": 1,
    }
    return Filled(secret, key, numbers)


class Filled(NamedTuple):
    """The secret of a session, the key of the next meeting, and the number in the address of each part's pages."""

    secret: str
    key: str
    numbers: dict[str, int | None]

    def pages(self, mail: int) -> list[str]:
        """The addresses of all pages of the console; `mail` is the number of a notice that was sent to the convenor.

        Raises LookupError for one that cannot be opened here.
        """
        series, date = self.key.split("/")
        found = []
        for path in (entry.path for entry in ENTRIES if "GET" in entry.methods):
            if not path.startswith("/convenor") or path in NO_PAGE:
                continue
            part = path.removeprefix("/convenor/").partition("/{number}")[0]
            values = {
                "series": series,
                "date": date,
                "number": self.numbers.get(part),
                "notice": mail,
                "theme": "words",
                "speaker": "amara-okafor",
                "file": "192.avif",
            }
            if "{notice}" in path:
                values["number"] = 1
            if "{number}" in path and values["number"] is None:
                raise LookupError(f"{path} is not timed: say in `fill` which number it has here")
            address = path.format(**values)
            found += [address, *(address + query for query in MORE.get(path, ()))]
        return found


@contextlib.asynccontextmanager
async def serving(folder: Path, environment: dict[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    """The running service, once its pages answer."""
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "scheduler",
            "--config",
            "bench.toml",
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
    if answer.status_code not in (200, 303):
        raise SystemExit(f"{path}: {answer.status_code}")
    return took


def figures(times: list[float]) -> str:
    """Return the median and the 99th percentile in milliseconds."""
    times = sorted(times)
    late = times[min(len(times) - 1, round(0.99 * len(times)))]
    return f"{statistics.median(times) * 1000:8.1f} {late * 1000:8.1f}"


async def time_pages(
    process: asyncio.subprocess.Process, browser: httpx.AsyncClient, paths: list[str]
) -> None:
    """Print what each page takes, one after the other: as the browser sees it, and of it the web process's CPU time."""
    print(f"{'milliseconds':<66} {'median':>8} {'p99':>8} {'cpu':>8} {'cpu p99':>8}")
    slow = []
    for path in paths:
        await open_page(browser, path)
        times, spent = list[float](), list[float]()
        began = time.monotonic()
        while len(times) < ROUNDS and time.monotonic() < began + LONGEST_ROUNDS:
            before = web_cpu(process)
            times.append(await open_page(browser, path))
            spent.append(web_cpu(process) - before)
        print(f"{path:<66} {figures(times)} {figures(spent)}", flush=True)
        if sorted(spent)[round(0.99 * len(spent)) - 1] > LONGEST:
            slow.append(path)
    print(f"pages with more than {LONGEST * 1000:.0f} ms of CPU time: {', '.join(slow) or 'none'}")


async def send(database: Database, target: Relay, count: int, *, to: str = "all") -> tuple[int, float]:
    """Send a notice to an audience of `count` members.

    Return its number, and the seconds from its due instant to the last mail that the relay accepted.
    """
    had, now = len(target.times()), SystemClock().now()
    hold = timedelta(seconds=3)
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
    while len(target.times()) < had + count:  # noqa: ASYNC110 - another process accepts them
        await asyncio.sleep(0.2)
    return published.notice, target.times()[-1] - due


async def time_sending(
    database: Database, target: Relay, browser: httpx.AsyncClient, paths: list[str], count: int
) -> None:
    """Print how long sending takes alone and while pages are opened, in turn, and what the pages take then."""
    alone, together = list[float](), dict[float, list[float]]()
    times = dict[str, list[float]]()

    async def look_around(pause: float) -> None:
        while True:
            for path in paths:
                times.setdefault(path, []).append(await open_page(browser, path))
                await asyncio.sleep(pause)

    for _ in range(SENDINGS):
        alone.append((await send(database, target, count))[1])
        for pause in PAUSES:
            looking = asyncio.create_task(look_around(pause))
            together.setdefault(pause, []).append((await send(database, target, count))[1])
            looking.cancel()
            await asyncio.wait([looking])
    every = [took for some in times.values() for took in some]
    print(f"{'all pages while mail is sent':<66} {figures(every)}")
    slowest = max(times, key=lambda path: max(times[path]))
    print(f"the slowest was {slowest}: {max(times[slowest]) * 1000:.0f} ms")
    print(f"sending {count} mails alone: {', '.join(f'{took:.2f}' for took in alone)} seconds")
    for pause, took in together.items():
        ratio = statistics.median(took) / statistics.median(alone)
        seconds = ", ".join(f"{some:.2f}" for some in took)
        print(
            f"while a page is opened {pause} s after the one before: {seconds} seconds, {ratio:.2f} of alone"
        )


async def main(counts: list[int]) -> None:
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    for count in counts:
        with tempfile.TemporaryDirectory() as home:
            folder, web = Path(home), free_loopback_port()
            async with relay(folder / "taken") as target:
                environment, config = settings(folder, target.port, web), folder / "bench.toml"
                config.write_text(CONFIG)
                async with open_parts(load_settings(config, environment), upgrade=True) as parts:
                    filled = await fill(parts, count)
                    print(f"\n{count:,} members")
                    headers = {"Cookie": f"__Host-session={filled.secret}"}
                    browser = httpx.AsyncClient(
                        base_url=f"http://127.0.0.1:{web}", headers=headers, timeout=60
                    )
                    async with serving(folder, environment) as process, browser:
                        mail, _ = await send(parts.database, target, 1, to="convenors")
                        pages = filled.pages(mail)
                        await time_pages(process, browser, pages)
                        if count <= LARGEST_SENT:
                            active = count - (count - 1) // 50
                            await time_sending(parts.database, target, browser, pages, active)


if __name__ == "__main__":
    asyncio.run(main([int(count) for count in sys.argv[1:]] or [1_400, 1_000_000]))
