"""Pages in other languages: whole, kept while a visitor goes on, readable from right to left, and never cut off."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from string import ascii_letters
from typing import TYPE_CHECKING

import httpx
import pytest

from scheduler.domain.token import Purpose
from scheduler.service.occurrences import Change, amend
from scheduler.web.language import accepted_tags, links_in_language
from tests.installation import Installation
from tests.languages import catalogues_in, others, pseudo, write_catalogue
from tests.web.conftest import PAGES
from tests.web.test_accessible import KEY, address, fresh_token, pages, record_past, violations
from tests.web.test_any_form import own_tokens
from tests.web.test_join import GOOD

if TYPE_CHECKING:
    from playwright.async_api import Browser

__all__ = ["address"]

_FOREIGN = str.maketrans(ascii_letters, "".join(chr(0x410 + place) for place in range(len(ascii_letters))))
_KEPT = re.compile(r"(%\(\w+\)s|<[^<>]+>)")


def foreign(message: str) -> str:
    """Return a message without a Latin letter, except in its placeholders and tags."""
    return "".join(
        piece if place % 2 else piece.translate(_FOREIGN) for place, piece in enumerate(_KEPT.split(message))
    )


@pytest.fixture(scope="module")
def longer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("longer")
    for language in others():
        write_catalogue(folder, language, pseudo)
    return folder


@pytest.fixture
def longer_words(longer: Path) -> Iterator[None]:
    """Every language has words that are 40 % longer than the English ones."""
    with catalogues_in(longer):
        yield


@pytest.fixture(scope="module")
def foreign_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("foreign")
    for language in ("sv", "ar", "zh-Hant"):
        write_catalogue(folder, language, foreign)
    return folder


@pytest.fixture
def foreign_words(foreign_folder: Path) -> Iterator[None]:
    """Three languages have words without any Latin letter."""
    with catalogues_in(foreign_folder):
        yield


class _Visible(HTMLParser):
    """The words of a page that somebody sees or hears, with the element that each is in."""

    _EMPTY = frozenset({"meta", "link", "input", "img", "br", "source", "circle", "path", "hr", "rect"})
    _DATA = frozenset({"script", "style", "bdi", "code", "textarea", "mark"})
    _SPOKEN = frozenset({"alt", "title", "aria-label", "placeholder", "label"})

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self._data: list[bool] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "meta" and (values.get("name") or values.get("property") or "").endswith("description"):
            self.words.append(values["content"] or "")
        self.words += [values[name] or "" for name in self._SPOKEN if name in values and tag != "link"]
        self.words += [value or "" for name, value in attrs if tag == "script" and name.startswith("data-")]
        if tag not in self._EMPTY:
            self._data.append(tag in self._DATA or ("lang" in values and tag != "html"))

    def handle_endtag(self, tag: str) -> None:
        if self._data and tag not in self._EMPTY:
            self._data.pop()

    def handle_data(self, data: str) -> None:
        if not any(self._data):
            self.words.append(data)


# What is data on these pages, or the name of something.
_DATA = re.compile(
    r"https?://\S+|webcal:\S+|\S+@\S+|/next|UTC|[A-Z]\w+/\w+(?:/\w+)?|Conversation for Kindness|Recordings & notes"
    r"|Ann Ashe|Ann|Bo\b|Maya|Amara Okafor|An hour of conversation about kindness|Keeps bees|poet|I like to listen\."
    r"|Listening|listening|lisening|nothing|& <hearing>|Hearing|all\b|Said|Quoted|Ask\b|Notes will follow|Paper"
    r"|Gesprächsfreundlichkeitsvereinigungsverzeichnis|Example Org|youtu.be|(?:www\.)?example\.org|\{place\}"
    r"|Apple Calendar|Google Calendar|Outlook\.com|Microsoft 365|JSON"
)


def english_in(html: str) -> list[str]:
    """Return the words of a page that are in Latin letters and are not data."""
    # Options without an end tag.
    html = re.sub(r"(<option[^>]*>[^<\n]*)\n", r"\1</option>\n", html)
    visible = _Visible()
    visible.feed(html)
    assert not visible._data, "a page without its end tags would hide its words"
    return [
        words.strip()
        for words in visible.words
        if re.search("[A-Za-z]{2,}", _DATA.sub(" ", re.sub(r"\s+", " ", words)))
    ]


def in_language(path: str, language: str) -> str:
    return f"{path}{'&' if '?' in path else '?'}lang={language}"


async def forms(installation: Installation) -> list[tuple[str, dict[str, str]]]:
    """What somebody may send, right and wrong, to each page that takes a form."""
    own = await own_tokens(installation)
    me, wall, rsvp = (
        f"/me/{own[Purpose.PREFERENCES]}",
        f"/wall/{own[Purpose.PREFERENCES]}",
        f"/rsvp/{own[Purpose.RSVP]}",
    )
    sign_in = f"/sign-in/{await fresh_token(installation)}"
    return [
        ("/join", {}),
        ("/join", {**GOOD, "name": "a\u202eb", "email": "x", "zone": "x", "locale": "x", "words": "\0"}),
        ("/join", {**GOOD, "zone": "", "country": "US"}),
        ("/join", dict(GOOD)),
        ("/join", {**GOOD, "confirmed": GOOD["zone"]}),
        ("/contact", {}),
        ("/contact", {"name": "Maya", "email": "maya@example.org", "words": "x"}),
        ("/me", {"email": "x"}),
        ("/me", {"email": "maya@example.org"}),
        (me, {"act": "details", "name": "a\u202eb", "zone": "x", "locale": "x", "cycle": "x"}),
        (me, {"act": "details", "name": "Bo", "zone": "America/Vancouver", "locale": "en"}),
        (me, {"act": "notices", "invitation_by": "x"}),
        (me, {"act": "feed", "alarm": "x"}),
        (me, {"act": "pause", "until": "2026-01-01"}),
        (me, {"act": "pause", "until": "x"}),
        (me, {"act": "x"}),
        (wall, {"act": "save", "name": "a\u202eb", "role": ""}),
        (wall, {"act": "offer", "revision": "99"}),
        (rsvp, {"answer": "x"}),
        (rsvp, {"answer": "declined"}),
        (sign_in, {"act": "address", "email": "x"}),
        (sign_in, {"act": "address", "email": "new@example.org"}),
        (sign_in, {"act": "erase"}),
        (f"/u/{own[Purpose.LEAVE]}?pause=3", {}),
        (f"/subscribe/{own[Purpose.SUBSCRIBE]}", {"invitation_by": "feed"}),
        (sign_in, {"act": "erase", "sure": "yes"}),
        (me, {"act": "links"}),
        (f"/u/{own[Purpose.LEAVE]}", {}),
    ]


@pytest.mark.usefixtures("foreign_words")
async def test_no_word_of_a_page_is_left_in_english(
    visitor: httpx.AsyncClient, installation: Installation
) -> None:
    await record_past(installation)
    own = await own_tokens(installation)
    found: dict[str, list[str]] = {}
    shown = [path for path in await pages(installation) if path != "/outbox"]
    shown += [
        f"/me/{own[Purpose.PREFERENCES]}?done={done}" for done in ("series", "pause", "rotate", "links")
    ]
    for path in shown:
        page = await visitor.get(in_language(path, "zh-Hant"))
        assert '<html lang="zh-Hant" dir="ltr"' in page.text, path
        if english := english_in(page.text):
            found[path] = english
    for path, data in await forms(installation):
        answer = await visitor.post(in_language(path, "zh-Hant"), data=data)
        if english := english_in(answer.text):
            found[f"POST {path} {data}"] = english
    assert found == {}


_TEMPLATES = [path for path in sorted(PAGES.glob("*.html")) if not path.name.startswith("outbox")]


@pytest.mark.parametrize("template", _TEMPLATES, ids=[path.name for path in _TEMPLATES])
def test_each_word_of_a_template_is_marked_for_translation_in_whichever_state_it_is_shown(
    template: Path,
) -> None:
    source = re.sub(r"(?s)\{#.*?#\}|\{% trans.*?endtrans %\}|<!DOCTYPE[^>]*>", "", template.read_text())
    literals = re.findall(r'(?<!_\()(?<!pgettext\()"([A-Z“][^"{}%=<>]*[a-z]{2}[^"{}%=<>]*)"', source)
    words = re.sub(r"(?s)\{\{.*?\}\}|\{%.*?%\}", "", source)
    # Parts of tags are in blocks and macros of their own.
    words = re.sub(r' [a-z-]+="[^"]*"|\s(?:required|selected|checked)\b', "", words)
    between = re.findall(r">([^<>]*)<", f">{words}<")
    unmarked = [text for text in (*literals, *between) if re.search("[A-Za-z]{2,}", _DATA.sub("", text))]
    assert unmarked == []


@pytest.mark.usefixtures("foreign_words")
async def test_what_convenors_wrote_says_that_it_is_in_the_community_s_language(
    visitor: httpx.AsyncClient, installation: Installation
) -> None:
    change = Change(topic="Kind words", description="We listen.")
    await amend(installation.database, installation.by_slug, KEY, change, now=installation.clock.now())
    for path, words in (("/", "Kind words"), (f"/meetings/{KEY}", "We listen.")):
        for language, attributes in (("ar", ' lang="en" dir="ltr"'), ("en", "")):
            page = (await visitor.get(f"{path}?lang={language}")).text
            assert re.search(rf'<p class="[^"]+"{attributes}>(?:<a [^>]+>)?{words}', page), (path, language)


@pytest.mark.usefixtures("foreign_words")
async def test_the_address_decides_on_the_language_then_the_member_then_the_browser_then_the_community(
    visitor: httpx.AsyncClient, installation: Installation
) -> None:
    async def language(path: str, accepted: str = "") -> str:
        page = await visitor.get(path, headers={"Accept-Language": accepted})
        assert page.headers["Vary"] == "Accept-Language"
        return str(re.findall('<html lang="([^"]+)"', page.text)[0])

    assert await language("/") == "en"
    assert await language("/", "fr, sv;q=0.5") == "sv", "we have no French"
    assert await language("/?lang=ar", "sv") == "ar"
    for unknown in ("xx", "fr", "AR", "", "<script>"):
        assert await language(f"/?lang={unknown}", "sv") == "sv"
    own = await own_tokens(installation)
    links = [
        f"/me/{own[Purpose.PREFERENCES]}",
        f"/wall/{own[Purpose.PREFERENCES]}",
        f"/subscribe/{own[Purpose.SUBSCRIBE]}",
        f"/u/{own[Purpose.LEAVE]}",
        f"/rsvp/{own[Purpose.RSVP]}",
        f"/go/{own[Purpose.JOIN]}/conversation-for-kindness/2026-11-19",
        f"/sign-in/{await fresh_token(installation)}",
    ]
    await installation.change("Bo", locale="sv-SE")
    for link in links:
        assert await language(link, "ar") == "sv", link
        assert await language(f"{link}?lang=zh-Hant", "ar") == "zh-Hant", link
    assert await language("/me/x", "ar") == "ar"


def test_the_languages_of_a_browser_are_read_in_its_order_of_preference() -> None:
    assert accepted_tags("da, en-GB;q=0.8, en;q=0.7") == ["da", "en-GB", "en"]
    assert accepted_tags("en;q=0.5,ar;q=0.900,sv") == ["sv", "ar", "en"]
    assert accepted_tags("*, fr;q=0, ;q=1, de;q=x, fi;q=2, is;Q=0.1") == ["is"]
    assert accepted_tags("") == []


@pytest.mark.usefixtures("foreign_words")
async def test_a_language_that_a_visitor_chose_is_kept_by_every_link_and_form_until_the_request_is_sent(
    visitor: httpx.AsyncClient,
) -> None:
    home = (await visitor.get("/?lang=sv&zone=Asia/Tokyo")).text
    kept = re.findall(r'<(?:a|form)[^>]* (?:href|action)="(/[^"]*)"', home)
    assert "/join?lang=sv" in kept and "/privacy?lang=sv#leave-heading" in kept
    assert [path for path in kept if "lang=sv" not in path] == ["/outbox", "/convenor/"], "in English only"
    assert 'name="lang" value="sv"' in home, "a form that asks for a page keeps it too"
    form = (await visitor.get("/join?lang=sv")).text
    assert '<option value="sv" lang="sv" selected>' in form and 'action="/join?lang=sv"' in form
    asked = await visitor.post("/join?lang=sv", data=GOOD)
    assert 'action="/join?lang=sv"' in asked.text and '<html lang="sv"' in asked.text
    sent = await visitor.post("/join?lang=sv", data={**GOOD, "confirmed": GOOD["zone"]})
    assert sent.status_code == 200 and '<html lang="sv"' in sent.text
    moved = await visitor.get("/series?lang=sv&zone=Asia/Tokyo")
    assert moved.headers["Location"] == "/?zone=Asia%2FTokyo&lang=sv"


def test_links_to_files_other_sites_and_the_console_do_not_get_a_language() -> None:
    left = (
        '<a href="/archive.atom">a</a> <a href="https://example.org/x">b</a> <a href="/convenor/">c</a> '
        '<a href="//example.org/">d</a> <a href="#main">e</a> <a href="?lang=ar">f</a> <a href="mailto:x@y">g</a>'
    )
    assert links_in_language(left, "sv") == left
    assert (
        links_in_language('<a class="x" href="/a?b=c#d">', "sv")
        == '<a class="x" href="/a?b=c&amp;lang=sv#d">'
    )
    assert (
        links_in_language('<form method="post" action="?">', "sv") == '<form method="post" action="?lang=sv">'
    )


@pytest.mark.usefixtures("foreign_words")
async def test_public_pages_name_their_translations_and_have_a_menu_of_languages(
    visitor: httpx.AsyncClient,
) -> None:
    page = (await visitor.get("/archive?zone=Asia/Tokyo", headers={"Accept-Language": "sv"})).text
    site = "https://meet.example.org/archive"
    assert f'<link rel="canonical" href="{site}">' in page
    for language in ("en", "sv", "ar", "zh-Hant"):
        assert f'<link rel="alternate" hreflang="{language}" href="{site}?lang={language}">' in page
    assert f'<link rel="alternate" hreflang="x-default" href="{site}">' in page
    assert re.findall(r'<a href="([^"]+)" lang="ar" hreflang="ar">(.+)</a>', page) == [
        ("?zone=Asia%2FTokyo&amp;lang=ar", "العربية")
    ]
    assert 'lang="sv" hreflang="sv" aria-current="true">svenska</a>' in page
    assert f'<link rel="canonical" href="{site}?lang=ar">' in (await visitor.get("/archive?lang=ar")).text


@pytest.mark.usefixtures("foreign_words")
async def test_the_picture_of_a_meeting_has_its_words_only_in_letters_that_can_be_drawn(
    visitor: httpx.AsyncClient,
) -> None:
    pictures = {}
    for language in ("en", "sv", "zh-Hant"):
        page = (await visitor.get(f"/meetings/conversation-for-kindness/2026-11-19?lang={language}")).text
        picture = re.findall(r'og:image" content="https://meet.example.org([^"]+)"', page)[0]
        pictures[language] = (await visitor.get(picture.replace("&amp;", "&"))).content
    assert pictures["zh-Hant"] == pictures["en"] != pictures["sv"]


async def test_the_console_is_in_english(visitor: httpx.AsyncClient, longer_words: None) -> None:
    page = (await visitor.get("/convenor/sign-in?lang=ar", headers={"Accept-Language": "ar"})).text
    assert (
        '<html lang="en" dir="ltr">' in page and "·" not in page.split("<main")[1] and "hreflang" not in page
    )


CUT_OFF = """() => [...document.querySelectorAll("body *")].filter((one) => {
  const style = getComputedStyle(one), box = one.getBoundingClientRect();
  if (one.closest(".unseen, .skip, [aria-hidden], select, pre, .scroll, iframe, svg") || !box.width) return false;
  const beyond = box.left < -1 || box.right > innerWidth + 1;
  const clipped = style.display !== "inline" && !["INPUT", "TEXTAREA"].includes(one.tagName)
    && one.scrollWidth > one.clientWidth + 1 && style.overflowX !== "auto";
  return beyond || clipped;
}).map((one) => one.outerHTML.slice(0, 120)).concat(
  document.documentElement.scrollWidth > innerWidth ? ["the page is wider than the window"] : [])"""
"""Returns the elements that reach beyond the window, or whose words do not fit into them."""


@pytest.mark.proof
@pytest.mark.parametrize("language", ["de", "ar"])
async def test_words_that_are_longer_than_ours_fit_on_a_phone(
    address: str, browser: "Browser", installation: Installation, longer_words: None, language: str
) -> None:
    context = await browser.new_context(viewport={"width": 360, "height": 700})
    page = await context.new_page()
    found: dict[str, list[str]] = {}
    for path in await pages(installation):
        if path == "/outbox":
            continue
        await page.goto(address + in_language(path, language))
        if cut := await page.evaluate(CUT_OFF):
            found[path] = cut
        if language == "ar" and (wrong := await violations(page)):
            found[f"axe {path}"] = wrong
    await context.close()
    assert found == {}
