"""Compare our feeds with nginx, Radicale and icalendar, each on one core, in one run; print medians of ratios.

The service and nginx run one worker each, pinned to the same core. wrk requests the same bytes from each in turn, from
the other core, over 64 connections that stay open. Machines are noisy, so only medians of paired ratios count.
"""

import contextlib
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from datetime import time as at
from itertools import takewhile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from scheduler.domain.calendar import feed, feed_window
from scheduler.domain.community import Community
from scheduler.domain.feed_template import PrivateFeed
from scheduler.domain.occurrence import Series
from scheduler.domain.token import Keys, Purpose
from tests.readers.tools import python_with

ROUNDS = 5
SECONDS = 2
CONNECTIONS = 64
MEMBERS = 10_000
SAMPLE = 20
SERVER_CORE, ASKER_CORE = "0", "1"

_COLLECTION = "/nobody/calendar/"
_NOBODY = "Basic bm9ib2R5Om5vYm9keQ=="
_NGINX = """
{user} daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000; open_file_cache max=10;
  types {{ text/calendar ics; }}
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{ listen 127.0.0.1:{port}; root {folder}; }}
}}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(command: list[str], url: str, **more: object) -> Iterator[None]:
    """Run the command on the servers' core, and wait until `url` answers; stop it at the end of the block."""
    pinned = ["taskset", "-c", SERVER_CORE, *command]
    process = subprocess.Popen(pinned, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **more)  # type: ignore[call-overload]
    try:
        for _ in range(100):
            with contextlib.suppress(OSError):
                get(url)
                break
            time.sleep(0.1)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def get(url: str) -> tuple[bytes, str]:
    """Return the body and the ETag."""
    with urllib.request.urlopen(url, timeout=3) as answer:
        return answer.read(), answer.headers["ETag"] or ""


