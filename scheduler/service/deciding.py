"""The desk: requests to join wait for a convenor, who takes one, and lets the person in or says that it cannot be."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.policy import EVERY_ZONE, Kind
from scheduler.domain.problem import Refused
from scheduler.domain.text import require_prose
from scheduler.service.mailing import mail_one
from scheduler.service.membership import require_member
from scheduler.service.notifying import press
from scheduler.store import members, notices, requests, returns
from scheduler.store.database import Database
from scheduler.store.requests import Request

log = structlog.get_logger()

TAKEN_FOR = timedelta(days=3)
"""How long a request that was taken and not answered is out of others' reach."""

PATIENCE = timedelta(days=5)
"""How old a request may grow before the convenors are reminded, once a day."""


async def require_request(connection: AsyncConnection, number: int) -> Request:
    """The confirmed request of that number. Raises Refused where there is none."""
    found = await requests.by_id(connection, number)
    if found is None or found.state == "unconfirmed":
        raise Refused(f"there is no request {number}; `requests list` shows them")
    return found


async def convenor_number(connection: AsyncConnection, email: str | None) -> int | None:
    """The number of the convenor with that address, if one is named. Raises Refused for who is none."""
    if email is None:
        return None
    member = await require_member(connection, email)
    if not member.convenor:
        raise Refused(f"{member.address} is no convenor; see `members set --convenor`")
    return member.id


async def take(database: Database, number: int, *, by: str | None, now: datetime) -> Request:
    """Let one convenor see to a request. Raises Refused where another does already, or it was answered."""
    async with database.write() as connection:
        convenor = await convenor_number(connection, by)
        await require_request(connection, number)
        taken = await requests.take(connection, number, by=convenor, now=now, free_since=now - TAKEN_FOR)
        request = await require_request(connection, number)
        if not taken:
            raise Refused(await _why_not(connection, request))
        log.info("request-taken", request=number)
        return request


async def accept(
    database: Database, number: int, *, by: str | None, message: str = "", now: datetime
) -> Request:
    """Let the person in and welcome them, with `message` (Markdown) if any. Raises Refused where somebody answered."""
    async with database.write() as connection:
        request = await _answer(connection, number, "accepted", by=by, message=message, now=now)
        await admit(connection, request, now=now)
        return request


async def decline(
    database: Database, number: int, *, by: str | None, message: str = "", tells: bool = True, now: datetime
) -> Request:
    """Do not let the person in, and with `tells` write to them. Raises Refused where somebody answered."""
    if message and not tells:
        raise Refused("a message is for somebody who is told; leave one of the two out")
    async with database.write() as connection:
        request = await _answer(connection, number, "declined", by=by, message=message, now=now)
        member = await members.by_id(connection, request.member)
        assert member
        if tells and member.status not in ("active", "paused"):
            await mail_one(connection, member, Kind.DECLINE, words=request.message, now=now)
        return request


async def _answer(
    connection: AsyncConnection, number: int, state: str, *, by: str | None, message: str, now: datetime
) -> Request:
    message = require_prose(message, "--message")
    convenor = await convenor_number(connection, by)
    await require_request(connection, number)
    answered = await requests.answer(connection, number, state=state, by=convenor, now=now, message=message)
    request = await require_request(connection, number)
    if not answered:
        raise Refused(await _why_not(connection, request))
    log.info("request-answered", request=number, state=state)
    return request


async def _why_not(connection: AsyncConnection, request: Request) -> str:
    if request.state in ("accepted", "declined"):
        return (
            f"request {request.id} was {request.state} already, at {request.answered_at:%Y-%m-%d %H:%M} UTC"
        )
    convenor = await members.by_id(connection, request.taken_by) if request.taken_by else None
    who = f" by {convenor.name or convenor.address}" if convenor else ""
    return f"request {request.id} was taken{who} at {request.taken_at:%Y-%m-%d %H:%M} UTC"


async def admit(connection: AsyncConnection, request: Request, *, now: datetime) -> None:
    """Make an active member of whom a request is from, as they said of themselves, and welcome them.

    An invitation that has gone out comes to them with the next tick, after the welcome.
    """
    member = await members.by_id(connection, request.member)
    assert member
    if member.status in ("active", "paused"):
        return
    await members.change(
        connection, member.id, name=request.name, country=request.country, zone=request.zone,
        zone_source="confirmed", locale=request.locale, status="active", active_since=now, paused_until=None,
        uninvited_at=None, **await returns.trust_again(connection, member.id),
    )  # fmt: skip
    admitted = await members.by_id(connection, member.id)
    assert admitted
    await mail_one(connection, admitted, Kind.WELCOME, words=request.message, now=now)


async def nudge(database: Database, *, now: datetime) -> int:
    """Tell the convenors, once a day in one mail, which requests have waited too long; returns how many have."""
    async with database.read() as connection:
        late = [
            one
            for one in await requests.waiting(connection)
            if one.confirmed_at and now - one.confirmed_at >= PATIENCE
        ]
        convenors = await members.count_audience(connection, {"convenors": []})
        identity = f"nudge:{now:%Y-%m-%d}"
        if not late or not convenors or await notices.by_identity(connection, identity):
            return 0
    await press(
        database, audience={"convenors": []}, audience_text="convenors", dues={EVERY_ZONE: now}, now=now,
        identity=identity, kind=Kind.NOTICE, subject=_nudge_subject(late), body=_nudge_body(late, now),
        expires=now + timedelta(days=1),
    )  # fmt: skip
    return len(late)


def _nudge_subject(late: Sequence[Request]) -> str:
    if len(late) == 1:
        return "A request to join waits for your answer"
    return f"{len(late)} requests to join wait for your answer"


def _nudge_body(late: Sequence[Request], now: datetime) -> str:
    # Numbers only: what names somebody would outlive their being erased.
    lines = [
        f"- request {one.id}: {(now - one.confirmed_at).days} days{', taken' if one.state == 'taken' else ''}"
        for one in late
        if one.confirmed_at
    ]
    return "\n".join(
        [
            "Somebody would like to join, and has had no answer yet:", "", *lines, "",
            "`third-thursday requests show` and the number shows what they wrote; `accept` or `decline` answers them.",
        ]
    )  # fmt: skip
