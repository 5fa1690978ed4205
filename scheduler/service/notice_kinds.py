"""What convenors call the kinds of notices."""

from collections.abc import Mapping
from typing import cast

from scheduler.domain.policy import Kind

KINDS: Mapping[Kind, str] = {
    Kind.INVITATION: "Invitation",
    Kind.REMINDER: "Reminder",
    Kind.FOLLOW_UP: "Follow-up",
    Kind.UPDATE: "Update",
    Kind.CANCELLATION: "Cancellation",
    Kind.NOTICE: "Notice",
    Kind.PREFLIGHT: "Notice to convenors before an email goes out",
    Kind.ROOM_MISSING: "Notice to convenors that the link to the room is missing",
    Kind.WEEKLY: "Weekly report to convenors",
    Kind.CONFIRMATION: "Request to confirm an address",
    Kind.ALREADY_MEMBER: "Answer that they are a member already",
    Kind.WELCOME: "Welcome",
    Kind.DECLINE: "Answer that a request to join was declined",
    Kind.SIGN_IN: "Link to their own page",
    Kind.CONSOLE_SIGN_IN: "Link to sign in as a convenor",
    Kind.ADDRESS_CHANGE: "Request to confirm a new address",
    Kind.ADDRESS_CHANGED: "Notice that their address was changed",
    Kind.CONTACT: "Message from the contact page",
}


def kind_in_words(kind: str) -> str:
    """Return what to call a kind, such as `Follow-up`; another word with a capital letter."""
    return cast(Mapping[str, str], KINDS).get(kind, kind.capitalize())
