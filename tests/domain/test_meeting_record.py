"""Speakers and materials as people write them in one line, and back."""

import pytest

from scheduler.domain.errors import Refused
from scheduler.domain.meeting_record import (
    Material,
    MaterialKind,
    Speaker,
    material_kind,
    materials_text,
    read_materials,
    read_people,
    read_speakers,
    slug_for,
    speakers_text,
)


def names(text: str) -> list[str]:
    return [speaker.text for speaker in read_people(text)]


def test_a_semicolon_separates_speakers_and_commas_what_is_known_about_one() -> None:
    ann, bo = read_speakers("Ann Lee, poet, Example Org, Leeds;  Bo;")
    assert (ann.name, ann.role, ann.organisation, bo.text) == ("Ann Lee", "poet", "Example Org, Leeds", "Bo")
    assert speakers_text((ann, bo)) == "Ann Lee, poet, Example Org, Leeds; Bo"
    assert read_speakers(speakers_text((ann, bo))) == (ann, bo)
    assert [one.name for one in read_speakers("Ann & Bo")] == ["Ann", "Bo"]
    assert [one.name for one in read_speakers("Ann; ANN; Änn")] == ["Ann"], "one person in three spellings"


@pytest.mark.parametrize(
    ("typed", "people"),
    [
        ("Ann Lee and Bo Ray", ["Ann Lee", "Bo Ray"]),
        ("led by Ann Lee, Bo van der Ray & Cy Fox", ["Ann Lee", "Bo van der Ray", "Cy Fox"]),
        ("Ann Lee, Bo Ray", ["Ann Lee", "Bo Ray"]),
        ("Ann Lee, Head of Research and Development", ["Ann Lee, Head of Research and Development"]),
        ("Ann Lee, poet", ["Ann Lee, poet"]),
        ("Ann Lee, Open University", ["Ann Lee, Open University"]),
        ("李小龍 and Жанна", ["李小龍", "Жанна"]),
        ("", []),
    ],
)
def test_who_led_is_read_as_people_write_it(typed: str, people: list[str]) -> None:
    assert names(typed) == people


def test_each_line_of_materials_has_a_link_and_its_other_words_are_the_title() -> None:
    text = (
        "Recording: https://youtu.be/x (passcode: tea)\n"
        "https://example.org/talk.pptx and the paper at <https://doi.org/10.1/x>.\n"
        "https://youtu.be/x\nThe notes will follow"
    )
    found = read_materials(text)
    assert found == (
        Material(kind=MaterialKind.RECORDING, title="Recording – passcode: tea", link="https://youtu.be/x"),
        Material(kind=MaterialKind.SLIDES, link="https://example.org/talk.pptx"),
        Material(kind=MaterialKind.PAPER, title="the paper", link="https://doi.org/10.1/x"),
        Material(kind=MaterialKind.SUMMARY, title="The notes will follow"),
    )
    assert read_materials(materials_text(found)) == found
    assert material_kind("", "https://en.wikipedia.org/wiki/Tea_(meal)") is MaterialKind.OTHER
    assert read_materials("https://example.org/Tea_(meal)")[0].link == "https://example.org/Tea_(meal)"


@pytest.mark.parametrize("link", ["javascript:alert(1)", "ftp://example.org/", "example.org", "https://"])
def test_what_is_not_a_web_address_is_refused(link: str) -> None:
    with pytest.raises(Refused, match="is not a web address"):
        Material(kind=MaterialKind.OTHER, title="x", link=link)
    with pytest.raises(Refused, match="is not a web address"):
        Speaker(name="Ann", link=link)


def test_a_slug_is_made_of_latin_letters_or_else_numbered() -> None:
    assert slug_for("Åsa Strøm-O'Neill", taken=(), otherwise="speaker") == "asa-strom-oneill"
    assert slug_for("Œuvre Ǿrsted", taken=(), otherwise="theme") == "oeuvre-orsted"
    assert slug_for("Asa Strom", taken={"asa-strom", "asa-strom-2"}, otherwise="speaker") == "asa-strom-3"
    assert slug_for("李小龍", taken={"speaker-1"}, otherwise="speaker") == "speaker-2"
    assert len(slug_for("a" * 100, taken=(), otherwise="x")) <= 40
