"""The failure table, row by row."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.delivery.send.smtp_replies import Step, accepted, refusal
from scheduler.delivery.send.transport import Verdict

SOFT, HARD = Verdict.TEMPORARY, Verdict.PERMANENT


@pytest.mark.parametrize(
    ("step", "code", "text", "verdict", "relay"),
    [
        # MAIL speaks about the sender and the relay, whoever the recipient is …
        (Step.MAIL, 550, "5.7.1 sender not allowed", SOFT, True),
        (Step.MAIL, 553, "5.1.8 sender domain unknown", SOFT, True),
        (Step.MAIL, 530, "5.7.0 log in first", SOFT, True),
        (Step.MAIL, 501, "bad syntax", SOFT, True),
        (Step.MAIL, 451, "4.3.0 try later", SOFT, True),
        (Step.MAIL, 421, "4.3.2 shutting down", SOFT, True),
        # … but for the size and the alphabet, which are this message's.
        (Step.MAIL, 552, "5.3.4 too big", HARD, False),
        (Step.MAIL, 552, "too big", HARD, False),
        (Step.MAIL, 550, "5.6.7 no such alphabet", HARD, False),
        # RCPT speaks about the member …
        (Step.RCPT, 550, "5.1.1 no such user", HARD, False),
        (Step.RCPT, 550, "no such user", HARD, False),
        (Step.RCPT, 550, "5.5.0 mailbox unavailable", HARD, False),
        (Step.RCPT, 501, "5.1.3 bad address", HARD, False),
        (Step.RCPT, 553, "5.6.7 no such alphabet", HARD, False),
        (Step.RCPT, 450, "4.2.0 greylisted", SOFT, False),
        (Step.RCPT, 452, "4.2.2 mailbox full", SOFT, False),
        (Step.RCPT, 452, "too many recipients", SOFT, True),
        (Step.RCPT, 552, "5.2.2 mailbox full", SOFT, False),
        (Step.RCPT, 552, "mailbox full", SOFT, False),
        (Step.RCPT, 550, "5.2.2 mailbox full", SOFT, False),
        (Step.RCPT, 552, "5.3.4 too big", HARD, False),
        # … unless policy or the relay's own state is the cause,
        (Step.RCPT, 550, "5.7.1 not wanted", HARD, True),
        (Step.RCPT, 554, "5.3.2 not taking mail", HARD, True),
        # or it is true for everybody: a bad sender, no login, a command not followed, a relay about to close.
        (Step.RCPT, 553, "5.1.8 sender domain unknown", SOFT, True),
        (Step.RCPT, 530, "5.7.0 log in first", SOFT, True),
        (Step.RCPT, 503, "5.5.1 need MAIL first", SOFT, True),
        (Step.RCPT, 555, "5.5.4 unknown parameter", SOFT, True),
        (Step.RCPT, 421, "4.7.0 too many", SOFT, True),
        # DATA and the end of the message speak about the message.
        (Step.DATA, 451, "4.3.0 try later", SOFT, False),
        (Step.DATA, 554, "5.6.0 no", HARD, False),
        (Step.DATA, 503, "5.5.1 need RCPT first", SOFT, True),
        (Step.DATA, 421, "closing", SOFT, True),
        (Step.DOT, 451, "4.7.1 try later", SOFT, False),
        (Step.DOT, 550, "5.6.0 content refused", HARD, False),
        (Step.DOT, 554, "5.7.1 looks like spam", HARD, False),
        (Step.DOT, 552, "5.3.4 too big", HARD, False),
        (Step.DOT, 552, "5.2.2 mailbox full", SOFT, False),
        (Step.DOT, 421, "closing", SOFT, True),
    ],
)
def test_a_refusal_means(step: Step, code: int, text: str, verdict: Verdict, relay: bool) -> None:
    outcome = refusal(step, code, text)
    assert (outcome.verdict, outcome.relay, outcome.uncertain) == (verdict, relay, False)
    assert outcome.reason == f"{code} {text}"
    assert outcome.code == code


@pytest.mark.parametrize("step", Step)
@pytest.mark.parametrize("code", [-1, 0, 199, 600])
def test_an_answer_that_makes_no_sense_is_the_relays_fault_and_uncertain_after_the_dot(
    step: Step, code: int
) -> None:
    outcome = refusal(step, code, "what?")
    assert (outcome.verdict, outcome.relay) == (SOFT, True)
    assert outcome.uncertain is (step is Step.DOT)


def test_the_first_digit_decides_what_is_accepted() -> None:
    assert all(accepted(step, 252) for step in (Step.MAIL, Step.RCPT, Step.DOT))
    assert accepted(Step.DATA, 354)
    assert not accepted(Step.DATA, 250)
    assert not accepted(Step.DOT, 354)


@given(step=st.sampled_from(Step), code=st.integers(-1, 700), text=st.text(max_size=400))
def test_whatever_a_relay_says_there_is_an_outcome_and_never_that_it_was_sent(
    step: Step, code: int, text: str
) -> None:
    if not accepted(step, code):
        assert refusal(step, code, text).verdict is not Verdict.SENT


def test_an_enhanced_code_of_another_class_than_the_reply_is_not_believed() -> None:
    assert not refusal(Step.RCPT, 450, "5.1.8 muddled").relay


def test_a_reason_holds_no_address() -> None:
    text = "5.1.1 <ada.l+x@example.org>: Recipient address rejected, see https://example.org/why"
    assert refusal(Step.RCPT, 550, text).reason == (
        "550 5.1.1 <…>: Recipient address rejected, see https://example.org/why"
    )
