"""Countries as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.domain.country import (
    NATIONS,
    countries,
    country_name,
    find_country,
    nearest_country,
    require_country,
)
from scheduler.domain.errors import Refused
from scheduler.domain.zone import country_table


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
def test_what_means_none_or_several_is_refused(text: str) -> None:
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
def test_no_text_breaks_the_look_up(text: str) -> None:
    found = find_country(text)
    assert found is None or found in dict(countries())
