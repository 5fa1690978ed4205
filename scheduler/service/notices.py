"""Publish, stop and resend notices: ad-hoc notices to an audience, and service mails to one person."""

import re
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import structlog
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.delivery.compose.markdown import images, placeholder_problem
from scheduler.domain.act import Act
from scheduler.domain.actor import SERVICE, Actor
from scheduler.domain.audience import Audience, lasting_reasons
from scheduler.domain.errors import Refused
from scheduler.domain.occurrence import OccurrenceKey
from scheduler.domain.placeholder import Placeholder, in_subject, suggest, unknown_in_subject
from scheduler.domain.policy import EVERY_ZONE, PERSONAL, PLANNED, SERVICE_MAIL_USEFUL_FOR, Kind
from scheduler.domain.recurrence import LAST_YEAR
from scheduler.domain.text import counted, quoted, require_line, require_prose
from scheduler.service.delivery_reasons import reason_in_words
from scheduler.service.planner import local_due
from scheduler.store import audit, members, notices, service_state
from scheduler.store.database import Database
from scheduler.store.ledger import fan_out, lifecycle, reports
from scheduler.store.members import Member
from scheduler.store.notices import Notice

log = structlog.get_logger()


async def mail_one(
    connection: AsyncConnection,
    member: Member,
    kind: Kind,
    *,
    now: datetime,
    address: str | None = None,
    identity: str = "",
    words: str = "",
) -> int:
    """Create a service mail to `member`, to be sent within seconds, and return its notice's number.

    It is sent to the member's own address, or to `address`. `words` (Markdown) are a convenor's, never a visitor's.
    A member who is not active is sent replies only. `identity` is that of the notice; without it, it is a random one.
    """
    if kind not in PERSONAL:
        raise ValueError(f"a {kind} is no service mail")
    number = await notices.add(
        connection,
        identity=identity or f"{kind}:{secrets.token_hex(8)}",
        kind=kind,
        member=member.id,
        address=address,
        audience="one",
        body=words,
        created_at=now,
        expires=now + SERVICE_MAIL_USEFUL_FOR[kind],
        frozen=True,
        ready=True,
    )
    await notices.set_dues(connection, number, {EVERY_ZONE: now})
    await notices.mark_fanned(connection, number, EVERY_ZONE, now)
    notice = await notices.by_id(connection, number)
    assert notice
    await fan_out.fan_out(connection, notice, zone=member.zone, due=now, now=now)
    await service_state.note_change(connection)
    return number


async def mailed_since(connection: AsyncConnection, member: Member, *kinds: Kind, since: datetime) -> int:
    """Return how many service mails of these kinds were created for a member since an instant; used to limit them."""
    return await notices.count_to(connection, member.id, kinds, since=since)


USEFUL_FOR = timedelta(hours=48)
LONGEST_SUBJECT = 200
_LOCAL = re.compile(r"local:\d{4}-\d\d-\d\dT\d\d:\d\d", re.ASCII)


@dataclass(frozen=True, slots=True)
class PublishedNotice:
    """The number of a published notice, and of its recipients."""

    notice: int
    recipients: int


def read_due(text: str | None) -> datetime | str | None:
    """Return the aware instant that a convenor wrote, or `local:YYYY-MM-DDTHH:MM` unchanged; None for None.

    Raises Refused for anything else.
    """
    if text is None:
        return None
    is_local = text.startswith("local:")
    try:
        moment = datetime.fromisoformat(text.removeprefix("local:"))
    except ValueError:
        moment = None
    if moment and (_LOCAL.fullmatch(text) if is_local else moment.tzinfo):
        if moment.year > LAST_YEAR:
            raise Refused(
                f"{quoted(text)} is too far ahead; give a date up to {LAST_YEAR}-12-31", option="--at"
            )
        return text if is_local else moment
    raise Refused(
        f"{quoted(text)} is not an instant; write 2026-11-19T17:00+00:00, "
        "or local:2026-11-19T09:00 for each member's own local time",
        option="--at",
    )


