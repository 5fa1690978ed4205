"""Made-up inbound mail in the formats of real systems: bounces, complaints, calendar replies and absence notes."""

from base64 import b64encode
from textwrap import dedent


def crlf(text: str) -> bytes:
    return dedent(text).lstrip("\n").replace("\n", "\r\n").encode()


def postfix(
    to: str,
    address: str,
    *,
    status: str = "5.1.1",
    action: str = "failed",
    said: str = "550 5.1.1 <{}>: Recipient address rejected: User unknown in local recipient table",
    identity: str = "20261119.ABCDEF",
) -> bytes:
    """A Postfix bounce, with the headers of the undelivered mail."""
    return crlf(f"""
        Return-Path: <>
        Delivered-To: {to}
        Received: by mx.relay.example.org (Postfix) id 4F1; Thu, 19 Nov 2026 17:00:03 +0000 (UTC)
        Date: Thu, 19 Nov 2026 17:00:03 +0000 (UTC)
        From: MAILER-DAEMON@mx.relay.example.org (Mail Delivery System)
        Subject: Undelivered Mail Returned to Sender
        To: {to}
        Auto-Submitted: auto-replied
        MIME-Version: 1.0
        Content-Type: multipart/report; report-type=delivery-status;
            boundary="4F1.1700000000/mx.relay.example.org"
        Message-Id: <{identity}@mx.relay.example.org>

        This is a MIME-encapsulated message.

        --4F1.1700000000/mx.relay.example.org
        Content-Description: Notification
        Content-Type: text/plain; charset=us-ascii

        This is the mail system at host mx.relay.example.org.

        I'm sorry to have to inform you that your message could not
        be delivered to one or more recipients.

        --4F1.1700000000/mx.relay.example.org
        Content-Description: Delivery report
        Content-Type: message/delivery-status

        Reporting-MTA: dns; mx.relay.example.org
        X-Postfix-Queue-ID: 4F1
        X-Postfix-Sender: rfc822; {to}
        Arrival-Date: Thu, 19 Nov 2026 17:00:01 +0000 (UTC)

        Final-Recipient: rfc822; {address}
        Original-Recipient: rfc822;{address}
        Action: {action}
        Status: {status}
        Remote-MTA: dns; mail.example.org
        Diagnostic-Code: smtp; {said.format(address)}

        --4F1.1700000000/mx.relay.example.org
        Content-Description: Undelivered Message Headers
        Content-Type: text/rfc822-headers

        Message-ID: <abcdefghijklmnopqrstuvwxyz@conversation.example.org>
        From: Conversation for Kindness <meetings@conversation.example.org>
        To: {address}
        Subject: Reminder

        --4F1.1700000000/mx.relay.example.org--
        """)


def exchange(to: str, address: str) -> bytes:
    """An Exchange Online bounce: the status is 5.1.10, and the parts have comments."""
    return crlf(f"""
        From: <postmaster@example.onmicrosoft.example.org>
        To: <{to}>
        Date: Thu, 19 Nov 2026 17:00:05 +0000
        Content-Type: multipart/report; report-type=delivery-status;
            boundary="12a4b9c0-0000-4a4f"
        X-MS-Exchange-Message-Is-Ndr:
        Content-Language: en-GB
        Message-ID: <7d1b@example.onmicrosoft.example.org>
        Subject: Undeliverable: Reminder: Conversation for Kindness
        Auto-Submitted: auto-replied

        --12a4b9c0-0000-4a4f
        Content-Type: text/html; charset="us-ascii"
        Content-Transfer-Encoding: quoted-printable

        <p>Your message to {address} couldn't be delivered.</p>

        --12a4b9c0-0000-4a4f
        Content-Type: message/delivery-status

        Reporting-MTA: dns;LO0P265MB0000.example.org
        Received-From-MTA: dns;mx.relay.example.org
        Arrival-Date: Thu, 19 Nov 2026 17:00:04 +0000

        Final-Recipient: rfc822;{address}
        Action: failed
        Status: 5.1.10
        Diagnostic-Code: smtp;550 5.1.10 RESOLVER.ADR.RecipientNotFound; {address} not found by SMTP lookup

        --12a4b9c0-0000-4a4f
        Content-Type: message/rfc822

        From: Conversation for Kindness <meetings@conversation.example.org>
        Auto-Submitted: auto-generated
        Subject: Reminder

        words
        --12a4b9c0-0000-4a4f--
        """)


