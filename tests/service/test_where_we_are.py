"""Where members are is told in numbers that single nobody out."""

import pytest

from scheduler.domain.palette import palette_of
from scheduler.domain.world_map import draw_map
from scheduler.service.where_we_are import countries_shown, where_we_are
from tests.installation import Installation


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, None),
        (2, None),
        (3, "a few"),
        (9, "a few"),
        (10, "10 or more"),
        (14, "10 or more"),
        (15, "15 or more"),
        (99, "95 or more"),
        (109, "100 or more"),
        (1_239, "1,230 or more"),
    ],
)
def test_a_country_of_few_is_not_named_and_other_numbers_are_rounded_down(
    count: int, words: str | None
) -> None:
    shown = countries_shown({("NZ", "Pacific/Auckland"): count})
    assert [country.words() for country in shown] == ([words] if words else [])


def test_the_order_of_the_countries_tells_no_more_than_their_numbers() -> None:
    counts = {
        ("DE", "Europe/Berlin"): 4,
        ("BR", "America/Sao_Paulo"): 3,
        ("US", "America/New_York"): 6,
        ("US", "America/Chicago"): 6,
        ("ZA", "Africa/Johannesburg"): 14,
        ("", "Europe/London"): 50,
    }
    assert [(country.name(), country.words()) for country in countries_shown(counts)] == [
        ("South Africa", "10 or more"),
        ("United States", "10 or more"),
        ("Brazil", "a few"),
        ("Germany", "a few"),
    ]


async def test_only_active_and_paused_members_are_counted(installation: Installation) -> None:
    since = installation.clock.now()
    for status, active_since in (("active", since), ("paused", None), ("left", None), ("pending", None)):
        people = [(f"{status}{number}", "Asia/Tokyo") for number in range(2)]
        await installation.join(*people, country="JP", status=status, active_since=active_since)
    shown = await where_we_are(installation.database)
    assert [(country.code, country.words()) for country in shown] == [("JP", "a few")]


def test_the_map_highlights_countries_and_shows_a_small_one_as_a_dot() -> None:
    palette = palette_of("#aa3311")
    plain, svg = draw_map([], palette), draw_map(["GB-ENG", "GB-SCT", "SG", "XX"], palette)
    ours = svg.partition("<g>")[2]
    assert ours.count("<path") == 1 and ours.count("<circle") == 1
    assert "<g></g>" in plain and "<circle" not in plain
    assert palette.light.accent in svg and palette.dark.accent in svg
    assert len(svg) < 40_000
