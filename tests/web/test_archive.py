"""The archive in a browser's eyes: lists, the search, past meetings, speakers, themes and feeds."""

import json
import re
from datetime import UTC, datetime, timedelta

import feedparser  # type: ignore[import-untyped]
import httpx
import pytest

from scheduler.domain.errors import Refused
from scheduler.domain.meeting_record import Material, MaterialKind, Speaker
from scheduler.service import meeting_records
from scheduler.service.occurrence_import import import_sheet, read_sheet
from scheduler.service.occurrences import Change, amend
from tests.installation import Installation

SLUG = "conversation-for-kindness"
MAY, JUNE = f"{SLUG}/2021-05-20", f"{SLUG}/2021-06-17"


async def change(installation: Installation, key: str, change: Change) -> None:
    await amend(installation.database, installation.by_slug, key, change, now=installation.clock.now())


@pytest.fixture
async def filled(installation: Installation) -> Installation:
    """Two past meetings with all there is to record, and one of which only the month is known."""
    await meeting_records.add_theme(
        installation.database,
        "Listening & <b>",
        words="# Hear\n\nHearing **all**.",
        now=installation.clock.now(),
    )
    await change(
        installation,
        MAY,
        Change(
            topic="Clean <language>",
            speaker_rows=(Speaker(name="Amara Okafor", role="poet", link="https://amara.example.org/"),),
            material_rows=(
                Material(kind=MaterialKind.RECORDING, link="https://youtu.be/x?a=1&b=2"),
                Material(kind=MaterialKind.PAPER, title="On questions", link="https://example.org/p"),
            ),
            summary="# What we said\n\nAbout <script>alert(1)</script> *questions*.",
            insights="- Ask less",
            themes=("listening-b",),
        ),
    )
    await change(installation, JUNE, Change(topic="Silence"))
    sheet = read_sheet(b"month,title\nMarch 2016,Before it began\n", series=installation.series)
    await import_sheet(installation.database, installation.series, sheet, now=installation.clock.now())
    return installation


async def test_a_past_meeting_shows_all_that_is_recorded_and_leads_on(
    filled: Installation, visitor: httpx.AsyncClient
) -> None:
    page = (await visitor.get(f"/meetings/{MAY}")).text
    assert "<h1>Clean &lt;language&gt;</h1>" in page and "Thursday 20 May 2021" in page
    assert '<a href="/speakers/amara-okafor">Amara Okafor</a>' in page and ">poet</p>" in page
    assert "<h3>What we said</h3>" in page and "<em>questions</em>" in page, "below the headings of the page"
    assert "<script>alert" not in page and "&lt;script&gt;alert(1)" in page
    assert 'href="https://youtu.be/x?a=1&amp;b=2" rel="noreferrer">Watch the recording</a>' in page
    assert '>On questions</a> <span class="tag">Paper</span>' in page
    assert '<a class="tag accent" href="/themes/listening-b">Listening &amp; &lt;b&gt;</a>' in page
    assert f'<img src="/meetings/{MAY}.png?v=' in page, "a still picture of our own"
    assert "<iframe" not in page and page.count("<img") == 1 and "countries" not in page
    assert f'href="/meetings/{JUNE}" rel="next"' in page and '2016-03-17T1800" rel="prev"' in page
    old = (await visitor.get(f"/meetings/{SLUG}/2016-03-17T1800")).text
    assert (
        '<time datetime="2016-03">March 2016</time>' in old and "18:00" not in old and "17 March" not in old
    )
    blank = (await visitor.get(f"/meetings/{SLUG}/2024-03-21")).text
    assert "have not been added yet" in blank


