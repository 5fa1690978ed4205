"""The signature of our domain over each message (DKIM, RFC 6376): receivers see that it is ours, and unchanged."""

from base64 import b64encode
from collections.abc import Iterable
from datetime import datetime
from hashlib import sha256

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from scheduler.delivery.compose.mime import header
from scheduler.domain.errors import Refused

SHORTEST_RSA = 2048
"""Bits (RFC 8301 section 3.2)."""

# Signed once more than they stand there: nobody can add another one unnoticed (RFC 6376 section 8.15).
_OVERSIGNED = ("from", "subject")
# What relays on the way are known to drop or to change.
_UNSIGNED = {"precedence", "x-auto-response-suppress"}
_WORD = 60


class DkimSigner:
    """Signs as `domain` with an RSA key of at least 2048 bits or an Ed25519 key (RFC 8463), published under
    `selector`."""

    def __init__(self, *, domain: str, selector: str, pem: bytes) -> None:
        """`pem` is a private key without a password. Raises Refused where it cannot be used."""
        try:
            key = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise Refused("it is not a private key in PEM, without a password") from None
        if not isinstance(key, RSAPrivateKey | Ed25519PrivateKey):
            raise Refused("the key is neither RSA nor Ed25519")
        if isinstance(key, RSAPrivateKey) and key.key_size < SHORTEST_RSA:
            raise Refused(f"the RSA key has {key.key_size} bits; receivers want {SHORTEST_RSA}")
        self.domain, self.selector = domain, selector
        self._key = key

    @property
    def name(self) -> str:
        """Where in the DNS the public key stands."""
        return f"{self.selector}._domainkey.{self.domain}"

    @property
    def record(self) -> str:
        """The TXT record that stands there (RFC 6376 section 3.6.1)."""
        public = self._key.public_key()
        if isinstance(self._key, RSAPrivateKey):
            kind, octets = "rsa", public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        else:
            kind, octets = "ed25519", public.public_bytes(Encoding.Raw, PublicFormat.Raw)
        return f"v=DKIM1; k={kind}; p={b64encode(octets).decode()}"

    def seal(self, headers: bytes) -> "CohortSigner":
        """What signs messages that have `headers` in common."""
        return CohortSigner(self, headers)

    def tags(self, names: Iterable[str]) -> list[str]:
        """The words of a signature over the headers of these names that every message has alike."""
        algorithm = "rsa-sha256" if isinstance(self._key, RSAPrivateKey) else "ed25519-sha256"
        *all_but_last, last = names
        return [
            "v=1;",
            f"a={algorithm};",
            "c=relaxed/relaxed;",
            f"d={self.domain};",
            f"s={self.selector};",
            f"h={all_but_last[0]}:",
            *[f"{name}:" for name in all_but_last[1:]],
            f"{last};",
        ]

    def signature(self, text: bytes) -> bytes:
        """The signature over a canonical text, in base64."""
        if isinstance(self._key, RSAPrivateKey):
            return b64encode(self._key.sign(text, PKCS1v15(), SHA256()))
        return b64encode(self._key.sign(sha256(text).digest()))


class CohortSigner:
    """Signs the messages of a cohort: what is the same in all of them is made ready once."""

    def __init__(self, signer: DkimSigner, common: bytes) -> None:
        self._signer = signer
        self._names, self._common = _canonical(common)
        self._tags: dict[tuple[str, ...], tuple[bytes, bytes]] = {}

    def sign(self, own: bytes, body: bytes, *, date: datetime) -> bytes:
        """The header DKIM-Signature for a message with the headers `own` beside the common ones, and with `body`.

        The body is in its canonical form as it stands, as `pattern` writes it. The same input gives the same bytes.
        """
        names, canonical = _canonical(own)
        if (begins := self._tags.get(names)) is None:
            tags = self._signer.tags([*names, *self._names, *_OVERSIGNED])
            folded = header("DKIM-Signature", *tags).removesuffix(b"\r\n")
            begins = self._tags[names] = folded, f"dkim-signature:{' '.join(tags)}".encode()
        said = b"t=%d; bh=%b;" % (int(date.timestamp()), b64encode(sha256(body).digest()))
        # What is signed of the signature itself is all but its value (RFC 6376 section 3.7).
        value = b"b=" + self._signer.signature(b"%b%b%b %b b=" % (canonical, self._common, begins[1], said))
        pieces = [value[place : place + _WORD] for place in range(0, len(value), _WORD)]
        return b"%b\r\n %b\r\n %b\r\n" % (begins[0], said, b"\r\n ".join(pieces))


def _canonical(headers: bytes) -> tuple[tuple[str, ...], bytes]:
    """The names of the headers that are signed, and their canonical form (RFC 6376 section 3.4.2)."""
    names, found = [], []
    for field in headers.removesuffix(b"\r\n").replace(b"\r\n ", b" ").split(b"\r\n"):
        name, _, value = field.partition(b":")
        lower = name.lower()
        if (word := lower.decode()) not in _UNSIGNED:
            names.append(word)
            found.append(b"%b:%b\r\n" % (lower, b" ".join(value.split())))
    return tuple(names), b"".join(found)
