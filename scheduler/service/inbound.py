"""Act on inbound mail: bounces, complaints, calendar replies and requests to leave. Nothing is ever answered."""

import hmac
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.message import Message
from email.utils import parseaddr
from hashlib import sha256

import structlog
from flufl.bounce import all_failures
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.domain.address import address_key
from scheduler.domain.bounce import (
    HARD,
    Bounce,
    Failure,
    addresses_in,
    bounce,
    judge,
    read_bounce,
    said_codes,
)
from scheduler.domain.bounce_text import around_codes, own_words, read_plain_bounce
from scheduler.domain.calendar_reply import CalendarReply, newest, order_of, read_replies, read_uid
from scheduler.domain.community import Community
from scheduler.domain.errors import Refused
from scheduler.domain.inbound import (
    COMPLAINT_TYPE,
    enclosed_headers,
    field,
    has_empty_return_path,
    is_automatic,
    is_by_mail_system,
    is_from_person,
    is_read_receipt,
    own_parts,
    parts,
    printable,
    read_message,
    subject,
    text_of,
)
from scheduler.domain.token import (
    Keys,
    Purpose,
    ReturnPurpose,
    ReturnToken,
    is_bounce_of,
    leave_token_in_subject,
    leave_tokens_in,
    mail_names,
    mail_names_in,
    token_subject,
    tokens_in,
)
from scheduler.service.personal_links import LinkStatus, resolve_link
from scheduler.service.preferences import mark_left
from scheduler.service.rsvp import RsvpStatus, rsvp_status
from scheduler.store import answers, forwards, members, occurrences, receipts, returns
from scheduler.store.database import Database
from scheduler.store.ledger import reports
from scheduler.store.members import Member

SOFT_BOUNCES, SOFT_WITHIN, SOFT_SPAN = 5, timedelta(days=90), timedelta(days=21)
"""An address counts as dead after this many soft bounces within `SOFT_WITHIN`, if the last came at least `SOFT_SPAN`
after the first."""

LOOK_BACK = timedelta(days=3)
"""How far back the daily count of refusals goes, in case a day was missed; each refusal counts once."""

LONGEST_IN_TRANSIT = timedelta(days=30)
"""How long after a mail was sent a bounce of it is believed because it quotes the mail's name."""

log = structlog.get_logger()


async def count_refusals(database: Database, *, now: datetime) -> int:
    """Count permanent refusals by relays since the last count, suppress the addresses that are now undeliverable, and
    return how many.

    Unlike a hard bounce, a single refusal suppresses nobody: a relay that has lost its list of users refuses everybody.
    """
    async with database.write() as connection:
        refused = await returns.add_refusals(connection, HARD, since=now - LOOK_BACK)
        undeliverable = await find_undeliverable(connection, now=now) if refused else []
        if undeliverable:
            await returns.suppress(connection, undeliverable, now)
    if refused:
        log.info("refusals-counted", refused=refused, suppressed=len(undeliverable))
    return len(undeliverable)


async def find_undeliverable(
    connection: AsyncConnection, *, now: datetime, member: int | None = None
) -> list[int]:
    """Return the members (or only `member`) whose addresses have bounced so often that they count as dead."""
    return await returns.members_over_limit(
        connection, bounces=SOFT_BOUNCES, since=now - SOFT_WITHIN, span=SOFT_SPAN, member=member
    )


