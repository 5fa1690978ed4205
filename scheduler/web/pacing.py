"""How often one network may ask for mail: enough for a family or an office, too little for a flood."""

from collections import Counter
from ipaddress import ip_address, ip_network

from starlette.requests import Request

from scheduler.domain.clock import Clock

MOST_AN_HOUR = 30
_HOUR = 3600.0
_PREFIX = {4: 24, 6: 48}


class Pace:
    """Counts the requests of each network in an hour, for as long as the process lives."""

    def __init__(self, clock: Clock, most_an_hour: int = MOST_AN_HOUR) -> None:
        self._clock = clock
        self._most = most_an_hour
        self._counts: Counter[str] = Counter()
        self._ends = 0.0

    def allows(self, request: Request) -> bool:
        """Whether the request's network has not asked too often; counts it."""
        if (now := self._clock.monotonic()) >= self._ends:
            self._counts.clear()
            self._ends = now + _HOUR
        network = network_of(_visitor(request))
        self._counts[network] += 1
        return self._counts[network] <= self._most


def network_of(host: str) -> str:
    """The network that an address is of: a site's, as they are given out; what is no address stands for itself."""
    try:
        network = ip_network(host)
    except ValueError:
        return host
    return str(network.supernet(new_prefix=_PREFIX[network.version]))


def _visitor(request: Request) -> str:
    """Who asks: behind a proxy of our own, whom that one names last; what stands before it anybody can write."""
    host = request.client.host if request.client else ""
    forwarded = request.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
    try:
        return forwarded if forwarded and not ip_address(host).is_global else host
    except ValueError:
        return host
