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
import secrets
import statistics
import sys
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import httpx
import structlog
from sqlalchemy import select

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.pages import figures, open_page, people, send, serving, settings, time_pages
from scheduler.bootstrap.serve import make_planner
from scheduler.bootstrap.settings import load_settings
from scheduler.bootstrap.wiring import Parts, SystemClock, open_parts
from scheduler.domain.actor import Actor
from scheduler.domain.photo import PHOTO_SIZES, Photo
from scheduler.service import meeting_records, profiles
from scheduler.service.about import save_about
from scheduler.service.drafts import Words, add_draft
from scheduler.service.occurrences import Change, amend
from scheduler.service.profiles import make_words
from scheduler.store import join_requests, members, returns, sessions, uploads
from scheduler.store.database import Database
from scheduler.store.schema import deliveries, notice_revisions, notices
from scheduler.web.routes import ENTRIES
from tests.chaos.killing import CONFIG, Relay, relay
from tests.postgres import free_loopback_port

SENDINGS = 5
MOST_SHOWN = 1_400
PAUSES = (0.1, 0)
LARGEST_SENT = 20_000
LONGEST = 0.2
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
                    async with serving(folder, environment, "--config", str(config)) as process, browser:
                        mail, _ = await send(parts.database, target, 1, to="convenors")
                        pages = filled.pages(mail)
                        await time_pages(process, browser, pages, limit=LONGEST)
                        if count <= LARGEST_SENT:
                            active = count - (count - 1) // 50
                            await time_sending(parts.database, target, browser, pages, active)


if __name__ == "__main__":
    asyncio.run(main([int(count) for count in sys.argv[1:]] or [1_400, 1_000_000]))
