"""Whatever became of a delivery is said in words that a convenor understands."""

from typing import get_args

import pytest

from scheduler.domain.policy import KIND_NAMES, Kind
from scheduler.service.delivery_reasons import FAILURES, REASONS, outcome
from scheduler.service.members import EVERY_STATUS
from scheduler.store.ledger.fan_out import LATE_ON_HOLD
from scheduler.store.ledger.lifecycle import MEMBERS_CAUSES, WithdrawalReason

SAID = {
    "550 5.1.1 no such user": "address",
    "552 5.2.2 the mailbox is full": "mailbox",
    "550 5.7.1 not wanted here": "policy",
    "554 no thanks": "refused",
    "the templates refer to something unknown": "unsent",
}
"""What a failed delivery says, and its cause."""


def test_every_reason_that_a_delivery_can_have_has_words() -> None:
    known = {
        *(("withdrawn", reason) for reason in get_args(WithdrawalReason)),
        *(("withdrawn", status) for status in EVERY_STATUS if status != "active"),
        *(("skipped", reason) for reason in (*MEMBERS_CAUSES, "superseded")),
        *(("expired", reason) for reason in ("late", LATE_ON_HOLD, "restored")),
        *(("failed", cause) for cause in FAILURES),
    }
    assert set(REASONS) == known
    for state, reason in known:
        assert "another reason" not in outcome(state, reason), (state, reason)


@pytest.mark.parametrize(
    ("state", "reason", "words"),
    [
        ("withdrawn", "stopped", "Not sent: a convenor stopped it"),
        ("expired", "late: 451 4.7.1 greylisted", "Not sent: it would have come too late"),
        ("expired", LATE_ON_HOLD, "Not sent: it was on hold for too long"),
        ("queued", "", "Waiting"),
        (
            "queued",
            "451 4.7.1 greylisted",
            "Waiting: our mail server did not take it yet, and it is tried again",
        ),
        ("sent", "", "Sent"),
        ("failed", "550 5.1.1 no such user", "Failed: the address does not exist"),
    ],
)
def test_no_raw_reason_is_shown(state: str, reason: str, words: str) -> None:
    assert outcome(state, reason) == words


def test_a_failure_is_said_by_its_cause() -> None:
    for said, cause in SAID.items():
        assert outcome("failed", said) == f"Failed: {FAILURES[cause]}"


def test_every_kind_of_notice_has_a_name_for_convenors() -> None:
    assert set(KIND_NAMES) == set(Kind)
