"""Asking to join: a form, a look at one's own hour, and a page that a mail's link opens. Only a POST does anything."""

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from scheduler.domain.country import countries
from scheduler.domain.errors import Refused
from scheduler.domain.zone import city, require_zone
from scheduler.service import form_queue, join_requests
from scheduler.service.join_requests import JoinForm
from scheduler.service.personal_links import LinkStatus
from scheduler.web.forms import fields, language_name, languages, told, zones
from scheduler.web.site import PRIVATE, page, shut, site

_FIELDS = ("name", "email", "country", "zone", "locale", "words", "consent")
_TRAP = "homepage"
"""A field that people do not see: whoever fills it in is a machine."""


async def join(request: Request) -> Response:
    """Asks, shows the local hour, and is told that it is right; then a mail goes out, if it may. What is answered is
    the same for every address, and is answered before anybody looks whose it is."""
    here = site(request)
    if request.method != "POST":
        return _form(request, {"zone": request.query_params.get("zone", "")}, {})
    found = await fields(request)
    typed = {name: found.get(name, [""])[-1] for name in (*_FIELDS, _TRAP, "confirmed", "act")}
    application, refusals = join_requests.read_join_form(typed)
    complaints = {name: told(Refused(words), name) for name, words in refusals.items()}
    if application is None:
        return _form(request, typed, complaints, status=422)
    if typed["act"] == "back":
        return _form(request, typed, {})
    if not application.zone or typed["confirmed"] != application.zone:
        return await _hour(request, typed, application)
    if not await here.pace.allows(request):
        return page(
            request,
            "problem.html",
            status=429,
            headers=PRIVATE,
            heading="That was asked very often",
            words="Many people have asked in this hour. Please try again later.",
        )
    if not typed[_TRAP]:
        await form_queue.ask_to_join(here.database, application, now=here.clock.now())
    return page(request, "asked.html", headers=PRIVATE, address=application.email)


def _form(
    request: Request, typed: Mapping[str, str], complaints: Mapping[str, str], *, status: int = 200
) -> Response:
    values = {name: typed.get(name, "") for name in _FIELDS}
    values["locale"] = values["locale"] or _tongue(request)
    known = dict(languages())
    return page(
        request,
        "join.html",
        status=status,
        headers=PRIVATE,
        values=values,
        complaints=complaints,
        trap=_TRAP,
        again=request.method == "POST",
        countries=countries(),
        zones=zones(),
        zone_words=_city(values["zone"]),
        languages=languages(),
        other_language=language_name(values["locale"]) if values["locale"] not in known else "",
        longest_words=join_requests.LONGEST_WORDS,
    )


def _city(zone: str) -> str:
    try:
        return city(require_zone(zone.strip()))
    except Refused:
        return zone


def _tongue(request: Request) -> str:
    """The first language of the browser's that we know by name; English where it names none."""
    known = dict(languages())
    for offer in request.headers.get("accept-language", "")[:500].split(","):
        tag = offer.partition(";")[0].strip()
        for reading in (tag, tag.partition("-")[0].lower()):
            if reading in known:
                return reading
    return "en"


async def _hour(request: Request, typed: Mapping[str, str], application: JoinForm) -> Response:
    """The next meeting by the visitor's own clocks: theirs to say whether that is right."""
    here = site(request)
    offers = await join_requests.candidate_zones(
        here.database, here.series, application, now=here.clock.now()
    )
    kept = {name: typed[name] for name in (*_FIELDS, _TRAP) if name != "zone"}
    return page(
        request,
        "hour.html",
        headers=PRIVATE,
        kept=kept,
        offers=[{"zone": zone, "city": city(zone), "when": when} for zone, when in offers],
    )


async def confirm(request: Request) -> Response:
    """GET shows what was asked, POST confirms it."""
    here, token = site(request), request.path_params["token"]
    now = here.clock.now()
    if request.method == "POST":
        await request.body()
        standing, found = await join_requests.confirm(
            here.database, token, keys=here.keys, admits=here.admits, now=now
        )
    else:
        standing, found = await join_requests.check_confirmation_link(
            here.database, token, keys=here.keys, now=now
        )
    if found is None:
        if standing is LinkStatus.EXPIRED:
            return page(request, "confirm.html", status=410, headers=PRIVATE, state="expired", request=None)
        return shut(request, standing)
    return page(
        request, "confirm.html", headers=PRIVATE, state=found.state, request=found, city=city(found.zone)
    )
