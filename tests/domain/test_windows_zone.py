"""Windows' names for zones: the same name means different zones in different countries."""

import pytest

from scheduler.domain.windows_zone import windows_name, windows_zone
from scheduler.domain.zone import find_zone


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
def test_a_windows_name_is_read_for_the_country_it_stands_beside(
    text: str, country: str | None, zone: str
) -> None:
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
def test_a_windows_name_that_a_country_does_not_use_means_none_there(text: str, country: str | None) -> None:
    name = windows_name(text)
    assert (name is None or windows_zone(name, country) is None) and find_zone(text, country) is None


@pytest.mark.parametrize("text", ["Seoul", "Alaska", "Arizona", "London", "", "Standard Time"])
def test_a_place_alone_is_not_taken_for_windows_words(text: str) -> None:
    assert windows_name(text) is None
