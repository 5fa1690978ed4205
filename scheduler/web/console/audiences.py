"""Audiences to choose from in a form."""

from datetime import timedelta

from starlette.requests import Request

from scheduler.domain.locale import countries, language_name
from scheduler.domain.localtime import local_time
from scheduler.domain.occurrence import Occurrence
from scheduler.domain.zone import city
from scheduler.service import members
from scheduler.service.audience_words import ANSWERED
from scheduler.service.schedule import coming_meetings, stored_past
from scheduler.web.site import site_of

_AHEAD = timedelta(days=100)
_JOINED = (("30 days", 30), ("90 days", 90), ("year", 365))


async def likely_meetings(request: Request) -> list[tuple[Occurrence, str]]:
    """Return the meetings that a notice is likely to be about, each with its name."""
    site, now = site_of(request), site_of(request).clock.now()
    meetings = [
        meeting
        for series in site.series
        for meeting in await coming_meetings(site.database, series, now=now, until=now + _AHEAD, most=2)
    ]
    past = await stored_past(site.database, now=now, most=2)
    meetings += [meeting for meeting in past if meeting.series in site.by_slug]
    return [
        (
            meeting,
            _with_series(
                request,
                meeting.series,
                local_time(meeting, site.by_slug[meeting.series], zone=meeting.zone).date,
            ),
        )
        for meeting in meetings
    ]


async def audiences(
    request: Request, meetings: list[tuple[Occurrence, str]]
) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return the audiences to choose from by group, each with the command line's term and words."""
    site, now = site_of(request), site_of(request).clock.now()
    groups = [("Everybody", [("all", "All members"), ("convenors", "Convenors only")])]
    if len(site.series) > 1:
        groups.append(
            (
                "Followers",
                [(f"series:{series.slug}", f"Those who follow {series.title}") for series in site.series],
            )
        )
    for meeting, name in meetings:
        groups.append(
            (name, [(f"{kind}:{meeting.key}", f"{words}, {name}") for kind, words in ANSWERED.items()])
        )
    groups.append(
        (
            "New members",
            [
                (
                    f"joined-since:{(now - timedelta(days=days)).date()}",
                    f"Those who joined in the last {words}",
                )
                for words, days in _JOINED
            ],
        )
    )
    groups.append(("Country", [(f"country:{code}", name) for code, name in countries()]))
    places = await members.places_and_languages(site.database)
    groups.append(("Time zone", [(f"zone:{zone}", _zone(zone)) for zone in places.zones]))
    groups.append(("Language", [(f"locale:{tag}", language_name(tag)) for tag in places.locales]))
    return groups


def _with_series(request: Request, slug: str, day: str) -> str:
    """Return the day of a meeting, after the title of its series if there are several."""
    series = site_of(request).by_slug
    return f"{series[slug].title}, {day}" if len(series) > 1 and slug in series else day


def _zone(zone: str) -> str:
    return zone if city(zone) == zone else f"{city(zone)} ({zone})"
