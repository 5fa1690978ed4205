"""Parse bounces without a delivery status: the mail system's text for people, without the copy of our mail."""

import re
from email.message import Message
from itertools import takewhile

from scheduler.domain.bounce import Bounce, addresses_in, any_of, bounce, judge, said_codes
from scheduler.domain.inbound import field, own_parts, shown_text, subject

_LONGEST = 50_000
_LINES_ABOVE = 5
"""How many lines above its code a failed address may be."""

# "------ This is a copy of the message, including all the headers. ------", "-----Ursprüngliche Nachricht-----"; but
# not "----- Transcript of session follows -----", after which sendmail writes what is wrong.
_DIVIDER = re.compile(r"\s*[-=_*#~+>]{2,}")
_COPY_WORDS = any_of(
    r"cop(?:y|ie|ia)\b",
    r"\borigin",
    r"unsent",
    r"undelivered",
    r"return(?:ed)?\b",
    r"enclosed",
    r"\bheaders?\b",
    r"forwarded",
    r"attached",
    r"below this line",
    r"message (?:follows|body|text|source|contents?)",
    r"your (?:message|mail|e-?mail)",
    # German, French, Spanish, Portuguese, Italian, Dutch, Scandinavian, Slavic, Hungarian, Finnish
    r"kopi",
    r"ursprüng",
    r"weitergeleitet",
    r"nachrichtentext",
    r"kopfzeilen",
    r"en-?têtes?",
    r"encabezado",
    r"cópia",
    r"cabeçalho",
    r"intestazion",
    r"oorspronkelijk",
    r"оригинал",
    r"исходн",
    r"oryginal",
    r"původní",
    r"eredeti",
    r"alkuperäinen",
)
_NO_COPY = any_of(r"transcript", r"session", r"protokoll", r"reason", r"diagnostic", r"add?ress")
# "Original message headers:", "A copy of your message follows:".
_COPY_LINE = re.compile(
    r"\s*(?:"
    + any_of(
        r"(?:the |your )?(?:original|returned|undelivered|unsent|failed|rejected)[\s-](?:message|mail|e-?mail)",
        r"(?:(?:this|here|below|following|the following|what follows|attached) (?:is|are) )?(?:a |the )?copy of ",
        r"(?:message|mail|e-?mail|original) headers?",
        r"headers? (?:of|follow)",
        r"below this line",
        r"(?:the )?(?:message|header)s? (?:that )?(?:was sent|you sent|follows)",
        r"(?:the )?body of (?:the|your)",
        r"start of (?:returned|message)",
        r"(?:die )?ursprüngliche",
        r"originalnachricht",
        r"kopie der",
        r"kopfzeilen",
        r"copie du message",
        r"en-têtes",
        r"(?:le )?message d'origine",
        r"(?:el )?mensaje original",
        r"copia del",
        r"encabezados",
        r"intestazioni",
        r"(?:il )?messaggio originale",
        r"(?:het )?oorspronkelijke",
        r"(?:a )?mensagem original",
        r"cópia da",
        r"originalmeddelande",
        r"oprindelig",
        r"opprinnelig",
        r"oryginaln",
        r"исходное",
        r"копия",
    ).pattern
    + ")",
    re.IGNORECASE,
)
_HEADER = re.compile(r"\s{0,8}([A-Za-z][A-Za-z0-9-]{1,40}):(?:\s|$)")
_ONLY_IN_MESSAGES = (
    "return-path",
    "received",
    "message-id",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
    "list-id",
    "dkim-signature",
    "list-unsubscribe",
    "auto-submitted",
    "precedence",
    "feedback-id",
    "list-unsubscribe-post",
)
_OUR_LINK = re.compile(r"/(?:u|me|rsvp|go|cal)/[a-z2-7]{34}\b", re.IGNORECASE)
_QUOTED = re.compile(r"\s*[>|]")
# Subjects that identify our mail in a bounce, and the lines in our mail that describe a meeting.
_SUBJECT_LINE = re.compile(
    r"\s*(?:subject|betreff|objet|asunto|oggetto|onderwerp|assunto|ämne|emne|temat|aihe|předmět|тема|件名|主题|主旨"
    r"|topics?|themes?|th[eè]ma|thème|sujet|tema|tópico|argomento|speakers?|title|titel)\s?[:\uff1a]",
    re.IGNORECASE,
)

