"""Calendars over HTTP: the public feeds and single meetings, with the conditional requests of calendar programs."""

import gzip
import re
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from hashlib import sha256

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from scheduler.service.publishing import Published, feed, meeting_calendar, read_meeting
from scheduler.web.site import site

_NONE_OF_IT = re.compile(r"0(\.0*)?")


async def everything(request: Request) -> Response:
    """The feed of all series."""
    here = site(request)
    found = await feed(here.database, here.series, here.community, now=here.clock.now())
    return _answer(request, found, "calendar.ics")


async def one_series(request: Request) -> Response:
    """The feed of one series."""
    here, slug = site(request), request.path_params["series"]
    if slug not in here.by_slug:
        raise HTTPException(404)
    found = await feed(here.database, here.series, here.community, now=here.clock.now(), only=slug)
    return _answer(request, found, f"{slug}.ics")


async def meeting(request: Request) -> Response:
    """One meeting, to be added to a calendar once."""
    here, (slug, date) = site(request), (request.path_params["series"], request.path_params["date"])
    one = await read_meeting(here.database, here.by_slug, f"{slug}/{date}")
    if one is None:
        raise HTTPException(404)
    return _answer(request, meeting_calendar(one, here.by_slug[slug], here.community), f"{slug}-{date}.ics")


def _answer(request: Request, found: Published, filename: str) -> Response:
    """The calendar, or 304 where the program has it already (RFC 9110 section 13.2.2)."""
    # Settings are part of what is published, and they are read at the start.
    changed_at = max(found.changed_at, site(request).started).replace(microsecond=0)
    digest = sha256(found.content).hexdigest()[:32]
    tags = {"identity": f'"{digest}"', "gzip": f'"{digest}-gzip"'}
    coding = "gzip" if _takes_gzip(request.headers) else "identity"
    headers = {
        "ETag": tags[coding],
        "Last-Modified": format_datetime(changed_at.astimezone(UTC), usegmt=True),
        "Cache-Control": "public, max-age=300",
        "Vary": "Accept-Encoding",
        "Cross-Origin-Resource-Policy": "cross-origin",
    }
    if _is_known(request.headers, set(tags.values()), changed_at):
        return Response(status_code=304, headers=headers)
    headers["Content-Disposition"] = f'inline; filename="{filename}"'
    content = found.content
    if coding == "gzip":
        # No time inside: the same calendar has the same bytes.
        content, headers["Content-Encoding"] = gzip.compress(content, mtime=0), "gzip"
    return Response(content, headers=headers, media_type="text/calendar")


def _is_known(headers: Headers, tags: set[str], changed_at: datetime) -> bool:
    known = headers.getlist("if-none-match")
    if known:
        given = {tag.strip().removeprefix("W/") for tag in ",".join(known).split(",")}
        return "*" in given or not given.isdisjoint(tags)
    try:
        since = parsedate_to_datetime(headers.get("if-modified-since", ""))
        return changed_at <= (since if since.tzinfo else since.replace(tzinfo=UTC))
    except (ValueError, TypeError):
        return False


def _takes_gzip(headers: Headers) -> bool:
    for offer in ",".join(headers.getlist("accept-encoding")).split(","):
        coding, _, quality = offer.replace(" ", "").lower().partition(";q=")
        if coding in ("gzip", "x-gzip"):
            return not _NONE_OF_IT.fullmatch(quality)
    return False
