"""What comes back by mail: bounces, complaints, answers of calendar programs, wishes to leave. Nothing is answered."""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.address import address_key
from scheduler.domain.bounce import Bounce, Failure
from scheduler.domain.inbox import Way, is_bounce_of, leave_tokens_in, tokens_in
from scheduler.domain.problem import Refused
from scheduler.domain.reply import Reply, newest, order_of, read_uid
from scheduler.domain.token import Keys, Purpose, token_subject
from scheduler.service.leaving import take_off
from scheduler.service.recognising import Standing, recognise
from scheduler.service.refusing import worn_out
from scheduler.service.responding import Question, question_of
from scheduler.service.understanding import Complaint, Said, understand
from scheduler.store import answers, members, occurrences, returns
from scheduler.store.database import Database
from scheduler.store.members import Member

LONGEST_KEPT = 256 * 1024
"""Octets of a message that are kept for a look."""

QUEUE_OCTETS = 64 * 1024 * 1024
"""How much may wait for a look where the settings say nothing else."""

_MOST_TOKENS = 10


class _Unclear(Exception):
    """Nobody but a convenor can say what is to be done with a message; says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Desk:
    """What acting on a message needs."""

    connection: AsyncConnection
    said: Said
    keys: Keys
    domain: str
    invited: Mapping[str, int]
    now: datetime


async def ingest(
    database: Database, octets: bytes, *, recipient: str = "", keys: Keys, domain: str, now: datetime,
    queue: int = QUEUE_OCTETS,
) -> str:  # fmt: skip
    """Do what one message asks for, once however often it comes, and say in a line without addresses what that was.

    `recipient` is the envelope's, where it is known; otherwise the headers tell it. `domain` is that of UIDs. What
    cannot be understood, or is not proved by a token, changes nothing and is kept for a convenor's look, as long as no
    more than `queue` octets wait for one; then it is only counted, since a mail server would return what is refused to
    somebody who may not have sent it. Raises Refused where there is no message.
    """
    if not octets.strip():
        raise Refused("there is no message on standard input")
    try:
        said = understand(octets, recipient=recipient)
    except Refused as refused:
        async with database.write() as connection:
            return await _keep(
                connection,
                octets,
                sha256(octets).hexdigest(),
                why=str(refused),
                now=now,
                queue=_open_to_all(queue),
            )
    invited = await _invited(database, said, keys, domain) if said.replies else {}
    async with database.write() as connection:
        if await returns.is_known(connection, said.digest):
            return "the same message came before; nothing was done"
        desk = _Desk(
            connection=connection, said=said, keys=keys, domain=domain, invited=invited, now=now
        )  # fmt: skip
        try:
            return await _act(desk)
        except _Unclear as unclear:
            why = f"{unclear}: {said.subject}" if said.subject else str(unclear)
        # Its author by its own word: good for nothing but that it is erased with them.
        author = await _member_at(connection, said.author)
        return await _keep(
            connection, octets, said.digest, why=why, now=now, whose=author.id if author else None,
            queue=queue if await _is_proven(desk) else _open_to_all(queue),
        )  # fmt: skip


def _open_to_all(queue: int) -> int:
    """The room for messages that no token of ours proves: strangers cannot fill what is left for bounces."""
    return queue * 3 // 4


async def _is_proven(desk: _Desk) -> bool:
    """Whether a message came to the return path of a member's mail, which only our mail names."""
    token = _return_path(desk)
    member = await _named(desk, token)
    return member is not None and is_bounce_of(desk.keys, token, member.address)


async def _act(desk: _Desk) -> str:
    said = desk.said
    if leaves := [one.token for one in said.tokens if one.way is Way.LEAVE]:
        return await _leave(desk, leaves[0])
    if said.complaint:
        return await _complained(desk, said.complaint)
    if said.bounce and not said.by_form:
        return await _bounced(desk, said.bounce)
    if said.replies:
        return "; ".join([await _answered(desk, one) for one in newest(said.replies, desk.now)])
    if said.bounce and (said.returned or not said.automatic or await _names_its_member(desk, said.bounce)):
        return await _bounced(desk, said.bounce)
    if said.returned:
        raise _Unclear("mail that came back, but does not say why in words that are known")
    if said.automatic:
        return "an automatic reply: discarded"
    raise _Unclear("no bounce, answer or wish to leave")


