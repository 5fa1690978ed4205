"""Programs that we did not write read the feed of any home, and see the instants that GNU date sees."""

import asyncio
import contextlib
import os
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from importlib.resources import files
from itertools import takewhile
from pathlib import Path

import pytest
import uvicorn
import vobject  # type: ignore[import-untyped]

from scheduler.domain.calendar import Answer, feed, occurrence_uid
from scheduler.domain.feed_template import PrivateFeed
from scheduler.domain.occurrence import Series
from scheduler.web.app import create_app
from tests.domain.oracle import instants, shown
from tests.domain.test_calendar import COMMUNITY as COMMUNITY_OF_THREE
from tests.domain.test_feed_template import OF_THREE, TWO
from tests.installation import COMMUNITY, POLICIES, RETENTION, open_installation
from tests.readers.tools import compiled, node_with, python_with

pytestmark = pytest.mark.proof

HERE = Path(__file__).parent
FOLLOWED = HERE.parent / "domain" / "golden" / "two-of-three.ics"
"""The private feed of a member who follows two of three series."""
HOMES = (
    "Europe/London",
    "America/New_York",
    "Australia/Sydney",
    "America/Santiago",
    "Africa/Casablanca",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
)
ADOPTED = datetime(2026, 11, 1, tzinfo=UTC)
SINCE, UNTIL = date(2025, 11, 1), date(2028, 12, 1)
"""The months of a feed of November 2026: twelve back, its own, and 24 ahead."""

HOUR = 3600
NODE_READERS = ["ical.js@~2.2.1", "node-ical@~0.27.2"]
# Its zone data is newer than that of the Node that the machine may have.
NODE = "26.10.0"
Seen = dict[str, tuple[int, int]]
"""Start and end by UID, in seconds since 1970."""

_RECURRING = """
import sys, datetime, icalendar, recurring_ical_events
for file in sys.argv[1:]:
    calendar = icalendar.Calendar.from_ical(open(file, "rb").read())
    years = datetime.datetime(2024, 1, 1), datetime.datetime(2030, 1, 1)
    for event in recurring_ical_events.of(calendar).between(*years):
        print(file, event["UID"], *(int(event[name].dt.timestamp()) for name in ("DTSTART", "DTEND")))
"""


def pair(zone: str) -> dict[str, Series]:
    """A series on third Thursdays in the evening, and one at noon of every Sunday, when clocks change."""
    return {
        slug: Series(
            slug=slug,
            title="Conversation",
            rule=rule,
            start=start,
            zone=zone,
            duration=timedelta(hours=1),
            first=date(2020, 7, 1),
            description="We talk; come as you are.",
        )
        for slug, rule, start in (
            ("thursdays", "FREQ=MONTHLY;BYDAY=3TH", time(18)),
            ("sundays", "FREQ=WEEKLY;BYDAY=SU", time(12)),
        )
    }


@pytest.fixture(scope="module")
def feeds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Seen]:
    """Files of a public and a private feed for each home, and what GNU date says of their events."""
    folder = tmp_path_factory.mktemp("feeds")
    found: dict[str, Seen] = {}
    for zone in HOMES:
        series = pair(zone)
        held = [
            one.occurrence(day, ADOPTED)
            for one in series.values()
            for day in takewhile(lambda day: day < UNTIL, one.dates(SINCE))
        ]
        walls = [datetime.combine(one.date, series[one.series].start) for one in held]
        seen = {
            occurrence_uid(one, COMMUNITY.domain): (start, start + HOUR)
            for one, start in zip(held, instants(zone, walls), strict=True)
        }
        common = PrivateFeed(
            held,
            series,
            COMMUNITY,
            join_url=COMMUNITY.join_url,
            alarm=timedelta(minutes=30),
            changed_at=ADOPTED,
        )
        for kind, octets in (
            ("public", feed(held, series, COMMUNITY, name=COMMUNITY.name, source=COMMUNITY.feed_url)),
            ("private", common.fill("a" * 34, {held[-1].key: Answer("coming", ADOPTED)})),
        ):
            path = folder / f"{named(zone)}.{kind}.ics"
            path.write_bytes(octets)
            found[str(path)] = seen
    followed = [one for one in OF_THREE if one.series in TWO]
    found[str(FOLLOWED)] = {
        occurrence_uid(one, COMMUNITY_OF_THREE.domain): (
            int(one.starts.timestamp()),
            int(one.ends.timestamp()),
        )
        for one in followed
    }
    return found


def lines(command: Sequence[str | Path], **environment: str) -> Iterator[tuple[str, str, int, int]]:
    """What a reader printed: file, UID, start, end. It must find no fault."""
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TZ": "Pacific/Auckland", **environment},
    )
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        file, uid, start, end = line.split(" ")
        yield file, uid, int(start), int(end)


