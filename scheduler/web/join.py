"""Requests to join: the form, the page that confirms the local time, and the page of the link in the email.

Only a POST changes anything.
"""

from collections.abc import Collection, Mapping, Sequence

from starlette.requests import Request
from starlette.responses import Response

from scheduler.domain.errors import Refused
from scheduler.domain.locale import countries, hour_cycle, language_name
from scheduler.domain.localtime import format_rule
from scheduler.domain.occurrence import Series
from scheduler.domain.translation import N_
from scheduler.domain.zone import city, require_zone
from scheduler.service import form_queue, join_requests
from scheduler.service.join_requests import JoinForm
from scheduler.service.personal_links import LinkStatus
from scheduler.web.forms import field_error, fields, languages, last, zones
from scheduler.web.language import accepted_tags, asked_language, speak_to
from scheduler.web.site import (
    PRIVATE,
    Site,
    language_of,
    link_closed,
    render_page,
    site_of,
    too_many_requests,
)

_FIELDS = ("name", "email", "country", "zone", "locale", "words", "consent")
_TRAP = "homepage"
"""A field that people do not see: only a program fills it in."""


async def join(request: Request) -> Response:
    """Show the form, then the local time of the next meeting; once that is confirmed, put the request in the queue.

    The response is the same for every address, and is sent before the address is looked up.
    """
    site = site_of(request)
    if request.method != "POST":
        asked = request.query_params.get("series", "")
        wanted = [series.slug for series in site.series if series.slug == asked or not series.by_choice]
        return _show_form(request, {"zone": request.query_params.get("zone", "")}, {}, wanted=wanted)
    form = await fields(request)
    typed = {name: last(form, name) for name in (*_FIELDS, _TRAP, "confirmed", "act")}
    wanted = form.get("follows", [])
    application, refusals = join_requests.read_join_form(typed, offered=_offered(site), wanted=wanted)
    language = language_of(request)
    complaints = {name: field_error(refusal, name, language) for name, refusal in refusals.items()}
    if application is None:
        return _show_form(request, typed, complaints, wanted=wanted, status=422)
    if typed["act"] == "back":
        return _show_form(request, typed, {}, wanted=wanted)
    if not application.zone or typed["confirmed"] != application.zone:
        return await _confirm_time(request, typed, application)
    if not await site.rate_limiter.allows(request):
        return too_many_requests(
            request, N_("We can take only a limited number of requests each hour. Try again in an hour.")
        )
    if not typed[_TRAP]:
        await form_queue.ask_to_join(site.database, application, now=site.clock.now())
    return render_page(request, "join_requested.html", headers=PRIVATE, address=application.email)


def _offered(site: Site) -> Sequence[Series]:
    """Return the series that the form asks about."""
    return site.series if site.has_choice else ()


def _show_form(
    request: Request,
    typed: Mapping[str, str],
    complaints: Mapping[str, str],
    *,
    wanted: Collection[str],
    status: int = 200,
) -> Response:
    site, language = site_of(request), language_of(request)
    values = {name: typed.get(name, "") for name in _FIELDS}
    values["locale"] = values["locale"] or _preferred_language(request)
    offered = dict(languages())
    return render_page(
        request,
        "join.html",
        status=status,
        headers=PRIVATE,
        values=values,
        complaints=complaints,
        series=[
            {
                "slug": series.slug,
                "title": series.in_language(language).title,
                "about": series.description,
                "rule": format_rule(series, hour_cycle(site.community.locale), language),
                "wanted": series.slug in wanted,
            }
            for series in _offered(site)
        ],
        trap=_TRAP,
        again=request.method == "POST",
        countries=countries(language),
        zones=zones(language),
        zone_words=_city_name(values["zone"], language),
        languages=languages(),
        other_language=language_name(values["locale"]) if values["locale"] not in offered else "",
        longest_words=join_requests.LONGEST_WORDS,
    )


def _city_name(zone: str, language: str) -> str:
    try:
        return city(require_zone(zone.strip()), language)
    except Refused:
        return zone


def _preferred_language(request: Request) -> str:
    """Return the language that the visitor chose for the page, or else the first one of the browser that the form
    offers, or else that of the page."""
    if asked := asked_language(request):
        return asked
    offered = dict(languages())
    for tag in accepted_tags(request.headers.get("accept-language", "")[:500]):
        for language in (tag, tag.partition("-")[0].lower()):
            if language in offered:
                return language
    return language_of(request)


async def _confirm_time(request: Request, typed: Mapping[str, str], application: JoinForm) -> Response:
    """Show the time of the next meeting in the visitor's time zone, and ask whether that is right."""
    site = site_of(request)
    series, offers = await join_requests.candidate_zones(
        site.database, site.series, application, language=language_of(request), now=site.clock.now()
    )
    hidden = [(name, typed[name]) for name in (*_FIELDS, _TRAP) if name != "zone"]
    hidden += [("follows", slug) for slug, wanted in (application.follows or {}).items() if wanted]
    return render_page(
        request,
        "confirm_time.html",
        headers=PRIVATE,
        hidden=hidden,
        series=series.in_language(language_of(request)).title if series and site.has_choice else "",
        offers=[
            {"zone": zone, "city": city(zone, language_of(request)), "when": when} for zone, when in offers
        ],
    )


async def confirm(request: Request) -> Response:
    """Show a request to join, and confirm it on POST."""
    site, token = site_of(request), request.path_params["token"]
    now = site.clock.now()
    if request.method == "POST":
        await request.body()
        link_status, join_request = await join_requests.confirm(
            site.database, token, keys=site.keys, admits=site.admits, all_series=site.series, now=now
        )
    else:
        link_status, join_request = await join_requests.check_confirmation_link(
            site.database, token, keys=site.keys, now=now
        )
    if join_request is None:
        if link_status is LinkStatus.EXPIRED:
            return render_page(
                request, "confirm_join.html", status=410, headers=PRIVATE, state="expired", request=None
            )
        return link_closed(request, link_status)
    speak_to(request, site.community, locale=join_request.locale, country=join_request.country)
    return render_page(
        request,
        "confirm_join.html",
        headers=PRIVATE,
        state=join_request.state,
        request=join_request,
        follows=[
            series.in_language(language_of(request)).title
            for series in site.series
            if join_request.follows and join_request.follows.get(series.slug)
        ],
        city=city(join_request.zone, language_of(request)),
    )
