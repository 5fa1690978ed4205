"""Act on inbound mail: bounces, complaints, calendar replies and requests to leave. Nothing is ever answered."""

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.message import Message
from email.utils import parseaddr
from hashlib import sha256

import structlog
from flufl.bounce import all_failures
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.address import address_key
from scheduler.domain.bounce import HARD, Bounce, Failure, bounce, judge, read_bounce, said_codes
from scheduler.domain.bounce_text import around_codes, own_words, read_plain_bounce
from scheduler.domain.errors import Refused
from scheduler.domain.inbound import (
    COMPLAINT_TYPE,
    enclosed_headers,
    field,
    has_empty_return_path,
    is_automatic,
    is_by_mail_system,
    parts,
    printable,
    read_message,
    subject,
    text_of,
)
from scheduler.domain.rsvp import CalendarReply, newest, order_of, read_replies, read_uid
from scheduler.domain.token import Keys, Purpose, token_subject
from scheduler.domain.verp import ReturnPurpose, Token, is_bounce_of, leave_tokens_in, tokens_in
from scheduler.service.personal_links import LinkStatus, recognise
from scheduler.service.rsvp import RsvpStatus, question_of
from scheduler.service.unsubscribe import take_off
from scheduler.store import answers, members, occurrences, returns
from scheduler.store.database import Database
from scheduler.store.members import Member

SOFT_BOUNCES, SOFT_WITHIN, SOFT_SPAN = 5, timedelta(days=90), timedelta(days=21)
"""So many soft bounces within that time, the last so long after the first, and the address counts as dead."""

LOOK_BACK = timedelta(days=3)
"""Done daily, this misses none, should a day have been missed; each refusal counts once."""

log = structlog.get_logger()


async def count_refusals(database: Database, *, now: datetime) -> int:
    """Count what relays refused for good since the last look, and suppress whose addresses are worn out by it; returns
    how many.

    One refusal suppresses nobody, unlike a hard bounce: a relay that has lost its list of users says the same of all.
    """
    async with database.write() as connection:
        refused = await returns.add_refusals(connection, HARD, since=now - LOOK_BACK)
        worn = await worn_out(connection, now=now) if refused else []
        if worn:
            await returns.suppress(connection, worn, now)
    if refused:
        log.info("refusals-counted", refused=refused, suppressed=len(worn))
    return len(worn)


async def worn_out(connection: AsyncConnection, *, now: datetime, member: int | None = None) -> list[int]:
    """The members, or the one, from whose addresses so much came back that they count as dead."""
    return await returns.members_over_limit(
        connection, bounces=SOFT_BOUNCES, since=now - SOFT_WITHIN, span=SOFT_SPAN, member=member
    )


