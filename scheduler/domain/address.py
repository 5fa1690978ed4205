"""Email addresses and web addresses that people write: check them, and compare two spellings of one email address."""

import ipaddress
import re
import unicodedata
from functools import lru_cache
from urllib.parse import urlsplit

import idna
from email_validator import EmailNotValidError, validate_email

from scheduler.domain.errors import Refused
from scheduler.domain.text import quoted

# A local part that needs no further check; 64 octets at most (RFC 5321 section 4.5.3.1.1).
_PLAIN_LOCAL = re.compile(r"(?=.{1,64}$)[a-z\d]+(?:[._+-][a-z\d]+)*", re.ASCII)
_DNS_DOMAIN = re.compile(r"[A-Za-z0-9._-]+")
_IN_TEXT = re.compile(r"[^\s,;<>\"]+@[^\s,;<>\"]+")
_WITH_NAME = re.compile(r"[^<>]*<([^<>]+)>")
# Invisible characters that come along when an address is copied from a page; str.strip leaves them.
_INVISIBLE = "\u200b\u200c\u200d\u2060\ufeff"


def require_address(text: str, what: str = "email") -> str:
    """Return the address in its usual spelling: NFC, the domain in lower case and in its own script.

    Remove `mailto:`, a name before an address in angle brackets, and surrounding space. Check only the form
    (RFC 5321, RFC 6531, IDNA 2008): the domain needs a dot, and names reserved for examples and tests are accepted.
    Raises Refused, naming `what`.
    """
    address = text.strip().strip(_INVISIBLE).strip()
    if with_name := _WITH_NAME.fullmatch(address):
        address = with_name[1].strip()
    if address[:7].casefold() == "mailto:":
        address = address[7:].partition("?")[0]
    try:
        return _normalised(address)
    except EmailNotValidError as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise Refused(
            f"{what} {quoted(text)} is not an email address: {reason[:1].lower()}{reason[1:]}"
        ) from None


def addresses_in(line: str) -> list[str]:
    """Return what looks like an address in a line of text, such as `Ann <ann@example.org>; bo@example.org`."""
    return _IN_TEXT.findall(line)


def first_addresses(text: str) -> list[str]:
    """Return the first address of each line that has one, as in a file with a person on each line."""
    return [found[0] for line in text.splitlines() if (found := addresses_in(line))]


def address_key(address: str) -> str:
    """Return the form in which all spellings of an address (from `require_address`) are equal: NFC, casefolded."""
    if address.isascii():
        return address.strip().lower()
    folded = unicodedata.normalize("NFC", address.strip()).casefold()
    return unicodedata.normalize("NFC", folded)


_IGNORES_DOTS = {"gmail.com", "googlemail.com"}


def mailbox_key(key: str) -> str | None:
    """Return the key of the plainest address of the same mailbox: without what follows a plus, and at Gmail without
    dots. None if that is `key` itself."""
    local, _, domain = key.rpartition("@")
    plain = local.partition("+")[0] or local
    if domain in _IGNORES_DOTS:
        plain, domain = plain.replace(".", "") or plain, "gmail.com"
    mailbox = f"{plain}@{domain}"
    return None if mailbox == key else mailbox


def ascii_domain(address: str) -> str:
    """Return an address, or a domain alone, with the domain as the DNS holds it (IDNA 2008).

    Raises UnicodeError where the DNS cannot hold it.
    """
    local, at, domain = address.rpartition("@")
    if not domain.isascii():
        domain = idna.encode(domain, uts46=True).decode("ascii")
    if not _DNS_DOMAIN.fullmatch(domain):
        raise UnicodeError("an address has a domain that the DNS cannot hold")
    return f"{local}{at}{domain}"


def _normalised(address: str) -> str:
    local, at, domain = address.rpartition("@")
    # Most addresses have this form, and a list may hold a million: the library checks each of their domains only once.
    if at and len(address) <= 200 and _PLAIN_LOCAL.fullmatch(local):
        return f"{local}@{_normalised_domain(domain)}"
    return _normalised_by_library(address)


@lru_cache(maxsize=10_000)
def _normalised_domain(domain: str) -> str:
    return _normalised_by_library(f"a@{domain}").partition("@")[2]


def _normalised_by_library(address: str) -> str:
    checked = validate_email(address, check_deliverability=False, test_environment=True, strict=True)
    if "." not in checked.domain:
        raise EmailNotValidError("The domain after the @-sign has no dot.")
    return checked.normalized


LONGEST_URL = 1000

# The characters of RFC 3986: none of them can end an attribute, a header or a line of a calendar.
_URL = re.compile(r"https?://[A-Za-z0-9\[][A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]*")


def require_url(value: str, what: str) -> str:
    """Return `value`, an absolute http or https URL in ASCII. Raises Refused, naming `what`."""
    value = value.strip()
    try:
        parts = urlsplit(value)
        is_valid = (
            bool(_URL.fullmatch(value))
            and bool(parts.hostname)
            and "@" not in parts.netloc
            and parts.port != 0
        )
    except ValueError:
        is_valid = False
    if not is_valid or len(value) > LONGEST_URL:
        raise Refused(
            f"{what}: '{value[:LONGEST_URL]}' is not a web address; write it in full, such as https://example.org/room"
        )
    return value


def is_loopback(host: str) -> bool:
    """Return whether `host`, a name or an IP address without brackets, is this machine: 127.0.0.0/8, ::1, localhost."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = host.lower().rstrip(".")
        return name == "localhost" or name.endswith(".localhost")
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
