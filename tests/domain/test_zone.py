"""Zones: which exist, to which country they belong, and their names."""

import zoneinfo
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from zoneinfo import ZoneInfo

import pytest

from scheduler.domain.errors import Refused
from scheduler.domain.zone import (
    canonical_zone,
    city,
    country_table,
    find_zone,
    has_no_place,
    nearest_zone,
    primary_zone,
    require_zone,
    tzdata_version,
    windows_name,
    windows_zone,
    zone_info,
    zone_tab_zones,
    zones_of_country,
)

ALL_NAMES = (files("tzdata") / "zones").read_text().split()


@pytest.mark.parametrize(
    "name", ["Europe/London", "Asia/Calcutta", "Europe/Kiev", "US/Eastern", "UTC", "Etc/UTC", "Japan", "GB"]
)
def test_a_name_is_kept_as_it_is_spelled(name: str) -> None:
    assert require_zone(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "EST",
        "MST",
        "HST",
        "EST5EDT",
        "CST6CDT",
        "CET",
        "EET",
        "MET",
        "WET",
        "GMT",
        "GMT+0",
        "GMT0",
        "Zulu",
        "Etc/GMT+5",
        "Etc/GMT-14",
        "Etc/GMT0",
        "Etc/GMT+0",
        "Factory",
        "posixrules",
        "tzdata.zi",
        "Europe",
        "posix/Europe/London",
        "right/UTC",
        "../zoneinfo/Europe/London",
        "Europe/../Europe/London",
        "/Europe/London",
        "Europe//London",
        "Europe/London ",
        "europe/london",
        "Europe/London\n",
        "Europe/London\x00",
        "",
        " ",
        "\ud800",
        "x" * 100_000,
    ],
)
def test_anything_else_is_refused_in_one_short_line(name: str) -> None:
    with pytest.raises(Refused) as refusal:
        require_zone(name)
    assert str(refusal.value).startswith("zone '")
    assert str(refusal.value).isprintable() and len(str(refusal.value)) < 200


def test_every_name_with_a_place_is_accepted_and_every_other_name_refused() -> None:
    def accepted(name: str) -> bool:
        try:
            return require_zone(name) == name
        except Refused:
            return False

    refused = {name for name in ALL_NAMES if not accepted(name)}
    assert {name for name in refused if "/" in name} == {
        "Etc/GMT0",
        "Etc/GMT+0",
        *(f"Etc/GMT{offset:+}" for offset in range(-14, 13)),
        "Etc/GMT-0",
    }
    assert {name for name in ALL_NAMES if "/" not in name} - refused == {
        "Cuba",
        "Egypt",
        "Eire",
        "GB",
        "GB-Eire",
        "Hongkong",
        "Iceland",
        "Iran",
        "Israel",
        "Jamaica",
        "Japan",
        "Kwajalein",
        "Libya",
        "NZ",
        "NZ-CHAT",
        "Navajo",
        "PRC",
        "Poland",
        "Portugal",
        "ROC",
        "ROK",
        "Singapore",
        "Turkey",
        "UTC",
        "W-SU",
    }


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("Europe/Lodon", "Europe/London"),
        ("europe/london", "Europe/London"),
        ("London", "Europe/London"),
        ("New York", "America/New_York"),
        ("Kiev", "Europe/Kyiv"),
        ("St. John’s", "America/St_Johns"),
        ("W. Europe Standard Time", "Europe/Berlin"),
        ("Ho Chi Minh City", "Asia/Ho_Chi_Minh"),
        ("utc", "UTC"),
    ],
)
def test_a_refusal_names_the_zone_that_was_probably_meant(wrong: str, right: str) -> None:
    assert nearest_zone(wrong) == right
    with pytest.raises(Refused, match=f"did you mean {right}\\?"):
        require_zone(wrong)


@pytest.mark.parametrize("text", ["EST", "bst", "PT", "GMT+1", "UTC-5", "+01:00", "Etc/GMT+5", "EST5EDT"])
def test_no_place_is_guessed_for_an_abbreviation_or_an_offset(text: str) -> None:
    assert has_no_place(text)
    assert nearest_zone(text) is None
    with pytest.raises(Refused, match="is not a place"):
        require_zone(text)


def test_the_refusal_names_what_it_is_about() -> None:
    with pytest.raises(Refused, match=r"^home zone 'Mars' is not known"):
        require_zone("Mars", "home zone")


