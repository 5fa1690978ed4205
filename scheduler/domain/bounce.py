"""What a bounce says of an address (RFC 3464), and what follows from it (RFC 3463)."""

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from email.message import Message
from email.parser import HeaderParser
from enum import StrEnum

from scheduler.domain.address import address_key, ascii_domain
from scheduler.domain.inbound import STATUS_TYPE, field, own_parts, parts, printable, text_of

LONGEST_WORDS = 200

HARD = ("5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10")
"""Codes that say that an address is none."""

# Of our own address, not of the member's.
_OUR_ADDRESS = ("5.1.7", "5.1.8")
_ENHANCED = r"([45]\.\d{1,3}\.\d{1,3})(?![\d.]*\d)"
_CODE = re.compile(rf"(?<![\d.]){_ENHANCED}")
# A number such as 5.1.1 also stands in texts about other things, so it must be where mail systems write a code.
_SAID_CODE = re.compile(
    r"(?:\b[245]\d\d[\s#(\[<;:'\"-]{1,4}|[#(\[]\s?|\b(?:status|dsn|code|x-?code)\s?[:=]?\s?[#(]?"
    rf"|\b(?:error|fehler|erreur|errore|fout|erro)\s?[:=#]\s?|^\s*){_ENHANCED}",
    re.IGNORECASE,
)
_REPLY = re.compile(r"(?<![\d.])([45]\d\d)(?=[\s-])")
_FULL_REPLIES = ("452", "552")
_HEADER_LINE = re.compile(r"[A-Za-z][\w-]*\s*:|[ \t]")
_ADDRESS = re.compile(r"[^\s<>()\[\]\"',;:|&=]{1,64}@[^\W_][\w.-]{0,190}\.[^\W_][\w-]{1,62}")
_ROLE = re.compile(
    r"(?:postmaster|mailer-daemon|abuse|support|help|helpdesk|hostmaster|admin|administrator|noc|security|contact"
    r"|[bu]\+[a-z2-7]{34})@.*",
    re.IGNORECASE,
)
_WEB = re.compile(r"https?://\S+")


def any_of(*patterns: str) -> re.Pattern[str]:
    """One pattern, in either case, for texts that match any of these."""
    return re.compile("|".join(patterns), re.IGNORECASE)


_TEMPORARY = any_of(
    r"(?:mail|in)\s?box(?:es)? (?:is |was |ist )?(?:almost |too )?(?:full|over)",
    r"mail\s?folder is full",
    r"over\s?quota",
    r"(?:over|exceed\w*|out of|beyond)\s(?:\w+\s){0,3}(?:quota|storage|disk|space)",
    r"quota (?:\w+ )?exceeded",
    r"insufficient (?:system )?(?:storage|disk)",
    r"(?:user|account) is over",
    r"not enough (?:disk |storage )?space",
    r"gr[ea]y\s?list",
    r"try (?:again )?later",
    r"temporar",
    r"timeout",
    r"\btimed?\s?out\b",
    r"deferred",
    # German, French, Spanish, Italian, Portuguese, Dutch, Polish, Russian
    r"postfach[^.\n]{0,40}voll",
    r"speicher[^.\n]{0,30}(?:voll|überschritten|erschöpft)",
    r"kontingent",
    r"bo[iî]te[^.\n]{0,40}(?:plein|satur)",
    r"quota[^.\n]{0,20}(?:dépass|atteint|erreicht|überschritt|superad|excedid|overschr|superat)",
    r"buz[oó]n[^.\n]{0,20}lleno",
    r"casella[^.\n]{0,20}piena",
    r"caixa[^.\n]{0,30}cheia",
    r"(?:mailbox|postbus|postvak)[^.\n]{0,20}\bvol\b",
    r"skrzynka[^.\n]{0,30}pełna",
    r"ящик[^.\n]{0,30}переполн",
)
_UNWANTED = any_of(
    r"\bspam(?:my)?\b",
    r"\bjunk\b",
    r"(?:black|block|deny)[\s-]?list",
    r"\brbl\b",
    r"dnsbl",
    r"\bspf\b",
    r"\bdkim\b",
    r"\bdmarc\b",
    r"reputation",
    r"content (?:filter|polic)",
    r"virus",
    r"malware",
    r"phish",
    r"unsolicited",
    r"local polic",
    r"policy (?:reason|violat|reject)",
    r"(?:rejected|refused|denied) (?:by|for|due to|because of) (?:\w+ )?(?:polic|content)",
    r"sender (?:address )?(?:rejected|denied|blocked|not allowed)",
    r"blocked (?:by|using|for|due|because)",
    r"relay(?:ing)? (?:access )?(?:denied|not permitted)",
    r"unable to relay",
    r"not (?:authori[sz]ed|permitted) to (?:send|relay)",
)


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
    `addresses` are those named in it, `failed` those of which the failure is said, as far as that is known.
    """

    failure: Failure | None
    status: str
    words: str
    addresses: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()

    def failure_for(self, address: str) -> Failure:
        """What the failure is for a member of this address: where another address failed, the mail was forwarded to
        that one, and what is wrong there is not wrong with the member's. Only for a bounce that is a failure."""
        assert self.failure
        if self.failure is not Failure.HARD:
            return self.failure
        if self.failed:
            is_own = all(_is_same(one, address) for one in self.failed)
        else:
            is_own = not self.addresses or any(_is_same(one, address) for one in self.addresses)
        return Failure.HARD if is_own else Failure.SOFT


