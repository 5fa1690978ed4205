"""The colours of pages and mails: an accent and the shades made from it, readable in light and dark.

Contrast is that of WCAG 2.2: 4.5 is the least for text (success criterion 1.4.3).
"""

import colorsys
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from scheduler.domain.errors import Refused

LEAST_CONTRAST = 4.5
_GOOD_CONTRAST, _BEST_CONTRAST = 7.0, 10.0
_HEX = re.compile(r"#[0-9a-f]{6}")
_STEPS = 100

_LIGHT_GROUNDS = ("#ffffff", "#f1eee7")
_DARK_GROUNDS = ("#1a2321", "#0f1514")
"""The backgrounds that the accent is read on: cards and fields, and the page around them; as in style.css."""

_LIGHT_SHARE, _DARK_SHARE = 0.15, 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Shades:
    """The colours of one scheme: the accent and the text on it, a panel's background and the text on that."""

    accent: str
    on_accent: str
    tint: str
    on_tint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Palette:
    """The community's colours in the light and in the dark scheme."""

    light: Shades
    dark: Shades


DEFAULT_ACCENT = "#14605a"
DEFAULT_PALETTE = Palette(
    light=Shades(accent=DEFAULT_ACCENT, on_accent="#ffffff", tint="#dcebe8", on_tint="#103c38"),
    dark=Shades(accent="#8fd6cb", on_accent="#0b2421", tint="#143834", on_tint="#e2f3f0"),
)
"""Chosen by hand; also written down in style.css, so that a page without a colour of its own needs one file less."""


def require_accent(value: str, what: str) -> str:
    """Return a colour as #rrggbb in lower case."""
    accent = value.strip().lower()
    if not _HEX.fullmatch(accent):
        raise Refused(f"{what}: '{value}' is not a colour as #14605a: a hash and six digits from 0 to f")
    return accent


@lru_cache(maxsize=64)
def palette_of(accent: str) -> Palette:
    """Return the palette of an accent as #rrggbb.

    Where the accent is too pale to be read on our light pages, or too dark for the dark ones, a darker or lighter shade
    of the same hue takes its place.
    """
    if accent == DEFAULT_ACCENT:
        return DEFAULT_PALETTE
    tint = _mix(accent, "#ffffff", _LIGHT_SHARE)
    dark_tint = _mix(accent, _DARK_GROUNDS[0], _DARK_SHARE)
    light_accent = _shade(accent, _darker, _LIGHT_GROUNDS, LEAST_CONTRAST)
    dark_accent = _shade(accent, _lighter, _DARK_GROUNDS, _GOOD_CONTRAST)
    return Palette(
        light=Shades(
            accent=light_accent,
            on_accent="#ffffff",
            tint=tint,
            on_tint=_shade(accent, _darker, (tint,), _BEST_CONTRAST),
        ),
        dark=Shades(
            accent=dark_accent,
            on_accent=_shade(accent, _darker, (dark_accent,), _GOOD_CONTRAST),
            tint=dark_tint,
            on_tint=_shade(accent, _lighter, (dark_tint,), _BEST_CONTRAST),
        ),
    )


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours as #rrggbb, from 1 to 21."""
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def _shade(color: str, move: Callable[[float, float], float], grounds: tuple[str, ...], least: float) -> str:
    """Return the shade nearest to `color`, in the direction of `move`, with a contrast of `least` to all grounds;
    black or white if there is none."""
    hue, lightness, saturation = colorsys.rgb_to_hls(*_channels(color))
    shades = [
        _hex(colorsys.hls_to_rgb(hue, move(lightness, step / _STEPS), saturation))
        for step in range(_STEPS + 1)
    ]
    fitting = (shade for shade in shades if all(contrast(shade, ground) >= least for ground in grounds))
    return next(fitting, shades[-1])


def _darker(lightness: float, share: float) -> float:
    return lightness * (1 - share)


def _lighter(lightness: float, share: float) -> float:
    return lightness + (1 - lightness) * share


def _mix(color: str, ground: str, share: float) -> str:
    pairs = zip(_channels(color), _channels(ground), strict=True)
    return _hex([one * share + other * (1 - share) for one, other in pairs])


def _luminance(color: str) -> float:
    red, green, blue = (
        channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4
        for channel in _channels(color)
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _channels(color: str) -> tuple[float, float, float]:
    red, green, blue = bytes.fromhex(color.removeprefix("#"))
    return red / 255, green / 255, blue / 255


def _hex(channels: tuple[float, float, float] | list[float]) -> str:
    return "#" + bytes(round(channel * 255) for channel in channels).hex()
