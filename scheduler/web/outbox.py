"""The emails in a Maildir as their recipients see them, for trying out the service on one's own computer."""

import asyncio
from datetime import UTC
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import parseaddr
from pathlib import Path
from urllib.parse import quote, urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from scheduler.delivery.send.maildir import NoSuchMessage, read_message, read_outbox
from scheduler.delivery.send.transport import one_line
from scheduler.domain.address import is_loopback
from scheduler.web.mail_frame import LINKS_OPEN, framed
from scheduler.web.site import PRIVATE, render_page, site_of

NEWEST = 500

_PROXY_HEADERS = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip")


def is_shown(request: Request) -> bool:
    """Return whether the outbox may be shown to this client.

    The setting must allow it, mail must go to a Maildir, and the browser must be on this machine and address it by its
    own name: a foreign website could point its own name at the address of this machine.
    """
    peer = request.client.host if request.client else ""
    site = site_of(request)
    return site.shows_outbox and site.outbox is not None and is_loopback(peer) and is_direct(request)


def is_direct(request: Request) -> bool:
    """Return whether a request addresses this machine by its own name and did not come through a proxy."""
    is_proxied = any(name in request.headers for name in _PROXY_HEADERS)
    return is_loopback(_hostname(request.headers.get("host", ""))) and not is_proxied


def _hostname(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


async def mails(request: Request) -> Response:
    """List the newest emails."""
    messages = await asyncio.to_thread(read_outbox, _folder(request), newest=NEWEST)
    rows = [
        {
            "url": f"/outbox/{quote(message.name)}",
            "name": parseaddr(message.to)[0] or message.recipient,
            "address": message.recipient,
            "subject": message.subject,
            "sent": f"{message.date.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if message.date else "",
        }
        for message in messages
    ]
    return render_page(
        request, "outbox.html", headers=PRIVATE, mails=rows, more=len(rows) == NEWEST, newest=NEWEST
    )


async def mail(request: Request) -> Response:
    """Show one email: its headers, its text, its HTML in a frame, and its calendar part."""
    message = _parse(await _read(request))
    url = f"/outbox/{quote(request.path_params['name'])}"
    headers = [
        (name, one_line(str(message[name]))) for name in ("From", "To", "Subject", "Date") if message[name]
    ]
    return render_page(
        request,
        "outbox_mail.html",
        headers=PRIVATE,
        email_headers=headers,
        subject=one_line(str(message["Subject"] or "")),
        text=_part(message, "text/plain"),
        calendar=_part(message, "text/calendar"),
        html_url=f"{url}/html" if _part(message, "text/html") else "",
        source_url=f"{url}/source",
        sandbox=LINKS_OPEN,
    )


async def html(request: Request) -> Response:
    """Return the HTML part of an email for the frame, in which it cannot run, load or send anything."""
    content = _part(_parse(await _read(request)), "text/html")
    if not content:
        raise HTTPException(404)
    return framed(content, sandbox=LINKS_OPEN)


async def source(request: Request) -> Response:
    """Return an email as it is stored."""
    return PlainTextResponse((await _read(request)).decode("utf-8", "replace"), headers=PRIVATE)


def _folder(request: Request) -> Path:
    folder = site_of(request).outbox
    if folder is None or not is_shown(request):
        raise HTTPException(404)
    return folder


async def _read(request: Request) -> bytes:
    try:
        return await asyncio.to_thread(read_message, _folder(request), request.path_params["name"])
    except NoSuchMessage:
        raise HTTPException(404) from None


def _parse(content: bytes) -> EmailMessage:
    return message_from_bytes(content, _class=EmailMessage, policy=policy.default)


def _part(message: EmailMessage, content_type: str) -> str:
    """Return the text of the first part with that content type; empty if there is none."""
    for part in message.walk():
        if part.get_content_type() == content_type and not part.is_attachment():
            payload = part.get_payload(decode=True)
            assert isinstance(payload, bytes)
            try:
                return payload.decode(part.get_content_charset("utf-8"), "replace")
            except LookupError:
                return payload.decode("utf-8", "replace")
    return ""
