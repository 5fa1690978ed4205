"""Text from people is kept unchanged, or refused when it comes in."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.domain.errors import Refused
from scheduler.domain.text import counted, folded, quoted, require_line, require_prose


@pytest.mark.parametrize(
    "text",
    [
        "Ann\r\nBcc: x@example.org",
        "tab\there",
        "null\0",
        "a\x85b",
        "a\u2028b",
        "\u202eevil",
        "\u2066x\u2069",
        "\ud800",
        "\ufffe",
    ],
)
def test_a_character_that_could_forge_a_header_or_reverse_text_is_refused_by_its_number(text: str) -> None:
    with pytest.raises(Refused, match=r"topic: character U\+[0-9A-F]{4} is not allowed"):
        require_line(text, "topic")


@given(st.text(st.characters(categories=["L", "M", "N", "P", "S", "Zs"]), max_size=500))
def test_letters_marks_quotes_and_emoji_are_unchanged(text: str) -> None:
    assert require_line(text, "topic") == unicodedata.normalize("NFC", text.strip())


def test_a_line_may_have_five_hundred_characters_and_no_more() -> None:
    assert len(require_line("ü" * 500, "topic")) == 500
    with pytest.raises(Refused, match="501 characters"):
        require_line("ü" * 501, "topic")


def test_prose_has_lines_and_tabs_from_any_machine() -> None:
    assert require_prose("\r\none\r\ntwo\rthree\tfour\n", "body") == "one\ntwo\nthree\tfour"
    with pytest.raises(Refused, match=r"U\+0007"):
        require_prose("bell\a", "body")


def test_text_quoted_in_a_message_is_one_short_printable_line() -> None:
    assert quoted(" a\nb\x1b[31m ") == "'a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}[31m'"
    assert quoted("x" * 100, longest=10) == "'" + "x" * 9 + "…'"


@pytest.mark.parametrize(
    ("spelling", "other_spelling"),
    [("Côte d’Ivoire", "cote divoire"), ("Łódź", "lodz"), ("Bosnia & H.", "bosnia and h")],
)
def test_names_that_differ_in_case_accents_and_punctuation_are_the_same_folded(
    spelling: str, other_spelling: str
) -> None:
    assert folded(spelling) == folded(other_spelling)


def test_one_of_anything_is_counted_in_the_singular() -> None:
    assert [counted(number, "member") for number in (0, 1, 1372)] == [
        "0 members",
        "1 member",
        "1,372 members",
    ]
    assert [counted(number, "has it", "have it") for number in (1, 2)] == ["1 has it", "2 have it"]