def gmail(to: str, address: str, *, status: str = "5.0.0", code: str = "550-5.1.1") -> bytes:
    """A Gmail bounce after a refusal by the other side: a general status, with the real one in the diagnostic code."""
    return crlf(f"""
        From: Mail Delivery Subsystem <mailer-daemon@googlemail.example.org>
        To: {to.upper()}
        Auto-Submitted: auto-replied
        Subject: Delivery Status Notification (Failure)
        Message-ID: <6565.mr@mx.example.org>
        Date: Thu, 19 Nov 2026 09:00:05 -0800 (PST)
        Content-Type: multipart/report; boundary="000000000000e1"; report-type=delivery-status

        --000000000000e1
        Content-Type: multipart/related; boundary="000000000000e3"

        --000000000000e3
        Content-Type: text/plain; charset="UTF-8"

        ** Address not found **

        Your message wasn't delivered to {address}.

        --000000000000e3--

        --000000000000e1
        Content-Type: message/delivery-status

        Reporting-MTA: dns; googlemail.example.org
        Arrival-Date: Thu, 19 Nov 2026 09:00:04 -0800 (PST)

        Final-Recipient: rfc822; {address}
        Action: failed
        Status: {status}
        Diagnostic-Code: smtp; {code} The email account that you tried to reach does not exist. Please try
         double-checking the recipient's email address for typos.
        Last-Attempt-Date: Thu, 19 Nov 2026 09:00:05 -0800 (PST)

        --000000000000e1--
        """)


def qmail(to: str, address: str, *, said: str = "550 5.1.1 user unknown") -> bytes:
    """A qmail bounce: no delivery status, and no headers that identify it."""
    return crlf(f"""
        Return-Path: <>
        From: MAILER-DAEMON@mail.example.org
        To: {to}
        Subject: failure notice
        Date: 19 Nov 2026 17:00:05 -0000

        Hi. This is the qmail-send program at mail.example.org.
        I'm afraid I wasn't able to deliver your message to the following addresses.
        This is a permanent error; I've given up. Sorry it didn't work out.

        <{address}>:
        198.51.100.7 does not like recipient.
        Remote host said: {said}
        Giving up on 198.51.100.7.

        --- Below this line is a copy of the message.

        Return-Path: <{to}>
        Subject: Reminder

        words
        """)


def complaint(to: str, *, kind: str = "abuse", enclosed: str, identity: str = "arf1") -> bytes:
    """A feedback loop's complaint (ARF, RFC 5965); `enclosed` are the headers of our mail that it quotes."""
    text = """
        From: <feedback@isp.example.org>
        Date: Thu, 19 Nov 2026 20:00:00 +0000
        Subject: FW: Reminder
        To: <TO>
        Message-ID: <IDENTITY@isp.example.org>
        MIME-Version: 1.0
        Content-Type: multipart/report; report-type=feedback-report;
             boundary="part1_13d.2e68ed54_boundary"

        --part1_13d.2e68ed54_boundary
        Content-Type: text/plain; charset="US-ASCII"
        Content-Transfer-Encoding: 7bit

        This is an email abuse report for an email message received from IP 192.0.2.1.

        --part1_13d.2e68ed54_boundary
        Content-Type: message/feedback-report

        Feedback-Type: KIND
        User-Agent: SomeGenerator/1.0
        Version: 1
        Original-Rcpt-To: <redacted@example.org>

        --part1_13d.2e68ed54_boundary
        Content-Type: message/rfc822
        Content-Disposition: inline

        From: <meetings@conversation.example.org>
        ENCLOSED
        Subject: Reminder

        words
        --part1_13d.2e68ed54_boundary--
        """
    for name, value in {"TO>": f"{to}>", "KIND": kind, "ENCLOSED": enclosed, "IDENTITY": identity}.items():
        text = text.replace(name, value)
    return crlf(text)


def absence(to: str, *headers: str) -> bytes:
    """An absence note."""
    lines = "\r\n".join(headers)
    return (
        f"From: Bo <bo@example.org>\r\nTo: {to}\r\nSubject: Out of office\r\n"
        f"Message-ID: <away@example.org>\r\n{lines}\r\n"
        "\r\nI am away until Monday. Undeliverable things will be returned.\r\n"
    ).encode()


