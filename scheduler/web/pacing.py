"""How often one network may ask for mail: enough for a family or an office, too little for a flood."""

from ipaddress import ip_network

from limits import RateLimitItemPerHour
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter
from starlette.requests import Request

MOST_AN_HOUR = 30
_PREFIX = {4: 24, 6: 48}


class Pace:
    """Counts the requests of each network, for as long as the process lives."""

    def __init__(self, most_an_hour: int = MOST_AN_HOUR) -> None:
        self._item = RateLimitItemPerHour(most_an_hour)
        self._limiter = FixedWindowRateLimiter(MemoryStorage())

    def allows(self, request: Request) -> bool:
        """Whether the request's network has not asked too often; counts it."""
        return self._limiter.hit(self._item, network_of(request.client.host if request.client else ""))


def network_of(host: str) -> str:
    """The network that an address is of: a site's, as they are given out; what is no address stands for itself."""
    try:
        network = ip_network(host)
    except ValueError:
        return host
    return str(network.supernet(new_prefix=_PREFIX[network.version]))
