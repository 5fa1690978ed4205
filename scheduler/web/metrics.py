"""Health checks, and metrics in the Prometheus text format."""

import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from scheduler.service.health import ServiceHealth, health, unready
from scheduler.web.site import site

STATES = ("queued", "sending", "sent", "failed", "expired", "withdrawn", "skipped")
REASONS = ("address", "mailbox", "policy", "refused", "unsent")


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """`collect` asks the process that sends what it counts; who knows `token` may see it, with "" nobody."""

    collect: Callable[[], Awaitable[bytes]]
    token: str

    async def show(self, request: Request) -> Response:
        """The counts, for who gives the token."""
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not self.token or not hmac.compare_digest(given.encode(), self.token.encode()):
            raise HTTPException(404)
        return await self.show_all(request)

    async def show_all(self, request: Request) -> Response:
        """The counts of the process that sends, and those of the ledger's open notices, for whoever asks."""
        here = site(request)
        now = here.clock.now()
        found = await health(here.database, now)
        last_tick = (now - found.last_tick).total_seconds() if found.last_tick else None
        waited = (now - found.oldest_waiting).total_seconds() if found.oldest_waiting else 0
        fails = bool(found.unwritable or await here.sender_faults())
        numbers = {
            "lag_seconds": ("How far sending is behind what it may send.", found.lag(now).total_seconds()),
            "oldest_waiting_seconds": ("Since when the longest waiting mail has been due.", waited),
            "held": ("1 while sending is held.", float(found.hold is not None)),
            "database_fails": (
                "1 while something cannot be written.",
                float(fails),
            ),
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
        body = await self.collect() + generate_latest(registry)
        return Response(body, headers={"Content-Type": CONTENT_TYPE_LATEST, "Cache-Control": "no-store"})

    def listener(self, site: object) -> Starlette:
        """What answers on a listener of its own: /metrics for whoever reaches it, and nothing else."""
        app = Starlette(routes=[Route("/metrics", self.show_all)])
        app.state.site = site
        return app


def _count(registry: CollectorRegistry, found: ServiceHealth) -> None:
    for name, words, label, known, counts in (
        ("deliveries", "Deliveries of open notices, by state.", "state", STATES, found.deliveries),
        (
            "failures",
            "Failed deliveries of open notices, by what was wrong.",
            "reason",
            REASONS,
            found.failures,
        ),
        ("members", "Members, by status.", "status", (), found.members),
    ):
        gauge = Gauge(f"third_thursday_{name}", words, [label], registry=registry)
        for value in dict.fromkeys([*known, *counts]):
            gauge.labels(value).set(counts.get(value, 0))


_UNKEPT = {"Cache-Control": "no-store"}


async def alive(_: Request) -> Response:
    """200 as long as the process answers."""
    return PlainTextResponse("alive\n", headers=_UNKEPT)


async def ready(request: Request) -> Response:
    """200 where all is well; 503 with the reasons where it is not."""
    here = site(request)
    # One after the other: each has a time limit of its own.
    reasons = await unready(here.database, here.clock.now())
    reasons = list(dict.fromkeys([*reasons, *await here.sender_faults()]))
    answer = {"ready": not reasons, "reasons": reasons}
    return JSONResponse(answer, status_code=503 if reasons else 200, headers=_UNKEPT)
