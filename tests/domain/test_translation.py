import gettext
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo

from scheduler.domain.translation import (
    ENGLISH,
    LANGUAGES,
    available_languages,
    broken_catalogues,
    direction,
    is_available,
    language_for,
    language_name,
    language_of_country,
    locale_for,
    shipped_language,
    translator,
    without_isolates,
)
from tests.languages import catalogues_in, write_catalogue


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """An empty folder of catalogues in place of ours."""
    with catalogues_in(tmp_path):
        yield tmp_path


@pytest.fixture
def write(folder: Path) -> Callable[..., None]:
    def write_catalogue(language: str, **messages: str) -> None:
        catalogue = Catalog(locale=language)
        for message, translated in messages.items():
            catalogue.add(message, translated)
        path = folder / language / "LC_MESSAGES" / "messages.mo"
        path.parent.mkdir(parents=True)
        with path.open("wb") as output:
            write_mo(output, catalogue)

    return write_catalogue


@pytest.mark.parametrize(
    ("tag", "language"),
    [
        ("en-GB", "en"),
        ("en-GB-u-hc-h12", "en"),
        ("en-US", "en"),
        ("sv-FI", "sv"),
        ("no", "nb"),
        ("nn-NO", "nb"),
        ("pt", "pt"),
        ("pt-AO", "pt"),
        ("pt-BR", "pt-BR"),
        ("zh", "zh-Hans"),
        ("zh-SG", "zh-Hans"),
        ("zh-TW", "zh-Hant"),
        ("zh_HK", "zh-Hant"),
        ("zh-Hant-CN", "zh-Hant"),
        ("ar-EG", "ar"),
        ("ro", None),
        ("de-Cyrl", None),
        ("", None),
        ("not a tag", None),
    ],
)
def test_a_tag_means_one_of_our_languages_or_none(tag: str, language: str | None) -> None:
    assert shipped_language(tag) == language


@pytest.mark.parametrize(
    ("country", "language"),
    [
        ("SE", "sv"),
        ("NO", "nb"),
        ("AT", "de"),
        ("BR", "pt-BR"),
        ("PT", "pt"),
        ("CN", "zh-Hans"),
        ("TW", "zh-Hant"),
        ("SA", "ar"),
        ("GB-ENG", "en"),
        ("GB-WLS", None),
        ("BE", None),
        ("CH", None),
        ("CA", None),
        ("FI", None),
        ("HK", None),
        ("RO", None),
    ],
)
def test_a_country_has_a_language_only_where_it_has_one(country: str, language: str | None) -> None:
    assert language_of_country(country) == language


def test_a_member_s_locale_comes_before_their_country_and_that_before_the_community_s_language(
    write: Callable[..., None],
) -> None:
    for language in ("sv", "de", "pt_BR", "nl"):
        write(language, Hello="…")
    assert language_for("sv-SE", "DE", "nl") == "sv"
    assert language_for("ro-RO", "DE", "nl") == "de"
    assert language_for("ro-DE", None, "nl") == "de"
    assert language_for("ro-RO", "BE", "nl") == "nl"
    assert language_for("", None, "nl") == "nl"
    assert language_for("pt", "BR", "nl") == "pt-BR"
    assert language_for("en-GB-u-hc-h12", "SE", "nl") == "en"
    assert language_for("en-US", "SE", "nl") == "en-US"


def test_a_new_member_who_did_not_say_reads_the_language_of_their_country(write: Callable[..., None]) -> None:
    for language in ("sv", "pt_BR", "zh_Hant"):
        write(language, Hello="…")
    found = [locale_for(country, "en-GB") for country in ("SE", "BR", "TW", "GB-SCT", "US", "BE", "DK", None)]
    assert found == ["sv-SE", "pt-BR", "zh-Hant-TW", "en-GB", "en-GB", "en-GB", "en-GB", "en-GB"]


def test_a_language_without_a_catalogue_is_not_used(write: Callable[..., None]) -> None:
    write("sv", Hello="Hej")
    assert available_languages() == ("en", "sv")
    assert language_for("da-DK", "DK", "sv") == "sv"
    assert language_for("da-DK", "DK", "fi") == "en"
    assert translator("da") is ENGLISH
    assert not broken_catalogues()


def test_a_message_that_a_catalogue_does_not_have_is_english(write: Callable[..., None]) -> None:
    write("sv", Hello="Hej")
    assert translator("sv").gettext("Hello") == "Hej"
    assert translator("sv").gettext("Goodbye") == "Goodbye"
    assert translator("sv").ngettext("%(n)s day", "%(n)s days", 2) == "%(n)s days"


def _compiled() -> bytes:
    catalogue = Catalog(locale="sv")
    catalogue.add("Hello", "Hej")
    output = BytesIO()
    write_mo(output, catalogue)
    return output.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a catalogue",
        _compiled()[:40],
        _compiled()[:-8],
        b"\xff" * 400,
        _compiled()[:4] + b"\xff" * 60,
    ],
)
def test_a_broken_catalogue_is_named_and_english_is_used(folder: Path, content: bytes) -> None:
    path = folder / "sv" / "LC_MESSAGES" / "messages.mo"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    (problem,) = broken_catalogues()
    assert problem.startswith(f"sv: {path} cannot be read (")
    assert problem.endswith("; English is used instead")
    assert translator("sv").gettext("Hello") == "Hello"
    assert not is_available("sv")
    assert language_for("sv-SE", "SE", "en") == "en"


def test_only_arabic_is_written_from_right_to_left() -> None:
    assert [language for language in LANGUAGES if direction(language) == "rtl"] == ["ar"]
    assert direction("en-US") == "ltr"


def test_each_language_has_a_name_of_its_own() -> None:
    names = [language_name(language) for language in LANGUAGES]
    assert len(set(names)) == len(names)
    assert {"svenska", "português (Brasil)", "繁體中文", "العربية"} < set(names)


def test_english_is_the_messages_themselves() -> None:
    assert translator("en") is ENGLISH
    assert translator("en-US") is ENGLISH
    assert isinstance(ENGLISH, gettext.NullTranslations)


def test_what_is_made_of_names_and_times_alone_runs_from_right_to_left_in_arabic(tmp_path: Path) -> None:
    """Marks that isolate a name also hide it from whoever looks for the direction of the words around it."""
    mark, isolated = "\N{RIGHT-TO-LEFT MARK}", "\N{FIRST STRONG ISOLATE}%s\N{POP DIRECTIONAL ISOLATE}"
    write_catalogue(
        tmp_path, "ar", lambda message: "لقاء %(name)s" if message == "Topic: %(text)s" else message
    )
    with catalogues_in(tmp_path):
        say = translator("ar").gettext
        day, time = isolated % "%(day)s", isolated % "%(time)s"
        assert say("%(day)s, %(time)s") == f"{mark}{day}, {time}"
        assert say("Topic: %(text)s") == f"لقاء {isolated % '%(name)s'}", "it begins with an Arabic word"
        assert say("Your name") == "Your name"
        assert without_isolates(say("%(day)s, %(time)s")) == "%(day)s, %(time)s"


def test_a_colon_after_a_latin_word_is_on_the_arabic_side_of_it(tmp_path: Path) -> None:
    write_catalogue(tmp_path, "ar", lambda _: "في Thunderbird: https://www.example.org/")
    with catalogues_in(tmp_path):
        mark = "\N{RIGHT-TO-LEFT MARK}"
        assert translator("ar").gettext("Your name") == f"في Thunderbird:{mark} https://www.example.org/"
