"""What an inbox changes in mails: answers are read and members can leave by mail; nothing else differs."""

import difflib
from base64 import b64decode
from collections.abc import Callable
from dataclasses import replace
from email import message_from_bytes, policy

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from scheduler.delivery.compose.composer import Composer
from scheduler.delivery.compose.dkim import DkimSigner
from scheduler.domain.community import Inbox
from scheduler.domain.policy import REPLIES, TO_CONVENORS
from scheduler.domain.token import leave_tokens_in
from tests.delivery.mails import COHORTS, COMMUNITY, DATE, EVERY_MAIL, TEMPLATES, message, personal

WITH_INBOX = replace(COMMUNITY, inbox=Inbox(domain="bounces.kindness.example.org"))


def composed(kind: str, signer: DkimSigner | None = None) -> bytes:
    cohort = EVERY_MAIL[kind]
    return Composer(TEMPLATES, WITH_INBOX, signer=signer).compose(cohort).message(personal(cohort), date=DATE)


def calendar(octets: bytes) -> bytes:
    parts = message_from_bytes(octets, policy=policy.default).walk()
    payload = next(part for part in parts if part.get_content_type() == "text/calendar").get_payload()
    assert isinstance(payload, str)
    return b64decode(payload)


def test_an_invitation_with_an_inbox_matches_its_golden_file(
    golden: Callable[[str, bytes], None],
) -> None:
    octets = composed("invitation")
    golden("invitation-inbox.eml", octets)
    golden("request-inbox.ics", calendar(octets))


@pytest.mark.parametrize("kind", COHORTS)
def test_an_inbox_changes_how_to_answer_and_to_leave_and_nothing_else(kind: str) -> None:
    with_inbox, plain = composed(kind), message(EVERY_MAIL[kind])
    head, plain_head = with_inbox.partition(b"\r\n\r\n")[0], plain.partition(b"\r\n\r\n")[0]
    changed = [
        line
        for line in difflib.ndiff(plain_head.decode().splitlines(), head.decode().splitlines())
        if line[0] in "+-"
    ]
    assert [line[:20] for line in changed] == [
        "- List-Unsubscribe: ",
        "+ List-Unsubscribe: ",
        "+  <mailto:u+aaaaaaa",
    ]
    if kind not in ("invitation", "update"):
        assert with_inbox.partition(b"\r\n\r\n")[2] == plain.partition(b"\r\n\r\n")[2]
        return
    with_inbox, without = (calendar(octets).replace(b"\r\n ", b"") for octets in (with_inbox, plain))
    assert with_inbox.count(b"RSVP=TRUE") == 1
    assert with_inbox.replace(b"RSVP=TRUE", b"RSVP=FALSE") == without


@pytest.mark.parametrize("kind", EVERY_MAIL)
def test_both_links_to_leave_hold_the_same_token_where_there_is_a_list_to_leave(kind: str) -> None:
    header = message_from_bytes(composed(kind), policy=policy.default)["List-Unsubscribe"]
    if EVERY_MAIL[kind].kind in (*REPLIES, *TO_CONVENORS):
        assert header is None
        return
    tokens = leave_tokens_in(str(header))
    assert len(tokens) == 2 and len(set(tokens)) == 1
    assert str(header).endswith("@bounces.kindness.example.org>")


def test_both_links_to_leave_are_signed() -> None:
    key = generate_private_key(65537, 2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    signer = DkimSigner(domain="kindness.example.org", selector="third", pem=pem)
    octets = composed("reminder", signer)

    def record(*_: object, **__: object) -> bytes:
        return signer.record.encode()

    assert dkim.verify(octets, dnsfunc=record)
    assert not dkim.verify(octets.replace(b"<mailto:u+a", b"<mailto:u+b"), dnsfunc=record)
