"""Refuses what another site makes a visitor's browser send: Origin and Sec-Fetch-Site, checked on every POST."""

from urllib.parse import urlsplit

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from scheduler.web.site import page, site

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_ONE_CLICK = "/u/"
"""Mail programs post there from wherever they run (RFC 8058); who knows the address may leave by it."""

_PORTS = {"http": 80, "https": 443}


class SameOrigin:
    """Lets a request that changes something reach `app` only from our own pages, or from what is no browser."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] != "http"
            or scope["method"] in _SAFE
            or scope["path"].startswith(_ONE_CLICK)
            or is_own(HTTPConnection(scope))
        ):
            await self._app(scope, receive, send)
            return
        answer = page(
            HTTPConnection(scope), "problem.html", status=403, headers={"Cache-Control": "no-store"},
            heading="That came from another website",
            words="Nothing was changed. Please open our page itself and press the button there.",
        )  # fmt: skip
        await answer(scope, receive, send)


def is_own(request: HTTPConnection) -> bool:
    """Whether nothing says that another site sent the request. All browsers of today name one of the two; what names
    neither is no browser, and cannot be led to act for somebody else."""
    sites, origins = request.headers.getlist("sec-fetch-site"), request.headers.getlist("origin")
    if any(one.strip().lower() not in ("same-origin", "none") for one in sites):
        return False
    # A page that names no referrer has the origin "null" for its own forms too: then the browser has to vouch for it.
    return all(_is_ours(request, one) or (one == "null" and bool(sites)) for one in origins)


def _is_ours(request: HTTPConnection, origin: str) -> bool:
    found = _parts(origin)
    if found is None:
        return False
    ours = _parts(site(request).community.base_url)
    if found == ours:
        return True
    scheme, host, _ = found
    if ours and ours[:2] == ("https", host) and scheme == "http":
        return False
    # Under another name or port of this server, as on this machine. Behind a proxy it does not know its scheme.
    return found == _parts(f"{scheme}://{request.headers.get('host', '')}")


def _parts(url: str) -> tuple[str, str, int] | None:
    """Scheme, host and port of an origin; None where it is none."""
    try:
        split = urlsplit(url)
        host, port = split.hostname, split.port or _PORTS.get(split.scheme)
    except ValueError:
        return None
    return (split.scheme, host, port) if host and port and split.scheme in _PORTS else None
