"""Returned messages kept for a convenor's review: find, read and drop them, and do what they ask for."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.actor import SERVICE, Actor
from scheduler.domain.errors import Refused
from scheduler.domain.inbound import (
    enclosed_headers,
    own_parts,
    printable,
    read_message,
    readable,
    senders,
    shown_text,
    subject,
)
from scheduler.domain.occurrence import ANSWERS, Series
from scheduler.domain.text import folded_prose, quoted
from scheduler.service.members import require_member
from scheduler.service.preferences import mark_left
from scheduler.service.rsvp import RsvpStatus, rsvp_status
from scheduler.service.schedule import find_occurrence
from scheduler.store import answers, audit, forwards, members, occurrences, returns
from scheduler.store.database import Database
from scheduler.store.members import Member

_BATCH = 500
_LONGEST_TEXT = 20_000
_LONGEST_CAUSE = 100

SETTLEMENTS = ("leave", "suppress", "lift", *ANSWERS)
"""What a convenor can do for the member whom a message is about: let them leave, stop mail to their address, send mail
to it again, or save their answer to a meeting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageForReview:
    """A message as a convenor reads it: text only, without anything that a browser would load or run.

    `reason` is why it was not understood, `address` that of the member it is about, if known. `forwarded` is queued,
    sent or failed for a letter that goes on to the convenors' address, otherwise empty.
    """

    id: int
    came_at: datetime
    reason: str
    sender: str
    subject: str
    text: str
    address: str
    forwarded: str


async def messages_for_review(database: Database, *, after: int = 0, limit: int) -> list[MessageForReview]:
    """Return the messages that wait for review with a number above `after`, the oldest first."""
    async with database.read() as connection:
        waiting = [
            message async for message in returns.waiting(connection, after=after, batch=limit, most=limit)
        ]
        forwarded = await forwards.states_of(connection, [message.id for message in waiting])
    return [_for_review(*message, address="", forwarded=forwarded.get(message.id, "")) for message in waiting]


async def message_for_review(database: Database, number: int) -> MessageForReview | None:
    """Return one message that waits for review; None if there is none with that number."""
    async with database.read() as connection:
        found = await returns.by_id(connection, number)
        forwarded = await forwards.states_of(connection, [number])
    if found is None or found[0].kind != "review":
        return None
    returned, content = found
    return _for_review(
        returned.id,
        returned.came_at,
        returned.words,
        content,
        address=returned.address or "",
        forwarded=forwarded.get(number, ""),
    )


def _for_review(
    number: int, came_at: datetime, reason: str, content: bytes, *, address: str, forwarded: str
) -> MessageForReview:
    try:
        message = read_message(content)
        title = subject(message)
        texts = [
            shown_text(part) for part in own_parts(message) if part.get_content_maintype() == "text"
        ] or [enclosed_headers(message)]
    except Refused:
        title, texts = "", [content.decode(errors="replace")]
    lines = "\n".join(texts).splitlines()
    text = "\n".join(printable(line) for line in lines)
    return MessageForReview(
        id=number,
        came_at=came_at,
        reason=reason,
        sender=printable(senders(content)).strip(),
        subject=title,
        text=text[:_LONGEST_TEXT].strip(),
        address=address,
        forwarded=forwarded,
    )


async def drop_message(database: Database, number: int, *, by: Actor = SERVICE, now: datetime) -> bool:
    """Delete a returned message; return whether it was there."""
    async with database.write() as connection:
        dropped = await returns.drop(connection, number)
        if dropped:
            await audit.record(connection, by, "message-dropped", subject=f"message {number}", now=now)
        return dropped


async def settle_message(
    database: Database,
    number: int,
    *,
    address: str,
    settlement: str,
    key: str = "",
    all_series: Mapping[str, Series],
    by: Actor = SERVICE,
    now: datetime,
) -> Member:
    """Do one of SETTLEMENTS for the member with that address, delete the message, and return the member.

    An answer is to the meeting `key`. Two convenors at the same time do it once. Raises Refused if there is no such
    message, member or meeting, and for an answer to a meeting that takes none.
    """
    if settlement not in SETTLEMENTS:
        raise Refused(f"{quoted(settlement)} is unknown; give one of {', '.join(SETTLEMENTS)}")
    async with database.write() as connection:
        # Helpers do this too, and may not see the list of members.
        member = await require_member(connection, address, suggests=False)
        if settlement in ANSWERS:
            await _save_answer(connection, member, settlement, key, all_series, now)
        elif settlement == "leave":
            await mark_left(connection, member, now=now)
        elif settlement == "suppress":
            found = await returns.by_id(connection, number)
            await members.change(
                connection,
                member.id,
                suppressed_at=member.suppressed_at or now,
                suppressed_for=(found[0].words if found else "")[:_LONGEST_CAUSE],
            )
        else:
            await members.change(connection, member.id, **await returns.clear_bounces(connection, member.id))
        if not await returns.drop_many(connection, [number]):
            raise Refused(f"there is no message {number} any more; somebody else may have dealt with it")
        await audit.record(
            connection,
            by,
            "message-settled",
            subject=f"message {number}",
            about=member.id,
            after={"settlement": settlement, **({"meeting": key} if key else {})},
            now=now,
        )
        return member


async def _save_answer(
    connection: AsyncConnection,
    member: Member,
    answer: str,
    key: str,
    all_series: Mapping[str, Series],
    now: datetime,
) -> None:
    occurrence = await find_occurrence(connection, all_series, key, now=now)
    stored = await occurrences.occurrence_by_key(connection, key) if occurrence else None
    if stored is None:
        raise Refused(f"there is no meeting {quoted(key)}", command="`schedule` shows them")
    if rsvp_status(stored, now) is not RsvpStatus.OPEN:
        raise Refused(f"the meeting {key} takes no answers any more")
    await answers.set_answer(connection, member.id, key, answer=answer, now=now)


async def find_waiting(
    database: Database,
    *,
    sender: str = "",
    older_than: timedelta | None = None,
    containing: str = "",
    now: datetime,
) -> list[int]:
    """Return the numbers of the kept messages that match every condition: `sender` is part of a name or address,
    `containing` is part of the message. Case does not matter, and encodings are decoded."""
    before = now - older_than if older_than is not None else None
    numbers = []
    async with database.read() as connection:
        async for message in returns.waiting(connection, before=before):
            if sender and folded_prose(sender) not in folded_prose(senders(message.content)):
                continue
            if containing and folded_prose(containing) not in folded_prose(
                f"{message.words}\n{readable(message.content)}"
            ):
                continue
            numbers.append(message.id)
    return numbers


async def drop_waiting(database: Database, numbers: list[int]) -> int:
    """Delete these kept messages, in batches so that other writers need not wait; return how many were deleted."""
    deleted = 0
    for start in range(0, len(numbers), _BATCH):
        async with database.write() as connection:
            deleted += await returns.drop_many(connection, numbers[start : start + _BATCH])
    return deleted
