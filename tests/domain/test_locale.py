"""Language tags, and the clocks people read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.domain.errors import Refused
from scheduler.domain.locale import (
    NATIONS,
    countries,
    country_name,
    find_country,
    find_locale,
    hour_cycle,
    nearest_country,
    own_hour_cycle,
    plain_locale,
    require_country,
    require_locale,
    with_hour_cycle,
)
from scheduler.domain.zone import country_table


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ("en-GB", "en-GB"),
        ("en_GB", "en-GB"),
        ("EN-gb", "en-GB"),
        (" en-GB ", "en-GB"),
        ("en_GB.UTF-8", "en-GB"),
        ("de@euro", "de"),
        ("zh-Hant-HK", "zh-Hant-HK"),
        ("zh-hant-hk", "zh-Hant-HK"),
        ("zh-TW", "zh-TW"),
        ("cy-GB", "cy-GB"),
        ("mt-MT", "mt-MT"),
        ("fil-PH", "fil-PH"),
        ("fo-FO", "fo-FO"),
        ("no-NO", "no-NO"),
        ("en-NO", "en-NO"),
        ("en", "en"),
        ("es-419", "es-419"),
        ("ca-ES-valencia", "ca-ES-valencia"),
        ("iw-IL", "he-IL"),
        ("en-UK", "en-GB"),
    ],
)
def test_a_tag_is_given_its_usual_form(text: str, tag: str) -> None:
    assert require_locale(text) == tag
    assert find_locale(text) == tag
    assert require_locale(tag) == tag


@pytest.mark.parametrize(
    "text",
    [
        "",
        "xx",
        "xx-YY",
        "en-XX",
        "en-ZZ",
        "en-",
        "-en",
        "en--GB",
        "und",
        "root",
        "C",
        "English",
        "en\n-GB",
        "x" * 9999,
    ],
)
def test_text_that_is_not_a_tag_is_refused_in_one_short_line(text: str) -> None:
    with pytest.raises(
        Refused, match=r"^language '.* is not known; write a language and country, such as en-GB$"
    ) as refusal:
        require_locale(text, "language")
    assert str(refusal.value).isprintable() and len(str(refusal.value)) < 200


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ("English", "en"),
        ("welsh", "cy"),
        ("Cymraeg", "cy"),
        ("Svenska", "sv"),
        ("British English", "en-GB"),
        ("中文", "zh"),
    ],
)
def test_lists_may_name_a_language_in_english_or_in_itself(text: str, tag: str) -> None:
    assert find_locale(text) == tag


@pytest.mark.parametrize("text", ["", " ", "Klingonese", "European Union", "root"])
def test_text_that_names_no_language_gives_none(text: str) -> None:
    assert find_locale(text) is None


@pytest.mark.parametrize(
    ("tag", "cycle"),
    [
        ("en-US", "h12"),
        ("en-AU", "h12"),
        ("en-CA", "h12"),
        ("en-NZ", "h12"),
        ("ar-SA", "h12"),
        ("fil-PH", "h12"),
        ("zh-Hant-HK", "h12"),
        ("es-MX", "h12"),
        ("en-GB", "h23"),
        ("en-IE", "h23"),
        ("sv-SE", "h23"),
        ("sv", "h23"),
        ("de-CH", "h23"),
        ("fo-FO", "h23"),
        ("mt-MT", "h23"),
        ("cy-GB", "h23"),
        ("sw-KE", "h23"),
        ("pt-BR", "h23"),
    ],
)
def test_the_hour_cycle_is_that_of_cldr(tag: str, cycle: str) -> None:
    assert hour_cycle(tag) == cycle


def test_a_letter_h_in_quotation_marks_does_not_mean_a_twelve_hour_clock() -> None:
    """Quebec writes 18 h 00."""
    assert hour_cycle("fr-CA") == "h23"


@pytest.mark.parametrize(
    ("tag", "cycle"), [("no-NO", "h23"), ("en-NO", "h23"), ("en-EG", "h12"), ("tlh", "h23"), ("", "h23")]
)
def test_a_locale_that_cldr_does_not_know_has_the_clock_of_its_country(tag: str, cycle: str) -> None:
    assert hour_cycle(tag) == cycle


@given(st.text() | st.from_regex(r"\A[A-Za-z]{1,4}([-_][A-Za-z0-9]{1,8}){0,3}\Z"))
def test_any_text_can_be_looked_up_without_an_error(text: str) -> None:
    tag = find_locale(text)
    assert hour_cycle(text) in ("h12", "h23")
    assert tag is None or find_locale(tag) == tag


def test_an_hour_cycle_is_added_to_the_tag_and_removed_again() -> None:
    """RFC 6067: Unicode extensions of a language tag come after -u-."""
    assert require_locale("en_GB-U-HC-H12") == "en-GB-u-hc-h12" == with_hour_cycle("en-GB", "h12")
    assert [hour_cycle(tag) for tag in ("en-GB", "en-GB-u-hc-h12", "en-US-u-hc-h23")] == ["h23", "h12", "h23"]
    assert own_hour_cycle("en-US") is None and own_hour_cycle("en-US-u-hc-h23") == "h23"
    assert with_hour_cycle("en-US-u-hc-h23", None) == "en-US" == plain_locale("en-US-u-hc-h12")
    assert find_locale("en-GB-u-hc-h99") is None


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("GB", "GB"),
        ("gb", "GB"),
        ("UK", "GB"),
        ("U.K.", "GB"),
        ("GBR", "GB"),
        ("Great Britain", "GB"),
        ("United Kingdom", "GB"),
        ("the united kingdom", "GB"),
        ("England", "GB-ENG"),
        ("SCOTLAND", "GB-SCT"),
        ("Wales", "GB-WLS"),
        ("Cymru", "GB-WLS"),
        ("Northern Ireland", "GB-NIR"),
        ("N. Ireland", "GB-NIR"),
        ("GB-ENG", "GB-ENG"),
        ("gb_sct", "GB-SCT"),
        ("NI", "NI"),
        ("USA", "US"),
        ("U.S.A.", "US"),
        ("United States of America", "US"),
        ("UAE", "AE"),
        ("Holland", "NL"),
        ("The Netherlands", "NL"),
        ("Republic of Ireland", "IE"),
        ("South Korea", "KR"),
        ("Korea, Republic of", "KR"),
        ("Russia", "RU"),
        ("Korea (the Democratic People's Republic of)", "KP"),
        ("Czechia", "CZ"),
        ("Czech Republic", "CZ"),
        ("Türkiye", "TR"),
        ("Turkey", "TR"),
        ("Hong Kong", "HK"),
        ("Hongkong", "HK"),
        ("Ivory Coast", "CI"),
        ("Cote d'Ivoire", "CI"),
        ("Côte d’Ivoire", "CI"),
        ("Faroe Islands", "FO"),
        ("French Southern Territories", "TF"),
        ("Heard & McDonald Islands", "HM"),
        ("Føroyar", "FO"),
        ("Saint Lucia", "LC"),
        ("St. Lucia", "LC"),
        ("Trinidad and Tobago", "TT"),
        ("Trinidad & Tobago", "TT"),
        ("Deutschland", "DE"),
        ("España", "ES"),
        ("ESPANA", "ES"),
        ("Sverige", "SE"),
        ("Nederland", "NL"),
        ("Ísland", "IS"),
        ("Österreich", "AT"),
        ("Suomi", "FI"),
        ("Brasil", "BR"),
        ("日本", "JP"),
        ("Россия", "RU"),
        ("Pilipinas", "PH"),
        ("Aotearoa", "NZ"),
        ("Kosovo", "XK"),
        (" Georgia ", "GE"),
        ("\tSweden\n", "SE"),
    ],
)
def test_a_country_is_known_by_its_codes_and_names(text: str, code: str) -> None:
    assert find_country(text) == code
    assert require_country(text) == code


@pytest.mark.parametrize(
    "text", ["", " ", "--", "(", ",", "XX", "EU", "Ruritania", "Congo", "Virgin Islands", "London"]
)
def test_a_text_that_means_no_country_or_several_is_refused(text: str) -> None:
    assert find_country(text) is None
    with pytest.raises(Refused, match="^country '"):
        require_country(text)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("Grate Britain", "United Kingdom"),
        ("Swedne", "Sweden"),
        ("Deutschlnd", "Germany"),
        ("Scottland", "Scotland"),
    ],
)
def test_a_refusal_names_the_country_that_was_probably_meant(wrong: str, right: str) -> None:
    assert nearest_country(wrong) == right
    with pytest.raises(Refused, match=f"^nation '{wrong}' is not known; did you mean {right}\\?$"):
        require_country(wrong, "nation")


def test_a_refusal_is_one_short_line() -> None:
    with pytest.raises(Refused) as refusal:
        require_country("x\n\u202ey" * 1000)
    assert str(refusal.value).isprintable() and len(str(refusal.value)) < 200


@pytest.mark.parametrize(
    ("code", "name"),
    [("GB-WLS", "Wales"), ("GB", "United Kingdom"), ("HK", "Hong Kong"), ("SE", "Sweden"), ("ZZZ", "ZZZ")],
)
def test_a_code_has_an_english_name(code: str, name: str) -> None:
    assert country_name(code) == name


def test_the_picker_has_every_country_and_the_nations_by_name() -> None:
    listed = dict(countries())
    assert listed.keys() == {code for code, _ in country_table()} | NATIONS.keys() | {"XK"}
    names = [name for _, name in countries()]
    assert names[:2] == ["Afghanistan", "Åland Islands"] and names[-1] == "Zimbabwe"
    assert len(set(names)) == len(names)


def test_every_name_and_code_of_the_picker_and_the_table_is_understood() -> None:
    for code, name in [*countries(), *country_table()]:
        assert find_country(name) == find_country(code) == code


@given(st.text())
def test_any_text_can_be_looked_up_as_a_country_without_an_error(text: str) -> None:
    code = find_country(text)
    assert code is None or code in dict(countries())
