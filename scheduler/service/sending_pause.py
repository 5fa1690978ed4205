"""Holding all sending while something is so wrong that mail would go out at the wrong time."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.clock import Clock
from scheduler.store import members, service_state
from scheduler.store.ledger import lifecycle

log = structlog.get_logger()

TOLERANCE = timedelta(seconds=5)
LARGEST_JUMP = timedelta(minutes=5)
CLOCK_BEHIND = "clock-behind"
CLOCK_JUMPED = "clock-jumped"
CLOCK_AHEAD = "clock-ahead"
BY_CLOCK = (CLOCK_BEHIND, CLOCK_JUMPED, CLOCK_AHEAD)
"""Why ticks are held too: with a wrong clock nothing is planned, expired or deleted."""
PASSES = (CLOCK_BEHIND, CLOCK_AHEAD)
"""What ends by itself once the clock is right."""
RESTORED = "restored"


@dataclass(frozen=True, slots=True)
class SendingPaused:
    """Why sending is held and since when (UTC, by the clock that may be wrong).

    `last` is the last tick before it; `sends` is how many mails would be sent at once if it ended now, `expires` how
    many would be given up as too late; None where that is not known.
    """

    reason: str
    since: datetime
    last: datetime | None = None
    sends: int | None = None
    expires: int | None = None

    @property
    def advice(self) -> str:
        """What a convenor should know and do, in a sentence."""
        if self.reason == CLOCK_BEHIND:
            return (
                "the clock is behind the last tick; set it right, and sending goes on by itself. If it is right now "
                "and was wrong then, run `third-thursday resume`: what expired by the wrong clock comes back"
            )
        if self.reason == CLOCK_JUMPED:
            return "the clock jumped by more than 5 minutes; check it, then run `third-thursday resume`"
        if self.reason == CLOCK_AHEAD:
            return (
                f"the clock says {self.since:%Y-%m-%d %H:%M} UTC, {self._outage}; if that is wrong, set it right, and "
                f"sending goes on by itself. If it is right, run `third-thursday resume`{self._outcome}"
            )
        if self.reason == RESTORED:
            return "a backup was restored; `third-thursday resume` shows what was due before, and goes on without it"
        return "run `third-thursday resume` when sending should go on"

    @property
    def _outage(self) -> str:
        if self.last is None:
            return "long after the last tick"
        return f"{(self.since - self.last).days} days after the last tick ({self.last:%Y-%m-%d %H:%M} UTC)"

    @property
    def _outcome(self) -> str:
        if self.sends is None or self.expires is None:
            return ""
        return (
            f": {_mails(self.sends)} would be sent at once, and {_mails(self.expires)} given up as too late"
        )


def _mails(count: int) -> str:
    return f"{count} mail{'' if count == 1 else 's'}"


async def held(connection: AsyncConnection) -> SendingPaused | None:
    """The hold that is in force, or None."""
    value = await service_state.read(connection, service_state.HOLD)
    if not value:
        return None
    return SendingPaused(
        value["reason"],
        datetime.fromisoformat(value["since"]),
        service_state.as_instant(value.get("last")),
        value.get("sends"),
        value.get("expires"),
    )


def as_fact(reason: str, now: datetime, *, last: datetime | None = None) -> dict[str, Any]:
    """A hold as it is kept."""
    return {"reason": reason, "since": now.isoformat(), **({"last": last.isoformat()} if last else {})}


async def hold(
    connection: AsyncConnection, reason: str, now: datetime, *, last: datetime | None = None
) -> None:
    """Hold all sending; nothing expires meanwhile. `last` is the last tick (UTC)."""
    await service_state.write(connection, service_state.HOLD, as_fact(reason, now, last=last))
    log.error("sending-held", reason=reason)


async def note_outcome(connection: AsyncConnection, *, sends: int, expires: int) -> None:
    """Keep with the hold, if it still stands, what would happen if it ended."""
    if value := await service_state.read(connection, service_state.HOLD):
        await service_state.write(
            connection, service_state.HOLD, {**value, "sends": sends, "expires": expires}
        )


async def release(connection: AsyncConnection) -> SendingPaused | None:
    """End the hold, if there is one, and return it. The clock as it is now is then taken for right."""
    was = await held(connection)
    if was:
        await service_state.write(connection, service_state.HOLD, None)
        # What is done daily was left undone, and a wrong clock may have done it in advance.
        await service_state.write(connection, service_state.SWEPT, None)
        await service_state.note_change(connection)
        if was.reason in BY_CLOCK:
            # What has been due since then is still to be planned.
            last = await service_state.read(connection, service_state.LAST_TICK)
            await service_state.write(connection, service_state.TICKED_BEFORE_HOLD, last)
            await service_state.write(connection, service_state.LAST_TICK, None)
        log.info("sending-resumed", reason=was.reason)
    return was


async def resume(connection: AsyncConnection, now: datetime) -> int:
    """End the hold as `release` does, and take back what a wrong clock did: mail that it gave up and that is still of
    use at `now` is queued again, and pauses that it ended go on. Returns how many mails came back."""
    was = await release(connection)
    if was is None or was.reason not in BY_CLOCK:
        return 0
    await members.restore_pauses(connection, now)
    back = await lifecycle.requeue_given_up(connection, now)
    if back:
        log.info("expired-by-wrong-clock", deliveries=back)
    return back


class ClockWatch:
    """Compares the clock with the last tick and, while running, with the time since the machine was started, which goes
    on while it is suspended."""

    def __init__(self, clock: Clock, *, longest_outage: timedelta) -> None:
        """A start later than the last tick by more than `longest_outage` is a wrong clock's until somebody says that
        it is not."""
        self._clock = clock
        self._longest_outage = longest_outage
        self._mark: tuple[datetime, float] | None = None
        self._held = False

    async def holds(self, connection: AsyncConnection, now: datetime, *, last: datetime | None) -> bool:
        """Whether ticks are held at `now`, `last` being the instant of the last one (UTC). Holds all where the clock is
        wrong, and releases it where a clock that was behind, or far ahead, has come right again. After a restore ticks
        go on, so that `resume` can say what waits."""
        standing = await held(connection)
        if self._held and standing is None:
            self._mark = None
        restored = standing.since if standing and standing.reason == RESTORED else None
        wrong = self._wrong(now, last, restored=restored)
        if standing and standing.reason in PASSES and not wrong:
            await service_state.write(connection, service_state.HOLD, None)
            log.info("sending-resumed", reason=standing.reason)
            standing = None
        elif wrong and (standing is None or (standing.reason in PASSES and standing.reason != wrong)):
            await hold(connection, wrong, now, last=last)
        self._held = bool(wrong) or (standing is not None and standing.reason != RESTORED)
        if not self._held:
            self._mark = (now, self._clock.boottime())
        return self._held

    def _wrong(self, now: datetime, last: datetime | None, *, restored: datetime | None) -> str:
        if last and now < last - TOLERANCE:
            return CLOCK_BEHIND
        if self._mark:
            wall, then = self._mark
            jump = abs(now - wall - timedelta(seconds=self._clock.boottime() - then))
            return CLOCK_JUMPED if jump > LARGEST_JUMP else ""
        # The last tick that a backup knows of may be long ago.
        if last and now - max(last, restored or last) > self._longest_outage:
            return CLOCK_AHEAD
        return ""
