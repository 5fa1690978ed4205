"""Answer an invitation: coming, maybe or declined, by a link that is bound to the member and the meeting."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.errors import Refused
from scheduler.domain.locale import hour_cycle
from scheduler.domain.localtime import LocalTime, local_time
from scheduler.domain.occurrence import ANSWERS, Occurrence, Series
from scheduler.domain.text import quoted
from scheduler.domain.token import Keys, Purpose
from scheduler.service.personal_links import LanguageOf, LinkStatus, in_english, resolve_bound_link
from scheduler.store import answers, occurrences
from scheduler.store.database import Database
from scheduler.store.members import Member

NO_ANSWER = "none"
"""Takes an answer back."""


class RsvpStatus(StrEnum):
    """Whether an answer can be given: only before the start of a meeting that takes place, and by a good link."""

    OPEN = "open"
    BEGUN = "begun"
    CANCELLED = "cancelled"
    LEFT = "left"
    REPLACED = "replaced"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class RsvpResult:
    """A meeting and its member's answer, now and `before` this request. `when` is by the member's own clocks."""

    status: RsvpStatus
    title: str = ""
    topic: str = ""
    when: LocalTime | None = None
    answer: str = ""
    before: str = ""


_BY_LINK_STATUS = {
    LinkStatus.LEFT: RsvpStatus.LEFT,
    LinkStatus.REPLACED: RsvpStatus.REPLACED,
    LinkStatus.UNKNOWN: RsvpStatus.UNKNOWN,
}


async def respond(
    database: Database,
    series: Mapping[str, Series],
    token: str,
    answer: str | None,
    *,
    keys: Keys,
    locale: str,
    language_of: LanguageOf = in_english,
    now: datetime,
) -> RsvpResult:
    """Save an answer, one of ANSWERS or NO_ANSWER; the last one before the start counts.

    Changes nothing if no answer can be given or `answer` is None. `locale` is for members who have chosen
    none. Raises Refused for any other answer.
    """
    if answer not in (*ANSWERS, NO_ANSWER, None):
        raise Refused(f"{quoted(answer)} is not an answer; give one of {', '.join(ANSWERS)}")
    async with database.read() if answer is None else database.write() as connection:
        invitation = await _find_invitation(connection, series, token, keys=keys)
        if isinstance(invitation, RsvpStatus):
            return RsvpResult(status=invitation)
        member, occurrence = invitation
        occurrence = await occurrences.with_preceding(connection, occurrence, series[occurrence.series])
        before = await answers.answer_of(connection, member.id, occurrence.key)
        status = rsvp_status(occurrence, now)
        if answer is None or status is not RsvpStatus.OPEN:
            answer = before
        elif answer == NO_ANSWER and before:
            await answers.delete_answer(connection, member.id, occurrence.key, now=now)
        elif answer not in (NO_ANSWER, before):
            await answers.set_answer(connection, member.id, occurrence.key, answer=answer, now=now)
    meeting_series = series[occurrence.series]
    cycle, language = hour_cycle(member.locale or locale), language_of(member)
    return RsvpResult(
        status=status,
        title=meeting_series.in_language(language).title,
        topic=occurrence.topic,
        before=before,
        answer="" if answer == NO_ANSWER else answer,
        when=local_time(occurrence, meeting_series, zone=member.zone, cycle=cycle, language=language),
    )


def rsvp_status(occurrence: Occurrence, now: datetime) -> RsvpStatus:
    """Return whether an answer to an occurrence can be given now."""
    if occurrence.cancelled:
        return RsvpStatus.CANCELLED
    return RsvpStatus.OPEN if now < occurrence.starts else RsvpStatus.BEGUN


async def _find_invitation(
    connection: AsyncConnection, series: Mapping[str, Series], token: str, *, keys: Keys
) -> tuple[Member, Occurrence] | RsvpStatus:
    """Return whom and what a link to answer is for, or why it is for nobody."""
    by_key = {
        occurrence.key: occurrence
        for occurrence in await occurrences.all_occurrences(connection)
        if occurrence.series in series
    }
    # Most links are for the newest meeting, so it is tried first.
    newest_first = sorted(by_key, key=lambda key: by_key[key].starts, reverse=True)
    link_status, member, key = await resolve_bound_link(
        connection, token, Purpose.RSVP, newest_first, keys=keys
    )
    if member is None or link_status is not LinkStatus.GOOD:
        return _BY_LINK_STATUS[link_status]
    return member, by_key[key]
