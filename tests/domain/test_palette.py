"""Any colour that a community chooses gives pages and mails that can be read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.domain.errors import Refused
from scheduler.domain.palette import (
    DEFAULT_ACCENT,
    LEAST_CONTRAST,
    Palette,
    contrast,
    palette_of,
    require_accent,
)

COLORS = st.integers(0, 0xFFFFFF).map("#{:06x}".format)
MAIL_GROUNDS = (("#ffffff", "#f1eee7"), ("#1a2321", "#0f1514"))
"""The backgrounds of style.css and of the mails, light and dark."""


def unreadable(palette: Palette) -> list[tuple[str, str]]:
    pairs = []
    for shades, grounds in zip((palette.light, palette.dark), MAIL_GROUNDS, strict=True):
        pairs += [(shades.accent, ground) for ground in grounds]
        pairs += [(shades.on_accent, shades.accent), (shades.on_tint, shades.tint)]
    return [(one, other) for one, other in pairs if contrast(one, other) < LEAST_CONTRAST]


@given(COLORS)
@pytest.mark.parametrize("accent", [None, "#000000", "#ffffff", "#ffff00", "#808080", "#f1eee7", "#1a2321"])
def test_every_accent_gives_text_that_can_be_read_in_light_and_dark(accent: str | None, color: str) -> None:
    assert unreadable(palette_of(accent or color)) == []


def test_the_default_palette_can_be_read() -> None:
    assert unreadable(palette_of(DEFAULT_ACCENT)) == []


@pytest.mark.parametrize("accent", ["#7a1f5c", "#003366", "#9b2c2c", "#4a5568"])
def test_an_accent_that_can_be_read_on_light_pages_is_used_as_it_is(accent: str) -> None:
    assert palette_of(accent).light.accent == accent


@pytest.mark.parametrize(
    ("one", "other", "ratio"),
    [("#ffffff", "#000000", 21), ("#777777", "#ffffff", 4.48), ("#abcdef", "#abcdef", 1)],
)
def test_contrast_is_that_of_wcag(one: str, other: str, ratio: float) -> None:
    assert contrast(one, other) == contrast(other, one) == pytest.approx(ratio, abs=0.005)


@pytest.mark.parametrize(
    "value", ["", "teal", "#146", "14605a", "#14605g", "#14605a80", "rgb(1, 2, 3)", "#14605a;}"]
)
def test_what_is_no_colour_is_refused_and_an_example_named(value: str) -> None:
    with pytest.raises(Refused, match="is not a colour as #14605a"):
        require_accent(value, "accent")
    assert require_accent(" #14605A ", "accent") == "#14605a"
