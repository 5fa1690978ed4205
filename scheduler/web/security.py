"""ASGI middleware for every request: security headers, the size of the body, and a log line without tokens."""

import re
from collections.abc import Callable
from urllib.parse import quote

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scheduler.domain.clock import Clock

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
    """Refuse a request whose Content-Length is more than `largest` bytes with the page of `refuse`, without reading it.

    The framework also counts the bytes that arrive, but its own refusal is two words of plain text.
    """

    def __init__(self, app: ASGIApp, *, largest: int, refuse: Callable[[Request], Response]) -> None:
        self._app = app
        self._largest = largest
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        length = Headers(scope=scope).get("content-length", "") if scope["type"] == "http" else ""
        too_large = length.isascii() and length.isdigit() and int(length[:20]) > self._largest
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


class RequestLog:
    """Log each request to `app` by the pattern of its route, because paths contain tokens."""

    def __init__(self, app: ASGIApp, *, clock: Clock) -> None:
        self._app = app
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = self._clock.monotonic(), 500

        async def send_and_note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_note_status)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            if status >= 500 or route not in _UNLOGGED:
                method = scope["method"] if scope["method"] in _METHODS else "other"
                milliseconds = round((self._clock.monotonic() - started) * 1000)
                log.info("request", method=method, route=route, status=status, milliseconds=milliseconds)
