"""What /metrics says, and who may read it."""

from pathlib import Path

import httpx
import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette

from scheduler.delivery.send.maildir import MaildirTransport
from scheduler.delivery.send.metrics import MeteredTransport
from scheduler.web.metrics import Metrics
from tests.installation import Installation
from tests.web.conftest import Arrive, make_app

TOKEN = "t" * 16
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def transport(installation: Installation) -> MeteredTransport:
    return MeteredTransport(MaildirTransport(installation.mail))


@pytest.fixture
def app(installation: Installation, transport: MeteredTransport) -> Starlette:
    async def collect() -> bytes:
        return generate_latest(transport.registry)

    return make_app(installation, metrics=Metrics(collect=collect, token=TOKEN))


def read(answer: httpx.Response) -> dict[tuple[str, ...], float]:
    """Name and label values to value."""
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return {
        (sample.name.removeprefix("third_thursday_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


async def test_the_metrics_cover_the_ledger_problems_and_connections(
    installation: Installation, transport: MeteredTransport, visitor: httpx.AsyncClient, tmp_path: Path
) -> None:
    installation.transport = transport
    installation.restart()
    await installation.tick()
    await installation.live(
        installation.clock.now().replace(day=5, hour=9, minute=1)
    )  # Ann's invitation is due
    found = read(await visitor.get("/metrics", headers=BEARER))
    assert found["deliveries", "sent"] == 1
    assert found["deliveries", "queued"] == 0
    assert found["failures", "address"] == 0
    assert found["members", "active"] == 3
    assert found["tries_total", "sent"] == 1
    assert found["relay_seconds_count",] == 1
    assert found["relay_connections",] == 0
    assert found["held",] == found["relay_down",] == found["lag_seconds",] == 0


async def test_a_failure_is_counted_by_what_was_wrong(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    await installation.live(installation.clock.now().replace(day=5, hour=21))
    refusals = ["550 5.1.1 no such user here", "552 5.2.2 mailbox full", "554 go away"]
    async with installation.database.write() as connection:
        for number, reason in enumerate(refusals, start=1):
            await connection.exec_driver_sql(
                f"UPDATE deliveries SET state = 'failed', sent_at = NULL, reason = '{reason}' WHERE member = {number}"
            )
    found = read(await visitor.get("/metrics", headers=BEARER))
    assert (found["failures", "address"], found["failures", "mailbox"]) == (1, 1)
    assert (found["failures", "refused"], found["failures", "unsent"]) == (1, 0)


@pytest.mark.parametrize(
    "forwarded",
    [
        {},
        {"X-Forwarded-For": "192.0.2.7"},
        {"Forwarded": "for=192.0.2.7"},
        {"Host": "localhost"},
        {"Host": "[::1]"},
    ],
)
@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "192.0.2.7"])
async def test_behind_a_proxy_that_adds_no_header_metrics_want_the_token(
    arrive: Arrive, peer: str, forwarded: dict[str, str]
) -> None:
    """A plain proxy_pass on the same machine looks like a scraper there."""
    client = arrive(peer=peer, host="127.0.0.1:8000")
    assert (await client.get("/metrics", headers=forwarded)).status_code == 404
    for wrong in ("x" * 16, "", TOKEN[:-1], "tö", TOKEN + "x"):
        given = {**forwarded, "Authorization": f"Bearer {wrong}".encode("latin-1").decode("latin-1")}
        assert (
            await client.get("/metrics", headers=httpx.Headers(given, encoding="latin-1"))
        ).status_code == 404
    assert (await client.get("/metrics", headers={**forwarded, **BEARER})).status_code == 200


async def test_without_a_token_the_pages_have_no_metrics(installation: Installation, arrive: Arrive) -> None:
    async def collect() -> bytes:
        return b""

    app = make_app(installation, metrics=Metrics(collect=collect, token=""))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        for given in ({}, {"Authorization": "Bearer "}, {"Authorization": ""}):
            assert (await client.get("/metrics", headers=given)).status_code == 404


async def test_a_listener_of_its_own_serves_the_metrics_and_nothing_else(
    installation: Installation, app: Starlette
) -> None:
    async def collect() -> bytes:
        return b"third_thursday_tries_total 1.0\n"

    listener = Metrics(collect=collect, token="").listener(app.state.site)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(listener), base_url="http://127.0.0.1"
    ) as client:
        answer = await client.get("/metrics")
        assert answer.status_code == 200 and "third_thursday_tries_total 1.0" in answer.text
        for path in ("/", "/outbox", "/me", "/healthz"):
            assert (await client.get(path)).status_code == 404
