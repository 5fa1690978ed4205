"""A visitor to the site on the machine itself, in early November 2026."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from scheduler.web.app import create_app
from scheduler.web.metrics import Metrics
from tests.conftest import CopyDatabase
from tests.installation import COMMUNITY, RETENTION, Installation, open_installation

PAGES = Path(__file__).parents[2] / "templates" / "web"

LINKS = (
    ("Recordings & notes", "https://www.example.org/recordings?a=1&b=2"),
    ("Gesprächsfreundlichkeitsvereinigungsverzeichnis", "https://www.example.org/" + "a" * 200),
)


NOW = datetime(2026, 11, 4, 12, tzinfo=UTC)


OF_ONE_ANSWER = ("date", "x-request-id")
"""The headers that differ from each answer to the next."""


def same_each_time(answer: httpx.Response) -> dict[str, str]:
    """Return the headers of an answer without those of OF_ONE_ANSWER."""
    return {name: value for name, value in answer.headers.items() if name not in OF_ONE_ANSWER}


async def fill(url: str, folder: Path) -> None:
    async with open_installation(folder, NOW, url=url) as installation:
        await installation.tick()
        await installation.join(
            ("Ann", "Europe/London"), ("Bo", "Pacific/Auckland"), ("Cy", "America/New_York")
        )


@pytest.fixture
async def installation(tmp_path: Path, copy_sqlite: CopyDatabase) -> AsyncIterator[Installation]:
    """Adopted on the fourth of November, with members around the world."""
    async with open_installation(tmp_path, NOW, url=await copy_sqlite(fill)) as installation:
        yield installation


def make_app(installation: Installation, metrics: Metrics | None = None, **options: Any) -> Starlette:
    """The site of an installation."""
    options.setdefault("community", replace(COMMUNITY, links=LINKS))
    options.setdefault("embedded_by", "https://www.example.org")
    return create_app(
        series=tuple(installation.series),
        policies=tuple(installation.policies),
        database=installation.database,
        clock=installation.clock,
        keys=installation.keys,
        message_writer=installation.message_writer,
        outbox=installation.mail,
        templates=PAGES,
        retention=RETENTION,
        admits=False,
        metrics=metrics,
        shows_outbox=True,
        **options,
    )


async def settle(app: Starlette) -> None:
    """Wait for what the pages compute in the background."""
    state = app.state
    for kept in (
        state.figures,
        state.duplicates,
        state.numbers,
        state.countries,
        *state.places.values(),
    ):
        await kept.settle()


@pytest.fixture
async def app(installation: Installation) -> AsyncIterator[Starlette]:
    app = make_app(installation)
    yield app
    await settle(app)


Arrive = Callable[..., httpx.AsyncClient]


@pytest.fixture
async def arrive(app: Starlette) -> AsyncIterator[Arrive]:
    """Makes visitors: from which address, and by what name they call the site."""
    clients: list[httpx.AsyncClient] = []

    def make(
        peer: str = "127.0.0.1", host: str = "127.0.0.1:8000", scheme: str = "http"
    ) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(peer, 50_000))
        clients.append(httpx.AsyncClient(transport=transport, base_url=f"{scheme}://{host}"))
        return clients[-1]

    yield make
    for client in clients:
        await client.aclose()


@pytest.fixture
def visitor(arrive: Arrive) -> httpx.AsyncClient:
    return arrive()
