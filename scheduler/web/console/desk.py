"""The desk: requests to join, which convenors and helpers take, accept or decline."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from scheduler.domain.errors import Refused
from scheduler.domain.locale import country_name, language_name
from scheduler.service import join_requests
from scheduler.service.join_requests import PATIENCE, is_reserved
from scheduler.web.access import actor_of, render_console, session_of
from scheduler.web.forms import fields, last, number_of
from scheduler.web.site import see_other, site_of

_DONE = {
    "accepted": "They are a member now, and will get a welcome email.",
    "declined": "The request has been declined.",
}
_TAKEN = "The request is yours now. Nobody else can answer it for the next three days."


async def desk(request: Request) -> Response:
    """Show the requests that wait for an answer, the oldest first; with `?all=1`, also those that were answered."""
    site, now = site_of(request), site_of(request).clock.now()
    every = "all" in request.query_params
    requests = await join_requests.at_the_desk(site.database, every=every)
    return render_console(
        request,
        "console/desk.html",
        active="desk",
        requests=[
            (waiting, country_name(waiting.country), is_reserved(waiting, now)) for waiting in requests
        ],
        takers=await join_requests.takers(site.database, requests),
        late_before=now - PATIENCE,
        every=every,
        done=_DONE.get(request.query_params.get("done", ""), ""),
    )


async def join_request(request: Request) -> Response:
    """Show one request, and take, accept or decline it."""
    site, session = site_of(request), session_of(request)
    number, now = number_of(request.path_params["number"]), site.clock.now()
    found = await join_requests.find_request(site.database, number) if number is not None else None
    if found is None:
        raise HTTPException(404)
    sent = await fields(request) if request.method == "POST" else {}
    act, message = (last(sent, name) for name in ("act", "message"))
    complaints: dict[str, str] = {}
    try:
        match act:
            case "take":
                await join_requests.take(site.database, found.id, by=actor_of(request), now=now)
                return see_other(f"/convenor/desk/{found.id}?done=taken")
            case "accept":
                await join_requests.accept(
                    site.database,
                    found.id,
                    by=actor_of(request),
                    message=message,
                    all_series=site.series,
                    now=now,
                )
                return see_other("/convenor/desk?done=accepted")
            case "decline" | "decline-silently":
                tells = act == "decline"
                await join_requests.decline(
                    site.database,
                    found.id,
                    by=actor_of(request),
                    message=message if tells else "",
                    tells=tells,
                    now=now,
                )
                return see_other("/convenor/desk?done=declined")
    except Refused as refusal:
        complaints["message"] = f"You need to check this: {refusal.message}."
        found = await join_requests.find_request(site.database, found.id) or found
    return render_console(
        request,
        "console/join_request.html",
        active="desk",
        status=409 if complaints else 200,
        found=found,
        country=country_name(found.country),
        language=language_name(found.locale),
        series=[series.title for series in site.series if (found.follows or {}).get(series.slug)],
        reserved=is_reserved(found, now),
        taker=(await join_requests.takers(site.database, [found])).get(found.taken_by or 0),
        mine=found.taken_by == session.member.id,
        message=message,
        complaints=complaints,
        done=_TAKEN if request.query_params.get("done") == "taken" else "",
    )
