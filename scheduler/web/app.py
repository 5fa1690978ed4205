"""The web application: its routes, and what is told where one of them has no answer."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from scheduler.domain.clock import Clock
from scheduler.domain.community import Community
from scheduler.domain.occurrence import Series
from scheduler.domain.policy import Policy
from scheduler.domain.token import Keys
from scheduler.domain.visitor import NO_NETWORKS, Networks
from scheduler.service.form_limits import USUAL_LIMITS, FormLimits
from scheduler.service.retention import Retention
from scheduler.store.database import OUTAGES, Database
from scheduler.store.outage import is_outage, outage_of
from scheduler.web import account, feeds, join, links, member_page, outbox, public
from scheduler.web import metrics as metrics_page
from scheduler.web.feed_cache import FeedCache
from scheduler.web.forms import LARGEST_FORM
from scheduler.web.metrics import Metrics
from scheduler.web.rate_limit import RateLimiter
from scheduler.web.response_cache import ResponseCache
from scheduler.web.same_origin import SameOrigin
from scheduler.web.security import Hardening, Journal, LargestBody, Trimmed, harden
from scheduler.web.site import PRIVATE, Site, page, read_templates, site

log = structlog.get_logger()

_UNLISTED = ("/go/", "/u/", "/confirm/", "/rsvp/", "/me/", "/sign-in/", "/address/", "/subscribe/", "/outbox")
_ROBOTS = "User-agent: *\n" + "".join(f"Disallow: {path}\n" for path in _UNLISTED)
_WORDS = {
    400: (
        "That did not arrive whole",
        "Nothing was changed. Please go back to the page and press the button again.",
    ),
    404: ("There is no such page", "The address may be mistyped, or what stood here is gone."),
    405: ("That cannot be done here", "This page can only be looked at."),
    413: (
        "That was too much at once",
        "A form holds less than that, and nothing was changed. You need to go back, write less, and send it again.",
    ),
    500: ("Something went wrong on our side", "It has been noted. Please try again in a few minutes."),
    503: (
        "We cannot do that just now",
        "Our records are out of reach for a moment. Nothing was changed; please try again in a few minutes.",
    ),
}


async def no_faults() -> list[str]:
    """What another process would say, where there is none."""
    return []


def create_app(
    *,
    community: Community,
    series: tuple[Series, ...],
    policies: tuple[Policy, ...],
    database: Database,
    clock: Clock,
    keys: Keys,
    outbox: Path | None,
    templates: Path,
    retention: Retention,
    admits: bool,
    embedded_by: str,
    metrics: Metrics | None = None,
    shows_outbox: bool = False,
    trusted_proxies: Networks = NO_NETWORKS,
    form_limits: FormLimits = USUAL_LIMITS,
    sender_faults: Callable[[], Awaitable[list[str]]] = no_faults,
) -> Starlette:
    """The site of `community`. `outbox` is the Maildir that mail goes into, and with `shows_outbox` is shown to this
    machine; `templates` is the folder of pages and of the files that they refer to; `admits` lets in whoever confirms
    that they want to join, `embedded_by` names the sites whose pages may frame the card, `metrics` what /metrics tells,
    `trusted_proxies` who may say for whom they ask. `sender_faults` asks what fails in the process that sends."""
    here = Site(
        community=community,
        series=series,
        policies=policies,
        database=database,
        clock=clock,
        keys=keys,
        outbox=outbox,
        templates=read_templates(templates),
        retention=retention,
        admits=admits,
        embedded_by=embedded_by,
        shelf=FeedCache(database, series, community, keys=keys, clock=clock, started=clock.now()),
        pace=RateLimiter(database, clock, keys, limits=form_limits, trusted=trusted_proxies),
        shows_outbox=shows_outbox,
        sender_faults=sender_faults,
    )
    app = Starlette(
        routes=[*_routes(templates / "static"), *([Route("/metrics", metrics.show)] if metrics else [])],
        middleware=[
            Middleware(ResponseCache, shelf=here.shelf),
            Middleware(Trimmed),
            Middleware(Journal, clock=clock),
            Middleware(Hardening, https=community.base_url.startswith("https:")),
            Middleware(SameOrigin),
            Middleware(LargestBody, octets=LARGEST_FORM, refuse=_too_large),
        ],
        exception_handlers={
            HTTPException: _unanswered,
            Exception: _failed,
            **dict.fromkeys(OUTAGES, _out_of_reach),
        },
    )
    # It would redirect to whatever host the request names.
    app.router.redirect_slashes = False
    app.state.site = here
    return app


def _routes(static: Path) -> list[BaseRoute]:
    async def favicon(_: Request) -> Response:
        return FileResponse(static / "favicon.svg", media_type="image/svg+xml")

    return [
        Route("/", public.home),
        Route("/next", public.next_page),
        Route("/meetings/{series}/{date}.ics", feeds.meeting),
        Route("/meetings/{series}/{date}", public.meeting),
        Route("/archive", public.archive),
        Route("/calendar.ics", feeds.everything),
        Route("/calendar/{series}.ics", feeds.one_series),
        Route("/cal/{token}.ics", feeds.private),
        Route("/subscribe", feeds.everybody),
        Route("/subscribe/{token}", feeds.member, methods=["GET", "POST"], max_body_size=LARGEST_FORM),
        Route("/go/{token}/{series}/{date}", links.go),
        Route("/u/{token}", links.leave, methods=["GET", "POST"], max_body_size=LARGEST_FORM),
        Route("/rsvp/{token}", links.rsvp, methods=["GET", "POST"], max_body_size=LARGEST_FORM),
        Route("/join", join.join, methods=["GET", "POST"], max_body_size=LARGEST_FORM),
        Route("/confirm/{token}", join.confirm, methods=["GET", "POST"], max_body_size=LARGEST_FORM),
        Route("/embed/next", public.embed),
        Route("/me", account.ask, methods=["GET", "POST"], max_body_size=LARGEST_FORM),
        Route("/sign-in/{token}", account.sign_in, methods=["GET", "POST"], max_body_size=LARGEST_FORM),
        Route("/address/{token}", account.address, methods=["GET", "POST"], max_body_size=LARGEST_FORM),
        Route("/me/{token}", member_page.me, methods=["GET", "POST"], max_body_size=LARGEST_FORM),
        Route("/outbox", outbox.mails),
        Route("/outbox/{name}", outbox.mail),
        Route("/outbox/{name}/html", outbox.html),
        Route("/outbox/{name}/source", outbox.source),
        Route("/healthz", metrics_page.alive),
        Route("/readyz", metrics_page.ready),
        Route("/privacy", public.privacy),
        Route("/robots.txt", _robots),
        Route("/favicon.ico", favicon),
        Mount("/static", StaticFiles(directory=static)),
    ]


async def _robots(_: Request) -> Response:
    return PlainTextResponse(_ROBOTS)


async def _unanswered(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    heading, words = _WORDS.get(error.status_code, (error.detail, ""))
    return page(
        request, "problem.html", status=error.status_code, headers=error.headers, heading=heading, words=words
    )


def _too_large(request: Request) -> Response:
    heading, words = _WORDS[413]
    return page(request, "problem.html", status=413, headers=PRIVATE, heading=heading, words=words)


async def _out_of_reach(request: Request, error: Exception) -> Response:
    """The database does not do its part, and will again."""
    if not is_outage(error):
        raise error
    log.error(
        "request-failed",
        route=getattr(request.scope.get("route"), "path", "none"),
        problem=outage_of(error).words,
    )
    heading, words = _WORDS[503]
    return page(
        request, "problem.html", status=503, headers={"Retry-After": "60"}, heading=heading, words=words
    )


async def _failed(request: Request, error: Exception) -> Response:
    log.error(
        "request-failed",
        route=getattr(request.scope.get("route"), "path", "none"),
        error=type(error).__name__,
    )
    heading, words = _WORDS[500]
    response = page(request, "problem.html", status=500, heading=heading, words=words)
    # This answer passes none of the other middleware.
    harden(response.headers, https=site(request).community.base_url.startswith("https:"))
    return response
