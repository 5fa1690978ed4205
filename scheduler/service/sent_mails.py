"""What a member was sent: show each mail as it was sent, and send one again."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.delivery.compose.links import UNCONFIRMED
from scheduler.delivery.compose.message_writer import message_id
from scheduler.delivery.compose.rendering import ShownMail, show
from scheduler.domain.actor import SERVICE, Actor
from scheduler.domain.calendar import CalendarEntry, read_entry
from scheduler.domain.community import Community
from scheduler.domain.errors import Refused
from scheduler.domain.policy import EVERY_ZONE, REPLIES, Kind
from scheduler.domain.token import Keys
from scheduler.service.members import require_member
from scheduler.store import audit, members, notices, occurrences, renderings, service_state
from scheduler.store.database import Database
from scheduler.store.ledger import fan_out, lifecycle, reports
from scheduler.store.ledger.reports import Report
from scheduler.store.members import Member
from scheduler.store.notices import Notice


@dataclass(frozen=True, slots=True, kw_only=True)
class SentMail:
    """A mail to a member, with what became of it.

    `shown` is the mail as it was sent, but for the member's links, with the name and the address that they have now; it
    is None where it was not kept. `entry` is its calendar part. `times` is how often it was sent to them again.
    """

    member: Member
    report: Report
    message_id: str
    shown: ShownMail | None
    entry: CalendarEntry | None
    times: int


async def read_mail(
    database: Database, member: int, notice: int, *, keys: Keys, community: Community
) -> SentMail | None:
    """Return what a member was sent of a notice; None if there is no such delivery."""
    async with database.read() as connection:
        person = await members.by_id(connection, member)
        return await _read(connection, person, notice, keys=keys, community=community) if person else None


async def require_mail(
    database: Database, address: str, notice: int, *, keys: Keys, community: Community
) -> SentMail:
    """Return what the member with that address was sent of a notice. Raises Refused if there is no such delivery."""
    async with database.read() as connection:
        person = await require_member(connection, address)
        mail = await _read(connection, person, notice, keys=keys, community=community)
    if mail is None:
        raise Refused(
            f"notice {notice} did not go to {person.address}",
            command="`members show EMAIL` lists their mails",
        )
    return mail


async def _read(
    connection: AsyncConnection, person: Member, notice: int, *, keys: Keys, community: Community
) -> SentMail | None:
    found, report = await notices.by_id(connection, notice), await _report(connection, person.id, notice)
    if found is None or report is None:
        return None
    rendering = await renderings.sent_with(connection, notice, person.id) if _was_sent(report) else None
    times = await notices.count_repeats(connection, _original(found), person.id)
    shown = rendering and show(
        rendering,
        name="" if found.kind in UNCONFIRMED else person.name,
        address=found.address or person.address,
    )
    return SentMail(
        member=person,
        report=report,
        message_id=message_id(keys, community, found.identity, person.id),
        shown=shown or None,
        entry=read_entry(shown.calendar) if shown and shown.calendar else None,
        times=times,
    )


_WHY_NOT = {
    "declined": "they have said that they are not coming",
    "feed only": "they have chosen to see invitations only in their calendar",
    "unwanted": "they have chosen not to get such emails",
    "not following": "they do not follow this series any more",
    "suppressed": "our emails to their address come back",
}


async def send_again(
    database: Database,
    member: int,
    notice: int,
    *,
    times: int,
    by_choice: Collection[str],
    by: Actor = SERVICE,
    now: datetime,
) -> int:
    """Send a member again what they were sent of a notice, and return the number of the new notice.

    `times` is how often it was sent to them again before, as the convenor was shown: whoever calls this again with the
    same number, at whatever time, sends nothing more. The mail is composed anew, so it says what is true now. Raises
    Refused where it is not useful any more, and where the member does not get such mail now.
    """
    async with database.write() as connection:
        person, found = await members.by_id(connection, member), await notices.by_id(connection, notice)
        report = await _report(connection, member, notice)
        if person is None or found is None or report is None or not _was_sent(report):
            raise Refused("this email was not sent to them")
        original = _original(found)
        identity = f"again:{original}:{member}:{times}"
        if sent := await notices.by_identity(connection, identity):
            return sent.id
        if times != await notices.count_repeats(connection, original, member):
            raise Refused("it has been sent to them again in the meantime; look at their emails first")
        await _require_useful(connection, person, found, now)
        number = await notices.add(
            connection,
            identity=identity,
            again=original,
            member=member,
            created_at=now,
            frozen=True,
            ready=True,
            **{name: getattr(found, name) for name in _REPEATED},
        )
        await notices.set_dues(connection, number, {EVERY_ZONE: now})
        await notices.mark_fanned(connection, number, EVERY_ZONE, now)
        repeat = await notices.by_id(connection, number)
        assert repeat
        await fan_out.fan_out(connection, repeat, zone=person.zone, due=now, now=now)
        reason = await lifecycle.cause_to_skip(connection, number, by_choice=by_choice)
        if await _report(connection, member, number) is None:
            reason = "suppressed" if person.suppressed_at else "unwanted"
        if reason:
            raise Refused(f"they would not get it now: {_WHY_NOT[reason]}")
        await audit.record(
            connection,
            by,
            "mail-sent-again",
            subject=found.occurrence or f"notice {original}",
            about=member,
            after={"kind": found.kind.value},
            now=now,
        )
        await service_state.note_change(connection)
        return number


_REPEATED = (
    "kind",
    "policy",
    "occurrence",
    "starts",
    "before_revision",
    "subject",
    "body",
    "mentions",
    "audience",
    "address",
    "expires",
)
"""The columns of a notice that one to send it again has too."""


async def _require_useful(connection: AsyncConnection, member: Member, notice: Notice, now: datetime) -> None:
    if member.status != "active":
        state = {"paused": "their emails are paused", "left": "they have left the list"}
        raise Refused(f"they get no emails: {state.get(member.status, 'they have not confirmed yet')}")
    if notice.kind in REPLIES:
        raise Refused("it answered something that they had asked for; they can ask again on our pages")
    occurrence = (
        await occurrences.occurrence_by_key(connection, notice.occurrence) if notice.occurrence else None
    )
    if occurrence:
        if occurrence.cancelled and notice.kind is not Kind.CANCELLATION:
            raise Refused("the meeting has been cancelled since")
        if not occurrence.cancelled and notice.kind is Kind.CANCELLATION:
            raise Refused("the meeting takes place after all")
        if occurrence.starts != notice.starts:
            raise Refused("the meeting has moved since; send them the email about its new time")
        if occurrence.ends <= now and notice.kind is not Kind.FOLLOW_UP:
            raise Refused("the meeting is over")
    if notice.expires <= now:
        raise Refused("it is not of use any more: the meeting has begun" if occurrence else _too_late(notice))


def _too_late(notice: Notice) -> str:
    return f"it was only of use until {notice.expires:%-d %B %Y, %H:%M} UTC; write them a new one"


def _original(notice: Notice) -> int:
    return notice.again or notice.id


def _was_sent(report: Report) -> bool:
    return report.state == "sent"


async def _report(connection: AsyncConnection, member: int, notice: int) -> Report | None:
    async for report in reports.reports(connection, member=member, notice=notice):
        return report
    return None
