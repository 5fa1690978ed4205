"""A small map of the world with some countries highlighted, as SVG. `data/generate_map.py` makes the shapes."""

from collections.abc import Collection, Mapping
from functools import lru_cache
from importlib.resources import files

from scheduler.domain.palette import Palette

WIDTH, HEIGHT = 1000, 433
_DOT = 4
_LAND, _DARK_LAND = "#cfd8d4", "#3a4a46"
_BORDER, _DARK_BORDER = "#ffffff", "#1a2321"
"""Borders have the colour of the card that the map is on."""


def draw_map(countries: Collection[str], palette: Palette) -> str:
    """Return the map with `countries` (ISO 3166 codes; a UK nation stands for the UK) in the community's colour.

    A country too small to be seen is a dot, which is drawn only if it is highlighted.
    """
    highlighted = {code.partition("-")[0] for code in countries}
    shapes = _shapes()
    land = "".join(
        f'<path d="{shape}"/>'
        for code, shape in shapes.items()
        if code not in highlighted and not _is_dot(shape)
    )
    ours = "".join(_drawn(shapes[code]) for code in sorted(highlighted & shapes.keys()))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}">'
        f"<style>path,circle{{stroke:{_BORDER};stroke-width:.7;fill:{_LAND}}}g *{{fill:{palette.light.accent}}}"
        f"@media screen and (prefers-color-scheme:dark){{path,circle{{stroke:{_DARK_BORDER};fill:{_DARK_LAND}}}"
        f"g *{{fill:{palette.dark.accent}}}}}</style>{land}<g>{ours}</g></svg>"
    )


def _drawn(shape: str) -> str:
    if _is_dot(shape):
        x, y = shape.split()
        return f'<circle cx="{x}" cy="{y}" r="{_DOT}"/>'
    return f'<path d="{shape}"/>'


def _is_dot(shape: str) -> bool:
    return not shape.startswith("M")


@lru_cache(maxsize=1)
def _shapes() -> Mapping[str, str]:
    """Return the path or the centre of each country by its code."""
    text = (files("scheduler.domain.data") / "world_map.tsv").read_text("ascii")
    return {code: shape for code, _, shape in (line.partition("\t") for line in text.splitlines())}
