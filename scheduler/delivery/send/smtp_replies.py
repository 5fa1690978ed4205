"""What a relay's reply means for the message being sent. This is the failure table; it does no I/O.

It also says whether the cause of a refusal is our account, this recipient or message, or unclear. There is no code for
"your account is over its limit": Gmail says 550 5.4.5, Exchange Online 554 5.2.0, and hosting providers a bare 550. So
we read the words first, and the codes of RFC 3463 after them. Where both leave it open, the cause is UNCLEAR, and
`RelayHealth` finds out by trying again whether the relay accepts other mail meanwhile.
"""

import re
from collections.abc import Iterable
from enum import Enum, StrEnum, auto

from scheduler.delivery.send.transport import Outcome, Verdict


class RefusalCause(Enum):
    """What a refusal is about."""

    OUR_ACCOUNT = auto()
    """Our account, domain, address, quota, rate or login. It holds for every recipient until somebody fixes it."""
    RECIPIENT = auto()
    """The recipient's address, mailbox or preferences, or this one message."""
    MAILBOX_FULL = auto()
    """The recipient's mailbox is full at present."""
    TOO_BIG = auto()
    """The message is larger than the relay or the mailbox accepts."""
    UNCLEAR = auto()
    """Neither the words nor the codes say."""


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns))


# These words could also fit our account, but together with these patterns they clearly mean the recipient's.
_THEIR = r"(?:recipients?'?s?'?|addressee'?s?|users?'?s?|person'?s?|mailbox(?:es)?|in-?box)"
_FULL = (
    r"(?:full|over[- ]?quota|quota (?:is )?exceeded|out of (?:storage|space)|"
    r"exceed\w* (?:its |the |their |his |her |allowed |maximum |disk |storage |mailbox )*"
    r"(?:quota|storage|space|size|capacity))"
)
_MAILBOX_FULL = _any(
    rf"\b{_THEIR}\b(?:\W+\w+){{0,4}}?\W+{_FULL}",
    rf"(?:account|person|user|recipient) (?:that |whom? )?you .{{0,30}}{_FULL}",
    r"exceed\w* (?:the )?storage allocation|insufficient (?:mailbox )?storage",
    r"(?:mailbox|inbox) (?:size )?limit",
    rf"(?:quota exceeded|over[- ]?quota|no (?:more )?(?:space|room|storage))\W+(?:\w+\W+){{0,3}}{_THEIR}\b",
)
_REFUSED_BY_RECIPIENT = _any(
    r"you(?:'re| are| were|'ve| have)? (?:tried|tryi?ing|attempt\w*) to (?:reach|contact|send|e-?mail|write)",
    r"\bby (?:the |this )?(?:intended )?(?:recipient|addressee|destination|remote (?:server|host))",
    r"\b(?:refused|rejected|blocked|declined) by (?:the )?user\b",
    rf"\b{_THEIR} (?:has |have )?(?:refused|rejected|blocked|declined|opted|unsubscribed|does not want|doesn't want)",
    r"\b(?:recipient|destination|remote)(?:'s)? (?:\w+ )?(?:server|domain|host|system|policy|filter|settings?|side)\b",
    r"\b(?:recipient|addressee|mailbox|in-?box)\b(?:\W+\w+){0,3}?\W+"
    r"(?:inactive|disabled|deactivated|closed|expired|locked|suspended)",
    r"\brecipient (?:address )?(?:verif|rejected\W+(?:unverified|undeliverable|access denied))",
    r"\b(?:disabled|inactive|closed|suspended|deactivated) (?:recipient|mailbox)",
    r"(?:recipient|address)\b.{0,30}\b(?:suppress(?:ion|ed)|black-?list|block-?list|do-not-mail)",
    rf"\b{_THEIR} (?:refuses|rejects|blocks|declines|does not (?:accept|want|take)|doesn't (?:accept|want|take))\b",
    r"\bfor this (?:recipient|mailbox|addressee)\b",
    r"sender ?not ?authenticated ?for ?(?:group|mailbox)|resolver\.rst|allowed.senders list",
    r"\bgr[ea]y-?list",
)
_RECIPIENT_CODE = frozenset(
    {"1.1", "1.2", "1.3", "1.4", "1.6", "1.9", "1.10", "2.1", "2.4", "4.1", "4.4", "4.310", "4.312"}
)
_NO_SUCH_ADDRESS = ("1.1", "1.2", "1.3", "1.6", "1.10")
_RESTRICTED_RECIPIENT_CODE = re.compile(r"7\.1[23]\d")