# Words of failure, for mail systems that give no code.
_FAILURE = any_of(
    r"undeliver",
    r"not (?:be )?(?:been )?delivered",
    r"delivery (?:\w+ ){0,4}fail",
    r"failure notice",
    r"fail(?:ed|ure) to deliver",
    r"returned to sender",
    r"could not (?:be )?(?:deliver|sent|reach)",
    r"could ?n[o']t be delivered",
    r"unable to deliver",
    r"did not reach",
    r"user unknown",
    r"unknown (?:user|recipient)",
    r"no such user",
    r"not listed in",
    r"address not found",
    r"does not exist",
    r"rejected",
    r"mailbox (?:is )?(?:full|unavailable)",
    # German
    r"unzustellbar",
    r"nicht (?:zugestellt|zustell)",
    r"zustellung[^.\n]{0,40}(?:fehl|nicht)",
    r"unbekannt",
    # French
    r"(?:pas|non) (?:pu )?(?:être )?(?:remis|distribu|délivr)",
    r"échec de la remise",
    r"inconnu",
    # Spanish
    r"no (?:se )?(?:ha podido|pudo|puede)[^.\n]{0,30}entreg",
    r"no entregad",
    r"error de entrega",
    r"desconocid",
    # Italian
    r"impossibile (?:recapitare|consegnare)",
    r"mancat[oa] (?:recapito|consegna)",
    r"sconosciut",
    r"non (?:è stato )?(?:recapitat|consegnat)",
    # Dutch, Portuguese
    r"niet (?:worden )?(?:afgeleverd|bezorgd|bezorgbaar)",
    r"onbestelbaar",
    r"onbekend",
    r"não (?:foi |pôde )?(?:ser )?entreg",
    r"desconhecid",
    # Swedish, Norwegian, Danish, Polish, Russian
    r"kunde inte levereras",
    r"okänd",
    r"kunne ikke leveres",
    r"ukjent",
    r"ukendt",
    r"nie (?:można|udało|został)[^.\n]{0,30}dostarcz",
    r"не (?:может быть |была? |удалось )?достав",
    r"недоставлен",
    r"неизвестн",
    # Japanese, Chinese
    r"配信(?:できません|不能)",
    r"届けられません",
    r"无法投递",
    r"無法投遞",
    r"退信",
)
_DELAYED = any_of(
    r"not yet been delivered",
    r"no action is required",
    r"not need to re-?send",
    r"warning message only",
    r"will (?:keep|continue) (?:to )?try",
    r"delivery attempts will continue",
    r"will be (?:retried|tried again)",
    r"still (?:being )?tr(?:y|ied)",
    r"still undelivered",
    r"\(delay(?:ed)?\)",
    r"(?:has been|is|was) delayed",
    r"delivery delayed",
    r"delayed \d+ (?:hours|days)",
    r"delayed mail",
    r"noch nicht zugestellt",
    r"verzögert",
    r"pas encore (?:été |pu )",
    r"retardé",
    r"aún no se ha",
    r"retrasad",
    r"non è ancora",
    r"ritardat",
    r"nog niet (?:afgeleverd|bezorgd)",
    r"vertraagd",
    r"ainda não foi",
    r"atrasad",
    r"fördröj",
    r"forsinke",
    r"opóźnion",
    r"отложен",
    r"задерж",
)


def own_words(message: Message) -> str:
    """Return the mail system's own words in a bounce: its first text, without the copy of our mail and quoted lines."""
    texts = [
        part for part in own_parts(message) if part.get_content_maintype() == "text" and not _is_copy(part)
    ]
    texts = [part for part in texts if part.get_content_subtype() in ("plain", "html")]
    plain = [part for part in texts if part.get_content_subtype() == "plain"]
    for part in [*plain, *texts]:
        if text := above_copy(shown_text(part)[:_LONGEST]).strip():
            return text
    return ""


def above_copy(text: str) -> str:
    """Return the part of a text above the copy of our mail, without quoted lines and the subject of our mail."""
    lines = text.splitlines()
    end = next((number for number in range(len(lines)) if _begins_copy(lines, number)), len(lines))
    return "\n".join(
        line for line in lines[:end] if not _QUOTED.match(line) and not _SUBJECT_LINE.match(line)
    )