_RECIPIENTS = ("delivered-to", "x-original-to", "envelope-to", "x-envelope-to", "x-delivered-to", "to", "cc")
_SAME = ("message-id", "date", "from", "to", "subject")
_CALENDARS = ("text/calendar", "application/ics", "text/x-vcalendar")
_LONGEST_FOR_FLUFL = 200_000
_NOT_COMPLAINTS = ("not-spam", "auth-failure", "dmarc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Complaint:
    """That somebody pressed "spam" (RFC 5965): its kind, and all that may name one of our links."""

    kind: str
    text: str

    @property
    def is_one(self) -> bool:
        """Whether it is a complaint, and no other report in that form."""
        return self.kind not in _NOT_COMPLAINTS


@dataclass(frozen=True, slots=True, kw_only=True)
class InboundMessage:
    """What a message says. `digest` is the same for the same message, whatever was written above it on its way;
    `by_form` says that the bounce was recognised by its words alone, `returned` that a mail system sent it to
    an address of ours for bounces, so that it is no note of a person's absence."""

    digest: str
    tokens: Sequence[Token]
    author: str
    subject: str
    complaint: Complaint | None
    bounce: Bounce | None
    by_form: bool
    returned: bool
    replies: Sequence[CalendarReply]
    automatic: bool


def parse_inbound(octets: bytes, *, recipient: str = "") -> InboundMessage:
    """Read a message; `recipient` is the envelope's, where it is known. Raises Refused where it cannot be read."""
    try:
        return _read(octets, recipient)
    except Refused:
        raise
    except (
        Exception
    ) as error:  # around one message, which is kept: the library trips over many that nobody foresaw
        raise Refused(f"it cannot be read ({type(error).__name__})") from error


def _read(octets: bytes, recipient: str) -> InboundMessage:
    message = read_message(octets)
    tokens = tokens_in(f"{recipient}\n{field(message, *_RECIPIENTS)}")
    found, by_form, returned = read_bounce(message), False, False
    if any(one.way is ReturnPurpose.BOUNCE for one in tokens):
        by_mail_system = is_by_mail_system(message)
        returned = by_mail_system or has_empty_return_path(message)
        if not found:
            found = _plain_bounce(message, octets, returned=returned, by_mail_system=by_mail_system)
            by_form = found is not None
    return InboundMessage(
        digest=_digest(message, octets),
        tokens=tokens,
        author=printable(parseaddr(field(message, "from"))[1]),
        subject=subject(message),
        complaint=_complaint(message),
        bounce=found,
        by_form=by_form,
        returned=returned,
        replies=[] if found and not by_form else _replies(message),
        automatic=is_automatic(message),
    )


def _complaint(message: Message) -> Complaint | None:
    for part in parts(message):
        if part.get_content_type() == COMPLAINT_TYPE:
            said = text_of(part)
            lines = [line for line in said.splitlines() if line.lower().startswith("feedback-type:")]
            kind = printable(lines[0].partition(":")[2].strip().lower())[:40] if lines else ""
            return Complaint(kind=kind, text=f"{said}\n{enclosed_headers(message)}")
    return None


def _plain_bounce(message: Message, octets: bytes, *, returned: bool, by_mail_system: bool) -> Bounce | None:
    """A bounce without a delivery status."""
    found = read_plain_bounce(message, by_mail_system=by_mail_system) if returned else None
    if found or len(octets) > _LONGEST_FOR_FLUFL:
        return found
    return _known_by_form(message)


def _known_by_form(message: Message) -> Bounce | None:
    """A bounce in a form that the library knows. It calls many things permanent; the code in its words says better what
    it is."""
    temporary, permanent = all_failures(message)
    addresses = tuple(printable(one.decode("ascii", "replace")) for one in (*permanent, *temporary))
    if not permanent:
        return Bounce(None, "delayed", "delayed", addresses) if temporary else None
    words = own_words(message)
    return bounce(*judge(said_codes(words), around_codes(words)), "", addresses)


def _replies(message: Message) -> list[CalendarReply]:
    return [
        one
        for part in parts(message)
        if part.get_content_type() in _CALENDARS or (part.get_filename() or "").lower().endswith(".ics")
        for one in read_replies(text_of(part), method=str(part.get_param("method") or ""))
    ]


def _digest(message: Message, octets: bytes) -> str:
    text = "\n".join(field(message, name) for name in _SAME)
    body = octets.replace(b"\r\n", b"\n").partition(b"\n\n")[2]
    return sha256(text.encode(errors="replace") + b"\0" + body).hexdigest()


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
    said: InboundMessage
    keys: Keys
    domain: str
    invited: Mapping[str, int]
    now: datetime


async def ingest(
    database: Database,
    octets: bytes,
    *,
    recipient: str = "",
    keys: Keys,
    domain: str,
    now: datetime,
    queue: int = QUEUE_OCTETS,
) -> str:
    """Do what one message asks for, once however often it comes, and say in a line without addresses what that was.

    `recipient` is the envelope's, where it is known; otherwise the headers tell it. `domain` is that of UIDs. What
    cannot be understood, or is not proved by a token, changes nothing and is kept for a convenor's look, as long as no
    more than `queue` octets wait for one; then it is only counted, since a mail server would return what is refused to
    somebody who may not have sent it. Raises Refused where there is no message.
    """
    if not octets.strip():
        raise Refused("there is no message on standard input")
    try:
        said = parse_inbound(octets, recipient=recipient)
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
        desk = _Desk(connection=connection, said=said, keys=keys, domain=domain, invited=invited, now=now)
        try:
            return await _act(desk)
        except _Unclear as unclear:
            why = f"{unclear}: {said.subject}" if said.subject else str(unclear)
        # Its author by its own word: good for nothing but that it is erased with them.
        author = await _member_at(connection, said.author)
        return await _keep(
            connection,
            octets,
            said.digest,
            why=why,
            now=now,
            whose=author.id if author else None,
            queue=queue if await _is_proven(desk) else _open_to_all(queue),
        )


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
    if leaves := [one.token for one in said.tokens if one.way is ReturnPurpose.LEAVE]:
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
    if standing is LinkStatus.LEFT:
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
    await returns.add(
        desk.connection,
        digest=desk.said.digest,
        kind="complaint",
        member=member.id,
        words=complaint.kind or "complaint",
        now=desk.now,
    )
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
    return next((one.token for one in desk.said.tokens if one.way is ReturnPurpose.BOUNCE), "")


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
    await returns.add(
        desk.connection,
        digest=desk.said.digest,
        kind=failure,
        member=member.id,
        words=bounce.words,
        now=desk.now,
    )
    told = f"{failure} bounce ({bounce.status}) of member {member.id}"
    if failure is Failure.POLICY:
        return f"{told}: the other side does not want our mail; nobody is suppressed"
    if member.suppressed_at:
        return f"{told}: suppressed already"
    if failure is Failure.SOFT and not await worn_out(desk.connection, now=desk.now, member=member.id):
        return f"{told}: counted"
    await returns.suppress(desk.connection, [member.id], desk.now)
    return f"{told}: suppressed"


async def _answered(desk: _Desk, reply: CalendarReply) -> str:
    """The UID is one member's own: who echoes it was sent the invitation."""
    named = read_uid(reply.uid, desk.domain)
    one = await occurrences.occurrence_by_key(desk.connection, named[0]) if named else None
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
    if question is not RsvpStatus.OPEN:
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


async def _invited(database: Database, said: InboundMessage, keys: Keys, domain: str) -> dict[str, int]:
    """The number of the member for whom each UID of a message's replies was made, whatever address answers."""
    found: dict[str, int] = {}
    async with database.read() as connection:
        for reply in said.replies:
            named = read_uid(reply.uid, domain)
            if named is None or await occurrences.occurrence_by_key(connection, named[0]) is None:
                continue
            if (number := await _member_of(connection, said, reply, named, keys=keys)) is not None:
                found[reply.uid] = number
    return found


async def _member_of(
    connection: AsyncConnection,
    said: InboundMessage,
    reply: CalendarReply,
    named: tuple[str, str],
    *,
    keys: Keys,
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
    if await returns.octets_in_review(connection) + needed > queue:
        await returns.note_discarded(connection, now)
        return (
            "not kept, only counted: too much waits for a look already; see `returns list` and `returns drop`"
        )
    number = await returns.add(
        connection,
        digest=digest,
        kind="review",
        member=whose,
        words=why[:300],
        now=now,
        content=octets[:LONGEST_KEPT],
    )
    if number is None:
        return "the same message came before; nothing was done"
    return f"kept for somebody's look: `third-thursday returns show {number}`"