def failure_of(status: str) -> Failure:
    """What an enhanced status code means; one that says nothing in particular counts as soft."""
    if status in HARD:
        return Failure.HARD
    if status.startswith("5.7.") or status in _OUR_ADDRESS:
        return Failure.POLICY
    return Failure.SOFT


def said_codes(text: str) -> list[str]:
    """The enhanced status codes that a mail system said, one line after the other; other numbers are left out."""
    return [code for line in text.splitlines() for code in _SAID_CODE.findall(line)]


def addresses_in(text: str) -> list[str]:
    """The addresses in a text that may be a recipient's: none of a postmaster's or our own return paths."""
    found = (one.rstrip(".") for one in _ADDRESS.findall(text[:20_000]))
    return [printable(one)[:320] for one in found if not _ROLE.fullmatch(one)][:50]


def judge(codes: Iterable[str], said: str) -> tuple[Failure, str]:
    """Return the mildest of what the enhanced codes and the words of a mail system mean, and the code that stands
    for it; empty where there is none.

    5.0.0 says nothing. Words only make a failure milder, since texts vary, and who is suppressed gets no mail.
    """
    known = list(codes)
    particular = [one for one in known if one != "5.0.0"] or known
    failure, status = min(
        ((failure_of(one), one) for one in particular),
        key=lambda one: _MILDEST_FIRST.index(one[0]),
        default=(Failure.SOFT, ""),
    )
    reply = _REPLY.search(said)
    plain = _ADDRESS.sub(" ", _WEB.sub(" ", said))
    if _UNWANTED.search(plain):
        return Failure.POLICY, status
    is_temporary = reply is not None and (reply[1].startswith("4") or reply[1] in _FULL_REPLIES)
    if failure is Failure.HARD and (is_temporary or _TEMPORARY.search(plain)):
        return Failure.SOFT, status
    return failure, status


def read_bounce(message: Message) -> Bounce | None:
    """What the delivery status parts of a message say; None where it has none. Of several recipients, to whom it was
    sent on, the mildest failure counts."""
    blocks = [block for part in own_parts(message) for block in _blocks(part)]
    # Some gateways enclose the report in a message of their own.
    blocks = blocks or [block for part in parts(message) for block in _blocks(part)]
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
    failed = tuple(
        dict.fromkeys(address for one in told if _failed(one) for address in _failed_addresses(one))
    )
    failures = [_failure(one) for one in told if _failed(one)]
    mildest = min(failures, key=lambda one: _MILDEST_FIRST.index(one.failure))
    if mildest.failure is Failure.HARD and len(failures) < sum("action" in one for one in told):
        # It was sent on to several, and reached one of them.
        mildest = replace(mildest, failure=Failure.SOFT)
    return replace(mildest, addresses=addresses, failed=failed)


def _blocks(part: Message) -> list[Message]:
    if part.get_content_type() != STATUS_TYPE:
        return []
    return [
        HeaderParser().parsestr("\n".join(line for line in one.splitlines() if _HEADER_LINE.match(line)))
        for one in re.split(r"\r?\n[ \t]*\r?\n", text_of(part).strip())[:100]
        if one.strip()
    ]


_DONE = ("delay", "deliver", "relay", "expand")


def _failed(block: Message) -> bool:
    # Comments and other words stand here too (RFC 3464 section 2.3.3 knows five).
    action = field(block, "action").strip().lower()
    if action.startswith(("fail", "error")):
        return True
    return not action.startswith(_DONE) and field(block, "status").strip().startswith(("5", "4"))


def _failed_addresses(block: Message) -> list[str]:
    """The address that failed; another one that its server names is where the mail was forwarded to."""
    final, original = (_address(field(block, name)) for name in ("final-recipient", "original-recipient"))
    own = final if "@" in final else original
    return [*([own] if "@" in own else []), *addresses_in(field(block, "diagnostic-code"))]


def _failure(block: Message) -> Bounce:
    said = " ".join(field(block, "diagnostic-code").split())
    words = said.partition(";")[2].strip() if re.match(r"[\w-]+\s?;", said) else said
    failure, status = judge([*_CODE.findall(field(block, "status")), *said_codes(words)], words)
    return bounce(failure, status, said)


def bounce(
    failure: Failure, status: str, said: str, addresses: tuple[str, ...] = (), failed: tuple[str, ...] = ()
) -> Bounce:
    """A failed delivery by its code, if it has one, and what the other side said."""
    code = status or "no code"
    words = printable(f"{code}: {said}" if said else code)
    return Bounce(failure, code, words[:LONGEST_WORDS], addresses, failed)


def _address(text: str) -> str:
    """The address of `rfc822; ann@example.org`."""
    return printable(text.rpartition(";")[2].strip().strip("<>").strip())[:320]


def _is_same(named: str, address: str) -> bool:
    """Return whether an address in a bounce, perhaps encoded as in an envelope (RFC 3461), is the member's."""
    unescaped = re.sub(r"\+([0-9A-F]{2})", lambda octet: chr(int(octet[1], 16)), named)
    return _comparable(address) in (_comparable(named), _comparable(unescaped))


def _comparable(address: str) -> str:
    with suppress(UnicodeError):
        address = ascii_domain(address)
    return address_key(address)
