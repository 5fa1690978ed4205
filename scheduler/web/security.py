"""What holds for every answer: the headers that keep a browser safe, and a line in the log that names no token."""

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
_HEADERS = {
    "Content-Security-Policy": PAGE_POLICY,
    "Cache-Control": "no-cache",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
_BEHIND_A_LINK = " \t\r\n/.,;:!?)]}>*_|\\'\"`’”“»›…。，、；：！？）】》」』"
_BEHIND_A_QUERY = re.compile(
    b"(?:%s)+$"
    % b"|".join(re.escape(one.encode()) for char in _BEHIND_A_LINK for one in {char, quote(char, safe="")}),
    re.IGNORECASE,
)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_UNTOLD = frozenset({"/healthz", "/readyz", "/static"})


def harden(headers: MutableHeaders, *, https: bool) -> None:
    """Add the headers that an answer lacks; what it says itself stays."""
    for name, value in _HEADERS.items():
        headers.setdefault(name, value)
    if https:
        headers.setdefault("Strict-Transport-Security", "max-age=31536000")


class Hardening:
    """Hardens every answer of `app`."""

    def __init__(self, app: ASGIApp, *, https: bool) -> None:
        self._app = app
        self._https = https

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def hardened(message: Message) -> None:
            if message["type"] == "http.response.start":
                harden(MutableHeaders(scope=message), https=self._https)
            await send(message)

        await self._app(scope, receive, hardened if scope["type"] == "http" else send)


class LargestBody:
    """Answers a request that announces a body of more than `octets` by the page of `refuse`, before reading it.

    The framework counts what arrives, but would refuse this one with two words of plain text.
    """

    def __init__(self, app: ASGIApp, *, octets: int, refuse: Callable[[Request], Response]) -> None:
        self._app = app
        self._octets = octets
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        length = Headers(scope=scope).get("content-length", "") if scope["type"] == "http" else ""
        too_large = length.isascii() and length.isdigit() and int(length[:20]) > self._octets
        await (self._refuse(Request(scope)) if too_large else self._app)(scope, receive, send)


class Trimmed:
    """Answers for `app` where a mail program or a person took what stood behind a link for a part of it: a full stop, a
    closing bracket, a quotation mark, a slash. No path of ours ends with one, except `/` and names in the outbox."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not scope["path"].startswith("/outbox/"):
            path = scope["path"].rstrip(_BEHIND_A_LINK) or "/"
            query = _BEHIND_A_QUERY.sub(b"", scope["query_string"])
            scope = {**scope, "path": path, "query_string": query}
        await self._app(scope, receive, send)


class Journal:
    """Logs each request to `app` by its route's pattern: paths hold tokens."""

    def __init__(self, app: ASGIApp, *, clock: Clock) -> None:
        self._app = app
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = self._clock.monotonic(), 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            if status >= 500 or route not in _UNTOLD:
                method = scope["method"] if scope["method"] in _METHODS else "other"
                spent = round((self._clock.monotonic() - began) * 1000)
                log.info("request", method=method, route=route, status=status, milliseconds=spent)
