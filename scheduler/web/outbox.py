"""The mails of a Maildir as their readers see them: for somebody who tries the service on their own machine."""

import asyncio
from datetime import UTC
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import parseaddr
from pathlib import Path
from urllib.parse import quote, urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from scheduler.delivery.send.maildir import NoSuchMessage, read_message, read_outbox
from scheduler.delivery.send.transport import one_line
from scheduler.domain.address import is_loopback
from scheduler.web.site import PRIVATE, page, site

NEWEST = 500

_FORWARDED = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip")
# A mail brings its own styles, and nothing else of it may act. Its links open beside it.
_SANDBOX = "allow-popups allow-popups-to-escape-sandbox"
_MAIL_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; base-uri 'none'; "
    f"frame-ancestors 'self'; sandbox {_SANDBOX}"
)


def is_shown(request: Request) -> bool:
    """Whether the outbox may be seen: it is shown at all, there is a Maildir, and the browser is on this machine and
    means this machine (a web page elsewhere could give its own name this machine's address)."""
    peer = request.client.host if request.client else ""
    here = site(request)
    return here.shows_outbox and here.outbox is not None and is_loopback(peer) and is_direct(request)


def is_direct(request: Request) -> bool:
    """Whether a request means this machine by its own name, and came through no proxy."""
    relayed = any(name in request.headers for name in _FORWARDED)
    return is_loopback(_hostname(request.headers.get("host", ""))) and not relayed


def _hostname(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


async def mails(request: Request) -> Response:
    """The newest mails: who was told which hour."""
    found = await asyncio.to_thread(read_outbox, _folder(request), newest=NEWEST)
    rows = [
        {
            "url": f"/outbox/{quote(one.name)}",
            "name": parseaddr(one.to)[0] or one.recipient,
            "address": one.recipient,
            "subject": one.subject,
            "sent": f"{one.date.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if one.date else "",
        }
        for one in found
    ]
    return page(request, "outbox.html", headers=PRIVATE, mails=rows, more=len(rows) == NEWEST, newest=NEWEST)


async def mail(request: Request) -> Response:
    """One mail: its head, its text, its HTML in a frame, its calendar part."""
    message = _parsed(await _stored(request))
    url = f"/outbox/{quote(request.path_params['name'])}"
    heads = [
        (name, one_line(str(message[name]))) for name in ("From", "To", "Subject", "Date") if message[name]
    ]
    return page(
        request,
        "mail.html",
        headers=PRIVATE,
        heads=heads,
        subject=one_line(str(message["Subject"] or "")),
        text=_part(message, "text/plain"),
        calendar=_part(message, "text/calendar"),
        html_url=f"{url}/html" if _part(message, "text/html") else "",
        source_url=f"{url}/source",
        sandbox=_SANDBOX,
    )


async def html(request: Request) -> Response:
    """The HTML of a mail, to be looked at in a frame: it can run nothing, load nothing and send nothing."""
    found = _part(_parsed(await _stored(request)), "text/html")
    if not found:
        raise HTTPException(404)
    shown = found.replace("<head>", '<head><base target="_blank">', 1)
    return HTMLResponse(shown, headers={**PRIVATE, "Content-Security-Policy": _MAIL_POLICY})


async def source(request: Request) -> Response:
    """A mail as it is stored."""
    return PlainTextResponse((await _stored(request)).decode("utf-8", "replace"), headers=PRIVATE)


def _folder(request: Request) -> Path:
    folder = site(request).outbox
    if folder is None or not is_shown(request):
        raise HTTPException(404)
    return folder


async def _stored(request: Request) -> bytes:
    try:
        return await asyncio.to_thread(read_message, _folder(request), request.path_params["name"])
    except NoSuchMessage:
        raise HTTPException(404) from None


def _parsed(octets: bytes) -> EmailMessage:
    return message_from_bytes(octets, _class=EmailMessage, policy=policy.default)


def _part(message: EmailMessage, kind: str) -> str:
    """The text of the first part of a kind, or empty."""
    for part in message.walk():
        if part.get_content_type() == kind and not part.is_attachment():
            payload = part.get_payload(decode=True)
            assert isinstance(payload, bytes)
            try:
                return payload.decode(part.get_content_charset("utf-8"), "replace")
            except LookupError:
                return payload.decode("utf-8", "replace")
    return ""
