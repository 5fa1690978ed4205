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
from scheduler.store.schema import STATES
from scheduler.web.site import site_of

REASONS = ("address", "mailbox", "policy", "refused", "unsent")


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """The /metrics page. `collect` gets the metrics of the sending process; `token` protects the page, "" closes it."""

    collect: Callable[[], Awaitable[bytes]]
    token: str

    async def show(self, request: Request) -> Response:
        """Return the metrics to a client that sends the token; 404 to any other."""
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not self.token or not hmac.compare_digest(token.encode(), self.token.encode()):
            raise HTTPException(404)
        return await self.show_all(request)

    async def show_all(self, request: Request) -> Response:
        """Return the metrics of the process that sends, and those of the database, to any client."""
        site = site_of(request)
        now = site.clock.now()
        status = await health(site.database, now)
        since_last_tick = (now - status.last_tick).total_seconds() if status.last_tick else None
        waited = (now - status.oldest_waiting).total_seconds() if status.oldest_waiting else 0
        database_fails = bool(status.unwritable or await site.sender_faults())
        numbers = {
            "lag_seconds": ("Seconds that sending is late.", status.lag(now).total_seconds()),
            "oldest_waiting_seconds": ("Seconds since the longest waiting email was due.", waited),
            "held": ("1 while sending is paused.", float(status.pause is not None)),
            "database_fails": (
                "1 while something cannot be written.",
                float(database_fails),
            ),
            "relay_down": ("1 while the relay takes no mail.", float(bool(status.relay))),
            "backup_overdue": ("1 if no backup has succeeded for too long.", float(bool(status.unbacked))),
            "suppressed_members": ("Members whose addresses return our emails.", float(status.suppressed)),
            "returns_to_review": ("Returned emails that wait for a convenor.", float(status.to_review)),
            "last_tick_seconds": ("Seconds since the last tick; NaN before the first one.", since_last_tick),
        }
        registry = CollectorRegistry()
        for name, (description, value) in numbers.items():
            gauge = Gauge(f"third_thursday_{name}", description, registry=registry)
            gauge.set(float("nan") if value is None else value)
        _add_counts(registry, status)
        body = await self.collect() + generate_latest(registry)
        return Response(body, headers={"Content-Type": CONTENT_TYPE_LATEST, "Cache-Control": "no-store"})

    def listener(self, site: object) -> Starlette:
        """Return the application for a separate listener: it answers /metrics to any client, and nothing else."""
        app = Starlette(routes=[Route("/metrics", self.show_all)])
        app.state.site = site
        return app


def _add_counts(registry: CollectorRegistry, status: ServiceHealth) -> None:
    for name, description, label, known, counts in (
        ("deliveries", "Deliveries of open notices, by state.", "state", STATES, status.deliveries),
        (
            "failures",
            "Failed deliveries of open notices, by reason.",
            "reason",
            REASONS,
            status.failures,
        ),
        ("members", "Members, by status.", "status", (), status.members),
    ):
        gauge = Gauge(f"third_thursday_{name}", description, [label], registry=registry)
        for value in dict.fromkeys([*known, *counts]):
            gauge.labels(value).set(counts.get(value, 0))


_NO_STORE = {"Cache-Control": "no-store"}


async def alive(_: Request) -> Response:
    """Answer 200 as long as the process runs."""
    return PlainTextResponse("alive\n", headers=_NO_STORE)


async def ready(request: Request) -> Response:
    """Answer 200 if everything works, or 503 with the reasons if it does not."""
    site = site_of(request)
    # One after the other, because each has its own time limit.
    reasons = await unready(site.database, site.clock.now())
    reasons = list(dict.fromkeys([*reasons, *await site.sender_faults()]))
    body = {"ready": not reasons, "reasons": reasons}
    return JSONResponse(body, status_code=503 if reasons else 200, headers=_NO_STORE)
