"""What is kept of the CLDR says the same as Babel, in a fraction of its memory."""

import tracemalloc
from datetime import date, timedelta

import pytest
from babel import Locale
from babel.dates import format_date
from babel.lists import format_list
from babel.numbers import format_decimal

from scheduler.domain.cldr import cldr
from scheduler.domain.translation import AMERICAN, LANGUAGES, language_name

LOCALES = {**LANGUAGES, AMERICAN: "en_US"}


@pytest.mark.parametrize("language", LOCALES)
def test_dates_lists_and_numbers_are_those_of_babel(language: str) -> None:
    own, locale = cldr(language), Locale.parse(LOCALES[language])
    for days in range(0, 366, 5):
        day = date(2026, 1, 1) + timedelta(days=days)
        for length in ("long", "full"):
            assert own.format_date(day, own.patterns[length]) == format_date(day, length, locale)
    for items in ("", "a", "ab", "abc", "abcd"):
        assert own.format_list(items) == format_list(list(items), locale=locale)
    for number in (0, 999, 1000, 12_345, 1_234_567):
        assert own.format_number(number) == format_decimal(number, locale=locale)
    assert own.territories["SE"] == locale.territories["SE"]


def test_a_language_has_the_name_that_its_speakers_give_it() -> None:
    for language in LANGUAGES.keys() - {"pt", "pt-BR", "zh-Hans", "zh-Hant"}:
        assert language_name(language) == Locale.parse(LANGUAGES[language]).get_language_name()


def test_all_languages_together_take_less_than_three_megabytes() -> None:
    cldr.cache_clear()
    tracemalloc.start()
    try:
        for language in LOCALES:
            cldr(language)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 3_000_000
