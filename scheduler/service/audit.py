"""Read the audit log."""

from dataclasses import dataclass
from datetime import datetime

from scheduler.store import audit
from scheduler.store.audit import AuditEntry
from scheduler.store.database import Database

PAGE = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """An entry of the audit log in words. `about` is the name of the member that it was done to, if known, and
    `changes` has the name, the old and the new value of each thing that changed."""

    id: int
    at: datetime
    actor: str
    channel: str
    act: str
    subject: str
    about: str
    changes: tuple[tuple[str, str, str], ...]


async def read_log(
    database: Database,
    *,
    before: int | None = None,
    actor: int | None = None,
    act: str = "",
    subject: str = "",
    limit: int = PAGE,
) -> list[LogLine]:
    """Return up to `limit` entries that match, the newest first; `before` is the number of the last entry seen."""
    async with database.read() as connection:
        found = await audit.entries(
            connection, before_id=before, actor=actor, act=act or None, subject=subject or None, limit=limit
        )
    return [_line(entry) for entry in found]


async def known_acts(database: Database) -> list[str]:
    """Return the acts that the log has, sorted."""
    async with database.read() as connection:
        return await audit.acts(connection)


def act_in_words(act: str) -> str:
    """Return `Meeting moved` for `meeting-moved`."""
    return act[:1].upper() + act[1:].replace("-", " ")


def _line(entry: AuditEntry) -> LogLine:
    names = {**entry.before, **entry.after}
    return LogLine(
        id=entry.id,
        at=entry.at,
        actor=entry.actor_name,
        channel=entry.channel,
        act=act_in_words(entry.act),
        subject=entry.subject,
        about=entry.about_name,
        changes=tuple(
            (name, _value(entry.before.get(name)), _value(entry.after.get(name))) for name in names
        ),
    )


def _value(value: object) -> str:
    if value is None or value == "":
        return "nothing"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