def when_due(
    zones: frozenset[str], *, at: datetime | str | None, hold: timedelta, now: datetime
) -> dict[str, datetime]:
    """Return the due instants (UTC) of a notice by zone: once `hold` is over, at an instant, or at a local time in each
    zone (`local:…`). Raises Refused if `at` is in the past for everybody."""
    soonest = now + hold
    if at is None:
        return {EVERY_ZONE: soonest}
    if isinstance(at, datetime):
        if at < now:
            raise Refused(f"{at.isoformat()} is in the past", option="--at")
        return {EVERY_ZONE: max(at, soonest)}
    dues = {zone: local_due(at, zone) for zone in zones}
    if dues and max(dues.values()) < now:
        raise Refused(f"{at} is in the past in every member's zone", option="--at")
    return {zone: max(due, soonest) for zone, due in dues.items()}


def require_words(subject: str, body: str) -> tuple[str, str]:
    """Return subject and body as they are sent. Raises Refused if one is empty or not allowed."""
    subject = require_line(subject, "subject", longest=LONGEST_SUBJECT)
    body = require_prose(body, "body")
    if not subject or not body.strip():
        raise Refused("a notice needs a subject and a body")
    if lines := images(body):
        raise Refused(
            f"body, line {lines[0]}: images are not sent; put the image on a web page and link to it"
        )
    if problem := placeholder_problem(body):
        raise Refused(f"body, {problem}")
    if unknown := unknown_in_subject(subject):
        raise Refused(f"subject: {{{unknown[0].strip()}}} is not a placeholder ({suggest(unknown[0])})")
    for piece in in_subject(subject):
        if isinstance(piece, Placeholder) and piece.purpose:
            raise Refused(f"subject: {{{piece.name}}} is a link, which a subject cannot have")
    return subject, body


async def send_notice(
    database: Database,
    *,
    subject: str,
    body: str,
    audience: Audience,
    audience_text: str,
    now: datetime,
    at: datetime | str | None = None,
    expires: timedelta = USEFUL_FOR,
    hold: timedelta = timedelta(),
    identity: str = "",
    recipients: int | None = None,
    mentions: str | None = None,
    by: Actor = SERVICE,
) -> PublishedNotice:
    """Publish an ad-hoc notice (`body` is Markdown) to the members who are in `audience` now.

    `mentions` is the key of the stored meeting that its placeholders are about, if one needs a meeting.
    `expires` counts from the last due instant. With an `identity`, calling this again sends nothing twice: it completes
    what an interrupted call began. Raises Refused if a text is empty or not allowed, if the audience is empty, and if
    it is not the number of `recipients` that the convenor was shown.
    """
    subject, body = require_words(subject, body)
    async with database.read() as connection:
        begun = await notices.by_identity(connection, identity) if identity else None
        dues = when_due(await members.zones(connection), at=at, hold=hold, now=now)
        number = await members.count_audience(connection, audience, kind=Kind.NOTICE)
    if not number:
        raise Refused(f"the audience '{audience_text}' has no active member; nobody was told")
    if begun is None and recipients not in (None, number):
        raise Refused(f"it would now go to {counted(number, 'member')}, not to {recipients}")
    return await publish_notice(
        database,
        audience=audience,
        dues=dues,
        now=now,
        identity=identity or f"notice:{secrets.token_hex(8)}",
        kind=Kind.NOTICE,
        subject=subject,
        body=body,
        audience_text=audience_text,
        at=at if isinstance(at, str) else None,
        mentions=mentions,
        expires=max(dues.values(), default=now) + expires,
        by=by,
        act="notice-sent",
    )


async def publish_notice(
    database: Database,
    *,
    audience: Audience,
    audience_text: str,
    dues: Mapping[str, datetime],
    now: datetime,
    identity: str,
    by: Actor = SERVICE,
    act: Act | None = None,
    **notice: Any,
) -> PublishedNotice:
    """Create a notice and its deliveries; nothing is sent before all of them exist.

    `dues` are by zone (UTC). `notice` gives the other columns of the notice. Its identity is unique: another call with
    the same one completes what an earlier call has begun, interrupted or not, and otherwise does nothing. So does one
    at the same moment. With `act`, the audit log says who did it, once.
    """
    publish = partial(
        _publish,
        database,
        audience=audience,
        audience_text=audience_text,
        dues=dues,
        now=now,
        identity=identity,
        by=by,
        act=act,
        **notice,
    )
    try:
        return await publish()
    except IntegrityError:
        # Somebody else created it at the same moment; this time it is known.
        return await publish()


