"""Whatever comes in is read within bounds, and never breaks the reading."""

import random
import sys
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scheduler.domain import inbound
from scheduler.domain.errors import Refused
from scheduler.service.inbound import InboundMessage, parse_inbound
from tests import inbound_mail as returned

TO = f"b+{'a' * 34}@bounces.example.org"
UID = "tea-20261119.abcdefghijklmnopqrstuvwxyz@example.org"
HONEST = [
    returned.postfix(TO, "bo@example.org"),
    returned.exchange(TO, "bo@example.org"),
    returned.gmail(TO, "bo@example.org"),
    returned.qmail(TO, "bo@example.org"),
    returned.complaint(TO, enclosed="X: y"),
    returned.absence(TO, "Precedence: bulk"),
    returned.answer(returned.outlook(UID, "bo@example.org"), encoded=True),
    returned.answer(returned.apple(UID, "bo@example.org")),
]


def read(octets: bytes) -> InboundMessage | None:
    try:
        message = parse_inbound(octets)
    except Refused as refused:
        if not str(refused).isprintable():
            raise AssertionError("a refusal of several lines") from refused
        return None
    assert message.author.isprintable() and message.subject.isprintable()
    if message.bounce:
        assert message.bounce.words.isprintable() and len(message.bounce.words) <= 200
    return message


@pytest.mark.parametrize("number", range(len(HONEST)))
@given(data=st.data())
def test_no_garbled_message_breaks_the_reading(number: int, data: st.DataObject) -> None:
    """Pieces of honest messages cut out, doubled, overwritten."""
    octets = bytearray(HONEST[number])
    for _ in range(data.draw(st.integers(1, 8))):
        at, length = data.draw(st.integers(0, len(octets))), data.draw(st.integers(0, 60))
        piece = data.draw(
            st.sampled_from([b"", bytes(octets[at : at + length]) * 2, b"\xff\x00", b"\r\n\r\n", b'"', b"=?"])
        )
        octets[at : at + length] = piece
    read(bytes(octets))


@given(st.binary(max_size=2_000))
@example(b"")
@example(b"\n\n\n")
@example(b"Content-Type: multipart/mixed; boundary=\r\n\r\n--\r\n")
@example(b"Content-Type: multipart/report; report-type*" + b"9" * 5_000 + b"*=x; boundary=x\r\n\r\n--x--")
@example(
    b"Content-Type: text/calendar\r\nContent-Transfer-Encoding: x-uuencode\r\n\r\nbegin 644 x\r\n\xff\xff\r\nend"
)
@example(b"Subject: =?utf-8?b?\xff?= =?unknown-charset?q?x?=\r\n\r\n")
@example(b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n!!!")
@example(b"To: b+" + b"a" * 34 + b"@x\r\nContent-Type: multipart/report\r\n\r\n")
def test_no_octets_break_the_reading(octets: bytes) -> None:
    read(octets)


def nested(levels: int) -> bytes:
    found = b"text"
    for level in range(levels):
        found = b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n%b\r\n--b%d--\r\n" % (
            level,
            level,
            found,
            level,
        )
    return found


BOMBS: dict[str, Callable[[], bytes]] = {
    "many levels": lambda: nested(400),
    "many enclosed messages": lambda: b"Content-Type: message/rfc822\r\n\r\n" * 3_000,
    "many parts": lambda: b"Content-Type: multipart/mixed; boundary=x\n\n" + b"--x\n" * 500_000,
    "many blocks": lambda: b"Content-Type: message/delivery-status\r\n\r\n" + b"a:b\n\n" * 300_000,
    "many blocks of the international form": lambda: (
        b"Content-Type: message/global-delivery-status\r\n\r\n" + b"Status: 5.1.1\n\n" * 19_000
    ),
    "a long header": lambda: b"Content-Type: multipart/mixed; " + b'";' * 1_000_000 + b"\r\n\r\nx",
    "a long folded header": lambda: b"To: " + b"a,\r\n " * 400_000 + b"\r\n\r\nx",
    "many headers": lambda: b"To: a\r\n" * 250_000 + b"\r\nx",
    "many encoded words": lambda: b"Subject: " + b"=?utf-8?q?a?= " * 100_000 + b"\r\n\r\nx",
    "a long calendar": lambda: (
        b"Content-Type: text/calendar\r\n\r\nMETHOD:REPLY\nBEGIN:VEVENT\n"
        + b"ATTENDEE;CN=x:mailto:a@b\n" * 60_000
    ),
    "a long line of a calendar": lambda: (
        b"Content-Type: text/calendar\r\n\r\nMETHOD:REPLY\nX" + b';A="b"' * 300_000
    ),
    "a bounce of words": lambda: (
        f"To: {TO}\r\n\r\n".encode() + b"<a@example.org> 550 user unknown\r\n" * 5_000
    ),
    "one long line": lambda: f"To: {TO}\r\n\r\n".encode() + b"failed <" * 24_000,
    "noise": lambda: random.Random(1).randbytes(inbound.LARGEST),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_message_that_is_built_to_be_dear_is_cheap(bomb: str) -> None:
    """Counted in calls, which no busy machine changes."""
    steps = 0

    def count(*_: object) -> None:
        nonlocal steps
        steps += 1

    octets = BOMBS[bomb]()
    sys.setprofile(count)
    try:
        read(octets)
    finally:
        sys.setprofile(None)
    assert steps < 3_000_000


def test_an_honest_message_of_some_depth_is_read() -> None:
    octets = b"To: u+" + b"a" * 34 + b"@x\r\n" + nested(20)
    message = read(octets)
    assert message and len(message.tokens) == 1


def test_what_lies_behind_the_largest_size_is_not_read() -> None:
    octets = b"To: u+" + b"a" * 34 + b"@x\r\n\r\n" + b"words of no end\r\n" * 400_000
    message = read(octets)
    assert message and len(message.tokens) == 1
