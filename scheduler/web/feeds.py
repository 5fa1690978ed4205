"""Calendar feeds over HTTP, and the pages on which visitors and members subscribe to them."""

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
from scheduler.service.schedule import CalendarFile
from scheduler.web.feed_cache import (
    PRIVATE_FEED,
    CachedResponse,
    Validators,
    accepts_gzip,
    negotiation_headers,
    send_response,
)
from scheduler.web.forms import field
from scheduler.web.site import PRIVATE, language_of, render_page, site_of, speak_to_owner

_STATUS_CODES = {LinkStatus.LEFT: 410, LinkStatus.REPLACED: 410, LinkStatus.UNKNOWN: 404}


class CalendarResponse(Response):
    """The response of a calendar that the FeedCache holds."""

    def __init__(self, cached: CachedResponse) -> None:
        self._cached = cached

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = self._cached.respond(scope["headers"])
        await send_response(scope, send, response.status, response.headers, response.content)


async def all_series(request: Request) -> Response:
    """Return the feed of all series."""
    return CalendarResponse(await site_of(request).feed_cache.all_series())


async def one_series(request: Request) -> Response:
    """Return the feed of one series."""
    site, slug = site_of(request), request.path_params["series"]
    if slug not in site.by_slug:
        raise HTTPException(404)
    return CalendarResponse(await site.feed_cache.one_series(slug))


async def meeting(request: Request) -> Response:
    """Return the calendar of one meeting, to be added to a calendar once."""
    site, (slug, date) = site_of(request), (request.path_params["series"], request.path_params["date"])
    calendar = await site.feed_cache.meeting(slug, date) if slug in site.by_slug else None
    if calendar is None:
        raise HTTPException(404)
    return CalendarResponse(calendar)


async def private_feed(request: Request) -> Response:
    """Return a member's private feed. For some days after its address ended, return a calendar that says so."""
    site, token = site_of(request), request.path_params["token"].lower()
    subscription = await site.feed_cache.subscription(token)
    subscriber = subscription.subscriber
    if subscriber.status is LinkStatus.UNKNOWN:
        return render_page(request, "feed_gone.html", status=404, headers=PRIVATE_FEED, ended=False)
    if subscriber.status is not LinkStatus.GOOD:
        notice = ended_member_feed(subscriber, site.community, now=site.clock.now())
        if notice is None:
            return render_page(request, "feed_gone.html", status=410, headers=PRIVATE_FEED, ended=True)
        return _private_response(request, site.feed_cache.validators(notice), notice)
    if subscription.validators and _is_current(request, subscription.validators):
        return _private_response(request, subscription.validators, None)
    calendar_file = personal_feed(await site.feed_cache.private_feed(subscriber), subscriber)
    subscription.validators = site.feed_cache.validators(calendar_file)
    return _private_response(request, subscription.validators, calendar_file)


def _is_current(request: Request, validators: Validators) -> bool:
    """Return whether the client already has the calendar with these validators."""
    if_none_match, if_modified_since, _ = (
        value.decode("latin-1") for value in negotiation_headers(request.headers.raw)
    )
    return validators.match(if_none_match, if_modified_since)


def _private_response(
    request: Request, validators: Validators, calendar_file: CalendarFile | None
) -> Response:
    compressed = accepts_gzip(negotiation_headers(request.headers.raw)[2].decode("latin-1"))
    headers = {**validators.headers("gzip" if compressed else "identity"), **PRIVATE_FEED}
    if calendar_file is None or _is_current(request, validators):
        return Response(status_code=304, headers=headers)
    headers["Content-Disposition"] = 'inline; filename="calendar.ics"'
    content = calendar_file.content
    if compressed:
        content, headers["Content-Encoding"] = gzip.compress(content, mtime=0), "gzip"
    return Response(content, headers=headers, media_type="text/calendar")


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscribeLinks:
    """The links that add a calendar to each program; `url` is the address to copy."""

    url: str
    apple: str
    google: str
    outlook: str
    microsoft: str


def webcal_url(url: str) -> str:
    """Return the address of a calendar with the scheme at which programs subscribe to it."""
    return "webcal:" + url.partition(":")[2]


def subscribe_links(url: str, name: str) -> SubscribeLinks:
    """Return the links to subscribe to the calendar at `url` (https) under the name `name`."""
    webcal = webcal_url(url)
    query = urlencode({"url": url, "name": name}, quote_via=quote)
    return SubscribeLinks(
        url=url,
        apple=webcal,
        # Google accepts the address of the calendar only as webcal.
        google=f"https://calendar.google.com/calendar/u/0/r?cid={quote(webcal, safe='')}",
        outlook=f"https://outlook.live.com/calendar/0/addfromweb/?{query}",
        microsoft=f"https://outlook.office.com/calendar/0/addfromweb/?{query}",
    )


async def subscribe(request: Request) -> Response:
    """Show how to subscribe to the public feed of all series, or with `?series=` to that of one."""
    site, slug = site_of(request), request.query_params.get("series", "")
    community = site.community
    if slug and slug not in site.by_slug:
        raise HTTPException(404)
    url = community.series_feed_url(slug) if slug else community.feed_url
    language = language_of(request)
    title = site.by_slug[slug].in_language(language).title if slug else ""
    return render_page(
        request,
        "subscribe.html",
        links=subscribe_links(url, title or community.name),
        own=False,
        title=title,
        several=len(site.series) > 1,
        each_series=[
            {
                "slug": series.slug,
                "title": series.in_language(language).title,
                "url": (series_url := community.series_feed_url(series.slug)),
                "webcal": webcal_url(series_url),
            }
            for series in site.series
            if len(site.series) > 1 and not slug
        ],
    )


async def member_subscribe(request: Request) -> Response:
    """Show how to subscribe to a member's private feed; POST chooses whether invitations also come by email."""
    site, token = site_of(request), request.path_params["token"]
    if request.method == "POST":
        by = "mail" if await field(request, "invitation_by") == "mail" else "feed"
        link_status, member = await choose_invitations(site.database, token, by=by, keys=site.keys)
    else:
        link_status, member = await check_subscribe_link(site.database, token, keys=site.keys)
    if member is None:
        return render_page(
            request,
            "subscribe_closed.html",
            status=_STATUS_CODES[link_status],
            headers=PRIVATE,
            link_status=link_status.value,
        )
    speak_to_owner(request, member)
    return render_page(
        request,
        "subscribe.html",
        headers=PRIVATE,
        own=True,
        title="",
        several=site.has_choice,
        each_series=[],
        chosen=request.method == "POST",
        links=subscribe_links(feed_url(site.keys, site.community, member), site.community.name),
        by_feed=member.invitation_by == "feed",
    )
