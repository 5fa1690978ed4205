"""Pages behind the personal links in mails: leave, join the meeting, answer an invitation. GET changes nothing."""

from starlette.requests import Request
from starlette.responses import Response

from scheduler.domain.localtime import format_day, months_later
from scheduler.domain.token import Purpose
from scheduler.service import preferences
from scheduler.service import rsvp as rsvp_service
from scheduler.service.personal_links import InvalidLink, JoinStatus, LinkStatus, resolve_join_link
from scheduler.service.rsvp import RsvpStatus
from scheduler.service.unsubscribe import check_leave_link
from scheduler.service.unsubscribe import leave as leave_list
from scheduler.web.forms import field
from scheduler.web.site import PRIVATE, page, site

PAUSES = {"1": "a month", "3": "three months", "6": "half a year"}

_STATUS_OF_STANDING = {LinkStatus.REPLACED: 410, LinkStatus.UNKNOWN: 404}
_STATUS_OF_DOOR = {
    JoinStatus.LEFT: 410,
    JoinStatus.REPLACED: 410,
    JoinStatus.UNKNOWN: 404,
    JoinStatus.NO_MEETING: 404,
}


async def leave(request: Request) -> Response:
    """GET asks, POST acts: from the page's button or a mail program's (RFC 8058), whatever its body, with no cookie."""
    here, token = site(request), request.path_params["token"]
    months = request.query_params.get("pause", "")
    if request.method != "POST":
        standing = await check_leave_link(here.database, token, keys=here.keys)
        return _leaving(request, standing, "asks" if standing is LinkStatus.GOOD else standing.value)
    await request.body()
    if months in PAUSES:
        return await _pause(request, months)
    standing = await leave_list(here.database, token, keys=here.keys, now=here.clock.now())
    return _leaving(request, standing, "left" if standing is LinkStatus.GOOD else standing.value)


async def _pause(request: Request, months: str) -> Response:
    """What may be wanted in place of leaving: some months without mail. The link to leave is good for that too."""
    here, now = site(request), site(request).clock.now()
    until = months_later(now.date(), int(months))
    try:
        await preferences.pause(
            here.database,
            request.path_params["token"],
            until=until,
            keys=here.keys,
            now=now,
            purpose=Purpose.LEAVE,
        )
    except preferences.NotOpen as shut:
        return _leaving(request, shut.standing, shut.standing.value)
    return _leaving(request, LinkStatus.GOOD, "paused", until=format_day(until))


def _leaving(request: Request, standing: LinkStatus, shown: str, *, until: str = "") -> Response:
    return page(
        request,
        "leave.html",
        status=_STATUS_OF_STANDING.get(standing, 200),
        headers=PRIVATE,
        standing=shown,
        until=until,
        pauses=PAUSES,
    )


async def go(request: Request) -> Response:
    """Redirects to the room while it is open, and otherwise says when it will be."""
    here = site(request)
    entry = await resolve_join_link(
        here.database,
        here.by_slug,
        request.path_params["token"],
        "{series}/{date}".format(**request.path_params),
        keys=here.keys,
        locale=here.community.locale,
        now=here.clock.now(),
    )
    if entry.status is JoinStatus.OPEN:
        return Response(status_code=302, headers={**PRIVATE, "Location": entry.room})
    return page(
        request,
        "door.html",
        status=_STATUS_OF_DOOR.get(entry.status, 200),
        headers=PRIVATE,
        entry=entry,
        door=entry.status.value,
    )


_STATUS = {RsvpStatus.LEFT: 410, RsvpStatus.REPLACED: 410, RsvpStatus.UNKNOWN: 404}


async def rsvp(request: Request) -> Response:
    """GET asks, POST answers, with no cookie: the link is the key."""
    here, token, posted = site(request), request.path_params["token"], request.method == "POST"
    wanted = await field(request, "answer") if posted else ""
    given = wanted in (*ANSWERS, rsvp_service.NO_ANSWER)
    complaints = {"answer": "You need to choose one of these answers."} if posted and not given else {}
    response = await rsvp_service.respond(
        here.database,
        here.by_slug,
        token,
        wanted if given else None,
        keys=here.keys,
        locale=here.community.locale,
        now=here.clock.now(),
    )
    chosen = request.query_params.get("answer", "")
    status = _STATUS.get(response.status, 422 if complaints else 200)
    return page(
        request,
        "rsvp.html",
        status=status,
        headers=PRIVATE,
        response=response,
        question=response.status.value,
        given=given and response.status is RsvpStatus.OPEN,
        complaints=complaints,
        chosen=chosen if chosen in ANSWERS else response.answer,
    )
