"""The personal links in mails: leaving the list, and the way into a meeting. Looking at one changes nothing."""

from starlette.requests import Request
from starlette.responses import Response

from scheduler.service.entering import Door, enter
from scheduler.service.leaving import leave as leave_list
from scheduler.service.leaving import look
from scheduler.service.recognising import Standing
from scheduler.web.site import PRIVATE, page, site

_STATUS_OF_STANDING = {Standing.REPLACED: 410, Standing.UNKNOWN: 404}
_STATUS_OF_DOOR = {Door.LEFT: 410, Door.REPLACED: 410, Door.UNKNOWN: 404, Door.NO_MEETING: 404}


async def leave(request: Request) -> Response:
    """GET asks, POST acts: from the page's button or a mail program's (RFC 8058), whatever its body, with no cookie."""
    here, token = site(request), request.path_params["token"]
    if request.method == "POST":
        await request.body()
        standing = await leave_list(here.database, token, keys=here.keys, now=here.clock.now())
        asked = False
    else:
        standing = await look(here.database, token, keys=here.keys)
        asked = standing is Standing.GOOD
    return page(
        request, "leave.html", status=_STATUS_OF_STANDING.get(standing, 200), headers=PRIVATE,
        asks=asked, known=standing in (Standing.GOOD, Standing.LEFT), replaced=standing is Standing.REPLACED,
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
