"""The page on which a member says whether they come. GET may choose an answer in advance; only POST gives it."""

from starlette.requests import Request
from starlette.responses import Response

from scheduler.service import responding
from scheduler.service.responding import ANSWERS, Question
from scheduler.web.forms import field
from scheduler.web.site import PRIVATE, page, site

_STATUS = {Question.LEFT: 410, Question.REPLACED: 410, Question.UNKNOWN: 404}


async def rsvp(request: Request) -> Response:
    """GET asks, POST answers, with no cookie: the link is the key."""
    here, token, posted = site(request), request.path_params["token"], request.method == "POST"
    wanted = await field(request, "answer") if posted else ""
    given = wanted in (*ANSWERS, responding.NO_ANSWER)
    complaints = {"answer": "You need to choose one of these answers."} if posted and not given else {}
    response = await responding.respond(
        here.database, here.by_slug, token, wanted if given else None,
        keys=here.keys, locale=here.community.locale, now=here.clock.now(),
    )  # fmt: skip
    chosen = request.query_params.get("answer", "")
    status = _STATUS.get(response.question, 422 if complaints else 200)
    return page(
        request, "rsvp.html", status=status, headers=PRIVATE, response=response, question=response.question.value,
        given=given and response.question is Question.OPEN, complaints=complaints,
        chosen=chosen if chosen in ANSWERS else response.answer,
    )  # fmt: skip
