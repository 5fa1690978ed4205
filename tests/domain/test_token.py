"""Personal links: only their own member, purpose and generation."""

from hypothesis import given
from hypothesis import strategies as st

from scheduler.domain.token import TOKEN_LENGTH, Keys, Purpose, token_subject

KEYS = Keys(b"k" * 32)


@given(st.integers(0, 2**40 - 1), st.sampled_from(Purpose), st.integers(0, 1000))
def test_a_token_is_good_for_its_own_purpose_member_and_generation_only(
    member: int, purpose: Purpose, generation: int
) -> None:
    token = KEYS.token(purpose, member, generation=generation)
    others = set(Purpose) - {purpose}
    assert len(token) == TOKEN_LENGTH
    assert token_subject(token) == member
    assert KEYS.matches(token, purpose, generation=generation)
    assert KEYS.matches(token.upper(), purpose, generation=generation)
    assert not any(KEYS.matches(token, other, generation=generation) for other in others)
    assert not KEYS.matches(token, purpose, generation=generation + 1)
    assert not Keys(b"o" * 32).matches(token, purpose, generation=generation)


@given(st.text(max_size=60))
def test_anything_else_is_no_token_and_never_an_error(text: str) -> None:
    assert not KEYS.matches(text, Purpose.LEAVE, generation=0)


def test_the_keys_do_not_show_themselves() -> None:
    assert "k" * 4 not in repr(KEYS)