_RECIPIENTS = ("delivered-to", "x-original-to", "envelope-to", "x-envelope-to", "x-delivered-to", "to", "cc")
_DIGEST_HEADERS = ("message-id", "date", "from", "to", "subject")
_CALENDAR_TYPES = ("text/calendar", "application/ics", "text/x-vcalendar")
_LONGEST_FOR_FLUFL = 200_000
_LONGEST_COPY = 256 * 1024
_NOT_COMPLAINTS = ("not-spam", "auth-failure", "dmarc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Complaint:
    """A report that somebody marked our mail as spam (RFC 5965): its kind, and the text that may hold our links."""

    kind: str
    text: str

    @property
    def is_spam(self) -> bool:
        """Whether it is a complaint, rather than another report in this format."""
        return self.kind not in _NOT_COMPLAINTS


@dataclass(frozen=True, slots=True, kw_only=True)
class InboundMessage:
    """A parsed message. `digest` stays the same whatever headers were added on the way; `by_form` means that the bounce
    was recognised by its wording alone, and `returned` that a mail system sent it to one of our addresses for bounces,
    or encloses mail of ours, so that it is not somebody's absence note. `copied_names` and `copied_to` are what a
    bounce quotes of the mail it is about: its Message-ID or ENVID without the domain, and its recipients. A message
    `from_person` has no sign of a program, a list or a mail system."""

    digest: str
    tokens: Sequence[ReturnToken]
    author: str
    subject: str
    complaint: Complaint | None
    bounce: Bounce | None
    by_form: bool
    returned: bool
    replies: Sequence[CalendarReply]
    automatic: bool
    copied_names: Sequence[str]
    copied_to: Sequence[str]
    from_person: bool


def parse_inbound(octets: bytes, *, recipient: str = "") -> InboundMessage:
    """Parse a message; `recipient` is the envelope recipient, if known. Raises Refused for an unreadable message."""
    try:
        return _read(octets, recipient)
    except Refused:
        raise
    except Exception as error:
        # The library fails in many ways on malformed mail; the one message is kept for review.
        raise Refused(f"it cannot be read ({type(error).__name__})") from error


def _read(octets: bytes, recipient: str) -> InboundMessage:
    message = read_message(octets)
    tokens = tokens_in(f"{recipient}\n{field(message, *_RECIPIENTS)}")
    if leave := leave_token_in_subject(subject(message)):
        tokens.append(leave)
    failure_report, by_form, returned = read_bounce(message), False, False
    by_mail_system = is_by_mail_system(message) and not is_read_receipt(message)
    copy = _copy_of_our_mail(message) if by_mail_system else ""
    copied_names = mail_names_in(copy)
    to_return_path = any(token.purpose is ReturnPurpose.BOUNCE for token in tokens)
    if to_return_path or copied_names:
        returned = by_mail_system or (to_return_path and has_empty_return_path(message))
        if not failure_report:
            failure_report = _plain_bounce(message, octets, returned=returned, by_mail_system=by_mail_system)
            by_form = failure_report is not None
    return InboundMessage(
        digest=_digest(message, octets),
        tokens=tokens,
        author=printable(parseaddr(field(message, "from"))[1]),
        subject=subject(message),
        complaint=_complaint(message),
        bounce=failure_report,
        by_form=by_form,
        returned=returned,
        replies=[] if failure_report and not by_form else _replies(message),
        automatic=is_automatic(message),
        copied_names=copied_names,
        copied_to=_copied_recipients(copy),
        from_person=is_from_person(message),
    )


def _copy_of_our_mail(message: Message) -> str:
    """Return what a bounce quotes of the mail it is about: its headers or all of it, and the ENVID of a report."""
    texts = [text_of(part) for part in own_parts(message) if part.get_content_maintype() == "text"]
    return "\n".join([enclosed_headers(message), *texts])[:_LONGEST_COPY]


def _copied_recipients(copy: str) -> list[str]:
    lines = [line for line in copy.splitlines() if line.lower().startswith("to:")]
    return [address for line in lines[:3] for address in addresses_in(line)]


def _complaint(message: Message) -> Complaint | None:
    for part in parts(message):
        if part.get_content_type() == COMPLAINT_TYPE:
            report = text_of(part)
            lines = [line for line in report.splitlines() if line.lower().startswith("feedback-type:")]
            kind = printable(lines[0].partition(":")[2].strip().lower())[:40] if lines else ""
            return Complaint(kind=kind, text=f"{report}\n{enclosed_headers(message)}")
    return None


def _plain_bounce(message: Message, octets: bytes, *, returned: bool, by_mail_system: bool) -> Bounce | None:
    """Read a bounce that has no delivery status part."""
    plain = read_plain_bounce(message, by_mail_system=by_mail_system) if returned else None
    if plain or len(octets) > _LONGEST_FOR_FLUFL:
        return plain
    return _bounce_by_flufl(message)


def _bounce_by_flufl(message: Message) -> Bounce | None:
    """Read a bounce in a format that flufl.bounce knows. The library calls too much permanent, so the status code in
    the text decides."""
    temporary, permanent = all_failures(message)
    addresses = tuple(printable(address.decode("ascii", "replace")) for address in (*permanent, *temporary))
    if not permanent:
        return Bounce(None, "delayed", "delayed", addresses) if temporary else None
    words = own_words(message)
    return bounce(*judge(said_codes(words), around_codes(words)), "", addresses)


def _replies(message: Message) -> list[CalendarReply]:
    return [
        reply
        for part in parts(message)
        if part.get_content_type() in _CALENDAR_TYPES or (part.get_filename() or "").lower().endswith(".ics")
        for reply in read_replies(text_of(part), method=str(part.get_param("method") or ""))
    ]


def _digest(message: Message, octets: bytes) -> str:
    text = "\n".join(field(message, name) for name in _DIGEST_HEADERS)
    body = octets.replace(b"\r\n", b"\n").partition(b"\n\n")[2]
    return sha256(text.encode(errors="replace") + b"\0" + body).hexdigest()


LONGEST_KEPT = 256 * 1024
"""How many octets of a message are kept for review."""

QUEUE_OCTETS = 64 * 1024 * 1024
"""How many octets of messages may wait for review, unless the settings say otherwise."""

_MOST_TOKENS = 10


class _NeedsReview(Exception):
    """Only a convenor can decide what to do with a message; the text says why."""


class _Letter(_NeedsReview):
    """A person has written something to the community, which its convenors should read."""


FORWARDED_A_DAY, FORWARDED_A_DAY_OF_ONE = 200, 10
"""The most letters that are forwarded to the convenors within 24 hours, in all and of one writer. The others only wait
for review, like everything else."""

FORWARD_WITHIN = timedelta(days=5)
"""How long we try to forward a letter."""


@dataclass(frozen=True, slots=True)
class Handled:
    """What was done with a message: a line without addresses, and whether a convenor has to read the message."""

    words: str
    kept: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Context:
    """A message and what is needed to act on it; `invited` gives the member for the UID of each calendar reply."""

    connection: AsyncConnection
    message: InboundMessage
    keys: Keys
    domain: str
    invited: Mapping[str, int]
    now: datetime


async def ingest(
    database: Database,
    octets: bytes,
    *,
    recipient: str = "",
    place: str | None = None,
    keys: Keys,
    domain: str,
    now: datetime,
    queue: int = QUEUE_OCTETS,
    own_addresses: Collection[str] | None = None,
) -> Handled:
    """Act on one message, once even if it arrives again, and return what was done.

    `recipient` is the envelope recipient, if known; otherwise the headers are used. `place` is where the message is in
    a mailbox. `domain` is the domain of UIDs. A message that is not understood, or not proven by a token, changes
    nothing and is kept for a convenor's review, unless more than `queue` octets already wait. Then it is only counted:
    a refused message would be returned to a sender who may be forged. What a person wrote is forwarded to the
    convenors too, if `own_addresses` are given: it is not from one of these. Raises Refused for an empty message.
    """
    if not octets.strip():
        raise Refused("there is no message on standard input")
    try:
        message = parse_inbound(octets, recipient=recipient)
    except Refused as refused:
        digest = sha256(octets).hexdigest()
        async with database.write() as connection:
            if not await receipts.add(connection, digest, place=place, now=now):
                return await _known(connection, digest)
            words, _ = await _keep(
                connection, octets, digest, why=str(refused), now=now, queue=_unproven_share(queue)
            )
            await receipts.complete(connection, digest, kept=True)
            return Handled(words, kept=True)
    invited = await _invited(database, message, keys, domain) if message.replies else {}
    async with database.write() as connection:
        if not await receipts.add(connection, message.digest, place=place, now=now):
            return await _known(connection, message.digest)
        context = _Context(
            connection=connection, message=message, keys=keys, domain=domain, invited=invited, now=now
        )
        try:
            return Handled(await _act(context), kept=False)
        except _NeedsReview as problem:
            why = f"{problem}: {message.subject}" if message.subject else str(problem)
            is_letter = isinstance(problem, _Letter)
        # The From header proves nothing; it is used only to erase the message together with that member.
        author = await _member_at(connection, message.author)
        words, number = await _keep(
            connection,
            octets,
            message.digest,
            why=why,
            now=now,
            member=author.id if author else None,
            queue=queue if await _is_proven(context) else _unproven_share(queue),
        )
        writer = None
        if is_letter and number is not None and own_addresses is not None:
            writer = await _forward(context, number, own_addresses)
        await receipts.complete(connection, message.digest, kept=True, writer=writer)
        return Handled(f"{words}, and forwarded to the convenors" if writer else words, kept=True)


def own_addresses(community: Community) -> Collection[str] | None:
    """Return the addresses whose mail is never forwarded to the convenors. Return None if nothing is forwarded, because
    without an inbox people write to the convenors directly, or because convenors read the inbox itself."""
    own = [community.address, *([community.inbox.address] if community.inbox else [])]
    if community.inbox is None or address_key(community.reply_to) in map(address_key, own):
        return None
    return [*own, community.reply_to]


async def _known(connection: AsyncConnection, digest: str) -> Handled:
    kept = await receipts.is_kept(connection, digest)
    return Handled("this message was received before; nothing was done", kept=kept)


async def _forward(context: _Context, number: int, own_addresses: Collection[str]) -> str | None:
    """Queue a kept letter for the convenors' address, and return the hash of its writer's address; None if it may not
    go on, because it is our own mail or there were too many lately."""
    writer = address_key(context.message.author)
    if not writer or writer in {address_key(address) for address in own_addresses}:
        return None
    hashed = context.keys.name("writer", writer)
    since = context.now - timedelta(days=1)
    if (
        await receipts.count_forwarded(context.connection, since=since, writer=hashed)
        >= FORWARDED_A_DAY_OF_ONE
        or await receipts.count_forwarded(context.connection, since=since) >= FORWARDED_A_DAY
    ):
        return None
    await forwards.add(context.connection, number, now=context.now, gives_up=context.now + FORWARD_WITHIN)
    return hashed


def _unproven_share(queue: int) -> int:
    """Return the share of the queue for messages without a valid token: strangers cannot fill the rest."""
    return queue * 3 // 4


async def _is_proven(context: _Context) -> bool:
    """Return whether a message came to the return path of a member's mail, which only our mail contains."""
    token = _return_path_token(context)
    member = await _claimed_member(context, token)
    return member is not None and is_bounce_of(context.keys, token, member.address)


async def _act(context: _Context) -> str:
    message = context.message
    if leaves := [token.token for token in message.tokens if token.purpose is ReturnPurpose.LEAVE]:
        return await _leave(context, leaves[0])
    if message.complaint:
        return await _complained(context, message.complaint)
    if message.bounce and not message.by_form:
        return await _bounced(context, message.bounce)
    if message.replies:
        replies = newest(message.replies, context.now)
        return "; ".join([await _answered(context, reply) for reply in replies])
    if message.bounce and (
        message.returned or not message.automatic or await _names_its_member(context, message.bounce)
    ):
        return await _bounced(context, message.bounce)
    if message.returned:
        raise _NeedsReview("returned mail that does not say why in known words")
    if message.automatic:
        return "an automatic reply: discarded"
    if message.from_person:
        raise _Letter("a letter")
    raise _NeedsReview("not a bounce, an answer or a request to leave")


async def _leave(context: _Context, token: str) -> str:
    status, member = await resolve_link(context.connection, token, Purpose.LEAVE, keys=context.keys)
    if member is None:
        raise _NeedsReview(f"a request to leave by an address that is {status}")
    if status is LinkStatus.LEFT:
        return f"member {member.id} had left before"
    await mark_left(context.connection, member, now=context.now)
    return f"member {member.id} has left"


async def _complained(context: _Context, complaint: Complaint) -> str:
    """Find the member by the links and the return path of our own mail in the complaint, and let them leave."""
    if not complaint.is_spam:
        raise _NeedsReview(f"a report of the kind {complaint.kind}")
    member = await _member_named_in(context, complaint.text)
    if member is None:
        raise _NeedsReview("a complaint that contains no link of a member")
    await returns.add(
        context.connection,
        digest=context.message.digest,
        kind="complaint",
        member=member.id,
        words=complaint.kind or "complaint",
        now=context.now,
    )
    if member.status == "left":
        return f"a complaint: member {member.id} had left before"
    await mark_left(context.connection, member, now=context.now)
    return f"a complaint: member {member.id} has left"


async def _member_named_in(context: _Context, text: str) -> Member | None:
    """Return the member of the first valid token in a text: one for leaving, or one of a return path."""
    for token in leave_tokens_in(text)[:_MOST_TOKENS]:
        _, member = await resolve_link(context.connection, token, Purpose.LEAVE, keys=context.keys)
        if member:
            return member
    for return_token in [*tokens_in(text), *context.message.tokens][:_MOST_TOKENS]:
        member = await _claimed_member(context, return_token.token)
        if member and is_bounce_of(context.keys, return_token.token, member.address):
            return member
    return None


async def _claimed_member(context: _Context, token: str) -> Member | None:
    """Return the member that a token names, without verifying it."""
    number = token_subject(token)
    return await members.by_id(context.connection, number) if number is not None else None


def _return_path_token(context: _Context) -> str:
    """Return the token of the address to which a bounce was sent; empty if there is none."""
    tokens = context.message.tokens
    return next((token.token for token in tokens if token.purpose is ReturnPurpose.BOUNCE), "")


async def _names_its_member(context: _Context, bounce: Bounce) -> bool:
    """Return whether a bounce names the address it is about; an absence note that looks like a bounce does not."""
    member = await _claimed_member(context, _return_path_token(context))
    return member is not None and member.address_key in {address_key(address) for address in bounce.addresses}


async def _bounced(context: _Context, bounce: Bounce) -> str:
    if bounce.failure is None:
        return f"no failure ({bounce.status}): discarded"
    token = _return_path_token(context)
    member = await _claimed_member(context, token)
    if member is None or not is_bounce_of(context.keys, token, member.address):
        if any(is_bounce_of(context.keys, token, address) for address in bounce.addresses):
            return "a bounce of an address that is no longer used: discarded"
        member = await _member_mailed(context, bounce)
        if member is None:
            raise _NeedsReview("a bounce that was not sent to the return path of our mail")
    failure = bounce.failure_for(member.address)
    await returns.add(
        context.connection,
        digest=context.message.digest,
        kind=failure,
        member=member.id,
        words=bounce.words,
        now=context.now,
    )
    summary = f"{failure} bounce ({bounce.status}) of member {member.id}"
    if failure is Failure.POLICY:
        return f"{summary}: the recipient's mail system does not want our mail; nobody is suppressed"
    if member.suppressed_at:
        return f"{summary}: already suppressed"
    if failure is Failure.SOFT and not await find_undeliverable(
        context.connection, now=context.now, member=member.id
    ):
        return f"{summary}: counted"
    await returns.suppress(context.connection, [member.id], context.now)
    return f"{summary}: suppressed"


async def _member_mailed(context: _Context, bounce: Bounce) -> Member | None:
    """Return the member to whose address a mail was sent that a bounce quotes: its name is in the bounce, as Message-ID
    or ENVID, and only our mail contains it. This is for an inbox whose return path carries no token."""
    named = {name.encode() for name in context.message.copied_names}
    addresses = [*bounce.addresses, *context.message.copied_to][:_MOST_TOKENS] if named else []
    for address in dict.fromkeys(addresses):
        if (member := await _member_at(context.connection, address)) is None:
            continue
        identities = await reports.identities_sent(
            context.connection, member.id, since=context.now - LONGEST_IN_TRANSIT
        )
        names = mail_names(context.keys, [(identity, member.id) for identity in identities])
        if not named.isdisjoint(names):
            return member
    return None


async def _answered(context: _Context, reply: CalendarReply) -> str:
    """Save a calendar reply. A UID belongs to one member: whoever echoes it was sent the invitation."""
    uid = read_uid(reply.uid, context.domain)
    occurrence = await occurrences.occurrence_by_key(context.connection, uid[0]) if uid else None
    if occurrence is None:
        raise _NeedsReview("an answer to a meeting that is not ours")
    number = context.invited.get(reply.uid)
    member = await members.by_id(context.connection, number) if number is not None else None
    if member is None:
        raise _NeedsReview("an answer whose invitation was not sent to any member")
    answer = reply.answer_of(member.address)
    if answer is None:
        raise _NeedsReview("an answer that names several people, but not the one who was invited")
    if not answer:
        raise _NeedsReview("an answer that says neither yes nor no")
    # Two answers at the same time are handled one after the other.
    await members.lock(context.connection, member.id)
    summary = f"an answer of member {member.id} to {occurrence.key}"
    status = rsvp_status(occurrence, context.now)
    if member.status == "left":
        return f"{summary}, who has left: discarded"
    if status is not RsvpStatus.OPEN:
        verb = "is" if status is RsvpStatus.CANCELLED else "has"
        return f"{summary}, which {verb} {status}: discarded"
    sequence = reply.sequence_for(occurrence.sequence, occurrence.starts, occurrence.zone)
    if sequence < occurrence.sequence:
        return f"{summary} before it was changed (SEQUENCE {sequence}, now {occurrence.sequence}): discarded"
    order = (sequence, order_of(reply, context.now)[1])
    current = await answers.order_of(context.connection, member.id, occurrence.key)
    if current and order < current:
        return f"{summary}, older than the current one: discarded"
    if order != current or answer != await answers.answer_of(context.connection, member.id, occurrence.key):
        await answers.set_answer(
            context.connection, member.id, occurrence.key, answer=answer, now=context.now, order=order
        )
    return f"{summary}: {answer}"


async def _invited(database: Database, message: InboundMessage, keys: Keys, domain: str) -> dict[str, int]:
    """Return the number of the member that each UID in a message's replies was made for, whatever address answers."""
    by_uid: dict[str, int] = {}
    async with database.read() as connection:
        for reply in message.replies:
            uid = read_uid(reply.uid, domain)
            if uid is None or await occurrences.occurrence_by_key(connection, uid[0]) is None:
                continue
            if (number := await _member_of_uid(connection, message, reply, uid, keys=keys)) is not None:
                by_uid[reply.uid] = number
    return by_uid


async def _member_of_uid(
    connection: AsyncConnection,
    message: InboundMessage,
    reply: CalendarReply,
    uid: tuple[str, str],
    *,
    keys: Keys,
) -> int | None:
    occurrence, keyed = uid
    attendees = (address for attendee in reply.attendees for address in attendee.addresses)
    # Most people answer from the address that was invited. Only for the others every member's hash is compared.
    for address in (*attendees, message.author):
        member = await _member_at(connection, address)
        if member and hmac.compare_digest(keys.name("uid", f"{occurrence}:{member.id}"), keyed):
            return member.id
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
    member: int | None = None,
) -> tuple[str, int | None]:
    """Keep a message for review; return what was done, and its number if it was kept."""
    needed = len(octets[:LONGEST_KEPT]) + returns.ROW_OCTETS
    if await returns.octets_in_review(connection) + needed > queue:
        await returns.note_discarded(connection, now)
        words = (
            "not kept, only counted: too many messages wait for review; see `returns list` and `returns drop`"
        )
        return words, None
    number = await returns.add(
        connection,
        digest=digest,
        kind="review",
        member=member,
        words=why[:300],
        now=now,
        content=octets[:LONGEST_KEPT],
    )
    if number is None:
        return "this message was received before; nothing was done", None
    return f"kept for review: `third-thursday returns show {number}`", number
