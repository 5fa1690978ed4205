"""Alert the operators by webhook, never by mail, when a trouble begins and when it ends.

`health.troubles` decides what counts as trouble.
"""

import asyncio
import json
import math
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.clock import Clock
from scheduler.service.health import troubles
from scheduler.store import service_state
from scheduler.store.database import Database

log = structlog.get_logger()

LONGEST_CALL = 10.0
"""Seconds."""
FIRST_RETRY = timedelta(seconds=30)
LONGEST_RETRY = timedelta(minutes=15)
CLAIMED_FOR = timedelta(seconds=30)
"""How long an alert belongs to the `serve` that is sending it; no other sends it meanwhile."""

MOST_QUEUED = 50


class AlertNotifier:
    """Compares the present troubles with the former ones, and calls the webhook for each change.

    Alerts are queued in the database: they survive a restart, and only one of several `serve` sends each. An outage of
    the database itself is reported by every `serve` that sees it.
    """

    def __init__(
        self, database: Database, clock: Clock, *, community: str, webhook: str, ping: str, late: timedelta
    ) -> None:
        self._database = database
        self._clock = clock
        self._community = community
        self._webhook = webhook
        self._ping = ping
        self._late = late
        self._reported_outage = ""
        self._next_call = -math.inf

    @property
    def has_news(self) -> bool:
        """Return whether the database has begun or stopped failing, so that `look` should be called soon."""
        reported = bool(self._database.outages.current) == bool(self._reported_outage)
        return bool(self._webhook) and not reported and self._clock.monotonic() >= self._next_call

    async def look(self) -> None:
        """Send alerts for what began and ended since the last look, and call the ping URL if nothing is wrong.

        Call it after each tick.
        """
        now = self._clock.now()
        await self._report_outage(now)
        async with self._database.tick() as connection:
            present = await troubles(connection, now, late=self._late)
            await self._queue_alerts(connection, present, now)
        await self._send_alerts()
        well = not present and not self._database.outages.current
        if self._ping and well and (error := await _call(self._ping)):
            log.warning("ping-failed", error=error)

    async def _report_outage(self, now: datetime) -> None:
        """Report an outage of the database when it begins and ends; it cannot be queued in that database."""
        if not self.has_news:
            return
        words = "; ".join(map(str, self._database.outages.current))
        self._next_call = self._clock.monotonic() + FIRST_RETRY.total_seconds()
        alert = {
            "trouble": "database",
            "event": "begins" if words else "ended",
            "text": f"{self._community}: {words or f'it is over: {self._reported_outage}'}",
            "at": now.isoformat(),
        }
        if error := await _call(self._webhook, json.dumps(alert).encode()):
            log.warning("alert-failed", trouble="database", error=error)
            return
        self._reported_outage, self._next_call = words, -math.inf

    async def _queue_alerts(
        self, connection: AsyncConnection, present: Mapping[str, str], now: datetime
    ) -> None:
        former: dict[str, str] = await service_state.read(connection, service_state.TROUBLES) or {}
        begun, ended = present.keys() - former.keys(), former.keys() - present.keys()
        if not begun and not ended:
            if present.get("told") != former.get("told"):
                # Its numbers go down as members are told; `/readyz` shows them.
                await service_state.write(connection, service_state.TROUBLES, dict(present))
            return
        news = [(kind, "begins", present[kind]) for kind in sorted(begun)]
        news += [(kind, "ended", f"it is over: {former[kind]}") for kind in sorted(ended)]
        for kind, event, _ in news:
            (log.error if event == "begins" else log.info)(f"trouble-{event}", trouble=kind)
        await service_state.write(connection, service_state.TROUBLES, dict(present) or None)
        if self._webhook:
            queued = await service_state.read(connection, service_state.ALERTS) or []
            for kind, event, words in news:
                queued.append(
                    {
                        "trouble": kind,
                        "event": event,
                        "text": f"{self._community}: {words}",
                        "at": now.isoformat(),
                        "next_try": now.isoformat(),
                        "attempts": 0,
                    }
                )
            await service_state.write(connection, service_state.ALERTS, queued[-MOST_QUEUED:])

    async def _send_alerts(self) -> None:
        """Call the webhook for each alert that is due, in order; stop at one that fails, which is retried later."""
        while self._webhook and (alert := await self._claim()):
            body = {name: alert[name] for name in ("trouble", "event", "text", "at")}
            if error := await _call(self._webhook, json.dumps(body).encode()):
                log.warning("alert-failed", trouble=alert["trouble"], attempts=alert["attempts"], error=error)
                return
            async with self._database.tick() as connection:
                queued = await service_state.read(connection, service_state.ALERTS) or []
                await service_state.write(
                    connection,
                    service_state.ALERTS,
                    [waiting for waiting in queued if waiting != alert] or None,
                )

    async def _claim(self) -> dict[str, Any] | None:
        """Claim and return the first alert if it is due; no other `serve` sends it before its next try."""
        now = self._clock.now()
        async with self._database.tick() as connection:
            queued = await service_state.read(connection, service_state.ALERTS) or []
            if not queued or datetime.fromisoformat(queued[0]["next_try"]) > now:
                return None
            first: dict[str, Any] = queued[0]
            pause = min(FIRST_RETRY * 2 ** min(first["attempts"], 10), LONGEST_RETRY)
            first["attempts"] += 1
            first["next_try"] = (now + max(pause, CLAIMED_FOR)).isoformat()
            await service_state.write(connection, service_state.ALERTS, queued)
            return first


class _NoRedirectedAlert(urllib.request.HTTPRedirectHandler):
    """Follows redirects of a GET only: a POST would be repeated as a GET without its body, and the alert lost."""

    def redirect_request(self, req: urllib.request.Request, *reply: Any) -> urllib.request.Request | None:
        return super().redirect_request(req, *reply) if req.data is None else None


_opener = urllib.request.build_opener(_NoRedirectedAlert)


async def _call(url: str, body: bytes | None = None) -> str:
    """POST `body`, or GET without one. Return an empty string on success, else the HTTP status or the error's name."""

    def call() -> str:
        headers = {"User-Agent": "third-thursday"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        # The settings accept http and https URLs only.
        request = urllib.request.Request(url, data=body, headers=headers)  # noqa: S310
        try:
            with _opener.open(request, timeout=LONGEST_CALL):
                return ""
        except urllib.error.HTTPError as error:
            return str(error.code)
        except (OSError, ValueError) as error:
            return type(error).__name__

    try:
        async with asyncio.timeout(LONGEST_CALL * 2):
            return await asyncio.to_thread(call)
    except TimeoutError:
        return "TimeoutError"
