"""Independent code accepts the signature of every message, and notices any change."""

import sys
from base64 import b64decode
from types import ModuleType

import dkim
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.delivery.compose.composer import Composer
from scheduler.delivery.compose.dkim import DkimSigner
from scheduler.domain.errors import Refused
from tests.delivery.mails import (
    COMMUNITY,
    DATE,
    EVERY_MAIL,
    FILLED_NOTICE,
    INVITATION,
    MEI,
    TEMPLATES,
    personal,
)
from tests.delivery.test_bytes_template import NAMES


def pem(key: object) -> bytes:
    octets = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())  # type: ignore[attr-defined]
    assert isinstance(octets, bytes)
    return octets


KEYS = {"rsa": pem(generate_private_key(65537, 2048)), "ed25519": pem(Ed25519PrivateKey.generate())}
SIGNERS = {
    kind: DkimSigner(domain="kindness.example.org", selector="third", pem=key) for kind, key in KEYS.items()
}
MAILS = {**EVERY_MAIL, "notice-with-placeholders": FILLED_NOTICE}
SIGNED = {
    kind: {
        name: Composer(TEMPLATES, COMMUNITY, signer=signer).compose(cohort) for name, cohort in MAILS.items()
    }
    for kind, signer in SIGNERS.items()
}


@pytest.fixture(autouse=True)
def curve(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use OpenSSL for the one step for which dkimpy uses PyNaCl."""

    class VerifyKey:
        def __init__(self, key: bytes, *, encoder: object) -> None:
            self._key = Ed25519PublicKey.from_public_bytes(b64decode(key))

        def verify(self, text: bytes, signature: bytes) -> bytes:
            try:
                self._key.verify(signature, text)
            except InvalidSignature:
                raise BadSignatureError from None
            return text

    class BadSignatureError(Exception):
        pass

    nacl = ModuleType("nacl")
    for name, content in (
        ("signing", {"VerifyKey": VerifyKey}),
        ("encoding", {"Base64Encoder": None}),
        ("exceptions", {"BadSignatureError": BadSignatureError}),
    ):
        module = ModuleType(f"nacl.{name}")
        module.__dict__.update(content)
        setattr(nacl, name, module)
    monkeypatch.setattr(dkim, "nacl", nacl, raising=False)
    assert "nacl" not in sys.modules


def verified(content: bytes, signer: DkimSigner) -> bool:
    """Return whether dkimpy, which canonicalises and hashes by itself, accepts the signature."""

    def txt(name: bytes, timeout: int = 5) -> bytes:
        assert name.decode() == f"{signer.name}."
        return signer.record.encode()

    return bool(dkim.verify(content, minkey=2048, dnsfunc=txt))


@pytest.mark.parametrize("key", SIGNERS)
@pytest.mark.parametrize("kind", MAILS)
def test_an_independent_verifier_accepts_the_signature_and_notices_any_change(key: str, kind: str) -> None:
    content = SIGNED[key][kind].message(personal(MAILS[kind]), date=DATE)
    assert content.startswith(b"DKIM-Signature: v=1;")
    assert verified(content, SIGNERS[key])
    for before, after in (
        (b"From: ", b"From: X"),
        (b"Subject: ", b"Subject: X"),
        (b"/u/aaaaaaar", b"/u/baaaaaar"),
        (b"One-Click", b"Two-Click"),
        (b"Dear", b"Deer"),
        (b"\r\nFrom:", b"\r\nFrom: a@example.org\r\nFrom:"),
        (b"\r\nSubject:", b"\r\nSubject: Buy\r\nSubject:"),
        (b"Message-ID: <", b"Message-ID: <x"),
    ):
        changed = content.replace(before, after, 1)
        assert changed == content or not verified(changed, SIGNERS[key]), before
    unsigned = Composer(TEMPLATES, COMMUNITY).compose(MAILS[kind]).message(personal(MAILS[kind]), date=DATE)
    assert content.endswith(unsigned)


@settings(max_examples=60, deadline=None)
@given(name=NAMES, key=st.sampled_from(sorted(SIGNERS)))
def test_the_signature_is_right_for_any_name(name: str, key: str) -> None:
    own = personal(INVITATION, MEI._replace(name=name))
    assert verified(SIGNED[key]["invitation"].message(own, date=DATE), SIGNERS[key])


def test_the_signed_headers_are_those_that_receivers_expect_with_from_and_subject_twice() -> None:
    content = SIGNED["ed25519"]["reminder"].message(personal(EVERY_MAIL["reminder"]), date=DATE)
    head = content.partition(b"\r\nMessage-ID")[0].replace(b"\r\n", b"").decode()
    tags = dict(tag.strip().split("=", 1) for tag in head.removeprefix("DKIM-Signature:").split(";"))
    names = [name.strip() for name in tags["h"].split(":")]
    assert {
        "to",
        "date",
        "message-id",
        "reply-to",
        "list-id",
        "list-unsubscribe",
        "list-unsubscribe-post",
        "feedback-id",
        "in-reply-to",
        "references",
        "mime-version",
        "content-type",
        "auto-submitted",
    } <= set(names)
    assert {name for name in names if names.count(name) == 2} == {"from", "subject"}
    assert (tags["a"], tags["c"], tags["d"], tags["s"]) == (
        "ed25519-sha256",
        "relaxed/relaxed",
        "kindness.example.org",
        "third",
    )
    assert "l" not in tags and tags["t"] == str(int(DATE.timestamp()))


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "not a private key in PEM"),
        (pem(ec.generate_private_key(ec.SECP256R1())), "neither RSA nor Ed25519"),
        (
            pem(generate_private_key(65537, 1024)),  # noqa: S505
            "1024 bits; receivers want 2048",
        ),
    ],
)
def test_a_key_that_receivers_would_not_take_is_refused(key: bytes, words: str) -> None:
    with pytest.raises(Refused, match=words):
        DkimSigner(domain="example.org", selector="s", pem=key)
