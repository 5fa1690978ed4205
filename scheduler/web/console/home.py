"""The first page of the console."""

from datetime import timedelta
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from scheduler.domain.locale import hour_cycle
from scheduler.domain.localtime import local_time
from scheduler.domain.zone import known_zone
from scheduler.service.console_home import Figures, count_figures, read_home
from scheduler.service.delivery_reasons import FAILURES
from scheduler.web.access import render_console, session_of
from scheduler.web.site import site_of

FIGURES_FRESH = timedelta(seconds=20)
"""How old figures may be before they are counted again: with a million members that takes seconds."""


async def figures_of(request: Request) -> Figures:
    """Return the figures that were counted last; they are counted again in the background."""
    site, now = site_of(request), site_of(request).clock.now()
    count = partial(
        count_figures, site.database, series=site.series, policies=site.policies, rate=site.rate, now=now
    )
    figures: Figures = await request.app.state.figures.get(now, count)
    return figures


async def home(request: Request) -> Response:
    """Show what is coming, what was sent, and what needs a convenor."""
    site, member, now = site_of(request), session_of(request).member, site_of(request).clock.now()
    seen = await read_home(site.database, series=site.series, now=now)
    figures = await figures_of(request)
    own = at_home = None
    if seen.next:
        series = site.by_slug[seen.next.series]
        cycle = hour_cycle(member.locale)
        at_home = local_time(seen.next, series, zone=series.zone, cycle=cycle)
        own = local_time(seen.next, series, zone=known_zone(member.zone, series.zone), cycle=cycle)
    return render_console(
        request,
        "console/home.html",
        active="home",
        home=seen,
        figures=figures,
        title=site.by_slug[seen.next.series].title if seen.next else "",
        has_room=bool(seen.next and (seen.next.link or site.by_slug[seen.next.series].link)),
        at_home=at_home,
        own=own,
        causes=FAILURES,
    )
