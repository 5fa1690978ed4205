"""The feeds of the archive, for feed readers: Atom (RFC 4287) and JSON Feed 1.1."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

from scheduler.delivery.compose.markdown import as_html
from scheduler.domain.community import Community
from scheduler.domain.localtime import format_date, format_month
from scheduler.domain.occurrence import Series
from scheduler.service.archive import PastMeeting

_ATOM = "http://www.w3.org/2005/Atom"
_LANGUAGE = "en"


def meeting_title(past: PastMeeting, series: Series) -> str:
    """Return the title of a past meeting: its topic, or the title of its series."""
    return past.occurrence.topic or series.title


def meeting_date(past: PastMeeting) -> str:
    """Return when a past meeting was: its date in its home zone, or the month if the day is not known."""
    day = past.occurrence.home_date
    return format_month(day) if past.record.month_only else format_date(day)


def atom_feed(
    meetings: Sequence[PastMeeting], all_series: dict[str, Series], community: Community, *, empty: datetime
) -> bytes:
    """Return the Atom feed of past meetings. Without any, it says that it was updated at the instant `empty`."""
    home = f"{community.base_url}/archive"
    root = ElementTree.Element("feed", {"xmlns": _ATOM, "xml:lang": _LANGUAGE})
    _add(root, "title", _feed_title(community))
    _add(root, "subtitle", community.description)
    _add(root, "id", f"{home}.atom")
    _add(root, "link", rel="self", type="application/atom+xml", href=f"{home}.atom")
    _add(root, "link", rel="alternate", type="text/html", href=home)
    _add(root, "updated", _stamp(max(map(_updated, meetings), default=empty)))
    _add(ElementTree.SubElement(root, "author"), "name", community.name)
    for past in meetings:
        entry = ElementTree.SubElement(root, "entry")
        url = _url(community, past)
        _add(entry, "title", meeting_title(past, all_series[past.occurrence.series]))
        _add(entry, "id", url)
        _add(entry, "link", rel="alternate", type="text/html", href=url)
        if not past.record.month_only:
            _add(entry, "published", _stamp(past.occurrence.ends))
        _add(entry, "updated", _stamp(_updated(past)))
        for speaker in past.record.speakers:
            _add(ElementTree.SubElement(entry, "author"), "name", speaker.name)
        for theme in past.themes:
            _add(
                entry,
                "category",
                term=theme.slug,
                label=theme.name,
                scheme=f"{community.base_url}/themes/",
            )
        for material in past.record.materials:
            if material.link:
                _add(entry, "link", rel="related", title=material.words, href=material.link)
        _add(entry, "content", _html(past, all_series[past.occurrence.series]), type="html")
    ElementTree.indent(root)
    document: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def json_feed(meetings: Sequence[PastMeeting], all_series: dict[str, Series], community: Community) -> bytes:
    """Return the JSON Feed of past meetings."""
    home = f"{community.base_url}/archive"
    items: list[dict[str, Any]] = []
    for past in meetings:
        url = _url(community, past)
        series = all_series[past.occurrence.series]
        item: dict[str, Any] = {
            "id": url,
            "url": url,
            "title": meeting_title(past, series),
            "content_html": _html(past, series),
            "date_modified": _stamp(_updated(past)),
            "language": _LANGUAGE,
        }
        if not past.record.month_only:
            item["date_published"] = _stamp(past.occurrence.ends)
        if past.record.speakers:
            item["authors"] = [
                {"name": speaker.name, "url": f"{community.base_url}/speakers/{speaker.slug}"}
                for speaker in past.record.speakers
            ]
        if past.themes:
            item["tags"] = [theme.name for theme in past.themes]
        items.append(item)
    document = {
        "version": "https://jsonfeed.org/version/1.1",
        "title": _feed_title(community),
        "home_page_url": home,
        "feed_url": f"{home}.json",
        "description": community.description,
        "language": _LANGUAGE,
        "authors": [{"name": community.name}],
        "items": items,
    }
    return json.dumps(document, ensure_ascii=False, indent=1).encode() + b"\n"


def _feed_title(community: Community) -> str:
    return f"{community.name}: past meetings"


def _url(community: Community, past: PastMeeting) -> str:
    return f"{community.base_url}/meetings/{quote(past.occurrence.key)}"


def _updated(past: PastMeeting) -> datetime:
    if past.record.month_only:
        return past.changed_at
    # It comes into the feed when it is over.
    return max(past.changed_at, past.occurrence.ends)


def _stamp(instant: datetime) -> str:
    return f"{instant.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _html(past: PastMeeting, series: Series) -> str:
    record = past.record
    facts = [f"{series.title}, {meeting_date(past)}"]
    if past.occurrence.speakers:
        facts.append(f"With {past.occurrence.speakers}")
    paragraphs = "".join(f"<p>{escape(fact)}</p>" for fact in facts)
    links = "".join(
        f'<li><a href="{escape(material.link)}">{escape(material.words)}</a></li>'
        for material in record.materials
        if material.link
    )
    texts = "".join(as_html(words) for words in (record.summary, record.insights) if words)
    return paragraphs + texts + (f"<ul>{links}</ul>" if links else "")


def _add(parent: ElementTree.Element, tag: str, text: str = "", **attributes: str) -> None:
    ElementTree.SubElement(parent, tag, attributes).text = text or None
