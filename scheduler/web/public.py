"""The public pages: the front page, the page of each meeting, the card for other sites, and privacy."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from html import escape
from urllib.parse import quote, urlencode

from jinja2 import Environment, TemplateError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from scheduler.domain.card import elsewhere
from scheduler.domain.errors import Problem, Refused
from scheduler.domain.locale import hour_cycle
from scheduler.domain.localtime import LocalTime, format_rule, local_time
from scheduler.domain.occurrence import Occurrence, Series, Status
from scheduler.domain.palette import DEFAULT_ACCENT, palette_of, require_accent
from scheduler.domain.translation import N_
from scheduler.domain.zone import city, require_zone
from scheduler.service.archive import series_archive
from scheduler.service.retention import CONTACT_KEPT, PROFILES_KEPT, RETURNS_KEPT
from scheduler.service.schedule import (
    coming_meetings,
    neighbours,
    next_meeting,
    outlook,
    read_meeting,
    unmoved,
)
from scheduler.web.archive import day_of, iso_day, past_meeting
from scheduler.web.brand import stylesheet
from scheduler.web.countries import countries_view
from scheduler.web.feeds import webcal_url
from scheduler.web.forms import asked_number, zones
from scheduler.web.language import PARAMETER, asked_language, with_language
from scheduler.web.outbox import is_shown
from scheduler.web.pictures import SAFE_SVG
from scheduler.web.security import PAGE_POLICY
from scheduler.web.sharing import community_sharing, meeting_sharing
from scheduler.web.site import Site, language_of, render_page, say, site_of

LISTED_AHEAD = timedelta(days=365)
SERIES_LISTED_AHEAD = timedelta(days=3 * 366)
"""How far ahead the meetings of one series are listed: a rule may give only one each year."""

MOST_ON_SERIES_PAGE = 12
FEWEST_MEMBERS_SHOWN = 10
"""In a smaller community, the number of members could tell who they are."""
_LONGEST_ZONE = 60
_UNCHANGING = {"Cache-Control": "public, max-age=31536000, immutable"}


@dataclass(frozen=True, slots=True, kw_only=True)
class MeetingView:
    """A meeting as the templates show it.

    `home` is its time in its own zone, `local` its time in the visitor's zone if that is another one, and `was` the
    time in its own zone from which it was moved. `elsewhere` is the hour in other places, for one that is to come.
    """

    title: str
    series_url: str
    about: str
    topic: str
    speakers: str
    description: str
    materials: str
    url: str
    calendar_url: str
    home: LocalTime
    local: LocalTime | None
    was: LocalTime | None
    elsewhere: Sequence[str]
    cancelled: bool
    begun: bool
    over: bool
    has_room: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesView:
    """A series as the templates show it, with its next meetings; `rule` is in words, with the home time."""

    slug: str
    title: str
    about: str
    rule: str
    url: str
    coming: Sequence[MeetingView]


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneChoice:
    """The time zone that the visitor chose, empty if none, and the language of the page. `complaint` is a text that is
    no time zone."""

    language: str
    zone: str = ""
    city: str = ""
    complaint: str = ""

    @property
    def query(self) -> str:
        """The query string that keeps the choice on the next page."""
        return f"?{urlencode({'zone': self.zone})}" if self.zone else ""


async def home(request: Request) -> Response:
    """Show the front page of the community."""
    site, chosen = site_of(request), _zone_choice(request)
    now = site.clock.now()
    several = len(site.series) > 1
    ahead = SERIES_LISTED_AHEAD if several else LISTED_AHEAD
    schedule = await outlook(site.database, site.series, now=now, until=now + ahead)
    return render_page(
        request,
        "home.html",
        chosen=chosen,
        zones=zones(chosen.language),
        next=_meeting_view(site, schedule.next, chosen, now, in_full=True) if schedule.next else None,
        coming=[] if several else [_meeting_view(site, one, chosen, now) for one in schedule.coming],
        all_series=[
            _series_view(
                site,
                series,
                [occurrence for occurrence in schedule.coming if occurrence.series == series.slug],
                chosen,
                now,
            )
            for series in site.series
            if several
        ],
        members=schedule.members if schedule.members >= FEWEST_MEMBERS_SHOWN else 0,
        countries=schedule.countries,
        where=await countries_view(request),
        feed_url=site.community.feed_url,
        subscribe_url=webcal_url(site.community.feed_url),
        shows_outbox=is_shown(request),
        **community_sharing(site, chosen.language),
        # The link to the outbox is shown only on this machine, so the page must not be cached.
        headers={"Cache-Control": "no-store"} if site.shows_outbox else None,
    )


async def embed(request: Request) -> Response:
    """Show the next meeting as a card, for a frame on another site. `?theme=` and `?accent=` choose its colours."""
    site, chosen = site_of(request), _zone_choice(request)
    now = site.clock.now()
    theme, accent = _card_colors(request)
    occurrence = await next_meeting(site.database, site.series, now=now)
    colors = {"accent": accent[1:], "scheme": "" if theme == "auto" else theme}
    return render_page(
        request,
        "embed.html",
        next=_meeting_view(site, occurrence, chosen, now) if occurrence else None,
        scheme=colors["scheme"],
        colors_url="" if accent == DEFAULT_ACCENT else f"/theme.css?{urlencode(colors)}",
        headers={
            "Content-Security-Policy": PAGE_POLICY.replace(
                "frame-ancestors 'none'", f"frame-ancestors 'self' {site.embedded_by}".rstrip()
            ),
            "Cross-Origin-Resource-Policy": "cross-origin",
        },
    )


async def embed_code(request: Request) -> Response:
    """Show the code that puts the card of the next meeting on another site, and the card."""
    site = site_of(request)
    theme, accent = _card_colors(request)
    choice = {
        **({"theme": theme} if theme != "auto" else {}),
        **({"accent": accent[1:]} if accent != site.community.palette.light.accent else {}),
        **({PARAMETER: language} if (language := asked_language(request)) else {}),
    }
    path = "/embed/next" + (f"?{urlencode(choice)}" if choice else "")
    return render_page(
        request,
        "embed_code.html",
        theme=theme,
        accent=accent,
        embedded_by=site.embedded_by,
        card_path=path,
        code=(
            f'<iframe src="{escape(site.community.base_url + path)}" title="{escape(site.community.name)}" '
            'width="100%" height="340" loading="lazy" style="border: 0; border-radius: 12px"></iframe>'
        ),
    )


def _card_colors(request: Request) -> tuple[str, str]:
    """Return the theme and the accent that the address asks for: `auto` and the community's, if it asks for none."""
    theme = request.query_params.get("theme", "")
    accent = "#" + request.query_params.get("accent", "").removeprefix("#")
    try:
        accent = require_accent(accent, "accent")
    except Refused:
        accent = site_of(request).community.palette.light.accent
    return theme if theme in ("light", "dark") else "auto", accent


