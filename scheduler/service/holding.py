"""Holding all sending while something is so wrong that mail would go out at the wrong time."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.clock import Clock
from scheduler.store import facts

log = structlog.get_logger()

TOLERANCE = timedelta(seconds=5)
LARGEST_JUMP = timedelta(minutes=5)
CLOCK_BEHIND = "clock-behind"
CLOCK_JUMPED = "clock-jumped"
RESTORED = "restored"


@dataclass(frozen=True, slots=True)
class Hold:
    """Why sending is held and since when (UTC)."""

    reason: str
    since: datetime

    @property
    def advice(self) -> str:
        """What a convenor should know and do, in a sentence."""
        if self.reason == CLOCK_BEHIND:
            return "the clock is behind the last tick; set it right, and sending goes on by itself"
        if self.reason == CLOCK_JUMPED:
            return "the clock jumped by more than 5 minutes; check it, then run `third-thursday resume`"
        if self.reason == RESTORED:
            return "a backup was restored; `third-thursday resume` shows what was due before, and goes on without it"
        return "run `third-thursday resume` when sending should go on"


async def held(connection: AsyncConnection) -> Hold | None:
    """The hold that is in force, or None."""
    value = await facts.read(connection, facts.HOLD)
    return Hold(value["reason"], datetime.fromisoformat(value["since"])) if value else None


def as_fact(reason: str, now: datetime) -> dict[str, str]:
    """A hold as it is kept."""
    return {"reason": reason, "since": now.isoformat()}


async def hold(connection: AsyncConnection, reason: str, now: datetime) -> None:
    """Hold all sending; nothing expires meanwhile."""
    await facts.write(connection, facts.HOLD, as_fact(reason, now))
    log.error("sending-held", reason=reason)


async def release(connection: AsyncConnection) -> Hold | None:
    """End the hold, if there is one, and return it. The clock as it is now is then taken for right."""
    was = await held(connection)
    if was:
        await facts.write(connection, facts.HOLD, None)
        await facts.note_change(connection)
        if was.reason in (CLOCK_BEHIND, CLOCK_JUMPED):
            await facts.write(connection, facts.LAST_TICK, None)
        log.info("sending-resumed", reason=was.reason)
    return was


class ClockWatch:
    """Compares the clock with the last tick and, while running, with the monotonic one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._mark: tuple[datetime, float] | None = None
        self._held = False

    async def holds(self, connection: AsyncConnection, now: datetime, *, last: datetime | None) -> bool:
        """Whether ticks are held at `now`, `last` being the instant of the last one (UTC). Holds all where the clock is
        wrong, and releases it where a clock that was behind has come right again. After a restore ticks go on, so that
        `resume` can say what waits."""
        standing = await held(connection)
        if self._held and standing is None:
            self._mark = None
        wrong = self._wrong(now, last)
        if standing is None and wrong:
            await hold(connection, wrong, now)
        elif standing and standing.reason == CLOCK_BEHIND and not wrong:
            await facts.write(connection, facts.HOLD, None)
            log.info("sending-resumed", reason=CLOCK_BEHIND)
            standing = None
        self._held = bool(wrong) or (standing is not None and standing.reason != RESTORED)
        if not self._held:
            self._mark = (now, self._clock.monotonic())
        return self._held

    def _wrong(self, now: datetime, last: datetime | None) -> str:
        if last and now < last - TOLERANCE:
            return CLOCK_BEHIND
        if self._mark:
            wall, then = self._mark
            if abs(now - wall - timedelta(seconds=self._clock.monotonic() - then)) > LARGEST_JUMP:
                return CLOCK_JUMPED
        return ""
