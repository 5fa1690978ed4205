"""Made-up bounces in the formats of many mail systems, and what each should mean for the member."""

import quopri
from base64 import encodebytes
from dataclasses import dataclass

TO = f"b+{'a' * 34}@bounces.example.org"
MEMBER = "bo@example.org"

OUR_TEXT = """Subject: Garden Table
From: Garden Table <meetings@garden.example.org>
To: bo@example.org
Message-ID: <abc@garden.example.org>
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8

Dear Bo,

Topic: Error 550 5.1.1 and 5.7.1 spam, a history of mail
"""
"""Our own text, which must never be read as the mail system's words."""


@dataclass(frozen=True, slots=True)
class Example:
    """`meant` is hard, soft, policy, none (no failure) or kept (for a convenor, if it is unclear)."""

    name: str
    octets: bytes
    meant: str


def mail(
    body: str,
    *,
    sender: str = "MAILER-DAEMON@mx.example.org",
    subject: str = "Undelivered Mail",
    path: str = "<>",
    headers: str = "Auto-Submitted: auto-replied",
    charset: str = "utf-8",
    encoding: str = "8bit",
    kind: str = "plain",
) -> bytes:
    """A message of one text part to a member's return path."""
    octets = body.encode(charset)
    if encoding == "base64":
        octets = encodebytes(octets)
    elif encoding == "quoted-printable":
        octets = quopri.encodestring(octets)
    head = (
        (f"Return-Path: {path}\n" if path else "")
        + f"To: {TO}\nFrom: {sender}\nSubject: {subject}\nMessage-ID: <1@mx.example.org>\n"
        + (f"{headers}\n" if headers else "")
        + f'MIME-Version: 1.0\nContent-Type: text/{kind}; charset="{charset}"\nContent-Transfer-Encoding: {encoding}\n\n'
    )
    return head.encode() + octets


def report(
    status: str,
    *,
    text: str = "Sorry.",
    encoding: str = "7bit",
    kind: str = "message/delivery-status",
    sender: str = "MAILER-DAEMON@mx.example.org",
    subject: str = "Undeliverable",
    path: str = "<>",
    report_type: str = "; report-type=delivery-status",
    enclosed: str = OUR_TEXT,
) -> bytes:
    """A report with a delivery status (RFC 3464)."""
    octets = f"Reporting-MTA: dns; mx.example.org\n\n{status}".encode()
    if encoding == "base64":
        octets = encodebytes(octets)
    elif encoding == "quoted-printable":
        octets = quopri.encodestring(octets)
    return (
        (f"Return-Path: {path}\n" if path else "").encode()
        + f"To: {TO}\nFrom: {sender}\nSubject: {subject}\nMessage-ID: <2@mx.example.org>\n".encode()
        + b"Auto-Submitted: auto-replied\nMIME-Version: 1.0\n"
        + f'Content-Type: multipart/report{report_type}; boundary="qq"\n\n'.encode()
        + f"--qq\nContent-Type: text/plain; charset=utf-8\n\n{text}\n\n".encode()
        + f"--qq\nContent-Type: {kind}\nContent-Transfer-Encoding: {encoding}\n\n".encode()
        + octets
        + f"\n--qq\nContent-Type: message/rfc822\n\n{enclosed}\n--qq--\n".encode()
    )


def block(
    status: str, said: str = "", *, final: str = MEMBER, original: str = "", action: str = "failed"
) -> str:
    lines = [f"Final-Recipient: rfc822; {final}"] if final else []
    lines += [f"Original-Recipient: rfc822; {original}"] if original else []
    lines += [f"Action: {action}"] if action else []
    lines += [f"Status: {status}"] if status else []
    lines += [f"Diagnostic-Code: smtp; {said}"] if said else []
    return "\n".join(lines) + "\n"


def text(name: str, meant: str, body: str, **options: str) -> Example:
    return Example(name, mail(body, **options), meant)


def status(name: str, meant: str, fields: str, **options: str) -> Example:
    return Example(name, report(fields, **options), meant)


EXIM = """This message was created automatically by mail delivery software.

A message that you sent could not be delivered to one or more of its
recipients. This is a permanent error. The following address(es) failed:

  %s
"""
EXIM_COPY = f"------ This is a copy of the message, including all the headers. ------\n\n{OUR_TEXT}"
FAILED = "X-Failed-Recipients: bo@example.org\nAuto-Submitted: auto-replied"

