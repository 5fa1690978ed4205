"""Answering an invitation: coming, not coming or perhaps, by a link bound to the member and the meeting."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.errors import Refused
from scheduler.domain.locale import hour_cycle
from scheduler.domain.localtime import LocalTime, local_time
from scheduler.domain.occurrence import Occurrence, Series
from scheduler.domain.text import quoted
from scheduler.domain.token import Keys, Purpose
from scheduler.service.personal_links import LinkStatus, recognise_among
from scheduler.store import answers, occurrences
from scheduler.store.database import Database
from scheduler.store.members import Member

ANSWERS = ("coming", "maybe", "declined")
NO_ANSWER = "none"
"""What takes an answer back."""


class RsvpStatus(StrEnum):
    """Whether an answer can be given: before the start of a meeting that is held, by a member's good link."""

    OPEN = "open"
    BEGUN = "begun"
    CANCELLED = "cancelled"
    LEFT = "left"
    REPLACED = "replaced"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A meeting and what its member answered: now, and before this answer. `when` is by the member's own clocks."""

    question: RsvpStatus
    title: str = ""
    topic: str = ""
    when: LocalTime | None = None
    answer: str = ""
    before: str = ""


_BY_STANDING = {
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
    now: datetime,
) -> Response:
    """Keep an answer, of ANSWERS or NO_ANSWER; the last one before the start holds.

    Changes nothing where the question is not open, nor with None, which only looks. `locale` is that of members who
    have named none. Raises Refused for any other answer.
    """
    if answer not in (*ANSWERS, NO_ANSWER, None):
        raise Refused(f"{quoted(answer)} is no answer; give one of {', '.join(ANSWERS)}")
    async with database.read() if answer is None else database.write() as connection:
        found = await _found(connection, series, token, keys=keys)
        if isinstance(found, RsvpStatus):
            return Response(question=found)
        member, one = found
        one = await occurrences.with_preceding(connection, one, series[one.series])
        before = await answers.answer_of(connection, member.id, one.key)
        question = question_of(one, now)
        if answer is None or question is not RsvpStatus.OPEN:
            answer = before
        elif answer == NO_ANSWER and before:
            await answers.drop_answer(connection, member.id, one.key, now=now)
        elif answer not in (NO_ANSWER, before):
            await answers.set_answer(connection, member.id, one.key, answer=answer, now=now)
    its = series[one.series]
    return Response(
        question=question,
        title=its.title,
        topic=one.topic,
        before=before,
        answer="" if answer == NO_ANSWER else answer,
        when=local_time(one, its, zone=member.zone, cycle=hour_cycle(member.locale or locale)),
    )


async def _found(
    connection: AsyncConnection, series: Mapping[str, Series], token: str, *, keys: Keys
) -> tuple[Member, Occurrence] | RsvpStatus:
    held = {one.key: one for one in await occurrences.all_occurrences(connection) if one.series in series}
    # The newest first: it is the one that is asked about.
    things = sorted(held, key=lambda key: held[key].starts, reverse=True)
    standing, member, key = await recognise_among(connection, token, Purpose.RSVP, things, keys=keys)
    if member is None or standing is not LinkStatus.GOOD:
        return _BY_STANDING[standing]
    return member, held[key]


def question_of(one: Occurrence, now: datetime) -> RsvpStatus:
    """Whether an answer to an occurrence can be given now."""
    if one.cancelled:
        return RsvpStatus.CANCELLED
    return RsvpStatus.OPEN if now < one.starts else RsvpStatus.BEGUN
