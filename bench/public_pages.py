"""Time every public page of the running service, with a large archive and a large wall, alone and beside sending.

    .venv/bin/python bench/public_pages.py [MEETINGS] [MEMBERS] [POSTGRESQL-URL]

A database, that of the URL or a new SQLite file, is filled with past meetings (5,000) and members who are all on the
wall (1,400), and `serve` is started with a relay. Each page on the map of routes that everybody may open is opened a
hundred times, for at most ten seconds: as it is made for a visitor with a cookie, who is never answered from memory,
and as it comes from memory. Then all pages are made while one notice after the other is sent to everybody. Printed are
the median and the 99th percentile of the time that the browser sees, and of the CPU time of the web process, which says
more on a busy machine. A page that is not timed here is an error.
"""

import asyncio
import os
import sys
import tempfile
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from pathlib import Path
from random import Random

import httpx
import structlog

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.pages import people, print_heading, print_times, send, serving, settings, time_page, time_pages
from scheduler.bootstrap.serve import make_planner
from scheduler.bootstrap.settings import load_settings
from scheduler.bootstrap.wiring import Parts, SystemClock, open_parts
from scheduler.domain.actor import Actor
from scheduler.domain.meeting_record import Material, MaterialKind, Speaker
from scheduler.domain.photo import PHOTO_SIZES, Photo
from scheduler.service import meeting_records, profiles
from scheduler.service.about import save_about
from scheduler.service.occurrences import Change, add_past, amend_in
from scheduler.store import members, service_state
from scheduler.store.database import Database
from scheduler.web.access import Access
from scheduler.web.routes import ENTRIES
from tests.chaos.killing import CONFIG, Relay, relay
from tests.postgres import free_loopback_port

LIMIT = 0.1
FIRST_DATE, HOUR = date(2012, 1, 1), time(12)
SPEAKERS, THEMES, WORDS = 300, 12, 3_000
BATCH = 250
FIRST_ROUNDS = 20
REFRESHED_AFTER = 1.2
"""Seconds after which the web process has seen a change."""

FEEDS = ("/archive.atom", "/archive.json", "/sitemap.xml")
NO_PAGE = {
    "/logo": "the community has none",
    "/outbox": "mail goes to a relay",
    "/outbox/{name}": "mail goes to a relay",
    "/outbox/{name}/html": "mail goes to a relay",
    "/outbox/{name}/source": "mail goes to a relay",
}


