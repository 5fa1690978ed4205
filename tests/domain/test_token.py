"""A token is valid only for its own member, purpose and generation."""

import base64
import hmac
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.domain.token import (
    EXPIRING_LENGTH,
    TOKEN_LENGTH,
    Keys,
    Purpose,
    ReturnPurpose,
    ReturnToken,
    bounce_address,
    is_bounce_of,
    leave_address,
    leave_tokens_in,
    token_expiry,
    token_subject,
    tokens_in,
)

KEYS = Keys(b"k" * 32)


@given(st.integers(0, 2**40 - 1), st.sampled_from(Purpose), st.integers(0, 1000))
def test_a_token_is_valid_only_for_its_own_purpose_member_and_generation(
    member: int, purpose: Purpose, generation: int
) -> None:
    token = KEYS.token(purpose, member, generation=generation)
    assert len(token) == TOKEN_LENGTH
    assert token_subject(token) == member
    assert KEYS.matches(token, purpose, generation=generation)
    assert KEYS.matches(token.upper(), purpose, generation=generation)
    assert not any(
        KEYS.matches(token, other_purpose, generation=generation)
        for other_purpose in set(Purpose) - {purpose}
    )
    assert not KEYS.matches(token, purpose, generation=generation, about="series/2026-11-19")
    assert not KEYS.matches(token, purpose, generation=generation + 1)
    assert not Keys(b"o" * 32).matches(token, purpose, generation=generation)


@given(
    st.integers(0, 2**40 - 1),
    st.sampled_from(Purpose),
    st.datetimes(datetime(2026, 1, 1), datetime(2100, 1, 1)),
)
def test_a_token_that_expires_says_when_and_cannot_be_made_to_say_otherwise(
    member: int, purpose: Purpose, naive: datetime
) -> None:
    expires = naive.replace(tzinfo=UTC, microsecond=0)
    token = KEYS.token(purpose, member, generation=0, expires=expires)
    assert (len(token), token_subject(token), token_expiry(token)) == (EXPIRING_LENGTH, member, expires)
    assert KEYS.matches(token, purpose, generation=0)
    later = KEYS.token(purpose, member, generation=0, expires=expires + timedelta(seconds=1))
    for_ever = KEYS.token(purpose, member, generation=0)
    assert len({token[-26:], later[-26:], for_ever[-26:]}) == 3
    # The expiry of one token with the HMAC of the other.
    assert not KEYS.matches(later[:14] + token[14:], purpose, generation=0) or later[:14] == token[:14]
    assert token_expiry(for_ever) is None


@given(
    st.lists(st.tuples(st.integers(0, 2**40 - 1), st.integers(0, 1000)), max_size=20),
    st.sampled_from(Purpose),
    st.sampled_from(["", "series/2026-11-19"]),
    st.sampled_from([None, datetime(2026, 11, 19, 18, tzinfo=UTC)]),
)
def test_many_tokens_and_names_at_once_are_those_made_one_by_one(
    members: list[tuple[int, int]], purpose: Purpose, about: str, expires: datetime | None
) -> None:
    alone = [
        KEYS.token(purpose, member, generation=generation, about=about, expires=expires)
        for member, generation in members
    ]
    assert [token.decode() for token in KEYS.tokens(purpose, members, about=about, expires=expires)] == alone
    subjects = [f"{member}:{about}" for member, _ in members]
    assert [name.decode() for name in KEYS.names(purpose, subjects)] == [
        KEYS.name(purpose, name) for name in subjects
    ]


@given(st.text(max_size=60))
def test_anything_else_is_not_a_token_and_never_an_error(text: str) -> None:
    assert not KEYS.matches(text, Purpose.LEAVE, generation=0)


def test_the_keys_do_not_show_themselves() -> None:
    assert "k" * 4 not in repr(KEYS)


@pytest.mark.parametrize("length", [32, 64, 65, 100])
def test_digests_and_their_base32_equal_those_of_the_standard_library(length: int) -> None:
    secret = bytes(range(length))
    digest = hmac.digest(secret, b"7:messagesubject", "sha256")[:16]
    assert Keys(secret).digest("message", "subject") == digest
    assert Keys(secret).name("message", "subject") == base64.b32encode(digest).decode().rstrip("=").lower()


@given(member=st.integers(1, 2**40 - 1), upper=st.booleans())
def test_a_bounce_address_fits_a_local_part_in_any_case_and_is_of_one_member_and_address(
    member: int, upper: bool
) -> None:
    address = bounce_address(KEYS, member, "Ann@Example.org", "bounces.example.org")
    assert len(address.partition("@")[0]) == 36 <= 64
    (returned,) = tokens_in(f"<{address.upper() if upper else address}>")
    assert returned.purpose is ReturnPurpose.BOUNCE and len(returned.token) == TOKEN_LENGTH
    assert is_bounce_of(KEYS, returned.token, "ann@example.org")
    assert not is_bounce_of(KEYS, returned.token, "bo@example.org")
    assert not is_bounce_of(Keys(b"x" * 32), returned.token, "ann@example.org")


def test_tokens_of_other_purposes_are_no_return_path() -> None:
    for purpose in set(Purpose) - {Purpose.BOUNCE}:
        token = KEYS.token(purpose, 7, generation=0)
        assert not is_bounce_of(KEYS, token, "ann@example.org")


def test_our_addresses_are_found_however_they_are_written() -> None:
    token = KEYS.token(Purpose.LEAVE, 7, generation=0)
    address = leave_address(token, "example.org")
    for text in (
        address,
        f'"{address}"',
        f"rfc822;{address}",
        f"Bo <{address.upper()}>",
        f"a@example.org,{address}",
        f"mailto:{address}",
    ):
        assert tokens_in(text) == [ReturnToken(ReturnPurpose.LEAVE, token)], text
        assert leave_tokens_in(text) == [token]
    for text in (
        f"x{address}",
        f"x.{address}",
        f"c+{token}@x",
        f"u+{token}a@x",
        f"u+{token[1:]}@x",
        f"u+{token}",
    ):
        assert tokens_in(text) == [], text
    assert leave_tokens_in(f"<https://meet.example.org/u/{token.upper()}>") == [token]
