"""Sign messages with DKIM (RFC 6376), so that receivers can check that they are ours and unchanged."""

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
"""The fewest bits of an RSA key (RFC 8301 section 3.2)."""

# Named once more than they occur, so that adding another one breaks the signature (RFC 6376 section 8.15).
_OVERSIGNED = ("from", "subject")
# Relays are known to remove or change these.
_UNSIGNED = {"precedence", "x-auto-response-suppress"}
_WORD = 60
"""The number of octets after which the base64 of the signature is folded."""


class DkimSigner:
    """Sign as `domain` with an RSA key of 2048 bits or more, or an Ed25519 key (RFC 8463), published at `selector`."""

    def __init__(self, *, domain: str, selector: str, pem: bytes) -> None:
        """Read `pem`, a private key without a password. Raises Refused where it cannot be used."""
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
        """The DNS name of the record that holds the public key."""
        return f"{self.selector}._domainkey.{self.domain}"

    @property
    def record(self) -> str:
        """The TXT record with the public key (RFC 6376 section 3.6.1)."""
        public = self._key.public_key()
        if isinstance(self._key, RSAPrivateKey):
            kind, octets = "rsa", public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        else:
            kind, octets = "ed25519", public.public_bytes(Encoding.Raw, PublicFormat.Raw)
        return f"v=DKIM1; k={kind}; p={b64encode(octets).decode()}"

    def for_cohort(self, headers: bytes) -> "CohortSigner":
        """Return a signer for messages that have `headers` in common."""
        return CohortSigner(self, headers)

    def tags(self, names: Iterable[str]) -> list[str]:
        """Return the tags of a signature over the headers `names` that do not depend on the message."""
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
        """Return the signature over a text in canonical form, in base64."""
        if isinstance(self._key, RSAPrivateKey):
            return b64encode(self._key.sign(text, PKCS1v15(), SHA256()))
        return b64encode(self._key.sign(sha256(text).digest()))


class CohortSigner:
    """Sign the messages of a cohort; what they have in common is prepared once."""

    def __init__(self, signer: DkimSigner, common: bytes) -> None:
        self._signer = signer
        self._names, self._common = _canonical(common)
        self._tags: dict[tuple[str, ...], tuple[bytes, bytes]] = {}

    def sign(self, own: bytes, body: bytes, *, date: datetime) -> bytes:
        """Return the DKIM-Signature header of a message that has the headers `own` besides the common ones.

        `body` is already in canonical form, as `bytes_template` writes it. The same input gives the same bytes.
        """
        names, canonical = _canonical(own)
        if (prepared := self._tags.get(names)) is None:
            tags = self._signer.tags([*names, *self._names, *_OVERSIGNED])
            folded = header("DKIM-Signature", *tags).removesuffix(b"\r\n")
            prepared = self._tags[names] = folded, f"dkim-signature:{' '.join(tags)}".encode()
        time_and_hash = b"t=%d; bh=%b;" % (int(date.timestamp()), b64encode(sha256(body).digest()))
        # The signature covers its own header too, without the value of "b=" (RFC 6376 section 3.7).
        value = b"b=" + self._signer.signature(
            b"%b%b%b %b b=" % (canonical, self._common, prepared[1], time_and_hash)
        )
        pieces = [value[start : start + _WORD] for start in range(0, len(value), _WORD)]
        return b"%b\r\n %b\r\n %b\r\n" % (prepared[0], time_and_hash, b"\r\n ".join(pieces))


def _canonical(headers: bytes) -> tuple[tuple[str, ...], bytes]:
    """Return the names of the headers to sign, and these headers in canonical form (RFC 6376 section 3.4.2)."""
    names, lines = [], []
    for field in headers.removesuffix(b"\r\n").replace(b"\r\n ", b" ").split(b"\r\n"):
        name, _, value = field.partition(b":")
        lower = name.lower()
        if (word := lower.decode()) not in _UNSIGNED:
            names.append(word)
            lines.append(b"%b:%b\r\n" % (lower, b" ".join(value.split())))
    return tuple(names), b"".join(lines)
