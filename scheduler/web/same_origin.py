"""Protection against cross-site requests: Origin and Sec-Fetch-Site are checked on every request that changes data."""

from urllib.parse import urlsplit

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from scheduler.web.site import render_page, site_of

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_ONE_CLICK_UNSUBSCRIBE = "/u/"
"""Mail programs post to these paths from any origin (RFC 8058); the token in the path is enough to leave."""

_DEFAULT_PORTS = {"http": 80, "https": 443}


class SameOrigin:
    """Let a request that changes data reach `app` only if it comes from our own pages, or not from a browser."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] != "http"
            or scope["method"] in _SAFE_METHODS
            or scope["path"].startswith(_ONE_CLICK_UNSUBSCRIBE)
            or is_same_origin(HTTPConnection(scope))
        ):
            await self._app(scope, receive, send)
            return
        response = render_page(
            HTTPConnection(scope),
            "problem.html",
            status=403,
            headers={"Cache-Control": "no-store"},
            heading="This request came from another website",
            words="Nothing has been changed. Open the page on our website and press the button there.",
        )
        await response(scope, receive, send)


def is_same_origin(request: HTTPConnection) -> bool:
    """Return whether no header says that another site sent the request.

    All current browsers send Origin or Sec-Fetch-Site. A client that sends neither is not a browser, and another site
    cannot make it act for somebody else.
    """
    fetch_sites, origins = request.headers.getlist("sec-fetch-site"), request.headers.getlist("origin")
    if any(value.strip().lower() not in ("same-origin", "none") for value in fetch_sites):
        return False
    # A page without a referrer sends the origin "null" with its own forms too; Sec-Fetch-Site then says whose it is.
    return all(_is_ours(request, origin) or (origin == "null" and bool(fetch_sites)) for origin in origins)


def _is_ours(request: HTTPConnection, origin: str) -> bool:
    parts = _parts(origin)
    if parts is None:
        return False
    ours = _parts(site_of(request).community.base_url)
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