def test_the_rules_come_from_the_packaged_data_and_are_read_once() -> None:
    assert zoneinfo.TZPATH == ()
    assert zone_info("Europe/London") is zone_info("Europe/London")
    with pytest.raises(Refused):
        zone_info("EST")


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        ("EUROPE/LONDON", "Europe/London"),
        (" america/new york ", "America/New_York"),
        ("America/New_York", "America/New_York"),
        ("america/port-au-prince", "America/Port-au-Prince"),
        ("Asia/Calcutta", "Asia/Kolkata"),
        ("europe/kiev", "Europe/Kyiv"),
        ("us/eastern", "America/New_York"),
        ("GMT Standard Time", "Europe/London"),
        ("gmt standard time", "Europe/London"),
        ("Greenwich Standard Time", "Atlantic/Reykjavik"),
        ("FLE Standard Time", "Europe/Kyiv"),
        ("India Standard Time", "Asia/Kolkata"),
        ("Eastern Standard Time (Mexico)", "America/Cancun"),
        ("Eastern Standard Time", "America/New_York"),
        ("UTC", "UTC"),
        ("utc", "UTC"),
        ("Etc/UTC", "UTC"),
        ("(UTC+01:00) Europe/Berlin", "Europe/Berlin"),
        ("(GMT) Europe/London", "Europe/London"),
        ("Europe/Berlin (CET)", "Europe/Berlin"),
        ("Europe/Oslo", "Europe/Oslo"),
    ],
)
def test_lists_are_read_leniently(text: str, zone: str) -> None:
    assert find_zone(text) == zone


@pytest.mark.parametrize(
    "text",
    ["", " ", "EST", "London", "Germany", "UTC-08", "Dateline Standard Time", "Etc/GMT+5", "GMT", "+01:00"],
)
def test_text_that_names_no_zone_gives_none(text: str) -> None:
    assert find_zone(text) is None


def test_a_windows_name_is_not_read_without_its_brackets() -> None:
    """Sydney's Eastern Standard Time is not New York's."""
    assert find_zone("Eastern Standard Time (Australia)") is None
    assert find_zone("(UTC+10:00) Eastern Standard Time") is None


def test_a_listed_zone_is_its_own_present_name_even_where_it_is_a_link() -> None:
    assert {canonical_zone(zone) for zone in zone_tab_zones()} == set(zone_tab_zones())
    assert {"Europe/Oslo", "Atlantic/Reykjavik"} <= set(zone_tab_zones())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Asia/Calcutta", "Asia/Kolkata"),
        ("Europe/Kiev", "Europe/Kyiv"),
        ("US/Pacific", "America/Los_Angeles"),
        ("Africa/Asmera", "Africa/Asmara"),
        ("America/Coral_Harbour", "America/Atikokan"),
        ("Atlantic/Jan_Mayen", "Arctic/Longyearbyen"),
        ("Pacific/Truk", "Pacific/Chuuk"),
        ("Etc/Zulu", "UTC"),
        ("Etc/UTC", "UTC"),
        ("UTC", "UTC"),
    ],
)
def test_an_old_name_has_a_present_one_in_the_same_place(old: str, new: str) -> None:
    assert canonical_zone(old) == new


def test_the_present_name_of_a_zone_has_its_clock() -> None:
    fortnights = [datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=14 * number) for number in range(260)]
    for name in ALL_NAMES:
        if name == "UTC" or ("/" in name and not name.startswith("Etc/")):
            before, after = ZoneInfo(name), ZoneInfo(canonical_zone(name))
            if before is not after:
                assert [at.astimezone(before).utcoffset() for at in fortnights] == [
                    at.astimezone(after).utcoffset() for at in fortnights
                ], name


def test_every_inhabited_country_has_its_zones_in_the_order_of_the_table() -> None:
    assert {code for code, _ in country_table() if not zones_of_country(code)} == {"BV", "HM"}
    assert zones_of_country("NZ") == ("Pacific/Auckland", "Pacific/Chatham")
    assert zones_of_country("US")[0] == "America/New_York"
    assert zones_of_country("GB-SCT") == zones_of_country("GB") == ("Europe/London",)
    assert zones_of_country("XX") == ()


@pytest.mark.parametrize(
    ("country", "zone"),
    [
        ("GB", "Europe/London"),
        ("GB-ENG", "Europe/London"),
        ("GB-NIR", "Europe/London"),
        ("IS", "Atlantic/Reykjavik"),
        ("NO", "Europe/Oslo"),
        ("SE", "Europe/Stockholm"),
        ("DE", "Europe/Berlin"),
        ("NZ", "Pacific/Auckland"),
        ("ES", "Europe/Madrid"),
        ("PT", "Europe/Lisbon"),
        ("CN", "Asia/Shanghai"),
        ("CL", "America/Santiago"),
        ("EC", "America/Guayaquil"),
        ("MY", "Asia/Kuala_Lumpur"),
        ("MH", "Pacific/Majuro"),
        ("UA", "Europe/Kyiv"),
        ("UZ", "Asia/Tashkent"),
        ("US", None),
        ("AU", None),
        ("BR", None),
        ("CA", None),
        ("MX", None),
        ("RU", None),
        ("BV", None),
        ("XX", None),
        ("", None),
    ],
)
def test_a_country_has_a_primary_zone_where_it_has_one_zone_or_cldr_names_one(
    country: str, zone: str | None
) -> None:
    assert primary_zone(country) == zone


