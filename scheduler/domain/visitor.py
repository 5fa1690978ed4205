"""The address of a visitor, also behind the proxies that the settings trust, and the network it belongs to."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from scheduler.domain.errors import Refused

Address = IPv4Address | IPv6Address

_PREFIX = 64
"""A household or an office gets at least one IPv6 network of this prefix length, so its visitors count as one."""

_LONGEST_HEADER = 2_000
_WITH_PORT = re.compile(r"([0-9.]+):[0-9]{1,5}|\[([^\]]+)\](?::[0-9]{1,5})?")
_PAIR = re.compile(r"""\s*([!#$%&'*+.^_`|~\w-]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^\s;,"]*)\s*""")


@dataclass(frozen=True, slots=True)
class Networks:
    """Networks from the settings, such as those of trusted proxies."""

    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    @classmethod
    def of(cls, names: Iterable[str]) -> "Networks":
        """Read addresses and networks. Raises Refused, which names the one that cannot be read."""
        networks = []
        for name in names:
            try:
                network = ip_network(name.strip())
            except ValueError as error:
                raise Refused(f"'{name}' is not an IP address or network ({error})") from None
            if not network.prefixlen:
                raise Refused(
                    f"'{name}' includes every address, so any visitor could claim any address; name only your proxies"
                )
            networks.append(network)
        return cls(tuple(networks))

    def contain(self, host: str, *, or_loopback: bool = False) -> bool:
        """Return whether `host` is an address in these networks, or with `or_loopback` an address of this machine."""
        address = read_address(host)
        return address is not None and (self._has(address) or (or_loopback and address.is_loopback))

    def _has(self, address: Address) -> bool:
        return any(address in network for network in self.networks)

    def visitor(self, scope: Mapping[str, Any]) -> str:
        """Return the address of the visitor who made a request.

        Each trusted proxy adds the address of its peer at the right end of the header. So the hops are read from the
        right up to the first that is not a trusted proxy; everything to the left of it was written by that visitor.
        If a hop is not an address, the result is the proxy that added it. If X-Forwarded-For and Forwarded disagree,
        one of them was not written by our proxy, and neither is used.
        """
        peer = scope["client"][0] if scope.get("client") else ""
        if not self.networks or not self.contain(peer):
            return _plain(peer)
        visitors = {
            self._first_untrusted(peer, hops)
            for hops in (forwarded_for(scope["headers"]), forwarded(scope["headers"]))
            if hops
        }
        return visitors.pop() if len(visitors) == 1 else _plain(peer)

    def _first_untrusted(self, peer: str, hops: list[str]) -> str:
        visitor = _plain(peer)
        for hop in reversed(hops):
            address = read_address(hop)
            if address is None:
                break
            visitor = str(address)
            if not self._has(address):
                break
        return visitor


NO_NETWORKS = Networks()


def read_address(text: str) -> Address | None:
    """Read an address as proxies write it: with a port, in brackets, with a zone, or as IPv4 mapped into IPv6.

    Return None for anything else.
    """
    text = text.strip().strip('"').strip()
    if match := _WITH_PORT.fullmatch(text):
        text = match[1] or match[2]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address


def network_of(host: str) -> str:
    """Return the network that a visitor counts as: an IPv4 address itself, or the /64 of an IPv6 address.

    Text that is not an address is returned as it is.
    """
    address = read_address(host)
    if isinstance(address, IPv6Address):
        return str(ip_network((address.packed, _PREFIX), strict=False))
    return str(address) if address else host


def forwarded_for(headers: Iterable[tuple[bytes, bytes]]) -> list[str]:
    """Return the hops of all X-Forwarded-For headers, in their order."""
    hops = (hop.strip() for value in _values(headers, b"x-forwarded-for") for hop in value.split(","))
    return [hop for hop in hops if hop]


def forwarded(headers: Iterable[tuple[bytes, bytes]]) -> list[str]:
    """Return the `for` of each hop of all Forwarded headers (RFC 7239), in their order; empty for a hop without one."""
    return [_for(element) for value in _values(headers, b"forwarded") for element in _elements(value)]


def _values(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> Iterator[str]:
    """Yield the right ends of the headers with that name: our own proxies write nothing further left."""
    return (value[-_LONGEST_HEADER:].decode("latin-1") for header, value in headers if header == name)


def _elements(text: str) -> list[str]:
    """Split at the commas that are outside quotation marks."""
    return re.findall(r'(?:"(?:[^"\\]|\\.)*"|[^,])+', text.strip())


def _for(element: str) -> str:
    for part in re.findall(r'(?:"(?:[^"\\]|\\.)*"|[^;])+', element):
        match = _PAIR.fullmatch(part)
        if match and match[1].lower() == "for":
            return match[2].strip('"')
    return ""


def _plain(host: str) -> str:
    address = read_address(host)
    return str(address) if address else host
