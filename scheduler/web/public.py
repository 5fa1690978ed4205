"""The public pages: what is next, what is coming, and each meeting's own page."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import quote, urlencode

from jinja2 import Environment, TemplateError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from scheduler.domain.errors import Problem, Refused
from scheduler.domain.locale import hour_cycle
from scheduler.domain.localtime import LocalTime, local_time
from scheduler.domain.occurrence import Occurrence, Series, Status
from scheduler.domain.zone import city, require_zone
from scheduler.service.retention import RETURNS_KEPT
from scheduler.service.schedule import next_meeting, outlook, past_meetings, read_meeting, unmoved
from scheduler.web.forms import zones
from scheduler.web.outbox import is_shown
from scheduler.web.security import PAGE_POLICY
from scheduler.web.site import Site, page, site

COMING = timedelta(days=365)
FEWEST_COUNTED = 10
"""Of a smaller community, counts could say who is in it."""
_LONGEST_ZONE = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A meeting in finished words. `there` is its time for the visitor, None where that is the time at home; `was`
    the time at home that it was moved from."""

    title: str
    about: str
    topic: str
    speakers: str
    materials: str
    url: str
    calendar_url: str
    home: LocalTime
    there: LocalTime | None
    was: LocalTime | None
    cancelled: bool
    begun: bool
    over: bool
    has_room: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The visitor's zone; empty where none was named. `complaint` says what was wrong with the one named."""

    zone: str = ""
    city: str = ""
    complaint: str = ""

    @property
    def query(self) -> str:
        """What carries the choice on to another page."""
        return f"?{urlencode({'zone': self.zone})}" if self.zone else ""


async def home(request: Request) -> Response:
    """The community's front page."""
    here, now, chosen = site(request), site(request).clock.now(), _chosen(request)
    found = await outlook(here.database, here.series, now=now, until=now + COMING)
    return page(
        request,
        "home.html",
        chosen=chosen,
        zones=zones(),
        several=len(here.series) > 1,
        next=_shown(here, found.next, chosen, now) if found.next else None,
        coming=[_shown(here, one, chosen, now) for one in found.coming],
        members=f"{found.members:,}" if found.members >= FEWEST_COUNTED else "",
        countries=found.countries,
        feed_url=here.community.feed_url,
        subscribe_url=_subscribe_url(here.community.feed_url),
        shows_outbox=is_shown(request),
        # Where the outbox is shown, the page is not the same for everybody.
        headers={"Cache-Control": "no-store"} if here.shows_outbox else None,
    )


async def embed(request: Request) -> Response:
    """The next meeting as a small card for other pages' frames."""
    here, now, chosen = site(request), site(request).clock.now(), _chosen(request)
    found = await next_meeting(here.database, here.series, now=now)
    return page(
        request,
        "embed.html",
        next=_shown(here, found, chosen, now) if found else None,
        headers={
            "Content-Security-Policy": PAGE_POLICY.replace(
                "frame-ancestors 'none'", "frame-ancestors " + (here.embedded_by or "'none'")
            ),
            "Cross-Origin-Resource-Policy": "cross-origin",
        },
    )


async def next_page(request: Request) -> Response:
    """Leads to the next meeting's page."""
    here = site(request)
    found = await next_meeting(here.database, here.series, now=here.clock.now())
    if found is None:
        return page(
            request,
            "problem.html",
            status=404,
            heading="No meeting is planned",
            words="As soon as there is one, this address leads to it.",
        )
    return Response(status_code=302, headers={"Location": _url(found) + _chosen(request).query})


async def meeting(request: Request) -> Response:
    """The page of one meeting, at an address that stays."""
    here, chosen = site(request), _chosen(request)
    key = "{series}/{date}".format(**request.path_params)
    one = await read_meeting(here.database, here.by_slug, key, now=here.clock.now())
    if one is None:
        raise HTTPException(404)
    shown = _shown(here, one, chosen, here.clock.now())
    return page(request, "meeting.html", meeting=shown, chosen=chosen, zones=zones())


async def archive(request: Request) -> Response:
    """The meetings of a year that are over, the newest first."""
    here, now = site(request), site(request).clock.now()
    by_year = await past_meetings(here.database, here.series, now=now)
    asked = request.query_params.get("year")
    if asked is not None and asked not in map(str, by_year):
        raise HTTPException(404)
    year = int(asked) if asked else next(iter(by_year), None)
    return page(
        request,
        "archive.html",
        several=len(here.series) > 1,
        year=year,
        years=list(by_year),
        meetings=[_shown(here, one, Chosen(), now) for one in by_year.get(year or 0, [])],
    )


async def privacy(request: Request) -> Response:
    """What is kept of people, why, for how long, and what they can do about it."""
    here = site(request)
    return page(
        request,
        "privacy.html",
        declined_days=here.retention.declined_requests.days,
        return_days=RETURNS_KEPT.days,
        left_days=here.retention.left_members.days,
        delivery_days=here.retention.deliveries.days,
    )


def _shown(here: Site, one: Occurrence, chosen: Chosen, now: datetime) -> Shown:
    series, cycle = here.by_slug[one.series], hour_cycle(here.community.locale)

    def when(occurrence: Occurrence, zone: str) -> LocalTime:
        return local_time(occurrence, series, zone=zone, cycle=cycle)

    return Shown(
        title=series.title,
        about=series.description,
        topic=one.topic,
        speakers=one.speakers,
        materials=one.materials,
        url=_url(one) + chosen.query,
        calendar_url=f"{_url(one)}.ics",
        home=when(one, one.zone),
        there=when(one, chosen.zone) if chosen.zone and chosen.zone != one.zone else None,
        was=when(unmoved(one), one.zone) if one.status is Status.MOVED else None,
        cancelled=one.cancelled,
        begun=one.starts <= now,
        over=one.ends <= now,
        has_room=bool(one.link or series.link),
    )


def shown_time(templates: Environment, one: Occurrence, series: Series, zone: str) -> str:
    """What the page of a meeting shows a visitor in `zone` of its time: a mail about it has to show the same.

    Raises Problem where the template is wrong.
    """
    try:
        moment: Callable[[LocalTime], str] = templates.get_template("_when.html").module.moment  # type: ignore[attr-defined]
        return moment(local_time(one, series, zone=zone, cycle="h23"))
    except TemplateError as error:
        raise Problem(f"templates/web/_when.html: {error}") from None


def _url(one: Occurrence) -> str:
    return f"/meetings/{quote(one.key)}"


def _subscribe_url(url: str) -> str:
    return "webcal:" + url.partition(":")[2]


def _chosen(request: Request) -> Chosen:
    name = request.query_params.get("zone", "").strip()
    if not name:
        return Chosen()
    try:
        zone = require_zone(name)
    except Refused:
        return Chosen(complaint=name[:_LONGEST_ZONE])
    return Chosen(zone=zone, city=city(zone))
