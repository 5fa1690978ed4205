"""The HTML of a mail in a frame of a page, where it cannot run, load or send anything."""

from starlette.responses import HTMLResponse

from scheduler.web.site import PRIVATE

# A mail brings its own styles; nothing else in it may run or load.
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'self'; sandbox"
)


def mail_response(html: str, *, sandbox: str = "") -> HTMLResponse:
    """Return the HTML of a mail. Its links open in a new window, if the rules of `sandbox` allow that at all."""
    content = html.replace("<head>", '<head><base target="_blank">', 1)
    policy = f"{_POLICY} {sandbox}".strip()
    return HTMLResponse(content, headers={**PRIVATE, "Content-Security-Policy": policy})
