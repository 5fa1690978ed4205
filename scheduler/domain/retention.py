"""How long something is kept, and kept at hand, after it has served its purpose."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """From when on something is forgotten: a request since it was declined, a member since they left, a delivery since
    its notice was of no more use. `archive` is from when on such a delivery lies in the archive."""

    declined_requests: timedelta
    left_members: timedelta
    deliveries: timedelta
    archive: timedelta
