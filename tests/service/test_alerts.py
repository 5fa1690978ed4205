"""Operators are alerted to a trouble once when it begins and once when it ends, never by mail."""

import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from scheduler.service.alerts import AlertNotifier
from scheduler.service.health import unready
from scheduler.service.sending_pause import end_sending_pause, pause_sending
from scheduler.store import service_state
from tests.installation import Installation, open_installation

NOW = datetime(2026, 11, 4, 12, tzinfo=UTC)
DOWN = {"reason": "refused someone@example.org", "since": NOW.isoformat()}


class Hook:
    """A web server on loopback that records its requests; `answers` are its next status codes, then 200."""

    def __init__(self) -> None:
        self.told: list[dict[str, str]] = []
        self.pings = 0
        self.answers: list[int] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = hook.answers.pop(0) if hook.answers else 200
                if status == 200:
                    hook.told.append(json.loads(body))
                self._answer(status)

            def do_GET(self) -> None:
                hook.pings += 1
                self._answer(200)

            def _answer(self, status: int) -> None:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                if status == 302:
                    self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"

    @property
    def events(self) -> list[tuple[str, str]]:
        return [(alert["trouble"], alert["event"]) for alert in self.told]


@pytest.fixture
def hook() -> Iterator[Hook]:
    hook = Hook()
    thread = Thread(target=hook.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield hook
    hook.server.shutdown()
    thread.join()
    hook.server.server_close()


@pytest.fixture
async def installation(tmp_path: Path) -> AsyncIterator[Installation]:
    async with open_installation(tmp_path, NOW) as installation:
        await installation.tick()
        await installation.join(("Ann", "Europe/London"))
        yield installation


def notifier(installation: Installation, hook: Hook) -> AlertNotifier:
    return AlertNotifier(
        installation.database,
        installation.clock,
        community="Kindness",
        webhook=hook.url,
        ping=hook.url,
        late=timedelta(minutes=15),
    )


async def relay_is(installation: Installation, value: dict[str, str] | None) -> None:
    async with installation.database.write() as connection:
        await service_state.write(connection, service_state.RELAY, value)


async def test_one_alert_when_a_trouble_begins_and_one_when_it_ends(
    installation: Installation, hook: Hook
) -> None:
    alerts = notifier(installation, hook)
    await alerts.look()
    assert (hook.told, hook.pings) == ([], 1)
    await relay_is(installation, DOWN)
    for _ in range(3):
        await alerts.look()
    async with installation.database.write() as connection:
        await pause_sending(connection, "clock-jumped", NOW)
    await notifier(installation, hook).look()  # restarted: it knows what was told
    assert hook.events == [("relay", "begins"), ("held", "begins")]
    await relay_is(installation, None)
    async with installation.database.write() as connection:
        await end_sending_pause(connection)
    await alerts.look()
    assert hook.events[2:] == [("held", "ended"), ("relay", "ended")]
    assert hook.pings == 2, "nobody is told that all is well while it is not"
    assert hook.told[0]["text"].startswith("Kindness: the relay takes no mail")
    assert "@" not in json.dumps(hook.told)


async def test_an_outage_of_the_database_is_reported_although_it_cannot_be_queued(
    installation: Installation, hook: Hook
) -> None:
    alerts = notifier(installation, hook)
    installation.database.outages.begin("tick", OSError(28, "No space left on device"))
    for _ in range(2):
        await alerts.look()
    assert hook.events == [("database", "begins")]
    assert hook.told[0]["text"] == "Kindness: the disk is full: make space on it"
    assert hook.pings == 0, "nobody is told that all is well while it is not"
    installation.database.outages.end("tick")
    for _ in range(2):
        await alerts.look()
    assert hook.events[1:] == [("database", "ended")]
    assert hook.pings == 2


async def test_mail_that_could_be_sent_but_is_not_is_late_and_mail_that_is_not_due_is_not(
    installation: Installation, hook: Hook
) -> None:
    alerts = notifier(installation, hook)
    installation.clock.pass_until(datetime(2026, 11, 5, 8, 30, tzinfo=UTC))
    await installation.planner.tick()
    await alerts.look()
    assert hook.told == []
    installation.clock.pass_until(datetime(2026, 11, 5, 9, 16, tzinfo=UTC))
    await alerts.look()
    assert hook.events == [("late", "begins")]
    assert "mail is late" in await unready(installation.database, installation.clock.now())
    await installation.dispatcher.send_due()
    await alerts.look()
    assert hook.events[1:] == [("late", "ended")]


async def test_an_invitation_that_was_due_before_the_first_start_raises_no_alert(
    hook: Hook, tmp_path: Path
) -> None:
    async with open_installation(tmp_path, datetime(2026, 11, 16, tzinfo=UTC)) as installation:
        await installation.join(("Ann", "Europe/London"))
        await installation.planner.tick()
        await notifier(installation, hook).look()
        assert set((await installation.states(kind="invitation")).values()) == {"queued"}
    assert hook.told == []


async def test_an_alert_that_cannot_be_delivered_is_retried_in_order(
    installation: Installation, hook: Hook
) -> None:
    alerts = notifier(installation, hook)
    hook.answers = [500, 302]  # a redirected POST becomes a GET without its body
    await relay_is(installation, DOWN)
    await alerts.look()
    await alerts.look()
    assert hook.answers == [302], "not before its time"
    await relay_is(installation, None)
    installation.clock.pass_(timedelta(seconds=31))
    await alerts.look()
    assert (hook.told, hook.answers) == ([], [])
    installation.clock.pass_(timedelta(seconds=61))
    await alerts.look()
    assert hook.events == [("relay", "begins"), ("relay", "ended")]


async def test_a_webhook_that_does_not_answer_delays_nothing(installation: Installation, hook: Hook) -> None:
    alerts = notifier(installation, hook)
    hook.server.server_close()
    await relay_is(installation, DOWN)
    await alerts.look()
    async with installation.database.read() as connection:
        assert [
            alert["attempts"] for alert in await service_state.read(connection, service_state.ALERTS)
        ] == [1]


async def test_a_relay_outage_noted_by_a_killed_process_ends_with_the_next_mail(
    installation: Installation, hook: Hook
) -> None:
    await relay_is(installation, DOWN)
    await notifier(installation, hook).look()
    installation.restart()
    installation.clock.pass_until(datetime(2026, 11, 5, 9, tzinfo=UTC))
    await installation.tick()
    assert await installation.states() == {"Ann": "sent"}
    await notifier(installation, hook).look()
    assert hook.events == [("relay", "begins"), ("relay", "ended")]
