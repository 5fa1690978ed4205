"""Audiences to choose from in a form, and the words for one that was chosen."""

from datetime import date, timedelta

from starlette.requests import Request

from scheduler.domain.errors import Refused
from scheduler.domain.locale import countries, country_name
from scheduler.domain.localtime import format_date, local_time
from scheduler.domain.occurrence import Occurrence, OccurrenceKey
from scheduler.domain.zone import city
from scheduler.service import members
from scheduler.service.schedule import coming_meetings, stored_past
from scheduler.web.forms import language_name
from scheduler.web.site import site_of

_AHEAD = timedelta(days=100)
_JOINED = (("30 days", 30), ("90 days", 90), ("year", 365))
_ANSWERS = {
    "coming": "Those who are coming",
    "answered": "Those who answered",
    "declined": "Those who declined",
    "unanswered": "Those who have not answered",
}


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
            (name, [(f"{kind}:{meeting.key}", f"{words}, {name}") for kind, words in _ANSWERS.items()])
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


def audience_words(request: Request, audience: str) -> str:
    """Return an audience in words, from the command line's terms; a term that is not known stays as it is."""
    terms = [term.strip() for term in audience.split(",") if term.strip()]
    wanted = [_term(request, term) for term in terms if not term.startswith("except:")]
    left_out = [_term(request, term.removeprefix("except:")) for term in terms if term.startswith("except:")]
    words = "; ".join(wanted)
    return f"{words}, but not: {'; '.join(left_out)}" if left_out else words


def _term(request: Request, term: str) -> str:
    kind, _, value = term.partition(":")
    series = site_of(request).by_slug
    try:
        match kind:
            case "all":
                return "All members"
            case "convenors":
                return "Convenors"
            case "series" if value in series:
                return f"Those who follow {series[value].title}"
            case "country":
                return country_name(value)
            case "zone":
                return _zone(value)
            case "locale":
                return language_name(value)
            case "joined-since":
                return f"Those who joined since {format_date(date.fromisoformat(value))}"
            case _ if kind in _ANSWERS:
                key = OccurrenceKey.parse(value)
                return f"{_ANSWERS[kind]}, {_with_series(request, key.series, format_date(key.date))}"
    except (ValueError, Refused):
        pass
    return term


def _with_series(request: Request, slug: str, day: str) -> str:
    """Return the day of a meeting, after the title of its series if there are several."""
    series = site_of(request).by_slug
    return f"{series[slug].title}, {day}" if len(series) > 1 and slug in series else day


def _zone(zone: str) -> str:
    return f"{city(zone)} ({zone})"
