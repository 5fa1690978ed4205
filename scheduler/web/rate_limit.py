"""The rate limit on forms that send mail: enough for a family or an office, too little for a flood."""

from starlette.requests import Request

from scheduler.domain.clock import Clock
from scheduler.domain.token import Keys
from scheduler.domain.visitor import Networks, network_of
from scheduler.service.form_limits import FormLimits, allow_form
from scheduler.store.database import Database


class RateLimiter:
    """Count in the database how many forms each network, and all visitors together, send in an hour."""

    def __init__(
        self, database: Database, clock: Clock, keys: Keys, *, limits: FormLimits, trusted: Networks
    ) -> None:
        self._database, self._clock, self._keys = database, clock, keys
        self._limits, self._trusted = limits, trusted

    async def allows(self, request: Request) -> bool:
        """Count a form that sends mail, and return whether this visitor may send it now."""
        visitor = network_of(self._trusted.visitor(request.scope))
        return await allow_form(
            self._database, visitor, keys=self._keys, limits=self._limits, now=self._clock.now()
        )
