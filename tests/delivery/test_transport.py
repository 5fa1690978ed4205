"""The transport setting may contain a password, and the text in an outcome comes from an untrusted relay."""

from pathlib import Path
from traceback import format_exception

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.delivery.send.transport import (
    ConnectProblem,
    Envelope,
    MaildirAddress,
    Outcome,
    SmtpAddress,
    Verdict,
    parse_transport,
)
from scheduler.domain.errors import SettingsProblem


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("maildir:var/outbox", MaildirAddress(path=Path("var/outbox"))),
        ("maildir:/srv/mail out", MaildirAddress(path=Path("/srv/mail out"))),
        ("smtp://127.0.0.1:1025", SmtpAddress(host="127.0.0.1", port=1025)),
        ("smtp://relay.example.org", SmtpAddress(host="relay.example.org", port=25)),
        ("SMTP://relay.example.org/", SmtpAddress(host="relay.example.org", port=25)),
        ("smtps://relay.example.org", SmtpAddress(host="relay.example.org", port=465, tls=True)),
        ("smtp://[::1]:2525", SmtpAddress(host="::1", port=2525)),
        ("smtp://bücher.example:587", SmtpAddress(host="xn--bcher-kva.example", port=587)),
        (
            "smtp://me%40example.org:p%3Ass%25w@relay.example.org:587",
            SmtpAddress(host="relay.example.org", port=587, user="me@example.org", password="p:ss%w"),
        ),
        (
            "smtps://AKIA:ab+c/d=:@[2001:db8::1]",
            SmtpAddress(host="2001:db8::1", port=465, user="AKIA", password="ab+c/d=:", tls=True),
        ),
        (
            "smtp://me:p@ss@host.example.org",
            SmtpAddress(host="host.example.org", port=25, user="me", password="p@ss"),
        ),
    ],
)
def test_a_transport_setting_is_read(text: str, address: MaildirAddress | SmtpAddress) -> None:
    assert parse_transport(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "smtp",
        "http://relay.example.org",
        "smtp:relay.example.org",
        "maildir:",
        "maildir://outbox",
        "maildir:out\0box",
        "smtp://",
        "smtp://:25",
        "smtp://relay.example.org:0",
        "smtp://relay.example.org:70000",
        "smtp://relay.example.org:port",
        "smtp://relay..example.org",
        "smtp://-relay.example.org",
        "smtp://::1:25",
        "smtp://[relay]:25",
        "smtp://relay.example.org?x=y",
        "smtp://me@relay.example.org",
        "smtp://me:@relay.example.org",
        "smtp://:secret@relay.example.org",
        "smtp://@relay.example.org",
        "smtp://me:%ff@relay.example.org",
        "smtp://me:a%0Ab@relay.example.org",
        "smtp://" + "a" * 64 + ".example.org",
    ],
)
def test_a_wrong_transport_setting_is_refused_in_one_line_that_says_what_is_accepted(text: str) -> None:
    with pytest.raises(SettingsProblem) as caught:
        parse_transport(text)
    message = str(caught.value)
    assert message.startswith("mail.transport: ")
    assert "maildir:PATH" in message
    assert "\n" not in message


@given(
    password=st.text(st.characters(codec="utf-8"), min_size=1).map(lambda text: "Geheim" + text),
    tail=st.sampled_from(["", ":25", ":port", ":99999", "?a", " x", "@", "]"]),
)
def test_neither_a_refusal_nor_a_repr_shows_the_password(password: str, tail: str) -> None:
    try:
        address = parse_transport(f"smtp://me:{password}@relay.example.org{tail}")
        shown = repr(address) + str(address)
    except SettingsProblem as problem:
        shown = "".join(format_exception(problem, chain=True)).partition("SettingsProblem")[2]
    assert "Geheim" not in shown


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("localhost", True),
        ("LocalHost.", True),
        ("localhost.example.org", False),
        ("10.0.0.1", False),
        ("0.0.0.0", False),
        ("2001:db8::1", False),
        ("relay.example.org", False),
    ],
)
def test_loopback_is_this_machine_and_nothing_else(host: str, loopback: bool) -> None:
    assert SmtpAddress(host=host, port=25).is_loopback is loopback


@given(text=st.text(max_size=1000))
def test_a_reason_is_one_printable_line_of_at_most_300_characters(text: str) -> None:
    reason = Outcome(verdict=Verdict.TEMPORARY, reason=text).reason
    assert len(reason) <= 300
    assert reason.isprintable()
    assert reason.encode().decode() == reason
    assert str(ConnectProblem(text, permanent=False)) == reason


def test_only_a_temporary_outcome_can_be_uncertain() -> None:
    with pytest.raises(ValueError, match="uncertain"):
        Outcome(verdict=Verdict.SENT, reason="250 ok", uncertain=True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"recipient": "ada@example.org>\r\nRCPT TO:<eve@example.org"},
        {"recipient": "ada@example.org> NOTIFY=NEVER"},
        {"sender": "b\n@example.org"},
        {"pieces": [b"Subject: x\n\nbare line feed\r\n"]},
        {"pieces": [b"Subject: x\r\n\r\nbare\rreturn\r\n"]},
        {"pieces": [b"Subject: x\r\n\r\n", b"not ended"]},
        {"pieces": ["Subject: ü\r\n".encode()]},
        {"envelope_id": ""},
    ],
)
def test_an_envelope_that_could_break_out_of_its_command_cannot_be_built(
    wrong: dict[str, str | list[bytes]],
) -> None:
    parts: dict[str, str | list[bytes]] = {
        "sender": "b+1@example.org",
        "recipient": "ada@example.org",
        "pieces": [b"Subject: x\r\n\r\n", b"hello\r\n"],
        "envelope_id": "d1",
    }
    with pytest.raises(ValueError, match=r"envelope|message"):
        Envelope(**(parts | wrong))  # type: ignore[arg-type]