async def test_the_archive_lists_by_year_and_theme_and_marks_what_a_search_finds(
    filled: Installation, visitor: httpx.AsyncClient
) -> None:
    page = (await visitor.get("/archive")).text
    assert page.index("Silence") < page.index("Clean &lt;language&gt;") and "Before it began" not in page
    assert re.findall(r'href="/archive\?year=(\d+)"', page) == ["2021", "2016"]
    assert "Before it began" in (await visitor.get("/archive?year=2016")).text
    themed = (await visitor.get("/archive?theme=listening-b")).text
    assert "Clean" in themed and "Silence" not in themed
    found = (await visitor.get("/archive?q=clen+langage")).text
    assert "<mark>Clean</mark> &lt;<mark>language</mark>&gt;" in found
    assert (
        "We found nothing for “clen langage”. Here is 1 meeting for <strong>clean language</strong>." in found
    )
    nothing = (await visitor.get("/archive", params={"q": "<xyzzy>zz"})).text
    assert "No meeting in the archive mentions this." in nothing
    assert "&lt;xyzzy&gt;zz" in nothing
    speaker = (await visitor.get("/speakers/amara-okafor")).text
    assert "<h1>Amara Okafor</h1>" in speaker and "https://amara.example.org/" in speaker and MAY in speaker
    theme = (await visitor.get("/themes/listening-b")).text
    assert "Hearing <strong>all</strong>." in theme and MAY in theme
    assert "<h2>Hear</h2>" in theme, "directly below the heading of the page"
    for path in (
        "/archive?year=2019",
        "/archive?theme=x",
        "/archive?page=2",
        "/archive?page=0",
        "/archive?page=" + "9" * 5000,
        "/speakers/x",
        "/themes/x",
        "/speakers/amara-okafor?page=2",
        "/archive?year=٢٠٢١",
    ):
        assert (await visitor.get(path)).status_code == 404, path


async def test_the_feeds_are_valid_and_change_when_a_meeting_does(
    filled: Installation, visitor: httpx.AsyncClient
) -> None:
    assert (
        'type="application/atom+xml" title="Past meetings" href="/archive.atom"'
        in (await visitor.get("/archive")).text
    )
    atom = await visitor.get("/archive.atom")
    assert atom.headers["content-type"] == "application/atom+xml; charset=utf-8"
    feed = feedparser.parse(atom.content)
    assert not feed.bozo and feed.version == "atom10"
    assert [entry.title for entry in feed.entries] == ["Silence", "Clean <language>", "Before it began"]
    clean = feed.entries[1]
    assert clean.link == clean.id == f"https://meet.example.org/meetings/{MAY}"
    assert clean.author == "Amara Okafor" and clean.tags[0].label == "Listening & <b>"
    assert "<em>questions</em>" in clean.content[0].value and "alert(1)" in clean.content[0].value
    assert "<script" not in clean.content[0].value
    found = await visitor.get("/archive.json")
    document = json.loads(found.content)
    assert found.headers["content-type"] == "application/feed+json; charset=utf-8"
    assert document["version"] == "https://jsonfeed.org/version/1.1"
    for item in document["items"]:
        assert set(item) >= {"id", "url", "title", "content_html", "date_modified"}
        assert datetime.fromisoformat(item.get("date_published", item["date_modified"])).tzinfo == UTC
    for path in ("/archive.atom", "/archive.json"):
        condition = {"If-None-Match": (await visitor.get(path)).headers["etag"]}
        assert (await visitor.get(path, headers=condition)).status_code == 304
        filled.clock.pass_(timedelta(minutes=2))
        assert (await visitor.get(path, headers=condition)).status_code == 304, "time alone changes nothing"
        await change(filled, JUNE, Change(insights=f"More on {path}"))
        filled.clock.pass_(timedelta(seconds=2))
        assert (await visitor.get(path, headers=condition)).status_code == 200


async def test_the_page_of_a_series_named_a_day_that_is_not_known(
    filled: Installation, visitor: httpx.AsyncClient
) -> None:
    page = (await visitor.get(f"/series/{SLUG}?year=2016")).text
    assert '<time datetime="2016-03">March 2016</time>' in page and "17 March" not in page
    assert (
        '<time datetime="2021-05-20">Thursday 20 May 2021</time>'
        in (await visitor.get(f"/series/{SLUG}?year=2021")).text
    )


async def test_a_meeting_whose_day_is_not_known_is_in_no_calendar_and_has_no_date_in_feeds(
    filled: Installation, visitor: httpx.AsyncClient
) -> None:
    rows = b"month,title\nOctober 2026,By the rule\nOctober 2026,Another one\n"
    sheet = read_sheet(rows, series=filled.series)
    imported = await import_sheet(filled.database, filled.series, sheet, now=filled.clock.now())
    by_rule, other = (f"/meetings/{row.key}" for row in imported.rows)
    assert (await visitor.get(f"{by_rule}.ics")).status_code == 200
    for path in (f"{other}.ics", f"{other}.png"):
        assert (await visitor.get(path)).status_code == 404, path
    feed = (await visitor.get("/calendar.ics")).text
    assert "By the rule" in feed and "Another one" not in feed
    page = (await visitor.get(other)).text
    assert (
        "October 2026" in page
        and "2026-10-" not in page.replace(other, "").replace(by_rule, "")
        and "schema.org" not in page
    )
    items = {one["title"]: one for one in (await visitor.get("/archive.json")).json()["items"]}
    assert "date_published" in items["By the rule"] and "date_published" not in items["Another one"]
    atom = {one.title: one for one in feedparser.parse((await visitor.get("/archive.atom")).content).entries}
    assert "published" in atom["By the rule"] and "published" not in atom["Another one"]
    await change(filled, imported.rows[1].key, Change(move_to=datetime(2026, 10, 29, 18)))
    assert (await visitor.get(f"{other}.ics")).status_code == 200, "whoever moves it knows its day"


