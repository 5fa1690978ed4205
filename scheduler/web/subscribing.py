"""The pages that bring the meetings into somebody's own calendar: for everybody, and for a member."""

from dataclasses import dataclass
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import Response

from scheduler.service.recognising import Standing
from scheduler.service.subscribing import choose_invitations, feed_url, look
from scheduler.web.forms import field
from scheduler.web.site import PRIVATE, page, site

_STATUS_OF_STANDING = {Standing.LEFT: 410, Standing.REPLACED: 410, Standing.UNKNOWN: 404}


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
        url=url, apple=webcal,
        # Google takes the inner address in this form only.
        google=f"https://calendar.google.com/calendar/u/0/r?cid={quote(webcal, safe='')}",
        outlook=f"https://outlook.live.com/calendar/0/addfromweb/?{added}",
        microsoft=f"https://outlook.office.com/calendar/0/addfromweb/?{added}",
    )  # fmt: skip


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
        standing, one = await look(here.database, token, keys=here.keys)
    if one is None:
        return page(
            request, "subscribe_shut.html", status=_STATUS_OF_STANDING[standing], headers=PRIVATE,
            standing=standing.value,
        )  # fmt: skip
    return page(
        request, "subscribe.html", headers=PRIVATE, own=True, chosen=request.method == "POST",
        ways=ways(feed_url(here.keys, here.community, one), here.community.name),
        by_feed=one.invitation_by == "feed",
    )  # fmt: skip
