"""What search engines, chats and social networks get: descriptions, pictures, structured data, a sitemap and a card."""

import json
import re
from collections.abc import Mapping
from datetime import datetime
from io import BytesIO
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest
from PIL import Image

from scheduler.domain.card import Card
from scheduler.domain.palette import DEFAULT_PALETTE, Shades
from scheduler.service.occurrences import Change, amend
from scheduler.web.card_picture import HEIGHT, WIDTH, _font, _ranges, draw_card, writable
from tests.installation import COMMUNITY, SERIES, Installation
from tests.web.conftest import PAGES, make_app

NOVEMBER = f"{SERIES.slug}/2026-11-19"
DECEMBER = f"{SERIES.slug}/2026-12-17"
PUBLIC = (
    "/",
    f"/meetings/{NOVEMBER}",
    f"/series/{SERIES.slug}",
    "/archive",
    "/join",
    "/subscribe",
    "/embed",
    "/privacy",
)

# What schema.org's page on each type and search engines require (True) or recommend.
SHAPES: Mapping[str, Mapping[str, bool]] = {
    "Event": {
        "name": True,
        "startDate": True,
        "location": True,
        "endDate": False,
        "eventStatus": False,
        "eventAttendanceMode": False,
        "description": False,
        "image": False,
        "organizer": False,
        "performer": False,
        "previousStartDate": False,
        "isAccessibleForFree": False,
        "superEvent": False,
        "url": False,
    },
    "EventSeries": {"name": True, "url": False},
    "PerformingGroup": {"name": True},
    "Person": {"name": True, "url": False},
    "VirtualLocation": {"url": True},
    "Organization": {"name": True, "url": True, "description": False, "logo": False, "sameAs": False},
}


def check_shape(document: Mapping[str, Any]) -> None:
    """Check that a document of JSON-LD has what its type needs, and nothing that it does not know."""
    shape = SHAPES[document["@type"]]
    names = set(document) - {"@type", "@context"}
    assert names <= set(shape), names - set(shape)
    assert {name for name, required in shape.items() if required} <= names
    for name, value in document.items():
        if isinstance(value, dict):
            check_shape(value)
        elif name == "performer":
            assert value
            for performer in value:
                check_shape(performer)
        elif name.endswith("Date"):
            assert datetime.fromisoformat(value).tzinfo
        elif name in ("url", "logo", "eventStatus", "eventAttendanceMode"):
            assert value.startswith("https://")


def documents(page: str) -> list[dict[str, Any]]:
    found = re.findall(r'<script type="application/ld\+json">(.*?)</script>', page, re.DOTALL)
    read = [json.loads(one) for one in found]
    for document in read:
        assert document["@context"] == "https://schema.org"
        check_shape(document)
    return read


def metadata(page: str) -> dict[str, str]:
    return dict(re.findall(r'<meta (?:name|property)="([^"]+)" content="([^"]*)">', page))


async def change(installation: Installation, key: str, **values: object) -> None:
    now = installation.clock.now()
    await amend(installation.database, installation.by_slug, key, Change(**values), now=now)  # type: ignore[arg-type]


async def test_each_public_page_has_a_title_description_address_and_picture_of_its_own(
    visitor: httpx.AsyncClient,
) -> None:
    seen: dict[str, str] = {}
    for path in PUBLIC:
        page = (await visitor.get(path, params={"zone": "Asia/Tokyo"})).text
        found = metadata(page)
        title = re.search("<title>(.*?)</title>", page)
        assert title and COMMUNITY.name in title[1]
        assert 20 < len(found["description"]) <= 200, path
        assert found["og:description"] == found["description"] not in seen.values(), path
        assert f'<link rel="canonical" href="{COMMUNITY.base_url}{path}">' in page
        assert found["og:url"] == COMMUNITY.base_url + path
        picture = await visitor.get(found["og:image"].removeprefix(COMMUNITY.base_url))
        assert picture.headers["Content-Type"] == "image/png"
        assert Image.open(BytesIO(picture.content)).size == (WIDTH, HEIGHT) == (1200, 630)
        seen[path] = found["description"]
    for path in ("/me", "/nothing", "/embed/next"):
        assert "og:" not in (await visitor.get(path)).text, path