# Words about the sender, which is us.
_LIMIT = r"(?:limit\w*|quota|threshold|allowance|maximum|max|rate|credits?|volume|cap)"
_STOPPED = (
    r"(?:suspend\w*|suspension|paused?|disabled|de-?activated|inactive|locked|blocked|banned|restricted|terminated|"
    r"closed|expired|compromised|hacked|not active|on hold|under review|frozen)"
)
_OURS = (
    r"(?:account|user|domain|tenant|organi[sz]ation|customer|client|subscription|plan|sub-?user|sub-account|"
    r"api key|ip|host|server|sender|smtp|service)"
)
_ABOUT_OUR_ACCOUNT = _any(
    # Our addresses and names.
    r"\bsend(?:er|ers|ing|as)\b|\bsender'?s\b|\bsend as\b",
    r"\bsend (?:mail|e-?mail|messages?|from|any|more|to (?:external|this))\b",
    r"\b(?:mail|header|envelope|return)[- ]?from\b|\bfrom[: ]+(?:address|header|domain|field)\b",
    r"\breturn[- ]path\b|\breverse[- ]path\b",
    r"\bidentit(?:y|ies)\b|\bimpersonat|\bspoof",
    # Login, permission to relay, proof of our domain.
    r"\bauth(?:entica|ori[sz]|\b)|\bunauth|\blog(?:ged|ging)? ?(?:in|on)\b|\blogin\b|\bpassword\b",
    r"\bcredential|\bpop\b.*\bsmtp\b",
    r"\brelay(?:s|ed|ing)?\b|\brcpthosts\b",
    r"\b(?:starttls|tls|ssl)\b.*\b(?:required|requires|must|need)|\bmust\b.*\b(?:starttls|tls|ssl)\b",
    r"\bverif(?:y|ied|ication)|\bunverified|\bvalidated?\b|\bactivated?\b",
    r"\bnot (?:yet )?(?:been )?(?:confirmed|registered|approved|provisioned)",
    r"\bpermi(?:t|tted|ssions?)\b|\bprivilege|\bnot (?:\w+ )?allowed\b|\bpending approval",
    r"\bspf\b|\bdkim\b|\bdmarc\b|\breverse dns\b|\br?dns\b|\bptr\b|\bhelo\b|\behlo\b|\bmx record",
    # The sender in the languages of other providers.
    r"versand|absender|afzender|verzend|\benvoi|exp[ée]diteur|\benv[ií]o|remitente|mittente|\binvio",
    # Quotas, rates, money.
    r"\b(?:mail|e-?mail|mailing|message|account) limits?\b|\bnumber of (?:\w+ )?(?:mails?|e-?mails?|messages)\b",
    rf"\b{_LIMIT}\b.{{0,60}}\b(?:exceed\w*|reach\w*|hit|over|used up|exhausted)\b",
    rf"\b(?:exceed\w*|reach\w*|hit|over|above|out of|no more|insufficient|not enough)\b.{{0,60}}\b{_LIMIT}\b",
    r"\b(?:daily|hourly|weekly|monthly)\b|\bper[- ](?:minute|hour|day|week|month|second)\b",
    r"\b\d+[- ]?h(?:ou)?rs?\b|\btoday\b|\btomorrow\b|\bquota\b",
    r"\btoo (?:many (?!hops|received)|much |fast|quickly|often)|\bthrottl|\bfrequen(?:cy|tly|t)\b",
    r"\brate[- ]?limit|\bslow down\b|\bflood",
    r"submission(?:quota)?exceeded|submissionquota|outboundspam|sendasdenied|\boutbound\b|\boutgoing\b",
    r"\b(?:payment|billing|invoice|unpaid|overdue|upgrade|trial)\b",
    r"\b(?:free (?:plan|account|tier)|sandbox|subscription|balance|credits?)\b",
    # What was blocked or suspended, and why.
    rf"\b{_OURS}\b(?:\W+\w+){{0,4}}?\W+{_STOPPED}",
    rf"\b{_STOPPED}\b(?:\W+\w+){{0,3}}?\W+{_OURS}\b",
    rf"\b(?:your|our) {_OURS}\b",
    r"\bsuspended\b|\bsuspension\b|\bunusual\b|\bsuspicious|\babus(?:e|ive)\b|\bcompromised|\bhijack",
    r"\bcomplaints?\b|\bbounce rate\b",
    r"\b(?:black|block|deny)[- ]?list|\bblocked (?:using|by|for|due)\b|\b(?:dns|r)bl\b|\bspamhaus\b",
    r"\breputation\b|\bbanned\b|\blisted (?:at|in|on|by)\b",
    r"\baccess denied\b|\btenant|\bnot accepted from\b",
    r"\b(?:mail|messages?|connections?|traffic) from\b.*\b(?:not|rejected|refused|denied|blocked)\b",
    r"\bclient (?:host|address)\b|\bclient\b.*\b(?:rejected|denied)",
)
_OUR_ACCOUNT_CODE = re.compile(r"1\.(?:7|8|90)|4\.5|7\.(?:8|9|1[014]|139|2[0-9]|3|5[0-9]|6[0-9]|[5-9]\d\d)")