async def next_meeting_page(request: Request) -> Response:
    """Redirect to the page of the next meeting."""
    site = site_of(request)
    occurrence = await next_meeting(site.database, site.series, now=site.clock.now())
    if occurrence is None:
        return render_page(
            request,
            "problem.html",
            status=404,
            heading=say(request, N_("No meeting is planned")),
            words=say(request, N_("When a meeting is planned, this address will take you to it.")),
        )
    return Response(status_code=302, headers=_to(request, _url(occurrence)))


async def meeting(request: Request) -> Response:
    """Show one meeting, at an address that does not change."""
    site, chosen = site_of(request), _zone_choice(request)
    key = "{series}/{date}".format(**request.path_params)
    occurrence = await read_meeting(site.database, site.by_slug, key, now=site.clock.now())
    if occurrence is None:
        raise HTTPException(404)
    now, series = site.clock.now(), site.by_slug[occurrence.series]
    if occurrence.ends <= now and not occurrence.cancelled:
        view = _meeting_view(site, occurrence, chosen, now)
        return await past_meeting(request, occurrence, view=view, query=chosen.query)
    near = await neighbours(site.database, series, occurrence, now=now)
    earlier, later = (_meeting_view(site, one, chosen, now) if one else None for one in near)
    return render_page(
        request,
        "meeting.html",
        meeting=_meeting_view(site, occurrence, chosen, now, in_full=True),
        earlier=earlier,
        later=later,
        chosen=chosen,
        zones=zones(chosen.language),
        several=len(site.series) > 1,
        **meeting_sharing(site, occurrence, now, chosen.language),
    )


async def series_page(request: Request) -> Response:
    """Show one series: its rule, its next meetings, its calendar, and its past meetings of a year."""
    site, chosen = site_of(request), _zone_choice(request)
    series, now = site.by_slug.get(request.path_params["series"]), site.clock.now()
    if series is None:
        raise HTTPException(404)
    coming = await coming_meetings(
        site.database, series, now=now, until=now + SERIES_LISTED_AHEAD, most=MOST_ON_SERIES_PAGE
    )
    first_held = next((occurrence for occurrence in coming if occurrence.is_held), None)
    year = asked_number(request, "year")
    found = await series_archive(site.database, series, year=year, now=now)
    if found is None:
        raise HTTPException(404)
    years, meetings = found
    return render_page(
        request,
        "series.html",
        chosen=chosen,
        zones=zones(chosen.language),
        series=_series_view(site, series, coming, chosen, now),
        next=_meeting_view(site, first_held, chosen, now, in_full=True) if first_held else None,
        feed_url=site.community.series_feed_url(series.slug),
        subscribe_url=webcal_url(site.community.series_feed_url(series.slug)),
        year=year if year is not None else next(iter(years), None),
        years=years,
        past=[
            (_meeting_view(site, past.occurrence, chosen, now), day_of(past, chosen.language), iso_day(past))
            for past in meetings
        ],
    )