async def _leave(desk: _Desk, token: str) -> str:
    standing, member = await recognise(desk.connection, token, Purpose.LEAVE, keys=desk.keys)
    if member is None:
        raise _Unclear(f"a wish to leave by an address that is {standing}")
    if standing is Standing.LEFT:
        return f"member {member.id} had left before"
    await take_off(desk.connection, member.id, desk.now)
    return f"member {member.id} has left"


async def _complained(desk: _Desk, complaint: Complaint) -> str:
    """Whom it is about is known by the links and the return path of our own mail in it."""
    if not complaint.is_one:
        raise _Unclear(f"a report of the kind {complaint.kind}")
    member = await _ours(desk, complaint.text)
    if member is None:
        raise _Unclear("a complaint that names no link of a member's")
    await returns.keep(
        desk.connection, digest=desk.said.digest, kind="complaint", member=member.id,
        words=complaint.kind or "complaint", now=desk.now,
    )  # fmt: skip
    if member.status == "left":
        return f"a complaint: member {member.id} had left before"
    await take_off(desk.connection, member.id, desk.now)
    return f"a complaint: member {member.id} has left"


async def _ours(desk: _Desk, text: str) -> Member | None:
    """The member of the first good token, for leaving or of a return path, in a text."""
    for token in leave_tokens_in(text)[:_MOST_TOKENS]:
        _, member = await recognise(desk.connection, token, Purpose.LEAVE, keys=desk.keys)
        if member:
            return member
    for one in [*tokens_in(text), *desk.said.tokens][:_MOST_TOKENS]:
        member = await _named(desk, one.token)
        if member and is_bounce_of(desk.keys, one.token, member.address):
            return member
    return None


async def _named(desk: _Desk, token: str) -> Member | None:
    """The member whom a token claims to be of, unverified."""
    number = token_subject(token)
    return await members.by_id(desk.connection, number) if number is not None else None


def _return_path(desk: _Desk) -> str:
    """The token of the address to which a bounce came back."""
    return next((one.token for one in desk.said.tokens if one.way is Way.BOUNCE), "")


async def _names_its_member(desk: _Desk, bounce: Bounce) -> bool:
    """A note of absence may look like a bounce; a bounce names the address that it is about."""
    member = await _named(desk, _return_path(desk))
    return member is not None and member.address_key in {address_key(one) for one in bounce.addresses}


async def _bounced(desk: _Desk, bounce: Bounce) -> str:
    if bounce.failure is None:
        return f"no failure ({bounce.status}): discarded"
    token = _return_path(desk)
    member = await _named(desk, token)
    if member is None or not is_bounce_of(desk.keys, token, member.address):
        if any(is_bounce_of(desk.keys, token, address) for address in bounce.addresses):
            return "a bounce of an address to which nothing goes any more: discarded"
        raise _Unclear("a bounce that did not come back to where our mail goes out from")
    failure = bounce.failure_for(member.address)
    await returns.keep(
        desk.connection, digest=desk.said.digest, kind=failure, member=member.id, words=bounce.words,
        now=desk.now,
    )  # fmt: skip
    told = f"{failure} bounce ({bounce.status}) of member {member.id}"
    if failure is Failure.POLICY:
        return f"{told}: the other side does not want our mail; nobody is suppressed"
    if member.suppressed_at:
        return f"{told}: suppressed already"
    if failure is Failure.SOFT and not await worn_out(desk.connection, now=desk.now, member=member.id):
        return f"{told}: counted"
    await returns.suppress(desk.connection, [member.id], desk.now)
    return f"{told}: suppressed"


