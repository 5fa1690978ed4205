"""Draw a Card as a PNG picture of 1200 by 630 pixels, in the community's colours."""

import unicodedata
from functools import lru_cache
from importlib.resources import files
from io import BytesIO

from PIL import Image, ImageDraw, ImageFont

from scheduler.domain.card import Card
from scheduler.domain.palette import Shades

WIDTH, HEIGHT = 1200, 630
COVERED = (
    "U+0020-007E,U+00A0-024F,U+0259,U+02B0-02FF,U+0300-036F,U+0370-03E1,U+03F0-03FF,U+0400-052F,U+1E00-1FFF,U+2010-2027,"
    "U+202F-205E,U+2070-209C,U+20A0-20BF,U+2116,U+2122,U+2190-2193,U+2212"
)
"""The characters that the fonts have; `fonts/README.md` says how they were made."""

_MARGIN, _BAND = 72, 210
_COLORS = 64
"""Enough for text on two grounds; the picture is a quarter of the size that it would otherwise have."""

_HEADLINE_SIZES = (84, 76, 68, 60, 52)
_MOST_LINES = 3
_LINE_HEIGHT = 1.16
_ELLIPSIS = "…"

_Font = ImageFont.FreeTypeFont


def draw_card(card: Card, shades: Shades) -> bytes:
    """Return the picture.

    Words in letters that the fonts do not have, such as Chinese or Arabic ones, are left out rather than drawn as
    boxes; emoji and other signs are left out of the words around them.
    """
    image = Image.new("RGB", (WIDTH, HEIGHT), shades.accent)
    draw = ImageDraw.Draw(image)
    band = HEIGHT - _BAND if card.day or card.time else HEIGHT
    draw.rectangle((0, band, WIDTH, HEIGHT), fill=shades.tint)
    top = _MARGIN
    headline = writable(card.headline) or writable(card.title)
    if (community := writable(card.community)) and community != headline:
        _clock(draw, shades, top)
        _line(draw, (_MARGIN + 58, top - 2), community, _font(32, bold=True), shades.on_accent)
        top += 74
    words = writable(card.words)
    room = band - top - (80 if words else 28)
    if headline:
        top = _headline(draw, headline, top, room, shades.on_accent)
    if words:
        _line(draw, (_MARGIN, top + 16), words, _font(34), shades.on_accent)
    if band < HEIGHT:
        _band(draw, card, band, shades)
    output = BytesIO()
    image.quantize(_COLORS, method=Image.Quantize.FASTOCTREE).save(output, "PNG")
    return output.getvalue()


def writable(text: str) -> str:
    """Return the text without emoji and other signs that the fonts do not have; "" if a letter is missing too."""
    kept = []
    for character in unicodedata.normalize("NFC", text):
        if character.isspace():
            kept.append(" ")
        elif _is_covered(character):
            kept.append(character)
        elif unicodedata.category(character)[0] in "LMN":
            return ""
    return " ".join("".join(kept).split())


def _headline(draw: ImageDraw.ImageDraw, text: str, top: int, room: int, color: str) -> int:
    """Draw the headline in the largest size that fits, and return where it ends."""
    fitting = (
        size for size in _HEADLINE_SIZES if len(_wrapped(text, _font(size, bold=True))) <= _lines(size, room)
    )
    size = next(fitting, _HEADLINE_SIZES[-1])
    font, step = _font(size, bold=True), round(size * _LINE_HEIGHT)
    lines = _wrapped(text, font)
    if len(lines) > (most := _lines(size, room)):
        lines = [*lines[: most - 1], _shortened(lines[most - 1] + _ELLIPSIS, font)]
    for line in lines:
        draw.text((_MARGIN, top), line, font=font, fill=color)
        top += step
    return top


def _lines(size: int, room: int) -> int:
    """Return how many lines of a size fit."""
    return max(1, min(_MOST_LINES, room // round(size * _LINE_HEIGHT)))


def _band(draw: ImageDraw.ImageDraw, card: Card, top: int, shades: Shades) -> None:
    """Draw the day and the hours on the panel at the foot."""
    y = top + (26 if card.elsewhere else 46 if card.day else 76)
    day = " ".join(filter(None, (f"{card.mark}:" if card.mark else "", card.day)))
    if day := writable(day):
        _line(draw, (_MARGIN, y), day, _font(42, bold=True), shades.on_tint)
        y += 58
    if time := writable(card.time):
        _line(draw, (_MARGIN, y), time, _font(36), shades.on_tint)
        y += 54
    if card.elsewhere:
        _line(draw, (_MARGIN, y), "   ·   ".join(card.elsewhere), _font(27), shades.on_tint)


def _clock(draw: ImageDraw.ImageDraw, shades: Shades, top: int) -> None:
    """Draw the clock that pages show beside the community's name too."""
    x, y, size = _MARGIN, top, 40
    draw.circle((x + size / 2, y + size / 2), size / 2, fill=shades.on_accent)
    hands = [(x + size / 2, y + 11), (x + size / 2, y + 21), (x + size / 2 + 7, y + 21)]
    draw.line(hands, fill=shades.accent, width=4, joint="curve")


def _line(draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, font: _Font, color: str) -> None:
    draw.text(place, _shortened(text, font), font=font, fill=color)


def _wrapped(text: str, font: _Font) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= WIDTH - 2 * _MARGIN:
            lines[-1] = longer
        else:
            lines.append(_shortened(word, font))
    return lines


def _shortened(text: str, font: _Font) -> str:
    """Return as much of the text as fits between the margins."""
    while font.getlength(text) > WIDTH - 2 * _MARGIN:
        text = text.removesuffix(_ELLIPSIS)[:-1].rstrip() + _ELLIPSIS
    return text


@lru_cache(maxsize=32)
def _font(size: int, *, bold: bool = False) -> _Font:
    name = "NotoSans-Bold.ttf" if bold else "NotoSans-Regular.ttf"
    content = BytesIO((files("scheduler.web") / "fonts" / name).read_bytes())
    # The other engine needs a library that not every machine has, and pictures would differ.
    return ImageFont.truetype(content, size, layout_engine=ImageFont.Layout.BASIC)


def _is_covered(character: str) -> bool:
    code = ord(character)
    return any(first <= code <= last for first, last in _ranges())


@lru_cache(maxsize=1)
def _ranges() -> tuple[tuple[int, int], ...]:
    pairs = (part.removeprefix("U+").split("-") for part in COVERED.split(","))
    return tuple((int(pair[0], 16), int(pair[-1], 16)) for pair in pairs)
