"""Calendars over HTTP: the public feeds, single meetings, and members' own feeds."""

import gzip

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from scheduler.service.publishing import Published
from scheduler.service.recognising import Standing
from scheduler.service.subscribing import farewell, filled
from scheduler.web.ready import Ready, Validators, conditions, send_reply, takes_gzip
from scheduler.web.shelf import PRIVATE_FEED
from scheduler.web.site import page, site


class _Given(Response):
    """What a calendar that is ready answers."""

    def __init__(self, ready: Ready) -> None:
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
    if one.standing is Standing.UNKNOWN:
        return page(request, "feed_gone.html", status=404, headers=PRIVATE_FEED, ended=False)
    if one.standing is not Standing.GOOD:
        last = farewell(one, here.community, now=here.clock.now())
        if last is None:
            return page(request, "feed_gone.html", status=410, headers=PRIVATE_FEED, ended=True)
        return _private(request, here.shelf.validators(last), last)
    if found.validators and _is_known(request, found.validators):
        return _private(request, found.validators, None)
    published = filled(await here.shelf.common(one.alarm), one)
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