def check(feeds: dict[str, Seen], printed: Iterator[tuple[str, str, int, int]]) -> None:
    """Nothing is missing, nothing is there twice, and no instant differs."""
    found: dict[str, Seen] = {}
    count = 0
    for file, uid, start, end in printed:
        found.setdefault(file, {})[uid] = start, end
        count += 1
    assert found.keys() == feeds.keys()
    wrong = [
        f"{Path(file).name} {uid}: {found[file].get(uid)} for {instant}"
        for file, seen in feeds.items()
        for uid, instant in seen.items()
        if found[file].get(uid) != instant
    ]
    assert wrong == []
    assert count == sum(map(len, feeds.values()))


_PHP_CLOCK = (
    "foreach (array_slice($argv, 2) as $second) "
    "echo (new DateTime('@' . $second))->setTimezone(new DateTimeZone($argv[1]))->format('Y-m-d\\TH:i:s'), PHP_EOL;"
)


def of_known_homes(feeds: dict[str, Seen], clock: Sequence[str]) -> dict[str, Seen]:
    """For a reader that looks a zone up in data of the machine's, whatever the calendar says of it: without the homes
    whose hours that data has wrong. Only Casablanca may be one, where the rule was changed in 2026."""
    left_out = set()
    for zone in HOMES:
        seen = next(seen for file, seen in feeds.items() if named(zone) in file)
        moments = [datetime.fromtimestamp(start, UTC) for start, _ in seen.values()]
        seconds = [f"{moment.timestamp():.0f}" for moment in moments]
        printed = subprocess.run([*clock, zone, *seconds], capture_output=True, text=True, check=True).stdout
        if [line[:16] for line in printed.split()] != [line[:16] for line in shown(zone, moments)]:
            left_out.add(zone)
    assert left_out <= {"Africa/Casablanca"}
    return {file: seen for file, seen in feeds.items() if not any(named(zone) in file for zone in left_out)}


def named(zone: str) -> str:
    return zone.replace("/", "-")


@pytest.mark.short
def test_ical_js(feeds: dict[str, Seen], program: Callable[[str], str]) -> None:
    program("npm")
    node, folder = node_with(NODE, NODE_READERS)
    check(feeds, lines([node, HERE / "icaljs.mjs", folder, *feeds]))


@pytest.mark.short
def test_node_ical(feeds: dict[str, Seen], program: Callable[[str], str]) -> None:
    program("npm")
    node, folder = node_with(NODE, NODE_READERS)
    check(feeds, lines([node, HERE / "nodeical.mjs", folder, *feeds]))


@pytest.mark.short
def test_libical_and_its_restriction_check(feeds: dict[str, Seen], program: Callable[[str], str]) -> None:
    for needed in ("cc", "pkg-config"):
        program(needed)
    if subprocess.run(["pkg-config", "--exists", "libical"], check=False).returncode:
        pytest.skip("needs libical (Debian's package libical-dev)")
    check(feeds, lines([compiled(HERE / "libical.c", "libical"), *feeds]))


@pytest.mark.short
def test_recurring_ical_events(feeds: dict[str, Seen]) -> None:
    python = python_with("recurring", ["recurring-ical-events", "tzdata"])
    check(feeds, lines([python, "-c", _RECURRING, *feeds], PYTHONTZPATH=""))


@pytest.mark.short
def test_sabre_vobject(feeds: dict[str, Seen], program: Callable[[str], str]) -> None:
    if not Path("/usr/share/php/Sabre/VObject/autoload.php").exists():
        pytest.skip("needs sabre/vobject (Debian's package php-sabre-vobject)")
    known = of_known_homes(feeds, [program("php"), "-r", _PHP_CLOCK, "--"])
    check(known, lines([program("php"), HERE / "sabre.php", *known]))


@pytest.mark.short
def test_vobject(feeds: dict[str, Seen]) -> None:
    def read() -> Iterator[tuple[str, str, int, int]]:
        for file in feeds:
            for event in vobject.readOne(Path(file).read_bytes().decode()).vevent_list:
                start, end = (int(one.value.timestamp()) for one in (event.dtstart, event.dtend))
                yield file, event.uid.value, start, end

    check(feeds, read())


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@pytest.fixture
async def services(tmp_path: Path) -> AsyncIterator[dict[str, str]]:
    """The running service of each home on a loopback port, by zone."""
    async with contextlib.AsyncExitStack() as stack:
        found = {}
        for zone in HOMES:
            folder = tmp_path / named(zone)
            folder.mkdir()
            series = pair(zone)
            installation = await stack.enter_async_context(
                open_installation(folder, datetime(2026, 11, 4, tzinfo=UTC), series=tuple(series.values()))
            )
            app = create_app(
                community=COMMUNITY,
                series=tuple(series.values()),
                policies=POLICIES,
                database=installation.database,
                clock=installation.clock,
                keys=installation.keys,
                message_writer=installation.message_writer,
                outbox=None,
                templates=HERE.parents[1] / "templates" / "web",
                retention=RETENTION,
                admits=False,
                embedded_by="",
            )
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            server = _Server(uvicorn.Config(app, log_config=None, lifespan="off"))
            serving = asyncio.create_task(server.serve(sockets=[listener]))

            async def stop(server: uvicorn.Server = server, serving: "asyncio.Task[None]" = serving) -> None:
                server.should_exit = True
                await serving

            stack.push_async_callback(stop)
            found[zone] = f"http://127.0.0.1:{listener.getsockname()[1]}/calendar.ics"
        yield found


