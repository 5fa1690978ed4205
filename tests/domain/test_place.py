"""Cities and states of countries that have several zones."""

import pytest

from scheduler.domain.place import is_subdivision, zone_of_place
from scheduler.domain.zone import zone_tab_zones


@pytest.mark.parametrize(
    ("country", "state", "city", "zone"),
    [
        ("US", "CA", "", "America/Los_Angeles"),
        ("US", "New York", "", "America/New_York"),
        ("US", "US-HI", "", "Pacific/Honolulu"),
        ("US", "Texas", "", "America/Chicago"),
        ("US", "TX", "El Paso", "America/Denver"),
        ("US", "Indiana", "Gary", "America/Chicago"),
        ("US", "TN", "Knoxville", "America/New_York"),
        ("US", "D.C.", "", "America/New_York"),
        ("US", "", "Seattle", "America/Los_Angeles"),
        ("US", "", "LA", "America/Los_Angeles"),
        ("US", "", "NYC", "America/New_York"),
        ("US", "", "Portland, ME", "America/New_York"),
        ("US", "Oregon", "Portland", "America/Los_Angeles"),
        ("US", "", "Washington", "America/New_York"),
        ("CA", "B.C.", "", "America/Vancouver"),
        ("CA", "Québec", "", "America/Toronto"),
        ("CA", "Ont.", "", "America/Toronto"),
        ("CA", "", "St. John's", "America/St_Johns"),
        ("AU", "NSW", "", "Australia/Sydney"),
        ("AU", "Queensland", "", "Australia/Brisbane"),
        ("AU", "", "Perth", "Australia/Perth"),
        ("BR", "São Paulo", "", "America/Sao_Paulo"),
        ("BR", "AM", "", "America/Manaus"),
        ("BR", "", "Rio Branco", "America/Rio_Branco"),
        ("RU", "Sverdlovsk Oblast", "", "Asia/Yekaterinburg"),
        ("RU", "", "Новосибирск", "Asia/Novosibirsk"),
        ("RU", "", "Saint Petersburg", "Europe/Moscow"),
        ("RU", "Московская область", "", "Europe/Moscow"),
        ("CA", "Colombie-Britannique", "", "America/Vancouver"),
        ("MX", "México", "", "America/Mexico_City"),
        ("MX", "Baja California", "", "America/Tijuana"),
        ("ID", "Bali", "", "Asia/Makassar"),
        ("ES", "Canarias", "", "Atlantic/Canary"),
        ("PT", "", "Ponta Delgada", "Atlantic/Azores"),
        ("CD", "", "Lubumbashi", "Africa/Lubumbashi"),
    ],
)
def test_a_state_or_city_gives_the_zone(country: str, state: str, city: str, zone: str) -> None:
    assert zone_of_place(country, state=state, city=city) == zone


@pytest.mark.parametrize(
    ("country", "state", "city"),
    [
        ("US", "", "Portland"),
        ("US", "", "Springfield"),
        ("US", "IN", ""),
        ("US", "Kentucky", ""),
        ("US", "", ""),
        ("US", "Ontario", ""),
        ("CA", "Nunavut", ""),
        ("DE", "Bayern", "München"),
        ("US", "", "Atlantis"),
        ("GB-SCT", "", "Perth"),
        ("CN", "", "Urumqi"),
    ],
)
def test_a_place_that_may_be_in_several_zones_gives_none(country: str, state: str, city: str) -> None:
    assert zone_of_place(country, state=state, city=city) is None


def test_every_zone_in_the_generated_tables_exists_today() -> None:
    from scheduler.domain import place

    zones = {
        zone
        for code in place._subdivisions().values()
        for subdivision in code.values()
        for zone in subdivision.zones
    }
    zones |= {zone.partition("=")[0] for row in place._rows("cities.tsv") for zone in row[2].split()}
    zones |= {row[2] for row in place._rows("windows_zones.tsv")}
    assert zones - set(zone_tab_zones()) <= {"UTC"}


def test_georgia_and_two_letter_codes_are_states_too() -> None:
    assert all(map(is_subdivision, ["Georgia", "IN", "CA", "co", "DE", "LA", "Ontario"]))
    assert not any(map(is_subdivision, ["Germany", "FR", "Japan", ""]))