_TOO_BIG = _any(
    r"\b(?:message|mail|size|content|data)\b.{0,30}\btoo (?:big|large|long)\b|\btoo (?:big|large)\b",
    r"\bsize\b.{0,40}\bexceed|\bexceed\w*\b.{0,40}\b(?:message |maximum |max |allowed |fixed )?size\b",
)
_TOO_BIG_CODE = frozenset({"2.3", "3.4"})

_ABOUT_THE_RECIPIENT = _any(
    r"\b(?:unknown|invalid|bad|illegal|no such|not a valid|non-?exist\w+|undeliverable|unrouteable|unreachable)\b"
    rf"(?:\W+\w+){{0,3}}?\W+(?:{_THEIR}|address|alias|account|domain|destination|local[- ]part|name|person)",
    rf"(?:{_THEIR}|address|alias|account|local[- ]part)\b(?:\W+\w+){{0,4}}?\W+"
    r"(?:unknown|not found|invalid|unavailable|not available|undeliverable|non-?exist\w+)",
    r"\b(?:does|do|did)(?:n't| not) (?:\w+ )?(?:exist|have)|\bno longer\b|\bnot known\b|\bno mailbox\b",
    r"\bnobody\b|\bno one\b|\bnot our customer\b|\bnot here\b|\bmoved to\b",
    r"\brecipient\b(?:\W+\w+){0,3}?\W+(?:rejected|refused|denied|reject)|\bdoes not accept mail\b",
    r"\bnull ?mx\b|\bhost (?:or domain name )?not found\b",
    # The content of the message: another message may be accepted.
    r"\bspam\b|\bjunk\b|\bunsolicited\b|\bvirus|\bmalware\b|\bphish|\bcontent\b|\battachment\b",
)

# Any refusal may contain a URL or a server's name, and those may contain any word.
_URLS_AND_HOSTS = re.compile(r"https?://\S+|(?<![\w.-])(?:[\w-]+\.)+[a-z]{2,4}(?![\w-]|\.\w)")
_SENDING = re.compile(
    r"\bsending\b|\bsubmission|\boutbound\b|\boutgoing\b|\bdaily\b|\bhourly\b|\bper (?:hour|day|minute|month)\b"
)


def classify_refusal(text: str, *, enhanced: str, code: int) -> RefusalCause:
    """Return the cause of a refusal with this text.

    `enhanced` is the subject and detail of the enhanced code (RFC 3463), or empty. `text` must not contain addresses.
    """
    words = " ".join(_URLS_AND_HOSTS.sub("", text.lower().replace("’", "'")).split())
    mailbox_full = enhanced == "2.2" or (code in (452, 552) and not enhanced and "quota" in words)
    if _RESTRICTED_RECIPIENT_CODE.fullmatch(enhanced):
        return RefusalCause.RECIPIENT
    if not _SENDING.search(words):
        if enhanced in _TOO_BIG_CODE or _TOO_BIG.search(words):
            return RefusalCause.TOO_BIG
        if _MAILBOX_FULL.search(words):
            return RefusalCause.MAILBOX_FULL
        if _REFUSED_BY_RECIPIENT.search(words):
            return RefusalCause.RECIPIENT
    # Where the code is about the mailbox, these words are too.
    if mailbox_full:
        words = re.sub(r"\b(?:over )?quota(?: exceeded)?\b", "", words)
    elif enhanced in _RECIPIENT_CODE:
        words = re.sub(rf"\b{_STOPPED}\b", "", words)
    if enhanced in _NO_SUCH_ADDRESS and "sender" not in words and _ABOUT_THE_RECIPIENT.search(words):
        return RefusalCause.RECIPIENT
    if _ABOUT_OUR_ACCOUNT.search(words):
        return RefusalCause.OUR_ACCOUNT
    if mailbox_full:
        return RefusalCause.MAILBOX_FULL
    if _OUR_ACCOUNT_CODE.fullmatch(enhanced):
        return RefusalCause.OUR_ACCOUNT
    if enhanced in _RECIPIENT_CODE or enhanced.startswith("6."):
        return RefusalCause.RECIPIENT
    return RefusalCause.RECIPIENT if _ABOUT_THE_RECIPIENT.search(words) else RefusalCause.UNCLEAR


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
