"""Who is asking: a visitor's address, behind the proxies that the settings trust, and the network it belongs to."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from scheduler.domain.errors import Refused

Address = IPv4Address | IPv6Address

_PREFIX = 64
"""A household or an office gets at least one IPv6 network of this size, so its visitors are counted together."""

_LONGEST_LINE = 2_000
_WITH_PORT = re.compile(r"([0-9.]+):[0-9]{1,5}|\[([^\]]+)\](?::[0-9]{1,5})?")
_PAIR = re.compile(r"""\s*([!#$%&'*+.^_`|~\w-]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^\s;,"]*)\s*""")


@dataclass(frozen=True, slots=True)
class Networks:
    """Networks of the settings, such as those of trusted proxies."""

    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    @classmethod
    def of(cls, names: Iterable[str]) -> "Networks":
        """Read addresses and networks. Raises Refused, which names the one that is neither."""
        found = []
        for name in names:
            try:
                network = ip_network(name.strip())
            except ValueError as error:
                raise Refused(f"'{name}' is neither an address nor a network ({error})") from None
            if not network.prefixlen:
                raise Refused(f"'{name}' is everybody, and then visitors write their own addresses")
            found.append(network)
        return cls(tuple(found))

    def contain(self, host: str, *, or_loopback: bool = False) -> bool:
        """Whether `host` is an address in one of them (`or_loopback`: or of this machine)."""
        address = read_address(host)
        return address is not None and (self._has(address) or (or_loopback and address.is_loopback))

    def _has(self, address: Address) -> bool:
        return any(address in one for one in self.networks)

    def visitor(self, scope: Mapping[str, Any]) -> str:
        """Return the address of whoever made the request with this ASGI scope.

        Each trusted proxy names the peer that it heard from, at the right end of what it forwards. So the hops are
        read from the right up to the first that is not a trusted proxy; what stands to the left of it is what that
        visitor chose to write. A hop that is no address ends the reading at the proxy that named it. Where
        X-Forwarded-For and Forwarded disagree, one of them was not written by our proxy: then neither is believed.
        """
        peer = scope["client"][0] if scope.get("client") else ""
        if not self.networks or not self.contain(peer):
            return _plain(peer)
        readings = {
            self._first_untrusted(peer, hops)
            for hops in (forwarded_for(scope["headers"]), forwarded(scope["headers"]))
            if hops
        }
        return readings.pop() if len(readings) == 1 else _plain(peer)

    def _first_untrusted(self, peer: str, hops: list[str]) -> str:
        found = _plain(peer)
        for hop in reversed(hops):
            address = read_address(hop)
            if address is None:
                break
            found = str(address)
            if not self._has(address):
                break
        return found


NO_NETWORKS = Networks()


def read_address(text: str) -> Address | None:
    """An address as proxies write it: with a port, in brackets, with a zone, as IPv4 mapped into IPv6. None for
    anything else."""
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
    """By what a visitor is counted: an IPv4 address by itself, IPv6 by its /64; what is no address by itself."""
    address = read_address(host)
    if isinstance(address, IPv6Address):
        return str(ip_network((address.packed, _PREFIX), strict=False))
    return str(address) if address else host


def forwarded_for(headers: Iterable[tuple[bytes, bytes]]) -> list[str]:
    """The hops of all X-Forwarded-For lines, in their order."""
    hops = (hop.strip() for line in _lines(headers, b"x-forwarded-for") for hop in line.split(","))
    return [hop for hop in hops if hop]


def forwarded(headers: Iterable[tuple[bytes, bytes]]) -> list[str]:
    """The `for` of each hop of all Forwarded lines (RFC 7239), in their order; empty for a hop without one."""
    return [_for(element) for line in _lines(headers, b"forwarded") for element in _elements(line)]


def _lines(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> Iterator[str]:
    """Their right ends: what is further left than that, no proxy of ours wrote."""
    return (value[-_LONGEST_LINE:].decode("latin-1") for one, value in headers if one == name)


def _elements(text: str) -> list[str]:
    """Split at the commas that are not within quotation marks."""
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
