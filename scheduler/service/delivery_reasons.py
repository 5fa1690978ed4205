"""What became of a delivery, and why it failed or was not sent, in words for convenors."""

from collections.abc import Mapping

from scheduler.store.ledger.fan_out import LATE_ON_HOLD
from scheduler.store.ledger.reports import failure_cause

FAILURES: Mapping[str, str] = {
    "address": "the address does not exist",
    "mailbox": "the mailbox is full or closed",
    "policy": "their mail system does not accept our emails",
    "refused": "their mail system refused it",
    "unsent": "it could not be made or sent",
}
"""By the cause that `store.ledger.reports.failures` counts."""

REASONS: Mapping[tuple[str, str], str] = {
    **{("failed", cause): words for cause, words in FAILURES.items()},
    ("expired", "late"): "it would have come too late",
    ("expired", "late: on hold"): "it was on hold for too long",
    ("expired", "restored"): "it was due before a backup was restored",
    ("withdrawn", "left"): "they had left",
    ("withdrawn", "paused"): "they had paused their emails",
    ("withdrawn", "pending"): "they had not confirmed their address",
    ("withdrawn", "cancelled"): "the meeting was cancelled",
    ("withdrawn", "moved"): "the meeting was moved",
    ("withdrawn", "restored"): "the meeting takes place after all",
    ("withdrawn", "superseded"): "a newer email replaced it",
    ("withdrawn", "stopped"): "a convenor stopped it",
    ("withdrawn", "dropped"): "a convenor held it and then dropped it",
    ("withdrawn", "no longer true"): "what it said was no longer true",
    ("withdrawn", "policy"): "the settings do not plan it any more",
    ("withdrawn", "orphaned"): "the series has no such meeting any more",
    ("withdrawn", "no materials"): "the meeting has no recording, slides or notes",
    ("skipped", "declined"): "they had said that they are not coming",
    ("skipped", "feed only"): "they see invitations in their calendar only",
    ("skipped", "unwanted"): "they do not want such emails",
    ("skipped", "not following"): "they do not follow the series",
    ("skipped", "suppressed"): "emails to their address come back",
    ("skipped", "superseded"): "a later reminder replaced it",
}
"""By the state of a delivery and its reason; for a failure its cause."""

_STATES: Mapping[str, str] = {
    "queued": "Waiting",
    "sending": "Being sent",
    "sent": "Sent",
    "failed": "Failed",
    "expired": "Not sent",
    "withdrawn": "Not sent",
    "skipped": "Not sent",
}


def outcome(state: str, reason: str) -> str:
    """Return what became of a delivery, such as `Not sent: a convenor stopped it`."""
    words = _STATES[state]
    if state == "queued" and reason:
        return f"{words}: our mail server did not take it yet, and it is tried again"
    if state == "sent" and reason:
        return f"{words}, probably: the connection broke before our mail server confirmed it"
    if state in ("queued", "sending", "sent"):
        return words
    return f"{words}: {reason_in_words(state, reason)}"


def reason_in_words(state: str, reason: str) -> str:
    """Return why a delivery failed or was not sent."""
    if state == "failed":
        return FAILURES[failure_cause(reason)]
    if state == "expired" and reason.startswith("late") and reason != LATE_ON_HOLD:
        reason = "late"
    return REASONS.get((state, reason), "another reason")