_VDIRSYNCER = """
[general]
status_path = "{folder}/status"
{pairs}
"""
_PAIR = """
[pair {name}]
a = "{name}_there"
b = "{name}_here"
collections = null
conflict_resolution = "a wins"
[storage {name}_there]
type = "http"
url = "{url}"
[storage {name}_here]
type = "filesystem"
path = "{folder}/{name}"
fileext = ".ics"
"""
_KHAL = """
[calendars]
[[{name}]]
path = {folder}/{name}
[locale]
local_timezone = Etc/UTC
default_timezone = Etc/UTC
timeformat = %H:%M
dateformat = %Y-%m-%d
longdateformat = %Y-%m-%d
datetimeformat = %Y-%m-%dT%H:%M
longdatetimeformat = %Y-%m-%dT%H:%M
[sqlite]
path = {folder}/{name}.db
"""


async def test_vdirsyncer_fetches_each_meeting_once_and_khal_shows_its_hour(
    services: dict[str, str], feeds: dict[str, Seen], tmp_path: Path
) -> None:
    bin_ = python_with("khal", ["khal", "vdirsyncer", "tzdata"]).parent
    environment = {
        "HOME": str(tmp_path),
        "PYTHONTZPATH": str(files("tzdata") / "zoneinfo"),
        "LC_ALL": "C.UTF-8",
        "VDIRSYNCER_CONFIG": str(tmp_path / "vdirsyncer"),
    }

    async def run(*command: str | Path) -> str:
        process = await asyncio.create_subprocess_exec(
            *map(str, command),
            env={**os.environ, **environment},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(120):
            out, error = await process.communicate()
        assert process.returncode == 0, error.decode()
        return out.decode()

    names = {zone: zone.replace("/", "_").lower() for zone in HOMES}
    pairs = "".join(
        _PAIR.format(name=names[zone], url=url, folder=tmp_path) for zone, url in services.items()
    )
    (tmp_path / "vdirsyncer").write_text(_VDIRSYNCER.format(folder=tmp_path, pairs=pairs))
    for name in names.values():
        (tmp_path / name).mkdir()
    await run(bin_ / "vdirsyncer", "discover")
    await run(bin_ / "vdirsyncer", "sync")
    for zone, name in names.items():
        (seen,) = (one for file, one in feeds.items() if f"{named(zone)}.public" in file)
        assert len(list((tmp_path / name).glob("*.ics"))) == len(seen)
        (tmp_path / "khal").write_text(_KHAL.format(name=name, folder=tmp_path))
        shape = "{start-date-long}T{start-time} {end-date-long}T{end-time}"
        printed = await run(
            bin_ / "khal",
            "-c",
            tmp_path / "khal",
            "list",
            "--day-format",
            "",
            "--format",
            shape,
            SINCE.isoformat(),
            (UNTIL - timedelta(days=1)).isoformat(),
        )
        # By their hours only: vdirsyncer gives what it fetches UIDs of its own.
        found = [
            tuple(int(datetime.fromisoformat(f"{moment}+00:00").timestamp()) for moment in line.split(" "))
            for line in printed.splitlines()
            if line
        ]
        assert sorted(found) == sorted(seen.values())


@pytest.mark.short
def test_khal_shows_the_hours_of_the_followed_series_alone(feeds: dict[str, Seen], tmp_path: Path) -> None:
    bin_ = python_with("khal", ["khal", "vdirsyncer", "tzdata"]).parent
    (tmp_path / "khal").write_text(_KHAL.format(name="followed", folder=tmp_path))
    (tmp_path / "followed").mkdir()
    environment = {
        **os.environ,
        "HOME": str(tmp_path),
        "PYTHONTZPATH": str(files("tzdata") / "zoneinfo"),
        "LC_ALL": "C.UTF-8",
    }

    def khal(*options: str | Path) -> str:
        command = [str(part) for part in (bin_ / "khal", "-c", tmp_path / "khal", *options)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    khal("import", "--batch", FOLLOWED)
    shape = "{uid} {start-date-long}T{start-time} {end-date-long}T{end-time}"
    printed = khal(
        "list",
        "--day-format",
        "",
        "--format",
        shape,
        SINCE.isoformat(),
        (UNTIL - timedelta(days=1)).isoformat(),
    )
    found = {}
    for uid, *moments in (line.split(" ") for line in printed.splitlines() if line):
        start, end = (int(datetime.fromisoformat(f"{moment}+00:00").timestamp()) for moment in moments)
        found[uid] = start, end
    assert found == feeds[str(FOLLOWED)]