async def fill(parts: Parts, meetings: int, count: int) -> dict[str, list[str]]:
    """Fill a database; return example addresses of the pages whose path on the map of routes is not their address."""
    now, database = SystemClock().now(), parts.database
    ann = Actor(channel="console", name="Ann", member=1)
    await make_planner(parts).tick()
    async with database.write() as connection:
        await members.add(connection, people(count, now))
    photo = [Photo(size, format_, os.urandom(8_000)) for size in PHOTO_SIZES for format_ in ("avif", "jpeg")]
    words = profiles.make_words(name="Noor", role="Listens to neighbours", country="GB")
    await profiles.show_convenor(database, "m0@example.org", words, photo=photo, by=ann, now=now)
    for number in range(count):
        await profiles.show_member(database, f"m{number}@example.org", words, photo=photo, by=ann, now=now)
    await save_about(database, "# Why\n\nWe **listen**.\n" * 200, by=ann, now=now)
    keys = await _add_meetings(parts, meetings, now=now, by=ann)
    shown = await profiles.shown_people(database, page=1)
    pages = -(-shown.on_wall // profiles.PAGE)
    newest, series = keys[-1], next(iter(parts.settings.series)).slug
    return {
        "/meetings/{series}/{date}": [f"/meetings/{newest}", f"/meetings/{keys[len(keys) // 2]}"],
        "/meetings/{series}/{date}.ics": [f"/meetings/{newest}.ics"],
        "/meetings/{series}/{date}.png": [f"/meetings/{key}.png" for key in keys[-FIRST_ROUNDS:]],
        "/series/{series}": [f"/series/{series}", f"/series/{series}?year=2015"],
        "/archive": [
            "/archive",
            "/archive?year=2015",
            "/archive?year=2015&page=10",
            "/archive?theme=theme-1",
            "/archive?theme=theme-1&year=2015",
            *(f"/archive?q={typed}" for typed in ("kindness", "kin", "kidness", "xyzzyq", "clen+langage")),
            "/archive?q=kindness&page=100",
        ],
        "/speakers/{speaker}": ["/speakers/speaker-0", "/speakers/speaker-0?page=20", "/speakers/speaker-7"],
        "/themes/{theme}": ["/themes/theme-1", "/themes/theme-1?page=20"],
        "/calendar/{series}.ics": [f"/calendar/{series}.ics"],
        "/people": ["/people", f"/people?page={pages}"],
        "/photos/{file}": [
            f"/photos/{shown.wall[0].photo}-{one.size}.{one.format}" for one in (photo[0], photo[-1])
        ],
    }


async def _add_meetings(parts: Parts, count: int, *, now: datetime, by: Actor) -> list[str]:
    """Add past meetings, one a day, with everything that can be recorded; return their keys, the oldest first."""
    random, series = Random(1), parts.settings.series[0]
    letters = ("ba", "ke", "lin", "mo", "nu", "ra", "si", "tor", "ve", "zan")
    words = ["".join(random.choices(letters, k=random.randint(2, 4))) for _ in range(WORDS)]
    themes = [
        (await meeting_records.add_theme(parts.database, f"Theme {number}", now=now, by=by)).slug
        for number in range(THEMES)
    ]
    # Each speaker is described in the same way at all meetings, so that none has to be entered anew.
    speakers = [
        Speaker(name=f"Speaker {number}", role="Author", organisation="Example", link="https://example.org/")
        for number in range(SPEAKERS)
    ]

    def prose(length: int) -> str:
        # Some words are much more frequent than others, as in a language.
        return " ".join(words[int(random.paretovariate(0.6)) % WORDS] for _ in range(length))

    by_slug, keys = {one.slug: one for one in parts.settings.series}, list[str]()
    for start in range(0, count, BATCH):
        async with parts.database.write() as connection:
            for number in range(start, min(start + BATCH, count)):
                meeting = await add_past(
                    connection,
                    series,
                    datetime.combine(FIRST_DATE + timedelta(days=number), HOUR),
                    now=now,
                    by=by,
                )
                about = "Clean language" if number % 500 == 0 else "Kindness" if number % 2 else "Listening"
                led = {
                    speakers[0 if number % 10 == 0 else number % SPEAKERS],
                    speakers[number * 7 % SPEAKERS],
                }
                change = Change(
                    topic=f"{about}: {prose(3)}",
                    speaker_rows=tuple(sorted(led, key=lambda speaker: speaker.name)),
                    summary=f"## In short\n\n{prose(120)}\n\n- {prose(10)}\n- {prose(10)}",
                    insights=prose(60),
                    themes=tuple({themes[1], themes[number % THEMES]}),
                    material_rows=(
                        Material(kind=MaterialKind.RECORDING, title=prose(3), link="https://v.example.org/1"),
                        Material(kind=MaterialKind.SLIDES, title=prose(3), link="https://s.example.org/1"),
                    ),
                )
                await amend_in(connection, by_slug, meeting, change, now=now, by=by)
                keys.append(meeting.key)
    return keys


def public_pages(examples: dict[str, list[str]]) -> list[str]:
    """Return the addresses of all public pages. Raises LookupError for one without an example."""
    found = []
    for entry in ENTRIES:
        path = entry.path
        if (
            "GET" not in entry.methods
            or entry.access is not Access.ANYONE
            or path.startswith("/convenor")
            or path in NO_PAGE
        ):
            continue
        if "{" in path and path not in examples:
            raise LookupError(f"{path} is not timed: say in `fill` which address it has here")
        found += examples.get(path, [path])
    return found


async def time_first(
    process: asyncio.subprocess.Process,
    browser: httpx.AsyncClient,
    database: Database,
    *,
    feeds: Sequence[str],
    pictures: Sequence[str],
) -> None:
    """Print what pictures and feeds take when they are made; they come from memory for visitors with a cookie too."""
    print_heading()
    opened = await time_page(process, browser, pictures[0])
    print_times("the first page after the start, a picture", [opened], limit=LIMIT)
    drawn = [await time_page(process, browser, path) for path in pictures[1:]]
    print_times("/meetings/{series}/{date}.png, drawn", drawn, limit=LIMIT)
    times: dict[str, list[tuple[float, float]]] = {path: [] for path in feeds}
    for _ in range(FIRST_ROUNDS):
        async with database.write() as connection:
            await service_state.note_change(connection)
        await asyncio.sleep(REFRESHED_AFTER)
        for path in feeds:
            times[path].append(await time_page(process, browser, path))
    for path, taken in times.items():
        print_times(f"{path}, after a change", taken, limit=LIMIT)


async def keep_sending(database: Database, target: Relay, count: int) -> None:
    """Send one notice after the other to everybody."""
    while True:
        await send(database, target, count, hold=timedelta())


async def main(meetings: int, count: int, database: str) -> None:
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    with tempfile.TemporaryDirectory() as home:
        folder, web = Path(home), free_loopback_port()
        async with relay(folder / "taken") as target:
            environment, config = settings(folder, target.port, web), folder / "bench.toml"
            environment |= {"THIRD_THURSDAY_DATABASE__URL": database} if database else {}
            config.write_text(CONFIG)
            async with open_parts(load_settings(config, environment), upgrade=True) as parts:
                examples = await fill(parts, meetings, count)
                pages = public_pages(examples)
                pictures = examples["/meetings/{series}/{date}.png"]
                feeds = [path for path in pages if path.endswith(".ics") or path in FEEDS]
                pages = [path for path in pages if path not in pictures[1:]]
                url = f"http://127.0.0.1:{web}"
                visitor = httpx.AsyncClient(base_url=url, timeout=60)
                # A request with a cookie is not answered from memory.
                maker = httpx.AsyncClient(base_url=url, timeout=60, headers={"Cookie": "bench=1"})
                async with serving(folder, environment, "--config", str(config)) as process, visitor, maker:
                    print(f"{meetings:,} meetings, {count:,} members; load {os.getloadavg()[0]:.1f}")
                    print("\npictures and feeds when they are made")
                    await time_first(process, visitor, parts.database, feeds=feeds, pictures=pictures)
                    print("\nmade for each visitor")
                    await time_pages(process, maker, pages, limit=LIMIT)
                    print("\nfrom memory")
                    await time_pages(process, visitor, pages, limit=LIMIT)
                    print(f"\nmade while mail is sent; load {os.getloadavg()[0]:.1f}")
                    active, had = count - (count - 1) // 50, len(target.times())
                    sending = asyncio.create_task(keep_sending(parts.database, target, active))
                    await time_pages(process, maker, pages, limit=LIMIT)
                    print("\nfrom memory while mail is sent")
                    await time_pages(process, visitor, pages, limit=LIMIT)
                    sending.cancel()
                    await asyncio.wait([sending])
                    print(
                        f"{len(target.times()) - had} mails were sent meanwhile; load {os.getloadavg()[0]:.1f}"
                    )


if __name__ == "__main__":
    given = [int(count) for count in sys.argv[1:3]]
    asyncio.run(main(*(given + [5_000, 1_400][len(given) :]), "".join(sys.argv[3:])))
