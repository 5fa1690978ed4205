"""Where the community is: the countries of members for a page's list, and the map beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256

from starlette.requests import Request
from starlette.responses import Response

from scheduler.domain.world_map import HEIGHT, WIDTH, draw_map
from scheduler.service.where_we_are import CountryOfMembers, where_we_are
from scheduler.web.pictures import SAFE_SVG, picture_response
from scheduler.web.site import site_of

_PATIENCE = timedelta(seconds=1)
"""How long a page waits for the first count; if it takes longer, the page has no list of countries yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CountriesView:
    """The countries, and the address and size of their map. `_countries.html` shows it."""

    countries: Sequence[CountryOfMembers]
    map_url: str
    width: int = WIDTH
    height: int = HEIGHT


async def countries_view(request: Request) -> CountriesView | None:
    """Return where members are, for `countries_section` of `_countries.html`; None if there is nothing to show."""
    countries = await _countries(request)
    if not countries:
        return None
    state = " ".join(
        [site_of(request).community.palette.light.accent, *(country.code for country in countries)]
    )
    return CountriesView(countries=countries, map_url=f"/map.svg?v={sha256(state.encode()).hexdigest()[:8]}")


async def world_map(request: Request) -> Response:
    """Answer with the map; the countries of members have the community's colour."""
    countries = await _countries(request)
    svg = draw_map([country.code for country in countries], site_of(request).community.palette)
    return picture_response(request, svg.encode(), "image/svg+xml", SAFE_SVG)


async def _countries(request: Request) -> Sequence[CountryOfMembers]:
    site = site_of(request)

    async def count() -> list[CountryOfMembers]:
        return await where_we_are(site.database)

    kept = request.app.state.countries
    return await kept.soon(site.clock.now(), count, patience=_PATIENCE) or []