def answer(
    calendar: str,
    *,
    sender: str = "bo@example.org",
    to: str = "meetings@conversation.example.org",
    identity: str = "r1",
    encoded: bool = False,
) -> bytes:
    """A mail with a calendar part in it; with `encoded` in base64, as Outlook sends it."""
    body = calendar.replace("\r\n", "\n").replace("\n", "\r\n")
    encoding = "base64" if encoded else "8bit"
    part = b64encode(body.encode()).decode() if encoded else body
    return (
        f"From: Bo <{sender}>\r\nTo: {to}\r\nSubject: Accepted: Conversation for Kindness\r\n"
        f"Message-ID: <{identity}@example.org>\r\nMIME-Version: 1.0\r\n"
        'Content-Type: multipart/alternative; boundary="=_r"\r\n\r\n'
        "--=_r\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nBo has accepted.\r\n"
        '--=_r\r\nContent-Type: text/calendar; charset="utf-8"; method=REPLY\r\n'
        f"Content-Transfer-Encoding: {encoding}\r\n\r\n{part}\r\n--=_r--\r\n"
    ).encode()


def outlook(
    uid: str, attendee: str, partstat: str = "ACCEPTED", *, sequence: int = 0, stamp: str = "20261110T130000Z"
) -> str:
    """Outlook's reply: a Windows zone name, and many X- properties."""
    return f"""BEGIN:VCALENDAR
METHOD:REPLY
PRODID:Microsoft Exchange Server 2010
VERSION:2.0
BEGIN:VTIMEZONE
TZID:GMT Standard Time
BEGIN:STANDARD
DTSTART:16010101T020000
TZOFFSETFROM:+0100
TZOFFSETTO:+0000
RRULE:FREQ=YEARLY;INTERVAL=1;BYDAY=-1SU;BYMONTH=10
END:STANDARD
END:VTIMEZONE
BEGIN:VEVENT
ATTENDEE;PARTSTAT={partstat};CN=Bo:mailto:{attendee}
COMMENT;LANGUAGE=en-GB:\\n
UID:{uid}
SUMMARY;LANGUAGE=en-GB:Accepted: Conversation for Kindness
DTSTART;TZID=GMT Standard Time:20261119T180000
DTEND;TZID=GMT Standard Time:20261119T190000
CLASS:PUBLIC
PRIORITY:5
DTSTAMP:{stamp}
TRANSP:OPAQUE
STATUS:CONFIRMED
SEQUENCE:{sequence}
X-MICROSOFT-CDO-APPT-SEQUENCE:{sequence}
X-MICROSOFT-CDO-BUSYSTATUS:BUSY
END:VEVENT
END:VCALENDAR
"""


def google(
    uid: str, attendee: str, partstat: str = "ACCEPTED", *, sequence: int = 0, stamp: str = "20261110T130000Z"
) -> str:
    """Google Calendar's reply: the attendee is folded over several lines and has X- parameters."""
    return f"""BEGIN:VCALENDAR
PRODID:-//Google Inc//Google Calendar 70.9054//EN
VERSION:2.0
CALSCALE:GREGORIAN
METHOD:REPLY
BEGIN:VEVENT
DTSTART:20261119T180000Z
DTEND:20261119T190000Z
DTSTAMP:{stamp}
ORGANIZER;CN=Conversation for Kindness:mailto:meetings@conversation.example.org
UID:{uid}
ATTENDEE;CUTYPE=INDIVIDUAL;ROLE=REQ-PARTICIPANT;PARTSTAT={partstat};CN=Bo Li
 ;X-NUM-GUESTS=0:mailto:{attendee}
X-MICROSOFT-CDO-OWNERAPPTID:1234
CREATED:20261101T000000Z
DESCRIPTION:
LAST-MODIFIED:{stamp}
LOCATION:
SEQUENCE:{sequence}
STATUS:CONFIRMED
SUMMARY:Conversation for Kindness
TRANSP:OPAQUE
END:VEVENT
END:VCALENDAR
"""


def apple(
    uid: str, attendee: str, partstat: str = "ACCEPTED", *, sequence: int = 0, stamp: str = "20261110T130000Z"
) -> str:
    """Apple Calendar's reply: another ORGANIZER, MAILTO in capitals, an EMAIL parameter, and an invalid line."""
    return f"""BEGIN:VCALENDAR
CALSCALE:GREGORIAN
METHOD:REPLY
PRODID:-//Apple Inc.//macOS 15.1//EN
VERSION:2.0
BEGIN:VEVENT
ATTENDEE;CN="Bo, Li";CUTYPE=INDIVIDUAL;EMAIL="{attendee}";PARTSTAT={partstat};ROLE=REQ-PA
 RTICIPANT:MAILTO:{attendee}
DTEND;TZID=Europe/London:20261119T190000
this is no line at all
DTSTAMP:{stamp}
DTSTART;TZID=Europe/London:20261119T180000
SEQUENCE:{sequence}
SUMMARY:Conversation for Kindness
UID:{uid}
END:VEVENT
END:VCALENDAR
"""
