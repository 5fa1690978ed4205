"""Calendar feeds over HTTP, and the pages that explain how to subscribe to them."""

import gzip
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from scheduler.service.feeds import (
    check_subscribe_link,
    choose_invitations,
    ended_member_feed,
    feed_url,
    personal_feed,
)
from scheduler.service.personal_links import LinkStatus
from scheduler.service.schedule import Published
from scheduler.web.feed_cache import (
    PRIVATE_FEED,
    CachedResponse,
    Validators,
    conditions,
    send_reply,
    takes_gzip,
)
from scheduler.web.forms import field
from scheduler.web.site import PRIVATE, page, site


class _Given(Response):
    """What a calendar that is ready answers."""

    def __init__(self, ready: CachedResponse) -> None:
        self._ready = ready

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        reply = self._ready.reply(scope["headers"])
        await send_reply(scope, send, reply.status, reply.headers, reply.content)


async def everything(request: Request) -> Response:
    """The feed of all series."""
    return _Given(await site(request).shelf.everything())


async def one_series(request: Request) -> Response:
    """The feed of one series."""
    here, slug = site(request), request.path_params["series"]
    if slug not in here.by_slug:
        raise HTTPException(404)
    return _Given(await here.shelf.one_series(slug))


async def meeting(request: Request) -> Response:
    """One meeting, to be added to a calendar once."""
    here, (slug, date) = site(request), (request.path_params["series"], request.path_params["date"])
    found = await here.shelf.meeting(slug, date) if slug in here.by_slug else None
    if found is None:
        raise HTTPException(404)
    return _Given(found)


async def private(request: Request) -> Response:
    """A member's own feed; for some days after its address ended a notice of that, and then nothing more."""
    here, token = site(request), request.path_params["token"].lower()
    found = await here.shelf.subscription(token)
    one = found.subscriber
    if one.status is LinkStatus.UNKNOWN:
        return page(request, "feed_gone.html", status=404, headers=PRIVATE_FEED, ended=False)
    if one.status is not LinkStatus.GOOD:
        last = ended_member_feed(one, here.community, now=here.clock.now())
        if last is None:
            return page(request, "feed_gone.html", status=410, headers=PRIVATE_FEED, ended=True)
        return _private(request, here.shelf.validators(last), last)
    if found.validators and _is_known(request, found.validators):
        return _private(request, found.validators, None)
    published = personal_feed(await here.shelf.common(one.alarm), one)
    found.validators = here.shelf.validators(published)
    return _private(request, found.validators, published)


def _is_known(request: Request, validators: Validators) -> bool:
    none_match, modified_since, _ = (value.decode("latin-1") for value in conditions(request.headers.raw))
    return validators.know(none_match, modified_since)


def _private(request: Request, validators: Validators, published: Published | None) -> Response:
    packed = takes_gzip(conditions(request.headers.raw)[2].decode("latin-1"))
    headers = {**validators.headers("gzip" if packed else "identity"), **PRIVATE_FEED}
    if published is None or _is_known(request, validators):
        return Response(status_code=304, headers=headers)
    headers["Content-Disposition"] = 'inline; filename="calendar.ics"'
    content = published.content
    if packed:
        content, headers["Content-Encoding"] = gzip.compress(content, mtime=0), "gzip"
    return Response(content, headers=headers, media_type="text/calendar")


_STATUS_OF_STANDING = {LinkStatus.LEFT: 410, LinkStatus.REPLACED: 410, LinkStatus.UNKNOWN: 404}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """The addresses that take a calendar into each program; `url` is the one to copy."""

    url: str
    apple: str
    google: str
    outlook: str
    microsoft: str


def ways(url: str, name: str) -> Ways:
    """The ways to subscribe to the calendar at `url` (https), to be called `name`."""
    webcal = "webcal:" + url.partition(":")[2]
    added = urlencode({"url": url, "name": name}, quote_via=quote)
    return Ways(
        url=url,
        apple=webcal,
        # Google takes the inner address in this form only.
        google=f"https://calendar.google.com/calendar/u/0/r?cid={quote(webcal, safe='')}",
        outlook=f"https://outlook.live.com/calendar/0/addfromweb/?{added}",
        microsoft=f"https://outlook.office.com/calendar/0/addfromweb/?{added}",
    )


async def everybody(request: Request) -> Response:
    """How to subscribe to the public feed."""
    community = site(request).community
    return page(request, "subscribe.html", ways=ways(community.feed_url, community.name), own=False)


async def member(request: Request) -> Response:
    """How to subscribe to a member's own feed, and whether invitations come by mail too: GET shows, POST chooses."""
    here, token = site(request), request.path_params["token"]
    if request.method == "POST":
        by = "mail" if await field(request, "invitation_by") == "mail" else "feed"
        standing, one = await choose_invitations(here.database, token, by=by, keys=here.keys)
    else:
        standing, one = await check_subscribe_link(here.database, token, keys=here.keys)
    if one is None:
        return page(
            request,
            "subscribe_shut.html",
            status=_STATUS_OF_STANDING[standing],
            headers=PRIVATE,
            standing=standing.value,
        )
    return page(
        request,
        "subscribe.html",
        headers=PRIVATE,
        own=True,
        chosen=request.method == "POST",
        ways=ways(feed_url(here.keys, here.community, one), here.community.name),
        by_feed=one.invitation_by == "feed",
    )
