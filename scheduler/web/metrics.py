"""How the service is, in Prometheus's text format: for a scraper on this machine, or one that knows the token."""

import hmac
from dataclasses import dataclass

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from scheduler.domain.link import is_loopback
from scheduler.service.watching import Health, health
from scheduler.web.outbox import is_direct
from scheduler.web.site import site

STATES = ("queued", "sending", "sent", "failed", "expired", "withdrawn", "skipped")
REASONS = ("address", "mailbox", "policy", "refused", "unsent")


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """What this process counts, and the token that lets others than loopback see it; "" lets nobody."""

    registry: CollectorRegistry
    token: str

    async def show(self, request: Request) -> Response:
        """The counts of this process, and those of the ledger's open notices."""
        if not self._may_see(request):
            raise HTTPException(404)
        here = site(request)
        now = here.clock.now()
        found = await health(here.database, now)
        last_tick = (now - found.last_tick).total_seconds() if found.last_tick else None
        waited = (now - found.oldest_waiting).total_seconds() if found.oldest_waiting else 0
        numbers = {
            "lag_seconds": ("How far sending is behind what it may send.", found.lag(now).total_seconds()),
            "oldest_waiting_seconds": ("Since when the longest waiting mail has been due.", waited),
            "held": ("1 while sending is held.", float(found.hold is not None)),
            "database_fails": ("1 while something cannot be written.", float(bool(found.unwritable))),
            "relay_down": ("1 while the relay takes no mail.", float(bool(found.relay))),
            "suppressed_members": ("Members whose addresses send mail back.", float(found.suppressed)),
            "returns_to_review": ("What came back and waits for a look.", float(found.to_review)),
            "last_tick_seconds": ("Since the last tick; NaN before the first.", last_tick),
        }
        registry = CollectorRegistry()
        for name, (words, value) in numbers.items():
            gauge = Gauge(f"third_thursday_{name}", words, registry=registry)
            gauge.set(float("nan") if value is None else value)
        _count(registry, found)
        body = generate_latest(self.registry) + generate_latest(registry)
        return Response(body, headers={"Content-Type": CONTENT_TYPE_LATEST, "Cache-Control": "no-store"})

    def _may_see(self, request: Request) -> bool:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if self.token and hmac.compare_digest(given.encode(), self.token.encode()):
            return True
        return is_loopback(request.client.host if request.client else "") and is_direct(request)


def _count(registry: CollectorRegistry, found: Health) -> None:
    for name, words, label, known, counts in (
        ("deliveries", "Deliveries of open notices, by state.", "state", STATES, found.deliveries),
        ("failures", "Failed deliveries of open notices, by what was wrong.", "reason", REASONS, found.failures),
        ("members", "Members, by status.", "status", (), found.members),
    ):  # fmt: skip
        gauge = Gauge(f"third_thursday_{name}", words, [label], registry=registry)
        for value in dict.fromkeys([*known, *counts]):
            gauge.labels(value).set(counts.get(value, 0))
