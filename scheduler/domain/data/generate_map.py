"""Generate world_map.tsv, the countries' shapes for a small map, from Natural Earth.

Run `python -m scheduler.domain.data.generate_map FOLDER`. FOLDER contains the unpacked npm packages `world-atlas` and
`cldr-core`.

Each line has a country's ISO 3166 code and its outline as an SVG path in whole units, on a map that is WIDTH units
wide in the Equal Earth projection, which shows all countries in their right sizes. A border that two countries share is
simplified once, so that no gap appears between them. A country too small to be seen is a dot: the centre of a circle
instead of a path.
"""

import json
import math
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from scheduler.domain.zone import country_table

HERE = Path(__file__).parent
WIDTH = 1000
NORTH, SOUTH = 84.0, -56.0
"""Without the ice: Antarctica has no members, and takes a fifth of the map."""

TOLERANCE = 0.9
LEAST_ISLAND, LEAST_COUNTRY = 5.0, 14.0
"""The areas, in square units, below which an island is left out and a country is a dot."""

ANTARCTICA, KOSOVO = "AQ", "Kosovo"
"""Kosovo has no number in ISO 3166; the file has its name."""

Point = tuple[float, float]


def main() -> None:
    """Write the map."""
    folder = Path(sys.argv[1])
    codes = _codes(folder)
    shapes: dict[str, str] = {}
    for file in ("countries-110m.json", "countries-50m.json"):
        for code, rings in _countries(folder / "world-atlas" / file, codes):
            if code != ANTARCTICA:
                shapes.setdefault(code, _shape(rings))
    lines = [f"{code}\t{shape}" for code, shape in sorted(shapes.items()) if shape]
    (HERE / "world_map.tsv").write_text("\n".join(lines) + "\n", encoding="ascii")


def _codes(folder: Path) -> dict[str, str]:
    """Return the two-letter codes of countries by their numbers in ISO 3166."""
    mappings = json.loads((folder / "cldr-core/supplemental/codeMappings.json").read_text())
    found = mappings["supplemental"]["codeMappings"]
    current = {code for code, _ in country_table()}
    numbered = {row["_numeric"]: code for code, row in found.items() if code in current and "_numeric" in row}
    return {**numbered, KOSOVO: "XK"}


def _countries(file: Path, codes: dict[str, str]) -> Iterator[tuple[str, list[list[Point]]]]:
    """Yield each country of a TopoJSON file with its outer rings, projected."""
    topology = json.loads(file.read_text())
    arcs = [_simplified(_unwrapped(arc)) for arc in _degrees(topology)]
    for country in topology["objects"]["countries"]["geometries"]:
        code = codes.get(country.get("id") or country["properties"]["name"])
        if not code or not country.get("arcs"):
            continue
        polygons = [country["arcs"]] if country["type"] == "Polygon" else country["arcs"]
        rings = [ring for polygon in polygons for ring in _cut(_ring(polygon[0], arcs))]
        yield code, [[_projected(*point) for point in ring] for ring in rings]


def _degrees(topology: dict[str, Any]) -> Iterator[list[Point]]:
    """Yield the arcs in degrees; the file has differences between whole numbers."""
    (scale_x, scale_y), (left, top) = topology["transform"]["scale"], topology["transform"]["translate"]
    for arc in topology["arcs"]:
        x = y = 0
        points = []
        for step_x, step_y in arc:
            x, y = x + step_x, y + step_y
            points.append((x * scale_x + left, y * scale_y + top))
        yield points


def _projected(longitude: float, latitude: float) -> Point:
    """Return the place on the map (Šavrič, Patterson and Jenny: The Equal Earth map projection, 2018)."""
    x, y = _equal_earth(longitude, max(min(latitude, NORTH), SOUTH))
    right, _ = _equal_earth(180, 0)
    _, top = _equal_earth(0, NORTH)
    scale = WIDTH / (2 * right)
    return x * scale + WIDTH / 2, (top - y) * scale


