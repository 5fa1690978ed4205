"""Asking from outside: kept before it is answered, in one way for every address, and carried out at another time."""

import random
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timedelta

import structlog
from sqlalchemy.exc import IntegrityError

from scheduler.domain.clock import Clock
from scheduler.domain.policy import Kind
from scheduler.service import account, join_requests
from scheduler.service.join_requests import Application
from scheduler.service.notices import SERVICE_MAIL_USEFUL_FOR
from scheduler.store import form_queue, service_state
from scheduler.store.database import OUTAGES, Database

log = structlog.get_logger()

PAUSE_SECONDS = (2.0, 8.0)
"""The shortest and the longest pause between two rounds of carrying out what was asked."""

_SOONEST = timedelta(seconds=1)
"""The least time from a request until what it asked for is carried out."""


async def ask_to_join(database: Database, application: Application, *, now: datetime) -> int:
    """Keep an application; returns the number under which to carry it out."""
    if not application.zone:
        raise ValueError("nobody joins without a zone")
    return await _keep(database, "join", asdict(application), now)


async def ask_for_link(database: Database, email: str, *, now: datetime) -> int:
    """Keep that a fresh link was asked for; returns the number under which to carry it out."""
    return await _keep(database, "link", {"email": email}, now)


async def _keep(database: Database, what: str, said: Mapping[str, str], now: datetime) -> int:
    # Nobody is looked up here: how long the answer takes says nothing about whom we know.
    async with database.write() as connection:
        return await form_queue.add(connection, what, said, now)


async def keep_carrying_out(database: Database, clock: Clock) -> None:
    """Carry out what visitors asked for, round after round, until cancelled; nothing while sending is on hold.

    The rounds come at random moments that do not depend on requests. Work that began with a request would slow the
    next one down, and more so for a member's address: a visitor could tell by a clock who is a member.
    """
    while True:
        await clock.sleep(random.SystemRandom().uniform(*PAUSE_SECONDS))
        try:
            async with database.read() as connection:
                held = await service_state.read(connection, service_state.HOLD)
            if not held:
                now = clock.now()
                await carry_out_left(database, now=now, asked_until=now - _SOONEST)
        except OUTAGES as error:
            database.outages.begin("asks", error)
        else:
            database.outages.end("asks")


async def carry_out(database: Database, number: int, *, now: datetime) -> None:
    """Do what was asked, once, whoever else tries to; where the database fails it is left for the next tick."""
    try:
        try:
            await _carry_out(database, number, now)
        except IntegrityError:
            # Somebody entered the same new address at the same moment: now it is known.
            await _carry_out(database, number, now)
    except OUTAGES as error:
        log.error("ask-left", ask=number, error=type(error).__name__)


async def _carry_out(database: Database, number: int, now: datetime) -> None:
    async with database.write() as connection:
        ask = await form_queue.take(connection, number)
        # Who has heard nothing for days has asked again, or does not wait any more.
        if ask is None or ask.asked_at <= now - SERVICE_MAIL_USEFUL_FOR[Kind.CONFIRMATION]:
            return
        if ask.what == "join":
            await join_requests.receive(connection, Application(**ask.said), now)
        else:
            await account.mail_link(connection, ask.said["email"], now)
        # A tick follows in any case, so that it does not show whether there was anything to send.
        await service_state.note_change(connection)


async def carry_out_left(database: Database, *, now: datetime, asked_until: datetime | None = None) -> None:
    """Carry out all that was asked, or all that was asked until an instant."""
    async with database.read() as connection:
        left = await form_queue.pending(connection, until=asked_until or now)
    for number in left:
        await carry_out(database, number, now=now)