def _is_copy(part: Message) -> bool:
    described = f"{field(part, 'content-description')} {part.get_filename() or ''}"
    return part.get_content_disposition() == "attachment" or bool(_COPY_WORDS.search(described))


def _begins_copy(lines: list[str], number: int) -> bool:
    line = lines[number][:1_000]
    if _OUR_LINK.search(line):
        return True
    if _DIVIDER.match(line) and _COPY_WORDS.search(line) and not _NO_COPY.search(line):
        return True
    if _COPY_LINE.match(line) and (line.rstrip().endswith(":") or _headers_below(lines, number + 1)):
        return True
    name = _header_name(line)
    return name in ("received", "return-path", "mime-version", "dkim-signature") or (
        bool(name) and _is_head(lines, number)
    )


def _header_name(line: str) -> str:
    match = _HEADER.match(line)
    return match[1].lower() if match else ""


def _headers_below(lines: list[str], number: int) -> bool:
    """Return whether the headers of a message follow within a few lines."""
    below = [line for line in lines[number : number + 6] if line.strip()][:2]
    return any(_header_name(line) for line in below)


def _is_head(lines: list[str], number: int) -> bool:
    """Return whether at least three headers follow one another, including one that only occurs in a message.

    Mail systems write To and Subject to identify the mail.
    """
    block = takewhile(lambda line: line.strip(), lines[number : number + 40])
    names = [_header_name(line) for line in block if not line.startswith((" ", "\t")) or _header_name(line)]
    return len(names) >= 3 and all(names[:3]) and any(name in _ONLY_IN_MESSAGES for name in names)


def read_plain_bounce(message: Message, *, by_mail_system: bool) -> Bounce | None:
    """Return what a bounce without a delivery status says in words, or None if it does not report a failure.

    Words are enough if a mail system wrote the message; from other senders there must be a code.
    """
    text = own_words(message)
    codes = said_codes(text)
    named = _failed_recipients(message)
    permanent = any(code.startswith("5.") for code in codes) or bool(named)
    whole = f"{subject(message)}\n{text}"
    if by_mail_system and not permanent and _DELAYED.search(whole):
        return Bounce(None, "delayed", "delayed", tuple(addresses_in(text)))
    if not codes and not named and not (by_mail_system and _FAILURE.search(whole)):
        return None
    failure, status = judge(codes, around_codes(text))
    failed = named or tuple(_near_code(text))
    return bounce(
        failure, status, _said_line(text), tuple(dict.fromkeys([*failed, *addresses_in(text)])), failed
    )


def around_codes(text: str) -> str:
    """Return the lines with codes and those next to them, or the whole text if it has no codes.

    Elsewhere, mail systems add advice about everything that may be wrong.
    """
    lines = text.splitlines()
    coded = [number for number, line in enumerate(lines) if said_codes(line)]
    near = sorted({neighbour for number in coded for neighbour in range(max(0, number - 1), number + 3)})
    return "\n".join(lines[number] for number in near if number < len(lines)) if coded else text


_FORWARDED = any_of(r"generated from", r"expanded from", r"originally to", r"forwarded from", r"on behalf of")


def _failed_recipients(message: Message) -> tuple[str, ...]:
    return tuple(addresses_in(field(message, "x-failed-recipients")))


def _near_code(text: str) -> list[str]:
    """Return the addresses in the line of the last code, or in the nearest line above it."""
    lines = text.splitlines()
    coded = [number for number, line in enumerate(lines) if said_codes(line)]
    if not coded:
        return []
    for number in range(coded[-1], max(-1, coded[-1] - _LINES_ABOVE - 1), -1):
        line = lines[number]
        if (addresses := addresses_in(line)) and (number == coded[-1] or not _FORWARDED.search(line)):
            return addresses
    return []


def _said_line(text: str) -> str:
    """Return the line that says what is wrong: the last one with a code, or else with words of failure."""
    lines = text.splitlines()
    failing_lines = [line for line in lines if said_codes(line)] or [
        line for line in lines if _FAILURE.search(line)
    ]
    return " ".join(failing_lines[-1].split()) if failing_lines else ""