async def test_an_older_year_of_the_archive_is_a_page_of_its_own(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    for day in ("2024-03-21", "2026-10-15"):
        await change(installation, f"{SERIES.slug}/{day}", topic="Hope", speakers="Amara Okafor")
    assert metadata((await visitor.get("/archive?year=2024")).text)["og:url"].endswith("/archive?year=2024")
    assert metadata((await visitor.get("/archive?year=2026")).text)["og:url"].endswith("/archive")


async def test_search_engines_read_who_spoke_at_a_past_meeting(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    past = f"{SERIES.slug}/2021-05-20"
    await change(installation, past, speakers="Ann Lee, poet; Bo Ray")
    (event,) = documents((await visitor.get(f"/meetings/{past}")).text)
    assert event["performer"] == [
        {"@type": "Person", "name": "Ann Lee", "url": f"{COMMUNITY.base_url}/speakers/ann-lee"},
        {"@type": "Person", "name": "Bo Ray", "url": f"{COMMUNITY.base_url}/speakers/bo-ray"},
    ]


async def test_search_engines_read_when_a_meeting_is_whether_it_was_moved_or_cancelled_and_no_private_link(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    await change(installation, NOVEMBER, topic="</script><b>Tea & talk", speakers="Ann")
    (event,) = documents((await visitor.get(f"/meetings/{NOVEMBER}")).text)
    assert event["name"] == "</script><b>Tea & talk" and event["performer"]["name"] == "Ann"
    assert event["startDate"] == "2026-11-19T18:00:00+00:00"
    assert event["eventStatus"] == "https://schema.org/EventScheduled"
    assert event["eventAttendanceMode"] == "https://schema.org/OnlineEventAttendanceMode"
    assert event["location"]["url"] == f"{COMMUNITY.base_url}/meetings/{NOVEMBER}"
    assert event["organizer"]["name"] == COMMUNITY.name
    assert "room.example.org" not in json.dumps(event)
    await change(installation, DECEMBER, move_to=datetime(2026, 12, 17, 19))
    (event,) = documents((await visitor.get(f"/meetings/{DECEMBER}")).text)
    assert event["eventStatus"] == "https://schema.org/EventRescheduled"
    assert event["previousStartDate"] == "2026-12-17T18:00:00+00:00"
    assert event["startDate"] == "2026-12-17T19:00:00+00:00"
    await change(installation, DECEMBER, cancel=True)
    page = (await visitor.get(f"/meetings/{DECEMBER}")).text
    (event,) = documents(page)
    assert event["eventStatus"] == "https://schema.org/EventCancelled" and "previousStartDate" not in event
    assert metadata(page)["description"].startswith(
        "Cancelled. Thursday 17 December 2026, 19:00 to 20:00 in London"
    )
    (organization,) = documents((await visitor.get("/")).text)
    assert organization["@type"] == "Organization" and COMMUNITY.website in organization["sameAs"]


async def test_the_picture_of_a_meeting_changes_with_it_and_is_drawn_once(
    installation: Installation, visitor: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Card] = []

    def draw(card: Card, shades: Shades) -> bytes:
        drawn.append(card)
        return draw_card(card, shades)

    monkeypatch.setattr("scheduler.web.sharing.draw_card", draw)
    path = f"/meetings/{NOVEMBER}.png"
    first = await visitor.get(path)
    again = await visitor.get(path, headers={"If-None-Match": first.headers["ETag"]})
    assert (first.status_code, again.status_code, len(drawn)) == (200, 304, 1)
    assert first.headers["Cache-Control"] == "public, max-age=3600"
    assert first.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    address = metadata((await visitor.get(f"/meetings/{NOVEMBER}")).text)["og:image"]
    await change(installation, NOVEMBER, topic="Listening well")
    assert metadata((await visitor.get(f"/meetings/{NOVEMBER}")).text)["og:image"] != address
    changed = await visitor.get(path, headers={"If-None-Match": first.headers["ETag"]})
    assert changed.status_code == 200 and len(drawn) == 2
    assert drawn[1].elsewhere == ("13:00 New York", "19:00 Berlin", "23:30 Kolkata", "Fri 07:00 Auckland")
    assert drawn[1].time == "18:00 to 19:00 in London (UTC)"


async def test_a_meeting_without_a_picture_of_its_own_shows_that_of_the_community(
    visitor: httpx.AsyncClient,
) -> None:
    later = f"{SERIES.slug}/2099-12-17"
    assert metadata((await visitor.get(f"/meetings/{later}")).text)["og:image"].endswith("/picture.png")
    for key in (later, f"{SERIES.slug}/2026-11-20", "nothing/2026-11-19"):
        assert (await visitor.get(f"/meetings/{key}.png")).status_code == 404, key


def test_a_picture_has_no_boxes_in_place_of_letters() -> None:
    assert (
        writable("Łódź, Ελλάδα, Київ, Nguyễn “quoted” – 5 €") == "Łódź, Ελλάδα, Київ, Nguyễn “quoted” – 5 €"
    )
    assert writable("🌱 Growing 👩‍🌾 together") == "Growing together"
    assert [writable(text) for text in ("李", "عائشة", "नमस्ते", "Tea 茶")] == ["", "", "", ""]
    for bold in (False, True):
        font = _font(40, bold=bold)
        box = bytes(font.getmask("\uffff"))
        missing = [
            chr(code)
            for first, last in _ranges()
            for code in range(first, last + 1)
            if chr(code).isalpha() and bytes(font.getmask(chr(code))) == box
        ]
        assert missing == []


async def test_the_sitemap_is_sent_only_if_it_has_changed(visitor: httpx.AsyncClient) -> None:
    """With thousands of meetings it has more than half a megabyte."""
    answer = await visitor.get("/sitemap.xml")
    again = await visitor.get("/sitemap.xml", headers={"If-None-Match": answer.headers["ETag"]})
    assert answer.status_code == 200 and (again.status_code, again.content) == (304, b"")


async def test_the_sitemap_lists_every_public_page_and_robots_txt_names_it(
    installation: Installation, visitor: httpx.AsyncClient
) -> None:
    await change(installation, f"{SERIES.slug}/2026-10-15", topic="Listening")
    answer = await visitor.get("/sitemap.xml")
    assert answer.headers["Content-Type"] == "application/xml; charset=utf-8"
    names = {"s": "http://www.sitemaps.org/schemas/sitemap/0.9"}
    places = ElementTree.fromstring(answer.text).findall("s:url/s:loc", names)  # noqa: S314
    urls = [place.text or "" for place in places]
    assert len(urls) == len(set(urls)) and all(url.startswith(COMMUNITY.base_url + "/") for url in urls)
    paths = [url.removeprefix(COMMUNITY.base_url) for url in urls]
    assert set(PUBLIC) <= set(paths) and f"/meetings/{SERIES.slug}/2026-10-15" in paths
    assert f"/meetings/{SERIES.slug}/2026-09-17" not in paths, "its page says nothing"
    for path in paths:
        if "/meetings/" not in path or "2026" in path:
            assert (await visitor.get(path)).status_code == 200, path
    assert (
        f"Sitemap: {COMMUNITY.base_url}/sitemap.xml" in (await visitor.get("/robots.txt")).text.splitlines()
    )


async def test_the_card_for_other_sites_has_the_colours_that_its_code_asks_for(
    visitor: httpx.AsyncClient,
) -> None:
    plain = await visitor.get("/embed/next")
    assert "/theme.css" not in plain.text and 'class="dark"' not in plain.text
    assert "frame-ancestors 'self' https://www.example.org" in plain.headers["Content-Security-Policy"]
    dark = (await visitor.get("/embed/next?theme=dark&accent=aa3311")).text
    assert '<html lang="en" dir="ltr" class="dark">' in dark and 'name="color-scheme" content="dark"' in dark
    colors = re.search(r'href="(/theme\.css[^"]+)"', dark)
    assert colors
    css = (await visitor.get(colors[1].replace("&amp;", "&"))).text
    assert css.startswith("@media screen { :root.dark {") and "prefers-color-scheme" not in css
    for wrong in ("theme=<b>&accent=red", "accent=%22%3E", "accent=12345"):
        assert (await visitor.get(f"/embed/next?{wrong}")).text == plain.text
    code = await visitor.get("/embed?theme=dark&accent=%23aa3311")
    snippet = re.search(r"<textarea[^>]*>(.*?)</textarea>", code.text, re.DOTALL)
    assert snippet and "https://meet.example.org/embed/next?theme=dark&amp;amp;accent=aa3311" in snippet[1]


def test_the_card_for_other_sites_has_our_own_colours_in_either_scheme() -> None:
    css = (PAGES / "static" / "embed.css").read_text()
    for scheme, shades in (("light", DEFAULT_PALETTE.light), ("dark", DEFAULT_PALETTE.dark)):
        block = css.partition(f":root.{scheme} {{")[2].partition("}")[0]
        for name, color in (
            ("accent", shades.accent),
            ("on-accent", shades.on_accent),
            ("tint", shades.tint),
            ("on-tint", shades.on_tint),
        ):
            assert f"--{name}: {color};" in block


async def test_a_community_that_allows_no_card_says_so_and_offers_a_link(installation: Installation) -> None:
    app = make_app(installation, embedded_by="")
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8000"
    ) as visitor:
        page = (await visitor.get("/embed")).text
        assert "<textarea" not in page and 'href="/next"' in page
        policy = (await visitor.get("/embed/next")).headers["Content-Security-Policy"]
        assert policy.endswith("frame-ancestors 'self'")
