"""Which commands a relay gets for an envelope, and when it gets none."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.delivery.send.smtp_protocol import Commands, Extensions, commands, dot_stuffed
from scheduler.delivery.send.transport import Envelope, Outcome, Verdict

CONTENT = b"Subject: Third Thursday\r\n\r\nhello\r\n"


def envelope(
    recipient: str = "ada@example.org", *, sender: str = "b+1@example.org", identity: str = "d1"
) -> Envelope:
    return Envelope(sender=sender, recipient=recipient, pieces=[CONTENT], envelope_id=identity)


def lines(sent: Envelope, extensions: Mapping[str, str]) -> tuple[str, str]:
    result = commands(sent, Extensions(extensions))
    assert isinstance(result, Commands)
    return result.mail.decode(), result.rcpt.decode()


def test_a_relay_without_extensions_gets_only_the_addresses() -> None:
    assert lines(envelope(), {}) == ("MAIL FROM:<b+1@example.org>", "RCPT TO:<ada@example.org>")


def test_dsn_asks_for_failures_by_our_own_envelope_id_and_the_original_recipient_in_xtext() -> None:
    mail, rcpt = lines(envelope("ada+x=y@example.org", identity="d1 é"), {"dsn": ""})
    assert mail == "MAIL FROM:<b+1@example.org> RET=HDRS ENVID=d1+20+C3+A9"
    assert rcpt == "RCPT TO:<ada+x=y@example.org> NOTIFY=FAILURE ORCPT=rfc822;ada+2Bx+3Dy@example.org"


def test_an_envelope_id_longer_than_rfc_3461_allows_is_left_out() -> None:
    assert "ENVID" not in lines(envelope(identity="x" * 101), {"dsn": ""})[0]
    assert "ENVID" in lines(envelope(identity="x" * 100), {"dsn": ""})[0]


@pytest.mark.parametrize("announced", ["", "0", str(len(CONTENT)), "plenty"])
def test_the_size_is_given_where_it_is_offered(announced: str) -> None:
    assert lines(envelope(), {"size": announced})[0] == f"MAIL FROM:<b+1@example.org> SIZE={len(CONTENT)}"


def test_a_message_larger_than_the_relay_accepts_is_refused_without_being_sent() -> None:
    outcome = commands(envelope(), Extensions({"size": str(len(CONTENT) - 1)}))
    assert isinstance(outcome, Outcome)
    assert (outcome.verdict, outcome.relay) == (Verdict.PERMANENT, False)
    assert "(SIZE)" in outcome.reason


def test_a_non_ascii_domain_is_sent_in_ascii_and_needs_no_extension() -> None:
    assert lines(envelope("ada@straße.example"), {})[1] == "RCPT TO:<ada@xn--strae-oqa.example>"
    assert lines(envelope(sender="b@bücher.example"), {})[0] == "MAIL FROM:<b@xn--bcher-kva.example>"


def test_a_non_ascii_local_part_is_sent_with_smtputf8() -> None:
    mail, rcpt = lines(envelope("użytkownik@bücher.example"), {"smtputf8": "", "dsn": ""})
    assert mail == "MAIL FROM:<b+1@example.org> SMTPUTF8 RET=HDRS ENVID=d1"
    assert rcpt == "RCPT TO:<użytkownik@xn--bcher-kva.example> NOTIFY=FAILURE"


def test_a_non_ascii_local_part_is_undeliverable_without_smtputf8() -> None:
    outcome = commands(envelope("użytkownik@example.org"), Extensions({}))
    assert isinstance(outcome, Outcome)
    assert outcome.verdict is Verdict.PERMANENT
    assert outcome.reason == "the relay does not accept non-ASCII addresses (SMTPUTF8)"


def test_a_domain_that_the_dns_cannot_hold_is_undeliverable() -> None:
    outcome = commands(envelope("ada@" + "ü" * 70 + ".example"), Extensions({}))
    assert isinstance(outcome, Outcome)
    assert outcome.verdict is Verdict.PERMANENT


@given(rows=st.lists(st.sampled_from(["", ".", "..", ".x", "x.", "x", " .", "a.b"]), min_size=1))
def test_lines_with_dots_arrive_as_they_were_written(rows: list[str]) -> None:
    content = "".join(f"{row}\r\n" for row in rows).encode()
    received = dot_stuffed(content).decode().split("\r\n")
    end = received.index(".")
    assert [row.removeprefix(".") for row in received[:end]] == rows
    assert received[end:] == [".", ""]
