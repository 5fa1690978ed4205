"""An audience is said in words as a person would say them."""

import pytest

from scheduler.service.audience_words import audience_words


@pytest.mark.parametrize(
    ("term", "words"),
    [
        ("country:SE", "Everybody in Sweden"),
        ("country:US", "Everybody in the United States"),
        ("country:PH", "Everybody in the Philippines"),
        ("country:DO", "Everybody in the Dominican Republic"),
        ("country:BS,country:GM", "Everybody in the Bahamas and the Gambia"),
        ("country:IM", "Everybody in the Isle of Man"),
        ("country:CG", "Everybody in Congo - Brazzaville"),
    ],
)
def test_a_country_has_its_article(term: str, words: str) -> None:
    assert audience_words(term, {}) == words