EXAMPLES = [
    # Delivery statuses
    status(
        "Postfix, user unknown",
        "hard",
        block(
            "5.1.1",
            f"550 5.1.1 <{MEMBER}>: Recipient address rejected: User unknown in local recipient table",
        ),
    ),
    status("Status in base64", "hard", block("5.1.1"), encoding="base64"),
    status(
        "Status in quoted-printable with soft breaks",
        "hard",
        block("5.1.1", f"550 5.1.1 <{MEMBER}>: " + "no such person here, sorry; " * 4),
        encoding="quoted-printable",
    ),
    status(
        "International form in base64",
        "hard",
        block("5.1.1").replace("rfc822", "utf-8"),
        encoding="base64",
        kind="message/global-delivery-status",
    ),
    status("No report-type", "hard", block("5.1.2", "550 Host unknown"), report_type=""),
    status(
        "Empty line before the recipient's fields has spaces",
        "hard",
        "X-Queue: 1\n  \n" + block("5.1.10", "550 5.1.10 RecipientNotFound"),
    ),
    status(
        "Spam behind 5.1.1", "policy", block("5.1.1", "550 5.7.1 message rejected as spam by content filter")
    ),
    status(
        "Spam in words behind 5.1.1",
        "policy",
        block("5.1.1", "550 blocked using zen.example.org, see http://example.org/"),
    ),
    status("Full behind 5.1.1", "soft", block("5.1.1", "552 5.2.2 Over quota")),
    status("552 without an enhanced code", "soft", block("5.1.1", "552 Requested mail action aborted")),
    status("Full in words alone", "soft", block("5.1.1", "The user's mailbox is full")),
    status("Greylisted behind 5.1.1", "soft", block("5.1.1", "450 4.2.0 greylisted")),
    status("Diagnosis unknown, Status 5.2.2", "soft", block("5.2.2", "550 5.1.1 user unknown")),
    status("Status 5.7.1, diagnosis 5.1.1", "policy", block("5.7.1", "550 5.1.1 user unknown")),
    status(
        "DMARC",
        "policy",
        block("5.7.26", "550-5.7.26 Unauthenticated email is not accepted due to DMARC policy"),
    ),
    status(
        "Gmail, general status",
        "hard",
        block("5.0.0", "550-5.1.1 The email account that you tried to reach does not exist."),
    ),
    status(
        "Zimbra, LMTP",
        "soft",
        block("5.2.2", f"552 5.2.2 <{MEMBER}>... Mailbox full").replace("smtp;", "lmtp;"),
    ),
    status(
        "Forwarded, another address is dead",
        "soft",
        block(
            "5.1.1",
            "550 5.1.1 <old@elsewhere.example> user unknown",
            final="old@elsewhere.example",
            original=MEMBER,
        ),
    ),
    status("Forwarded, without the original address", "soft", block("5.1.1", final="old@elsewhere.example")),
    status(
        "Forwarded, told by the diagnosis alone",
        "soft",
        block("5.1.1", "550 5.1.1 <old@elsewhere.example>: unknown user"),
    ),
    status(
        "Address encoded as in the envelope", "hard", block("5.1.1", final="bo", original="bo@example.org")
    ),
    status(
        "A contact beside the code",
        "hard",
        block("5.1.1", "550 5.1.1 user unknown, ask postmaster@example.org"),
    ),
    status(
        "Delayed",
        "none",
        block("4.4.1", "connect timed out", action="delayed"),
        subject="Delayed Mail (still being retried)",
    ),
    status("Relayed", "none", block("2.0.0", action="relayed")),
    status("Action in another language", "hard", block("5.1.1", action="fehlgeschlagen")),
    status("No action", "hard", block("5.1.1", action="")),
    status("Expired in the queue", "soft", block("4.4.7", "delivery time expired")),
    status("Our topic in the enclosed copy only", "soft", block("5.0.0", "554 refused")),
    status("Our topic quoted by a filter", "policy", block("5.0.0", "554 rejected as spam: 'Chapter 5.1.1'")),
    status("A report of nothing", "kept", "X-Nothing: here\n", subject="Garden Table"),
    status("A report of nothing, whose subject alone says it", "soft", "X-Nothing: here\n"),
    # Exim
    text(
        "Exim, full",
        "soft",
        EXIM % "bo@example.org\n    mailbox is full: retry timeout exceeded" + EXIM_COPY,
        headers=FAILED,
    ),
    text(
        "Exim, unknown user",
        "hard",
        EXIM
        % f"bo@example.org\n    host mx.example.org [192.0.2.1]\n    SMTP error from remote mail server after RCPT TO:<{MEMBER}>:\n    550 5.1.1 User unknown"
        + EXIM_COPY,
        headers=FAILED,
    ),
    text(
        "Exim, no enhanced code",
        "soft",
        EXIM % "bo@example.org\n    550 Unrouteable address" + EXIM_COPY,
        headers=FAILED,
    ),
    text(
        "Exim, generated from",
        "soft",
        EXIM % f"old@elsewhere.example\n    (generated from {MEMBER})\n    550 5.1.1 User unknown"
        + EXIM_COPY,
        headers="X-Failed-Recipients: old@elsewhere.example",
    ),
    text(
        "Exim, generated from, no header of failed addresses",
        "soft",
        EXIM % f"old@elsewhere.example\n    (generated from {MEMBER})\n    550 5.1.1 User unknown"
        + EXIM_COPY,
    ),
    text(
        "Exim, body of the message",
        "soft",
        EXIM % "bo@example.org\n    retry timeout exceeded"
        + f"------ The body of the message is 5200 characters long; only the first\n------ 4096 or so are included here.\n\n{OUR_TEXT}",
        headers=FAILED,
    ),
    text(
        "Exim, warning",
        "none",
        f"A message that you sent has not yet been delivered to one or more of its\nrecipients after more than 24 hours on the queue.\nNo action is required on your part. Delivery attempts will continue for\nsome time. Eventually the mail delivery software will give up.\n\n  {MEMBER}\n",
        subject="Warning: message 1abc delayed 24 hours",
    ),
    # qmail
    text(
        "qmail, unknown",
        "hard",
        f"Hi. This is the qmail-send program at mail.example.org.\nI'm afraid I wasn't able to deliver your message to the following addresses.\n\n<{MEMBER}>:\n198.51.100.7 does not like recipient.\nRemote host said: 550 5.1.1 user unknown\nGiving up on 198.51.100.7.\n\n--- Below this line is a copy of the message.\n\n{OUR_TEXT}",
        subject="failure notice",
    ),
    text(
        "qmail, no mailbox, in its own code",
        "hard",
        f"Hi. This is the qmail-send program at mail.example.org.\n\n<{MEMBER}>:\nSorry, no mailbox here by that name. (#5.1.1)\n\n--- Below this line is a copy of the message.\n\n{OUR_TEXT}",
        subject="failure notice",
    ),
    text(
        "qmail, over quota",
        "soft",
        f"Hi. This is the qmail-send program at mail.example.org.\n\n<{MEMBER}>:\nUser is over the quota. You can try again later.\n\n--- Enclosed are the original headers of the message.\n\n{OUR_TEXT}",
    ),
    # Sendmail
    text(
        "sendmail, transcript",
        "hard",
        f"The original message was received at Thu, 19 Nov 2026 17:00:00 GMT\nfrom relay.example.org\n\n   ----- The following addresses had permanent fatal errors -----\n<{MEMBER}>\n    (reason: 550 5.1.1 <{MEMBER}>... User unknown)\n\n   ----- Transcript of session follows -----\n... while talking to mx.example.org.:\n>>> DATA\n<<< 550 5.1.1 <{MEMBER}>... User unknown\n\n   ----- Original message follows -----\n\n{OUR_TEXT}",
    ),
    text(
        "sendmail, warning",
        "none",
        "    **********************************************\n    **      THIS IS A WARNING MESSAGE ONLY      **\n    **  YOU DO NOT NEED TO RESEND YOUR MESSAGE  **\n    **********************************************\n\nWarning: message still undelivered after 4 hours\nWill keep trying until message is 5 days old\n",
        subject="Warning: could not send message for past 4 hours",
    ),
    text(
        "sendmail, unsent message",
        "soft",
        f"   ----- Transcript of session follows -----\n554 {MEMBER}... Local configuration error\n\n   ----- Unsent message follows -----\n{OUR_TEXT}",
    ),
    # Postfix without a report
    text(
        "Postfix, the notification alone",
        "hard",
        f"This is the mail system at host mx.example.org.\n\nI'm sorry to have to inform you that your message could not\nbe delivered to one or more recipients. It's attached below.\n\nIf you do so, please include this problem report. You can\ndelete your own text from the attached returned message.\n\n                   The mail system\n\n<{MEMBER}>: host mail.example.org[192.0.2.2] said: 550 5.1.1\n    <{MEMBER}>: Recipient address rejected: User unknown (in reply to RCPT TO command)\n",
    ),
    # Exchange
    text(
        "Exchange 2003",
        "hard",
        f"Your message\n\n  To:      {MEMBER}\n  Subject: Chapter 550 5.7.1 of the book\n  Sent:    Thu, 19 Nov 2026 17:00:00 +0000\n\ndid not reach the following recipient(s):\n\n{MEMBER} on Thu, 19 Nov 2026 17:00:03 +0000\n    The e-mail account does not exist at the organization this message was sent to.\n    <mx.example.org #5.1.1 smtp;550 5.1.1 User unknown>\n",
        sender="System Administrator <postmaster@corp.example.org>",
    ),
    text(
        "Exchange 2003, subject only",
        "soft",
        f"Your message\n\n  To:      {MEMBER}\n  Subject: Error 550 5.1.1\n  Sent:    Thu, 19 Nov 2026 17:00:00 +0000\n\ndid not reach the following recipient(s):\n\n{MEMBER} on Thu, 19 Nov 2026\n    The recipient could not be reached.\n",
        sender="System Administrator <postmaster@corp.example.org>",
    ),
    text(
        "Exchange, HTML",
        "hard",
        f"<html><head><style>p {{ x: 'blocked by spam' }}</style></head><body><h1>Delivery has failed to these recipients or groups:</h1><p><a href='mailto:{MEMBER}'>{MEMBER}</a><br>The address couldn't be found.</p><h2>Diagnostic information for administrators:</h2><p>Remote Server returned '550 5.1.10 RESOLVER.ADR.RecipientNotFound; not found'</p><p>Original message headers:</p><pre>Received: from a\nSubject: 550 5.7.1 spam</pre></body></html>",
        kind="html",
        sender="postmaster@corp.example.org",
    ),
    text(
        "Exchange, its long address",
        "hard",
        f"Delivery has failed to these recipients:\n\n{MEMBER}\n#550 5.1.1 RESOLVER.ADR.RecipNotFound; not found ##\n\nOriginal message headers:\n\n{OUR_TEXT}",
        sender="MicrosoftExchange329e71ec88ae4615bbc36ab6ce41109e@corp.example.org",
        path="",
    ),
    # Gmail
    text(
        "Gmail, old form",
        "hard",
        f"Delivery to the following recipient failed permanently:\n\n     {MEMBER}\n\nTechnical details of permanent failure:\nGoogle tried to deliver your message, but it was rejected by the server. The error was:\n550 550 5.1.1 User unknown (state 14).\n\n----- Original message -----\n\n{OUR_TEXT}",
        sender="Mail Delivery Subsystem <mailer-daemon@googlemail.example.org>",
    ),
    text(
        "Gmail, delay",
        "none",
        f"Delivery to the following recipient has been delayed:\n\n     {MEMBER}\n\nMessage will be retried for 2 more day(s)\n",
        subject="Delivery Status Notification (Delay)",
    ),
    # Lotus Notes, Zimbra, IronPort, Courier, Yahoo
    text(
        "Lotus Domino",
        "soft",
        f"Your message\n\n  Subject: Chapter 5.1.1\n\nwas not delivered to:\n\n  {MEMBER}\n\nbecause:\n\n  User bo ({MEMBER}) not listed in Domino Directory\n",
        sender="Postmaster@corp.example.org",
        subject="DELIVERY FAILURE: User bo not listed in Domino Directory",
    ),
    text(
        "Zimbra, in words",
        "soft",
        f"{MEMBER}: mailbox is full (MTA-imposed quota exceeded while writing to file)\n\n-- Original message --\n{OUR_TEXT}",
    ),
    text(
        "IronPort",
        "hard",
        f"The following message to <{MEMBER}> was undeliverable.\nThe reason for the problem:\n5.1.0 - Unknown address error 550-'5.1.1 <{MEMBER}> no such user'\n".replace(
            "5.1.0 - ", ""
        ),
    ),
    text(
        "Courier",
        "soft",
        f"This is a delivery status notification from mx.example.org.\n\nUNDELIVERABLE MAIL\n\nYour message to the following recipients cannot be delivered:\n\n<{MEMBER}>:\n    mail.example.org [192.0.2.1]:\n>>> RCPT TO:<{MEMBER}>\n<<< 550 User unknown.\n\nThe following is a copy of the message:\n\n{OUR_TEXT}",
    ),
    text(
        "Yahoo",
        "soft",
        f"Sorry, we were unable to deliver your message to the following address.\n\n<{MEMBER}>:\n554: delivery error: dd Not a valid recipient - mta.example.org\n\n--- Below this line is a copy of the message.\n\n{OUR_TEXT}",
    ),
    text("A quota note behind a code that says nothing", "soft", f"<{MEMBER}>: 550 5.0.0 quota exceeded\n"),
    # Other languages, charsets and encodings
    text(
        "German, 5.1.1",
        "hard",
        f"Ihre Nachricht wurde nicht zugestellt an {MEMBER} da: 550 5.1.1 Benutzer unbekannt\n",
        sender="postmaster@corp.example.org",
        subject="Unzustellbar: Garden Table",
        headers="Auto-Submitted: auto-generated",
        path="",
    ),
    text(
        "German, copy below",
        "soft",
        f"Die Nachricht an {MEMBER} konnte nicht zugestellt werden.\nDas Postfach ist voll.\n\n-----Ursprüngliche Nachricht-----\nVon: Garden Table\nBetreff: Kapitel 5.1.1\n\n550 5.1.1 in der Geschichte\n",
        sender="postmaster@corp.example.org",
    ),
    text(
        "German, quoted-printable in Latin-1",
        "hard",
        f"Ungültige Adresse {MEMBER}: 550 5.1.1 Empfänger unbekannt\n",
        charset="iso-8859-1",
        encoding="quoted-printable",
    ),
    text(
        "French",
        "soft",
        f"Votre message n'a pas pu être remis à {MEMBER} : boîte aux lettres pleine\n\n----- Message d'origine -----\n{OUR_TEXT}",
        charset="iso-8859-1",
    ),
    text(
        "Spanish",
        "policy",
        f"No se pudo entregar el mensaje a {MEMBER}: 550 5.7.1 mensaje rechazado\n\n------ Mensaje original ------\n{OUR_TEXT}",
    ),
    text(
        "Italian in base64",
        "hard",
        f"Impossibile recapitare il messaggio a {MEMBER}.\n550 5.1.1 utente sconosciuto\n\n--- Messaggio originale ---\n{OUR_TEXT}",
        encoding="base64",
    ),
    text(
        "Dutch",
        "soft",
        f"Uw bericht aan {MEMBER} kon niet worden bezorgd: onbekende fout.\nNiet bezorgd.\n\n--- Oorspronkelijk bericht ---\n{OUR_TEXT}",
    ),
    text(
        "Japanese",
        "hard",
        f"次の宛先に配信できませんでした。\n<{MEMBER}>: 550 5.1.1 ユーザーが存在しません\n",
        charset="iso-2022-jp",
        encoding="7bit",
    ),
    text(
        "Russian in KOI8-R, base64",
        "soft",
        f"Сообщение для {MEMBER} не доставлено: почтовый ящик переполнен, 550 5.1.1\n",
        charset="koi8-r",
        encoding="base64",
    ),
    text(
        "Polish",
        "soft",
        f"Nie można dostarczyć wiadomości do {MEMBER}.\n\n-------- Oryginalna wiadomość --------\n{OUR_TEXT}",
    ),
    # Separators that nobody knows, and none at all
    text(
        "Headers without a separator",
        "soft",
        f"The message to {MEMBER} could not be delivered.\n\nReturn-Path: <{TO}>\n{OUR_TEXT}",
    ),
    text(
        "Headers of the message, no trace of a relay",
        "soft",
        f"The message to {MEMBER} could not be delivered.\n\n{OUR_TEXT}",
    ),
    text(
        "Quoted with >",
        "soft",
        f"The message to {MEMBER} could not be delivered.\n\n"
        + "".join(f"> {line}\n" for line in OUR_TEXT.splitlines()),
    ),
    text(
        "Our words without their headers",
        "soft",
        f"The message to {MEMBER} could not be delivered.\n\nDear Bo,\n\nTopic: Chapter 5.1.1 of the book\n",
    ),
    text(
        "Our words without their headers, with a whole reply in the topic",
        "soft",
        f"The message to {MEMBER} could not be delivered.\n\nDear Bo,\n\nTopic: 550 5.1.1 user unknown, a history\n",
    ),
    text("A forward in words", "soft", "old@elsewhere.example: 550 5.1.1 user unknown\n"),
    text("Nobody named", "hard", "550 5.1.1 Benutzer unbekannt\n"),
    # What says nothing, and what is no bounce although it comes without a sender
    text("A daemon that says nothing", "kept", "Hello.\n", subject="Garden Table"),
    text(
        "Empty return path, words of a person", "kept", "I am away until Monday.\n", sender="bo@example.org"
    ),
    text(
        "Return path of Postfix's pipe",
        "kept",
        "I am away until Monday.\n",
        sender="bo@example.org",
        path="<MAILER-DAEMON>",
    ),
]
