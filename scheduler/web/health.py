"""Whether the process is alive, and whether the service does its work: for machines that watch it."""

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from scheduler.service.watching import unready
from scheduler.web.site import site

_UNKEPT = {"Cache-Control": "no-store"}


async def alive(_: Request) -> Response:
    """200 as long as the process answers."""
    return PlainTextResponse("alive\n", headers=_UNKEPT)


async def ready(request: Request) -> Response:
    """200 where all is well; 503 with the reasons where it is not."""
    here = site(request)
    # One after the other: each has a time limit of its own.
    reasons = await unready(here.database, here.clock.now())
    reasons = list(dict.fromkeys([*reasons, *await here.sender_faults()]))
    answer = {"ready": not reasons, "reasons": reasons}
    return JSONResponse(answer, status_code=503 if reasons else 200, headers=_UNKEPT)
