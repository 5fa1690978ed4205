"""What a relay's reply means for the message in hand: the failure table, apart from the sockets."""

import re
from collections.abc import Iterable
from enum import StrEnum

from scheduler.delivery.send.refusals import About, about
from scheduler.delivery.send.transport import Outcome, Verdict

CLOSING = 421

# RFC 3463; it stands first in the text, and its class is that of the reply code.
_ENHANCED = re.compile(r"([245])\.(\d{1,3}\.\d{1,3})(?!\d)")

_ADDRESS = re.compile(r"""[^\s<>()\[\]"',;:]+@[^\s<>()"',;:]+""")

# The relay did not follow our command, or wants us to log in or encrypt first: true for every recipient.
_NOT_ABOUT_THE_RECIPIENT = frozenset({500, 502, 503, 504, 525, 530, 534, 535, 538, 555})
_NO_SUCH_ALPHABET = "6.7"  # RFC 6531: the relay announced SMTPUTF8 and yet does not take this address


class Step(StrEnum):
    """Where in a transaction a reply came."""

    MAIL = "MAIL FROM"
    RCPT = "RCPT TO"
    DATA = "DATA"
    DOT = "the end of the message"


_GOES_ON = {Step.MAIL: 2, Step.RCPT: 2, Step.DATA: 3, Step.DOT: 2}
_TAKEN_AND_OFFERED = [_GOES_ON[step] for step in (Step.DOT, Step.MAIL, Step.RCPT, Step.DATA)]


def accepted(step: Step, code: int) -> bool:
    """Whether `code` lets the transaction go on: its first digit decides (RFC 5321, section 4.2.1)."""
    return code // 100 == _GOES_ON[step]


def taken_and_offered(replies: Iterable[tuple[int, str]]) -> bool:
    """Whether these are exactly the answers to a message's end and the next one's envelope, and all are `accepted`."""
    return [code // 100 for code, _ in replies] == _TAKEN_AND_OFFERED


def out_of_step(step: Step, code: int) -> bool:
    """Whether `code` cannot be the answer to what was said, so that nothing heard after it can be trusted."""
    return not accepted(step, code) and not 400 <= code <= 599


def quoted(code: int, text: str) -> str:
    """The reply in words, without addresses: reasons are logged and counted, and outlive an erased member."""
    return _ADDRESS.sub("…", f"{code} {text}" if code > 0 else text)


def refusal(step: Step, code: int, text: str) -> Outcome:
    """What a reply that is not `accepted` means. Unless `uncertain`, the message was not taken."""
    reason = quoted(code, text)
    if out_of_step(step, code):
        reason = f"the relay's answer to {step} makes no sense: {reason}"
        return Outcome(verdict=Verdict.TEMPORARY, reason=reason, relay=True, uncertain=step is Step.DOT)
    enhanced = _enhanced(code, text)
    told = about(_ADDRESS.sub("", text), enhanced=enhanced, code=code)
    if code < 500:
        relay = code == CLOSING or step is Step.MAIL or told is About.US
        return Outcome(verdict=Verdict.TEMPORARY, reason=reason, relay=relay, code=code)
    verdict, relay = _refused_for_good(step, code, enhanced, told)
    return Outcome(verdict=verdict, reason=reason, relay=relay, code=code)


def _refused_for_good(step: Step, code: int, enhanced: str, told: About) -> tuple[Verdict, bool]:
    """Verdict, and whether the relay is the cause; with a permanent one, whether it may be."""
    if told is About.UNCLEAR and code == 552 and step is not Step.RCPT:
        told = About.TOO_BIG
    if told is About.TOO_BIG or enhanced == _NO_SUCH_ALPHABET:
        return Verdict.PERMANENT, False
    if step is Step.MAIL or told is About.US:
        return Verdict.TEMPORARY, True
    if told is About.FULL_MAILBOX or (told is About.UNCLEAR and code == 552):
        return Verdict.TEMPORARY, False
    if code in _NOT_ABOUT_THE_RECIPIENT and told is About.UNCLEAR:
        return Verdict.TEMPORARY, True
    return Verdict.PERMANENT, told is About.UNCLEAR


def _enhanced(code: int, text: str) -> str:
    found = _ENHANCED.match(text)
    return found[2] if found and int(found[1]) == code // 100 else ""