def test_every_primary_zone_is_one_of_the_country_s_own() -> None:
    for code, _ in country_table():
        if zone := primary_zone(code):
            assert zone in zones_of_country(code)


@pytest.mark.parametrize(
    ("zone", "name"),
    [
        ("Europe/London", "London"),
        ("America/St_Johns", "St John's"),
        ("Europe/Kiev", "Kyiv"),
        ("Asia/Ho_Chi_Minh", "Ho Chi Minh City"),
        ("Australia/Lord_Howe", "Lord Howe Island"),
        ("Asia/Calcutta", "Kolkata"),
        ("America/New_York", "New York"),
        ("US/Eastern", "New York"),
        ("America/Argentina/Ushuaia", "Ushuaia"),
        ("America/Indiana/Knox", "Knox, Indiana"),
        ("Pacific/Kanton", "Kanton"),
        ("America/Asuncion", "Asunción"),
        ("America/Port-au-Prince", "Port-au-Prince"),
        ("UTC", "UTC"),
        ("Etc/UTC", "UTC"),
        ("Etc/GMT", "UTC"),
    ],
)
def test_a_zone_is_called_by_its_city(zone: str, name: str) -> None:
    assert city(zone) == name


def test_every_city_reads_as_a_name() -> None:
    names = {zone: city(zone) for zone in zone_tab_zones()}
    assert not [name for name in names.values() if "_" in name or "/" in name or not name.strip()]
    assert len(set(names.values())) == len(names)


def test_the_version_of_the_zone_data_is_that_of_iana() -> None:
    version = tzdata_version()
    assert version[:4].isdigit() and version[4:].isalpha() and version >= "2026a"


@pytest.mark.parametrize(
    ("text", "country", "zone"),
    [
        ("Pacific Standard Time", "CA", "America/Vancouver"),
        ("Pacific Standard Time", "US", "America/Los_Angeles"),
        ("Pacific Standard Time", None, "America/Los_Angeles"),
        ("Central Standard Time", "CA", "America/Winnipeg"),
        ("mountain standard time", "CA", "America/Edmonton"),
        ("Eastern Standard Time", "CA", "America/Toronto"),
        ("Central Asia Standard Time", "KZ", "Asia/Almaty"),
        ("West Asia Standard Time", "UZ", "Asia/Tashkent"),
        ("GMT Standard Time", "GB-SCT", "Europe/London"),
        ("GMT Standard Time", "IE", "Europe/Dublin"),
        ("GMT Standard Time", "ES", "Atlantic/Canary"),
        ("Greenwich Standard Time", None, "Atlantic/Reykjavik"),
        ("SE Asia Standard Time", "VN", "Asia/Ho_Chi_Minh"),
        ("UTC", "NZ", "UTC"),
        ("UTC-11", "AS", "Pacific/Pago_Pago"),
        ("(UTC-08:00) Pacific Time (US & Canada)", "CA", "America/Vancouver"),
        ("(GMT-05:00) Eastern Time (US & Canada)", None, "America/New_York"),
        ("Central Time (US and Canada)", "CA", "America/Winnipeg"),
        ("(UTC+00:00) Dublin, Edinburgh, Lisbon, London", "IE", "Europe/Dublin"),
        ("(UTC+01:00) Amsterdam, Berlin, Bern, Rome, Stockholm, Vienna", "SE", "Europe/Stockholm"),
    ],
)
def test_a_windows_name_is_read_for_the_country_beside_it(text: str, country: str | None, zone: str) -> None:
    assert find_zone(text, country) == zone


@pytest.mark.parametrize(
    ("text", "country"),
    [
        ("Greenwich Standard Time", "GB"),
        ("Pacific Standard Time", "NZ"),
        ("W. Europe Standard Time", "FR"),
        ("Romance Standard Time", "US"),
        ("UTC-11", None),
        ("Dateline Standard Time", None),
    ],
)
def test_a_windows_name_that_a_country_does_not_use_gives_no_zone_there(
    text: str, country: str | None
) -> None:
    name = windows_name(text)
    assert (name is None or windows_zone(name, country) is None) and find_zone(text, country) is None


@pytest.mark.parametrize("text", ["Seoul", "Alaska", "Arizona", "London", "", "Standard Time"])
def test_a_place_alone_is_not_taken_for_windows_words(text: str) -> None:
    assert windows_name(text) is None
