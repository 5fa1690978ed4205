"""The addresses to which mail comes back."""

from hypothesis import given
from hypothesis import strategies as st

from scheduler.domain.token import TOKEN_LENGTH, Keys, Purpose
from scheduler.domain.verp import (
    ReturnPurpose,
    Token,
    bounce_address,
    is_bounce_of,
    leave_address,
    leave_tokens_in,
    tokens_in,
)

KEYS = Keys(b"k" * 32)


@given(member=st.integers(1, 2**40 - 1), upper=st.booleans())
def test_a_bounce_address_fits_a_local_part_in_any_case_and_is_of_one_member_and_address(
    member: int, upper: bool
) -> None:
    address = bounce_address(KEYS, member, "Ann@Example.org", "bounces.example.org")
    assert len(address.partition("@")[0]) == 36 <= 64
    (found,) = tokens_in(f"<{address.upper() if upper else address}>")
    assert found.way is ReturnPurpose.BOUNCE and len(found.token) == TOKEN_LENGTH
    assert is_bounce_of(KEYS, found.token, "ann@example.org")
    assert not is_bounce_of(KEYS, found.token, "bo@example.org")
    assert not is_bounce_of(Keys(b"x" * 32), found.token, "ann@example.org")


def test_tokens_of_other_purposes_are_no_return_path() -> None:
    for purpose in set(Purpose) - {Purpose.BOUNCE}:
        token = KEYS.token(purpose, 7, generation=0)
        assert not is_bounce_of(KEYS, token, "ann@example.org")


def test_our_addresses_are_found_however_they_are_written() -> None:
    token = KEYS.token(Purpose.LEAVE, 7, generation=0)
    ours = leave_address(token, "example.org")
    for text in (
        ours,
        f'"{ours}"',
        f"rfc822;{ours}",
        f"Bo <{ours.upper()}>",
        f"a@example.org,{ours}",
        f"mailto:{ours}",
    ):
        assert tokens_in(text) == [Token(ReturnPurpose.LEAVE, token)], text
        assert leave_tokens_in(text) == [token]
    for text in (f"x{ours}", f"x.{ours}", f"c+{token}@x", f"u+{token}a@x", f"u+{token[1:]}@x", f"u+{token}"):
        assert tokens_in(text) == [], text
    assert leave_tokens_in(f"<https://meet.example.org/u/{token.upper()}>") == [token]
