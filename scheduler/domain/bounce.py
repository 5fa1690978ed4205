"""Parse bounces (RFC 3464), and decide what they mean for an address (RFC 3463)."""

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
"""Status codes that say that an address does not exist."""

# About our own address, not the member's.
_OUR_ADDRESS = ("5.1.7", "5.1.8")
_ENHANCED = r"([45]\.\d{1,3}\.\d{1,3})(?![\d.]*\d)"
_CODE = re.compile(rf"(?<![\d.]){_ENHANCED}")
# A number such as 5.1.1 also occurs in other texts, so it must be where mail systems write a code.
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
    r"|(?:[^@\s]{1,27}\+)?[bu]\+[a-z2-7]{34})@.*",
    re.IGNORECASE,
)
_WEB = re.compile(r"https?://\S+")


def any_of(*patterns: str) -> re.Pattern[str]:
    """Return one pattern that matches any of these, in either case."""
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
    """Why a delivery failed.

    HARD: the address does not exist. SOFT: it may work another time. POLICY: the other side does not want our mail.
    """

    HARD = "hard"
    SOFT = "soft"
    POLICY = "policy"


_MILDEST_FIRST = (Failure.POLICY, Failure.SOFT, Failure.HARD, None)


@dataclass(frozen=True, slots=True)
class Bounce:
    """A report about a mail; `failure` is None if the mail was only delayed, relayed or delivered.

    `status` is the enhanced status code, or what else is known. `words` are the status and the other side's text, on
    one line. `addresses` are all addresses in the report, `failed` those that failed, as far as that is known.
    """

    failure: Failure | None
    status: str
    words: str
    addresses: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()

    def failure_for(self, address: str) -> Failure:
        """Return what the failure means for the member's `address`.

        If another address failed, the mail was forwarded to it, so the member's own address is not at fault. The bounce
        must have a failure.
        """
        assert self.failure
        if self.failure is not Failure.HARD:
            return self.failure
        if self.failed:
            is_own = all(_is_same(failed, address) for failed in self.failed)
        else:
            is_own = not self.addresses or any(_is_same(named, address) for named in self.addresses)
        return Failure.HARD if is_own else Failure.SOFT


def failure_of(status: str) -> Failure:
    """Return what an enhanced status code means; an unspecific code counts as soft."""
    if status in HARD:
        return Failure.HARD
    if status.startswith("5.7.") or status in _OUR_ADDRESS:
        return Failure.POLICY
    return Failure.SOFT


def said_codes(text: str) -> list[str]:
    """Return the enhanced status codes of a mail system's text, in order, without other numbers."""
    return [code for line in text.splitlines() for code in _SAID_CODE.findall(line)]


def addresses_in(text: str) -> list[str]:
    """Return the addresses in a text that may be recipients, without postmasters and our own return addresses."""
    addresses = (match.rstrip(".") for match in _ADDRESS.findall(text[:20_000]))
    return [printable(address)[:320] for address in addresses if not _ROLE.fullmatch(address)][:50]


def judge(codes: Iterable[str], diagnosis: str) -> tuple[Failure, str]:
    """Return the mildest meaning of a mail system's enhanced codes and words, and its code (empty if there is none).

    5.0.0 is unspecific. Words can only make a failure milder, because texts vary and a suppressed address gets no mail.
    """
    all_codes = list(codes)
    specific_codes = [code for code in all_codes if code != "5.0.0"] or all_codes
    failure, status = min(
        ((failure_of(code), code) for code in specific_codes),
        key=lambda pair: _MILDEST_FIRST.index(pair[0]),
        default=(Failure.SOFT, ""),
    )
    reply = _REPLY.search(diagnosis)
    plain = _ADDRESS.sub(" ", _WEB.sub(" ", diagnosis))
    if _UNWANTED.search(plain):
        return Failure.POLICY, status
    is_temporary = reply is not None and (reply[1].startswith("4") or reply[1] in _FULL_REPLIES)
    if failure is Failure.HARD and (is_temporary or _TEMPORARY.search(plain)):
        return Failure.SOFT, status
    return failure, status