def _equal_earth(longitude: float, latitude: float) -> Point:
    a1, a2, a3, a4 = 1.340264, -0.081106, 0.000893, 0.003796
    angle = math.asin(math.sqrt(3) / 2 * math.sin(math.radians(latitude)))
    square = angle * angle
    sixth = square**3
    y = angle * (a1 + a2 * square + sixth * (a3 + a4 * square))
    slope = a1 + 3 * a2 * square + sixth * (7 * a3 + 9 * a4 * square)
    return 2 * math.sqrt(3) * math.radians(longitude) * math.cos(angle) / (3 * slope), y


def _simplified(points: list[Point]) -> list[Point]:
    """Return the line without the points that are nearer than TOLERANCE to it (Ramer, Douglas and Peucker)."""
    if len(points) < 3:
        return points
    (ax, ay), (bx, by) = _projected(*points[0]), _projected(*points[-1])
    length = math.hypot(bx - ax, by - ay)

    def distance(point: Point) -> float:
        x, y = _projected(*point)
        if length == 0:
            return math.hypot(x - ax, y - ay)
        return abs((bx - ax) * (ay - y) - (ax - x) * (by - ay)) / length

    farthest = max(range(1, len(points) - 1), key=lambda index: distance(points[index]))
    if distance(points[farthest]) < TOLERANCE:
        return [points[0], points[-1]]
    return _simplified(points[: farthest + 1])[:-1] + _simplified(points[farthest:])


def _unwrapped(points: list[Point]) -> list[Point]:
    """Return the line with longitudes beyond 180 degrees instead of jumps to the other side of the map."""
    line: list[Point] = []
    for longitude, latitude in points:
        turns = round((longitude - line[-1][0]) / 360) if line else 0
        line.append((longitude - turns * 360, latitude))
    return line


def _cut(ring: list[Point]) -> Iterator[list[Point]]:
    """Yield the parts of a ring on either side of the line at 180 degrees, each on its own side of the map."""
    ring = _unwrapped(ring)
    for turns in (-1, 0, 1):
        moved = [(longitude - turns * 360, latitude) for longitude, latitude in ring]
        east = _clipped(moved, 1)
        if part := [(-longitude, latitude) for longitude, latitude in _clipped(east, -1)]:
            yield part


def _clipped(ring: list[Point], side: int) -> list[Point]:
    """Return the part of a ring, mirrored with `side` -1, that is west of 180 degrees (Sutherland and Hodgman)."""
    points = [(longitude * side, latitude) for longitude, latitude in ring]
    kept: list[Point] = []
    for (ax, ay), (bx, by) in zip(points[-1:] + points[:-1], points, strict=True):
        if (ax <= 180) != (bx <= 180):
            kept.append((180.0, ay + (by - ay) * (180 - ax) / (bx - ax)))
        if bx <= 180:
            kept.append((bx, by))
    return kept


def _ring(indexes: Iterable[int], arcs: list[list[Point]]) -> list[Point]:
    ring: list[Point] = []
    for index in indexes:
        arc = arcs[index] if index >= 0 else arcs[~index][::-1]
        ring += arc[1:] if ring else arc
    return ring


def _area(ring: list[Point]) -> float:
    pairs = zip(ring, ring[1:] + ring[:1], strict=True)
    return abs(sum(ax * by - bx * ay for (ax, ay), (bx, by) in pairs)) / 2


def _shape(rings: list[list[Point]]) -> str:
    """Return the path of a country, or the centre of its largest part if it is small; "" for one without a place."""
    largest = max(rings, key=_area)
    if _area(largest) < LEAST_COUNTRY:
        x = sum(point[0] for point in largest) / len(largest)
        y = sum(point[1] for point in largest) / len(largest)
        return f"{x:.0f} {y:.0f}"
    shown = [ring for ring in rings if ring is largest or _area(ring) >= LEAST_ISLAND]
    return "".join(_path(ring) for ring in shown)


def _path(ring: list[Point]) -> str:
    """Return a closed path of a start and steps, in whole numbers."""
    rounded = [(round(x), round(y)) for x, y in ring]
    (x, y), *others = [
        point for index, point in enumerate(rounded) if index == 0 or point != rounded[index - 1]
    ]
    steps = []
    for next_x, next_y in others[:-1]:
        steps.append(f"{next_x - x} {next_y - y}")
        x, y = next_x, next_y
    return f"M{rounded[0][0]} {rounded[0][1]}l{' '.join(steps).replace(' -', '-')}z"


if __name__ == "__main__":
    main()