async def series_list(request: Request) -> Response:
    """Redirect to the front page, which lists the series."""
    return Response(status_code=302, headers=_to(request, "/"))


async def privacy(request: Request) -> Response:
    """Show what is kept about people, why and for how long, and what they can do about it."""
    site = site_of(request)
    return render_page(
        request,
        "privacy.html",
        has_choice=site.has_choice,
        declined_days=site.retention.declined_requests.days,
        return_days=RETURNS_KEPT.days,
        contact_days=CONTACT_KEPT.days,
        profile_days=PROFILES_KEPT.days,
        left_days=site.retention.left_members.days,
        delivery_days=site.retention.deliveries.days,
        audit_days=site.retention.audit.days,
    )


def _meeting_view(
    site: Site, occurrence: Occurrence, chosen: ZoneChoice, now: datetime, *, in_full: bool = False
) -> MeetingView:
    """Return a meeting for a page; only one that is shown in full has the hour in other places."""
    series, cycle = site.by_slug[occurrence.series], hour_cycle(site.community.locale)
    is_ahead = occurrence.ends > now and not occurrence.cancelled

    def when(shown: Occurrence, zone: str) -> LocalTime:
        return local_time(shown, series, zone=zone, cycle=cycle, language=chosen.language)

    return MeetingView(
        title=series.in_language(chosen.language).title,
        series_url=f"/series/{series.slug}{chosen.query}",
        about=series.description,
        topic=occurrence.topic,
        speakers=occurrence.speakers,
        description=occurrence.description,
        materials=occurrence.materials,
        url=_url(occurrence) + chosen.query,
        calendar_url=f"{_url(occurrence)}.ics",
        home=when(occurrence, occurrence.zone),
        local=when(occurrence, chosen.zone) if chosen.zone and chosen.zone != occurrence.zone else None,
        was=when(unmoved(occurrence), occurrence.zone) if occurrence.status is Status.MOVED else None,
        elsewhere=elsewhere(occurrence, series, cycle=cycle, language=chosen.language)
        if in_full and is_ahead
        else (),
        cancelled=occurrence.cancelled,
        begun=occurrence.starts <= now,
        over=occurrence.ends <= now,
        has_room=bool(occurrence.link or series.link),
    )


def _series_view(
    site: Site, series: Series, coming: Sequence[Occurrence], chosen: ZoneChoice, now: datetime
) -> SeriesView:
    return SeriesView(
        slug=series.slug,
        title=series.in_language(chosen.language).title,
        about=series.description,
        rule=format_rule(series, hour_cycle(site.community.locale), chosen.language),
        url=f"/series/{series.slug}{chosen.query}",
        coming=[_meeting_view(site, occurrence, chosen, now) for occurrence in coming],
    )


async def theme(request: Request) -> Response:
    """Answer with the community's colours, or with those of a card on another site; each has an address."""
    palette, scheme = site_of(request).community.palette, request.query_params.get("scheme", "")
    _, accent = _card_colors(request)
    if accent != palette.light.accent:
        palette = palette_of(accent)
    css = stylesheet(palette, scheme if scheme in ("light", "dark") else "")
    return Response(css, media_type="text/css", headers=_UNCHANGING)


async def logo(request: Request) -> Response:
    """Answer with the community's logo."""
    found = site_of(request).logo
    if not found:
        raise HTTPException(404)
    return Response(found.content, media_type=found.media_type, headers=SAFE_SVG)


def shown_time(templates: Environment, occurrence: Occurrence, series: Series, zone: str) -> str:
    """Return the time of a meeting as its page shows it to a visitor in `zone`; emails about it must show the same.

    Raises Problem if the template has an error.
    """
    try:
        hour: Callable[[LocalTime], str] = templates.get_template("_when.html").module.hour  # type: ignore[attr-defined]
        return hour(local_time(occurrence, series, zone=zone, cycle="h23"))
    except TemplateError as error:
        raise Problem(f"templates/web/_when.html: {error}") from None


def _url(occurrence: Occurrence) -> str:
    return f"/meetings/{quote(occurrence.key)}"


def _zone_choice(request: Request) -> ZoneChoice:
    name, language = request.query_params.get("zone", "").strip(), language_of(request)
    if not name:
        return ZoneChoice(language=language)
    try:
        zone = require_zone(name)
    except Refused:
        return ZoneChoice(language=language, complaint=name[:_LONGEST_ZONE])
    return ZoneChoice(language=language, zone=zone, city=city(zone, language))


def _to(request: Request, path: str) -> dict[str, str]:
    """Return the header that leads to a path, in the time zone and the language that the visitor chose."""
    return {"Location": with_language(request, path + _zone_choice(request).query)}
