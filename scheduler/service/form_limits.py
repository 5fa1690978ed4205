"""Limits on the mail that forms send: per visitor and over all visitors, counted in the database."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from scheduler.domain.token import Keys
from scheduler.store import form_queue, service_state
from scheduler.store.database import Database

HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class FormLimits:
    """How many times in an hour a form may send mail: for one visitor's network, and for all together."""

    of_one_visitor: int = 30
    of_all: int = 600


USUAL_LIMITS = FormLimits()


async def allow_form(
    database: Database, visitor: str, *, keys: Keys, limits: FormLimits, now: datetime
) -> bool:
    """Whether a form may send a mail for this visitor in this hour. Counts it where it may.

    Of the visitor only a keyed hash is kept, until the hour is over. Where the limit over all is reached, that is
    noted, so that `status` and the webhook say so.
    """
    hour = now.replace(minute=0, second=0, microsecond=0)
    key = keys.name("form", visitor)
    async with database.write() as connection:
        await form_queue.forget_before(connection, hour)
        all_so_far, own_so_far = await form_queue.lock_and_read(connection, hour, key)
        if own_so_far >= limits.of_one_visitor:
            return False
        if all_so_far >= limits.of_all:
            await service_state.write(
                connection, service_state.FORMS_LIMITED, {"at": now.isoformat(), "limit": limits.of_all}
            )
            return False
        for one in (form_queue.EVERYBODY, key):
            await form_queue.count(connection, hour, one)
        return True


def limited_words(noted: dict[str, object] | None, now: datetime) -> str:
    """What `status` says of a limit over all visitors that was reached in the last hour; empty where none was."""
    if not noted or now - datetime.fromisoformat(str(noted["at"])) > HOUR:
        return ""
    return (
        f"forms: {noted['limit']} mails were asked for within an hour, and no more are sent until the hour is over; "
        "if they are people, raise [web] form_mails_an_hour; if not, let the proxy in front turn them away"
    )
