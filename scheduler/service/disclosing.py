"""Handing a person all that is held about them."""

from datetime import datetime
from typing import Any

from scheduler.domain.token import Keys, Purpose
from scheduler.service.preferring import NotOpen
from scheduler.service.recognising import recognise
from scheduler.store import erasures, notices
from scheduler.store.database import Database

_WORDS = (
    "Every row that is kept about you, by table: all that is removed when you ask to be forgotten. "
    "Instants are in UTC. 'mails' says what those in 'deliveries' and 'past_deliveries' were about."
)


async def own_data(database: Database, token: str, *, keys: Keys, now: datetime) -> dict[str, Any]:
    """Return all that erasing the member of a fresh link would remove, ready for JSON; also for members who left.

    A link from the foot of a mail is not enough: mails are passed on. Raises NotOpen where the link opens nothing.
    """
    async with database.read() as connection:
        standing, member = await recognise(connection, token, Purpose.SIGN_IN, keys=keys, now=now)
        if member is None:
            raise NotOpen(standing)
        held = await erasures.held_about(connection, member.id)
        numbers = {row["notice"] for row in (*held["deliveries"], *held["past_deliveries"])}
        about = [one for one in await notices.every(connection) if one.id in numbers]
    tables = {
        name: [{key: _plain(value) for key, value in row.items()} for row in rows]
        for name, rows in held.items()
    }
    return {
        "about": _WORDS, **tables,
        "mails": [
            {"id": one.id, "kind": one.kind.value, "occurrence": one.occurrence, "subject": one.subject}
            for one in about
        ],
    }  # fmt: skip


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value.isoformat() if isinstance(value, datetime) else value
