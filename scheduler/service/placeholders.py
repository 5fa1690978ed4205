"""Which meeting the placeholders of a notice are about, and whether it has what they show."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.delivery.compose.notice_words import known_placeholders
from scheduler.domain.audience import Audience
from scheduler.domain.errors import Refused
from scheduler.domain.localtime import format_day
from scheduler.domain.occurrence import Occurrence, Series
from scheduler.service.occurrences import require_occurrence, store_occurrence
from scheduler.service.schedule import upcoming
from scheduler.store.database import Database


async def find_mentioned(
    connection: AsyncConnection,
    all_series: Mapping[str, Series],
    *,
    subject: str,
    body: str,
    meeting: str,
    audience: Audience,
    now: datetime,
) -> Occurrence | None:
    """Return the meeting that the placeholders of a notice are about; None if none of them needs one.

    It is the `meeting` with that key. If that is empty, it is the one that the audience names, else the next one of
    its series, or of all. Raises Refused if there is none, or if it does not have what a placeholder shows.
    """
    needing = [known.name for known in known_placeholders(subject, body) if known.needs_meeting]
    if not needing:
        return None
    named = {key for _, key in audience.meetings()}
    if meeting or len(named) == 1:
        occurrence = await require_occurrence(connection, all_series, meeting or named.pop(), now)
    else:
        slugs = [slug for slug in audience.terms.get("series", ()) if slug in all_series]
        series = [all_series[slug] for slug in slugs or all_series]
        found = await upcoming(connection, series, now=now)
        if found is None:
            raise Refused(f"{{{needing[0]}}} needs a meeting, and none is planned")
        occurrence = found
    if occurrence.cancelled:
        raise Refused(f"{{{needing[0]}}}: the meeting of {format_day(occurrence.date)} is cancelled")
    if "topic" in needing and not occurrence.topic:
        raise Refused(f"{{topic}}: the meeting of {format_day(occurrence.date)} has no topic yet")
    return occurrence


async def store_mentioned(
    database: Database, all_series: Mapping[str, Series], occurrence: Occurrence, *, now: datetime
) -> None:
    """Store a meeting that only its rule gives so far, so that a notice can refer to it."""
    async with database.write() as connection:
        await store_occurrence(connection, all_series[occurrence.series], occurrence, now)
