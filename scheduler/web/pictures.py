"""Pictures over HTTP: cached by browsers, and sent again only if they have changed."""

from collections.abc import Mapping
from hashlib import sha256

from starlette.requests import Request
from starlette.responses import Response

SAFE_SVG = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox"}
"""An SVG file may contain scripts and load other files; these rules prevent both if it is opened by itself."""

_AN_HOUR = {"Cache-Control": "public, max-age=3600", "Cross-Origin-Resource-Policy": "cross-origin"}
"""Other sites may show our pictures beside a link to us."""


def picture_response(
    request: Request, content: bytes, media_type: str, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a picture that everybody may see, or 304 if the browser has it."""
    etag = f'"{sha256(content).hexdigest()[:32]}"'
    headers = {**_AN_HOUR, "ETag": etag, **(headers or {})}
    if is_current(request, etag):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=media_type, headers=headers)


def is_current(request: Request, etag: str) -> bool:
    """Return whether the browser has a copy with this ETag."""
    etags = request.headers.get("if-none-match", "").split(",")
    return etag in (known.strip().removeprefix("W/") for known in etags)
