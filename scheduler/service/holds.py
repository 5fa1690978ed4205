"""Hold what a policy is about to send, and release or drop it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.act import Act
from scheduler.domain.actor import SERVICE, Actor
from scheduler.domain.errors import Refused
from scheduler.domain.occurrence import Occurrence, Series
from scheduler.domain.policy import PLANNED
from scheduler.service.delivery_reasons import reason_in_words
from scheduler.service.notices import require_notice
from scheduler.service.schedule import find_occurrence
from scheduler.store import audit, notices, occurrences, service_state
from scheduler.store.database import Database
from scheduler.store.ledger import lifecycle, reports
from scheduler.store.notices import Notice


async def hold(database: Database, number: int, *, now: datetime, by: Actor = SERVICE) -> Notice:
    """Put a notice on hold: nothing of it is sent until somebody releases it. It expires all the same.

    What is being sent at this moment is not stopped; that takes a few seconds. Raises Refused for a notice that no
    policy sends, and for one that was stopped or has nothing left to send.
    """
    async with database.write() as connection:
        notice = await _require_open(connection, number, now)
        if notice.held_at:
            return notice
        if reason := await _why_not_held(connection, notice, await reports.states(connection, number)):
            raise Refused(f"notice {number} {reason}")
        return await _change(connection, notice, "notice-held", now=now, by=by, held_at=now)


async def release(database: Database, number: int, *, now: datetime, by: Actor = SERVICE) -> Notice:
    """Let a notice be sent again that is on hold; what is due of it leaves at once. Raises Refused if it is not on
    hold, or too late."""
    async with database.write() as connection:
        notice = await _require_held(connection, number, now)
        return await _change(connection, notice, "notice-released", now=now, by=by, held_at=None)


async def drop(database: Database, number: int, *, now: datetime, by: Actor = SERVICE) -> Notice:
    """Stop a notice that is on hold, so that nobody else gets it. Raises Refused if it is not on hold, or too late."""
    async with database.write() as connection:
        notice = await _require_held(connection, number, now)
        await lifecycle.withdraw(connection, number, reason="dropped")
        return await _change(
            connection, notice, "notice-dropped", now=now, by=by, held_at=None, stopped_at=now
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedNotice:
    """A notice of a policy, its meeting, and its first and last due instant (UTC). `states` counts its deliveries so
    far. `cannot_hold` says why it cannot be held, as the end of a sentence; it is empty if it can."""

    notice: Notice
    occurrence: Occurrence
    first: datetime
    last: datetime
    states: Mapping[str, int]
    cannot_hold: str


async def read_planned(
    database: Database, number: int, *, series: Mapping[str, Series], now: datetime
) -> PlannedNotice | None:
    """Return what convenors see of a notice before and while it is sent; None if no policy sends a notice with that
    number, or if nothing of it was ever due."""
    async with database.read() as connection:
        notice = await notices.by_id(connection, number)
        span = (await notices.due_spans(connection, number)).get(number)
        if notice is None or notice.kind not in PLANNED or not notice.occurrence or not span:
            return None
        occurrence = await find_occurrence(connection, series, notice.occurrence, now=now)
        if occurrence is None or occurrence.series not in series:
            return None
        states = await reports.states(connection, number)
        cannot_hold = (
            "has expired" if notice.expires <= now else await _why_not_held(connection, notice, states)
        )
        return PlannedNotice(
            notice=notice,
            occurrence=await occurrences.with_preceding(connection, occurrence, series[occurrence.series]),
            first=span[0],
            last=span[1],
            states=states,
            cannot_hold=cannot_hold,
        )


async def on_hold(database: Database, now: datetime) -> list[Notice]:
    """Return the notices on hold that may still be sent, the first to expire first."""
    async with database.read() as connection:
        return await notices.on_hold(connection, now)


async def _why_not_held(connection: AsyncConnection, notice: Notice, states: Mapping[str, int]) -> str:
    """Return why an open notice cannot be held, as the end of a sentence; empty if it can."""
    if notice.kind not in PLANNED:
        return "is not sent by a policy; it can be stopped"
    if notice.stopped_at:
        return "was stopped"
    if notice.unwanted:
        return f"was withdrawn because {reason_in_words('withdrawn', notice.unwanted)}"
    dues = (await notices.dues_of(connection, notice.id)).values()
    if all(due.fanned_at for due in dues) and not (states.get("queued") or states.get("sending")):
        return "has gone out already"
    return ""


async def _require_open(connection: AsyncConnection, number: int, now: datetime) -> Notice:
    notice = await require_notice(connection, number)
    if notice.expires <= now:
        raise Refused(f"notice {number} expired at {notice.expires:%Y-%m-%d %H:%M} UTC")
    return notice


async def _require_held(connection: AsyncConnection, number: int, now: datetime) -> Notice:
    notice = await _require_open(connection, number, now)
    if notice.held_at is None:
        raise Refused(f"notice {number} is not on hold")
    return notice


async def _change(
    connection: AsyncConnection, notice: Notice, act: Act, *, now: datetime, by: Actor, **values: object
) -> Notice:
    await notices.change(connection, notice.id, **values)
    subject = notice.occurrence or f"notice {notice.id}"
    after = {"notice": f"{notice.id}, {notice.policy or notice.kind}"}
    await audit.record(connection, by, act, subject=subject, after=after, now=now)
    await service_state.note_change(connection)
    return await require_notice(connection, notice.id)
