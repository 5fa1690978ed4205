"""Addresses on the web: rooms, pages, and where this service itself is reached."""

import ipaddress
import re
from urllib.parse import urlsplit

from scheduler.domain.problem import Refused

LONGEST_URL = 1000

# RFC 3986's characters, and nothing that could end an attribute, a header or a line of a calendar.
_URL = re.compile(r"https?://[A-Za-z0-9\[][A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]*")


def require_url(value: str, what: str) -> str:
    """Return `value`, an absolute http or https URL in ASCII. Raises Refused, naming `what`."""
    value = value.strip()
    try:
        parts = urlsplit(value)
        fine = (
            bool(_URL.fullmatch(value))
            and bool(parts.hostname)
            and "@" not in parts.netloc
            and parts.port != 0
        )
    except ValueError:
        fine = False
    if not fine or len(value) > LONGEST_URL:
        raise Refused(
            f"{what}: '{value[:LONGEST_URL]}' is no web address; write it in full, as https://example.org/room"
        )
    return value


def is_loopback(host: str) -> bool:
    """Whether `host` (a name, or an IP address without brackets) is this machine: 127.0.0.0/8, ::1, localhost."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = host.lower().rstrip(".")
        return name == "localhost" or name.endswith(".localhost")
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