def read_bounce(message: Message) -> Bounce | None:
    """Return the content of the delivery status parts of a message, or None if it has none.

    If it is about several recipients, to whom the mail was forwarded, the mildest failure counts.
    """
    blocks = [block for part in own_parts(message) for block in _blocks(part)]
    # Some gateways enclose the report in another message.
    blocks = blocks or [block for part in parts(message) for block in _blocks(part)]
    reports = [
        block for block in blocks if any(name in block for name in ("action", "status", "final-recipient"))
    ]
    if not reports:
        return None
    addresses = tuple(
        filter(
            None,
            (
                _address(field(report, name))
                for report in reports
                for name in ("original-recipient", "final-recipient")
            ),
        )
    )
    if not any(_failed(report) for report in reports):
        action = printable(field(reports[0], "action").strip().lower())[:20]
        return Bounce(None, action, action, addresses)
    failed = tuple(
        dict.fromkeys(
            address for report in reports if _failed(report) for address in _failed_addresses(report)
        )
    )
    failures = [_failure(report) for report in reports if _failed(report)]
    mildest = min(failures, key=lambda failure: _MILDEST_FIRST.index(failure.failure))
    if mildest.failure is Failure.HARD and len(failures) < sum("action" in report for report in reports):
        # It was forwarded to several addresses and reached one of them.
        mildest = replace(mildest, failure=Failure.SOFT)
    return replace(mildest, addresses=addresses, failed=failed)


def _blocks(part: Message) -> list[Message]:
    if part.get_content_type() != STATUS_TYPE:
        return []
    return [
        HeaderParser().parsestr("\n".join(line for line in block.splitlines() if _HEADER_LINE.match(line)))
        for block in re.split(r"\r?\n[ \t]*\r?\n", text_of(part).strip())[:100]
        if block.strip()
    ]


_NO_FAILURE = ("delay", "deliver", "relay", "expand")


def _failed(block: Message) -> bool:
    # Some systems write comments or other words than the five of RFC 3464 section 2.3.3.
    action = field(block, "action").strip().lower()
    if action.startswith(("fail", "error")):
        return True
    return not action.startswith(_NO_FAILURE) and field(block, "status").strip().startswith(("5", "4"))


def _failed_addresses(block: Message) -> list[str]:
    """Return the failed address, and those in the server's text, to which the mail was forwarded."""
    final, original = (_address(field(block, name)) for name in ("final-recipient", "original-recipient"))
    own = final if "@" in final else original
    return [*([own] if "@" in own else []), *addresses_in(field(block, "diagnostic-code"))]


def _failure(block: Message) -> Bounce:
    diagnosis = " ".join(field(block, "diagnostic-code").split())
    words = diagnosis.partition(";")[2].strip() if re.match(r"[\w-]+\s?;", diagnosis) else diagnosis
    failure, status = judge([*_CODE.findall(field(block, "status")), *said_codes(words)], words)
    return bounce(failure, status, diagnosis)


def bounce(
    failure: Failure,
    status: str,
    diagnosis: str,
    addresses: tuple[str, ...] = (),
    failed: tuple[str, ...] = (),
) -> Bounce:
    """Return a failed delivery by its code, if it has one, and the other side's text."""
    code = status or "no code"
    words = printable(f"{code}: {diagnosis}" if diagnosis else code)
    return Bounce(failure, code, words[:LONGEST_WORDS], addresses, failed)


def _address(text: str) -> str:
    """Return the address in `rfc822; ann@example.org`."""
    return printable(text.rpartition(";")[2].strip().strip("<>").strip())[:320]


def _is_same(named: str, address: str) -> bool:
    """Return whether an address in a bounce, perhaps encoded as in an envelope (RFC 3461), is the member's."""
    unescaped = re.sub(r"\+([0-9A-F]{2})", lambda octet: chr(int(octet[1], 16)), named)
    return _comparable(address) in (_comparable(named), _comparable(unescaped))


def _comparable(address: str) -> str:
    with suppress(UnicodeError):
        address = ascii_domain(address)
    return address_key(address)
