"""Bounces as mail systems write them: never taken for automatic replies, never read by the copy of our own text."""

import pytest

from scheduler.service.inbound import parse_inbound
from tests.bounces import EXAMPLES, MEMBER, OUR_TEXT, Example, mail, text


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda one: one.name)
def test_a_bounce_means_what_its_mail_system_said(example: Example) -> None:
    for octets in (example.octets, example.octets.replace(b"\n", b"\r\n")):
        message = parse_inbound(octets)
        assert message.returned
        if message.bounce is None:
            meant = "kept"
        elif message.bounce.failure is None:
            meant = "none"
        else:
            meant = str(message.bounce.failure_for(MEMBER))
        assert meant == example.meant, message.bounce


SEPARATORS = [
    "------ This is a copy of the message, including all the headers. ------",
    "--- Below this line is a copy of the message.",
    "--- Below the next line is a copy of the message.",
    "--- The header of the original message is following. ---",
    "--- Undelivered message follows ---",
    "----- Original message -----",
    "-------- Original Message --------",
    "   ----- Message header follows -----",
    "   ----- Original message follows -----",
    "   ----- Returned message -----",
    "======= Returned mail =======",
    "*** Your original message ***",
    "Original message headers:",
    "Original Message Headers",
    "This is a copy of your message:",
    "The following is a copy of the original message:",
    "Below is a copy of the original message:",
    "The message that was sent follows:",
    "----- Unsent message follows -----",
    "---------- Forwarded message ---------",
    "-----Ursprüngliche Nachricht-----",
    "---- Kopie der Nachricht ----",
    "Kopfzeilen der ursprünglichen Nachricht:",
    "----- Message d'origine -----",
    "----- Copie du message -----",
    "En-têtes de message d'origine :",
    "------ Mensaje original ------",
    "Encabezados de mensajes originales:",
    "--- Messaggio originale ---",
    "--- Oorspronkelijk bericht ---",
    "-------- Mensagem original --------",
    "-------- Oryginalna wiadomość --------",
    "-------- Исходное сообщение --------",
    "-------- Ursprungligt meddelande / copy --------",
]


HEADLESS = "Topic: 550 5.1.1 user unknown, and how it came\n"


@pytest.mark.parametrize(
    ("separator", "copied"),
    # A heading in plain words begins a copy only where headers stand below it.
    [
        *((one, OUR_TEXT) for one in SEPARATORS),
        *((one, HEADLESS) for one in SEPARATORS if one[0] in "-=*" or one[-1] == ":"),
    ],
)
def test_no_code_is_taken_from_what_stands_below_a_separator(separator: str, copied: str) -> None:
    body = f"{MEMBER}: the message could not be delivered.\n\n{separator}\n\n{copied}"
    message = parse_inbound(mail(body))
    assert message.bounce and message.bounce.status == "no code", message.bounce


@pytest.mark.parametrize(
    "sender",
    [
        "MAILER-DAEMON@mx.example.org",
        "Mail Delivery System <Mailer-Daemon@mx.example.org>",
        "postmaster@corp.example.org",
        "Mail Delivery Subsystem <noreply@corp.example.org>",
        "System Administrator <x@corp.example.org>",
        "mail-daemon@x.example.org",
        '"Postmaster" <info@corp.example.org>',
        "mdaemon@x.example.org",
    ],
)
@pytest.mark.parametrize("path", ["<>", ""])
def test_what_a_mail_system_sends_is_no_automatic_reply(sender: str, path: str) -> None:
    example = text("x", "hard", f"<{MEMBER}>: 550 5.1.1 unknown\n", sender=sender, path=path)
    message = parse_inbound(example.octets)
    assert message.automatic and message.returned and message.bounce


@pytest.mark.parametrize("path", ["<bo@example.org>", ""])
def test_a_note_of_absence_from_a_person_stays_an_automatic_reply(path: str) -> None:
    message = parse_inbound(
        mail("I am away; undeliverable things wait.\n", sender="bo@example.org", path=path)
    )
    assert message.automatic and not message.returned and message.bounce is None


def test_a_mailbox_line_of_a_mail_server_tells_the_empty_return_path() -> None:
    octets = b"From MAILER-DAEMON Thu Nov 19 17:00:00 2026\n" + mail(
        "Gone.\n", sender="bo@example.org", path=""
    )
    assert parse_inbound(octets).returned
