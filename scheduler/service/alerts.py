"""Telling whoever looks after the service of a trouble: once when it begins, once when it ends, never by mail."""

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
FIRST_RETRY = timedelta(seconds=30)
LONGEST_RETRY = timedelta(minutes=15)
# While one sender calls, no other does.
TAKEN = timedelta(seconds=30)
MOST_KEPT = 50


class AlertNotifier:
    """Compares what is wrong with what was, and calls the webhook. All of it is kept in the database: an alert outlives
    a restart, and of several `serve` one alone rings. Only of the database itself each tells what it sees."""

    def __init__(
        self, database: Database, clock: Clock, *, community: str, webhook: str, ping: str, late: timedelta
    ) -> None:
        self._database = database
        self._clock = clock
        self._community = community
        self._webhook = webhook
        self._ping = ping
        self._late = late
        self._faults = ""
        self._next_call = -math.inf

    @property
    def has_news(self) -> bool:
        """Whether to `look` soon, since the database has begun or ceased to fail."""
        known = bool(self._database.outages.current) == bool(self._faults)
        return bool(self._webhook) and not known and self._clock.monotonic() >= self._next_call

    async def look(self) -> None:
        """After a tick: note what began and ended, tell it, and tell the dead-man's switch where nothing is wrong."""
        now = self._clock.now()
        await self._tell_faults(now)
        async with self._database.tick() as connection:
            wrong = await troubles(connection, now, late=self._late)
            await self._note(connection, wrong, now)
        await self._tell()
        well = not wrong and not self._database.outages.current
        if self._ping and well and (fault := await _call(self._ping)):
            log.warning("ping-failed", error=fault)

    async def _tell_faults(self, now: datetime) -> None:
        """Of a database that fails it is told from here, since nothing can be kept in it: when that begins and ends."""
        if not self.has_news:
            return
        words = "; ".join(map(str, self._database.outages.current))
        self._next_call = self._clock.monotonic() + FIRST_RETRY.total_seconds()
        told = {
            "trouble": "database",
            "event": "begins" if words else "ended",
            "text": f"{self._community}: {words or f'it is over: {self._faults}'}",
            "at": now.isoformat(),
        }
        if fault := await _call(self._webhook, json.dumps(told).encode()):
            log.warning("alert-failed", trouble="database", error=fault)
            return
        self._faults, self._next_call = words, -math.inf

    async def _note(self, connection: AsyncConnection, wrong: Mapping[str, str], now: datetime) -> None:
        was: dict[str, str] = await service_state.read(connection, service_state.TROUBLES) or {}
        begun, ended = wrong.keys() - was.keys(), was.keys() - wrong.keys()
        if not begun and not ended:
            if wrong.get("told") != was.get("told"):
                # Its numbers fall as members are told; `/readyz` shows them.
                await service_state.write(connection, service_state.TROUBLES, dict(wrong))
            return
        news = [(kind, "begins", wrong[kind]) for kind in sorted(begun)]
        news += [(kind, "ended", f"it is over: {was[kind]}") for kind in sorted(ended)]
        for kind, event, _ in news:
            (log.error if event == "begins" else log.info)(f"trouble-{event}", trouble=kind)
        await service_state.write(connection, service_state.TROUBLES, dict(wrong) or None)
        if self._webhook:
            kept = await service_state.read(connection, service_state.ALERTS) or []
            for kind, event, words in news:
                kept.append(
                    {
                        "trouble": kind,
                        "event": event,
                        "text": f"{self._community}: {words}",
                        "at": now.isoformat(),
                        "next_try": now.isoformat(),
                        "attempts": 0,
                    }
                )
            await service_state.write(connection, service_state.ALERTS, kept[-MOST_KEPT:])

    async def _tell(self) -> None:
        """Call the webhook for what is to be told now, in its order; what fails is tried again after a while."""
        while self._webhook and (alert := await self._take()):
            told = {name: alert[name] for name in ("trouble", "event", "text", "at")}
            if fault := await _call(self._webhook, json.dumps(told).encode()):
                log.warning("alert-failed", trouble=alert["trouble"], attempts=alert["attempts"], error=fault)
                return
            async with self._database.tick() as connection:
                kept = await service_state.read(connection, service_state.ALERTS) or []
                await service_state.write(
                    connection, service_state.ALERTS, [one for one in kept if one != alert] or None
                )

    async def _take(self) -> dict[str, Any] | None:
        """The first alert, if its time has come; it is then nobody else's for a while, or until its next try."""
        now = self._clock.now()
        async with self._database.tick() as connection:
            kept = await service_state.read(connection, service_state.ALERTS) or []
            if not kept or datetime.fromisoformat(kept[0]["next_try"]) > now:
                return None
            first: dict[str, Any] = kept[0]
            pause = min(FIRST_RETRY * 2 ** min(first["attempts"], 10), LONGEST_RETRY)
            first["attempts"] += 1
            first["next_try"] = (now + max(pause, TAKEN)).isoformat()
            await service_state.write(connection, service_state.ALERTS, kept)
            return first


async def _call(url: str, body: bytes | None = None) -> str:
    """POST `body`, or GET without one; empty where it was taken, else what went wrong, in a word or a code."""

    def call() -> str:
        headers = {"User-Agent": "third-thursday"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        # The settings let http and https through, nothing else.
        request = urllib.request.Request(url, data=body, headers=headers)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=LONGEST_CALL):  # noqa: S310
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
