"""What a bounce means."""

import pytest

from scheduler.domain.bounce import Failure, failure_of, read_bounce, said_codes
from scheduler.domain.inbound import read_message

HEAD = b"Content-Type: multipart/report; report-type=delivery-status; boundary=x\r\n\r\n--x\r\n"


def status(*blocks: str, kind: str = "delivery-status") -> bytes:
    body = "\r\n\r\n".join(blocks)
    return HEAD + f"Content-Type: message/{kind}\r\n\r\n{body}\r\n\r\n--x--\r\n".encode()


@pytest.mark.parametrize(
    ("code", "failure"),
    [
        *((code, Failure.HARD) for code in ("5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10")),
        *(
            (code, Failure.SOFT)
            for code in ("4.0.0", "4.2.2", "4.7.1", "5.2.2", "5.2.1", "5.0.0", "5.4.4", "")
        ),
        *((code, Failure.POLICY) for code in ("5.7.0", "5.7.1", "5.7.26", "5.7.515", "5.1.7", "5.1.8")),
    ],
)
def test_a_code_means_what_rfc_3463_says(code: str, failure: Failure) -> None:
    assert failure_of(code) is failure


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("550-5.1.1 The email account", ["5.1.1"]),
        ("550 5.0.0 then 550 5.1.10", ["5.0.0", "5.1.10"]),
        ("#5.1.1 (#4.3.0)", ["5.1.1", "4.3.0"]),
        ("#< #5.1.1 smtp;550 5.1.1 User unknown>", ["5.1.1", "5.1.1"]),
        ("from 5.1.1.10 and 15.1.1", []),
        ("550 ended with 5.1.1.", []),
        ("version 2.1.5, all fine", []),
        ("550 no such user", []),
        ("Topic: Chapter 5.1.1 of the book", []),
        ("User unknown (5.1.1)", ["5.1.1"]),
        ("Status: 5.1.1", ["5.1.1"]),
        ("Unknown address error 550-'5.1.1 <a@b.example>", ["5.1.1"]),
        ("Error: 5.1.1", ["5.1.1"]),
        ("5.1.1 <a@b.example>: no", ["5.1.1"]),
        ("room 5.1.1", []),
    ],
)
def test_a_code_counts_only_where_mail_systems_write_it(text: str, codes: list[str]) -> None:
    assert said_codes(text) == codes


def test_a_specific_status_counts_and_the_diagnosis_makes_a_general_one_specific() -> None:
    for status_code, diagnosis, code in (
        ("5.2.2", "smtp; 550 5.1.1 no", "5.2.2"),
        ("5.0.0", "smtp; 550 5.1.1 no", "5.1.1"),
        ("5.0.0", "smtp; 550 no such user", "5.0.0"),
        ("nonsense", "smtp; 552-5.2.2 full", "5.2.2"),
    ):
        head = "Final-Recipient: rfc822; a@example.org\r\nAction: failed"
        block = f"{head}\r\nStatus: {status_code}\r\nDiagnostic-Code: {diagnosis}"
        bounce = read_bounce(read_message(status("Reporting-MTA: dns; x", block)))
        assert bounce and (bounce.status, bounce.addresses) == (code, ("a@example.org",))


def test_of_several_recipients_the_mildest_failure_counts() -> None:
    def block(action: str, code: str) -> str:
        return f"Final-Recipient: rfc822; a@example.org\r\nAction: {action}\r\nStatus: {code}"

    for blocks, failure in (
        ((block("failed", "5.1.1"), block("failed", "5.1.1")), Failure.HARD),
        ((block("failed", "5.1.1"), block("failed", "5.2.2")), Failure.SOFT),
        ((block("failed", "5.1.1"), block("failed", "5.7.1")), Failure.POLICY),
        ((block("failed", "5.1.1"), block("delivered", "2.0.0")), Failure.SOFT),
        ((block("delivered", "2.0.0"), block("relayed", "2.0.0")), None),
        ((block("error", "5.1.1"),), Failure.HARD),
    ):
        bounce = read_bounce(read_message(status("Reporting-MTA: dns; x", *blocks)))
        assert bounce and bounce.failure is failure, blocks


def test_the_international_form_and_one_without_an_action_are_read() -> None:
    block = "Final-Recipient: utf-8; a@example.org\r\nStatus: 5.1.1"
    for kind in ("delivery-status", "global-delivery-status"):
        bounce = read_bounce(read_message(status("Reporting-MTA: dns; x", block, kind=kind)))
        assert bounce and (bounce.failure, bounce.addresses) == (Failure.HARD, ("a@example.org",)), kind


def test_a_message_without_a_delivery_status_is_not_a_bounce_report() -> None:
    assert read_bounce(read_message(b"Subject: Undelivered\r\n\r\n550 5.1.1 unknown")) is None
    assert read_bounce(read_message(status("nothing of interest"))) is None
