"""How often visitors may have mail sent by a form: enough for a family or an office, too little for a flood."""

from starlette.requests import Request

from scheduler.domain.clock import Clock
from scheduler.domain.token import Keys
from scheduler.domain.visitor import Networks, network_of
from scheduler.service.form_limits import FormLimits, allow_form
from scheduler.store.database import Database


class RateLimiter:
    """Counts, in the database, what each visitor's network asks for in an hour, and what all of them do."""

    def __init__(
        self, database: Database, clock: Clock, keys: Keys, *, limits: FormLimits, trusted: Networks
    ) -> None:
        self._database, self._clock, self._keys = database, clock, keys
        self._limits, self._trusted = limits, trusted

    async def allows(self, request: Request) -> bool:
        """Whether a form that sends mail may be carried out for this visitor now; counts it."""
        visitor = network_of(self._trusted.visitor(request.scope))
        return await allow_form(
            self._database, visitor, keys=self._keys, limits=self._limits, now=self._clock.now()
        )
