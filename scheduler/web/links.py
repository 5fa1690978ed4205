"""The personal links in mails: leaving the list, and the way into a meeting. Looking at one changes nothing."""

from starlette.requests import Request
from starlette.responses import Response

from scheduler.domain.localtime import months_later, say_day
from scheduler.domain.token import Purpose
from scheduler.service import preferring
from scheduler.service.entering import Door, enter
from scheduler.service.leaving import leave as leave_list
from scheduler.service.leaving import look
from scheduler.service.recognising import Standing
from scheduler.web.site import PRIVATE, page, site

PAUSES = {"1": "a month", "3": "three months", "6": "half a year"}

_STATUS_OF_STANDING = {Standing.REPLACED: 410, Standing.UNKNOWN: 404}
_STATUS_OF_DOOR = {Door.LEFT: 410, Door.REPLACED: 410, Door.UNKNOWN: 404, Door.NO_MEETING: 404}


async def leave(request: Request) -> Response:
    """GET asks, POST acts: from the page's button or a mail program's (RFC 8058), whatever its body, with no cookie."""
    here, token = site(request), request.path_params["token"]
    months = request.query_params.get("pause", "")
    if request.method != "POST":
        standing = await look(here.database, token, keys=here.keys)
        return _leaving(request, standing, "asks" if standing is Standing.GOOD else standing.value)
    await request.body()
    if months in PAUSES:
        return await _pause(request, months)
    standing = await leave_list(here.database, token, keys=here.keys, now=here.clock.now())
    return _leaving(request, standing, "left" if standing is Standing.GOOD else standing.value)


async def _pause(request: Request, months: str) -> Response:
    """What may be wanted in place of leaving: some months without mail. The link to leave is good for that too."""
    here, now = site(request), site(request).clock.now()
    until = months_later(now.date(), int(months))
    try:
        await preferring.pause(
            here.database, request.path_params["token"], until=until, keys=here.keys, now=now, purpose=Purpose.LEAVE
        )  # fmt: skip
    except preferring.NotOpen as shut:
        return _leaving(request, shut.standing, shut.standing.value)
    return _leaving(request, Standing.GOOD, "paused", until=say_day(until))


def _leaving(request: Request, standing: Standing, shown: str, *, until: str = "") -> Response:
    return page(
        request, "leave.html", status=_STATUS_OF_STANDING.get(standing, 200), headers=PRIVATE, standing=shown,
        until=until, pauses=PAUSES,
    )  # fmt: skip


async def go(request: Request) -> Response:
    """Redirects to the room while it is open, and otherwise says when it will be."""
    here = site(request)
    entry = await enter(
        here.database, here.by_slug, request.path_params["token"],
        "{series}/{date}".format(**request.path_params),
        keys=here.keys, locale=here.community.locale, now=here.clock.now(),
    )  # fmt: skip
    if entry.door is Door.OPEN:
        return Response(status_code=302, headers={**PRIVATE, "Location": entry.room})
    return page(
        request, "door.html", status=_STATUS_OF_DOOR.get(entry.door, 200), headers=PRIVATE, entry=entry,
        door=entry.door.value,
    )  # fmt: skip