async def _publish(
    database: Database,
    *,
    audience: Audience,
    audience_text: str,
    dues: Mapping[str, datetime],
    now: datetime,
    identity: str,
    by: Actor,
    act: Act | None,
    **notice: Any,
) -> PublishedNotice:
    async with database.write() as connection:
        published = await notices.by_identity(connection, identity)
        if published and published.ready:
            states = await reports.states(connection, published.id)
            return PublishedNotice(published.id, sum(states.values()))
        if published is None:
            number = await notices.add(
                connection,
                **notice,
                identity=identity,
                audience=audience_text,
                created_at=now,
                frozen=True,
                ready=False,
            )
            await notices.set_dues(connection, number, dues)
            published = await notices.by_id(connection, number)
        elif notice.get("body") != published.body:
            # Nothing of it was sent: the last words count.
            await notices.change(connection, published.id, body=notice.get("body", ""))
        assert published
        number = published.id
        dues = {zone: due.due for zone, due in (await notices.dues_of(connection, number)).items()}
        zones = await members.zones(connection)
    for zone in sorted(zones):
        after: int | None = 0
        while after is not None:
            async with database.write() as connection:
                after = await fan_out.fan_out(
                    connection,
                    published,
                    zone=zone,
                    due=dues.get(zone) or dues[EVERY_ZONE],
                    now=now,
                    after=after,
                    audience=audience,
                )
    async with database.write() as connection:
        for zone in dues:
            await notices.mark_fanned(connection, number, zone, now)
        is_first = await notices.make_ready(connection, number)
        await service_state.note_change(connection)
        recipients = sum((await reports.states(connection, number)).values())
        if act and is_first:
            await audit.record(
                connection,
                by,
                act,
                subject=notice.get("occurrence") or f"notice {number}",
                after={"to": audience_text, "members": recipients},
                now=now,
            )
    if is_first:
        log.info("notice-published", notice=number, kind=published.kind, recipients=recipients)
    return PublishedNotice(number, recipients)


async def require_notice(connection: AsyncConnection, number: int) -> Notice:
    """Return the notice with that number. Raises Refused if there is none."""
    notice = await notices.by_id(connection, number)
    if not notice:
        raise Refused(f"there is no notice {number}", command="`notice list` shows all notices")
    return notice


async def stop(database: Database, number: int, now: datetime, *, by: Actor = SERVICE) -> dict[str, int]:
    """Withdraw the queued deliveries of a notice; return the number of its deliveries by state.

    A claim that is being sent already is not stopped; that takes a few seconds.
    """
    async with database.write() as connection:
        notice = await require_notice(connection, number)
        if not notice.stopped_at:
            await notices.change(connection, number, stopped_at=now)
            await audit.record(connection, by, "notice-stopped", subject=f"notice {number}", now=now)
        await lifecycle.withdraw(connection, number, reason="stopped")
        await service_state.note_change(connection)
        return await reports.states(connection, number)


async def count_missed(database: Database, number: int, *, by_choice: Collection[str]) -> int:
    """Return to how many members at most `resend_missed` sends a notice.

    If the notice was stopped before all its deliveries were created, that is everybody it may be for. `by_choice`
    are the slugs of the series that only those members follow who say so.
    """
    async with database.read() as connection:
        notice = await require_notice(connection, number)
        states = await reports.states(connection, number)
        return await _count_missed(connection, notice, states, by_choice)


async def _count_missed(
    connection: AsyncConnection, notice: Notice, states: Mapping[str, int], by_choice: Collection[str]
) -> int:
    missed = states.get("withdrawn", 0) + states.get("failed", 0)
    dues = (await notices.dues_of(connection, notice.id)).values()
    if notice.kind in PLANNED and notice.stopped_at and any(due.fanned_at is None for due in dues):
        assert notice.occurrence
        followers = Audience(
            terms={"series": [OccurrenceKey.parse(notice.occurrence).series]}, by_choice=by_choice
        )
        everybody = await members.count_audience(connection, followers, kind=notice.kind)
        missed = max(missed, everybody - sum(states.values()) + missed)
    return missed