async def test_without_anything_recorded_pages_and_feeds_say_so(visitor: httpx.AsyncClient) -> None:
    assert "There are no past meetings yet." in (await visitor.get("/archive")).text
    assert feedparser.parse((await visitor.get("/archive.atom")).content).bozo is False
    assert json.loads((await visitor.get("/archive.json")).content)["items"] == []


_DEEP = [
    "[" * 3000,
    "> " * 3000,
    "*" * 3000 + "a",
    "`" * 3000,
    "- " * 2000,
    "a\n" * 5000,
    "|" * 3000,
    "![" * 2000,
]
_HOSTILE = [
    "<script>alert(1)</script>",
    "<SCRIPT SRC=//evil.example>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "<iframe src=https://evil.example></iframe>",
    "<a href='javascript:alert(1)'>x</a>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](java\nscript:alert(1))",
    "[x](&#106;avascript:alert(1))",
    "[x](data:text/html;base64,PHNjcmlwdD4=)",
    "[x](vbscript:x)",
    "[x](file:///etc/passwd)",
    "![x](javascript:alert(1))",
    "![tracker](https://evil.example/pixel.gif)",
    "<javascript:alert(1)>",
    "[x]: javascript:alert(1)\n\n[x]",
    '[x](https://a.example "onmouseover=alert(1)")',
    "[x](https://a.example' onmouseover='alert(1))",
    "`<script>`",
    "```html\n<script>alert(1)</script>\n```",
    "<!-- --><script>",
    "<style>@import 'https://evil.example'</style>",
    "<link rel=stylesheet href=//evil.example>",
    "<base href=//evil.example>",
    "<form action=//evil.example><input name=a>",
    "<meta http-equiv=refresh content='0;url=//evil.example'>",
    "</main></body><script>alert(1)</script>",
    "<math><mi//xlink:href='data:x,<script>'>",
    "<details open ontoggle=alert(1)>",
    "<object data=//evil.example>",
    "<x style='position:fixed'>",
    "| a |\n|---|\n| <img src=x onerror=alert(1)> |",
    "# <script>alert(1)</script>",
    "{{ 7 * 7 }} {% include 'x' %} {name}",
    "&lt;script&gt;&#60;script&#62;",
    "\u202etxt.exe",
    "\x00\x08",
    "\ud800",
    "Z̸̡̢" + "\u0336" * 2000,
    "https://" + "a" * 5000,
    "www." + "a." * 3000,
    *_DEEP,
]


def test_there_are_fifty_of_them() -> None:
    assert len(_HOSTILE) == 50


@pytest.mark.parametrize("words", _HOSTILE, ids=range(len(_HOSTILE)))
async def test_a_hostile_text_is_refused_in_one_line_or_harmless(
    installation: Installation, visitor: httpx.AsyncClient, words: str
) -> None:
    try:
        await change(installation, MAY, Change(summary=words, insights=words))
    except Refused as refusal:
        problem = str(refusal)
    else:
        problem = "none"
    assert problem.isprintable()
    page = await visitor.get(f"/meetings/{MAY}")
    assert page.status_code == 200
    main = page.text.partition("<main")[2].partition("</main>")[0]
    tags = re.findall(r"<(\w+)([^>]*)>", main)
    assert {tag for tag, _ in tags}.isdisjoint(
        {"script", "img", "svg", "iframe", "style", "link", "base", "form", "meta", "math", "object", "input"}
    )
    assert not re.search(
        r'\son\w+\s*=|style\s*=|javascript:|(?:href|src)="(?!/|https?:|#|mailto:|tel:)',
        " ".join(f" {attributes}" for _, attributes in tags),
        re.IGNORECASE,
    )
    assert (await visitor.get("/archive")).status_code == 200
    assert not feedparser.parse((await visitor.get("/archive.atom")).content).bozo