def per_second(url: str, *headers: str) -> float:
    """Return how many requests a second are answered."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "--timeout=10s"]
    for header in headers:
        command += ["-H", header]
    pinned = ["taskset", "-c", ASKER_CORE, *command, url]
    output = subprocess.run(pinned, check=True, capture_output=True, text=True).stdout
    match = re.search(r"Requests/sec:\s+([\d.]+)", output)
    assert match
    return float(match[1])


def over_http(folder: Path) -> dict[str, float]:
    """Return the medians of the paired ratios."""
    ours, nginx, radicale = (f"http://127.0.0.1:{free_port()}" for _ in range(3))
    ports = {url: url.rpartition(":")[2] for url in (ours, nginx, radicale)}
    user = "user root;" if os.geteuid() == 0 else ""  # only root can read the folder
    (folder / "nginx.conf").write_text(_NGINX.format(folder=folder, port=ports[nginx], user=user))
    python = python_with("radicale", ["radicale"])
    settings = [
        f"--server-hosts=127.0.0.1:{ports[radicale]}",
        f"--storage-filesystem-folder={folder}/collections",
        "--auth-type=none",
        "--logging-level=error",
        "--server-timeout=5",
    ]
    service = [sys.executable, "-m", "scheduler", "serve"]
    environment = {
        **os.environ,
        "THIRD_THURSDAY_WEB__PORT": ports[ours],
        "THIRD_THURSDAY_DATABASE__URL": f"sqlite:///{folder}/t.sqlite",
        "THIRD_THURSDAY_MAIL__TRANSPORT": f"maildir:{folder}/mail",
        "PYTHONPATH": str(Path(__file__).parent.parent),
    }
    with running(service, f"{ours}/calendar.ics", env=environment, cwd=folder):
        content, our_tag = get(f"{ours}/calendar.ics")
        (folder / "calendar.ics").write_bytes(content)
        with (
            running(["nginx", "-c", f"{folder}/nginx.conf", "-p", str(folder)], f"{nginx}/calendar.ics"),
            running([str(python), "-m", "radicale", *settings], f"{radicale}/.web/"),
        ):
            put(f"{radicale}{_COLLECTION}", content)
            nginx_tag = get(f"{nginx}/calendar.ics")[1]
            assert get(f"{nginx}/calendar.ics")[0] == content
            rounds = []
            for number in range(ROUNDS):
                rates = {
                    "nginx GET": per_second(f"{nginx}/calendar.ics"),
                    "GET": per_second(f"{ours}/calendar.ics"),
                    "nginx 304": per_second(f"{nginx}/calendar.ics", f"If-None-Match: {nginx_tag}"),
                    "304": per_second(f"{ours}/calendar.ics", f"If-None-Match: {our_tag}"),
                    "Radicale GET": per_second(f"{radicale}{_COLLECTION}", f"Authorization: {_NOBODY}"),
                }
                rounds.append(rates)
                rates_text = ", ".join(f"{name} {rate:,.0f}/s" for name, rate in rates.items())
                print(f"round {number + 1}: {rates_text}", flush=True)
    return {
        "GET / nginx": statistics.median(rates["GET"] / rates["nginx GET"] for rates in rounds),
        "304 / nginx": statistics.median(rates["304"] / rates["nginx 304"] for rates in rounds),
        "304 / Radicale's GET": statistics.median(rates["304"] / rates["Radicale GET"] for rates in rounds),
    }


def put(url: str, content: bytes) -> None:
    """Create a collection with the calendar, and check that it can be read."""
    headers = {"Content-Type": "text/calendar", "Authorization": _NOBODY}
    for method, data in (("PUT", content), ("GET", None)):
        request = urllib.request.Request(url, data=data, method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status < 300


def filling() -> float:
    """Return how many times faster 10,000 private feeds are filled in from a template than built with icalendar."""
    community = Community(
        name="Conversation for Kindness",
        description="An hour of conversation.",
        website="",
        address="meetings@example.org",
        reply_to="us@example.org",
        domain="example.org",
        base_url="https://meet.example.org",
    )
    series = Series(
        slug="conversation-for-kindness",
        title="Conversation for Kindness",
        rule="FREQ=MONTHLY;BYDAY=3TH",
        start=at(18),
        zone="Europe/London",
        duration=timedelta(hours=1),
        first=date(2020, 7, 16),
    )
    adopted = datetime(2026, 11, 1, tzinfo=UTC)
    since, until = feed_window(adopted)
    occurrences = [
        series.occurrence(day, adopted)
        for day in takewhile(lambda day: day < until.date(), series.dates(since.date()))
    ]
    keys, of = Keys(b"k" * 32), {series.slug: series}
    # Both ways need the tokens, so they are made before.
    tokens = [keys.token(Purpose.JOIN, member, generation=0) for member in range(MEMBERS)]

    def build(token: str) -> bytes:
        return feed(
            occurrences,
            of,
            community,
            name=community.name,
            join=lambda occurrence: community.join_url(token, occurrence.key),
        )

    ratios = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        built = [build(token) for token in tokens[:SAMPLE]]
        seconds_each = (time.perf_counter() - begun) / SAMPLE
        begun = time.perf_counter()
        template = PrivateFeed(
            occurrences, of, community, join_url=community.join_url, alarm=None, changed_at=adopted
        )
        for token in tokens:
            template.fill(token, {})
        ratios.append(seconds_each * MEMBERS / (time.perf_counter() - begun))
        assert [template.fill(token, {}) for token in tokens[:SAMPLE]] == built
    return statistics.median(ratios)


def main() -> None:
    """Needs two cores, and wrk and nginx (the Debian packages wrk and nginx-light); installs Radicale itself."""
    missing = [name for name in ("wrk", "nginx", "taskset") if not shutil.which(name)]
    if missing:
        raise SystemExit(
            f"bench/feeds.py needs {', '.join(missing)}; install them with: apt-get install wrk nginx-light util-linux"
        )
    with tempfile.TemporaryDirectory() as folder:
        medians = over_http(Path(folder))
    medians[f"{MEMBERS:,} private feeds filled in / built"] = filling()
    for name, ratio in medians.items():
        print(f"median {name}: {ratio:,.2f}")


if __name__ == "__main__":
    main()
