"""What protects the site: middleware for every request, and the rate limit on forms that send mail.

The middleware adds security headers, limits the size of the body, logs requests without tokens, and refuses what
another site makes a browser send: it checks Origin and Sec-Fetch-Site on every request that changes data.
"""

import re
import secrets
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol
from urllib.parse import quote, urlsplit

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bind_contextvars, get_contextvars

from scheduler.domain.clock import Clock
from scheduler.domain.token import Keys
from scheduler.domain.visitor import Networks, network_of
from scheduler.service.form_limits import FormLimits, allow_form
from scheduler.store.database import Database

log = structlog.get_logger()

PAGE_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; "
    "frame-src 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_SECURITY_HEADERS = {
    "Content-Security-Policy": PAGE_POLICY,
    "Cache-Control": "no-cache",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
_TRAILING_CHARACTERS = " \t\r\n/.,;:!?)]}>*_|\\'\"`’”“»›…。，、；：！？）】》」』"
_TRAILING_IN_QUERY = re.compile(
    b"(?:%s)+$"
    % b"|".join(
        re.escape(form.encode())
        for character in _TRAILING_CHARACTERS
        for form in {character, quote(character, safe="")}
    ),
    re.IGNORECASE,
)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_UNLOGGED = frozenset({"/healthz", "/readyz", "/static"})


def add_security_headers(headers: MutableHeaders, *, https: bool) -> None:
    """Add the security headers that a response does not set itself."""
    for name, value in _SECURITY_HEADERS.items():
        headers.setdefault(name, value)
    if https:
        headers.setdefault("Strict-Transport-Security", "max-age=31536000")


class SecurityHeaders:
    """Add security headers to every response of `app`."""

    def __init__(self, app: ASGIApp, *, https: bool) -> None:
        self._app = app
        self._https = https

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                add_security_headers(MutableHeaders(scope=message), https=self._https)
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)


class BodySizeLimit:
    """Refuse a request whose Content-Length is more than `largest` of its path, without reading it, with the page of
    `refuse`.

    The framework also counts the bytes that arrive, but its own refusal is two words of plain text.
    """

    def __init__(
        self, app: ASGIApp, *, largest: Callable[[str], int], refuse: Callable[[Request], Response]
    ) -> None:
        self._app = app
        self._largest = largest
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        length = Headers(scope=scope).get("content-length", "") if scope["type"] == "http" else ""
        too_large = length.isascii() and length.isdigit() and int(length[:20]) > self._largest(scope["path"])
        await (self._refuse(Request(scope)) if too_large else self._app)(scope, receive, send)


class TrimmedLinks:
    """Remove punctuation from the end of the path and query before `app` sees them.

    Mail programs and people often take the full stop, bracket, quotation mark or slash after a link for a part of it.
    No path of ours ends with one, except `/` and the names of emails in the outbox.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not scope["path"].startswith("/outbox/"):
            path = scope["path"].rstrip(_TRAILING_CHARACTERS) or "/"
            query = _TRAILING_IN_QUERY.sub(b"", scope["query_string"])
            scope = {**scope, "path": path, "query_string": query}
        await self._app(scope, receive, send)


REQUEST_ID = "X-Request-Id"


def request_id() -> str:
    """Return the id of the request that is being handled, or an empty string outside one."""
    return str(get_contextvars().get("request_id", ""))


class Span(Protocol):
    """What is recorded about a request; OpenTelemetry's span is one."""

    def update_name(self, name: str) -> object: ...

    def set_attributes(self, attributes: Mapping[str, str | int]) -> object: ...


Trace = Callable[[str], AbstractContextManager[Span | None]]
"""Begins a span with this name, or nothing."""


def untraced(_: str) -> AbstractContextManager[None]:
    """Begin nothing."""
    return nullcontext()


