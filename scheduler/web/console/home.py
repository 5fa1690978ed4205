"""The first page of the console."""

import asyncio
from datetime import timedelta

from starlette.requests import Request
from starlette.responses import Response

from scheduler.domain.locale import hour_cycle
from scheduler.domain.localtime import local_time
from scheduler.domain.zone import known_zone
from scheduler.service.console_home import Figures, count_figures, read_home
from scheduler.web.access import render_console, session_of
from scheduler.web.site import Site, site_of

_FRESH = timedelta(seconds=20)
"""How old figures may be before they are counted again, in the background: a million members take seconds."""


class KeptFigures:
    """The figures as they were last counted. Whoever comes first waits for them; later visitors get the last ones."""

    def __init__(self) -> None:
        self._figures: Figures | None = None
        self._counting: asyncio.Task[None] | None = None

    async def get(self, site: Site) -> Figures:
        """Return the figures, and count them again if they are not fresh."""
        stale = self._figures is None or site.clock.now() - self._figures.counted_at >= _FRESH
        if stale and (self._counting is None or self._counting.done()):
            self._counting = asyncio.create_task(self._count(site))
        if self._figures is None:
            assert self._counting
            await self._counting
        assert self._figures
        return self._figures

    async def _count(self, site: Site) -> None:
        self._figures = await count_figures(
            site.database, series=site.series, policies=site.policies, now=site.clock.now()
        )


async def home(request: Request) -> Response:
    """Show what is coming, what was sent, and what needs a convenor."""
    site, member, now = site_of(request), session_of(request).member, site_of(request).clock.now()
    seen = await read_home(site.database, series=site.series, now=now)
    figures = await request.app.state.figures.get(site)
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
    )
