"""Audiences to choose from in a form, and the words for one that was chosen."""

from collections.abc import Sequence
from datetime import date, timedelta

from starlette.requests import Request

from scheduler.domain.errors import Refused
from scheduler.domain.locale import countries, country_name
from scheduler.domain.localtime import format_date, local_time
from scheduler.domain.occurrence import Occurrence, OccurrenceKey
from scheduler.domain.zone import city
from scheduler.service import drafts, members
from scheduler.service.schedule import coming_meetings, stored_past
from scheduler.web.forms import language_name
from scheduler.web.site import site_of

_EXCEPT = "except:"
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
    """Return an audience in words, such as `Everybody in Sweden and Fiji, except those who declined on 17 December
    2026`, from the command line's terms. A term that is not known stays as it is."""
    wanted, left_out = split_audience(audience)
    words = _all_of(request, ["all"] if "all" in wanted else wanted) or "nobody yet"
    if left_out:
        words += f", except {_all_of(request, left_out)}"
    return words[:1].upper() + words[1:]


def split_audience(audience: str) -> tuple[list[str], list[str]]:
    """Return the terms of an audience, and those of its exceptions."""
    terms = [term.strip() for term in audience.split(",") if term.strip()]
    return (
        [term for term in terms if not term.startswith(_EXCEPT)],
        [term.removeprefix(_EXCEPT) for term in terms if term.startswith(_EXCEPT)],
    )


def join_audience(wanted: Sequence[str], left_out: Sequence[str]) -> str:
    """Return the audience that has these terms and exceptions."""
    return ",".join([*wanted, *(f"{_EXCEPT}{term}" for term in left_out)])


def _all_of(request: Request, terms: Sequence[str]) -> str:
    """Return terms in words; those that begin with the same words are joined: `everybody in Sweden and Fiji`."""
    phrases: dict[str, list[str]] = {}
    for term in dict.fromkeys(terms):
        begin, value = _phrase(request, term)
        phrases.setdefault(begin, []).append(value)
    return _listed([f"{begin} {_listed(values)}".strip() for begin, values in phrases.items()])


def _listed(words: Sequence[str]) -> str:
    """Return `a`, `a and b`, or `a, b and c`."""
    return " and ".join(filter(None, (", ".join(words[:-1]), "".join(words[-1:]))))


def _phrase(request: Request, term: str) -> tuple[str, str]:
    """Return a term in words: how they begin, and the value of the term."""
    kind, _, value = term.partition(":")
    series = site_of(request).by_slug
    try:
        match kind:
            case "all":
                return "everybody", ""
            case "convenors":
                return "convenors", ""
            case "series" if value in series:
                return "those who follow", series[value].title
            case "country":
                return "everybody in", _with_article(country_name(value))
            case "zone":
                return "everybody in the time zone of", _zone(value)
            case "locale":
                return "everybody who reads", language_name(value)
            case "joined-since":
                return "those who joined since", format_date(date.fromisoformat(value))
            case "list" if number := drafts.count_listed(term):
                return "", f"{number:,} {'member' if number == 1 else 'members'} on a list"
            case "list":
                return "the addresses in the file", value
            case "test":
                return "a test for", value
            case _ if kind in _ANSWERS:
                key = OccurrenceKey.parse(value)
                day, words = format_date(key.date), _ANSWERS[kind].lower()
                if len(series) > 1 and key.series in series:
                    return f"{words} ({series[key.series].title}) on", day
                return f"{words} on" if kind in ("coming", "declined") else f"{words} about", day
    except (ValueError, Refused):
        pass
    return "", term


def _with_article(country: str) -> str:
    """Return the name of a country as a sentence has it: `the Netherlands`."""
    is_plural = country.startswith("United ") or country.endswith(("Islands", "Netherlands", "Philippines"))
    return f"the {country}" if is_plural else country


def _with_series(request: Request, slug: str, day: str) -> str:
    """Return the day of a meeting, after the title of its series if there are several."""
    series = site_of(request).by_slug
    return f"{series[slug].title}, {day}" if len(series) > 1 and slug in series else day


def _zone(zone: str) -> str:
    return f"{city(zone)} ({zone})"
