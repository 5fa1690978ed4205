"""The community's own look: its logo, and the stylesheet with its colours."""

import re
import struct
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from scheduler.domain.errors import SettingsProblem
from scheduler.domain.palette import DEFAULT_PALETTE, Palette, Shades

LARGEST_LOGO = 100 * 1024
_HEIGHT = 36
_PNG = b"\x89PNG\r\n\x1a\n"
_SVG = "{http://www.w3.org/2000/svg}svg"
_NUMBER = re.compile(r"\s*(\d+(?:\.\d+)?)(?:px)?\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Logo:
    """The logo's content, and its size on the pages in CSS pixels."""

    content: bytes
    media_type: str
    width: int
    height: int = _HEIGHT


def read_logo(path: str) -> Logo | None:
    """Read an SVG or PNG file; return None without a path. Raises SettingsProblem if it cannot be used."""
    if not path:
        return None
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise SettingsProblem(f"[community] logo: {path} cannot be read: {error.strerror}") from None
    if len(content) > LARGEST_LOGO:
        raise SettingsProblem(
            f"[community] logo: {path} has {len(content) // 1024} KB; make it smaller than {LARGEST_LOGO // 1024} KB"
        )
    media_type = "image/png" if content.startswith(_PNG) else "image/svg+xml"
    ratio = _png_ratio(content) if media_type == "image/png" else _svg_ratio(content)
    if not ratio:
        raise SettingsProblem(
            f"[community] logo: {path} is no PNG file, and no SVG file with a viewBox or a width and height"
        )
    return Logo(content=content, media_type=media_type, width=max(1, round(_HEIGHT * ratio)))


def stylesheet_url(palette: Palette) -> str:
    """Return the address of the stylesheet with a palette, which is another for other colours; "" for the default."""
    return "" if palette == DEFAULT_PALETTE else f"/theme.css?accent={palette.light.accent[1:]}"


def stylesheet(palette: Palette, scheme: str = "") -> str:
    """Return the stylesheet that replaces the colours of style.css. `scheme` is "light" or "dark" for one that does not
    depend on what the visitor prefers."""
    if scheme:
        shades = palette.dark if scheme == "dark" else palette.light
        return f"@media screen {{ :root.{scheme} {{ {_declarations(shades)} }} }}\n"
    return (
        f"@media screen {{ :root {{ {_declarations(palette.light)} }} }}\n"
        f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {_declarations(palette.dark)} }} }}\n"
    )


def _declarations(shades: Shades) -> str:
    return (
        f"--accent: {shades.accent}; --on-accent: {shades.on_accent}; "
        f"--tint: {shades.tint}; --on-tint: {shades.on_tint};"
    )


def _png_ratio(content: bytes) -> float:
    """Return width by height; 0 without a header (PNG specification, section 11.2.1)."""
    if content[12:16] != b"IHDR" or len(content) < 24:
        return 0
    width, height = struct.unpack(">II", content[16:24])
    return width / height if height else 0


def _svg_ratio(content: bytes) -> float:
    """Return width by height; 0 if this is no SVG, or one of unknown size."""
    try:
        root = ElementTree.fromstring(content)  # noqa: S314 (the operator's own small file)
    except ElementTree.ParseError:
        return 0
    if root.tag != _SVG:
        return 0
    sizes = [_NUMBER.fullmatch(root.get(name, "")) for name in ("width", "height")]
    numbers = [float(size[1]) for size in sizes if size]
    if len(numbers) < 2:
        try:
            numbers = [float(number) for number in root.get("viewBox", "").replace(",", " ").split()][2:]
        except ValueError:
            return 0
    return numbers[0] / numbers[1] if len(numbers) == 2 and min(numbers) > 0 else 0
