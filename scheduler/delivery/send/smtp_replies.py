"""What a relay's reply means for the message being sent. This is the failure table; it does no I/O."""

import re
from collections.abc import Iterable
from enum import StrEnum

from scheduler.delivery.send.refusals import RefusalCause, classify_refusal
from scheduler.delivery.send.transport import Outcome, Verdict

SERVICE_CLOSING = 421

# RFC 3463: the enhanced code comes first in the text, and its class is that of the reply code.
_ENHANCED_CODE = re.compile(r"([245])\.(\d{1,3}\.\d{1,3})(?!\d)")

_ADDRESS = re.compile(r"""[^\s<>()\[\]"',;:]+@[^\s<>()"',;:]+""")

# The relay rejected our command, or wants us to log in or encrypt first. That holds for every recipient.
_NOT_ABOUT_THE_RECIPIENT = frozenset({500, 502, 503, 504, 525, 530, 534, 535, 538, 555})
_NON_ASCII_REFUSED = "6.7"  # RFC 6531: the relay announced SMTPUTF8, but does not accept this address


class Step(StrEnum):
    """The step of a mail transaction that a reply belongs to."""

    MAIL = "MAIL FROM"
    RCPT = "RCPT TO"
    DATA = "DATA"
    DOT = "the end of the message"


_ACCEPTED_CLASS = {Step.MAIL: 2, Step.RCPT: 2, Step.DATA: 3, Step.DOT: 2}
_ALL_ACCEPTED = [_ACCEPTED_CLASS[step] for step in (Step.DOT, Step.MAIL, Step.RCPT, Step.DATA)]


def accepted(step: Step, code: int) -> bool:
    """Return whether `code` lets the transaction continue. Its first digit decides (RFC 5321, section 4.2.1)."""
    return code // 100 == _ACCEPTED_CLASS[step]


def accepts_message_and_next_commands(replies: Iterable[tuple[int, str]]) -> bool:
    """Return whether these are exactly the replies to a final dot and the next MAIL, RCPT and DATA, all `accepted`."""
    return [code // 100 for code, _ in replies] == _ALL_ACCEPTED


def is_protocol_error(step: Step, code: int) -> bool:
    """Return whether `code` cannot be a reply to `step`, so that no later reply can be trusted either."""
    return not accepted(step, code) and not 400 <= code <= 599


def without_addresses(code: int, text: str) -> str:
    """Return the reply as text without email addresses: reasons are logged, and are kept after a member is erased."""
    return _ADDRESS.sub("…", f"{code} {text}" if code > 0 else text)


def refusal(step: Step, code: int, text: str) -> Outcome:
    """Return what a reply that is not `accepted` means. Unless the outcome is `uncertain`, the message is unsent."""
    reason = without_addresses(code, text)
    if is_protocol_error(step, code):
        reason = f"the relay sent an invalid reply to {step}: {reason}"
        return Outcome(verdict=Verdict.TEMPORARY, reason=reason, relay=True, uncertain=step is Step.DOT)
    enhanced = _enhanced_code(code, text)
    cause = classify_refusal(_ADDRESS.sub("", text), enhanced=enhanced, code=code)
    if code < 500:
        relay = code == SERVICE_CLOSING or step is Step.MAIL or cause is RefusalCause.OUR_ACCOUNT
        return Outcome(verdict=Verdict.TEMPORARY, reason=reason, relay=relay, code=code)
    verdict, relay = _permanent_refusal(step, code, enhanced, cause)
    return Outcome(verdict=verdict, reason=reason, relay=relay, code=code)


def _permanent_refusal(step: Step, code: int, enhanced: str, cause: RefusalCause) -> tuple[Verdict, bool]:
    """Return the verdict, and whether the relay is the cause (or, with a permanent verdict, may be the cause)."""
    if cause is RefusalCause.UNCLEAR and code == 552 and step is not Step.RCPT:
        cause = RefusalCause.TOO_BIG
    if cause is RefusalCause.TOO_BIG or enhanced == _NON_ASCII_REFUSED:
        return Verdict.PERMANENT, False
    if step is Step.MAIL or cause is RefusalCause.OUR_ACCOUNT:
        return Verdict.TEMPORARY, True
    if cause is RefusalCause.MAILBOX_FULL or (cause is RefusalCause.UNCLEAR and code == 552):
        return Verdict.TEMPORARY, False
    if code in _NOT_ABOUT_THE_RECIPIENT and cause is RefusalCause.UNCLEAR:
        return Verdict.TEMPORARY, True
    return Verdict.PERMANENT, cause is RefusalCause.UNCLEAR


def _enhanced_code(code: int, text: str) -> str:
    """Return subject and detail of the enhanced code, or an empty string."""
    match = _ENHANCED_CODE.match(text)
    return match[2] if match and int(match[1]) == code // 100 else ""
