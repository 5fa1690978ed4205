"""Sign convenors and helpers in to the console, and keep their sessions."""

import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

import structlog
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.actor import Actor
from scheduler.domain.policy import SERVICE_MAIL_USEFUL_FOR, Kind
from scheduler.domain.token import Keys, Purpose
from scheduler.service.convenors import ON_LIST, Role, require_role
from scheduler.service.form_limits import may_mail
from scheduler.service.members import lookup_key
from scheduler.service.notices import mail_one
from scheduler.service.personal_links import InvalidLink, LinkStatus, require_link
from scheduler.store import audit, members, sessions
from scheduler.store.database import Database
from scheduler.store.members import Member
from scheduler.store.sessions import StoredSession

log = structlog.get_logger()

IDLE_LIMIT = timedelta(days=14)
"""How long a session lasts without being used."""

ABSOLUTE_LIMIT = timedelta(days=90)
"""How long a session lasts at most."""

RECENT = timedelta(minutes=15)
"""How long after signing in a convenor may do what cannot be undone."""

_USE_NOTED_EVERY = timedelta(minutes=5)
_COOL_DOWN = timedelta(minutes=1)
_MOST_A_DAY = 20
_SYSTEMS = ("Android", "iPhone", "iPad", "Windows", "Macintosh", "Linux")
_BROWSERS = (
    ("Firefox", "Firefox"),
    ("Edg", "Edge"),
    ("OPR", "Opera"),
    ("Chrome", "Chrome"),
    ("Safari", "Safari"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A convenor or helper who is signed in. `signed_in_at` is when they last proved who they are."""

    id: int
    member: Member
    role: Role
    signed_in_at: datetime

    @property
    def actor(self) -> Actor:
        """Who the audit log names for what is done in this session."""
        return Actor(channel="console", name=self.member.name, member=self.member.id)

    def is_recent(self, now: datetime) -> bool:
        """Return whether they may do now what cannot be undone."""
        return now - self.signed_in_at < RECENT


def new_secret() -> str:
    """Return a new secret for the cookie of a session."""
    return secrets.token_urlsafe(32)


async def mail_sign_in(connection: AsyncConnection, address: str, now: datetime) -> None:
    """Mail a link to sign in to the convenor or helper with that address, if there is one.

    Nothing is returned: nobody may learn from it whether an address is known.
    """
    member = await members.by_key(connection, lookup_key(address))
    if member and may_sign_in(member):
        kind = Kind.CONSOLE_SIGN_IN
        if await may_mail(connection, member, kind, cool_down=_COOL_DOWN, most_a_day=_MOST_A_DAY, now=now):
            await mail_one(connection, member, kind, now=now)


async def sign_in_member(database: Database, token: str, *, keys: Keys, now: datetime) -> Member:
    """Return whom a link signs in. Changes nothing. Raises InvalidLink."""
    async with database.read() as connection:
        return await _require_unused(connection, token, keys=keys, now=now)


async def sign_in(
    database: Database, token: str, *, keys: Keys, user_agent: str, ends: str = "", now: datetime
) -> str:
    """Sign in with a mailed link, which works once, and return the secret for the cookie.

    `ends` is the secret of the session that the browser had before. Raises InvalidLink.
    """
    secret = new_secret()
    try:
        async with database.write() as connection:
            member = await _require_unused(connection, token, keys=keys, now=now)
            await begin(
                connection, member, secret, once=token.lower(), user_agent=user_agent, ends=ends, now=now
            )
    except IntegrityError:
        raise InvalidLink(LinkStatus.EXPIRED) from None
    return secret


async def _require_unused(connection: AsyncConnection, token: str, *, keys: Keys, now: datetime) -> Member:
    member = await require_link(connection, token, Purpose.CONSOLE, keys=keys, now=now)
    if await sessions.is_used(connection, _hash(token.lower())):
        raise InvalidLink(LinkStatus.EXPIRED)
    if not may_sign_in(member):
        raise InvalidLink(LinkStatus.UNKNOWN)
    return member


async def begin(
    connection: AsyncConnection,
    member: Member,
    secret: str,
    *,
    once: str,
    user_agent: str,
    ends: str,
    now: datetime,
) -> None:
    """Begin a session with this secret. `once` is the mailed link's token or the passkey's challenge; `ends` is the
    secret of the session that the browser had before. Raises IntegrityError if `once` was used before."""
    previous = await sessions.by_secret(connection, _hash(ends)) if ends else None
    if previous:
        await sessions.end(connection, previous.member, number=previous.id, now=now)
    number = await sessions.add(
        connection,
        member=member.id,
        generation=member.generation,
        secret_hash=_hash(secret),
        sign_in_hash=_hash(once),
        browser=browser_name(user_agent),
        now=now,
    )
    await audit.record(
        connection, Actor(channel="console", name=member.name, member=member.id), "signed-in", now=now
    )
    log.info("signed-in", member=member.id, session=number)


async def resume(database: Database, secret: str, *, now: datetime) -> Session | None:
    """Return the session of a cookie; None if it has ended or its member may not use the console any more."""
    async with database.read() as connection:
        stored = await sessions.by_secret(connection, _hash(secret))
        member = await members.by_id(connection, stored.member) if stored else None
    if stored is None or member is None or not _is_open(stored, member, now):
        return None
    if now - stored.used_at >= _USE_NOTED_EVERY:
        async with database.write() as connection:
            await sessions.note_use(connection, stored.id, now)
    return Session(
        id=stored.id,
        member=member,
        role=require_role(member.role or "", "the role"),
        signed_in_at=stored.created_at,
    )


async def open_sessions(database: Database, member: Member, *, now: datetime) -> list[StoredSession]:
    """Return a member's open sessions, the last used first."""
    async with database.read() as connection:
        stored = await sessions.open_of(connection, member.id)
    return [session for session in stored if _is_open(session, member, now)]


async def end_session(database: Database, session: Session, number: int, *, now: datetime) -> None:
    """End one of the sessions of the member who is signed in."""
    await _end(database, session, now, number=number)


async def end_other_sessions(database: Database, session: Session, *, now: datetime) -> None:
    """End all other sessions of the member who is signed in."""
    await _end(database, session, now, except_number=session.id)


async def _end(
    database: Database,
    session: Session,
    now: datetime,
    *,
    number: int | None = None,
    except_number: int | None = None,
) -> None:
    async with database.write() as connection:
        ended = await sessions.end(
            connection, session.member.id, number=number, except_number=except_number, now=now
        )
        if ended:
            await audit.record(connection, session.actor, "signed-out", after={"sessions": ended}, now=now)


async def forget_sessions(connection: AsyncConnection, now: datetime) -> int:
    """Delete sessions that can no longer be used, and return their number.

    One that was ended stays until its mailed link has expired: the link works once.
    """
    return await sessions.forget(
        connection,
        used_before=now - IDLE_LIMIT,
        created_before=now - ABSOLUTE_LIMIT,
        ended_before=now - SERVICE_MAIL_USEFUL_FOR[Kind.CONSOLE_SIGN_IN],
    )


def browser_name(user_agent: str) -> str:
    """Return what a person calls their browser, such as "Firefox on Android"; "a browser" if it is not known."""
    system = next((name for name in _SYSTEMS if name in user_agent), "")
    browser = next((name for mark, name in _BROWSERS if re.search(rf"{mark}\w*/", user_agent)), "")
    system = {"Macintosh": "a Mac"}.get(system, system)
    return f"{browser or 'a browser'} on {system}" if system else browser or "a browser"


def _is_open(stored: StoredSession, member: Member, now: datetime) -> bool:
    return (
        stored.ended_at is None
        and stored.generation == member.generation
        and may_sign_in(member)
        and now - stored.used_at < IDLE_LIMIT
        and now - stored.created_at < ABSOLUTE_LIMIT
    )


def may_sign_in(member: Member) -> bool:
    """Return whether a member may use the console."""
    return member.role is not None and member.status in ON_LIST


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()
