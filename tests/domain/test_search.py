"""What is searched, what a mistyped word may mean, and what is marked."""

from hypothesis import example, given
from hypothesis import strategies as st

from scheduler.domain.search import forms, marked, nearest, passage, query_words, search_words


def shown(text: str, *terms: str) -> str:
    return "".join(f"[{part.text}]" if part.is_match else part.text for part in marked(text, terms))


def test_case_accents_and_punctuation_do_not_count() -> None:
    assert search_words("Žofie’s Straße, 20 %") == ["zofie", "s", "strasse", "20"]
    assert search_words("対話と優しさ") == list("対話と優しさ"), (
        "each character is a word, for there are no spaces"
    )
    assert query_words("tea  TEA téa") == ["tea"]


def test_one_mistake_is_found_in_a_word_and_two_in_a_long_one() -> None:
    def meant(typed: str, *known: str) -> list[str]:
        return list(nearest(typed, [(word, 1) for word in known]))

    for typed in ("clen", "claen", "cleam", "cleaan"):
        assert forms(typed) & forms("clean") and meant(typed, "clean", "lean-to") == ["clean"]
    assert meant("langage", "language", "luggage") == ["language"]
    assert meant("convrsatoin", "conversation") == ["conversation"]
    assert meant("tee", "house") == []


def test_words_that_begin_with_what_was_typed_are_marked_in_the_text_as_it_is() -> None:
    assert shown("Clean Languages, unclean", "clean", "lang") == "[Clean] [Languages], unclean"
    assert shown("Žofie & Strøm; Größe", "zof", "strom", "grosse") == "[Žofie] & [Strøm]; [Größe]"
    assert shown("人間の対話", "対") == "人間の[対]話"
    text = "".join(part.text for part in passage("word " * 100 + "tea " + "word " * 100, ["tea"]))
    assert "tea" in text and text.startswith("… ") and text.endswith(" …") and len(text) < 260


@given(st.text(max_size=60), st.text(max_size=20))
@example("¼0", "¼").via("a fraction whose last digit begins the next word")
def test_marking_changes_no_letter(text: str, typed: str) -> None:
    assert "".join(part.text for part in marked(text, query_words(typed))) == text
