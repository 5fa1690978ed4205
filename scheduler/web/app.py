"""The web application: its routes, its middleware and its error pages."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from pathlib import Path

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from scheduler.delivery.compose.message_writer import MessageWriter
from scheduler.domain.clock import Clock
from scheduler.domain.community import Community
from scheduler.domain.occurrence import Series
from scheduler.domain.policy import Policy
from scheduler.domain.token import Keys
from scheduler.domain.translation import N_
from scheduler.domain.visitor import NO_NETWORKS, Networks
from scheduler.service.form_limits import DEFAULT_LIMITS, FormLimits
from scheduler.service.photo_decoder import PhotoDecoder
from scheduler.service.retention import Retention
from scheduler.service.where_we_are import FRESH as COUNTRIES_FRESH
from scheduler.store.database import OUTAGES, Database
from scheduler.store.outage import is_outage, outage_of
from scheduler.web.brand import Logo
from scheduler.web.console.home import FIGURES_FRESH
from scheduler.web.console.kept import Kept
from scheduler.web.console.meetings import PLACES_FRESH
from scheduler.web.console.members import DUPLICATES_FRESH
from scheduler.web.console.numbers import NUMBERS_FRESH
from scheduler.web.feed_cache import FeedCache
from scheduler.web.forms import largest_body
from scheduler.web.metrics import Metrics
from scheduler.web.response_cache import ResponseCache
from scheduler.web.routes import ENTRIES
from scheduler.web.security import (
    REQUEST_ID,
    BodySizeLimit,
    RateLimiter,
    RequestLog,
    SameOrigin,
    SecurityHeaders,
    Trace,
    TrimmedLinks,
    add_security_headers,
    request_id,
    untraced,
)
from scheduler.web.sharing import CardPictures, draw_community_picture
from scheduler.web.site import PRIVATE, Site, read_templates, render_page, say, site_of

log = structlog.get_logger()

_PROBLEMS = {
    400: (
        N_("We did not receive the whole form"),
        N_("Nothing has been changed. Go back to the page and press the button again."),
    ),
    404: (
        N_("Page not found"),
        N_("Check that the address is correct. The page may also have been removed."),
    ),
    405: (N_("You cannot do this here"), N_("You can only view this page.")),
    413: (
        N_("The form is too long"),
        N_("Nothing has been changed. You need to go back, write less, and send it again."),
    ),
    500: (
        N_("Sorry, there is a problem with our service"),
        N_("We have recorded the problem. Try again in a few minutes."),
    ),
    503: (
        N_("Sorry, the service is unavailable"),
        N_(
            "We cannot reach our database at the moment. Nothing has been changed. Try again in a few minutes."
        ),
    ),
}


async def no_faults() -> list[str]:
    """Report no faults: the default where no other process sends mail."""
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
    hold: timedelta = timedelta(minutes=2),
    rate: float = 0,
    logo: Logo | None = None,
    message_writer: MessageWriter,
    metrics: Metrics | None = None,
    shows_outbox: bool = False,
    trusted_proxies: Networks = NO_NETWORKS,
    form_limits: FormLimits = DEFAULT_LIMITS,
    sender_faults: Callable[[], Awaitable[list[str]]] = no_faults,
    trace: Trace = untraced,
) -> Starlette:
    """Return the web application of `community`.

    `templates` is the folder of the page templates and of the static files. `metrics` answers /metrics, if given.
    `trusted_proxies` are the networks whose X-Forwarded-For and Forwarded headers are believed. `trace`
    returns a span for each request. Site documents the other parts.
    """
    site = Site(
        community=community,
        series=series,
        policies=policies,
        database=database,
        clock=clock,
        keys=keys,
        outbox=outbox,
        templates=read_templates(templates),
        logo=logo,
        retention=retention,
        admits=admits,
        embedded_by=embedded_by,
        hold=hold,
        rate=rate,
        feed_cache=FeedCache(database, series, community, keys=keys, clock=clock, started=clock.now()),
        rate_limiter=RateLimiter(database, clock, keys, limits=form_limits, trusted=trusted_proxies),
        photo_decoder=PhotoDecoder(),
        shows_outbox=shows_outbox,
        message_writer=message_writer,
        sender_faults=sender_faults,
    )
    app = Starlette(
        routes=[*_routes(templates / "static"), *([Route("/metrics", metrics.show)] if metrics else [])],
        middleware=[
            Middleware(ResponseCache, feed_cache=site.feed_cache, language=community.language),
            Middleware(TrimmedLinks),
            Middleware(RequestLog, clock=clock, trace=trace),
            Middleware(SecurityHeaders, https=community.base_url.startswith("https:")),
            Middleware(SameOrigin, base_url=community.base_url, refuse=_from_another_site),
            Middleware(BodySizeLimit, largest=largest_body, refuse=_too_large),
        ],
        exception_handlers={
            HTTPException: _http_error,
            Exception: _internal_error,
            **dict.fromkeys(OUTAGES, _database_outage),
        },
    )
    # Redirects would go to whatever host the request names.
    app.router.redirect_slashes = False
    app.state.site = site
    app.state.figures = Kept(FIGURES_FRESH)
    app.state.duplicates = Kept(DUPLICATES_FRESH)
    app.state.numbers = Kept(NUMBERS_FRESH)
    app.state.countries = Kept(COUNTRIES_FRESH)
    app.state.card_pictures = CardPictures()
    app.state.places = {each.slug: Kept(PLACES_FRESH) for each in series}
    return app


async def prepare(app: Starlette) -> None:
    """Draw the community's picture and compile the templates, in a thread, so that the first visitors need not wait."""
    site = app.state.site
    await draw_community_picture(app.state.card_pictures, site)
    for name in site.templates.list_templates(extensions=["html"]):
        await asyncio.to_thread(site.templates.get_template, name)


def _routes(static: Path) -> list[BaseRoute]:
    async def favicon(_: Request) -> Response:
        return FileResponse(static / "favicon.svg", media_type="image/svg+xml")

    return [
        *(entry.route() for entry in ENTRIES),
        Route("/favicon.ico", favicon),
        Mount("/static", GZipMiddleware(StaticFiles(directory=static))),
    ]


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _problem(
        request,
        error.status_code,
        headers=error.headers,
        words=_PROBLEMS.get(error.status_code, (error.detail, "")),
    )


def _problem(
    connection: HTTPConnection,
    status: int,
    *,
    headers: Mapping[str, str] | None = None,
    words: tuple[str, str] | None = None,
    **values: object,
) -> Response:
    """Return the page that says what went wrong: a heading, and what to do."""
    heading, advice = words or _PROBLEMS[status]
    return render_page(
        connection,
        "problem.html",
        status=status,
        headers=headers,
        heading=say(connection, heading),
        words=say(connection, advice) if advice else "",
        **values,
    )


def _from_another_site(request: HTTPConnection) -> Response:
    words = (
        N_("This request came from another website"),
        N_("Nothing has been changed. Open the page on our website and press the button there."),
    )
    return _problem(request, 403, headers={"Cache-Control": "no-store"}, words=words)


def _too_large(request: Request) -> Response:
    return _problem(request, 413, headers=PRIVATE)


async def _database_outage(request: Request, error: Exception) -> Response:
    """Answer 503 during a database outage. Other errors of the database are raised again."""
    if not is_outage(error):
        raise error
    log.error(
        "request-failed",
        route=getattr(request.scope.get("route"), "path", "none"),
        problem=outage_of(error).words,
    )
    return _problem(request, 503, headers={"Retry-After": "60"})


async def _internal_error(request: Request, error: Exception) -> Response:
    log.error(
        "request-failed",
        route=getattr(request.scope.get("route"), "path", "none"),
        error=type(error).__name__,
    )
    number = request_id()
    response = _problem(request, 500, request_id=number)
    # This response does not pass through the middleware.
    response.headers[REQUEST_ID] = number
    add_security_headers(response.headers, https=site_of(request).community.base_url.startswith("https:"))
    return response
