"""Draw the portraits of the demo's made-up members: flat faces of a few shapes, which show nobody."""

from io import BytesIO
from typing import Literal

from PIL import Image, ImageDraw

_SIDE = 640
_BACKGROUNDS = ("#f4d6a0", "#bfe0d6", "#f2c4c4", "#c9d6f2", "#dcd0ee", "#d9e7b5", "#f7e3d4")
_SKINS = ("#f3d0b0", "#8d5a3a", "#e0ac7e", "#5b3a26", "#c98f62", "#f7dcc6", "#a86f47")
_HAIRS = ("#2b2220", "#6b4226", "#1c1c22", "#c9a35a", "#9a9a9a", "#8c3b22")
_CLOTHES = ("#14605a", "#7a2e46", "#2d4f8b", "#c2682a", "#4d6b2f", "#5c3f85", "#34383f", "#b23a48")
_INK = "#2a2226"

Style = Literal["short", "beard", "long", "bun", "scarf", "curls", "bald"]


def draw_portrait(number: int, style: Style) -> bytes:
    """Return a portrait as a PNG file. Its colours depend on the number alone."""
    skin = _SKINS[number * 3 % len(_SKINS)]
    hair = _HAIRS[(number * 5 + number // 6) % len(_HAIRS)]
    clothes = _CLOTHES[number * 3 % len(_CLOTHES)]
    picture = Image.new("RGB", (_SIDE, _SIDE), _BACKGROUNDS[number * 2 % len(_BACKGROUNDS)])
    draw = ImageDraw.Draw(picture)
    _draw_behind(draw, style, hair, clothes)
    draw.ellipse((90, 480, 550, 900), fill=clothes)
    draw.rounded_rectangle((270, 400, 370, 530), 50, fill=_darker(skin))
    if style != "scarf":
        for ear in ((166, 270, 216, 345), (424, 270, 474, 345)):
            draw.ellipse(ear, fill=skin)
    draw.ellipse((185, 130, 455, 465), fill=skin)
    _draw_in_front(draw, style, hair, clothes)
    _draw_face(draw, skin, mouth=skin if style == "beard" else _INK, has_glasses=number % 4 == 1)
    file = BytesIO()
    picture.save(file, "PNG", compress_level=1)
    return file.getvalue()


def _draw_behind(draw: ImageDraw.ImageDraw, style: Style, hair: str, clothes: str) -> None:
    if style == "long":
        draw.rounded_rectangle((155, 110, 485, 560), 150, fill=hair)
    elif style == "bun":
        draw.ellipse((250, 30, 390, 170), fill=hair)
    elif style == "scarf":
        draw.rounded_rectangle((145, 85, 495, 590), 170, fill=_darker(clothes))
    elif style == "curls":
        for left, top in ((120, 180), (140, 100), (205, 55), (275, 40), (345, 55), (410, 100), (430, 180)):
            draw.ellipse((left, top, left + 95, top + 110), fill=hair)


def _draw_in_front(draw: ImageDraw.ImageDraw, style: Style, hair: str, clothes: str) -> None:
    top = (180, 105, 460, 400)
    if style == "scarf":
        draw.chord((185, 100, 455, 320), 190, 350, fill=_darker(clothes))
    elif style == "short":
        draw.chord(top, 188, 352, fill=hair)
    elif style == "beard":
        draw.chord(top, 200, 340, fill=hair)
        draw.chord((184, 170, 456, 470), 12, 168, fill=hair)
    elif style in ("long", "bun"):
        draw.chord(top, 182, 318, fill=hair)
        draw.chord(top, 222, 358, fill=hair)
    elif style == "curls":
        draw.chord(top, 200, 340, fill=hair)


def _draw_face(draw: ImageDraw.ImageDraw, skin: str, *, mouth: str, has_glasses: bool) -> None:
    for middle in (262, 378):
        draw.ellipse((middle - 13, 283, middle + 13, 313), fill=_INK)
        draw.arc((middle - 32, 245, middle + 32, 290), 205, 335, fill=_INK, width=8)
        if has_glasses:
            draw.ellipse((middle - 46, 252, middle + 46, 344), outline=_INK, width=8)
    if has_glasses:
        draw.line((308, 292, 332, 292), fill=_INK, width=8)
    draw.arc((300, 305, 340, 360), 20, 160, fill=_darker(skin), width=9)
    draw.arc((262, 330, 378, 420), 25, 155, fill=mouth, width=10)


def _darker(colour: str) -> str:
    parts = (int(colour[place : place + 2], 16) * 82 // 100 for place in (1, 3, 5))
    return "#" + "".join(f"{part:02x}" for part in parts)
