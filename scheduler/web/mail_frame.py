"""The HTML of an email in a frame, where it brings its own styles and nothing else in it may run or load."""

from starlette.responses import HTMLResponse

from scheduler.web.site import PRIVATE

LINKS_OPEN = "allow-popups allow-popups-to-escape-sandbox"
"""The sandbox of a frame whose links open in a new window; with an empty one they do nothing."""

_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'self'; sandbox"
)


def framed(html: str, *, sandbox: str = "") -> HTMLResponse:
    """Return the HTML of an email for a frame with this sandbox."""
    html = html.replace("<head>", '<head><base target="_blank">', 1)
    return HTMLResponse(html, headers={**PRIVATE, "Content-Security-Policy": f"{_POLICY} {sandbox}".strip()})