async def resend_missed(
    database: Database,
    number: int,
    now: datetime,
    *,
    by_choice: Collection[str],
    recipients: int | None = None,
    by: Actor = SERVICE,
) -> int:
    """Queue again the deliveries of a notice that were stopped before they were tried, or that failed; return how many.

    `by_choice` are the slugs of the series that only those members follow who say so.

    Raises Refused if the notice has expired or was withdrawn: send a new one instead; and if those who missed it are
    not the number of `recipients` that the convenor was shown.
    """
    async with database.write() as connection:
        notice = await require_notice(connection, number)
        states = await reports.states(connection, number)
        missed = await _count_missed(connection, notice, states, by_choice)
        if recipients not in (None, missed):
            raise Refused(f"it would now go to {counted(missed, 'member')}, not to {recipients}")
        if notice.expires <= now:
            raise Refused(f"notice {number} expired at {notice.expires:%Y-%m-%d %H:%M} UTC; send a new one")
        if notice.unwanted:
            why = reason_in_words("withdrawn", notice.unwanted)
            raise Refused(f"notice {number} was withdrawn because {why}; send a new one")
        await notices.change(connection, number, stopped_at=None, closed_at=None)
        requeued = await lifecycle.requeue(
            connection,
            number,
            by_choice=by_choice,
            reasons=lasting_reasons(notice.audience, by_choice=by_choice),
        )
        requeued += await lifecycle.retry_failed(connection, number, now)
        if not notice.frozen:
            await notices.fan_out_again(connection, number)
        await audit.record(
            connection, by, "notice-resent", subject=f"notice {number}", after={"members": requeued}, now=now
        )
        await service_state.note_change(connection)
        return requeued


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeProgress:
    """A notice and what became of it so far. `states` counts its deliveries; `first_due` is when the first may leave,
    `missed` to how many at most it may still be sent, as `count_missed`, and `failures` counts those that failed by
    cause, as `reports.failures`. If it was stopped or withdrawn, `uncertain` is how many of the sent ones may not have
    arrived: they were being sent when the service ended."""

    notice: Notice
    states: Mapping[str, int]
    first_due: datetime | None
    last_due: datetime | None
    missed: int
    failures: Mapping[str, int]
    uncertain: int = 0

    @property
    def certain(self) -> int:
        """How many members certainly have it."""
        return self.states.get("sent", 0) - self.uncertain

    @property
    def total(self) -> int:
        return sum(self.states.values())

    @property
    def settled(self) -> int:
        """How many deliveries have ended, one way or another."""
        return self.total - self.states.get("queued", 0) - self.states.get("sending", 0)

    @property
    def is_test(self) -> bool:
        """Whether it was a test for one convenor."""
        return self.notice.audience.startswith(notices.TEST_AUDIENCE)

    @property
    def is_finished(self) -> bool:
        return self.notice.ready and self.settled == self.total


async def progress(database: Database, number: int, *, by_choice: Collection[str]) -> NoticeProgress | None:
    """Return how far a notice is; None if there is none with that number, and for service mails. `by_choice` as
    `count_missed`."""
    async with database.read() as connection:
        notice = await notices.by_id(connection, number)
        if notice is None or notice.member is not None:
            return None
        states = await reports.states(connection, number)
        due = (await notices.due_spans(connection, number)).get(number)
        failures = await reports.failures(connection, number)
        missed = await _count_missed(connection, notice, states, by_choice)
        # Looking at each delivery of a notice that was sent to the end would take long.
        is_over = notice.stopped_at or notice.unwanted
        uncertain = await reports.count_uncertain(connection, number) if is_over else 0
    return NoticeProgress(
        notice=notice,
        states=states,
        first_due=due[0] if due else None,
        last_due=due[1] if due else None,
        missed=missed,
        failures=failures,
        uncertain=uncertain,
    )


async def latest_notices(database: Database, *, most: int) -> list[tuple[Notice, Mapping[str, int]]]:
    """Return the latest notices, the newest first, each with its deliveries by state."""
    async with database.read() as connection:
        latest = await notices.latest(connection, most=most)
        return [(notice, await reports.states(connection, notice.id)) for notice in latest]
