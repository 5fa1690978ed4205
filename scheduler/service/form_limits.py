"""Limits on the mail that forms send: per visitor, for all visitors together, and per address that is entered."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.policy import Kind
from scheduler.domain.token import Keys
from scheduler.service.notices import mailed_since
from scheduler.store import forms, service_state
from scheduler.store.database import Database
from scheduler.store.members import Member

HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class FormLimits:
    """How many mails forms may send in an hour: for one visitor's network, and for all visitors together."""

    per_visitor: int = 30
    total: int = 600


DEFAULT_LIMITS = FormLimits()


async def allow_form(
    database: Database, visitor: str, *, keys: Keys, limits: FormLimits, now: datetime
) -> bool:
    """Return whether a form may send a mail for this visitor in this hour, and count it if so.

    Only a keyed hash of the visitor is kept, until the hour is over. When the limit for all visitors is reached, that
    is recorded, so that `status` and the webhook report it.
    """
    hour = now.replace(minute=0, second=0, microsecond=0)
    key = keys.name("form", visitor)
    async with database.write() as connection:
        await forms.forget_before(connection, hour)
        total_so_far, visitor_so_far = await forms.lock_and_read(connection, hour, key)
        if visitor_so_far >= limits.per_visitor:
            return False
        if total_so_far >= limits.total:
            await service_state.write(
                connection, service_state.FORMS_LIMITED, {"at": now.isoformat(), "limit": limits.total}
            )
            return False
        for counted in (forms.EVERYBODY, key):
            await forms.count(connection, hour, counted)
        return True


async def may_mail(
    connection: AsyncConnection,
    member: Member,
    *kinds: Kind,
    cool_down: timedelta,
    most_a_day: int,
    now: datetime,
) -> bool:
    """Return whether a member may be sent another mail of these kinds because somebody entered their address."""
    if await mailed_since(connection, member, *kinds, since=now - cool_down):
        return False
    return await mailed_since(connection, member, *kinds, since=now - timedelta(days=1)) < most_a_day


def form_limit_problem(reached: dict[str, object] | None, now: datetime) -> str:
    """Return what `status` says if the limit for all visitors was reached in the last hour; else an empty string."""
    if not reached or now - datetime.fromisoformat(str(reached["at"])) > HOUR:
        return ""
    return (
        f"forms: {reached['limit']} mails were asked for within an hour, and no more are sent until the hour is over; "
        "if the visitors are people, raise [web] form_mails_an_hour; if not, block them in the reverse proxy"
    )
