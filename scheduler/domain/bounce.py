"""What a bounce says of an address (RFC 3464), and what follows from it (RFC 3463)."""

import re
from dataclasses import dataclass, replace
from email.message import Message
from email.parser import HeaderParser
from enum import StrEnum

from scheduler.domain.incoming import field, flat, inner_messages, parts, printable

LONGEST_WORDS = 200

HARD = ("5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10")
"""Codes that say that an address is none."""

# Of our own address, not of the member's.
_OUR_ADDRESS = ("5.1.7", "5.1.8")
_CODE = re.compile(r"(?<![\d.])([45]\.\d{1,3}\.\d{1,3})(?![\d.]*\d)")
_STATUS_TYPES = ("message/delivery-status", "message/global-delivery-status")


class Failure(StrEnum):
    """What a failed delivery says: the address is none, it may be well another time, or the other side does not want
    mail from us."""

    HARD = "hard"
    SOFT = "soft"
    POLICY = "policy"


_MILDEST_FIRST = (Failure.POLICY, Failure.SOFT, Failure.HARD, None)


@dataclass(frozen=True, slots=True)
class Bounce:
    """A mail that could not be delivered, or None as `failure` where it was only delayed, relayed or delivered.

    `status` is the enhanced code, or what else is known; `words` are that and what the other side said, on one line;
    `addresses` are those named in it.
    """

    failure: Failure | None
    status: str
    words: str
    addresses: tuple[str, ...] = ()


def failure_of(status: str) -> Failure:
    """What an enhanced status code means; one that says nothing in particular counts as soft."""
    if status in HARD:
        return Failure.HARD
    if status.startswith("5.7.") or status in _OUR_ADDRESS:
        return Failure.POLICY
    return Failure.SOFT


def status_in(text: str) -> str:
    """The enhanced status code that says most in a text: the first that is not of the general kind x.0.0."""
    codes: list[str] = _CODE.findall(text)
    return next((one for one in codes if not one.endswith(".0.0")), codes[0] if codes else "")


def read_bounce(message: Message) -> Bounce | None:
    """What the delivery status parts of a message say; None where it has none. Of several recipients, to whom it was
    sent on, the mildest failure counts."""
    blocks = [
        block
        for part in parts(message)
        if part.get_content_type() in _STATUS_TYPES
        for block in _blocks(part)
    ]
    told = [
        block for block in blocks if any(name in block for name in ("action", "status", "final-recipient"))
    ]
    if not told:
        return None
    addresses = tuple(
        filter(
            None,
            (
                _address(field(one, name))
                for one in told
                for name in ("original-recipient", "final-recipient")
            ),
        )
    )
    if not any(_failed(one) for one in told):
        action = printable(field(told[0], "action").strip().lower())[:20]
        return Bounce(None, action, action, addresses)
    failures = [_failure(one, addresses) for one in told if _failed(one)]
    mildest = min(failures, key=lambda one: _MILDEST_FIRST.index(one.failure))
    if mildest.failure is Failure.HARD and len(failures) < sum("action" in one for one in told):
        # It was sent on to several, and reached one of them.
        return replace(mildest, failure=Failure.SOFT)
    return mildest


def _blocks(part: Message) -> list[Message]:
    inner = inner_messages(part)
    if inner and part.get_content_subtype() == "delivery-status":
        return inner
    # RFC 6533's form is not known to the library, which takes it for a message: headers and a body.
    text = flat(part)
    return [HeaderParser().parsestr(one) for one in re.split(r"\r?\n\r?\n", text)[:100] if one.strip()]


def _failed(block: Message) -> bool:
    # Comments and other words stand here too (RFC 3464 section 2.3.3 knows five).
    action = field(block, "action").strip().lower()
    if action:
        return action.startswith(("fail", "error"))
    return field(block, "status").strip().startswith("5")


def _failure(block: Message, addresses: tuple[str, ...]) -> Bounce:
    said = " ".join(field(block, "diagnostic-code").split())
    status = status_in(field(block, "status"))
    if not status or status.endswith(".0.0"):
        status = status_in(said) or status
    return bounce(status, said, addresses)


def bounce(status: str, said: str, addresses: tuple[str, ...]) -> Bounce:
    """A failed delivery by its code, if it has one, and what the other side said."""
    code = status or "no code"
    words = printable(f"{code}: {said}" if said else code)
    return Bounce(failure_of(status), code, words[:LONGEST_WORDS], addresses)


def _address(text: str) -> str:
    """The address of `rfc822; ann@example.org`."""
    return printable(text.rpartition(";")[2].strip().strip("<>").strip())[:320]
