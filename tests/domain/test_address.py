"""Email addresses from people are checked and normalised."""

import pytest
from email_validator import EmailNotValidError, validate_email
from hypothesis import given
from hypothesis import strategies as st

from scheduler.domain.address import address_key, require_address
from scheduler.domain.errors import Refused


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("anna@example.org", "anna@example.org"),
        (" anna@example.org\t", "anna@example.org"),
        ("\ufeffanna@example.org\u200b", "anna@example.org"),
        ("Anna.B@Example.ORG", "Anna.B@example.org"),
        ("mailto:anna@example.org", "anna@example.org"),
        ("MAILTO:anna@example.org?subject=x", "anna@example.org"),
        ("Anna B <anna@example.org>", "anna@example.org"),
        ('"B, Anna" < anna@example.org >', "anna@example.org"),
        ("anna@meeting.test", "anna@meeting.test"),
        ("anna+list@example.org", "anna+list@example.org"),
        ("a@xn--bcher-kva.example", "a@bücher.example"),
        ("a@BÜCHER.example", "a@bücher.example"),
        ("bjo\u0308rn@example.org", "björn@example.org"),
        ("o'neill@example.org", "o'neill@example.org"),
        ("a" * 64 + "@example.org", "a" * 64 + "@example.org"),
    ],
)
def test_an_address_is_given_its_usual_spelling(text: str, address: str) -> None:
    assert require_address(text) == address
    assert require_address(address) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "anna",
        "anna@",
        "@example.org",
        "anna@@example.org",
        "anna@localhost",
        "anna@test",
        "anna b@example.org",
        "anna@example.org, bo@example.org",
        "anna@example.org;bo@example.org",
        "anna@example..org",
        ".anna@example.org",
        "anna.@example.org",
        "anna@-example.org",
        "anna@exa_mple.org",
        "anna@[127.0.0.1]",
        '"anna b"@example.org',
        "anna@example.org\nBcc: bo@example.org",
        "anna\x00@example.org",
        "anna@example.org.",
        "anna\u202e@example.org",
        "a" * 65 + "@example.org",
        "anna@" + "a." * 125 + "org",
        "anna" * 10_000 + "@example.org",
        "<>",
        "Anna <anna>",
    ],
)
def test_text_that_is_not_an_address_is_refused_in_one_short_line(text: str) -> None:
    with pytest.raises(Refused, match=r"^member '.*' is not an email address: ") as refusal:
        require_address(text, "member")
    assert str(refusal.value).isprintable() and len(str(refusal.value)) < 300


@pytest.mark.parametrize(
    ("spelling", "other_spelling"),
    [
        ("Anna@example.org", "anna@EXAMPLE.org"),
        ("ÅSA@example.org", "a\u030asa@example.org"),
        ("a@xn--bcher-kva.example", "A@bücher.example"),
        ("STRASSE@example.org", "straße@example.org"),
    ],
)
def test_two_spellings_of_an_address_have_one_key(spelling: str, other_spelling: str) -> None:
    assert address_key(require_address(spelling)) == address_key(require_address(other_spelling))


def test_two_addresses_have_two_keys() -> None:
    assert address_key("anna@example.org") != address_key("ann.a@example.org")


@given(
    st.from_regex(r"\A[a-z0-9._+-]{1,70}@[A-Za-z0-9.-]{1,30}\.(org|test|com|x)\Z") | st.text() | st.emails()
)
def test_the_short_check_for_plain_addresses_gives_the_result_of_the_full_one(text: str) -> None:
    if any(mark in text for mark in "<>") or text[:7].lower() == "mailto:":
        return
    try:
        checked = validate_email(text, check_deliverability=False, test_environment=True, strict=True)
    except EmailNotValidError:
        return
    assert require_address(text) == checked.normalized


@given(st.from_regex(r"\A[a-z0-9._+-]{1,70}@[A-Za-z0-9.-]{1,30}\.(org|test|com|x)\Z") | st.text())
def test_an_accepted_address_is_its_own_usual_spelling(text: str) -> None:
    try:
        address = require_address(text)
    except Refused:
        return
    assert (
        validate_email(address, check_deliverability=False, test_environment=True, strict=True).normalized
        == address
    )
    assert require_address(address) == address
    assert address_key(address_key(address)) == address_key(address)