class RequestLog:
    """Log each request to `app` by the pattern of its route, because paths contain tokens, and put a span around it.

    Each gets a random id, which every line that is logged while it is handled carries, and the answer's X-Request-Id.
    No header of a client continues a trace.
    """

    def __init__(self, app: ASGIApp, *, clock: Clock, trace: Trace = untraced) -> None:
        self._app = app
        self._clock = clock
        self._trace = trace

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status, method = self._clock.monotonic(), 500, _method(scope)
        # Not unbound at the end: the page for an internal error is made after this. Each request is a task of its own.
        bind_contextvars(request_id=secrets.token_hex(6))

        async def send_and_note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID] = request_id()
            await send(message)

        with self._trace(method) as span:
            try:
                await self._app(scope, receive, send_and_note_status)
            finally:
                route = getattr(scope.get("route"), "path", "none")
                if span:
                    span.update_name(f"{method} {route}")
                    span.set_attributes(
                        {
                            "http.request.method": method,
                            "http.route": route,
                            "http.response.status_code": status,
                            "request_id": request_id(),
                        }
                    )
                if status >= 500 or route not in _UNLOGGED:
                    milliseconds = round((self._clock.monotonic() - started) * 1000)
                    log.info("request", method=method, route=route, status=status, milliseconds=milliseconds)


def _method(scope: Scope) -> str:
    method: str = scope["method"]
    return method if method in _METHODS else "other"


_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_ONE_CLICK_UNSUBSCRIBE = "/u/"
"""Mail programs post to these paths from any origin (RFC 8058); the token in the path is enough to leave."""

_DEFAULT_PORTS = {"http": 80, "https": 443}


class SameOrigin:
    """Let a request that changes data reach `app` only if it comes from our own pages, or not from a browser.

    `base_url` is the URL of our site. Other requests get the page of `refuse`.
    """

    def __init__(self, app: ASGIApp, *, base_url: str, refuse: Callable[[HTTPConnection], Response]) -> None:
        self._app = app
        self._base_url = base_url
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] != "http"
            or scope["method"] in _SAFE_METHODS
            or scope["path"].startswith(_ONE_CLICK_UNSUBSCRIBE)
            or is_same_origin(HTTPConnection(scope), self._base_url)
        ):
            await self._app(scope, receive, send)
            return
        await self._refuse(HTTPConnection(scope))(scope, receive, send)


def is_same_origin(request: HTTPConnection, base_url: str) -> bool:
    """Return whether no header says that a site other than that of `base_url` sent the request.

    All current browsers send Origin or Sec-Fetch-Site. A client that sends neither is not a browser, and another site
    cannot make it act for somebody else.
    """
    fetch_sites, origins = request.headers.getlist("sec-fetch-site"), request.headers.getlist("origin")
    if any(value.strip().lower() not in ("same-origin", "none") for value in fetch_sites):
        return False
    # A page without a referrer sends the origin "null" with its own forms too; Sec-Fetch-Site then says whose it is.
    return all(
        _is_ours(request, origin, base_url) or (origin == "null" and bool(fetch_sites)) for origin in origins
    )


def _is_ours(request: HTTPConnection, origin: str, base_url: str) -> bool:
    parts = _parts(origin)
    if parts is None:
        return False
    ours = _parts(base_url)
    if parts == ours:
        return True
    scheme, host, _ = parts
    if ours and ours[:2] == ("https", host) and scheme == "http":
        return False
    # The server may be used by another name or port, for example on this machine. Behind a proxy it does not know its
    # scheme.
    return parts == _parts(f"{scheme}://{request.headers.get('host', '')}")


def _parts(url: str) -> tuple[str, str, int] | None:
    """Return the scheme, host and port of an origin; None if the URL is not an origin."""
    try:
        split = urlsplit(url)
        host, port = split.hostname, split.port or _DEFAULT_PORTS.get(split.scheme)
    except ValueError:
        return None
    return (split.scheme, host, port) if host and port and split.scheme in _DEFAULT_PORTS else None


class RateLimiter:
    """Count in the database how many forms each network, and all visitors together, send in an hour."""

    def __init__(
        self, database: Database, clock: Clock, keys: Keys, *, limits: FormLimits, trusted: Networks
    ) -> None:
        self._database, self._clock, self._keys = database, clock, keys
        self._limits, self._trusted = limits, trusted

    async def allows(self, request: Request) -> bool:
        """Count a form that sends mail, and return whether this visitor may send it now."""
        visitor = network_of(self._trusted.visitor(request.scope))
        return await allow_form(
            self._database, visitor, keys=self._keys, limits=self._limits, now=self._clock.now()
        )
