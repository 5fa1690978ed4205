"""Time the convenors' pages with many members: the slowest of a hundred requests each, in seconds, and the mean.

    .venv/bin/python bench/console.py [MEMBERS]

The pages are asked for in one process with their own database, one request after the other.
"""

import asyncio
import secrets
import statistics
import sys
import tempfile
import time
from hashlib import sha256
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).parents[1]))

from scheduler.store import members, sessions
from tests.chaos.killing import ZONES
from tests.installation import Installation, open_installation
from tests.web.conftest import NOW, make_app

NAMES = ("Åsa", "李小明", "عائشة", "Zoë", "Jürgen", "Olúwáṣẹ́gun", "Ólöf", "Maria")
COUNTRIES = ("SE", "TW", "EG", "NL", "DE", "NG", "IS", "BR")
ROUNDS = 100
KEY = "conversation-for-kindness/2026-11-19"
PAGES = (
    "/convenor/",
    "/convenor/meetings",
    f"/convenor/meetings/{KEY}",
    f"/convenor/meetings/{KEY}/tell",
    "/convenor/notices",
    "/convenor/notices/1",
    "/convenor/members",
    "/convenor/members?q=asa",
    "/convenor/members?q=m999999",
    "/convenor/members?q=nobody%20at%20all",
    "/convenor/members?status=left",
    "/convenor/members/500",
    "/convenor/desk",
    "/convenor/audit",
    "/convenor/numbers",
)


async def fill(installation: Installation, count: int) -> str:
    """Add the members and a session of the first, and return its secret."""
    now = installation.clock.now()
    rows = (
        {
            "address": f"m{number}@example.org",
            "address_key": f"m{number}@example.org",
            "name": f"{NAMES[number % len(NAMES)]} {number}",
            "country": COUNTRIES[number % len(COUNTRIES)],
            "zone": ZONES[number % len(ZONES)],
            "zone_source": "given",
            "locale": "en-GB",
            "status": "active",
            "role": None if number else "convenor",
            "created_at": now,
            "active_since": now,
            "paused_until": None,
            "uninvited_at": None,
        }
        for number in range(count)
    )
    secret = secrets.token_urlsafe(32)
    async with installation.database.write() as connection:
        await members.add(connection, rows)
        await sessions.add(
            connection,
            member=1,
            generation=0,
            secret_hash=sha256(secret.encode()).hexdigest(),
            sign_in_hash="bench",
            browser="bench",
            now=now,
        )
    return secret


async def main(count: int) -> None:
    """Fill a database, and time each page."""
    with tempfile.TemporaryDirectory() as folder:
        async with open_installation(Path(folder), NOW, url=f"sqlite:///{folder}/t.sqlite") as installation:
            await installation.planner.tick()
            secret = await fill(installation, count)
            await installation.planner.tick()
            transport = httpx.ASGITransport(make_app(installation))
            async with httpx.AsyncClient(transport=transport, base_url="https://meet.example.org") as client:
                client.cookies.set("__Host-session", secret, domain="meet.example.org")
                await client.get("/convenor/", timeout=600)
                for path in PAGES:
                    times = []
                    for _ in range(ROUNDS):
                        began = time.perf_counter()
                        answer = await client.get(path, timeout=600)
                        times.append(time.perf_counter() - began)
                        assert answer.status_code == 200, (path, answer.status_code)
                    print(f"{path:<55} mean {statistics.mean(times):.3f}  slowest {max(times):.3f}")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000))