async def _answered(desk: _Desk, reply: Reply) -> str:
    """The UID is one member's own: who echoes it was sent the invitation."""
    named = read_uid(reply.uid, desk.domain)
    one = await occurrences.one_occurrence(desk.connection, named[0]) if named else None
    if named is None or one is None:
        raise _Unclear("an answer to no meeting of ours")
    number = desk.invited.get(reply.uid)
    member = await members.by_id(desk.connection, number) if number is not None else None
    if member is None:
        raise _Unclear("an answer whose invitation was not sent to any member")
    answer = reply.answer_of(member.address)
    if answer is None:
        raise _Unclear("an answer that names several people, and not the one who was invited")
    if not answer:
        raise _Unclear("an answer that says neither yes nor no")
    # Of two answers at the same time one is the later.
    await members.lock(desk.connection, member.id)
    told, question = f"an answer of member {member.id} to {one.key}", question_of(one, desk.now)
    if member.status == "left":
        return f"{told}, who has left: discarded"
    if question is not Question.OPEN:
        return f"{told}, which has {question}: discarded"
    sequence = reply.sequence_for(one.sequence, one.starts, one.zone)
    if sequence < one.sequence:
        return f"{told} before it was changed (SEQUENCE {sequence}, now {one.sequence}): discarded"
    order = (sequence, order_of(reply, desk.now)[1])
    holds = await answers.order_of(desk.connection, member.id, one.key)
    if holds and order < holds:
        return f"{told}, older than the one that holds: discarded"
    if order != holds or answer != await answers.answer_of(desk.connection, member.id, one.key):
        await answers.set_answer(
            desk.connection, member.id, one.key, answer=answer, now=desk.now, order=order
        )
    return f"{told}: {answer}"


async def _invited(database: Database, said: Said, keys: Keys, domain: str) -> dict[str, int]:
    """The number of the member for whom each UID of a message's replies was made, whatever address answers."""
    found: dict[str, int] = {}
    async with database.read() as connection:
        for reply in said.replies:
            named = read_uid(reply.uid, domain)
            if named is None or await occurrences.one_occurrence(connection, named[0]) is None:
                continue
            if (number := await _member_of(connection, said, reply, named, keys=keys)) is not None:
                found[reply.uid] = number
    return found


async def _member_of(
    connection: AsyncConnection, said: Said, reply: Reply, named: tuple[str, str], *, keys: Keys
) -> int | None:
    occurrence, keyed = named
    # Most answer with the address that was invited: only otherwise everybody's hash is compared.
    for address in (*(one for line in reply.attendees for one in line.addresses), said.author):
        known = await _member_at(connection, address)
        if known and hmac.compare_digest(keys.name("uid", f"{occurrence}:{known.id}"), keyed):
            return known.id
    async for numbers in members.numbers(connection):
        names = keys.names("uid", [f"{occurrence}:{number}" for number in numbers])
        for number, name in zip(numbers, names, strict=True):
            if hmac.compare_digest(name, keyed.encode()):
                return number
    return None


async def _member_at(connection: AsyncConnection, address: str) -> Member | None:
    return await members.by_key(connection, address_key(address)) if address else None


async def _keep(
    connection: AsyncConnection,
    octets: bytes,
    digest: str,
    *,
    why: str,
    now: datetime,
    queue: int,
    whose: int | None = None,
) -> str:
    if await returns.is_known(connection, digest):
        return "the same message came before; nothing was done"
    needed = len(octets[:LONGEST_KEPT]) + returns.ROW_OCTETS
    if await returns.octets_waiting(connection) + needed > queue:
        await returns.note_unkept(connection, now)
        return (
            "not kept, only counted: too much waits for a look already; see `returns list` and `returns drop`"
        )
    number = await returns.keep(
        connection, digest=digest, kind="review", member=whose, words=why[:300], now=now, content=octets[:LONGEST_KEPT]
    )  # fmt: skip
    if number is None:
        return "the same message came before; nothing was done"
    return f"kept for somebody's look: `third-thursday returns show {number}`"
