"""How a mail looks: with enough contrast, in dark mode, on a narrow phone, and without styles."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest

from scheduler.domain.palette import palette_of
from scheduler.domain.policy import Kind
from tests.delivery.mails import (
    COHORTS,
    COMMUNITY,
    DATE,
    EVERY_MAIL,
    MEI,
    NOVEMBER,
    REMINDER,
    UPDATE,
    composer,
    message,
    personal,
    received,
)

if TYPE_CHECKING:
    from playwright.async_api import Browser

_VOID = {"meta", "br", "hr", "link", "img", "input"}
Colours = tuple[str, str]
Rules = list[tuple[str, dict[str, str]]]


def luminance(colour: str) -> float:
    """Return the relative luminance (WCAG 2.2)."""
    assert re.fullmatch("#[0-9a-f]{6}", colour), colour
    channels = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    red, green, blue = (
        channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4 for channel in channels
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(colour: str, background: str) -> float:
    low, high = sorted((luminance(colour), luminance(background)))
    return (high + 0.05) / (low + 0.05)


def dark_rules(html: str) -> Rules:
    """Return the rules of the dark scheme, in order, one for each selector."""
    block = re.search(r"@media \(prefers-color-scheme: dark\) \{(.*?)\n\}", html, re.S)
    assert block
    return [
        (selector.strip(), dict(re.findall(r"([a-z-]+): (#[0-9a-f]{6}) !important", body)))
        for selectors, body in re.findall(r"([^{}]+)\{([^{}]*)\}", block[1])
        for selector in selectors.split(",")
    ]


class Painter(HTMLParser):
    """Walk a page and collect each text with its colour and background, in the light or the dark scheme."""

    def __init__(self, dark: Rules) -> None:
        super().__init__()
        self.texts: list[tuple[str, str, str]] = []
        self._dark = dark
        self._path: list[tuple[str, str, Colours]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        name, style = attributes.get("class") or "", attributes.get("style") or ""
        colours = self._path[-1][2] if self._path else ("", "")
        painted: dict[str, str] = dict(
            re.findall(r"(?<![a-z-])(color|background-color): (#[0-9a-f]{6})", style)
        )
        painted |= self._in_the_dark(tag, name)
        colours = painted.get("color", colours[0]), painted.get("background-color", colours[1])
        if tag not in _VOID:
            self._path.append((tag, name, colours))

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            assert self._path.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        hidden = {"head", "style", "title"} & {tag for tag, _, _ in self._path}
        if data.strip() and not hidden and self._path[-1][1] != "preheader":
            self.texts.append((data.strip(), *self._path[-1][2]))

    def _in_the_dark(self, tag: str, name: str) -> Mapping[str, str]:
        def weight(selector: str) -> tuple[int, int]:
            return selector.count("."), len(selector.split())

        def fits(selector: str, tag: str, name: str) -> bool:
            return selector.removeprefix(".") in name.split() if selector.startswith(".") else selector == tag

        colours: dict[str, str] = {}
        for selector, painted in sorted(self._dark, key=lambda rule: weight(rule[0])):
            *above, last = selector.split()
            inside = all(
                any(fits(selector_above, tag, name) for tag, name, _ in self._path)
                for selector_above in above
            )
            colours |= painted if inside and fits(last, tag, name) else {}
        return colours


def texts(html: str, *, scheme: str) -> Iterator[tuple[str, str, str]]:
    painter = Painter(dark_rules(html) if scheme == "dark" else [])
    painter.feed(html)
    yield from painter.texts


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", EVERY_MAIL)
def test_every_text_has_the_contrast_of_wcag_aa(kind: str, scheme: str) -> None:
    painted_texts = list(
        texts(received(message(EVERY_MAIL[kind], MEI._replace(assumed=True))).html, scheme=scheme)
    )
    assert len(painted_texts) > 5
    assert {
        text: contrast(ink, ground) for text, ink, ground in painted_texts if contrast(ink, ground) < 4.5
    } == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("accent", ["#ffe600", "#001f5b", "#c2185b", "#000000", "#ffffff"])
def test_a_mail_in_any_colour_of_a_community_can_be_read(accent: str, scheme: str) -> None:
    community = replace(COMMUNITY, palette=palette_of(accent))
    for kind in (Kind.INVITATION, Kind.UPDATE, Kind.NOTICE):
        mail = composer(community=community).compose(EVERY_MAIL[kind])
        html = received(mail.message(personal(EVERY_MAIL[kind]), date=DATE)).html
        assert "#14605a" not in html and getattr(community.palette, scheme).accent in html
        painted_texts = list(texts(html, scheme=scheme))
        assert {text: ink for text, ink, ground in painted_texts if contrast(ink, ground) < 4.5} == {}


def test_the_dark_scheme_sets_every_colour_that_the_light_one_sets() -> None:
    html = received(message(UPDATE)).html
    light, dark = list(texts(html, scheme="light")), list(texts(html, scheme="dark"))
    for (text, ink, ground), (_, ink_in_the_dark, ground_in_the_dark) in zip(light, dark, strict=True):
        assert ink != ink_in_the_dark and ground != ground_in_the_dark, text
    assert '<meta name="color-scheme" content="light dark">' in html


@pytest.mark.parametrize("kind", EVERY_MAIL)
def test_a_mail_loads_nothing_over_the_network(kind: str) -> None:
    html = received(message(EVERY_MAIL[kind])).html
    assert not re.search(
        r"\ssrc=|\ssrcset=|\sbackground=|url\(|@import|@font-face|<(link|img|script|iframe|object)", html
    )


@pytest.mark.parametrize("kind", EVERY_MAIL)
def test_tables_are_for_layout_only_and_the_language_is_set(kind: str) -> None:
    html = received(message(EVERY_MAIL[kind])).html
    assert re.search(r'<html lang="en" dir="ltr"', html)
    assert all('role="presentation"' in table for table in re.findall("<table[^>]*>", html))


@pytest.mark.parametrize("kind", ["invitation", "reminder", "update"])
def test_without_styles_the_local_time_comes_first(kind: str) -> None:
    shown = [text for text, _, _ in texts(received(message(COHORTS[kind])).html, scheme="light")]
    occurrence = COHORTS[kind].occurrence
    assert occurrence
    day = "Friday 20 November 2026" if occurrence.starts == NOVEMBER.starts else "Friday 27 November 2026"
    assert shown[:5] == [day, "05:00", "to", "06:00", "in Sydney (UTC+11)"]


def test_the_preview_text_begins_with_the_time() -> None:
    html = received(message(REMINDER)).html
    assert re.search(r'class="preheader"[^>]*>05:00 to 06:00, Friday 20 November 2026, in Sydney\.', html)


async def test_a_phone_of_360_pixels_shows_every_mail_without_sideways_scrolling(browser: "Browser") -> None:
    page = await browser.new_page(viewport={"width": 360, "height": 640})
    for kind, cohort in EVERY_MAIL.items():
        if cohort.occurrence:
            long = replace(cohort.occurrence, topic="Kindness" * 30, speakers="https://" + "x" * 120)
            cohort = replace(cohort, occurrence=long)
        long_name = MEI._replace(name="Wolfeschlegelsteinhausenbergerdorff" * 2, assumed=True)
        await page.set_content(received(message(cohort, long_name)).html)
        assert await page.evaluate("document.documentElement.scrollWidth") == 360, kind
        clock = page.locator(".clock")
        if await clock.count():
            assert (await clock.evaluate("one => parseFloat(getComputedStyle(one).fontSize)")) >= 40
    await page.close()
