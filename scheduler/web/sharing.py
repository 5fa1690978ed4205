"""What search engines, chats and social networks get: descriptions, pictures, structured data and the sitemap."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from functools import partial
from textwrap import shorten
from typing import Any
from xml.sax.saxutils import escape

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from scheduler.domain.card import Card, community_card, meeting_card
from scheduler.domain.locale import hour_cycle
from scheduler.domain.localtime import day_and_time, local_time
from scheduler.domain.meeting_record import Speaker
from scheduler.domain.occurrence import Occurrence, Status
from scheduler.domain.palette import Shades
from scheduler.domain.structured_data import event, organization
from scheduler.service.archive import contents
from scheduler.service.schedule import coming_meetings, read_dated_meeting, unmoved
from scheduler.web.card_picture import draw_card, writable
from scheduler.web.feeds import CalendarResponse
from scheduler.web.language import asked_language
from scheduler.web.pictures import picture_response
from scheduler.web.site import Site, site_of

PICTURED_AHEAD = timedelta(days=3 * 366)
"""Later meetings have no picture of their own: a rule gives meetings without end, and somebody could ask for all."""

_MOST_PICTURES = 300
_LONGEST_DESCRIPTION = 200
_MOST_COMING = 60


class CardPictures:
    """Cards as pictures. Each is drawn once, in a thread, one after the other, so that drawing takes one processor at
    most; the last ones are kept."""

    def __init__(self) -> None:
        self._drawn: OrderedDict[Card, bytes] = OrderedDict()
        self._turn = asyncio.Lock()

    async def get(self, card: Card, shades: Shades) -> bytes:
        """Return the picture of a card; all cards of a site have the same `shades`."""
        if card not in self._drawn:
            async with self._turn:
                if card not in self._drawn:
                    self._drawn[card] = await asyncio.to_thread(draw_card, card, shades)
                    if len(self._drawn) > _MOST_PICTURES:
                        self._drawn.popitem(last=False)
        self._drawn.move_to_end(card)
        return self._drawn[card]


async def meeting_picture(request: Request) -> Response:
    """Answer with the picture of a meeting, which is also the still picture of its recording."""
    site = site_of(request)
    key, now = "{series}/{date}".format(**request.path_params), site.clock.now()
    occurrence = await read_dated_meeting(site.database, site.by_slug, key, now=now)
    if occurrence is None or not _is_pictured(occurrence, now):
        raise HTTPException(404)
    language = asked_language(request) or site.community.language
    return await _picture(request, _drawn(partial(_meeting_card, site, occurrence, now), language))


async def community_picture(request: Request) -> Response:
    """Answer with the picture of the community, for pages without one of their own."""
    site = site_of(request)
    language = asked_language(request) or site.community.language
    return await _picture(request, _drawn(partial(_community_card, site), language))


async def draw_community_picture(pictures: CardPictures, site: Site) -> None:
    """Draw the picture of the community before anybody asks for it."""
    card = _drawn(partial(_community_card, site), site.community.language)
    await pictures.get(card, site.community.palette.light)


async def _picture(request: Request, card: Card) -> Response:
    content = await request.app.state.card_pictures.get(card, site_of(request).community.palette.light)
    return picture_response(request, content, "image/png")


def _drawn(card_in: Callable[[str], Card], language: str) -> Card:
    """Return a card in a language, or in English if the fonts do not have its letters."""
    card = card_in(language)
    return card if writable(card.day or "-") and writable(card.time or "-") else card_in("en")


def _picture_url(path: str, card: Card, site: Site, language: str) -> str:
    return f"{path}?v={card.version}" + (f"&lang={language}" if language != site.community.language else "")


def community_sharing(site: Site, language: str) -> dict[str, Any]:
    """Return the values of layout.html for a page about the community as a whole."""
    card_in = partial(_community_card, site)
    return {
        "picture": _picture_url("/picture.png", _drawn(card_in, language), site, language),
        "picture_words": card_in(language).text,
        "structured_data": [organization(site.community, logo=site.logo is not None)],
    }


def meeting_sharing(
    site: Site, occurrence: Occurrence, now: datetime, language: str, *, speakers: Sequence[Speaker] = ()
) -> dict[str, Any]:
    """Return the values of layout.html for the page of a meeting. `speakers` are those who have a page of their own."""
    card_in = partial(_meeting_card, site, occurrence, now)
    card = card_in(language)
    series, cycle = site.by_slug[occurrence.series], hour_cycle(site.community.locale)
    home = local_time(occurrence, series, zone=occurrence.zone, cycle=cycle)
    moved = occurrence.status is Status.MOVED
    was = local_time(unmoved(occurrence), series, zone=occurrence.zone, cycle=cycle) if moved else None
    description = _description(occurrence, card, series.description, language)
    url = f"{site.community.base_url}/meetings/{occurrence.key}"
    values: dict[str, Any] = {"description": description}
    picture = f"{site.community.base_url}/picture.png"
    if _is_pictured(occurrence, now):
        values["picture"] = _picture_url(
            f"/meetings/{occurrence.key}.png", _drawn(card_in, language), site, language
        )
        values["picture_words"] = card.text
        picture = f"{site.community.base_url}{values['picture']}"
    values["structured_data"] = [
        event(
            occurrence,
            series.in_language(language),
            site.community,
            home=home,
            was=was,
            description=description,
            url=url,
            picture=picture,
            speakers=speakers,
        )
    ]
    return values


def _description(occurrence: Occurrence, card: Card, about: str, language: str) -> str:
    """Return a few sentences on a meeting, beginning with what a reader must know first."""
    when = day_and_time(card.day, card.time, language)
    parts = (card.mark, when, card.words, occurrence.description or about)
    return shorten(
        ". ".join(part.strip().rstrip(".") for part in parts if part), _LONGEST_DESCRIPTION, placeholder="…"
    )


def _meeting_card(site: Site, occurrence: Occurrence, now: datetime, language: str) -> Card:
    series, community = site.by_slug[occurrence.series], site.community
    return meeting_card(
        occurrence, series, community, cycle=hour_cycle(community.locale), language=language, now=now
    )


def _community_card(site: Site, language: str) -> Card:
    return community_card(
        site.community, site.series, cycle=hour_cycle(site.community.locale), language=language
    )


def _is_pictured(occurrence: Occurrence, now: datetime) -> bool:
    return occurrence.starts <= now + PICTURED_AHEAD


async def sitemap(request: Request, listed: Sequence[str]) -> Response:
    """Answer with the addresses of the pages that search engines should list (sitemaps.org): those at the paths
    `listed`, and those of series, meetings, speakers and themes."""
    site = site_of(request)

    async def make() -> bytes:
        return await _make_sitemap(site, listed, site.clock.now())

    # With thousands of meetings it is too large for the cache of pages, and takes long to make.
    return CalendarResponse(await site.feed_cache.public_file("/sitemap.xml", "application/xml", make))


async def _make_sitemap(site: Site, listed: Sequence[str], now: datetime) -> bytes:
    paths: list[tuple[str, datetime | None]] = [(path, None) for path in listed]
    paths += [(f"/series/{series.slug}", None) for series in site.series]
    coming = [
        occurrence
        for series in site.series
        for occurrence in await coming_meetings(
            site.database, series, now=now, until=now + PICTURED_AHEAD, most=_MOST_COMING
        )
    ]
    paths += [(f"/meetings/{occurrence.key}", occurrence.changed_at) for occurrence in coming]
    recorded = await contents(site.database, now=now)
    paths += [(f"/meetings/{key}", changed_at) for key, changed_at in recorded.meetings]
    paths += [(f"/speakers/{slug}", None) for slug in recorded.speakers]
    paths += [(f"/themes/{slug}", None) for slug in recorded.themes]
    return _sitemap(site.community.base_url, paths).encode()


def _sitemap(base_url: str, paths: Iterable[tuple[str, datetime | None]]) -> str:
    urls = "".join(
        f"<url><loc>{escape(base_url + path)}</loc>"
        f"{f'<lastmod>{changed:%Y-%m-%dT%H:%M:%SZ}</lastmod>' if changed else ''}</url>\n"
        for path, changed in paths
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n{urls}</urlset>\n'
    )


def robots_text(base_url: str, disallowed: Iterable[str]) -> PlainTextResponse:
    """Return robots.txt: what search engines should leave alone, and where the sitemap is."""
    lines = [
        "User-agent: *",
        *(f"Disallow: {path}" for path in disallowed),
        f"Sitemap: {base_url}/sitemap.xml",
    ]
    return PlainTextResponse("\n".join(lines) + "\n")
