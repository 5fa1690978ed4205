"""Pause all sending while mail would go out at the wrong time: after a restore, or while the clock is wrong."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.clock import Clock
from scheduler.domain.text import counted
from scheduler.store import members, service_state
from scheduler.store.ledger import lifecycle

log = structlog.get_logger()

TOLERANCE = timedelta(seconds=5)
LARGEST_JUMP = timedelta(minutes=5)
CLOCK_BEHIND = "clock-behind"
CLOCK_JUMPED = "clock-jumped"
CLOCK_AHEAD = "clock-ahead"
BY_CLOCK = (CLOCK_BEHIND, CLOCK_JUMPED, CLOCK_AHEAD)
"""The reasons that stop ticks too: with a wrong clock nothing is planned, expired or deleted."""
END_BY_THEMSELVES = (CLOCK_BEHIND, CLOCK_AHEAD)
"""The reasons for a pause that ends by itself once the clock is right."""
RESTORED: Final = "restored"


@dataclass(frozen=True, slots=True)
class SendingPaused:
    """Why sending is paused and since when (UTC, by the clock that may be wrong).

    `last` is the last tick before the pause. `sends` is how many mails would be sent at once if the pause ended now,
    `expires` how many would be given up as too late; None if not known.
    """

    reason: str
    since: datetime
    last: datetime | None = None
    sends: int | None = None
    expires: int | None = None

    @property
    def advice(self) -> str:
        """Return what a convenor should know and do, in a sentence."""
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
        return f"{counted((self.since - self.last).days, 'day')} after the last tick ({self.last:%Y-%m-%d %H:%M} UTC)"

    @property
    def _outcome(self) -> str:
        if self.sends is None or self.expires is None:
            return ""
        return (
            f": {counted(self.sends, 'mail')} would be sent at once, and {counted(self.expires, 'mail')} given up as "
            "too late"
        )


async def current_pause(connection: AsyncConnection) -> SendingPaused | None:
    """Return the present pause, or None."""
    value = await service_state.read(connection, service_state.PAUSE)
    if not value:
        return None
    return SendingPaused(
        value["reason"],
        datetime.fromisoformat(value["since"]),
        service_state.as_instant(value.get("last")),
        value.get("sends"),
        value.get("expires"),
    )


def as_state(reason: str, now: datetime, *, last: datetime | None = None) -> dict[str, Any]:
    """Return a pause as it is stored."""
    return {"reason": reason, "since": now.isoformat(), **({"last": last.isoformat()} if last else {})}


async def pause_sending(
    connection: AsyncConnection, reason: str, now: datetime, *, last: datetime | None = None
) -> None:
    """Pause all sending; nothing expires meanwhile. `last` is the last tick (UTC)."""
    await service_state.write(connection, service_state.PAUSE, as_state(reason, now, last=last))
    log.error("sending-held", reason=reason)


async def note_outcome(connection: AsyncConnection, *, sends: int, expires: int) -> None:
    """Store with the pause, if it has not ended, how many mails would be sent and given up if it ended now."""
    if value := await service_state.read(connection, service_state.PAUSE):
        await service_state.write(
            connection, service_state.PAUSE, {**value, "sends": sends, "expires": expires}
        )


async def end_sending_pause(connection: AsyncConnection) -> SendingPaused | None:
    """End the pause, if there is one, and return it. The present clock is then taken to be right."""
    pause = await current_pause(connection)
    if pause:
        await service_state.write(connection, service_state.PAUSE, None)
        # The daily work was not done, or was done too early by a wrong clock: do it again.
        await service_state.write(connection, service_state.SWEPT, None)
        await service_state.note_change(connection)
        if pause.reason in BY_CLOCK:
            # Plan what has been due since the last tick before the pause.
            last = await service_state.read(connection, service_state.LAST_TICK)
            await service_state.write(connection, service_state.TICKED_BEFORE_PAUSE, last)
            await service_state.write(connection, service_state.LAST_TICK, None)
        log.info("sending-resumed", reason=pause.reason)
    return pause


async def resume(connection: AsyncConnection, now: datetime) -> int:
    """End the pause as `end_sending_pause` does, and undo what a wrong clock did.

    Mail that it gave up and that is still useful at `now` is queued again, and members' pauses that it ended continue.
    Returns the number of mails queued again.
    """
    pause = await end_sending_pause(connection)
    if pause is None or pause.reason not in BY_CLOCK:
        return 0
    await members.restore_pauses(connection, now)
    requeued = await lifecycle.requeue_given_up(connection, now)
    if requeued:
        log.info("expired-by-wrong-clock", deliveries=requeued)
    return requeued


class ClockWatch:
    """Compares the clock with the last tick and, while running, with the machine's uptime, which also counts the time
    while it is suspended."""

    def __init__(self, clock: Clock, *, longest_outage: timedelta) -> None:
        """A start later than the last tick by more than `longest_outage` counts as a wrong clock until a convenor
        resumes sending."""
        self._clock = clock
        self._longest_outage = longest_outage
        self._mark: tuple[datetime, float] | None = None
        self._stopped = False

    async def stops_ticks(self, connection: AsyncConnection, now: datetime, *, last: datetime | None) -> bool:
        """Return whether ticks are stopped at `now`; `last` is the instant of the last tick (UTC).

        Pauses sending if the clock is wrong, and ends the pause once a clock that was behind or far ahead is right
        again. After a restore ticks go on, so that `resume` can show what is waiting.
        """
        pause = await current_pause(connection)
        if self._stopped and pause is None:
            self._mark = None
        restored = pause.since if pause and pause.reason == RESTORED else None
        wrong = self._wrong(now, last, restored=restored)
        if pause and pause.reason in END_BY_THEMSELVES and not wrong:
            await service_state.write(connection, service_state.PAUSE, None)
            log.info("sending-resumed", reason=pause.reason)
            pause = None
        elif wrong and (pause is None or (pause.reason in END_BY_THEMSELVES and pause.reason != wrong)):
            await pause_sending(connection, wrong, now, last=last)
        self._stopped = bool(wrong) or (pause is not None and pause.reason != RESTORED)
        if not self._stopped:
            self._mark = (now, self._clock.boottime())
        return self._stopped

    def _wrong(self, now: datetime, last: datetime | None, *, restored: datetime | None) -> str:
        if last and now < last - TOLERANCE:
            return CLOCK_BEHIND
        if self._mark:
            wall, uptime = self._mark
            jump = abs(now - wall - timedelta(seconds=self._clock.boottime() - uptime))
            return CLOCK_JUMPED if jump > LARGEST_JUMP else ""
        # After a restore, the last tick stored in the backup may be long ago.
        if last and now - max(last, restored or last) > self._longest_outage:
            return CLOCK_AHEAD
        return ""
