"""Forms from visitors: stored in the same way for every address, and processed later, at random moments."""

import random
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy.exc import IntegrityError

from scheduler.domain.clock import Clock
from scheduler.domain.contact import ContactMessage
from scheduler.domain.policy import SERVICE_MAIL_USEFUL_FOR, Kind
from scheduler.service import account, contact, join_requests, sessions
from scheduler.service.join_requests import JoinForm
from scheduler.store import forms, service_state
from scheduler.store.database import OUTAGES, Database

log = structlog.get_logger()

PAUSE_SECONDS = (2.0, 8.0)
"""The shortest and the longest pause between two rounds of processing."""

_SOONEST = timedelta(seconds=1)
"""The shortest time from the submission of a form until it is processed."""


async def ask_to_join(database: Database, form: JoinForm, *, now: datetime) -> int:
    """Store a request to join; return the number to process it by."""
    if not form.zone:
        raise ValueError("a request to join needs a zone")
    return await _store(database, "join", asdict(form), now)


async def ask_for_link(database: Database, address: str, *, now: datetime) -> int:
    """Store a request for a fresh link; return the number to process it by."""
    return await _store(database, "link", {"email": address}, now)


async def ask_to_sign_in(database: Database, address: str, *, now: datetime) -> int:
    """Store a convenor's request to sign in; return the number to process it by."""
    return await _store(database, "link", {"email": address, "console": True}, now)


async def write_to_convenors(
    database: Database, message: ContactMessage, convenors: str, *, now: datetime
) -> int:
    """Store a message to the convenors' address; return the number to process it by."""
    return await _store(database, "contact", contact.as_fields(message, convenors), now)


async def _store(database: Database, what: str, fields: Mapping[str, Any], now: datetime) -> int:
    # No member is looked up here, so that the time this takes does not show whether we know an address.
    async with database.write() as connection:
        return await forms.add(connection, what, fields, now)


async def run_form_queue(database: Database, clock: Clock) -> None:
    """Process stored forms, round after round, until cancelled; do nothing while sending is paused.

    The rounds come at random moments that do not depend on requests. Work that began with a request would slow down
    the next one, and more so for a member's address: a visitor could measure who is a member.
    """
    while True:
        await clock.sleep(random.SystemRandom().uniform(*PAUSE_SECONDS))
        try:
            async with database.read() as connection:
                pause = await service_state.read(connection, service_state.PAUSE)
            if not pause:
                now = clock.now()
                await process_forms(database, now=now, asked_until=now - _SOONEST)
        except OUTAGES as error:
            database.outages.begin("asks", error)
        else:
            database.outages.end("asks")


async def process_form(database: Database, number: int, *, now: datetime) -> None:
    """Process one form, once, even if others try to; if the database fails, it stays for a later round."""
    try:
        try:
            await _process(database, number, now)
        except IntegrityError:
            # The same new address was entered twice at the same moment; this time it is known.
            await _process(database, number, now)
    except OUTAGES as error:
        log.error("form-left", form=number, error=type(error).__name__)


async def _process(database: Database, number: int, now: datetime) -> None:
    async with database.write() as connection:
        submission = await forms.take(connection, number)
        # After days without a mail the visitor has asked again, or is no longer waiting.
        if submission is None or submission.asked_at <= now - SERVICE_MAIL_USEFUL_FOR[Kind.CONFIRMATION]:
            return
        if submission.what == "join":
            await join_requests.receive(connection, JoinForm(**submission.fields), now)
        elif submission.what == "contact":
            await contact.deliver(connection, submission.fields, now)
        elif submission.fields.get("console"):
            await sessions.mail_sign_in(connection, submission.fields["email"], now)
        else:
            await account.mail_link(connection, submission.fields["email"], now)
        # A tick follows in any case, so that it does not show whether a mail was sent.
        await service_state.note_change(connection)


async def process_forms(database: Database, *, now: datetime, asked_until: datetime | None = None) -> None:
    """Process every stored form, or only those submitted until an instant."""
    async with database.read() as connection:
        numbers = await forms.pending(connection, until=asked_until or now)
    for number in numbers:
        await process_form(database, number, now=now)
