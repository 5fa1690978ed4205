"""The health checks for monitoring."""

from datetime import timedelta

import httpx

from scheduler.service.health import health
from scheduler.service.sending_pause import pause_sending
from scheduler.store import service_state
from tests.installation import Installation


async def test_the_process_is_alive_whatever_the_database_says(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    await installation.database.close()
    (installation.folder / "test.sqlite").unlink()
    assert (await visitor.get("/healthz")).status_code == 200


async def test_ready_after_a_tick(visitor: httpx.AsyncClient) -> None:
    answer = await visitor.get("/readyz")
    assert answer.status_code == 200
    assert answer.json() == {"ready": True, "reasons": []}


async def test_not_ready_where_no_tick_came_lately(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    installation.clock.pass_(timedelta(minutes=2))
    answer = await visitor.get("/readyz")
    assert answer.status_code == 503
    assert answer.json() == {"ready": False, "reasons": ["there was no tick lately"]}


async def test_not_ready_while_sending_is_held_or_the_relay_is_down(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    async with installation.database.write() as connection:
        await pause_sending(connection, "clock-jumped", installation.clock.now())
        down = {"reason": "refused someone@example.org", "since": "2026-11-04T12:00:00+00:00"}
        await service_state.write(connection, service_state.RELAY, down)
    answer = await visitor.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["reasons"] == ["sending is held: clock-jumped", "the relay takes no mail"]


async def test_the_reason_why_the_relay_cannot_be_reached_does_not_name_it(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    async with installation.database.write() as connection:
        down = {"reason": "smtp://relay.example.org: x", "since": "x", "brief": "its name cannot be resolved"}
        await service_state.write(connection, service_state.RELAY, down)
    answer = await visitor.get("/readyz")
    assert answer.json()["reasons"] == ["the relay takes no mail: its name cannot be resolved"]


async def test_a_serve_that_runs_without_ticking_differs_from_one_that_does_not_run(
    installation: Installation,
) -> None:
    installation.clock.pass_(timedelta(minutes=2))
    now = installation.clock.now()
    assert (await health(installation.database, now)).troubles(now) == [
        "no `serve` is running: nothing is being sent"
    ]
    async with installation.database.exclusive():
        assert (await health(installation.database, now)).troubles(now) == [
            "`serve` is running, but its work is not getting done: see its log"
        ]


async def test_not_ready_while_something_cannot_be_written(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    installation.database.outages.begin("settling", OSError(28, "No space left on device", "/secret/path"))
    installation.database.outages.begin("tick", ValueError("at 10.0.0.5"))
    answer = await visitor.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["reasons"] == ["the disk is full", "the database or a file cannot be used"]


async def test_not_ready_without_a_database(installation: Installation, visitor: httpx.AsyncClient) -> None:
    await installation.database.close()
    for file in installation.folder.glob("test.sqlite*"):
        file.unlink()
    answer = await visitor.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["reasons"] == ["the database does not answer"]
