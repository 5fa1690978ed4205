"""The archive: past meetings by year and theme, the search, single past meetings, speakers, themes, and feeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from scheduler.delivery.compose.markdown import as_section
from scheduler.domain.localtime import format_day, format_month
from scheduler.domain.meeting_record import Material, Theme
from scheduler.domain.occurrence import Occurrence, Series
from scheduler.domain.search import LONGEST_QUERY, Part, marked, passage
from scheduler.service import archive as service
from scheduler.service.archive import PastMeeting
from scheduler.service.archive_feeds import atom_feed, json_feed
from scheduler.web.feeds import CalendarResponse
from scheduler.web.forms import asked_number
from scheduler.web.sharing import meeting_sharing
from scheduler.web.site import Site, language_of, render_page, site_of

_EXCERPT = 240


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryView:
    """A past meeting in a list: `day` is its date, or the month alone. `topic`, `names` and `passage` are in parts;
    those that a search found are marked."""

    url: str
    day: str
    iso: str
    title: str
    topic: Sequence[Part]
    names: Sequence[Part]
    passage: Sequence[Part]
    themes: Sequence[Theme]
    materials: Sequence[Material]
    materials_words: str


async def archive(request: Request) -> Response:
    """List past meetings of a year, with `?theme=` those of a theme, with `?q=` those that a search finds."""
    site, typed = site_of(request), request.query_params.get("q", "")[:LONGEST_QUERY]
    theme = request.query_params.get("theme", "")
    page = await service.read_archive(
        site.database,
        service.Request(
            year=asked_number(request, "year"),
            theme=theme,
            typed=typed,
            page=asked_number(request, "page") or 1,
        ),
        now=site.clock.now(),
    )
    if page is None:
        raise HTTPException(404)
    asked = {"q": typed.strip(), "theme": theme, "year": str(page.year or "")}
    return render_page(
        request,
        "archive.html",
        listed=page,
        several=len(site.series) > 1,
        typed=typed.strip(),
        meetings=[_entry_view(site, past, language_of(request), page.terms) for past in page.meetings],
        **_page_links("/archive", asked, page),
    )


async def speaker(request: Request) -> Response:
    """Show a speaker, with their past meetings."""
    site, slug = site_of(request), request.path_params["speaker"]
    page = await service.read_speaker(
        site.database, slug, page=asked_number(request, "page") or 1, now=site.clock.now()
    )
    return _subject(request, f"/speakers/{quote(slug)}", page)


async def theme(request: Request) -> Response:
    """Show a theme, with its past meetings."""
    site, slug = site_of(request), request.path_params["theme"]
    page = await service.read_theme(
        site.database, slug, page=asked_number(request, "page") or 1, now=site.clock.now()
    )
    return _subject(request, f"/themes/{quote(slug)}", page)


def _subject(request: Request, path: str, page: service.ArchivePage | None) -> Response:
    if page is None:
        raise HTTPException(404)
    return render_page(
        request,
        "speaker.html" if page.speaker else "theme.html",
        speaker=page.speaker,
        theme=page.theme,
        several=len(site_of(request).series) > 1,
        words=as_section(page.theme.words, level=2) if page.theme else "",
        meetings=[_entry_view(site_of(request), past, language_of(request)) for past in page.meetings],
        **_page_links(path, {}, page),
    )


async def past_meeting(request: Request, occurrence: Occurrence, *, view: object, query: str) -> Response:
    """Show a meeting that was held. `view` is its MeetingView, and `query` keeps the time zone that was chosen."""
    site = site_of(request)
    details = await service.read_details(site.database, occurrence, now=site.clock.now())
    record = details.record
    series, language = site.by_slug[occurrence.series], language_of(request)
    heading, day = (
        occurrence.topic or series.in_language(language).title,
        _day(occurrence, language, month_only=record.month_only),
    )
    # A card and an event for search engines would name a day that is not known.
    sharing = (
        {"description": f"{heading}, {day}."}
        if record.month_only
        else meeting_sharing(site, occurrence, site.clock.now(), language, speakers=record.speakers)
    )
    return render_page(
        request,
        "past_meeting.html",
        meeting=view,
        heading=heading,
        day=day,
        month_only=record.month_only,
        year=occurrence.home_date.year,
        speakers=record.speakers,
        summary=as_section(record.summary, level=3),
        insights=as_section(record.insights, level=3),
        recordings=[one for one in record.materials if one.link and one.kind == "recording"],
        materials=[one for one in record.materials if not (one.link and one.kind == "recording")],
        themes=details.themes,
        countries=details.countries,
        **sharing,
        earlier=_link_to(site.by_slug, details.earlier, query, language),
        later=_link_to(site.by_slug, details.later, query, language),
    )


async def atom(request: Request) -> Response:
    """Return the Atom feed of the archive."""
    site = site_of(request)

    async def make() -> bytes:
        meetings = await service.latest(site.database, now=site.clock.now())
        return atom_feed(meetings, site.by_slug, site.community, empty=site.feed_cache.started)

    return CalendarResponse(await site.feed_cache.public_file("/archive.atom", "application/atom+xml", make))


async def json(request: Request) -> Response:
    """Return the JSON Feed of the archive."""
    site = site_of(request)

    async def make() -> bytes:
        meetings = await service.latest(site.database, now=site.clock.now())
        return json_feed(meetings, site.by_slug, site.community)

    return CalendarResponse(await site.feed_cache.public_file("/archive.json", "application/feed+json", make))


def _entry_view(site: Site, past: PastMeeting, language: str, terms: Sequence[str] = ()) -> EntryView:
    occurrence = past.occurrence
    names = ", ".join(
        f"{speaker.name} ({speaker.about})" if speaker.about else speaker.name
        for speaker in past.record.speakers
    )
    return EntryView(
        url=meeting_url(occurrence),
        day=day_of(past, language),
        iso=iso_day(past),
        title=site.by_slug[occurrence.series].in_language(language).title,
        topic=marked(occurrence.topic, terms),
        names=marked(names or occurrence.speakers, terms),
        passage=passage(past.excerpt or occurrence.description, terms, length=_EXCERPT),
        themes=past.themes,
        materials=past.record.materials,
        materials_words="" if past.record.materials else occurrence.materials,
    )


def day_of(past: PastMeeting, language: str) -> str:
    """Return the date of a past meeting in words, or the month if the day is not known."""
    return _day(past.occurrence, language, month_only=past.record.month_only)


def iso_day(past: PastMeeting) -> str:
    """Return the same for programs."""
    day = past.occurrence.home_date
    return f"{day:%Y-%m}" if past.record.month_only else f"{day}"


def _day(occurrence: Occurrence, language: str, *, month_only: bool) -> str:
    day = occurrence.home_date
    return format_month(day, language) if month_only else format_day(day, language)


def _link_to(
    all_series: Mapping[str, Series], occurrence: Occurrence | None, query: str, language: str
) -> tuple[str, str] | None:
    if occurrence is None:
        return None
    title = all_series[occurrence.series].in_language(language).title
    return meeting_url(occurrence) + query, occurrence.topic or title


def meeting_url(occurrence: Occurrence) -> str:
    """Return the path of the page of a meeting."""
    return f"/meetings/{quote(occurrence.key)}"


def _page_links(path: str, asked: Mapping[str, str], page: service.ArchivePage) -> dict[str, Any]:
    """Return the addresses of the pages before and after a page of a list, for a template; empty if there is none."""
    values = {name: value for name, value in asked.items() if value}

    def url(number: int) -> str:
        exists = 1 <= number <= page.pages
        return f"{path}?{urlencode({**values, 'page': number})}" if exists else ""

    return {"previous": url(page.page - 1), "next": url(page.page + 1)}
