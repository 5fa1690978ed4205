import pytest

from scheduler.domain.address import LONGEST_URL, is_loopback, require_url
from scheduler.domain.errors import Refused


@pytest.mark.parametrize(
    "url",
    [
        "https://room.example.org",
        "http://127.0.0.1:8000/",
        "https://[2001:db8::1]:8443/j/8412?pwd=a-b_c~d&x=%20#start",
        "https://xn--mnchen-3ya.example.org/@kindness",
    ],
)
def test_a_web_address_is_accepted_unchanged(url: str) -> None:
    assert require_url(f" {url}\n", "link") == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "room.example.org",
        "//room.example.org/a",
        "ftp://room.example.org/a",
        "javascript:alert(1)",
        "https://",
        "https:///path",
        "https://room.example.org/a b",
        "https://room.example.org/a\r\nX-Forged: 1",
        'https://room.example.org/"onclick="x',
        "https://room.example.org/<b>",
        "https://münchen.example.org/",
        "https://somebody@room.example.org/",
        "https://room.example.org:99999/",
        "https://room.example.org:port/",
        "https://[room/",
        f"https://room.example.org/{'a' * LONGEST_URL}",
    ],
)
def test_anything_else_is_refused_by_the_name_of_its_place(url: str) -> None:
    with pytest.raises(Refused, match=r"^link: '"):
        require_url(url, "link")


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("meet.localhost", True),
        ("127.1.2.3", True),
        ("::ffff:127.0.0.1", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("localhost.example.org", False),
        ("notlocalhost", False),
    ],
)
def test_loopback_is_this_machine(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback
