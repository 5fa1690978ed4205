"""What a scraper is told, and who may scrape."""

from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette

from scheduler.delivery.maildir import MaildirTransport
from scheduler.delivery.metering import Metered
from scheduler.web.metrics import Metrics
from tests.house import House
from tests.web.conftest import Arrive, make_app


@pytest.fixture
def transport(house: House) -> Metered:
    return Metered(MaildirTransport(house.mail))


@pytest.fixture
def app(house: House, transport: Metered) -> Starlette:
    return make_app(house, metrics=Metrics(registry=transport.registry, token="t" * 16))


def read(answer: httpx.Response) -> dict[tuple[str, ...], float]:
    """Name and label values to value."""
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return {
        (sample.name.removeprefix("third_thursday_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


async def test_the_ledger_the_troubles_and_the_connections_are_told(
    house: House, transport: Metered, visitor: httpx.AsyncClient, tmp_path: Path
) -> None:
    house.transport = transport
    house.restart()
    await house.tick()
    await house.live(house.clock.now().replace(day=5, hour=9, minute=1))  # Ann's invitation is due
    found = read(await visitor.get("/metrics"))
    assert found["deliveries", "sent"] == 1
    assert found["deliveries", "queued"] == 0
    assert found["failures", "address"] == 0
    assert found["members", "active"] == 3
    assert found["tries_total", "sent"] == 1
    assert found["relay_seconds_count",] == 1
    assert found["relay_connections",] == 0
    assert found["held",] == found["relay_down",] == found["lag_seconds",] == 0


async def test_a_failure_is_counted_by_what_was_wrong(house: House, visitor: httpx.AsyncClient) -> None:
    await house.live(house.clock.now().replace(day=5, hour=21))
    said = ["550 5.1.1 no such user here", "552 5.2.2 mailbox full", "554 go away"]
    async with house.database.write() as connection:
        for number, reason in enumerate(said, start=1):
            await connection.exec_driver_sql(
                f"UPDATE deliveries SET state = 'failed', sent_at = NULL, reason = '{reason}' WHERE member = {number}"
            )
    found = read(await visitor.get("/metrics"))
    assert (found["failures", "address"], found["failures", "mailbox"]) == (1, 1)
    assert (found["failures", "refused"], found["failures", "unsent"]) == (1, 0)


async def test_only_this_machine_and_whoever_knows_the_token_may_scrape(arrive: Arrive) -> None:
    far = arrive(peer="192.0.2.7", host="meet.example.org")
    assert (await far.get("/metrics")).status_code == 404
    assert (await far.get("/metrics", headers={"Authorization": "Bearer " + "x" * 16})).status_code == 404
    assert (await far.get("/metrics", headers={"Authorization": "Bearer " + "t" * 16})).status_code == 200
    behind_a_proxy = {"X-Forwarded-For": "192.0.2.7"}
    assert (await arrive().get("/metrics", headers=behind_a_proxy)).status_code == 404
